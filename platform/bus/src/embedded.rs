//! The embedded adapter: the bus is the store's own tail.
//!
//! ```text
//! saga-…, appended ──▶ outgoing commands ──▶ of these categories ──▶ next
//!                                                     commit ──▶ checkpoint ≤ durable
//! ```
//!
//! Nothing is copied and nothing waits for the disk: who consumes here is in the store's own
//! process and may react to what is appended. Only the checkpoint leaves for another file, so
//! only it stays behind the durable position.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use recourse_event_store::{
    Batch, EventStore, Filter, Mark, Position, RecordedEvent, StoreError, Subscription, Visibility,
    typed,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    Alone, BusError, Checkpoint, Checkpoints, CheckpointsError, Command, Consumer, Deliveries,
    Delivery, Membership, Share,
};

/// The commands that an event of a saga's stream sends, in order; none for most events.
pub type Outgoing = fn(&RecordedEvent) -> Result<Vec<Command>, typed::Error>;

/// How often the bus writes, and how patient it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// A group's checkpoint is written after this many commits at the latest.
    pub checkpoint_every_commits: u32,
    /// A group's checkpoint is written this long after a commit at the latest, in
    /// milliseconds, as far as the store is durable by then.
    pub checkpoint_interval_ms: u64,
    /// The wait before a cut subscription is resumed, in milliseconds; doubled each time.
    pub resume_backoff_min_ms: u64,
    /// The longest wait before a cut subscription is resumed, in milliseconds.
    pub resume_backoff_max_ms: u64,
    /// How often in a row a subscription is resumed before the consumer gives up.
    pub max_resume_attempts: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            checkpoint_every_commits: 4_096,
            checkpoint_interval_ms: 250,
            resume_backoff_min_ms: 10,
            resume_backoff_max_ms: 1_000,
            max_resume_attempts: 20,
        }
    }
}

/// The bus on an event store of the same process. Clones are handles of the same bus.
///
/// Each consumer of a group gets everything: whatever two of them both act on, the mark of
/// the aggregate makes harmless.
#[derive(Clone)]
pub struct Bus {
    store: Arc<dyn EventStore>,
    outgoing: Outgoing,
    checkpoints: Arc<dyn Checkpoints>,
    options: Options,
}

impl Bus {
    /// A bus with the default options.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        outgoing: Outgoing,
        checkpoints: Arc<dyn Checkpoints>,
    ) -> Self {
        Self {
            store,
            outgoing,
            checkpoints,
            options: Options::default(),
        }
    }

    /// With other options, for the consumers made from here on.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    fn tail(&self, after: Position, filter: Filter) -> Tail {
        Tail {
            store: Arc::clone(&self.store),
            options: self.options.clone(),
            filter,
            considered: after,
            subscription: None,
            failures: 0,
            resume_at: None,
        }
    }
}

#[async_trait]
impl crate::Bus for Bus {
    async fn commands(
        &self,
        group: &str,
        categories: &[&str],
    ) -> Result<Box<dyn Consumer<Delivery>>, BusError> {
        let kept = self
            .checkpoints
            .load(group)
            .await
            .map_err(|error| unusable(group, &error))?;
        let after = match kept {
            Some(checkpoint) => {
                checkpoint.verify(&*self.store, group).await?;
                checkpoint.position
            }
            None => Position::START,
        };
        Ok(Box::new(Commands {
            tail: self.tail(after, Filter::categories(&["saga"])),
            outgoing: self.outgoing,
            checkpoints: Arc::clone(&self.checkpoints),
            group: group.to_owned(),
            categories: categories.iter().map(|&name| name.to_owned()).collect(),
            committed: after,
            saved: after,
            commits: 0,
            save_at: None,
        }))
    }

