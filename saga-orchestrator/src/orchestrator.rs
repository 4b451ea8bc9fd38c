//! The runtime: feeds the sagas what happens, and time.
//!
//! ```text
//! bus: events ─┐                            ┌▶ one append for all sagas that moved
//!              ├▶ batch ▶ inputs ▶ react ───┤
//! timers ──────┘   by saga                  └▶ timers, rows of the sagas in flight
//! ```
//!
//! The log decides: a saga moves by an append at the revision that its reaction was made on.
//! Where another orchestrator was first, the saga is loaded again and the inputs are fed again;
//! what was fed before changes nothing. So two at once do no harm, and neither does starting
//! again from an older position.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use recourse_bus::{Bus, BusError, Consumer, Deliveries};
use recourse_event_store::{
    AppendError, Direction, EventStore, Filter, Mark, Position, RecordedEvent, StoreError,
    StreamName, Visibility, typed,
};
use recourse_saga::{Answer, Definition, Finding, Input, Status, Timer};
use recourse_service::clock::Clock;
use recourse_views::documents::{self, Documents};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    in_flight::{self, InFlight},
    live::{Cause, Live, LiveError},
    lookup::{self, Found},
};

/// The limits of an orchestrator.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How often the rows of the sagas in flight are saved, in ms, while they change. What a
    /// restart reads again is at most this much of the log.
    pub save_interval_ms: u64,
    /// How often the sagas that began with an unknown definition are looked at again, in ms:
    /// whoever has it moves them, and nothing of that comes here.
    pub look_interval_ms: u64,
    /// How many sagas one round of timers moves.
    pub max_timers: usize,
    /// How many ended sagas are remembered, so that a late answer to one costs no read.
    pub max_remembered_ends: usize,
    /// How many times in a row a saga is loaded again because somebody else was first.
    pub max_conflicts: u32,
    /// The first wait before the bus or the store is asked again, in ms; it doubles.
    pub first_backoff_ms: u64,
    /// The longest of these waits, in ms.
    pub max_backoff_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            save_interval_ms: 250,
            look_interval_ms: 30_000,
            max_timers: 256,
            max_remembered_ends: 16_384,
            max_conflicts: 32,
            first_backoff_ms: 10,
            max_backoff_ms: 2_000,
        }
    }
}

