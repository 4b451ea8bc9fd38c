//! Calls the provider for every open intent, until its outcome is definite.
//!
//! What is open is the fold of the payments' streams; a checkpoint of that set makes a restart
//! read what is open and what came since, not every payment there ever was.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use recourse_aggregates::Payment;
use recourse_bus::{BusError, Checkpoint, Checkpoints, Json, Turns};
use recourse_cqrs::{Clock, Effect, Error as CommandError, Handle, Internal, Origin, SendError};
use recourse_domain::payment::{self, Command, Outcome, ProviderCall, RecordOutcome};
use recourse_event_store::{
    Direction, EventStore, Filter, Position, RecordedEvent, StoreError, StreamName, Subscription,
    Visibility,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Error, Options, Provider, room::Room, shift::Shift};

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
    /// Until when the provider knows the key again; none past the end of the calendar.
    expires_at: Option<DateTime<Utc>>,
}

/// What became of a call for now.
enum Done {
    /// Its outcome is recorded.
    Recorded(Call),
    /// It is to be repeated after this.
    Again(Call, Duration),
    /// Its outcome can never be recorded.
    GivenUp,
}

/// What calls are made with.
pub(crate) struct Outside {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) handle: Handle<Payment>,
    pub(crate) clock: Clock,
    pub(crate) options: Options,
}

/// Calls the provider.
pub(crate) struct Calls {
    store: Arc<dyn EventStore>,
    checkpoints: Arc<dyn Checkpoints>,
    outside: Arc<Outside>,
    room: Room,
    /// The calls: under way, or waiting for their turn or to be repeated.
    calls: FuturesUnordered<BoxFuture<'static, Result<Done, Error>>>,
    /// The keys of these calls, and of those that are given up.
    keys: BTreeSet<Uuid>,
    /// The payments with an open intent.
    open: BTreeSet<StreamName>,
    considered: Position,
    save_at: Option<Instant>,
    shift: Shift,
}

impl Calls {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        checkpoints: Arc<dyn Checkpoints>,
        outside: Outside,
    ) -> Self {
        Self {
            store,
            checkpoints,
            room: Room::of(outside.options.max_calls),
            outside: Arc::new(outside),
            calls: FuturesUnordered::new(),
            keys: BTreeSet::new(),
            open: BTreeSet::new(),
            considered: Position::START,
            save_at: None,
            shift: Shift::default(),
        }
    }

    /// The same, where other processes call too: one at a time.
    pub(crate) fn sharing(mut self, turns: Arc<dyn Turns>) -> Self {
        self.shift = Shift::new(turns);
        self
    }

    /// Calls whenever it is for this process to call, until `shutdown`.
    pub(crate) async fn run(&mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut shift = std::mem::take(&mut self.shift);
        let work = async {
            loop {
                shift.begins().await;
                tokio::select! {
                    biased;
                    () = shift.ends() => self.forget(),
                    ended = self.work() => return ended,
                }
            }
        };
        let ended = match shutdown.run_until_cancelled(work).await {
            Some(ended) => ended,
            None => self.save().await,
        };
        shift.is_over().await;
        ended
    }

    /// Resumes what is open and goes on with what comes.
    async fn work(&mut self) -> Result<(), Error> {
        let mut is_resumed = false;
        loop {
            match self.drive(&mut is_resumed).await {
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "the intents were lost, following them again");
                    let pause = Duration::from_millis(self.outside.options.first_backoff_ms);
                    tokio::time::sleep(pause).await;
                }
                ended => return ended,
            }
        }
    }

    /// Another process goes on from the checkpoint, and so will this one: calls under way are let
    /// go, for their intents are open.
    fn forget(&mut self) {
        self.calls = FuturesUnordered::new();
        self.keys.clear();
        self.open.clear();
        self.considered = Position::START;
        self.save_at = None;
    }

    async fn drive(&mut self, is_resumed: &mut bool) -> Result<(), Error> {
        if !*is_resumed {
            self.resume().await?;
            *is_resumed = true;
        }
        // Only what is durable: the provider is outside.
        let filter = Filter::categories(&["payment"]);
        let mut intents = self
            .store
            .subscribe(self.considered, filter, Visibility::Durable)
            .await?;
        self.follow(&mut *intents).await
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
            // Whoever waits to be repeated keeps nobody out: an outcome may be unknown for long.
            let has_room = self.room.has_room();
            let save_at = self.save_at;
            tokio::select! {
                biased;
                Some(done) = self.calls.next() => self.finish(done?),
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
        let mut asked_at = BTreeMap::new();
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
                if let Some(read) = read(event)? {
                    let recorded_at = event.metadata()?.recorded_at;
                    if let Some(key) = key_of(&read) {
                        asked_at.insert(key, recorded_at);
                    }
                    if lets_others_go(&read) {
                        asked_at.values_mut().for_each(|at| *at = recorded_at);
                    }
                    state = payment::evolve(state, &read);
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
        let life = i64::try_from(self.outside.options.key_life_ms)
            .ok()
            .and_then(TimeDelta::try_milliseconds);
        for call in state.calls() {
            if self.keys.insert(call.key) {
                let call = Call {
                    stream: stream.clone(),
                    origin: Internal::following(&last)?,
                    unknown: 0,
                    recorded: call.is_unknown,
                    expires_at: asked_at
                        .get(&call.key)
                        .zip(life)
                        .and_then(|(at, life)| at.checked_add_signed(life)),
                    call,
                };
                self.start(call, Duration::ZERO);
            }
        }
        Ok(())
    }

    fn start(&self, call: Call, after: Duration) {
        let outside = Arc::clone(&self.outside);
        let room = self.room.clone();
        self.calls.push(Box::pin(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            // What nobody answered once may hang again.
            let _place = room.take(call.recorded).await;
            make(call, &outside).await
        }));
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Recorded(call) => {
                self.keys.remove(&call.call.key);
            }
            Done::Again(call, after) => self.start(call, after),
            // Its key is kept: nothing makes it due again.
            Done::GivenUp => {}
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
        // Where either fails for now, a restart reads more of the log; nothing else depends on it.
        let not_saved = match Checkpoint::at(&*self.store, self.considered, state).await {
            Ok(checkpoint) => match self.checkpoints.save(NAME, checkpoint).await {
                Ok(()) => return Ok(()),
                Err(error) => Error::from(error),
            },
            Err(error) => Error::from(error),
        };
        if matches!(&not_saved, Error::Checkpoint(_)) && !is_passing(&not_saved) {
            return Err(not_saved);
        }
        tracing::warn!(error = %not_saved, "the open intents were not saved");
        self.save_soon();
        Ok(())
    }

    fn save_soon(&mut self) {
        let interval = Duration::from_millis(self.outside.options.save_interval_ms);
        self.save_at
            .get_or_insert_with(|| Instant::now() + interval);
    }
}

