//! Calls the provider for every open intent, until its outcome is definite.
//!
//! What is open is the fold of the payments' streams; a checkpoint of that set makes a restart
//! read what is open and what came since, not every payment there ever was.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use recourse_aggregates::Payment;
use recourse_bus::{Checkpoint, Checkpoints, Json};
use recourse_cqrs::{Effect, Error as CommandError, Handle, Internal, Origin, SendError};
use recourse_domain::payment::{self, Command, Outcome, ProviderCall, RecordOutcome};
use recourse_event_store::{
    Direction, EventStore, Filter, Position, RecordedEvent, StoreError, StreamName, Subscription,
    Visibility,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Error, Options, Provider};

/// The name of the checkpoint.
const NAME: &str = "payments-open-intents";

/// How many events of a payment's stream are read at a time: more than nearly every one has.
const PAGE: usize = 256;

/// What the checkpoint keeps besides its position: the payments with an open intent there.
#[derive(Default, Serialize, Deserialize)]
struct Open {
    streams: BTreeSet<StreamName>,
}

/// One call, from its intent to the event that records its outcome.
struct Call {
    call: ProviderCall,
    stream: StreamName,
    /// What the recorded outcome follows from.
    origin: Internal,
    /// How many times its outcome was unknown.
    unknown: u32,
    /// That the first unknown outcome is recorded: further ones say nothing new.
    recorded: bool,
}

/// What became of a call for now.
enum Done {
    /// Its outcome is recorded.
    Recorded(Call),
    /// It is to be repeated after this.
    Again(Call, Duration),
}

/// Calls the provider.
pub(crate) struct Calls {
    store: Arc<dyn EventStore>,
    checkpoints: Arc<dyn Checkpoints>,
    provider: Arc<dyn Provider>,
    handle: Handle<Payment>,
    options: Options,
    under_way: FuturesUnordered<BoxFuture<'static, Result<Done, Error>>>,
    /// The keys of the calls that are under way.
    keys: BTreeSet<Uuid>,
    /// The payments with an open intent.
    open: BTreeSet<StreamName>,
    considered: Position,
    save_at: Option<Instant>,
}

impl Calls {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        checkpoints: Arc<dyn Checkpoints>,
        provider: Arc<dyn Provider>,
        handle: Handle<Payment>,
        options: Options,
    ) -> Self {
        Self {
            store,
            checkpoints,
            provider,
            handle,
            options,
            under_way: FuturesUnordered::new(),
            keys: BTreeSet::new(),
            open: BTreeSet::new(),
            considered: Position::START,
            save_at: None,
        }
    }

    /// Resumes what is open and goes on with what comes, until `shutdown`.
    pub(crate) async fn run(&mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let work = async {
            self.resume().await?;
            loop {
                // Only what is durable: the provider is outside.
                let mut intents = self
                    .store
                    .subscribe(
                        self.considered,
                        Filter::categories(&["payment"]),
                        Visibility::Durable,
                    )
                    .await?;
                match self.follow(&mut *intents).await {
                    Err(Error::Store(StoreError::Unavailable(reason))) => {
                        tracing::debug!(reason, "the subscription was cut, subscribing again");
                        let pause = Duration::from_millis(self.options.first_backoff_ms);
                        tokio::time::sleep(pause).await;
                    }
                    ended => return ended,
                }
            }
        };
        match shutdown.run_until_cancelled(work).await {
            Some(ended) => ended,
            None => self.save().await,
        }
    }

    async fn resume(&mut self) -> Result<(), Error> {
        let Some(checkpoint) = self.checkpoints.load(NAME).await? else {
            return Ok(());
        };
        checkpoint.verify(&*self.store, NAME).await?;
        self.considered = checkpoint.position;
        let open: Open = match checkpoint.state {
            Some(state) => state.read()?,
            None => Open::default(),
        };
        for stream in open.streams {
            self.look(&stream).await?;
        }
        tracing::info!(open = self.open.len(), "resuming open intents");
        Ok(())
    }

    async fn follow(&mut self, intents: &mut dyn Subscription) -> Result<(), Error> {
        loop {
            let has_room = self.under_way.len() < self.options.max_calls;
            let save_at = self.save_at;
            tokio::select! {
                biased;
                Some(done) = self.under_way.next() => self.finish(done?),
                () = sleep_until(save_at) => self.save().await?,
                batch = intents.next(), if has_room => {
                    let batch = batch?;
                    // Once a payment, however many of its events came at once.
                    let moved: BTreeSet<&StreamName> = batch
                        .events
                        .iter()
                        .filter(|event| is_of_interest(event))
                        .map(|event| &event.stream)
                        .collect();
                    for stream in moved {
                        self.look(stream).await?;
                    }
                    self.considered = batch.considered;
                }
            }
        }
    }

    /// Folds a payment's stream and makes the calls that are due.
    async fn look(&mut self, stream: &StreamName) -> Result<(), Error> {
        let mut state = payment::State::default();
        let mut last: Option<Arc<RecordedEvent>> = None;
        loop {
            let from = last.as_ref().map_or(0, |event| event.revision + 1);
            let page = self
                .store
                .read_stream(
                    stream,
                    Some(from),
                    Direction::Forward,
                    Visibility::Durable,
                    PAGE,
                )
                .await?;
            for event in &page {
                if let Some(event) = read(event)? {
                    state = payment::evolve(state, &event);
                }
            }
            let is_last = page.len() < PAGE;
            last = page.into_iter().last().or(last);
            if is_last {
                break;
            }
        }
        let is_changed = if state.has_open_intent() {
            self.open.insert(stream.clone())
        } else {
            self.open.remove(stream)
        };
        if is_changed {
            self.save_soon();
        }
        let Some(last) = last else { return Ok(()) };
        for call in state.calls() {
            if self.keys.insert(call.key) {
                let call = Call {
                    stream: stream.clone(),
                    origin: Internal::following(&last)?,
                    unknown: 0,
                    recorded: call.is_unknown,
                    call,
                };
                self.start(call, Duration::ZERO);
            }
        }
        Ok(())
    }

    fn start(&self, call: Call, after: Duration) {
        let provider = Arc::clone(&self.provider);
        let handle = self.handle.clone();
        let options = self.options.clone();
        self.under_way.push(Box::pin(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            make(call, &*provider, &handle, &options).await
        }));
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Recorded(call) => {
                self.keys.remove(&call.call.key);
            }
            Done::Again(call, after) => self.start(call, after),
        }
    }

    /// Saves which payments have an open intent, as of what is considered, which is durable.
    async fn save(&mut self) -> Result<(), Error> {
        if self.save_at.take().is_none() {
            return Ok(());
        }
        let open = Open {
            streams: self.open.clone(),
        };
        let state = Some(Json::write(&open)?);
        let checkpoint = Checkpoint::at(&*self.store, self.considered, state).await?;
        if let Err(error) = self.checkpoints.save(NAME, checkpoint).await {
            // A restart reads more of the log; nothing else depends on it.
            tracing::warn!(%error, "the open intents were not saved");
            self.save_soon();
        }
        Ok(())
    }

    fn save_soon(&mut self) {
        let interval = Duration::from_millis(self.options.save_interval_ms);
        self.save_at
            .get_or_insert_with(|| Instant::now() + interval);
    }
}

