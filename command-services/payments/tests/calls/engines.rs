//! A provider that can be watched, and a store that can be cut off.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use recourse_domain::payment::{Operation, Outcome, ProviderCall};
use recourse_event_store::{
    Batch, EventStore, Filter, Position, StoreError, Subscription, Visibility, memory, testing,
};
use recourse_payments::{
    Provider,
    simulator::{self, Simulator},
};
use tokio::time::Instant;
use uuid::Uuid;

/// One request as the provider got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub key: Uuid,
    pub operation: Operation,
    pub at: Instant,
}

/// The simulator, watched.
pub struct Watched {
    pub simulator: Simulator,
    sent: Mutex<Vec<Sent>>,
    /// How much longer each of the next answers takes.
    pub delays: Mutex<VecDeque<Duration>>,
    /// How many of the next answers are lost.
    pub losses: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            simulator: Simulator::new(simulator::Options::default()),
            sent: Mutex::default(),
            delays: Mutex::default(),
            losses: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        }
    }
}

impl Watched {
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    pub fn operations(&self) -> Vec<Operation> {
        self.sent().iter().map(|sent| sent.operation).collect()
    }

    /// What moved money, of all payments.
    pub fn effects(&self) -> Vec<Operation> {
        self.simulator.effects().into_values().flatten().collect()
    }

    pub fn most_under_way(&self) -> usize {
        self.most_under_way.load(Relaxed)
    }
}

struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[async_trait]
impl Provider for Watched {
    async fn send(&self, call: &ProviderCall) -> Outcome {
        self.sent.lock().unwrap().push(Sent {
            key: call.key,
            operation: call.operation,
            at: Instant::now(),
        });
        let now = self.under_way.fetch_add(1, Relaxed) + 1;
        self.most_under_way.fetch_max(now, Relaxed);
        let _under_way = UnderWay(&self.under_way);
        let outcome = self.simulator.send(call).await;
        let delay = self.delays.lock().unwrap().pop_front();
        tokio::time::sleep(delay.unwrap_or_default()).await;
        let lost = self
            .losses
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        match lost {
            Ok(_) => Outcome::Unknown {
                detail: "lost".to_owned(),
            },
            Err(_) => outcome,
        }
    }
}

/// A store whose subscriptions to payments fail as often as told.
pub struct Cut {
    pub inner: memory::Store,
    /// How many of the next batches do not come.
    pub batches: Arc<AtomicUsize>,
    /// How many of the next subscriptions are not made.
    pub subscriptions: AtomicUsize,
}

impl Cut {
    pub fn new(inner: memory::Store) -> Arc<Self> {
        Arc::new(Self {
            inner,
            batches: Arc::default(),
            subscriptions: AtomicUsize::new(0),
        })
    }
}

fn take_one(left: &AtomicUsize) -> Result<(), StoreError> {
    match left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
        Ok(_) => Err(StoreError::Unavailable("told to".into())),
        Err(_) => Ok(()),
    }
}

struct CutSubscription {
    inner: Box<dyn Subscription>,
    batches: Arc<AtomicUsize>,
}

#[async_trait]
impl Subscription for CutSubscription {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        let batch = self.inner.next().await?;
        take_one(&self.batches)?;
        Ok(batch)
    }
}

#[async_trait]
impl testing::Layer for Cut {
    fn beneath(&self) -> &dyn EventStore {
        &self.inner
    }

    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        let inner = self
            .inner
            .subscribe(after, filter.clone(), visibility)
            .await?;
        if filter != Filter::categories(&["payment"]) {
            return Ok(inner);
        }
        take_one(&self.subscriptions)?;
        Ok(Box::new(CutSubscription {
            inner,
            batches: Arc::clone(&self.batches),
        }))
    }
}
