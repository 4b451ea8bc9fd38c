//! What is durable in the log, read on wherever the reading is cut.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use recourse_event_store::{
    Batch, EventStore, Filter, Position, StoreError, Subscription, Visibility,
};
use tokio::time::Instant;

use crate::Options;

/// A reader of the durable log.
pub(crate) struct Tail {
    store: Arc<dyn EventStore>,
    max_events: usize,
    first_backoff_ms: u64,
    max_backoff_ms: u64,
    subscription: Option<Box<dyn Subscription>>,
    /// Cuts in a row without a batch.
    failures: u32,
    /// Not before this moment; kept here because `next` may be dropped while it waits.
    resume_at: Option<Instant>,
}

impl Tail {
    pub(crate) fn new(store: Arc<dyn EventStore>, options: &Options) -> Self {
        Self {
            store,
            max_events: options.max_round_events,
            first_backoff_ms: options.first_backoff_ms,
            max_backoff_ms: options.max_backoff_ms,
            subscription: None,
            failures: 0,
            resume_at: None,
        }
    }

    /// Waits for what comes after `after`, which is where the last batch ended, and takes what else
    /// is there with it. May be dropped while it waits. A store that is away is waited for.
    pub(crate) async fn next(&mut self, after: Position) -> Result<Batch, StoreError> {
        loop {
            match self.attempt(after).await {
                Ok(batch) => {
                    self.failures = 0;
                    return self.gather(batch);
                }
                Err(error) => self.cut(error)?,
            }
        }
    }

    async fn attempt(&mut self, after: Position) -> Result<Batch, StoreError> {
        let subscription = match &mut self.subscription {
            Some(subscription) => subscription,
            none => {
                if let Some(moment) = self.resume_at {
                    tokio::time::sleep_until(moment).await;
                    self.resume_at = None;
                }
                let subscribed = self
                    .store
                    .subscribe(after, Filter::All, Visibility::Durable)
                    .await?;
                none.insert(subscribed)
            }
        };
        subscription.next().await
    }

    fn gather(&mut self, mut batch: Batch) -> Result<Batch, StoreError> {
        while batch.events.len() < self.max_events
            && let Some(subscription) = &mut self.subscription
            && let Some(more) = subscription.next().now_or_never()
        {
            match more {
                Ok(more) => {
                    batch.events.extend(more.events);
                    batch.considered = more.considered;
                }
                Err(error) => self.cut(error)?,
            }
        }
        Ok(batch)
    }

    fn cut(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.subscription = None;
        let StoreError::Unavailable(reason) = error else {
            return Err(error);
        };
        // A subscription that was cut is resumed at once, a store that is away is not asked often.
        let wait_ms = match self.failures.checked_sub(1) {
            None => 0,
            Some(doublings) => {
                let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
                let wait_ms = self.first_backoff_ms.saturating_mul(factor);
                wait_ms.min(self.max_backoff_ms)
            }
        };
        self.failures = self.failures.saturating_add(1);
        self.resume_at = Instant::now().checked_add(Duration::from_millis(wait_ms));
        tracing::warn!(reason, wait_ms, "the log was cut, reading on");
        Ok(())
    }
}
