//! Waits for sagas to end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use recourse_event_store::{
    Direction, EventStore, Filter, Position, RecordedEvent, StoreError, StreamName, Visibility,
};
use recourse_saga::{Event, State};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many events of a saga's stream are read at a time: more than nearly every saga has.
const PAGE: usize = 256;

/// The wait before the log is followed again after it was cut.
const RESUME_AFTER: Duration = Duration::from_millis(50);

/// How a saga stopped moving by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It has ended, done or undone.
    Ended(Position),
    /// It needs attention, is parked or paused: whoever waits is told that it may take longer.
    Stuck(Position),
}

impl Settled {
    /// Where its last event stands that says so.
    #[must_use]
    pub const fn position(self) -> Position {
        match self {
            Self::Ended(position) | Self::Stuck(position) => position,
        }
    }

    /// What an event of a saga's stream says about that, if anything.
    fn read(event: &RecordedEvent) -> Option<Self> {
        match &*event.event.event_type {
            "saga.completed.v1" | "saga.compensated.v1" => Some(Self::Ended(event.position)),
            "saga.attention-needed.v1" | "saga.parked.v1" | "saga.paused.v1" => {
                Some(Self::Stuck(event.position))
            }
            _ => None,
        }
    }
}

type Waiters = BTreeMap<StreamName, Vec<oneshot::Sender<Settled>>>;

/// Tells those who wait how their sagas settled, once that is durable.
#[derive(Clone)]
pub struct Settlements {
    store: Arc<dyn EventStore>,
    /// What settled up to here is found by looking, for nobody waited yet.
    from: Position,
    waiters: Arc<Mutex<Waiters>>,
}

impl Settlements {
    /// Nobody waits yet. Nobody is told before [`Self::run`] does.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self {
            from: store.durable(),
            store,
            waiters: Arc::default(),
        }
    }

    /// Waits until a saga settles, or settled before. May be dropped while it waits.
    ///
    /// # Errors
    /// Where the store cannot be read, or [`Self::run`] has ended.
    pub async fn wait(&self, saga: &StreamName) -> Result<Settled, StoreError> {
        // Declared first and so dropped last, when the receiver is closed.
        let _forget = Forget {
            settlements: self,
            saga,
        };
        // Registered before looking: whatever comes after the look finds the waiter.
        let (sender, receiver) = oneshot::channel();
        self.lock().entry(saga.clone()).or_default().push(sender);
        if let Some(settled) = self.look(saga).await? {
            return Ok(settled);
        }
        receiver.await.map_err(|_| StoreError::Closed)
    }

    /// How many wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// How a saga stands, by its whole stream: what came after it needed attention may have
    /// cleared that, or may not.
    async fn look(&self, saga: &StreamName) -> Result<Option<Settled>, StoreError> {
        let mut state = State::new(Uuid::nil());
        let mut last: Option<Arc<RecordedEvent>> = None;
        loop {
            let from = last.as_ref().map_or(0, |event| event.revision + 1);
            let (forward, seen) = (Direction::Forward, Visibility::Durable);
            let page = self
                .store
                .read_stream(saga, Some(from), forward, seen, PAGE)
                .await?;
            for event in &page {
                let (Ok(happened), Ok(metadata)) = (event.decode::<Event>(), event.metadata())
                else {
                    tracing::error!(%saga, revision = event.revision, "an event cannot be read");
                    return Ok(Some(Settled::Stuck(event.position)));
                };
                state.apply(&happened, metadata.recorded_at);
            }
            let is_last = page.len() < PAGE;
            last = page.into_iter().last().or(last);
            if is_last {
                break;
            }
        }
        Ok(last.and_then(|last| {
            if state.is_ended() {
                Some(Settled::Ended(last.position))
            } else {
                let is_stuck = state.trouble().is_some() || state.is_paused();
                is_stuck.then_some(Settled::Stuck(last.position))
            }
        }))
    }

    /// Follows the log and tells the waiters, until it is cancelled.
    ///
    /// # Errors
    /// Where the store cannot be read any more.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), StoreError> {
        let told = shutdown.run_until_cancelled(self.follow()).await;
        // Whoever still waits is let go.
        self.lock().clear();
        told.unwrap_or(Ok(()))
    }

    async fn follow(&self) -> Result<(), StoreError> {
        let filter = Filter::TypePrefixes(
            [
                "saga.completed.",
                "saga.compensated.",
                "saga.attention-needed.",
                "saga.parked.",
                "saga.paused.",
            ]
            .map(String::from)
            .to_vec(),
        );
        let mut considered = self.from;
        loop {
            match self.tell_from(&mut considered, filter.clone()).await {
                Err(StoreError::Unavailable(reason)) => {
                    tracing::debug!(reason, "the subscription was cut, subscribing again");
                    tokio::time::sleep(RESUME_AFTER).await;
                }
                ended => return ended,
            }
        }
    }

    async fn tell_from(&self, considered: &mut Position, filter: Filter) -> Result<(), StoreError> {
        let mut subscription = self
            .store
            .subscribe(*considered, filter, Visibility::Durable)
            .await?;
        loop {
            let batch = subscription.next().await?;
            self.tell(&batch.events);
            *considered = batch.considered;
        }
    }

    fn tell(&self, events: &[Arc<RecordedEvent>]) {
        let mut waiters = self.lock();
        for event in events {
            if let Some(settled) = Settled::read(event)
                && let Some(waiting) = waiters.remove(&event.stream)
            {
                for waiter in waiting {
                    // Whoever gave up has dropped its end.
                    let _ = waiter.send(settled);
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a waiter that gave up off the list.
struct Forget<'a> {
    settlements: &'a Settlements,
    saga: &'a StreamName,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut waiters = self.settlements.lock();
        if let Some(waiting) = waiters.get_mut(self.saga) {
            waiting.retain(|waiter| !waiter.is_closed());
            if waiting.is_empty() {
                waiters.remove(self.saga);
            }
        }
    }
}
