//! One loop per kind of aggregate: takes what is there, executes it as one batch, answers.
//!
//! ```text
//! bus ─────────▶ queue ─┐                          ┌▶ replies
//!                       ├▶ one batch ▶ repository ─┤
//! handles ─▶ channel ───┘                          └▶ once durable: commit to the bus
//! ```
//!
//! Replies go out as soon as the events are appended: whoever gets one waits until the log is
//! durable up to its position. Only the bus is told after that.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use recourse_bus::{Bus, BusError, Consumer, Deliveries, Delivery};
use recourse_event_store::{Position, StoreError, typed};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Aggregate, Error, Handle, Outcome, Repository, Request, handle::Job, inbox::Inbox,
    repository::save,
};

/// What time it is.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The limits of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerOptions {
    /// The commands of one batch. At least 2.
    pub max_batch_commands: usize,
    /// The requests that wait for their batch; more are refused.
    pub max_queued_requests: usize,
    /// What a refused sender is told to wait, in ms.
    pub retry_after_ms: u64,
    /// The wait before the bus or the store is asked again after an error, in ms; it doubles
    /// with each failure in a row.
    pub first_backoff_ms: u64,
    /// The longest of those waits, in ms.
    pub max_backoff_ms: u64,
    /// How long the end waits for the last batch to become durable, in ms.
    pub max_drain_ms: u64,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            max_batch_commands: 512,
            max_queued_requests: 1_024,
            retry_after_ms: 1_000,
            first_backoff_ms: 50,
            max_backoff_ms: 5_000,
            max_drain_ms: 5_000,
        }
    }
}

/// Where a worker's saga commands come from.
#[derive(Clone)]
pub struct Source {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The name under which it keeps how far this worker has come.
    pub group: String,
}

