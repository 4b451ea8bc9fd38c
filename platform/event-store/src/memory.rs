//! The in-memory adapter: the port to the letter, and the durability of a disk as a model.
//!
//! ```text
//! append ──▶ log ──▶ appended     sync ──▶ durable     crash ──▶ a new store with the durable prefix
//! ```
//!
//! For tests and for the simulation of the whole system, so everything here is a function of
//! the calls and of their order: no task, no thread, no clock. Readers that wait are woken in
//! the order in which they began to wait; tokio's `watch` would draw lots for it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{
    Append, AppendError, Appended, Batch, Direction, EventStore, ExpectedRevision, Filter, LogId,
    NewEvent, Position, Read, RecordedEvent, StoreError, StreamName, Subscription, Visibility,
};

/// The most bytes (type, data and metadata of all its events) of one append, unless
/// [`Store::with_max_append_bytes`] says otherwise.
pub const MAX_APPEND_BYTES: usize = 16 * 1024 * 1024;

/// The most events that a subscription hands over at once.
const MAX_BATCH_EVENTS: usize = 512;

/// The most events that one read of the log looks at, wanted or not.
const MAX_SCANNED_EVENTS: usize = 16_384;

/// A log in memory. Clones are handles of the same log.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    id: LogId,
    sync: Sync,
    log: Mutex<Log>,
    /// Something was appended, became durable, or the store has ended.
    changed: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    AtOnce,
    Manual,
}

#[derive(Clone)]
struct Log {
    /// The event at index `i` has position `i + 1`.
    events: Vec<Arc<RecordedEvent>>,
    /// The indices of a stream's events in `events`.
    streams: BTreeMap<StreamName, Vec<usize>>,
    /// How many of `events` are durable.
    durable: usize,
    max_append_bytes: usize,
    ended: Option<StoreError>,
}

impl Store {
    /// An empty log whose appends are durable at once.
    #[must_use]
    pub fn new(id: LogId) -> Self {
        Self::build(id, Sync::AtOnce, Log::empty())
    }

    /// An empty log whose appends become durable when [`Store::sync`] says so.
    #[must_use]
    pub fn with_manual_sync(id: LogId) -> Self {
        Self::build(id, Sync::Manual, Log::empty())
    }

    /// With another limit on one append, in bytes.
    #[must_use]
    pub fn with_max_append_bytes(self, max_append_bytes: usize) -> Self {
        self.shared.lock().max_append_bytes = max_append_bytes;
        self
    }

    fn build(id: LogId, sync: Sync, log: Log) -> Self {
        Self {
            shared: Arc::new(Shared {
                id,
                sync,
                log: Mutex::new(log),
                changed: Notify::new(),
            }),
        }
    }

    /// Makes everything that is appended durable, and says up to where that is.
    pub fn sync(&self) -> Position {
        self.sync_up_to(Position::dense(u64::MAX))
    }

    /// Makes everything up to `position` durable, as far as it is appended, and says up to
    /// where the log is durable now. Changes nothing once the store has ended.
    pub fn sync_up_to(&self, position: Position) -> Position {
        let durable = {
            let mut log = self.shared.lock();
            if log.ended.is_none() {
                let reached = log.first_after(position);
                log.durable = log.durable.max(reached);
            }
            log.position(log.durable)
        };
        self.shared.changed.notify_waiters();
        durable
    }

    /// Loses power: only the durable prefix is left, in the store that is returned. This one,
    /// its handles and its subscriptions answer [`StoreError::Closed`] from now on.
    #[must_use = "what survived is only in the store that is returned"]
    pub fn crash(&self) -> Self {
        let survived = {
            let mut log = self.shared.lock();
            log.ended = Some(StoreError::Closed);
            let mut survived = log.clone();
            survived.ended = None;
            survived.events.truncate(log.durable);
            for indices in survived.streams.values_mut() {
                indices.retain(|index| *index < log.durable);
            }
            survived.streams.retain(|_, indices| !indices.is_empty());
            survived
        };
        self.shared.changed.notify_waiters();
        Self::build(self.shared.id, self.shared.sync, survived)
    }

    /// Closes the store as its owner would: everything answers [`StoreError::Closed`].
    pub fn close(&self) {
        self.end(StoreError::Closed);
    }

