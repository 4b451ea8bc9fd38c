//! One watcher: reads the store until it meets the tail, then lives off the tail.
//!
//! Only a watcher that has read up to the durable end takes a tap there. What came between is
//! read once more from the store, up to [`Tap::since`]; the rest comes through the tap. So there
//! is no gap, and what comes twice is known by its position.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use recourse_event_store::{
    Direction, EventStore, Filter, Position, Read, RecordedEvent, StoreError, StreamName,
    Visibility,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    fold::{self, Fold, FoldError, Folds},
    frame::{self, Frame},
    hub::{Hub, Tap, Wants},
};
use crate::{history, metrics::Open};

/// The most events of one read.
const PAGE_EVENTS: usize = 256;

/// Frames that wait are sent together up to about so many bytes.
const CHUNK_BYTES: usize = 32 * 1024;

/// What is watched.
pub(super) enum Source {
    /// The events of the log.
    Log { types: Vec<String> },
    /// The events of a stream, from this revision on.
    Stream {
        name: StreamName,
        types: Vec<String>,
        next: u64,
    },
    /// Every saga in short.
    Sagas { folds: Folds },
    /// One saga.
    Saga {
        name: StreamName,
        /// The revision of the event to come.
        next: u64,
        fold: Box<dyn Fold>,
        /// That it is to be shown as it is before anything else.
        present: bool,
    },
    /// Nothing but the tap.
    Tapped,
}

/// What a watcher belongs to.
pub(super) struct Ties {
    pub(super) hub: Arc<Hub>,
    pub(super) keep_alive: Duration,
    /// Cancelled once the process drains.
    pub(super) draining: CancellationToken,
    /// Cancelled where the connection is to be closed at once.
    pub(super) connection: CancellationToken,
    /// The place among all watchers.
    pub(super) _place: OwnedSemaphorePermit,
    /// That it is counted.
    pub(super) _open: Open,
}

/// One watcher.
pub(super) struct Watcher {
    ties: Ties,
    source: Source,
    /// Everything up to here is sent, ready or passed over.
    at: Position,
    /// Read, and not yet sent.
    ready: VecDeque<Bytes>,
    tap: Option<Tap>,
    is_last: bool,
    keep_alive_at: Instant,
}