/// Why a worker ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The store is broken or closed.
    #[error("the event store failed")]
    Store(#[source] StoreError),
    /// The bus cannot be read without somebody doing something about it.
    #[error("the bus cannot be read")]
    Bus(#[source] BusError),
    /// A saga's event says not what it is about, so its commands cannot be answered.
    #[error("the saga's event at {position} cannot be read")]
    Delivery {
        /// The event.
        position: Position,
        /// What is wrong with it.
        source: typed::Error,
    },
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The saga commands that were executed.
    pub deliveries: usize,
    /// The other requests that were executed.
    pub requests: usize,
    /// How far the bus was told that everything has had its effect.
    pub committed: Option<Position>,
}

/// Executes the commands of one kind of aggregate, one batch at a time.
pub struct Worker<A: Aggregate> {
    repository: Arc<Repository<A>>,
    options: WorkerOptions,
    clock: Clock,
    jobs: mpsc::Receiver<Job<A>>,
    source: Option<Source>,
    consumer: Option<Box<dyn Consumer<Delivery>>>,
    inbox: Inbox,
    failures: u32,
    resume_at: Option<Instant>,
    saving: JoinSet<()>,
}

/// What a worker woke up for.
enum Woken<A: Aggregate> {
    Delivered(Result<Deliveries<Delivery>, BusError>),
    Job(Box<Job<A>>),
    NoMoreJobs,
    Durable(Result<(), StoreError>),
    Saved,
    Resumed,
}

impl<A: Aggregate> Worker<A> {
    /// A worker and the handle to send it requests. Without a source it takes no saga
    /// commands.
    #[must_use]
    pub fn new(
        repository: Arc<Repository<A>>,
        source: Option<Source>,
        clock: Clock,
        options: WorkerOptions,
    ) -> (Self, Handle<A>) {
        let (sender, jobs) = mpsc::channel(options.max_queued_requests.max(1));
        let handle = Handle {
            jobs: sender,
            repository: Arc::clone(&repository),
            retry_after: Duration::from_millis(options.retry_after_ms),
        };
        let worker = Self {
            repository,
            clock,
            jobs,
            source,
            consumer: None,
            inbox: Inbox::default(),
            failures: 0,
            resume_at: None,
            saving: JoinSet::new(),
            options,
        };
        (worker, handle)
    }

    /// Runs until `shutdown`, then executes what it has accepted and ends.
    ///
    /// # Errors
    /// Where the store is broken, or the bus in a way that time does not mend: the process
    /// must end.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        loop {
            let woken = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                woken = self.wake() => woken?,
            };
            self.work(woken).await?;
        }
        self.drain().await
    }

    /// Waits until there is something to do, and does it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn step(&mut self) -> Result<Step, WorkerError> {
        let woken = self.wake().await?;
        self.work(woken).await
    }

    /// Waits for the next thing to do. May be dropped while it waits.
    async fn wake(&mut self) -> Result<Woken<A>, WorkerError> {
        if self.resume_at.is_none() {
            self.connect().await?;
        }
        let paused = self.resume_at;
        // While a command waits for its repeat nothing newer may be taken from the bus.
        let wants_deliveries = paused.is_none() && self.inbox.is_empty();
        let needs = self.inbox.next_needs().filter(|_| paused.is_none());
        let store = &self.repository.store;
        let consumer = &mut self.consumer;
        Ok(tokio::select! {
            biased;
            result = async { match needs {
                Some(needs) => store.wait_durable(needs).await,
                None => std::future::pending().await,
            }} => Woken::Durable(result),
            Some(_) = self.saving.join_next() => Woken::Saved,
            () = async { match paused {
                Some(at) => tokio::time::sleep_until(at).await,
                None if self.inbox.is_empty() => std::future::pending().await,
                None => {}
            }} => Woken::Resumed,
            delivered = async { match consumer {
                Some(consumer) if wants_deliveries => consumer.next().await,
                _ => std::future::pending().await,
            }} => Woken::Delivered(delivered),
            job = self.jobs.recv(), if !self.jobs.is_closed() || !self.jobs.is_empty() => {
                job.map_or(Woken::NoMoreJobs, |job| Woken::Job(Box::new(job)))
            }
        })
    }

    async fn work(&mut self, woken: Woken<A>) -> Result<Step, WorkerError> {
        let mut jobs = Vec::new();
        match woken {
            Woken::Delivered(Ok(deliveries)) => self.take(deliveries)?,
            Woken::Delivered(Err(error)) => self.lose_the_bus(error)?,
            Woken::Job(job) => jobs.push(*job),
            Woken::Durable(Ok(())) => {}
            Woken::Durable(Err(error)) if is_fatal(&error) => {
                return Err(WorkerError::Store(error));
            }
            Woken::Durable(Err(_)) => self.back_off(),
            Woken::Resumed => self.resume_at = None,
            Woken::NoMoreJobs | Woken::Saved => {}
        }
        let mut step = self.execute(jobs).await?;
        step.committed = self.commit().await?;
        self.save_snapshots();
        Ok(step)
    }

    /// Asks the bus for a consumer where there is none.
    async fn connect(&mut self) -> Result<(), WorkerError> {
        let Some(source) = self.source.as_ref().filter(|_| self.consumer.is_none()) else {
            return Ok(());
        };
        match source.bus.commands(&source.group, &[A::CATEGORY]).await {
            Ok(consumer) => {
                self.consumer = Some(consumer);
                Ok(())
            }
            Err(error) => self.lose_the_bus(error),
        }
    }

    /// Everything after the last commit comes again, so what is queued is let go.
    fn lose_the_bus(&mut self, error: BusError) -> Result<(), WorkerError> {
        let is_fatal = match &error {
            BusError::Store(error) => is_fatal(error),

            // Whoever went on would lose a command that its saga waits for.
            BusError::Checkpoint { .. } | BusError::Malformed { .. } => true,
            BusError::Gap { .. } | BusError::Unavailable(_) | BusError::Topic { .. } => false,
        };
        if is_fatal {
            return Err(WorkerError::Bus(error));
        }
        tracing::warn!(category = A::CATEGORY, %error, "the bus was lost");
        self.consumer = None;
        self.inbox.clear();
        self.back_off();
        Ok(())
    }

    fn back_off(&mut self) {
        let factor = 1_u64.checked_shl(self.failures).unwrap_or(u64::MAX);
        let wait_ms = self
            .options
            .first_backoff_ms
            .saturating_mul(factor)
            .min(self.options.max_backoff_ms);
        self.failures = self.failures.saturating_add(1);
        self.resume_at = Some(Instant::now() + Duration::from_millis(wait_ms));
    }

    fn take(&mut self, deliveries: Deliveries<Delivery>) -> Result<(), WorkerError> {
        self.failures = 0;
        self.inbox
            .take(deliveries)
            .map_err(|(position, source)| WorkerError::Delivery { position, source })
    }

    /// Executes what is there: `jobs`, all others that wait, and the queue, up to the limit.
    async fn execute(&mut self, mut jobs: Vec<Job<A>>) -> Result<Step, WorkerError> {
        let max = self.options.max_batch_commands.max(2);
        // Neither side starves the other: each may have half where both want all.
        let queued = if self.resume_at.is_some() {
            0
        } else {
            self.inbox.len()
        };
        let max_jobs = max - queued.min(max / 2);
        while jobs.len() < max_jobs
            && let Ok(job) = self.jobs.try_recv()
        {
            jobs.push(job);
        }
        let deliveries = queued.min(max.saturating_sub(jobs.len()));
        if jobs.is_empty() && deliveries == 0 {
            return Ok(Step::default());
        }
        let mut requests: Vec<Request<A>> = self
            .inbox
            .first(deliveries)
            .map(|command| Request::Saga(command.clone()))
            .collect();
        let mut replies = Vec::with_capacity(jobs.len());
        for job in jobs {
            requests.push(job.request);
            replies.push(job.reply);
        }
        let step = Step {
            deliveries,
            requests: replies.len(),
            committed: None,
        };
        let mut results = self
            .repository
            .execute(requests, (self.clock)())
            .await
            .into_iter();
        let of_sagas: Vec<_> = results.by_ref().take(deliveries).collect();
        let mut broken = None;
        for (reply, result) in replies.into_iter().zip(results) {
            if let Err(Error::Store(error)) = &result
                && is_fatal(error)
            {
                broken = Some(error.clone());
            }
            // Whoever asked may have gone.
            let _ = reply.send(result);
        }
        if deliveries > 0 {
            self.finish(of_sagas)?;
        }
        match broken {
            Some(error) => Err(WorkerError::Store(error)),
            None => Ok(step),
        }
    }

    /// Notes what came of the saga commands. Those that could not be executed are repeated
    /// after a while, before any newer one.
    fn finish(
        &mut self,
        results: Vec<Result<Outcome<A>, Error<A::Refusal>>>,
    ) -> Result<(), WorkerError> {
        let mut effects = Vec::with_capacity(results.len());
        for result in results {
            effects.push(match result {
                Ok(outcome) => Some(outcome.position),
                Err(Error::Store(error)) if is_fatal(&error) => {
                    return Err(WorkerError::Store(error));
                }
                Err(error) => {
                    tracing::warn!(category = A::CATEGORY, %error, "a saga's command is repeated");
                    None
                }
            });
        }
        if self.inbox.settle(effects) {
            self.back_off();
        } else {
            self.failures = 0;
        }
        Ok(())
    }

    /// Tells the bus how far everything has had its effect, durably.
    async fn commit(&mut self) -> Result<Option<Position>, WorkerError> {
        let durable = self.repository.store.durable();
        let reached = self.inbox.due(durable);
        if let (Some(considered), Some(consumer)) = (reached, &mut self.consumer)
            && let Err(error) = consumer.commit(considered).await
        {
            self.lose_the_bus(error)?;
            return Ok(None);
        }
        Ok(reached)
    }

    /// Saves what has become durable, one at a time, beside the batches.
    fn save_snapshots(&mut self) {
        let Some(snapshots) = self.repository.snapshots.clone() else {
            return;
        };
        if !self.saving.is_empty() {
            return;
        }
        let due = self.repository.take_due_snapshots();
        if !due.is_empty() {
            self.saving.spawn(async move {
                for snapshot in due {
                    save(&*snapshots, snapshot).await;
                }
            });
        }
    }

    /// Executes what was accepted, waits a while for it to become durable, and says so.
    async fn drain(mut self) -> Result<(), WorkerError> {
        self.jobs.close();
        self.resume_at = None;
        while self.execute(Vec::new()).await? != Step::default() {}
        let deadline = Duration::from_millis(self.options.max_drain_ms);
        let durable = async {
            if let Some(needs) = self.inbox.last_needs() {
                self.repository.store.wait_durable(needs).await?;
            }
            Ok(())
        };
        // What is not durable by then was never said to be: it comes again.
        if let Ok(result) = tokio::time::timeout(deadline, durable).await {
            result.map_err(WorkerError::Store)?;
        }
        self.commit().await?;
        while self.saving.join_next().await.is_some() {}
        Ok(())
    }
}

/// Whether the process must end.
fn is_fatal(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_) | StoreError::Full(_) => false,
        StoreError::Failed(_) | StoreError::Corrupt { .. } | StoreError::Closed => true,
    }
}

impl<A: Aggregate> fmt::Debug for Worker<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("category", &A::CATEGORY)
            .field("queued", &self.inbox.len())
            .finish_non_exhaustive()
    }
}
