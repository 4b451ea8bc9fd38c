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
                    return self.gather(after, batch);
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

    fn gather(&mut self, after: Position, mut batch: Batch) -> Result<Batch, StoreError> {
        check(after, &batch)?;
        while batch.events.len() < self.max_events
            && let Some(subscription) = &mut self.subscription
            && let Some(more) = subscription.next().now_or_never()
        {
            match more {
                Ok(more) => {
                    check(batch.considered, &more)?;
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

/// Holds a batch against what came before: only forward, and nothing past `considered`. A place that
/// went back would have the records after it skipped as repeats.
fn check(after: Position, batch: &Batch) -> Result<(), StoreError> {
    let mut last = after;
    for event in &batch.events {
        if event.position <= last {
            return Err(backward(last, event.position));
        }
        last = event.position;
    }
    if batch.considered < last {
        return Err(backward(last, batch.considered));
    }
    Ok(())
}

fn backward(last: Position, next: Position) -> StoreError {
    StoreError::Failed(format!("the log went back from {last} to {next}"))
}

#[cfg(test)]
mod tests {
    use recourse_event_store::{NewEvent, StreamName};
    use uuid::Uuid;

    use super::*;

    fn batch(positions: &[u64], considered: u64) -> Batch {
        let event = |position: &u64| {
            let event = NewEvent::raw(Uuid::nil(), "order.placed.v1", "{}", "{}");
            let position = Position::dense(*position);
            Arc::new(event.record(position, StreamName::new("order", "a"), 0))
        };
        Batch {
            events: positions.iter().map(event).collect(),
            considered: Position::dense(considered),
            at_end: false,
        }
    }

    #[test]
    fn a_log_that_goes_back_is_not_relayed() {
        let after = Position::dense(3);
        for good in [batch(&[4, 7], 9), batch(&[], 3), batch(&[5], 5)] {
            check(after, &good).unwrap();
        }
        for bad in [
            batch(&[3], 9),
            batch(&[5, 4], 9),
            batch(&[5, 5], 9),
            batch(&[4, 9], 8),
            batch(&[], 2),
        ] {
            let refused = check(after, &bad);
            assert!(matches!(refused, Err(StoreError::Failed(_))), "{bad:?}");
        }
    }
}
