//! A store that behaves as `EventStoreDB` may, on top of one that counts its events.
//!
//! Positions are sparse pairs, several events share a commit, and the store's own `$` events
//! stand between ours: never delivered, yet they take up positions and `considered` ends on
//! them. An idempotent success may come without a position, a repeat that expects anything
//! may be recognised or not, an answer may be lost though the append took effect, reads may
//! fail, batches come in any size and subscriptions are cut. Which of it happens when is a
//! function of the seed and of the order of calls.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::{
    Append, AppendError, Appended, Batch, Direction, EventStore, ExpectedRevision, Filter, LogId,
    Position, Read, RecordedEvent, StoreError, StreamName, Subscription, Visibility,
};

/// How many bytes of its log `EventStoreDB` is pretended to use for each event of ours and
/// the `$` events after it.
const SLOT: u64 = 64;

/// How many events share a commit at most.
const COMMIT: u64 = 3;

/// The wrapper. Clones are handles of the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn EventStore>,
    fate: Arc<Fate>,
}

/// What has gone wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Appends that took effect and whose answer was lost.
    pub lost_answers: u64,
    /// Appends that never reached the store.
    pub lost_appends: u64,
    /// Successes that did not say where.
    pub missing_positions: u64,
    /// Repeats that expected anything and were recognised.
    pub recognised: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Subscriptions that were cut.
    pub cuts: u64,
}

#[derive(Default)]
struct Counters {
    lost_answers: AtomicU64,
    lost_appends: AtomicU64,
    missing_positions: AtomicU64,
    recognised: AtomicU64,
    failed_reads: AtomicU64,
    cuts: AtomicU64,
}

struct Fate {
    random: Mutex<ChaCha8Rng>,
    places: Places,
    counters: Counters,
}

impl Fate {
    /// Whether what happens once in `n` times happens now.
    fn strikes(&self, n: u32, counter: &AtomicU64) -> bool {
        let strikes = self.draw(n) == 0;
        if strikes {
            counter.fetch_add(1, Relaxed);
        }
        strikes
    }

    fn draw(&self, n: u32) -> u32 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.next_u32() % n
    }
}

fn unavailable<T>(what: &str) -> Result<T, StoreError> {
    Err(StoreError::Unavailable(format!("{what} (by the seed)")))
}

impl Store {
    /// Wraps a store whose positions count its events from 1.
    #[must_use]
    pub fn new(inner: Arc<dyn EventStore>, seed: u64) -> Self {
        Self {
            inner,
            fate: Arc::new(Fate {
                random: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
                places: Places { seed },
                counters: Counters::default(),
            }),
        }
    }

    /// What has gone wrong so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.fate.counters;
        Counts {
            lost_answers: counters.lost_answers.load(Relaxed),
            lost_appends: counters.lost_appends.load(Relaxed),
            missing_positions: counters.missing_positions.load(Relaxed),
            recognised: counters.recognised.load(Relaxed),
            failed_reads: counters.failed_reads.load(Relaxed),
            cuts: counters.cuts.load(Relaxed),
        }
    }

    async fn append_one(&self, append: Append) -> Result<Appended, AppendError> {
        let Fate { counters, .. } = &*self.fate;
        let lost = |what| unavailable(what).map_err(AppendError::Store);
        if self.fate.strikes(16, &counters.lost_appends) {
            return lost("the append was lost");
        }
        let before = self.inner.appended().await.map_err(AppendError::Store)?;
        if append.expected == ExpectedRevision::Any
            && self.fate.draw(2) == 0
            && let Some(revision) = self.already_there(&append).await?
        {
            counters.recognised.fetch_add(1, Relaxed);
            return Ok(Appended {
                revision,
                position: None,
            });
        }
        let answers = self.inner.append(vec![append]).await;
        let mut appended = answers
            .into_iter()
            .next()
            .ok_or(AppendError::Store(StoreError::Closed))??;
        if self.fate.strikes(8, &counters.lost_answers) {
            return lost("the answer was lost");
        }
        // A repeat is answered with where it was the first time.
        let repeat = appended.position.is_none_or(|position| position <= before);
        appended.position = match appended.position {
            Some(_) if repeat && self.fate.strikes(2, &counters.missing_positions) => None,
            position => position.map(|position| self.fate.places.event(position)),
        };
        Ok(appended)
    }

    /// The revision of the last of the events, where the stream ends with all of them.
    async fn already_there(&self, append: &Append) -> Result<Option<u64>, AppendError> {
        let count = append.events.len();
        let mut last = self
            .inner
            .read_stream(
                &append.stream,
                None,
                Direction::Backward,
                Visibility::Appended,
                count,
            )
            .await
            .map_err(AppendError::Store)?;
        last.reverse();
        let ids = append.events.iter().map(|event| event.id);
        let there = last.iter().map(|event| event.event.id).eq(ids);
        Ok(last.last().filter(|_| there).map(|event| event.revision))
    }
}