/// Why a watcher cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the event store cannot be read")]
    Store(#[from] StoreError),
    #[error("the saga cannot be shown")]
    Fold(#[from] FoldError),
}

/// What one read found.
struct Page {
    frames: Vec<Frame>,
    considered: Position,
    at_end: bool,
}

/// What came while the watcher waited.
enum Came {
    Frame(Option<Frame>),
    End,
    Quiet,
}

impl Watcher {
    /// A watcher of what is after `at`.
    pub(super) fn new(ties: Ties, source: Source, at: Position) -> Self {
        let keep_alive_at = Instant::now() + ties.keep_alive;
        Self {
            ties,
            source,
            at,
            ready: VecDeque::new(),
            tap: None,
            is_last: false,
            keep_alive_at,
        }
    }

    /// Reads on from the store, a page; what it finds is ready to be sent.
    pub(super) async fn read(&mut self) -> Result<(), Error> {
        let hub = Arc::clone(&self.ties.hub);
        let page = self.source.read(&hub, self.at).await?;
        for frame in page.frames {
            self.take(frame);
        }
        self.at = self.at.max(page.considered);
        if page.at_end && self.tap.is_none() && !self.is_last {
            let (stream, wants) = self.source.wants();
            self.tap = Some(hub.tap(stream, wants, self.ties.connection.clone()));
        }
        Ok(())
    }

    /// That the store has been read up to where the tap begins.
    pub(super) fn is_live(&self) -> bool {
        self.is_last || self.tap.as_ref().is_some_and(|tap| tap.since <= self.at)
    }

    /// Reads a saga's stream, which is short, up to where the tap begins, and shows the saga as
    /// it is where that is wanted. Says whether there is anything to tell, now or later, but
    /// that it has ended.
    pub(super) async fn read_saga(&mut self) -> Result<bool, Error> {
        while !self.is_live() {
            self.read().await?;
        }
        // From here on the tail folds it.
        let source = std::mem::replace(&mut self.source, Source::Tapped);
        if let Source::Saga { fold, present, .. } = source {
            if present {
                let id = self.ties.hub.log().token(self.at);
                let json = fold.whole().map_err(FoldError::from)?;
                self.ready
                    .push_back(frame::block(Some(frame::SAGA), &id, &json));
            }
            if fold.is_ended() && !self.is_last {
                let is_news = !self.ready.is_empty();
                self.end();
                return Ok(is_news);
            }
        }
        Ok(true)
    }

    /// Puts a block before all others.
    pub(super) fn begin_with(&mut self, block: Bytes) {
        self.ready.push_front(block);
    }

    /// Everything up to here is ready or passed over.
    pub(super) fn at(&self) -> Position {
        self.at
    }

    /// The next bytes of the stream; none at its end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.chunk() {
                self.keep_alive_at = Instant::now() + self.ties.keep_alive;
                return Some(chunk);
            }
            if self.is_last || self.ties.draining.is_cancelled() {
                return None;
            }
            if self.is_live() {
                match self.wait().await {
                    Came::Frame(Some(frame)) => {
                        self.take(frame);
                        self.take_what_waits();
                    }
                    Came::Frame(None) | Came::End => return None,
                    Came::Quiet => self.keep_alive(),
                }
                continue;
            }
            if let Err(error) = self.read().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a watcher is let go"
                );
                return None;
            }
            if self.ready.is_empty() {
                if Instant::now() >= self.keep_alive_at {
                    self.ready.push_back(self.considered());
                }
                // A long way without anything to send is not to hold up the others.
                tokio::task::yield_now().await;
            }
        }
    }

    async fn wait(&mut self) -> Came {
        let Some(tap) = &mut self.tap else {
            return Came::End;
        };
        tokio::select! {
            biased;
            () = self.ties.draining.cancelled() => Came::End,
            () = self.ties.connection.cancelled() => Came::End,
            frame = tap.next() => Came::Frame(frame),
            () = tokio::time::sleep_until(self.keep_alive_at) => Came::Quiet,
        }
    }

    /// Takes what waits at the tap, so that it is sent together.
    fn take_what_waits(&mut self) {
        let mut bytes = 0;
        while bytes < CHUNK_BYTES {
            let Some(frame) = self.tap.as_mut().and_then(Tap::try_next) else {
                break;
            };
            bytes += frame.bytes.len();
            self.take(frame);
        }
    }

    fn take(&mut self, frame: Frame) {
        if frame.position <= self.at || self.is_last {
            return;
        }
        self.at = frame.position;
        self.ready.push_back(frame.bytes);
        if frame.is_last {
            self.end();
        }
    }

    fn end(&mut self) {
        self.is_last = true;
        self.tap = None;
        self.ready.push_back(frame::end());
    }

    /// Nothing has come for a while: says how far the log has been considered.
    fn keep_alive(&mut self) {
        // Asked before the look at the tap: what was handed over up to here is there, or the tap
        // is closed by now.
        let considered = self.ties.hub.considered();
        self.take_what_waits();
        let is_drained = self.tap.as_ref().is_some_and(Tap::is_drained);
        if self.ready.is_empty() && is_drained {
            self.at = self.at.max(considered);
            self.ready.push_back(self.considered());
        }
    }

    fn considered(&self) -> Bytes {
        frame::considered(&self.ties.hub.log().token(self.at))
    }

    fn chunk(&mut self) -> Option<Bytes> {
        let first = self.ready.pop_front()?;
        if self.ready.is_empty() {
            return Some(first);
        }
        let mut chunk = BytesMut::from(&*first);
        while chunk.len() < CHUNK_BYTES
            && let Some(next) = self.ready.pop_front()
        {
            chunk.extend_from_slice(&next);
        }
        Some(chunk.freeze())
    }
}