/// One sending of a call, and the record of what came of it.
async fn make(
    mut call: Call,
    provider: &dyn Provider,
    handle: &Handle<Payment>,
    options: &Options,
) -> Result<Done, Error> {
    let timeout = Duration::from_millis(options.call_timeout_ms);
    let outcome = tokio::time::timeout(timeout, provider.send(&call.call))
        .await
        .unwrap_or_else(|_| Outcome::Unknown {
            detail: format!("no answer within {} ms", options.call_timeout_ms),
        });
    let is_unknown = matches!(outcome, Outcome::Unknown { .. });
    if !(is_unknown && call.recorded) {
        record(&call, outcome, handle, options).await?;
    }
    if !is_unknown {
        return Ok(Done::Recorded(call));
    }
    call.recorded = true;
    let pause = backoff(options, call.unknown);
    call.unknown = call.unknown.saturating_add(1);
    Ok(Done::Again(call, pause))
}

/// Records an outcome in the payment's stream; repeated until it is, for the provider's answer
/// is known nowhere else.
async fn record(
    call: &Call,
    outcome: Outcome,
    handle: &Handle<Payment>,
    options: &Options,
) -> Result<(), Error> {
    let command = Command::RecordOutcome(RecordOutcome {
        operation: call.call.operation,
        key: call.call.key,
        outcome,
    });
    let mut failures = 0;
    loop {
        let origin = Origin::Internal(call.origin.clone());
        let sent = handle
            .send(call.stream.clone(), command.clone(), origin)
            .await;
        match sent {
            Ok(outcome) => {
                if outcome.effect == Effect::Unchanged {
                    tracing::debug!(payment = %call.stream, "an outcome was recorded before");
                }
                return Ok(());
            }
            // The worker has ended and says itself why; the intent stays open.
            Err(SendError::ShuttingDown) => std::future::pending().await,
            Err(SendError::Failed(CommandError::Store(
                error @ (StoreError::Failed(_) | StoreError::Closed),
            ))) => {
                return Err(Error::Store(error));
            }
            Err(error) => {
                tracing::warn!(payment = %call.stream, %error, "an outcome will be recorded again");
                tokio::time::sleep(backoff(options, failures)).await;
                failures += 1;
            }
        }
    }
}

fn backoff(options: &Options, failures: u32) -> Duration {
    let factor = 1_u64.checked_shl(failures).unwrap_or(u64::MAX);
    Duration::from_millis(
        options
            .first_backoff_ms
            .saturating_mul(factor)
            .min(options.max_backoff_ms),
    )
}

/// Whether an event can make a call due or end an intent.
fn is_of_interest(event: &RecordedEvent) -> bool {
    matches!(read(event), Ok(Some(event)) if event.intent().is_some() || event.outcome().is_some())
}

/// The payment's event; none where it is the platform's own.
fn read(event: &RecordedEvent) -> Result<Option<Arc<payment::Event>>, Error> {
    if &*event.event.event_type == recourse_cqrs::COMMAND_REFUSED {
        return Ok(None);
    }
    Ok(Some(event.decode::<payment::Event>()?))
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
