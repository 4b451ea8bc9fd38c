//! Fills a view from the log: what it is made of and the checkpoint together, or not at all.
//!
//! ```text
//! checkpoint ─▶ subscribe ─▶ fold each batch as it comes ─▶ commit ─▶ considered
//!     ▲                            (in memory)                 │
//!     └───────── moved by somebody else, or not known whether ─┘
//! ```
//!
//! Events are let go of as soon as they are folded; what they made is written now and then, and
//! folding goes on meanwhile. So a busy view stays at the head of the log, where events are still
//! in memory, and a row that changes at each of many events is written once.
//!
//! What a view is made of is its [`Target`]'s: [`rows`] of documents, or the [`entries`] of a
//! book. How it is driven is the same for both.

pub mod entries;
pub mod rows;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use recourse_event_store::{
    Batch, EventStore, Filter, Position, RecordedEvent, StoreError, Subscription, Visibility,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Checkpoint, CheckpointError, Considered, books, documents, projection::FoldError};

pub use self::{
    entries::{Bookkeeper, Bookkeeping},
    rows::{Projector, read_row},
};

/// How a view is filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many rows or entries wait to be written at most. A batch of the store is never cut, so
    /// it may be more by what one of those makes.
    pub max_pending: usize,
    /// How many rows are kept in memory at least; at most twice as many are.
    pub cached_rows: usize,
    /// How long a checkpoint may lie behind what was considered where nothing else is to be
    /// written: a quiet view does not write for each event of others.
    pub quiet_checkpoint_ms: u64,
    /// How long after its last transaction a view makes the next one while there are many events
    /// and nobody waits for it: what comes meanwhile goes into one transaction.
    pub linger_ms: u64,
    /// How many events are many.
    pub min_linger_events: usize,
    /// Where a transaction took long, the next one comes after four times as long, at most this: a
    /// slow database is not kept busy by views alone.
    pub max_linger_ms: u64,
    /// How long to wait before a try after the first that failed; twice as long after each.
    pub min_retry_ms: u64,
    /// How long to wait at most.
    pub max_retry_ms: u64,
    /// How often at most it is looked how far a view has come that another process fills.
    pub min_follow_ms: u64,
    /// How often at least, where nobody waits for it.
    pub max_follow_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_pending: 4_096,
            cached_rows: 1_024,
            quiet_checkpoint_ms: 1_000,
            linger_ms: 250,
            min_linger_events: 128,
            max_linger_ms: 2_000,
            min_retry_ms: 20,
            max_retry_ms: 2_000,
            min_follow_ms: 100,
            max_follow_ms: 1_000,
        }
    }
}

/// Why a view is not filled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not belong to this log, or the store cannot say. Needs somebody to act.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An event cannot be taken in. Needs a projection that can.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The store does not answer.
    #[error("the event store did not answer the view `{view}`")]
    Store {
        /// Which view.
        view: &'static str,
        /// Why not.
        source: StoreError,
    },
    /// The rows cannot be loaded or written.
    #[error("the rows of the view `{view}` cannot be loaded or written")]
    Documents {
        /// Which view.
        view: &'static str,
        /// Why not.
        source: documents::Error,
    },
    /// The book cannot be read or written.
    #[error("the book of the view `{view}` cannot be read or written")]
    Books {
        /// Which view.
        view: &'static str,
        /// Why not.
        source: books::Error,
    },
}

impl Error {
    /// Whether another try may succeed without anybody's help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Checkpoint(CheckpointError::Refused { .. })
            | Self::Fold(FoldError::Event { .. }) => false,
            Self::Checkpoint(CheckpointError::Store { source, .. })
            | Self::Fold(FoldError::Store(source))
            | Self::Store { source, .. } => matches!(source, StoreError::Unavailable(_)),
            Self::Documents { source, .. } => matches!(
                source,
                documents::Error::Moved { .. } | documents::Error::Unavailable(_)
            ),
            Self::Books { source, .. } => matches!(
                source,
                books::Error::Moved { .. } | books::Error::Unavailable(_)
            ),
        }
    }

    /// Whether somebody else was faster.
    const fn is_moved(&self) -> bool {
        matches!(
            self,
            Self::Documents {
                source: documents::Error::Moved { .. },
                ..
            } | Self::Books {
                source: books::Error::Moved { .. },
                ..
            }
        )
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The view has considered the log up to here.
    Considered(Position),
    /// Somebody else fills the same view and was faster: the next step starts from there.
    Moved,
    /// The store ended the subscription: the next step makes another.
    Cut,
}

