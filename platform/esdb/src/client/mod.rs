//! The port's adapter on EventStoreDB and KurrentDB: a thin client for the calls that the port needs.
//!
//! ```text
//! append ──▶ appending: one session, many in flight ─┐
//! reads ───▶ reading ────────────────────────────────┼──▶ connection: the node that leads, made
//! subscribe ▶ following: goes on where it was ───────┘    anew by one task when it is lost
//! ```
//!
//! **Durable is appended.** The server shows and answers what survives the loss of power, so
//! [`EventStore::durable`] moves on with whatever this process has appended or read. Both
//! visibilities see the same.
//!
//! While the server is away, calls wait for it as long as a call may take, and are then answered
//! with [`StoreError::Unavailable`]; subscriptions wait on. [`EventStore::wait_durable`] says at
//! once that the server is away: whoever asks for health learns it there.
//!
//! The log's name is kept in the log (`naming`), and the store's own events are never shown: those
//! whose stream or type begins with `$`, and the names.

mod appending;
mod connection;
mod following;
mod metrics;
pub(crate) mod naming;
mod options;
mod progress;
mod reading;
mod recorded;
mod status;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use recourse_event_store::{
    Append, AppendError, Appended, Batch, Direction, EventStore, Filter, LogId, Position, Read,
    RecordedEvent, StoreError, StreamName, Subscription, Visibility,
};
use tokio::{sync::mpsc, task::JoinSet};

pub use connection::Error;
pub use options::{Address, InvalidOptions, Options, ParseAddressError};

use connection::Connection;
use naming::Names;
use progress::Progress;

/// Whoever waits for a position that others may write looks for it so often.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// An event store that is an EventStoreDB. Clones are handles of the same one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    names: Arc<Names>,
    /// They end with the last handle.
    _tasks: Arc<JoinSet<()>>,
}

struct Inner {
    options: Options,
    connection: Connection,
    progress: Arc<Progress>,
    appends: mpsc::Sender<Vec<appending::Item>>,
}

impl Store {
    /// Connects, and waits for the server as long as there is none; the log says for what. `name`
    /// is what the log is called if it has no name yet. What keeps the connection runs where this
    /// is called.
    ///
    /// # Errors
    /// [`Error`], before anything is waited for.
    pub async fn connect(options: Options, name: LogId) -> Result<Self, Error> {
        Self::connect_within(options, name, Duration::MAX).await
    }

    /// As [`Self::connect`], and waits for so long: whoever waits on learns for what, and asks again.
    ///
    /// # Errors
    /// [`Error`]: of the options at once, [`Error::Unreachable`] after the wait.
    pub async fn connect_within(
        options: Options,
        name: LogId,
        patience: Duration,
    ) -> Result<Self, Error> {
        metrics::describe();
        let progress = Arc::new(Progress::default());
        let connection = Connection::new(options.clone(), name, Arc::clone(&progress))?;
        let (appends, queue) = mpsc::channel(appending::QUEUED_CALLS);
        let mut tasks = JoinSet::new();
        tasks.spawn(connection.clone().supervise());
        tasks.spawn(appending::run(
            queue,
            connection.clone(),
            options.max_in_flight,
        ));
        let naming = tokio::time::timeout(patience, connection.names_whenever());
        let names = match naming.await {
            Ok(names) => names,
            Err(_) => return Err(Error::Unreachable(connection.why_down())),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                connection,
                progress,
                appends,
            }),
            names: Arc::new(names),
            _tasks: Arc::new(tasks),
        })
    }
}

#[async_trait]
impl EventStore for Store {
    fn log_id(&self) -> LogId {
        self.names.id
    }

    fn former_names(&self) -> Vec<(LogId, Position)> {
        self.names.former.clone()
    }

    /// Of `EventStoreDB` they are places in its files, and the protocol does not say whose they are.
    fn counts_events(&self) -> bool {
        false
    }

    async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        self.inner.append(appends).await
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        _: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let read = self.inner.read_stream(stream, from, direction, max_events);
        read.await
    }

    async fn read_all(&self, read: Read) -> Result<Batch, StoreError> {
        self.inner.read_all(read).await
    }

    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        _: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        let inner = Arc::clone(&self.inner);
        Ok(Box::new(following::Tail::new(inner, after, filter)))
    }

    async fn appended(&self) -> Result<Position, StoreError> {
        self.inner.appended().await
    }

    fn durable(&self) -> Position {
        self.inner.progress.durable()
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        let progress = &self.inner.progress;
        loop {
            let moved = progress.moved();
            if position <= progress.durable() {
                return Ok(());
            }
            self.inner.connection.is_up()?;
            if tokio::time::timeout(LOOK_INTERVAL, moved).await.is_err() {
                self.inner.appended().await?;
            }
        }
    }
}