#[async_trait]
impl EventStore for Store {
    fn log_id(&self) -> LogId {
        self.inner.log_id()
    }

    fn counts_events(&self) -> bool {
        false
    }

    async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        let mut answers = Vec::with_capacity(appends.len());
        let mut connected = true;
        for append in appends {
            // With one of them the connection is lost, and the rest is never sent: only so
            // does the order of the appends hold when whoever asked repeats them.
            let answer = if connected {
                self.append_one(append).await
            } else {
                unavailable("not sent").map_err(AppendError::Store)
            };
            connected = !matches!(answer, Err(AppendError::Store(_)));
            answers.push(answer);
        }
        answers
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        if self.fate.strikes(16, &self.fate.counters.failed_reads) {
            return unavailable("the read was lost");
        }
        let events = self
            .inner
            .read_stream(stream, from, direction, visibility, max_events)
            .await?;
        Ok(self.fate.places.events(events))
    }

    async fn read_all(&self, mut read: Read) -> Result<Batch, StoreError> {
        if self.fate.strikes(16, &self.fate.counters.failed_reads) {
            return unavailable("the read was lost");
        }
        let places = &self.fate.places;
        let (from, direction) = (read.from, read.direction);
        read.from = match direction {
            Direction::Forward => from.map(|from| places.at_or_before(from)),
            Direction::Backward => from.map(|from| places.at_or_after(from)),
        };
        let batch = self.inner.read_all(read).await?;
        let considered = match direction {
            Direction::Forward => places
                .considered(&batch)
                .max(from.unwrap_or(Position::START)),
            Direction::Backward => places.event(batch.considered),
        };
        Ok(Batch {
            events: places.events(batch.events),
            considered,
            at_end: batch.at_end,
        })
    }

    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        if self.fate.strikes(8, &self.fate.counters.cuts) {
            return unavailable("the subscription was not taken");
        }
        let from = self.fate.places.at_or_before(after);
        let inner = self.inner.subscribe(from, filter, visibility).await?;
        Ok(Box::new(Tail {
            store: self.clone(),
            visibility,
            inner: Some(inner),
            pending: VecDeque::new(),
            considered: after,
        }))
    }

    async fn appended(&self) -> Result<Position, StoreError> {
        let appended = self.inner.appended().await?;
        Ok(self.fate.places.system(appended))
    }

    fn durable(&self) -> Position {
        self.fate.places.system(self.inner.durable())
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        let position = self.fate.places.at_or_before(position);
        self.inner.wait_durable(position).await
    }
}

struct Tail {
    store: Store,
    visibility: Visibility,
    /// None once it is cut.
    inner: Option<Box<dyn Subscription>>,
    /// Read, and not handed over yet.
    pending: VecDeque<Batch>,
    considered: Position,
}

#[async_trait]
impl Subscription for Tail {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        let fate = Arc::clone(&self.store.fate);
        loop {
            if let Some(inner) = &mut self.inner
                && !fate.strikes(8, &fate.counters.cuts)
            {
                if self.pending.is_empty() {
                    let batch = inner.next().await?;
                    self.pending = pieces(&fate, batch);
                }
            } else {
                // What was read and not handed over is lost with the connection.
                self.inner = None;
                self.pending.clear();
                return unavailable("the subscription was cut");
            }
            // The end may have moved since the batch was read.
            let end = match self.visibility {
                Visibility::Appended => self.store.appended().await?,
                Visibility::Durable => self.store.durable(),
            };
            if let Some(mut batch) = self.pending.pop_front()
                && batch.considered > self.considered
            {
                batch.at_end = batch.considered >= end;
                self.considered = batch.considered;
                return Ok(batch);
            }
        }
    }
}