/// Why an orchestrator ended: the process must.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store is broken or closed.
    #[error("the event store failed")]
    Store(#[from] StoreError),
    /// The bus cannot be read without somebody doing something about it.
    #[error("the bus cannot be read")]
    Bus(#[from] BusError),
    /// The rows of the sagas in flight cannot be used.
    #[error(transparent)]
    InFlight(#[from] in_flight::Error),
    /// An event says not whose it is, so there is no saga to park: whoever went on would lose
    /// it to a saga that waits for it.
    #[error("the metadata of the event at {position} cannot be read")]
    Unreadable {
        /// Which event.
        position: Position,
        /// What is wrong with it.
        source: typed::Error,
    },
    /// A saga can neither be moved nor parked: what comes after would be lost to it.
    #[error("the saga {saga} can be neither moved nor parked: {reason}")]
    Stuck {
        /// Which saga.
        saga: Uuid,
        /// What went wrong.
        reason: String,
    },
}

/// What an orchestrator has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sagas that have not ended.
    pub in_flight: usize,
    /// Those of them that need attention.
    pub needs_attention: usize,
    /// Those that are parked.
    pub parked: usize,
    /// Those that began with a definition that nobody here has: left alone.
    pub unknown_definition: usize,
}

/// What happens to a saga.
#[derive(Clone)]
enum Happening {
    /// An input of the engine.
    Input(Input),
    /// Something that could not be read.
    Unreadable { position: Position, error: String },
}

/// A happening with its cause.
#[derive(Clone)]
struct Fed {
    happening: Happening,
    /// None for time, whose cause is the saga's last event.
    cause: Option<Cause>,
    /// The definition of a saga that this starts.
    starts: Option<Arc<Definition>>,
}

type Work = BTreeMap<Uuid, Vec<Fed>>;

/// The categories of streams that hold what sagas wait for.
const INPUTS: [&str; 3] = ["order", "payment", "stock"];

/// Drives the sagas.
pub struct Orchestrator {
    store: Arc<dyn EventStore>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    options: Options,
    /// The first of each name starts new sagas; the others drive those that began with them.
    definitions: Vec<Arc<Definition>>,
    rows: InFlight,
    live: BTreeMap<Uuid, Live>,
    timers: BTreeSet<(DateTime<Utc>, Uuid)>,
    by_correlation: BTreeMap<Uuid, BTreeSet<Uuid>>,
    ended: Ended,
    /// Inputs up to here have had their effect.
    considered: Position,
    /// Where the log must be durable before the rows may say so.
    effects: Position,
    /// Set where timers are due: those of that time fire once inputs are considered up to
    /// what was the log's head then.
    firing: Option<(DateTime<Utc>, Position)>,
    save_at: Option<Instant>,
    /// When the sagas of unknown definitions are looked at again; none where there are none.
    look_at: Option<Instant>,
}

impl Orchestrator {
    /// Loads the sagas in flight. Of several definitions with one name the first starts new
    /// sagas; the others only drive those that began with them.
    ///
    /// # Errors
    /// Where the rows or the store cannot be read, or belong to different logs.
    pub async fn load(
        store: Arc<dyn EventStore>,
        bus: Arc<dyn Bus>,
        documents: Arc<dyn Documents>,
        clock: Arc<dyn Clock>,
        definitions: Vec<Arc<Definition>>,
        options: Options,
    ) -> Result<Self, Error> {
        let (rows, sagas, considered) = InFlight::load(documents, &*store).await?;
        let mut orchestrator = Self {
            ended: Ended::new(options.max_remembered_ends),
            store,
            bus,
            clock,
            options,
            definitions,
            rows,
            live: BTreeMap::new(),
            timers: BTreeSet::new(),
            by_correlation: BTreeMap::new(),
            considered,
            effects: considered,
            firing: None,
            save_at: None,
            look_at: None,
        };
        for saga in sagas {
            match orchestrator.load_saga(saga).await? {
                Some(live) => orchestrator.keep(saga, live),
                // It ended after its row was saved.
                None => orchestrator.rows.ended(saga),
            }
        }
        Ok(orchestrator)
    }

    /// What it has in hand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            in_flight: self.live.len(),
            ..Counts::default()
        };
        for live in self.live.values() {
            match live.state.status() {
                Status::NeedsAttention => counts.needs_attention += 1,
                Status::Parked => counts.parked += 1,
                _ => {}
            }
            if live.definition.is_none() {
                counts.unknown_definition += 1;
            }
        }
        counts
    }

    /// Drives the sagas until `shutdown`, then saves how far it has come.
    ///
    /// # Errors
    /// Where it cannot go on: the process must end.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let counts = self.counts();
        tracing::info!(
            in_flight = counts.in_flight,
            unknown_definition = counts.unknown_definition,
            "driving sagas"
        );
        let mut failures = 0;
        loop {
            let driven = shutdown
                .run_until_cancelled(self.drive(&mut failures))
                .await;
            match driven {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) if is_passing(&error) => {
                    tracing::warn!(error = with_sources(&error), "reading was cut short");
                    let pause = self.backoff(failures);
                    failures += 1;
                    if shutdown
                        .run_until_cancelled(tokio::time::sleep(pause))
                        .await
                        .is_none()
                    {
                        break;
                    }
                }
                Some(Err(error)) => return Err(error),
            }
        }
        self.save().await
    }

    /// Reads the bus from where it stands until that fails.
    async fn drive(&mut self, failures: &mut u32) -> Result<(), Error> {
        let filter = Filter::categories(&INPUTS);
        let mut consumer = self.bus.events(self.considered, filter).await?;
        loop {
            self.step(&mut *consumer).await?;
            *failures = 0;
        }
    }

    /// Waits for the next thing to do, and does it.
    async fn step(&mut self, consumer: &mut dyn Consumer<Arc<RecordedEvent>>) -> Result<(), Error> {
        let now = self.clock.now();
        let due = self.timers.first().map(|(at, _)| *at);
        let is_due = due.is_some_and(|at| at <= now);
        if is_due {
            // Everything that was answered by then must be seen first.
            let (time, head) = match self.firing {
                Some(firing) => firing,
                None => *self.firing.insert((now, self.store.appended().await?)),
            };
            if self.considered >= head {
                self.firing = None;
                return self.fire(time).await;
            }
        }
        let until_due = due
            .filter(|_| !is_due)
            .map(|at| (at - now).to_std().unwrap_or(Duration::ZERO));
        let (save_at, look_at) = (self.save_at, self.look_at);
        tokio::select! {
            biased;
            () = sleep_until(save_at) => self.save().await,
            () = sleep_until(look_at) => self.look_again().await,
            delivered = consumer.next() => self.take(delivered?).await,
            () = sleep(until_due) => Ok(()),
        }
    }

    async fn take(&mut self, deliveries: Deliveries<Arc<RecordedEvent>>) -> Result<(), Error> {
        let mut work = Work::new();
        for event in &deliveries.messages {
            self.read(event, &mut work)?;
        }
        self.feed(work).await?;
        self.considered = deliveries.considered;
        Ok(())
    }

    /// What an event means to which sagas.
    fn read(&self, event: &RecordedEvent, work: &mut Work) -> Result<(), Error> {
        let (cause, metadata) =
            match Cause::of(event).and_then(|cause| Ok((cause, event.metadata()?))) {
                Ok(read) => read,
                Err(source) => {
                    let position = event.position;
                    return Err(Error::Unreadable { position, source });
                }
            };
        let mut found: Vec<(Uuid, Happening, Option<Arc<Definition>>)> = Vec::new();
        let unreadable = |error: &typed::Error| Happening::Unreadable {
            position: event.position,
            error: with_sources(error),
        };
        for (definition, is_current) in self.definitions_by_age() {
            match definition.starts(event) {
                Ok(Some(start)) if is_current => {
                    let input = Input::Start { input: start.input };
                    let saga = definition.saga_id(event.event.id);
                    found.push((saga, Happening::Input(input), Some(Arc::clone(definition))));
                }
                Err(error) if is_current => {
                    let saga = definition.saga_id(event.event.id);
                    found.push((saga, unreadable(&error), Some(Arc::clone(definition))));
                }
                Ok(_) | Err(_) => {}
            }
            let cancelled = match definition.cancels(event) {
                Ok(Some(cancel)) => Some((
                    cancel.correlation,
                    Happening::Input(Input::Cancelled {
                        position: event.position,
                    }),
                )),
                Ok(None) => None,
                Err(error) => Some((cause.correlation, unreadable(&error))),
            };
            if let Some((correlation, happening)) = cancelled {
                for saga in self.sagas_of(correlation, definition, work) {
                    found.push((saga, happening.clone(), None));
                }
            }
        }
        for answered in &metadata.answers {
            let Ok(saga) = answered.saga.id().parse::<Uuid>() else {
                tracing::error!(position = %event.position, saga = %answered.saga, "an answer names no saga");
                continue;
            };
            let answer = Input::Answer {
                command: answered.command,
                answer: Answer::from(metadata.refused.as_ref()),
                position: event.position,
            };
            found.push((saga, Happening::Input(answer), None));
        }
        for (saga, happening, starts) in found {
            work.entry(saga).or_default().push(Fed {
                happening,
                cause: Some(cause.clone()),
                starts,
            });
        }
        Ok(())
    }

    /// The sagas of a definition that belong to a correlation: those that are live, and those
    /// that begin in the batch at hand.
    fn sagas_of(&self, correlation: Uuid, definition: &Definition, work: &Work) -> BTreeSet<Uuid> {
        let live = self.by_correlation.get(&correlation).into_iter().flatten();
        let live = live.filter(|saga| {
            let its = self
                .live
                .get(saga)
                .and_then(|live| live.definition.as_ref());
            its.is_some_and(|its| its.hash() == definition.hash())
        });
        let begins = work.iter().filter(|(_, fed)| {
            fed.iter().any(|fed| {
                let is_same = |its: &Arc<Definition>| its.hash() == definition.hash();
                let belongs = |its: &Cause| its.correlation == correlation;
                fed.starts.as_ref().is_some_and(is_same) && fed.cause.as_ref().is_some_and(belongs)
            })
        });
        live.chain(begins.map(|(saga, _)| saga)).copied().collect()
    }

    fn definitions_by_age(&self) -> impl Iterator<Item = (&Arc<Definition>, bool)> {
        self.definitions
            .iter()
            .enumerate()
            .map(|(index, definition)| {
                let is_current = !self
                    .definitions
                    .iter()
                    .take(index)
                    .any(|newer| newer.name() == definition.name());
                (definition, is_current)
            })
    }

    /// Feeds the sagas, appends what follows, and again where somebody else was first.
    async fn feed(&mut self, mut work: Work) -> Result<(), Error> {
        let (mut conflicts, mut failures) = (0, 0);
        while !work.is_empty() {
            let mut appends = Vec::new();
            let mut moved = Vec::new();
            for (saga, fed) in &work {
                if let Some(append) = self.react(*saga, fed).await? {
                    appends.push(append);
                    moved.push(*saga);
                }
            }
            if appends.is_empty() {
                return Ok(());
            }
            let mut again = Work::new();
            let mut unavailable = false;
            let results = self.store.append(appends).await;
            for (saga, result) in moved.into_iter().zip(results) {
                match result {
                    Ok(appended) => {
                        let position = match appended.position {
                            Some(position) => position,
                            // A repeat of what stands somewhere before the head.
                            None => self.head().await?,
                        };
                        self.effects = self.effects.max(position);
                        self.settle(saga);
                    }
                    Err(AppendError::WrongExpectedRevision { .. }) => {
                        self.drop_live(saga);
                        again.extend(work.remove_entry(&saga));
                    }
                    Err(AppendError::Store(
                        StoreError::Unavailable(reason) | StoreError::Full(reason),
                    )) => {
                        tracing::warn!(%saga, reason, "a saga's events were not taken");
                        unavailable = true;
                        self.drop_live(saga);
                        again.extend(work.remove_entry(&saga));
                    }
                    Err(AppendError::Store(error)) => return Err(Error::Store(error)),
                    Err(error @ (AppendError::TooLarge { .. } | AppendError::Empty)) => {
                        return Err(Error::Stuck {
                            saga,
                            reason: error.to_string(),
                        });
                    }
                }
            }
            work = again;
            if unavailable {
                tokio::time::sleep(self.backoff(failures)).await;
                failures += 1;
                continue;
            }
            conflicts += 1;
            if conflicts > self.options.max_conflicts
                && let Some(saga) = work.keys().next()
            {
                return Err(Error::Stuck {
                    saga: *saga,
                    reason: format!("somebody else was first {conflicts} times in a row"),
                });
            }
        }
        Ok(())
    }

    /// Lets one saga react to what happened to it; the append that follows, if any.
    async fn react(
        &mut self,
        saga: Uuid,
        happened: &[Fed],
    ) -> Result<Option<recourse_event_store::Append>, Error> {
        let is_loaded_anew = !self.live.contains_key(&saga);
        if is_loaded_anew {
            if self.ended.contains(saga) {
                return Ok(None);
            }
            let begins = happened
                .iter()
                .find_map(|fed| Some((fed.starts.as_ref()?, fed.cause.as_ref()?)));
            let live = match (self.load_saga(saga).await?, begins) {
                (Some(live), _) => live,
                (None, _) if self.ended.contains(saga) => return Ok(None),
                (None, Some((definition, cause))) => {
                    self.rows.begun(saga);
                    Live::new(saga, Arc::clone(definition), cause)
                }
                (None, None) => {
                    tracing::error!(%saga, "an answer came for a saga that never began");
                    return Ok(None);
                }
            };
            self.keep(saga, live);
        }
        let now = self.clock.now();
        let log = self.store.log_id();
        let Some(live) = self.live.get_mut(&saga) else {
            return Ok(None);
        };
        for fed in happened {
            // Time asked by what the saga was. Its timers are set anew, and are due or not.
            if is_loaded_anew && fed.cause.is_none() {
                continue;
            }
            let cause = fed.cause.clone().unwrap_or_else(|| live.time());
            let (position, error) = match &fed.happening {
                Happening::Input(input) => {
                    let position = position_of(input).unwrap_or(self.considered);
                    match live.feed(input.clone(), &cause, now, log) {
                        Ok(()) => continue,
                        Err(error) => (position, with_sources(&error)),
                    }
                }
                Happening::Unreadable { position, error } => (*position, error.clone()),
            };
            tracing::error!(%saga, %position, error, "a saga is parked");
            live.park(position, error, &cause, now, log)
                .map_err(|error| Error::Stuck {
                    saga,
                    reason: with_sources(&error),
                })?;
        }
        let append = live.take_append();
        if append.is_none() {
            self.settle(saga);
        }
        Ok(append)
    }

    /// Loads a saga from its stream; none where it never began or has ended. A stream that
    /// cannot be read stops its orchestrator: nobody could say so in that stream.
    async fn load_saga(&mut self, saga: Uuid) -> Result<Option<Live>, Error> {
        let definitions = &self.definitions;
        let find = |hash: &str| {
            definitions
                .iter()
                .find(|definition| definition.hash() == hash)
                .map(Arc::clone)
        };
        let mut failures = 0;
        // Its inputs are in hand and others may have moved already: none is given up half way.
        let loaded = loop {
            match Live::load(&*self.store, saga, find).await {
                Err(LiveError::Store(StoreError::Unavailable(reason))) => {
                    tracing::warn!(%saga, reason, "a saga cannot be loaded for now");
                    tokio::time::sleep(self.backoff(failures)).await;
                    failures += 1;
                }
                loaded => break loaded,
            }
        };
        match loaded {
            Ok(Some(live)) => {
                // Somebody else may have written what is not durable yet.
                self.effects = self.effects.max(live.position);
                if live.state.is_ended() {
                    self.ended.insert(saga);
                    self.rows.ended(saga);
                    self.save_soon();
                    return Ok(None);
                }
                Ok(Some(live))
            }
            Ok(None) => Ok(None),
            Err(LiveError::Store(error)) => Err(Error::Store(error)),
            Err(error) => Err(Error::Stuck {
                saga,
                reason: with_sources(&error),
            }),
        }
    }

    /// The position of the last event, however long it takes to learn.
    async fn head(&self) -> Result<Position, StoreError> {
        let mut failures = 0;
        loop {
            match self.store.appended().await {
                Err(StoreError::Unavailable(reason)) => {
                    tracing::warn!(reason, "the head of the log is not known for now");
                    tokio::time::sleep(self.backoff(failures)).await;
                    failures += 1;
                }
                known => return known,
            }
        }
    }

    fn keep(&mut self, saga: Uuid, live: Live) {
        self.by_correlation
            .entry(live.correlation())
            .or_default()
            .insert(saga);
        if live.definition.is_none() {
            let interval = Duration::from_millis(self.options.look_interval_ms);
            self.look_at
                .get_or_insert_with(|| Instant::now() + interval);
        }
        self.live.insert(saga, live);
        self.rows.begun(saga);
        self.settle(saga);
    }

    /// Sets a saga's timer anew, or lets it go where it has ended.
    fn settle(&mut self, saga: Uuid) {
        self.save_soon();
        let Some(live) = self.live.get_mut(&saga) else {
            return;
        };
        let due = live
            .state
            .next_due()
            .map(|(at, _)| at)
            // Whoever has no definition for it fires none of its timers.
            .filter(|_| live.definition.is_some());
        if live.timer != due {
            if let Some(at) = live.timer.take() {
                self.timers.remove(&(at, saga));
            }
            live.timer = due;
            self.timers.extend(due.map(|at| (at, saga)));
        }
        if live.state.is_ended() {
            self.drop_live(saga);
            self.ended.insert(saga);
            self.rows.ended(saga);
        }
    }

    /// Forgets what is known of a saga; the next input loads it.
    fn drop_live(&mut self, saga: Uuid) {
        let Some(live) = self.live.remove(&saga) else {
            return;
        };
        if let Some(at) = live.timer {
            self.timers.remove(&(at, saga));
        }
        if let Some(sagas) = self.by_correlation.get_mut(&live.correlation()) {
            sagas.remove(&saga);
            if sagas.is_empty() {
                self.by_correlation.remove(&live.correlation());
            }
        }
    }

    /// Loads the sagas of unknown definitions anew, to let go of those that have ended.
    async fn look_again(&mut self) -> Result<(), Error> {
        self.look_at = None;
        let unknown = self.live.iter().filter(|(_, its)| its.definition.is_none());
        let unknown: Vec<Uuid> = unknown.map(|(saga, _)| *saga).collect();
        for saga in unknown {
            let loaded = self.load_saga(saga).await?;
            self.drop_live(saga);
            if let Some(live) = loaded {
                self.keep(saga, live);
            }
        }
        Ok(())
    }

    /// Fires the timers that are due, the earliest of each saga.
    async fn fire(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        let due: Vec<Uuid> = self
            .timers
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(self.options.max_timers)
            .map(|(_, saga)| *saga)
            .collect();
        let mut work = Work::new();
        for saga in due {
            let Some((_, timer)) = self.live.get(&saga).and_then(|live| live.state.next_due())
            else {
                continue;
            };
            let input = match timer {
                Timer::Overdue(command) => self.look_up(saga, command).await?,
                Timer::Resend(command) => Input::BackoffOver { command },
                Timer::Deadline => Input::DeadlinePassed,
            };
            work.entry(saga).or_default().push(Fed {
                happening: Happening::Input(input),
                cause: None,
                starts: None,
            });
        }
        self.feed(work).await
    }

    /// What became of a command that is overdue.
    async fn look_up(&self, saga: Uuid, command: Uuid) -> Result<Input, Error> {
        let stuck = |reason: String| Error::Stuck { saga, reason };
        let (target, revision, index) = self
            .live
            .get(&saga)
            .and_then(|live| live.state.command(command))
            .map(|sent| (sent.target.clone(), sent.revision, sent.index))
            .ok_or_else(|| stuck(format!("it has a timer for {command}, which it never sent")))?;
        let position = self
            .position_in(&Definition::stream(saga), revision)
            .await?;
        let position = position.ok_or_else(|| stuck(format!("its event {revision} is gone")))?;
        let mark = Mark { position, index };
        let found = lookup::look_up(&*self.store, &target, command, mark).await;
        match found {
            Ok(Found::Answered(answer, position)) => Ok(Input::Answer {
                command,
                answer,
                position,
            }),
            Ok(Found::Lost) => Ok(Input::Overdue {
                command,
                finding: Finding::Lost,
            }),
            Ok(Found::Waiting) => Ok(Input::Overdue {
                command,
                finding: Finding::Waiting,
            }),
            Err(lookup::LookupError::Store(error)) => Err(Error::Store(error)),
            Err(error) => Err(stuck(with_sources(&error))),
        }
    }

    async fn position_in(
        &self,
        stream: &StreamName,
        revision: u64,
    ) -> Result<Option<Position>, StoreError> {
        let events = self
            .store
            .read_stream(
                stream,
                Some(revision),
                Direction::Forward,
                Visibility::Appended,
                1,
            )
            .await?;
        Ok(events.first().map(|event| event.position))
    }

    /// Saves the rows, once everything that they were derived from is durable.
    async fn save(&mut self) -> Result<(), Error> {
        self.save_at = None;
        if !self.rows.is_changed() {
            return Ok(());
        }
        match self.save_rows().await {
            Err(error) if is_passing(&error) => {
                // A restart reads more of the log; nothing else depends on it.
                let error = with_sources(&error);
                tracing::warn!(error, "the rows of the sagas in flight were not saved");
                self.save_soon();
                Ok(())
            }
            saved => saved,
        }
    }

    async fn save_rows(&mut self) -> Result<(), Error> {
        let considered = self.considered;
        let effects = self.effects.max(considered);
        self.store.wait_durable(effects).await?;
        Ok(self.rows.save(&*self.store, considered).await?)
    }

    fn save_soon(&mut self) {
        let interval = Duration::from_millis(self.options.save_interval_ms);
        self.save_at
            .get_or_insert_with(|| Instant::now() + interval);
    }

    fn backoff(&self, failures: u32) -> Duration {
        let factor = 1_u64.checked_shl(failures).unwrap_or(u64::MAX);
        Duration::from_millis(
            self.options
                .first_backoff_ms
                .saturating_mul(factor)
                .min(self.options.max_backoff_ms),
        )
    }
}

