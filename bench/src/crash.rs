//! The crash loop: a real server under load is killed again and again, and loses nothing.
//!
//! ```text
//! clients ──▶ server ──▶ data folder        kill -9 at a random moment
//!    │ same key until acknowledged           ├─ read the folder: what was open, what was durable
//!    └─▶ acknowledged file                   └─ start again on the same port and folder: how long
//!                                               until the first saga has settled, and the last
//! after the last start: all settle, the server ends, verify
//! ```
//!
//! A client whose connection breaks repeats the order under the same key until it is
//! acknowledged, and writes the acknowledgement down before it counts it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recourse_event_store::{Position, StoreError};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use crate::{
    acknowledged::Writer,
    http::{self, Address, Connection},
    place::{self, Outcome, PlaceError},
    plan::{Plan, PrepareError},
    server::{self, Server, Spawn},
    verify,
};

/// How often what cannot be waited for is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// Before an order is sent again after its connection broke.
const PAUSE: Duration = Duration::from_millis(5);
/// How much longer than the server's own wait an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Clone)]
pub struct Options {
    /// How to start the server.
    pub spawn: Spawn,
    /// In front of every SKU and key, as [`crate::load::Options::name`].
    pub name: String,
    /// How often it is killed.
    pub kills: u32,
    /// How many clients, and so orders in flight at each kill.
    pub in_flight: u32,
    /// How many of a hundred orders are meant to fail.
    pub failing_percent: u8,
    /// How many products.
    pub skus: u32,
    /// Orders have 1 to this many lines.
    pub max_lines: u32,
    /// Which orders, and when is killed.
    pub seed: u64,
    /// How long after all clients have an order in flight it is killed, in milliseconds.
    pub kill_after_ms: RangeInclusive<u32>,
    /// How long the server may take until an order is settled, in seconds (`Prefer: wait`).
    pub wait_s: u32,
    /// How long after a start everything that was open may take to settle, in milliseconds.
    pub settle_timeout_ms: u32,
    /// Where to write what the server acknowledged.
    pub acknowledged: PathBuf,
    /// How the data folder is opened.
    pub folder: Arc<dyn verify::OpenFolder>,
    /// What time it is.
    pub clock: fn() -> DateTime<Utc>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Each kill and the start after it.
    pub kills: Vec<Kill>,
    /// Orders acknowledged.
    pub acknowledged: u64,
    /// Of these, those told as settled.
    pub told_settled: u64,
    /// Orders that were sent again under their key.
    pub repeats: u64,
    /// Orders that the server refused: there should be none.
    pub refused: BTreeMap<String, u64>,
    /// Orders of the log that are not settled after the last start: there should be none.
    pub unsettled: u64,
    /// The check after the end.
    pub verified: verify::Report,
}