/// The batch in pieces of random size, and the `$` events after it as news of their own.
fn pieces(fate: &Fate, batch: Batch) -> VecDeque<Batch> {
    let end = fate.places.considered(&batch);
    let mut pieces = VecDeque::new();
    let mut events = VecDeque::from(fate.places.events(batch.events));
    while !events.is_empty() {
        let size = 1 + fate.draw(8) as usize;
        let piece: Vec<_> = events.drain(..size.min(events.len())).collect();
        pieces.extend(
            piece
                .last()
                .map(|event| event.position)
                .map(|considered| Batch {
                    events: piece,
                    considered,
                    at_end: false,
                }),
        );
    }
    pieces.push_back(Batch {
        events: Vec::new(),
        considered: end,
        at_end: false,
    });
    pieces
}

/// Where the `n`th event stands, and the other way round. Both grow with `n`.
struct Places {
    seed: u64,
}

impl Places {
    /// The position of an event of ours, from its number.
    fn event(&self, inner: Position) -> Position {
        let number = inner.commit;
        if number == 0 {
            return Position::START;
        }
        let Some(prepare) = number
            .checked_mul(SLOT)
            .and_then(|start| start.checked_add(self.noise(number) % 16))
        else {
            return Position::dense(u64::MAX);
        };
        // The commit follows the last event that shares it.
        let commit = (number - number % COMMIT)
            .saturating_add(COMMIT)
            .saturating_mul(SLOT);
        Position { commit, prepare }
    }

    /// The position of the last `$` event after an event of ours and before the next; the
    /// event's own position where there is none.
    fn system(&self, inner: Position) -> Position {
        let event = self.event(inner);
        let further = match self.noise(inner.commit) % 3 {
            // The log of a new database is not empty, but ours begins at the start.
            _ if inner.commit == 0 => 0,
            0 => 0,
            _ => 16 + self.noise(inner.commit) % 32,
        };
        Position {
            prepare: event.prepare.saturating_add(further),
            ..event
        }
    }

    /// The inner position of the event at a position, or of the last one before it.
    fn at_or_before(&self, outer: Position) -> Position {
        // An event stands in the slot of its number, and so do the `$` events after it. A
        // position that was never given out may lie before the commit of that slot.
        let mut number = outer.prepare.min(outer.commit) / SLOT;
        while self.event(Position::dense(number)) > outer {
            number -= 1;
        }
        Position::dense(number)
    }

    /// The inner position of the event at a position, or of the first one after it.
    fn at_or_after(&self, outer: Position) -> Position {
        let inner = self.at_or_before(outer);
        if self.event(inner) == outer {
            inner
        } else {
            Position::dense(inner.commit.saturating_add(1))
        }
    }

    /// How far a forward batch has considered: to the end of the `$` events after the last
    /// event looked at, unless that is where the batch was full.
    fn considered(&self, batch: &Batch) -> Position {
        let full = !batch.at_end
            && batch
                .events
                .last()
                .is_some_and(|event| event.position == batch.considered);
        if full {
            self.event(batch.considered)
        } else {
            self.system(batch.considered)
        }
    }

    fn events(&self, events: Vec<Arc<RecordedEvent>>) -> Vec<Arc<RecordedEvent>> {
        let place = |event: Arc<RecordedEvent>| {
            Arc::new(RecordedEvent {
                position: self.event(event.position),
                ..RecordedEvent::clone(&event)
            })
        };
        events.into_iter().map(place).collect()
    }

    /// The same for the same number, whatever was drawn before.
    fn noise(&self, number: u64) -> u64 {
        let mixed = (self.seed ^ number.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_the_order_and_lead_back() {
        let places = Places { seed: 7 };
        assert_eq!(places.event(Position::START), Position::START);
        let mut last = Position::START;
        let mut shared = 0;
        for number in 1..5_000 {
            let inner = Position::dense(number);
            let (event, system) = (places.event(inner), places.system(inner));
            assert!(event > last && system >= event);
            assert!(
                event.commit >= event.prepare,
                "a commit ends its transaction"
            );
            shared += u32::from(event.commit == last.commit);
            assert_eq!(places.at_or_before(event), inner);
            assert_eq!(places.at_or_after(event), inner);
            assert_eq!(places.at_or_before(system), inner);
            if system > event {
                assert_eq!(places.at_or_after(system), Position::dense(number + 1));
            }
            last = system;
        }
        assert!(shared > 1_000, "several events share a commit: {shared}");
    }
}