/// What is filled, and with what.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// The view.
    const NAME: &'static str;

    /// Which events it is made of.
    fn filter() -> Filter;

    /// How far it has come, by what is in its database. What was remembered of it or folded is
    /// forgotten: somebody else may have changed it since.
    ///
    /// # Errors
    /// Where it cannot be read.
    async fn reopen(&mut self) -> Result<Option<Checkpoint>, Error>;

    /// The furthest that a part of it is, where its database may have parts that are further than
    /// the checkpoint.
    ///
    /// # Errors
    /// Where it cannot be read.
    async fn furthest(&self) -> Result<Option<Checkpoint>, Error> {
        Ok(None)
    }

    /// Takes events in, in memory: [`Self::commit`] writes what they make.
    ///
    /// # Errors
    /// Where it is not known what was taken in: only [`Self::reopen`] helps.
    async fn fold(
        &mut self,
        store: &dyn EventStore,
        events: &[Arc<RecordedEvent>],
    ) -> Result<(), Error>;

    /// How much waits to be written.
    fn pending(&self) -> usize;

    /// Writes what was folded and moves the checkpoint from `expected` to `next`, together.
    /// More may be folded meanwhile; [`Self::committed`] says that this is done.
    ///
    /// # Errors
    /// Where it cannot be written at all.
    fn commit(
        &mut self,
        expected: Option<Checkpoint>,
        next: Checkpoint,
    ) -> Result<Committing, Error>;

    /// What the last [`Self::commit`] wrote is in the database.
    fn committed(&mut self);
}

/// A transaction under way. Fails where nothing was written, or it is not known whether: only
/// [`Target::reopen`] helps.
pub type Committing = BoxFuture<'static, Result<(), Error>>;

/// Fills one view. Two of them on one view do no harm: one is faster, the other starts again
/// from there.
pub struct Filler<T: Target> {
    store: Arc<dyn EventStore>,
    options: Options,
    considered: Considered,
    place: Option<Place>,
    target: T,
}

/// Where the projector is: what holds between two steps, and is given up after a failure.
struct Place {
    subscription: Box<dyn Subscription>,
    /// As it is in the database.
    checkpoint: Option<Checkpoint>,
    /// When that was written, or read.
    written_at: Instant,
    /// When the next transaction of many events is due.
    due_at: Instant,
    folded: Folded,
    writing: Option<Writing>,
    /// Whether the subscription has ended.
    cut: bool,
}

/// How far was folded.
struct Folded {
    considered: Position,
    /// The last event.
    last: Option<Arc<RecordedEvent>>,
    /// How many events since a transaction was begun.
    events: usize,
    /// Whether that was all there was.
    at_end: bool,
}

impl Folded {
    fn take(&mut self, mut batch: Batch) {
        self.events = self.events.saturating_add(batch.events.len());
        self.considered = batch.considered;
        self.at_end = batch.at_end;
        if let Some(last) = batch.events.pop() {
            self.last = Some(last);
        }
    }
}

/// How many times as long as a transaction took its view waits until the next one.
const REST: u32 = 4;

/// A transaction under way.
struct Writing {
    commit: Committing,
    next: Checkpoint,
    begun: Instant,
}

/// The checkpoint that the transaction under way has written, and how long that took.
async fn written(writing: &mut Option<Writing>) -> Result<(Checkpoint, Duration), Error> {
    let Some(writing) = writing else {
        return std::future::pending().await;
    };
    writing.commit.as_mut().await?;
    Ok((writing.next, writing.begun.elapsed()))
}

/// What happens next to a view.
enum Next {
    Batch(Result<Batch, StoreError>),
    Written((Checkpoint, Duration)),
    /// It is time to write.
    Write,
}

impl Place {
    /// Whether more was considered than the checkpoint says.
    fn owes_checkpoint(&self) -> bool {
        let written = self.checkpoint.map_or(Position::START, |at| at.position);
        self.folded.considered != written
    }
}

impl<T: Target> Filler<T> {
    /// One that has done nothing yet.
    #[must_use]
    pub fn with_target(store: Arc<dyn EventStore>, target: T, options: Options) -> Self {
        Self {
            store,
            options,
            considered: Considered::default(),
            place: None,
            target,
        }
    }