/// One kill and the start after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// When, in milliseconds after the load was full.
    pub after_ms: u64,
    /// Orders sent and not answered at that moment.
    pub in_flight: u64,
    /// Sagas that the log had open.
    pub sagas_open: u64,
    /// The last event that was found in the folder.
    pub log_end: Position,
    /// Events in the folder past the position that the server had published as durable, where
    /// it had published one. What had not reached the operating system cannot be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_not_durable: Option<u64>,
    /// From the start of the process until it answered.
    pub serving_ms: u64,
    /// From the start of the process until a client was told of a settled order, or one of the
    /// open sagas was seen settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_settled_ms: Option<u64>,
    /// From the start of the process until the last of the open sagas was seen settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_settled_ms: Option<u64>,
    /// Open sagas that had not settled in time.
    pub still_open: u64,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not be started or ended.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// Its URL is not one.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// Products or stock could not be prepared.
    #[error("the server cannot be prepared")]
    Prepare(#[from] PrepareError),
    /// The acknowledged file cannot be written.
    #[error("what was acknowledged cannot be written down")]
    Acknowledged(#[source] io::Error),
    /// The log cannot be read after a kill.
    #[error("the log cannot be read after a kill")]
    Store(#[from] StoreError),
    /// The folder cannot be opened after a kill, or the check at the end could not be made.
    #[error(transparent)]
    Verify(#[from] verify::Error),
    /// Something that must come did not.
    #[error("{0} did not happen within {1} ms")]
    Late(&'static str, u32),
    /// A client panicked.
    #[error("a client ended early")]
    Client,
}

struct Clients {
    plan: Plan,
    prefer: String,
    timeout: Duration,
    server: watch::Receiver<Option<Address>>,
    next: AtomicU64,
    in_flight: AtomicU64,
    acknowledged: AtomicU64,
    settled: AtomicU64,
    repeats: AtomicU64,
    stop: AtomicBool,
    told: Mutex<Told>,
}

struct Told {
    writer: Option<Writer>,
    refused: BTreeMap<String, u64>,
    failed: Option<io::Error>,
    first_settled: Option<Instant>,
}

/// Runs the loop.
///
/// # Errors
/// [`Error`]; what the check finds is in the report.
pub async fn run(options: &Options) -> Result<Report, Error> {
    let mut draw = ChaCha8Rng::seed_from_u64(options.seed);
    let mut server = Server::start(&options.spawn, 0).await?;
    let mut address = Address::parse(server.url())?;
    let port = address.port().unwrap_or(0);
    let plan = Plan {
        name: options.name.clone(),
        seed: options.seed,
        skus: options.skus,
        max_lines: options.max_lines,
        failing_percent: options.failing_percent,
    };
    let mut writer = Some(Writer::open(&options.acknowledged).map_err(Error::Acknowledged)?);
    let mut failed = None;
    let mut control = Connection::new(address.clone(), Duration::from_secs(30));
    let prepared = plan.prepare(&mut control, |line| {
        if let Err(error) = place::write_down(&mut writer, &line) {
            failed.get_or_insert(error);
        }
    });
    prepared.await?;
    if let Some(error) = failed {
        return Err(Error::Acknowledged(error));
    }
    let (publish, subscribed) = watch::channel(Some(address.clone()));
    let clients = Arc::new(Clients {
        plan,
        prefer: format!("wait={}", options.wait_s),
        timeout: Duration::from_secs(options.wait_s.into()) + PATIENCE,
        server: subscribed,
        next: AtomicU64::new(0),
        in_flight: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
        settled: AtomicU64::new(0),
        repeats: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        told: Mutex::new(Told {
            writer,
            refused: BTreeMap::new(),
            failed: None,
            first_settled: None,
        }),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..options.in_flight {
        tasks.spawn(Arc::clone(&clients).client());
    }
    let mut kills = Vec::new();
    for _ in 0..options.kills {
        clients.all_in_flight(options).await?;
        let full = Instant::now();
        let range = options.kill_after_ms.clone();
        sleep(Duration::from_millis(draw.random_range(range).into())).await;
        clients.all_in_flight(options).await?;
        let after_ms = ms(full.elapsed());
        let in_flight = clients.in_flight.load(Ordering::SeqCst);
        server.kill().await?;
        publish.send_replace(None);
        let (open, found) = look(options).await?;
        clients.told().first_settled = None;
        server = Server::start(&options.spawn, port).await?;
        let started = server.started();
        let serving_ms = ms(started.elapsed());
        address = Address::parse(server.url())?;
        publish.send_replace(Some(address.clone()));
        let mut kill = Kill {
            after_ms,
            in_flight,
            sagas_open: open.len() as u64,
            serving_ms,
            ..found
        };
        settle(options, &clients, &address, open, started, &mut kill).await;
        tracing::info!(?kill, "killed and started again");
        kills.push(kill);
    }
    clients.stop.store(true, Ordering::SeqCst);
    let limit = Duration::from_millis(options.settle_timeout_ms.into());
    let ended = timeout(limit, async {
        while let Some(task) = tasks.join_next().await {
            task.map_err(|_| Error::Client)?;
        }
        Ok::<(), Error>(())
    });
    ended.await.map_err(|_| {
        Error::Late(
            "an acknowledgement of each order",
            options.settle_timeout_ms,
        )
    })??;
    if let Some(error) = clients.told().failed.take() {
        return Err(Error::Acknowledged(error));
    }
    quiet(&address, limit).await;
    server.stop(limit).await?;
    let mut check = verify::Options::new((options.clock)());
    check.acknowledged = Some(options.acknowledged.clone());
    let verified = verify::folder(&options.spawn.data, &*options.folder, &check).await?;
    let orders: u64 = verified.orders.values().sum();
    let refused = std::mem::take(&mut clients.told().refused);
    Ok(Report {
        kills,
        acknowledged: clients.acknowledged.load(Ordering::SeqCst),
        told_settled: clients.settled.load(Ordering::SeqCst),
        repeats: clients.repeats.load(Ordering::SeqCst),
        refused,
        unsettled: orders.saturating_sub(verified.settled),
        verified,
    })
}

/// What the killed server has left in its folder.
async fn look(options: &Options) -> Result<(BTreeSet<Uuid>, Kill), Error> {
    let data = &options.spawn.data;
    let opened = options.folder.open(data).await.map_err(|source| {
        Error::Verify(verify::Error::Folder {
            path: data.clone(),
            source,
        })
    })?;
    let log_end = opened.store.durable();
    let open = verify::open_sagas(&*opened.store).await?;
    let found = Kill {
        after_ms: 0,
        in_flight: 0,
        sagas_open: 0,
        log_end,
        events_not_durable: opened
            .published_durable
            .map(|published| log_end.commit.saturating_sub(published.commit)),
        serving_ms: 0,
        first_settled_ms: None,
        all_settled_ms: None,
        still_open: 0,
    };
    Ok((open, found))
}

/// Watches the sagas that were open until each has ended, and until a client was told so of
/// any.
async fn settle(
    options: &Options,
    clients: &Clients,
    address: &Address,
    mut open: BTreeSet<Uuid>,
    started: Instant,
    kill: &mut Kill,
) {
    let until = started + Duration::from_millis(options.settle_timeout_ms.into());
    let mut connection = Connection::new(address.clone(), PATIENCE);
    loop {
        let mut ended = Vec::new();
        for saga in &open {
            let path = format!("/v1/sagas/{saga}");
            let status = status_of(&mut connection, &path).await;
            if matches!(status.as_deref(), Some("completed" | "compensated")) {
                let now = ms(started.elapsed());
                kill.first_settled_ms.get_or_insert(now);
                kill.all_settled_ms = Some(now);
                ended.push(*saga);
            }
        }
        for saga in ended {
            open.remove(&saga);
        }
        let told = clients.told().first_settled;
        let told = told.map(|at| ms(at.saturating_duration_since(started)));
        kill.first_settled_ms = [told, kill.first_settled_ms].into_iter().flatten().min();
        let is_done = open.is_empty() && kill.first_settled_ms.is_some();
        if is_done || Instant::now() >= until {
            break;
        }
        sleep(LOOK).await;
    }
    kill.still_open = open.len() as u64;
    if !open.is_empty() {
        kill.all_settled_ms = None;
    }
}

async fn status_of(connection: &mut Connection, path: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Saga {
        status: String,
    }
    let answer = connection.send("GET", path, &[], Bytes::new()).await.ok()?;
    serde_json::from_slice::<Saga>(&answer.body)
        .ok()
        .map(|saga| saga.status)
}

/// Waits until no saga is under way, or the time is over: the check says then which ones are.
async fn quiet(address: &Address, limit: Duration) {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<serde::de::IgnoredAny>,
    }
    let mut connection = Connection::new(address.clone(), PATIENCE);
    let settled = async {
        loop {
            let mut busy = false;
            for status in ["running", "compensating"] {
                let path = format!("/v1/sagas?status={status}&limit=1");
                let answer = connection.send("GET", &path, &[], Bytes::new()).await;
                busy |= answer
                    .ok()
                    .and_then(|answer| serde_json::from_slice::<Page>(&answer.body).ok())
                    .is_none_or(|page| !page.items.is_empty());
            }
            if !busy {
                return;
            }
            sleep(LOOK).await;
        }
    };
    if timeout(limit, settled).await.is_err() {
        tracing::warn!("sagas are still under way");
    }
}

impl Clients {
    /// No code panics while it holds the lock, so a poisoned one is still whole.
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn all_in_flight(&self, options: &Options) -> Result<(), Error> {
        let wanted = u64::from(options.in_flight);
        let full = async {
            while self.in_flight.load(Ordering::SeqCst) < wanted {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(
            Duration::from_millis(options.settle_timeout_ms.into()),
            full,
        )
        .await
        .map_err(|_| {
            Error::Late(
                "an order in flight for each client",
                options.settle_timeout_ms,
            )
        })
    }

    /// One order after the other, each until it is acknowledged.
    async fn client(self: Arc<Self>) {
        let mut server = self.server.clone();
        let mut connection: Option<(Address, Connection)> = None;
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let order = self.plan.order(0, number);
            let mut is_first = true;
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            loop {
                let address = match server.wait_for(Option::is_some).await {
                    Ok(address) => address.clone(),
                    Err(_) => return,
                };
                let Some(address) = address else {
                    continue;
                };
                let connection = match &mut connection {
                    Some((to, connection)) if *to == address => connection,
                    other => {
                        let made = Connection::new(address.clone(), self.timeout);
                        &mut other.insert((address, made)).1
                    }
                };
                if !std::mem::take(&mut is_first) {
                    self.repeats.fetch_add(1, Ordering::SeqCst);
                }
                let outcome = place::place(connection, &order, &self.prefer, |line| {
                    place::write_down(&mut self.told().writer, line)
                })
                .await;
                match self.outcome(outcome) {
                    None => break,
                    Some(pause) => sleep(pause).await,
                }
            }
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Counts an answer; after how long to send the order again, if at all.
    fn outcome(&self, outcome: Result<Outcome, PlaceError>) -> Option<Duration> {
        match outcome {
            Ok(Outcome::Settled { .. }) => {
                self.acknowledged.fetch_add(1, Ordering::SeqCst);
                self.settled.fetch_add(1, Ordering::SeqCst);
                self.told().first_settled.get_or_insert_with(Instant::now);
                None
            }
            Ok(Outcome::Accepted { .. }) => {
                self.acknowledged.fetch_add(1, Ordering::SeqCst);
                None
            }
            Ok(Outcome::Busy { pause, .. }) => Some(pause),
            Ok(Outcome::Refused { code }) => {
                let mut told = self.told();
                let count = told.refused.entry(code).or_default();
                *count = count.saturating_add(1);
                None
            }
            Err(PlaceError::Http(_)) => Some(PAUSE),
            Err(PlaceError::Told(error)) => {
                self.told().failed.get_or_insert(error);
                self.stop.store(true, Ordering::SeqCst);
                None
            }
        }
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Report {
    /// For a person to read.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let or_dash = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        // Writing into a string does not fail.
        let _ = writeln!(
            out,
            "kill  after ms  in flight  sagas open  not durable  serving ms  first settled ms  \
             all settled ms  still open"
        );
        for (number, kill) in (1..).zip(&self.kills) {
            let _ = writeln!(
                out,
                "{number:4}  {:8}  {:9}  {:10}  {:>11}  {:10}  {:>16}  {:>14}  {:10}",
                kill.after_ms,
                kill.in_flight,
                kill.sagas_open,
                or_dash(kill.events_not_durable),
                kill.serving_ms,
                or_dash(kill.first_settled_ms),
                or_dash(kill.all_settled_ms),
                kill.still_open
            );
        }
        let _ = writeln!(
            out,
            "{} orders acknowledged, {} told as settled, {} repeats; refused {:?}; {} unsettled",
            self.acknowledged, self.told_settled, self.repeats, self.refused, self.unsettled
        );
        out.push_str(&self.verified.text());
        out
    }
}
