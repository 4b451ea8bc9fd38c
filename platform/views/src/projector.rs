//! Fills a view from the log: what it is made of and the checkpoint together, or not at all.
//!
//! ```text
//! checkpoint ─▶ subscribe ─▶ batch ─▶ the target takes it in ─▶ commit ─▶ considered
//!     ▲                                                            │
//!     └───────── moved by somebody else, or not known whether ─────┘
//! ```
//!
//! What a view is made of is its [`Target`]'s: [`rows`] of documents, or the [`entries`] of a
//! book. How it is driven is the same for both.

pub mod entries;
pub mod rows;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use recourse_event_store::{
    Batch, EventStore, Filter, Position, StoreError, Subscription, Visibility,
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
    /// How many events go into one transaction. A batch of the store is never cut, so it may
    /// be more by one of those.
    pub max_batch_events: usize,
    /// How many rows are kept in memory at least; at most twice as many are.
    pub cached_rows: usize,
    /// How long a checkpoint may lie behind what was considered where nothing else is to be
    /// written: a quiet view does not write for each event of others.
    pub quiet_checkpoint_ms: u64,
    /// How long the view lingers after a transaction of many events that reached the end of the
    /// log, while nobody waits for it: what comes meanwhile goes into one transaction, and a row
    /// that changes at each of them is written once.
    pub linger_ms: u64,
    /// How many events are many.
    pub min_linger_events: usize,
    /// How long to wait before a try after the first that failed; twice as long after each.
    pub min_retry_ms: u64,
    /// How long to wait at most.
    pub max_retry_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_batch_events: 4_096,
            cached_rows: 1_024,
            quiet_checkpoint_ms: 1_000,
            linger_ms: 250,
            min_linger_events: 128,
            min_retry_ms: 20,
            max_retry_ms: 2_000,
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

    /// How far it has come, by what is in its database. What was remembered of it is forgotten:
    /// somebody else may have changed it since.
    ///
    /// # Errors
    /// Where it cannot be read.
    async fn reopen(&mut self) -> Result<Option<Checkpoint>, Error>;

    /// Takes a batch in and moves the checkpoint from `expected`, together. Gives the checkpoint
    /// as it is then; none where nothing of the batch concerns the view and `may_wait` says that
    /// the checkpoint may lie behind for now.
    ///
    /// # Errors
    /// Where nothing was taken in, or it is not known whether.
    async fn take_in(
        &mut self,
        store: &dyn EventStore,
        batch: &Batch,
        expected: Option<&Checkpoint>,
        may_wait: bool,
    ) -> Result<Option<Checkpoint>, Error>;
}

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
    written_at: Instant,
    /// That more was considered since than the checkpoint says.
    owes_checkpoint: bool,
    /// That the last batch was one of many events: more are to be expected soon.
    was_busy: bool,
    /// That the subscription has ended.
    cut: bool,
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
            owes_checkpoint: false,
            was_busy: false,
            cut: false,
        })
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
        if place.was_busy {
            let linger = Duration::from_millis(self.options.linger_ms);
            tokio::select! {
                biased;
                () = self.considered.wanted() => {}
                () = tokio::time::sleep_until(place.written_at + linger) => {}
            }
        }
        let quiet_until = place.written_at + self.quiet_checkpoint();
        let next = tokio::select! {
            biased;
            next = place.subscription.next() => next,
            // A log that has gone quiet leaves no checkpoint behind.
            () = tokio::time::sleep_until(quiet_until), if place.owes_checkpoint => Ok(Batch {
                events: Vec::new(),
                considered: self.considered.get(),
                at_end: true,
            }),
        };
        let batch = match next {
            Ok(batch) => self.gather(&mut place, batch),
            Err(StoreError::Unavailable(why)) => {
                tracing::debug!(view = T::NAME, why, "the subscription was cut");
                return Ok(Step::Cut);
            }
            Err(source) => return Err(store_error::<T>(source)),
        };
        let may_wait = place.written_at.elapsed() < self.quiet_checkpoint();
        let taken_in = self
            .target
            .take_in(&*self.store, &batch, place.checkpoint.as_ref(), may_wait)
            .await;
        match taken_in {
            Ok(written) => {
                place.owes_checkpoint = written.is_none();
                if written.is_some() {
                    place.checkpoint = written;
                    place.written_at = Instant::now();
                }
                self.considered.set(batch.considered);
                place.was_busy =
                    batch.at_end && batch.events.len() >= self.options.min_linger_events;
                // After a cut the next step subscribes again, and is told why where it cannot.
                self.place = Some(place).filter(|place| !place.cut);
                Ok(Step::Considered(batch.considered))
            }
            Err(error) if error.is_moved() => {
                tracing::debug!(view = T::NAME, "somebody else was faster");
                Ok(Step::Moved)
            }
            Err(error) => Err(error),
        }
    }

    /// Adds what the subscription has ready by now: the more a transaction holds, the less an
    /// event costs.
    fn gather(&self, place: &mut Place, mut batch: Batch) -> Batch {
        while batch.events.len() < self.options.max_batch_events {
            let more = match place.subscription.next().now_or_never() {
                Some(Ok(more)) => more,
                Some(Err(_)) => {
                    place.cut = true;
                    break;
                }
                None => break,
            };
            batch.events.extend(more.events);
            batch.considered = more.considered;
            batch.at_end = more.at_end;
        }
        batch
    }

    /// Fills the view until it is cancelled. What may mend itself is tried again, ever less
    /// often.
    ///
    /// # Errors
    /// The first that needs somebody to act.
    pub async fn run(mut self, cancelled: CancellationToken) -> Result<(), Error> {
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
mod tests;