/// One sending of a call, and the record of what came of it.
async fn make(mut call: Call, outside: &Outside) -> Result<Done, Error> {
    let options = &outside.options;
    if call
        .expires_at
        .is_some_and(|expires_at| expires_at <= (outside.clock)())
    {
        tracing::error!(
            payment = %call.stream,
            operation = call.call.operation.as_str(),
            key = %call.call.key,
            "the outcome is unknown past the life of its key: ask the provider by hand, and retry its \
             saga's step with the result"
        );
        let given_up = Outcome::GivenUp {
            detail: "no answer within the life of its key".to_owned(),
        };
        return Ok(if record(&call, given_up, outside).await? {
            Done::Recorded(call)
        } else {
            Done::GivenUp
        });
    }
    let timeout = Duration::from_millis(options.call_timeout_ms);
    let outcome = tokio::time::timeout(timeout, outside.provider.send(&call.call))
        .await
        .unwrap_or_else(|_| Outcome::Unknown {
            detail: format!("no answer within {} ms", options.call_timeout_ms),
        });
    let is_unknown = matches!(outcome, Outcome::Unknown { .. });
    let is_known = is_unknown && call.recorded;
    if !is_known && !record(&call, outcome, outside).await? {
        return Ok(Done::GivenUp);
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
/// is known nowhere else. `false` where it never can be: the intent stays open, and its saga comes
/// to need attention.
async fn record(call: &Call, outcome: Outcome, outside: &Outside) -> Result<bool, Error> {
    let command = Command::RecordOutcome(RecordOutcome {
        operation: call.call.operation,
        key: call.call.key,
        outcome,
    });
    let mut failures = 0;
    loop {
        let origin = Origin::Internal(call.origin.clone());
        let sent = outside
            .handle
            .send(call.stream.clone(), command.clone(), origin)
            .await;
        match sent {
            Ok(outcome) => {
                if outcome.effect == Effect::Unchanged {
                    tracing::debug!(payment = %call.stream, "an outcome was recorded before");
                }
                return Ok(true);
            }
            // The worker has ended and says itself why; the intent stays open.
            Err(SendError::ShuttingDown) => std::future::pending().await,
            Err(SendError::Failed(CommandError::Store(
                error @ (StoreError::Failed(_) | StoreError::Closed),
            ))) => {
                return Err(Error::Store(error));
            }
            Err(SendError::Failed(
                error @ (CommandError::Unreadable(_)
                | CommandError::Unwritable(_)
                | CommandError::TooLarge { .. }
                | CommandError::Refused { .. }),
            )) => {
                tracing::error!(
                    payment = %call.stream,
                    operation = call.call.operation.as_str(),
                    key = %call.call.key,
                    %error,
                    "an outcome cannot be recorded: see to the payment by hand"
                );
                return Ok(false);
            }
            Err(error) => {
                tracing::warn!(payment = %call.stream, %error, "an outcome will be recorded again");
                tokio::time::sleep(backoff(&outside.options, failures)).await;
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

/// Whether time mends it.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Store(StoreError::Unavailable(_))
            | Error::Checkpoint(BusError::Store(StoreError::Unavailable(_)))
    )
}

/// The key of an intent that begins here.
fn key_of(event: &payment::Event) -> Option<Uuid> {
    match event {
        payment::Event::AuthorizationRequested(requested) => Some(requested.key),
        payment::Event::CaptureRequested(requested) | payment::Event::VoidRequested(requested) => {
            Some(requested.key)
        }
        payment::Event::RefundRequested(requested) => Some(requested.key),
        _ => None,
    }
}

/// Whether an event makes the intents due that waited for it: their keys are used from then on.
fn lets_others_go(event: &payment::Event) -> bool {
    matches!(
        event,
        payment::Event::Authorized(_) | payment::Event::Captured(_)
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