impl Source {
    /// What its watcher takes from the tail.
    fn wants(&self) -> (Option<StreamName>, Wants) {
        match self {
            Self::Log { types } => (None, Wants::Events(types.clone())),
            Self::Stream { name, types, .. } => (Some(name.clone()), Wants::Events(types.clone())),
            Self::Sagas { .. } | Self::Tapped => (None, Wants::Summary),
            Self::Saga { name, .. } => (Some(name.clone()), Wants::Saga),
        }
    }

    async fn read(&mut self, hub: &Hub, after: Position) -> Result<Page, Error> {
        let log = hub.log();
        let store = &*log.store;
        match self {
            Self::Log { types } => {
                let filter = if types.is_empty() {
                    Filter::All
                } else {
                    Filter::TypePrefixes(types.clone())
                };
                let batch = store.read_all(on_from(after, filter)).await?;
                let wanted = batch.events.iter();
                let wanted = wanted.filter(|event| history::wants(types, &event.event.event_type));
                Ok(Page {
                    frames: wanted.map(|event| log.event(event)).collect(),
                    considered: batch.considered,
                    at_end: batch.at_end,
                })
            }
            Self::Stream { name, types, next } => {
                let (events, considered, at_end) = read_stream(store, name, next).await?;
                let wanted = events
                    .iter()
                    .filter(|event| history::wants(types, &event.event.event_type));
                Ok(Page {
                    frames: wanted.map(|event| log.event(event)).collect(),
                    considered,
                    at_end,
                })
            }
            Self::Sagas { folds } => {
                let filter = Filter::categories(&["saga"]);
                let batch = store.read_all(on_from(after, filter)).await?;
                let mut frames = Vec::with_capacity(batch.events.len());
                for event in &batch.events {
                    let seen = folds.see(store, event, false, true).await?;
                    let summary = seen.summary.unwrap_or_default();
                    frames.push(log.saga(event, &summary, false));
                }
                Ok(Page {
                    frames,
                    considered: batch.considered,
                    at_end: batch.at_end,
                })
            }
            Self::Saga {
                name,
                next,
                fold,
                present,
            } => {
                let (events, considered, at_end) = read_stream(store, name, next).await?;
                let mut frames = Vec::new();
                for event in &events {
                    fold::apply(&mut **fold, event)?;
                    if !*present && event.position > after {
                        let json = fold.whole().map_err(FoldError::from)?;
                        frames.push(log.saga(event, &json, fold.is_ended()));
                    }
                }
                Ok(Page {
                    frames,
                    considered,
                    at_end,
                })
            }
            Self::Tapped => Ok(Page {
                frames: Vec::new(),
                considered: after,
                at_end: true,
            }),
        }
    }
}

fn on_from(after: Position, filter: Filter) -> Read {
    Read {
        from: Some(after),
        direction: Direction::Forward,
        visibility: Visibility::Durable,
        filter,
        max_events: PAGE_EVENTS,
    }
}

/// The stream's events from `next` on, a page; how far the log is considered with them; and
/// whether there are no more.
async fn read_stream(
    store: &dyn EventStore,
    name: &StreamName,
    next: &mut u64,
) -> Result<(Vec<Arc<RecordedEvent>>, Position, bool), StoreError> {
    // Asked first: what the read does not find up to here is not there.
    let durable = store.durable();
    let events = store
        .read_stream(
            name,
            Some(*next),
            Direction::Forward,
            Visibility::Durable,
            PAGE_EVENTS,
        )
        .await?;
    let last = events.last();
    if let Some(last) = last {
        *next = last.revision.saturating_add(1);
    }
    let at_end = events.len() < PAGE_EVENTS;
    let last = last.map_or(Position::START, |last| last.position);
    let considered = if at_end { durable.max(last) } else { last };
    Ok((events, considered, at_end))
}