    /// How far the view has considered the log, for those who wait for it.
    #[must_use]
    pub fn considered(&self) -> Considered {
        self.considered.clone()
    }

    /// Finds where the view is and holds its checkpoint against the log. [`Self::step`] does so
    /// by itself; a service does it before it starts, so that a view that does not belong to
    /// the log keeps it from starting.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where the view does not belong to this log.
    pub async fn open(&mut self) -> Result<(), Error> {
        if self.place.is_none() {
            self.place = Some(self.find().await?);
        }
        Ok(())
    }

    async fn find(&mut self) -> Result<Place, Error> {
        let checkpoint = self.target.reopen().await?;
        if let Some(checkpoint) = &checkpoint {
            checkpoint.verify(&*self.store, T::NAME).await?;
        }
        let position = checkpoint.map_or(Position::START, |checkpoint| checkpoint.position);
        // What is past the checkpoint is held against the log too: what a log that was restored
        // does not have again would be taken for folded.
        let furthest = self.target.furthest().await?;
        if let Some(furthest) = furthest.filter(|furthest| furthest.position > position) {
            furthest.verify(&*self.store, T::NAME).await?;
        }
        let subscription = self
            .store
            .subscribe(position, T::filter(), Visibility::Durable)
            .await
            .map_err(store_error::<T>)?;
        self.considered.set(position);
        Ok(Place {
            subscription,
            checkpoint,
            written_at: Instant::now(),
            due_at: Instant::now(),
            folded: Folded {
                considered: position,
                last: None,
                events: 0,
                at_end: true,
            },
            writing: None,
            cut: false,
        })
    }

    /// How long after a transaction that took so long the next one of many events comes.
    fn linger(&self, took: Duration) -> Duration {
        let least = Duration::from_millis(self.options.linger_ms);
        let most = Duration::from_millis(self.options.max_linger_ms);
        took.saturating_mul(REST).min(most).max(least)
    }

    fn quiet_checkpoint(&self) -> Duration {
        Duration::from_millis(self.options.quiet_checkpoint_ms)
    }

    /// Waits for what is new and takes it in. May be dropped while it waits, and at any other
    /// moment: what it left is whole, and the next step finds out what that is.
    ///
    /// # Errors
    /// Where the step was not taken. The next one starts from the checkpoint.
    pub async fn step(&mut self) -> Result<Step, Error> {
        self.open().await?;
        // Taken out while it is worked with: a step that fails or is dropped leaves nothing
        // that could be half true.
        let Some(mut place) = self.place.take() else {
            return Ok(Step::Cut);
        };
        match self.step_from(&mut place).await {
            Ok(Some(position)) => {
                self.considered.set(position);
                // After a cut the next step subscribes again, and is told why where it cannot.
                self.place = Some(place).filter(|place| !place.cut);
                Ok(Step::Considered(position))
            }
            Ok(None) => Ok(Step::Cut),
            Err(error) if error.is_moved() => {
                tracing::debug!(view = T::NAME, "somebody else was faster");
                Ok(Step::Moved)
            }
            Err(error) => Err(error),
        }
    }

    /// Folds what comes and writes it when it is time to, until the view has considered more;
    /// none where the subscription was cut before that.
    async fn step_from(&mut self, place: &mut Place) -> Result<Option<Position>, Error> {
        loop {
            // A view that is far behind always finds more: others get their turn in between.
            tokio::task::consume_budget().await;
            let pending = self.target.pending();
            let is_full = pending >= self.options.max_pending;
            let quiet_until = place.written_at + self.quiet_checkpoint();
            let many =
                !place.folded.at_end || place.folded.events >= self.options.min_linger_events;
            let is_idle = place.writing.is_none();
            if is_idle {
                let now = Instant::now();
                if pending > 0 && (is_full || place.cut || (many && place.due_at <= now)) {
                    self.write(place).await?;
                    continue;
                }
                if pending == 0 && place.folded.considered != self.considered.get() {
                    if quiet_until <= now {
                        self.write(place).await?;
                        continue;
                    }
                    // Nothing of it concerns the view: it is considered without a write.
                    return Ok(Some(place.folded.considered));
                }
                if place.cut {
                    return Ok(None);
                }
            }
            let waits = is_idle && pending > 0;
            let owes = is_idle && pending == 0 && place.owes_checkpoint();
            let is_cut = place.cut;
            let Place {
                subscription,
                writing,
                due_at,
                ..
            } = &mut *place;
            let next = tokio::select! {
                biased;
                written = written(writing), if !is_idle => Next::Written(written?),
                () = self.considered.wanted(), if waits => Next::Write,
                batch = subscription.next(), if !is_full && !is_cut => Next::Batch(batch),
                () = std::future::ready(()), if waits && !many => Next::Write,
                () = tokio::time::sleep_until(*due_at), if waits => Next::Write,
                // A log that has gone quiet leaves no checkpoint behind.
                () = tokio::time::sleep_until(quiet_until), if owes => Next::Write,
            };
            match next {
                Next::Write => self.write(place).await?,
                Next::Batch(Ok(batch)) => {
                    self.target.fold(&*self.store, &batch.events).await?;
                    place.folded.take(batch);
                }
                Next::Batch(Err(StoreError::Unavailable(why))) => {
                    tracing::debug!(view = T::NAME, why, "the subscription was cut");
                    place.cut = true;
                }
                Next::Batch(Err(source)) => return Err(store_error::<T>(source)),
                Next::Written((checkpoint, took)) => {
                    self.target.committed();
                    place.writing = None;
                    place.checkpoint = Some(checkpoint);
                    place.written_at = Instant::now();
                    place.due_at = place.written_at + self.linger(took);
                    return Ok(Some(checkpoint.position));
                }
            }
        }
    }