    /// Fails as after an fsync error: no append is taken any more, what is not durable never
    /// will be, and readers get what is durable and then [`StoreError::Failed`].
    pub fn fail(&self, why: impl Into<String>) {
        self.end(StoreError::Failed(why.into()));
    }

    fn end(&self, error: StoreError) {
        self.shared.lock().ended.get_or_insert(error);
        self.shared.changed.notify_waiters();
    }

    /// The whole log as bytes, the same for equal logs and for those only. Durability is not
    /// part of it.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        let log = self.shared.lock();
        let mut bytes = self.shared.id.0.as_bytes().to_vec();
        for recorded in &log.events {
            bytes.extend_from_slice(&recorded.position.commit.to_be_bytes());
            bytes.extend_from_slice(&recorded.position.prepare.to_be_bytes());
            bytes.extend_from_slice(&recorded.revision.to_be_bytes());
            bytes.extend_from_slice(recorded.event.id.as_bytes());
            for part in [
                recorded.stream.as_str().as_bytes(),
                recorded.event.event_type.as_bytes(),
                &recorded.event.data,
                &recorded.event.metadata,
            ] {
                bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = self.shared.lock();
        f.debug_struct("Store")
            .field("id", &self.shared.id)
            .field("events", &log.events.len())
            .field("durable", &log.durable)
            .field("ended", &log.ended)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first answer of `ready`, asked again after each change.
    async fn wait_for<T>(&self, mut ready: impl FnMut(&Log) -> Option<T>) -> T {
        loop {
            // Made before the look, so that it hears of a change between the two.
            let changed = self.changed.notified();
            let answer = ready(&self.lock());
            if let Some(answer) = answer {
                return answer;
            }
            changed.await;
        }
    }
}

impl Log {
    fn empty() -> Self {
        Self {
            events: Vec::new(),
            streams: BTreeMap::new(),
            durable: 0,
            max_append_bytes: MAX_APPEND_BYTES,
            ended: None,
        }
    }

    /// The position of the `count`th event; [`Position::START`] for none.
    fn position(&self, count: usize) -> Position {
        count
            .checked_sub(1)
            .and_then(|index| self.events.get(index))
            .map_or(Position::START, |event| event.position)
    }

    /// How many events stand at or before a position: the index of the first one after it.
    fn first_after(&self, position: Position) -> usize {
        self.events
            .partition_point(|event| event.position <= position)
    }

    /// How many events a reader sees.
    fn visible(&self, visibility: Visibility) -> usize {
        match (&self.ended, visibility) {
            // What a failed store has not made durable is gone: nobody may see it any more.
            (Some(_), _) | (None, Visibility::Durable) => self.durable,
            (None, Visibility::Appended) => self.events.len(),
        }
    }

    /// What keeps a reader from reading at all. A failed store still shows what is durable.
    fn readable(&self) -> Result<(), StoreError> {
        match &self.ended {
            None | Some(StoreError::Failed(_)) => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    fn append(&mut self, append: Append) -> Result<Appended, AppendError> {
        if let Some(error) = &self.ended {
            return Err(AppendError::Store(error.clone()));
        }
        if append.events.is_empty() {
            return Err(AppendError::Empty);
        }
        let bytes = append.events.iter().map(size).sum();
        let max_bytes = self.max_append_bytes;
        if bytes > max_bytes {
            return Err(AppendError::TooLarge { bytes, max_bytes });
        }
        let indices = self.streams.get(&append.stream).map_or(&[][..], |i| i);
        let first_revision = match append.expected {
            ExpectedRevision::Any => indices.len() as u64,
            ExpectedRevision::NoStream => 0,
            // No stream is that long, so it is simply not where it is expected.
            ExpectedRevision::Exact(revision) => revision.saturating_add(1),
        };
        if first_revision != indices.len() as u64 {
            return self
                .repeated(indices, first_revision, &append.events)
                .ok_or(AppendError::WrongExpectedRevision {
                    actual: (indices.len() as u64).checked_sub(1),
                });
        }
        let indices = self.streams.entry(append.stream.clone()).or_default();
        let mut appended = Err(AppendError::Empty);
        for new in append.events {
            let revision = indices.len() as u64;
            let position = Position::dense(self.events.len() as u64 + 1);
            indices.push(self.events.len());
            self.events.push(Arc::new(new.record(
                position,
                append.stream.clone(),
                revision,
            )));
            appended = Ok(Appended {
                revision,
                position: Some(position),
            });
        }
        appended
    }

    /// Where the events are, if all of them are there by id from `first_revision` on.
    fn repeated(
        &self,
        indices: &[usize],
        first_revision: u64,
        events: &[NewEvent],
    ) -> Option<Appended> {
        let first = usize::try_from(first_revision).ok()?;
        let there = indices.get(first..first.checked_add(events.len())?)?;
        let mut last = None;
        for (index, event) in there.iter().zip(events) {
            let recorded = self.events.get(*index)?;
            if recorded.event.id != event.id {
                return None;
            }
            last = Some(Appended {
                revision: recorded.revision,
                position: Some(recorded.position),
            });
        }
        last
    }

    fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Vec<Arc<RecordedEvent>> {
        let visible = self.visible(visibility);
        let indices = self.streams.get(stream).map_or(&[][..], |i| i);
        let indices = indices
            .get(..indices.partition_point(|index| *index < visible))
            .unwrap_or_default();
        let from = from.map(|from| usize::try_from(from).unwrap_or(usize::MAX));
        let event = |index: &usize| self.events.get(*index).cloned();
        match direction {
            Direction::Forward => {
                let indices = indices.iter().skip(from.unwrap_or(0));
                indices.filter_map(event).take(max_events).collect()
            }
            Direction::Backward => {
                let count = from.map_or(usize::MAX, |from| from.saturating_add(1));
                let indices = indices.iter().take(count).rev();
                indices.filter_map(event).take(max_events).collect()
            }
        }
    }

    fn read_all(&self, read: &Read) -> Batch {
        let visible = self.visible(read.visibility);
        match read.direction {
            Direction::Forward => {
                let after = read.from.unwrap_or(Position::START);
                self.read_forward(after, &read.filter, visible, read.max_events)
            }
            Direction::Backward => self.read_backward(read, visible),
        }
    }

    fn read_forward(
        &self,
        after: Position,
        filter: &Filter,
        visible: usize,
        max_events: usize,
    ) -> Batch {
        let first = self.first_after(after).min(visible);
        let mut events = Vec::new();
        let mut next = first;
        for event in self.events.iter().take(visible).skip(first) {
            if events.len() >= max_events || next - first >= MAX_SCANNED_EVENTS {
                break;
            }
            next += 1;
            if filter.wants(event.stream.as_str(), &event.event.event_type) {
                events.push(Arc::clone(event));
            }
        }
        Batch {
            events,
            // Who asks from beyond the end is not sent back.
            considered: self.position(next).max(after),
            at_end: next == visible,
        }
    }

    fn read_backward(&self, read: &Read, visible: usize) -> Batch {
        let end = read.from.map_or(visible, |before| {
            self.events
                .partition_point(|event| event.position < before)
                .min(visible)
        });
        let mut events = Vec::new();
        let mut left = end;
        for event in self.events.iter().take(end).rev() {
            if events.len() >= read.max_events || end - left >= MAX_SCANNED_EVENTS {
                break;
            }
            left -= 1;
            if read
                .filter
                .wants(event.stream.as_str(), &event.event.event_type)
            {
                events.push(Arc::clone(event));
            }
        }
        // The next read is to begin with the event before the last one looked at, and `from`
        // is exclusive: so it is that last one. At the start nothing is before it.
        let considered = if left == 0 {
            Position::START
        } else if left == end {
            read.from
                .unwrap_or_else(|| Position::dense(visible as u64 + 1))
        } else {
            self.position(left + 1)
        };
        Batch {
            events,
            considered,
            at_end: left == 0,
        }
    }
}

/// What of an event counts against the limit of an append.
fn size(event: &NewEvent) -> usize {
    event.event_type.len() + event.data.len() + event.metadata.len()
}

#[async_trait]
impl EventStore for Store {
    fn log_id(&self) -> LogId {
        self.shared.id
    }

    async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        let answers = {
            let mut log = self.shared.lock();
            let answers = appends
                .into_iter()
                .map(|append| log.append(append))
                .collect();
            if self.shared.sync == Sync::AtOnce && log.ended.is_none() {
                log.durable = log.events.len();
            }
            answers
        };
        self.shared.changed.notify_waiters();
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
        let log = self.shared.lock();
        log.readable()?;
        Ok(log.read_stream(stream, from, direction, visibility, max_events))
    }

    async fn read_all(&self, read: Read) -> Result<Batch, StoreError> {
        let log = self.shared.lock();
        log.readable()?;
        Ok(log.read_all(&read))
    }

    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        self.shared.lock().readable()?;
        Ok(Box::new(Tail {
            shared: Arc::clone(&self.shared),
            considered: after,
            filter,
            visibility,
        }))
    }

    async fn appended(&self) -> Result<Position, StoreError> {
        let log = self.shared.lock();
        log.readable()?;
        Ok(log.position(log.visible(Visibility::Appended)))
    }

    fn durable(&self) -> Position {
        let log = self.shared.lock();
        log.position(log.durable)
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.shared
            .wait_for(|log| match &log.ended {
                Some(StoreError::Closed) => Some(Err(StoreError::Closed)),
                _ if log.position(log.durable) >= position => Some(Ok(())),
                Some(error) => Some(Err(error.clone())),
                None => None,
            })
            .await
    }
}

/// A subscription: a place in the log, looked at again after each change.
struct Tail {
    shared: Arc<Shared>,
    considered: Position,
    filter: Filter,
    visibility: Visibility,
}

#[async_trait]
impl Subscription for Tail {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        // A reader with a long way to go lets the others run in between.
        tokio::task::coop::consume_budget().await;
        let (considered, filter, visibility) = (self.considered, &self.filter, self.visibility);
        let batch = self
            .shared
            .wait_for(|log| {
                if let Err(error) = log.readable() {
                    return Some(Err(error));
                }
                let visible = log.visible(visibility);
                let batch = log.read_forward(considered, filter, visible, MAX_BATCH_EVENTS);
                if batch.considered > considered {
                    return Some(Ok(batch));
                }
                log.ended.clone().map(Err)
            })
            .await?;
        self.considered = batch.considered;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use uuid::Uuid;

    use super::*;

    const LOG: LogId = LogId(Uuid::from_u128(7));

    async fn put(store: &Store, numbers: impl IntoIterator<Item = u128>) {
        for number in numbers {
            let events = vec![NewEvent::raw(
                Uuid::from_u128(number),
                "thing.happened.v1",
                &b"{}"[..],
                &b"{}"[..],
            )];
            let stream = StreamName::new("thing", number % 2);
            let answers = store
                .append(vec![Append {
                    stream,
                    expected: ExpectedRevision::Any,
                    events,
                }])
                .await;
            answers.into_iter().for_each(|answer| {
                answer.unwrap();
            });
        }
    }

    async fn numbers(store: &Store, visibility: Visibility) -> Vec<u128> {
        let read = Read {
            from: None,
            direction: Direction::Forward,
            visibility,
            filter: Filter::All,
            max_events: usize::MAX,
        };
        let batch = store.read_all(read).await.unwrap();
        assert!(batch.at_end);
        batch.events.iter().map(|e| e.event.id.as_u128()).collect()
    }

    #[tokio::test]
    async fn what_is_appended_becomes_durable_when_it_is_synced() {
        let store = Store::with_manual_sync(LOG);
        put(&store, 0..5).await;
        assert_eq!(store.durable(), Position::START);
        assert!(numbers(&store, Visibility::Durable).await.is_empty());
        assert_eq!(numbers(&store, Visibility::Appended).await.len(), 5);

        assert_eq!(
            store.sync_up_to(Position::dense(2)),
            Position::dense(2),
            "as far as it was asked"
        );
        assert_eq!(store.sync_up_to(Position::dense(1)), Position::dense(2));
        assert_eq!(numbers(&store, Visibility::Durable).await, [0, 1]);
        assert_eq!(store.sync(), Position::dense(5));
        assert_eq!(store.durable(), Position::dense(5));
    }

    #[tokio::test]
    async fn a_crash_keeps_the_durable_prefix_and_closes_every_handle() {
        let old = Store::with_manual_sync(LOG);
        put(&old, 0..5).await;
        old.sync_up_to(Position::dense(3));
        let handle = old.clone();
        let mut subscription = handle
            .subscribe(Position::START, Filter::All, Visibility::Appended)
            .await
            .unwrap();
        assert_eq!(subscription.next().await.unwrap().events.len(), 5);
        let mut waiting = JoinSet::new();
        waiting.spawn(async move { subscription.next().await.map(|_| ()) });
        waiting.spawn({
            let handle = handle.clone();
            async move { handle.wait_durable(Position::dense(5)).await }
        });
        tokio::task::yield_now().await;

        let new = old.crash();
        for answer in waiting.join_all().await {
            assert!(matches!(answer, Err(StoreError::Closed)), "{answer:?}");
        }
        assert!(matches!(handle.appended().await, Err(StoreError::Closed)));
        let subscribed = handle.subscribe(Position::START, Filter::All, Visibility::Durable);
        assert!(matches!(subscribed.await.err(), Some(StoreError::Closed)));
        old.sync();

        assert_eq!(numbers(&new, Visibility::Durable).await, [0, 1, 2]);
        assert_eq!(new.log_id(), LOG);
        put(&new, [7, 8]).await;
        assert_eq!(numbers(&new, Visibility::Appended).await, [0, 1, 2, 7, 8]);
        let stream = StreamName::new("thing", 1);
        let events = new
            .read_stream(&stream, None, Direction::Backward, Visibility::Appended, 9)
            .await
            .unwrap();
        let revisions: Vec<_> = events.iter().map(|event| event.revision).collect();
        assert_eq!(revisions, [1, 0], "the index lost what the log lost");
        assert_eq!(
            new.durable(),
            Position::dense(3),
            "syncs as the old one did"
        );
    }

    #[tokio::test]
    async fn a_failed_store_shows_what_is_durable_and_takes_nothing() {
        let store = Store::with_manual_sync(LOG);
        put(&store, 0..3).await;
        store.sync_up_to(Position::dense(2));
        let mut early = store
            .subscribe(Position::START, Filter::All, Visibility::Appended)
            .await
            .unwrap();
        store.fail("fsync: input/output error");
        assert_eq!(early.next().await.unwrap().events.len(), 2);
        assert!(matches!(early.next().await, Err(StoreError::Failed(_))));
        assert_eq!(numbers(&store, Visibility::Appended).await, [0, 1]);
        assert_eq!(store.appended().await.unwrap(), Position::dense(2));
        store.wait_durable(Position::dense(2)).await.unwrap();
        let never = store.wait_durable(Position::dense(3)).await;
        assert!(matches!(never, Err(StoreError::Failed(_))));
        assert_eq!(store.sync(), Position::dense(2), "it never will be");
        let append = Append {
            stream: StreamName::new("thing", 1),
            expected: ExpectedRevision::Any,
            events: vec![],
        };
        assert!(matches!(
            store.append(vec![append]).await[..],
            [Err(AppendError::Store(StoreError::Failed(_)))]
        ));
    }

    #[tokio::test]
    async fn a_dump_is_equal_where_the_logs_are() {
        let (one, other) = (Store::new(LOG), Store::with_manual_sync(LOG));
        put(&one, 0..10).await;
        put(&other, 0..10).await;
        assert_eq!(one.dump(), other.dump(), "durability is no part of it");
        put(&one, [10, 12]).await;
        put(&other, [12, 10]).await;
        assert_ne!(one.dump(), other.dump(), "order is");
        let another = Store::new(LogId(Uuid::from_u128(8)));
        assert_ne!(Store::new(LOG).dump(), another.dump());
    }

    #[tokio::test]
    async fn readers_are_woken_in_the_order_in_which_they_began_to_wait() {
        let order = |seed: u64| async move {
            let store = Store::with_manual_sync(LOG);
            let woken = Arc::new(Mutex::new(Vec::new()));
            let mut readers = JoinSet::new();
            for reader in 0..50 {
                let (store, woken) = (store.clone(), Arc::clone(&woken));
                readers.spawn(async move {
                    store.wait_durable(Position::dense(1)).await.unwrap();
                    woken.lock().unwrap().push(reader);
                });
            }
            tokio::task::yield_now().await;
            put(&store, [u128::from(seed)]).await;
            tokio::task::yield_now().await;
            store.sync();
            readers.join_all().await;
            Arc::into_inner(woken).unwrap().into_inner().unwrap()
        };
        assert!(order(1).await.into_iter().eq(0..50));
    }
}