/// The revision of a stream's first durable event after a position, or of the next to come.
pub(super) async fn revision_after(
    store: &dyn EventStore,
    name: &StreamName,
    position: Position,
) -> Result<u64, StoreError> {
    let mut from = None;
    loop {
        let page = store
            .read_stream(
                name,
                from,
                Direction::Backward,
                Visibility::Durable,
                PAGE_EVENTS,
            )
            .await?;
        for event in &page {
            if event.position <= position {
                return Ok(event.revision.saturating_add(1));
            }
        }
        match page.last().and_then(|last| last.revision.checked_sub(1)) {
            Some(before) => from = Some(before),
            None => return Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use recourse_event_store::{Append, ExpectedRevision, LogId, NewEvent, memory};
    use recourse_schema::{Catalog, Redactor};
    use tokio::sync::Semaphore;
    use uuid::Uuid;

    use super::*;
    use crate::{metrics::Kind, watch::hub::Log};

    /// A watcher of the log that has read all there is, and the log's last event.
    async fn live(events: u64) -> (Arc<Hub>, Watcher, Arc<RecordedEvent>) {
        let store = memory::Store::with_manual_sync(LogId(Uuid::nil()));
        let stream = StreamName::new("thing", 1);
        for number in 0..events {
            let id = Uuid::from_u128(number.into());
            let append = Append {
                stream: stream.clone(),
                expected: ExpectedRevision::Any,
                events: vec![NewEvent::raw(id, "thing.changed.v1", "{}", "{}")],
            };
            store.append(vec![append]).await.remove(0).unwrap();
        }
        store.sync();
        let last = store
            .read_stream(&stream, None, Direction::Backward, Visibility::Durable, 1)
            .await
            .unwrap()
            .remove(0);
        let log = Log {
            store: Arc::new(store),
            redactor: Arc::new(Redactor::new(&Catalog::new())),
            fold: None,
        };
        let hub = Arc::new(Hub::new(log, 100));
        let ties = Ties {
            hub: Arc::clone(&hub),
            keep_alive: Duration::from_secs(1),
            draining: CancellationToken::new(),
            connection: CancellationToken::new(),
            _place: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
            _open: Open::new(Kind::Events),
        };
        let types = Vec::new();
        let mut watcher = Watcher::new(ties, Source::Log { types }, Position::START);
        while !watcher.is_live() {
            watcher.read().await.unwrap();
        }
        while watcher.chunk().is_some() {}
        (hub, watcher, last)
    }

    fn frame(number: u64) -> Frame {
        Frame {
            position: Position::dense(number),
            bytes: Bytes::from(vec![b'x'; CHUNK_BYTES / 4]),
            is_last: false,
        }
    }

    #[tokio::test]
    async fn a_keep_alive_does_not_pass_what_waits_behind_much_that_was_seen_already() {
        let (hub, mut watcher, last) = live(10).await;
        // It had read further from the store, after its tap was there.
        watcher.at = Position::dense(20);
        for number in 11..=21 {
            hub.hand_over_for_test(frame(number), Arc::clone(&last));
        }
        watcher.keep_alive();
        let next = watcher.next().await.unwrap();
        assert_eq!(next, frame(21).bytes);
        assert_eq!(watcher.at(), Position::dense(21));
    }

    #[tokio::test]
    async fn a_keep_alive_does_not_pass_what_was_never_handed_over() {
        let (hub, mut watcher, _) = live(10).await;
        // The tail's reader ends before the 11th event; the next one begins after it.
        hub.begin_anew_for_test(Position::dense(11));
        watcher.keep_alive();
        assert_eq!(watcher.next().await, None, "it is let go");
        assert_eq!(watcher.at(), Position::dense(10));
    }
}