    /// Begins to write what was folded.
    async fn write(&mut self, place: &mut Place) -> Result<(), Error> {
        let folded = &mut place.folded;
        let next = Checkpoint::after(&*self.store, folded.considered, folded.last.as_deref())
            .await
            .map_err(store_error::<T>)?;
        folded.events = 0;
        place.writing = Some(Writing {
            commit: self.target.commit(place.checkpoint, next)?,
            next,
            begun: Instant::now(),
        });
        Ok(())
    }

    /// Follows how far the view comes while another process fills it. Never ends; may be dropped
    /// at any moment.
    pub async fn follow(&mut self) {
        // What was found is out of date when this process goes on.
        self.place = None;
        let least = Duration::from_millis(self.options.min_follow_ms);
        let most = Duration::from_millis(self.options.max_follow_ms);
        loop {
            let is_known = match self.target.reopen().await {
                Ok(checkpoint) => {
                    let position = checkpoint.map(|checkpoint| checkpoint.position);
                    self.considered.set(position.unwrap_or(Position::START));
                    true
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(view = T::NAME, error, "it is not known how far the view is");
                    false
                }
            };
            tokio::time::sleep(least).await;
            let wanted = async {
                match is_known {
                    true => self.considered.wanted().await,
                    false => std::future::pending().await,
                }
            };
            // Either is a reason to look again.
            let _ = tokio::time::timeout(most.saturating_sub(least), wanted).await;
        }
    }

    /// Fills the view until it is cancelled. What may mend itself is tried again, ever less
    /// often.
    ///
    /// # Errors
    /// The first that needs somebody to act.
    pub async fn run(mut self, cancelled: CancellationToken) -> Result<(), Error> {
        self.fill(&cancelled).await
    }

    /// The same, and it can go on afterwards.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn fill(&mut self, cancelled: &CancellationToken) -> Result<(), Error> {
        let mut failures: u32 = 0;
        loop {
            let step = tokio::select! {
                biased;
                () = cancelled.cancelled() => return Ok(()),
                step = self.step() => step,
            };
            match step {
                Ok(Step::Considered(_)) => failures = 0,
                Ok(Step::Moved | Step::Cut) => failures = failures.saturating_add(1),
                Err(error) if error.is_transient() => {
                    tracing::warn!(
                        view = T::NAME,
                        error = &error as &dyn std::error::Error,
                        "the view waits"
                    );
                    failures = failures.saturating_add(1);
                }
                Err(error) => return Err(error),
            }
            if failures > 0 {
                tokio::select! {
                    biased;
                    () = cancelled.cancelled() => return Ok(()),
                    () = tokio::time::sleep(self.options.retry_after(failures)) => {}
                }
            }
        }
    }
}

impl Options {
    fn retry_after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let after = self.min_retry_ms.saturating_mul(1 << doublings);
        Duration::from_millis(after.min(self.max_retry_ms))
    }
}

fn store_error<T: Target>(source: StoreError) -> Error {
    Error::Store {
        view: T::NAME,
        source,
    }
}

#[cfg(test)]
pub(crate) mod tests;