/// The sagas that ended last: bounded.
struct Ended {
    sagas: BTreeSet<Uuid>,
    order: VecDeque<Uuid>,
    max: usize,
}

impl Ended {
    fn new(max: usize) -> Self {
        Self {
            sagas: BTreeSet::new(),
            order: VecDeque::new(),
            max,
        }
    }

    fn insert(&mut self, saga: Uuid) {
        if self.sagas.insert(saga) {
            self.order.push_back(saga);
        }
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.sagas.remove(&oldest);
        }
    }

    fn contains(&self, saga: Uuid) -> bool {
        self.sagas.contains(&saga)
    }
}

fn position_of(input: &Input) -> Option<Position> {
    match input {
        Input::Answer { position, .. } | Input::Cancelled { position } => Some(*position),
        _ => None,
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Whether time mends it.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Store(error) => is_store_passing(error),
        Error::Bus(error) | Error::InFlight(in_flight::Error::Position(error)) => match error {
            BusError::Store(error) => is_store_passing(error),
            BusError::Gap { .. } => true,
            BusError::Checkpoint { .. } | BusError::Malformed { .. } => false,
        },
        Error::InFlight(in_flight::Error::Documents(error)) => {
            matches!(error, documents::Error::Unavailable(_))
        }
        Error::InFlight(in_flight::Error::Checkpoint(_))
        | Error::Unreadable { .. }
        | Error::Stuck { .. } => false,
    }
}

fn is_store_passing(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Full(_))
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