    async fn events(
        &self,
        after: Position,
        filter: Filter,
        share: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError> {
        Ok(Box::new(Events {
            tail: self.tail(after, filter),
            share: (!share.is_whole()).then(|| share.clone()),
        }))
    }

    async fn join(&self, _: &str) -> Result<Box<dyn Membership>, BusError> {
        Ok(Box::new(Alone))
    }
}

fn unusable(group: &str, error: &CheckpointsError) -> BusError {
    BusError::Checkpoint {
        group: group.to_owned(),
        reason: error.to_string(),
    }
}

/// A subscription that is resumed where it was cut.
struct Tail {
    store: Arc<dyn EventStore>,
    options: Options,
    filter: Filter,
    considered: Position,
    subscription: Option<Box<dyn Subscription>>,
    /// Resumptions in a row without a batch.
    failures: u32,
    /// Not before this moment; kept here because `next` may be dropped while it waits.
    resume_at: Option<Instant>,
}

impl Tail {
    async fn next(&mut self) -> Result<Batch, BusError> {
        loop {
            match self.attempt().await {
                Ok(batch) => {
                    self.failures = 0;
                    self.advance(&batch).inspect_err(|_| {
                        // Whoever asks again nevertheless begins before the gap.
                        self.subscription = None;
                    })?;
                    return Ok(batch);
                }
                Err(StoreError::Unavailable(reason))
                    if self.failures < self.options.max_resume_attempts =>
                {
                    tracing::warn!(
                        considered = %self.considered,
                        failures = self.failures,
                        reason,
                        "subscription cut, resuming"
                    );
                    self.subscription = None;
                    self.resume_at = Instant::now().checked_add(self.backoff());
                    self.failures += 1;
                }
                Err(error) => {
                    self.subscription = None;
                    return Err(error.into());
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<Batch, StoreError> {
        let subscription = match &mut self.subscription {
            Some(subscription) => subscription,
            none => {
                if let Some(moment) = self.resume_at {
                    tokio::time::sleep_until(moment).await;
                    self.resume_at = None;
                }
                let subscribed = self
                    .store
                    .subscribe(self.considered, self.filter.clone(), Visibility::Appended)
                    .await?;
                none.insert(subscribed)
            }
        };
        subscription.next().await
    }

    fn backoff(&self) -> Duration {
        let factor = 1u64.checked_shl(self.failures).unwrap_or(u64::MAX);
        let wait = self.options.resume_backoff_min_ms.saturating_mul(factor);
        Duration::from_millis(wait.min(self.options.resume_backoff_max_ms))
    }

    /// Holds a batch against what came before: only forward, and nothing past `considered`.
    /// Positions are not dense, so this is all that a tail can see of a gap.
    fn advance(&mut self, batch: &Batch) -> Result<(), BusError> {
        let mut after = self.considered;
        for event in &batch.events {
            if event.position <= after {
                return Err(gap(after, event.position));
            }
            after = event.position;
        }
        if batch.considered < after {
            return Err(gap(after, batch.considered));
        }
        self.considered = batch.considered;
        Ok(())
    }
}

fn gap(after: Position, next: Position) -> BusError {
    BusError::Gap {
        after,
        next,
        help: "the log goes back: it is read again from the checkpoint".to_owned(),
    }
}

struct Commands {
    tail: Tail,
    outgoing: Outgoing,
    checkpoints: Arc<dyn Checkpoints>,
    group: String,
    categories: Vec<String>,
    committed: Position,
    saved: Position,
    /// Commits since the checkpoint was written.
    commits: u32,
    /// When the checkpoint is to be written; none where it is as far as it can be.
    save_at: Option<Instant>,
}

impl Commands {
    fn deliveries(&self, batch: Batch) -> Result<Deliveries<Delivery>, BusError> {
        let mut messages = Vec::new();
        for event in batch.events {
            let malformed =
                |source: Box<dyn std::error::Error + Send + Sync>| BusError::Malformed {
                    position: event.position,
                    source,
                };
            let commands = (self.outgoing)(&event).map_err(|error| malformed(error.into()))?;
            for (index, command) in commands.into_iter().enumerate() {
                let index = u32::try_from(index).map_err(|error| malformed(error.into()))?;
                if self
                    .categories
                    .iter()
                    .any(|category| category == command.target.category())
                {
                    messages.push(Delivery {
                        command,
                        mark: Mark {
                            position: event.position,
                            index,
                        },
                        event: Arc::clone(&event),
                    });
                }
            }
        }
        Ok(Deliveries {
            messages,
            considered: batch.considered,
            at_end: batch.at_end,
        })
    }

    /// Writes the checkpoint as far as the store is durable.
    async fn save(&mut self) -> Result<(), BusError> {
        // Everything up to what is committed has been considered, so this has been too.
        let position = self.committed.min(self.tail.store.durable());
        if position > self.saved {
            let checkpoint = Checkpoint::at(&*self.tail.store, position, None).await?;
            match self.checkpoints.save(&self.group, checkpoint).await {
                Ok(()) => self.saved = position,
                // A restart reads more of the log; nothing else depends on it.
                Err(error) => {
                    tracing::warn!(group = self.group, %error, "a checkpoint was not saved");
                }
            }
        }
        self.commits = 0;
        self.save_at = if self.saved < self.committed {
            self.one_interval_from_now()
        } else {
            None
        };
        Ok(())
    }

    fn one_interval_from_now(&self) -> Option<Instant> {
        let interval = Duration::from_millis(self.tail.options.checkpoint_interval_ms);
        Instant::now().checked_add(interval)
    }
}

#[async_trait]
impl Consumer<Delivery> for Commands {
    async fn next(&mut self) -> Result<Deliveries<Delivery>, BusError> {
        let before = self.tail.considered;
        let batch = loop {
            let Some(moment) = self.save_at else {
                break self.tail.next().await?;
            };
            tokio::select! {
                biased;
                batch = self.tail.next() => break batch?,
                () = tokio::time::sleep_until(moment) => self.save().await?,
            }
        };
        self.deliveries(batch).inspect_err(|_| {
            // Whoever asks again nevertheless meets the same record, not the one after it.
            self.tail.considered = before;
            self.tail.subscription = None;
        })
    }

    async fn commit(&mut self, considered: Position) -> Result<(), BusError> {
        if considered <= self.committed {
            return Ok(());
        }
        self.committed = considered;
        self.commits = self.commits.saturating_add(1);
        let moment = match self.save_at {
            Some(moment) => Some(moment),
            None => self.one_interval_from_now(),
        };
        self.save_at = moment;
        let overdue = moment.is_some_and(|moment| moment <= Instant::now());
        if overdue || self.commits >= self.tail.options.checkpoint_every_commits {
            self.save().await?;
        }
        Ok(())
    }
}

struct Events {
    tail: Tail,
    /// None for all of them.
    share: Option<Share>,
}

#[async_trait]
impl Consumer<Arc<RecordedEvent>> for Events {
    async fn next(&mut self) -> Result<Deliveries<Arc<RecordedEvent>>, BusError> {
        let mut batch = self.tail.next().await?;
        if let Some(share) = &self.share {
            // What says not whose it is goes to everybody, who cannot read it either.
            batch.events.retain(|event| {
                let metadata = event.metadata();
                metadata.map_or(true, |metadata| share.covers(metadata.correlation_id))
            });
        }
        Ok(Deliveries {
            messages: batch.events,
            considered: batch.considered,
            at_end: batch.at_end,
        })
    }

    async fn commit(&mut self, _: Position) -> Result<(), BusError> {
        Ok(())
    }
}
