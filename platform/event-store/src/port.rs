//! The port: what Recourse asks of an event store.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{LogId, NewEvent, Position, RecordedEvent, StreamName};

/// What a stream must look like for an append to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRevision {
    /// Whatever it is.
    Any,
    /// It has no events.
    NoStream,
    /// Its last event has this revision.
    Exact(u64),
}

impl ExpectedRevision {
    /// What follows a stream read up to `last`, its last revision.
    #[must_use]
    pub fn after(last: Option<u64>) -> Self {
        last.map_or(Self::NoStream, Self::Exact)
    }
}

/// Events for one stream: all of them or none.
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream.
    pub stream: StreamName,
    /// What it must look like.
    pub expected: ExpectedRevision,
    /// At least one event.
    pub events: Vec<NewEvent>,
}

/// Where the events of an [`Append`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The revision of the last of them.
    pub revision: u64,
    /// The position of the last of them. Absent where the store recognised a repeat and does
    /// not say where the first one went: read the stream to know.
    pub position: Option<Position>,
}

/// Why events were not appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else was there first. Reload what is new and decide again.
    #[error("the stream is at revision {actual:?}, not where the append expects it")]
    WrongExpectedRevision {
        /// The stream's last revision; none where it has no events.
        actual: Option<u64>,
    },
    /// An event, or an append, is over the store's limit.
    #[error("the append holds {bytes} bytes; the store takes at most {max_bytes}")]
    TooLarge {
        /// What it holds.
        bytes: usize,
        /// What the store takes.
        max_bytes: usize,
    },
    /// An append without an event.
    #[error("an append holds at least one event")]
    Empty,
    /// The store cannot take it. It may still have taken effect where the store says so.
    #[error("the event store does not take appends")]
    Store(#[source] StoreError),
}

/// Why the store cannot answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time: an append may have taken effect, so
    /// read the stream before deciding again.
    #[error("the event store is not available: {0}")]
    Unavailable(String),
    /// It has no room for another event. What it holds stays readable.
    #[error("the event store has no room left: {0}")]
    Full(String),
    /// A write or an fsync failed: what is not durable yet never will be, reads stop at the
    /// last durable position, and the process must end.
    #[error("the event store failed and takes nothing more: {0}")]
    Failed(String),
    /// What it holds cannot be read back as it was written.
    #[error("the event store is damaged at {at}: {what}. Restore the folder from a backup")]
    Corrupt {
        /// Which file and where in it, or which position.
        at: String,
        /// What is wrong there.
        what: String,
    },
    /// It has been closed.
    #[error("the event store is closed")]
    Closed,
}

/// Which way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From older to newer.
    Forward,
    /// From newer to older.
    Backward,
}

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Everything that has its place in the log. For what stays within the process.
    Appended,
    /// Only what survives the loss of power. For what leaves it.
    Durable,
}

/// Which events of the whole log a reader wants. Events of the store's own (`$…`) never come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Every event.
    #[default]
    All,
    /// Those whose stream begins with one of these: `order-`.
    StreamPrefixes(Vec<String>),
    /// Those whose type begins with one of these: `order.placed.`.
    TypePrefixes(Vec<String>),
}

impl Filter {
    /// The streams of these categories.
    #[must_use]
    pub fn categories(categories: &[&str]) -> Self {
        Self::StreamPrefixes(
            categories
                .iter()
                .map(|category| format!("{category}-"))
                .collect(),
        )
    }

    /// Whether it wants an event of this stream and type.
    #[must_use]
    pub fn wants(&self, stream: &str, event_type: &str) -> bool {
        match self {
            Self::All => true,
            Self::StreamPrefixes(prefixes) => {
                prefixes.iter().any(|prefix| stream.starts_with(&**prefix))
            }
            Self::TypePrefixes(prefixes) => prefixes
                .iter()
                .any(|prefix| event_type.starts_with(&**prefix)),
        }
    }
}

/// How to read the whole log.
#[derive(Clone, Debug)]
pub struct Read {
    /// Exclusive: forward what is after it, backward what is before it. `None` backward is the
    /// end; forward it is [`Position::START`].
    pub from: Option<Position>,
    /// Which way.
    pub direction: Direction,
    /// How far.
    pub visibility: Visibility,
    /// Which events.
    pub filter: Filter,
    /// How many at most.
    pub max_events: usize,
}

/// Some events in order, and how far the log was looked at to find them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The events that the filter wants.
    pub events: Vec<Arc<RecordedEvent>>,
    /// Everything up to here was considered, wanted or not: where to go on from. Never before
    /// the last of `events` (forward), nor after it (backward).
    pub considered: Position,
    /// That there is nothing more to read at the time of the answer.
    pub at_end: bool,
}

/// The event store.
///
/// Every call may be dropped while it waits; a dropped append may still take effect.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Which log this is.
    fn log_id(&self) -> LogId;

    /// What this log was called before, oldest first, each with the last position under that
    /// name. A log that is restored from a backup goes on under another: who remembers a position
    /// of it under the old one may mean another event.
    fn former_names(&self) -> Vec<(LogId, Position)> {
        Vec::new()
    }

    /// Whether positions count events: then the difference of two is how many lie between. Where they
    /// are places in files it says nothing of that.
    fn counts_events(&self) -> bool {
        true
    }

    /// Appends to several streams, each by itself: one may be refused and the next taken. The
    /// answers come in the order of the appends, and so do the positions.
    ///
    /// An append whose expected revision is behind the stream, and whose events are already
    /// there by id from that revision on, is answered as if it were new: a repeat after a lost
    /// answer does no harm.
    async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>>;

    /// Reads one stream. `from` is inclusive; backward, `None` is the end; forward, the start.
    /// An unknown stream has no events.
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError>;

    /// Reads the whole log. May answer with fewer events than asked for, or none, before the
    /// end: go on from `considered` until `at_end`.
    async fn read_all(&self, read: Read) -> Result<Batch, StoreError>;

    /// Reads the whole log from `after` (exclusive) and goes on with what is appended then:
    /// no gap, no repeat.
    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError>;

    /// The position of the last event that has its place in the log.
    async fn appended(&self) -> Result<Position, StoreError>;

    /// Everything up to here survives the loss of power.
    fn durable(&self) -> Position;

    /// Waits until everything up to `position` is durable.
    ///
    /// # Errors
    /// [`StoreError::Failed`] once it never will be.
    async fn wait_durable(&self, position: Position) -> Result<(), StoreError>;
}

/// A reader that goes on with what is new.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for the next batch. Never empty but for news of `considered`, so that a reader
    /// of a quiet category still moves. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// Where the subscription was cut: subscribe again after the last `considered`.
    async fn next(&mut self) -> Result<Batch, StoreError>;
}
