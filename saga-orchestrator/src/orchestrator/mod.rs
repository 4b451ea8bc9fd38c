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

mod ended;
mod inputs;
mod moving;
mod timing;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use recourse_bus::{Bus, BusError, Consumer, Deliveries, Share};
use recourse_event_store::{EventStore, Filter, Position, RecordedEvent, StoreError, typed};
use recourse_saga::{Definition, Status};
use recourse_service::clock::Clock;
use recourse_views::documents::{self, Documents};
use serde::Deserialize;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{ended::Ended, inputs::Work};
use crate::{
    in_flight::{self, InFlight, Loaded},
    live::Live,
    operator::Told,
    owner::Standing,
};

/// After how many gaps in a row an owner among others loads its rows anew.
const MAX_GAPS: u32 = 8;

/// A reader that was cut reads again once it got further, or once nothing went wrong for so long: there may
/// be nothing to come.
const STEADY: Duration = Duration::from_secs(10);

/// The category of the streams that sagas are in.
const SAGAS: &str = "saga";

/// The limits of an orchestrator.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The categories of streams that hold what sagas wait for: what starts and cancels them, and
    /// the answers of those whom they send commands. Those of orders, where nothing is said.
    pub categories: Vec<String>,
    /// How often the rows of the sagas in flight are saved, in ms, while they change. A restart reads
    /// again what came since, and where a partition of the bus lags behind the others, what came
    /// since that one's place.
    pub save_interval_ms: u64,
    /// How often the sagas that began with an unknown definition are looked at again, in ms:
    /// whoever has it moves them, and nothing of that comes here.
    pub look_interval_ms: u64,
    /// How many sagas one round of timers moves.
    pub max_timers: usize,
    /// How many ended sagas are remembered, so that a late answer to one costs no read.
    pub max_remembered_ends: usize,
    /// How many operators' actions may wait to be seen at once.
    pub max_waiting_actions: usize,
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
            categories: ["order", "payment", "stock"].map(str::to_owned).to_vec(),
            save_interval_ms: 250,
            look_interval_ms: 30_000,
            max_timers: 256,
            max_remembered_ends: 16_384,
            max_waiting_actions: 64,
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

/// What sagas are driven with.
#[derive(Clone)]
pub(crate) struct Parts {
    /// The log.
    pub(crate) store: Arc<dyn EventStore>,
    /// Brings its events.
    pub(crate) bus: Arc<dyn Bus>,
    /// Holds the rows of the sagas in flight.
    pub(crate) documents: Arc<dyn Documents>,
    /// Tells the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// The first of each name starts new sagas; the others drive those that began with them.
    pub(crate) definitions: Vec<Arc<Definition>>,
    /// The limits.
    pub(crate) options: Options,
}

/// Drives the sagas of one share, for as long as that is the share.
pub(crate) struct Driver {
    store: Arc<dyn EventStore>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    options: Options,
    /// The first of each name starts new sagas; the others drive those that began with them.
    definitions: Vec<Arc<Definition>>,
    /// Whose sagas it drives.
    share: Share,
    /// Where it says that nothing comes in.
    standing: Standing,
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
    /// The sagas that operators have moved.
    moved: mpsc::Receiver<Uuid>,
    /// Those that are to be loaded anew before anything else.
    to_load: BTreeSet<Uuid>,
    /// Those whose last owner had no definition for them: what they have missed is looked up.
    passed_over: BTreeSet<Uuid>,
    /// When reading counts as sound again after it was cut; none where it does.
    steady_at: Option<Instant>,
    /// When the sagas of unknown definitions are looked at again; none where there are none.
    look_at: Option<Instant>,
}

impl Driver {
    /// Loads the sagas in flight of a share. Operators' actions are told through `told` from here on.
    ///
    /// # Errors
    /// Where the rows or the store cannot be read, or belong to different logs.
    pub(crate) async fn load(
        parts: Parts,
        share: Share,
        told: &Told,
        standing: &Standing,
    ) -> Result<Self, Error> {
        let Parts {
            store,
            bus,
            documents,
            clock,
            definitions,
            options,
        } = parts;
        let (tell, moved) = mpsc::channel(options.max_waiting_actions.max(1));
        told.set(tell);
        let loaded = InFlight::load(documents, &*store, &share).await?;
        let Loaded {
            rows,
            sagas,
            position: considered,
        } = loaded;
        let mut driver = Self {
            ended: Ended::new(options.max_remembered_ends),
            store,
            bus,
            clock,
            options,
            definitions,
            share,
            standing: standing.clone(),
            rows,
            live: BTreeMap::new(),
            timers: BTreeSet::new(),
            by_correlation: BTreeMap::new(),
            considered,
            effects: considered,
            firing: None,
            save_at: None,
            moved,
            to_load: BTreeSet::new(),
            passed_over: BTreeSet::new(),
            steady_at: None,
            look_at: None,
        };
        for (saga, row) in sagas {
            // None where it ended after its row was saved, or is somebody else's.
            let Some(live) = driver.load_saga(saga).await? else {
                continue;
            };
            if row.is_passed_over && live.definition.is_some() {
                driver.passed_over.insert(saga);
            }
            if live.state.may_have_missed() || driver.passed_over.contains(&saga) {
                driver.to_load.insert(saga);
            }
            driver.keep(saga, live);
        }
        if driver.rows.is_changed(considered) {
            driver.save_soon();
        }
        Ok(driver)
    }

    /// What it has in hand.
    pub(crate) fn counts(&self) -> Counts {
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

    /// Drives the sagas until it is told to stop, then saves how far it has come.
    ///
    /// # Errors
    /// Where it cannot go on.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let counts = self.counts();
        tracing::info!(
            in_flight = counts.in_flight,
            unknown_definition = counts.unknown_definition,
            partitions = self.share.owned().len(),
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
                    let why = with_sources(&error);
                    tracing::warn!(error = why, "reading was cut short");
                    // Others may have brought the rows further meanwhile.
                    let is_gap = matches!(error, Error::Bus(BusError::Gap { .. }));
                    if is_gap && failures >= MAX_GAPS && self.share.is_among_others() {
                        return Err(error);
                    }
                    self.standing.set_trouble(Some(why));
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
        self.save_all().await
    }

    /// Reads the bus from where it stands until that fails.
    async fn drive(&mut self, failures: &mut u32) -> Result<(), Error> {
        let categories = self.options.categories.iter().map(String::as_str);
        // What operators do elsewhere stands in the sagas' own streams.
        let elsewhere = self.share.is_among_others().then_some(SAGAS);
        let filter = Filter::categories(&categories.chain(elsewhere).collect::<Vec<_>>());
        let begun_at = self.considered;
        let consumer = self.bus.events(begun_at, filter, &self.share);
        let mut consumer = consumer.await?;
        self.steady_at = (*failures > 0).then(|| Instant::now() + STEADY);
        loop {
            self.step(&mut *consumer).await?;
            // What comes alone proves nothing: partitions that lack nothing go on beside one that does.
            let is_sound = self.steady_at.is_none() || self.considered > begun_at;
            if is_sound && std::mem::take(failures) > 0 {
                self.steady_at = None;
                self.standing.set_trouble(None);
            }
        }
    }

    /// Waits for the next thing to do, and does it.
    async fn step(&mut self, consumer: &mut dyn Consumer<Arc<RecordedEvent>>) -> Result<(), Error> {
        if let Some(saga) = self.to_load.first().copied() {
            self.load_anew(saga).await?;
            self.to_load.remove(&saga);
            return Ok(());
        }
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
        let (save_at, look_at, steady_at) = (self.save_at, self.look_at, self.steady_at);
        tokio::select! {
            biased;
            () = sleep_until(save_at) => self.save().await,
            () = sleep_until(look_at) => {
                self.look_again();
                Ok(())
            }
            () = sleep_until(steady_at) => {
                self.steady_at = None;
                Ok(())
            }
            Some(saga) = self.moved.recv() => {
                self.to_load.insert(saga);
                Ok(())
            }
            delivered = consumer.next() => self.take(delivered?).await,
            () = sleep(until_due) => Ok(()),
        }
    }

    async fn take(&mut self, deliveries: Deliveries<Arc<RecordedEvent>>) -> Result<(), Error> {
        let mut work = Work::new();
        // What cannot be read ends the orchestrator, and only once the others have moved.
        let mut unreadable = None;
        for event in &deliveries.messages {
            if event.stream.category() == SAGAS {
                self.hear(event);
                continue;
            }
            if let Err(error) = self.read(event, &mut work) {
                unreadable.get_or_insert(error);
            }
        }
        self.feed(work).await?;
        if let Some(error) = unreadable {
            return Err(error);
        }
        self.considered = deliveries.considered;
        Ok(())
    }

    /// Saves the rows, once everything that they were derived from is durable.
    async fn save(&mut self) -> Result<(), Error> {
        self.save_at = None;
        if !self.rows.is_changed(self.considered) {
            return Ok(());
        }
        let saved = self.save_rows().await;
        if self.rows.is_changed(self.considered) {
            self.save_soon();
        }
        match saved {
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

    /// Saves whatever has changed, for who goes on.
    async fn save_all(&mut self) -> Result<(), Error> {
        let parts = self.share.owned().len();
        for _ in 0..parts {
            self.save().await?;
        }
        Ok(())
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
        Duration::from_millis(self.options.backoff_ms(failures))
    }
}

impl Options {
    /// How long to wait after so many failures in a row, in ms.
    pub(crate) fn backoff_ms(&self, failures: u32) -> u64 {
        let factor = 1_u64.checked_shl(failures).unwrap_or(u64::MAX);
        self.first_backoff_ms
            .saturating_mul(factor)
            .min(self.max_backoff_ms)
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
pub(crate) fn is_passing(error: &Error) -> bool {
    match error {
        Error::Store(error) => is_store_passing(error),
        Error::Bus(error) | Error::InFlight(in_flight::Error::Position(error)) => match error {
            BusError::Store(error) => is_store_passing(error),
            BusError::Gap { .. } | BusError::Unavailable(_) | BusError::Topic { .. } => true,
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

pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
