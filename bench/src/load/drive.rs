//! The loops. All on one thread.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use hdrhistogram::Histogram;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

use super::{Cost, Error, Latency, Load, Options, Run, after};
use crate::{
    acknowledged::Writer,
    apart::{self, Costs},
    hops::{self, Hops},
    http::{self, Connection},
    place::{self, Outcome, PlaceError},
    plan::Plan,
    server::{StoreUsage, Usage},
};

/// The longest latency that is told apart, in microseconds: 10 minutes.
const MAX_US: u64 = 600_000_000;
/// After an answer that did not come.
const PAUSE: Duration = Duration::from_millis(10);
/// How much longer than the server's own wait an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long before the window an order may have been sent whose hops are still read.
const LONG_ORDER: Duration = Duration::from_secs(5);

pub(super) struct Job {
    pub(super) options: Options,
    pub(super) target: http::Target,
    pub(super) pid: Option<u32>,
}

struct Tally {
    latency: Histogram<u64>,
    late: Histogram<u64>,
    settled: u64,
    by_status: BTreeMap<String, u64>,
    unsettled: u64,
    errors: BTreeMap<String, u64>,
}

/// What the slots of a run share.
struct Shared {
    plan: Plan,
    run: u32,
    load: Load,
    prefer: String,
    next: Cell<u64>,
    /// The first order's intended start.
    begin: Instant,
    /// The window.
    from: Instant,
    to: Instant,
    tally: RefCell<Tally>,
    told: Rc<RefCell<Option<Writer>>>,
    failed: RefCell<Option<std::io::Error>>,
    in_flight: Cell<u64>,
    /// That orders are followed through the log.
    is_traced: bool,
    /// The orders that count and are settled: which, and from when to when.
    orders: RefCell<Vec<(Uuid, Instant, Instant)>>,
}

impl Job {
    pub(super) async fn run(self) -> Result<Vec<Run>, Error> {
        let writer = self.options.acknowledged.as_deref().map(Writer::open);
        let told = Rc::new(RefCell::new(
            writer.transpose().map_err(Error::Acknowledged)?,
        ));
        let mut control = Connection::new(self.target.clone(), Duration::from_secs(30));
        let mut failed = None;
        self.plan(0)
            .prepare(&mut control, |line| {
                let result = place::write_down(&mut told.borrow_mut(), &line);
                if let Err(error) = result {
                    failed.get_or_insert(error);
                }
            })
            .await?;
        if let Some(error) = failed {
            return Err(Error::Acknowledged(error));
        }
        let mut runs = Vec::new();
        for load in &self.options.loads {
            for failing in &self.options.failing_percent {
                let number = u32::try_from(runs.len()).unwrap_or(u32::MAX);
                let run = self
                    .one(number, *load, *failing, &mut control, Rc::clone(&told))
                    .await?;
                tracing::info!(
                    ?load,
                    failing,
                    settled_per_s = run.settled_per_s,
                    "run done"
                );
                runs.push(run);
            }
        }
        Ok(runs)
    }

    fn plan(&self, failing_percent: u8) -> Plan {
        Plan {
            name: self.options.name.clone(),
            seed: self.options.seed,
            skus: self.options.skus,
            max_lines: self.options.max_lines,
            failing_percent,
        }
    }

    async fn one(
        &self,
        run: u32,
        load: Load,
        failing_percent: u8,
        control: &mut Connection,
        told: Rc<RefCell<Option<Writer>>>,
    ) -> Result<Run, Error> {
        let slots = match load {
            Load::Closed { in_flight } => in_flight,
            Load::Open { max_in_flight, .. } => max_in_flight,
        };
        let timeout = Duration::from_secs(self.options.wait_s.into()) + PATIENCE;
        let mut connections = Vec::new();
        for _ in 0..slots {
            let mut connection = Connection::new(self.target.clone(), timeout);
            // Made before the clock starts: an open loop may never need most of them.
            connection.open().await?;
            connections.push(connection);
        }
        let begin = Instant::now();
        let began_at = (self.options.clock)();
        let warm_up = Duration::from_millis(self.options.warm_up_ms.into());
        let from = begin + warm_up;
        let to = from + Duration::from_millis(self.options.duration_ms.into());
        let shared = Rc::new(Shared {
            plan: self.plan(failing_percent),
            run,
            load,
            prefer: format!("wait={}", self.options.wait_s),
            next: Cell::new(0),
            begin,
            from,
            to,
            tally: RefCell::new(Tally::new()?),
            told,
            failed: RefCell::new(None),
            in_flight: Cell::new(0),
            is_traced: self.options.hops,
            orders: RefCell::default(),
        });
        let mut tasks = JoinSet::new();
        for connection in connections {
            tasks.spawn_local(slot(Rc::clone(&shared), connection));
        }
        if let Some(pid) = self.pid {
            Usage::forget_peak(pid);
        }
        sleep_until(begin + warm_up.saturating_sub(LONG_ORDER)).await;
        let head = match self.options.hops {
            true => after::head(control).await,
            false => None,
        };
        sleep_until(from).await;
        let before = self.seen(control).await;
        sleep_until(to).await;
        let after = self.seen(control).await;
        let views = match self.options.hops {
            true => after::views(control).await,
            false => Vec::new(),
        };
        let drained =
            tokio::time::timeout(Duration::from_millis(self.options.drain_ms.into()), async {
                while tasks.join_next().await.is_some() {}
            });
        let drained = drained.await.is_ok();
        let given_up = if drained { 0 } else { shared.left() };
        tasks.shutdown().await;
        let behind = after::until_caught_up(views, control).await;
        if let Some(error) = shared.failed.borrow_mut().take() {
            return Err(Error::Acknowledged(error));
        }
        let tally = shared.tally.replace(Tally::new()?);
        let mut run = tally.report(load, failing_percent, to - from, given_up, &before, &after);
        run.views = behind;
        let processes = &self.options.processes;
        if !processes.is_empty() {
            let costs = Costs::between(processes, &before.apart, &after.apart, run.settled);
            run.processes = Some(costs);
        }
        if let Some(head) = head {
            let at = |instant: Instant| began_at + (instant - begin);
            let orders = shared.orders.take();
            let orders = orders.iter().map(|(order, sent, answered)| hops::Seen {
                order: *order,
                sent: at(*sent),
                answered: at(*answered),
            });
            let orders: Vec<hops::Seen> = orders.collect();
            let events = after::events(control, head).await;
            run.hops = Some(Hops::of(&events, &orders)?);
        }
        Ok(run)
    }

    /// What server and client have used so far. Answered on its own connection.
    async fn seen(&self, control: &mut Connection) -> Seen {
        let usage = self.pid.and_then(Usage::of);
        let client = Usage::of(std::process::id());
        Seen {
            usage,
            client,
            apart: apart::Seen::of(
                &self.options.processes,
                self.options.authorization.as_deref(),
            )
            .await,
            store: store(control).await,
        }
    }
}

/// What the event store has done so far, where the server says.
pub(super) async fn store(control: &mut Connection) -> Option<StoreUsage> {
    let mut answer = control
        .send("GET", "/metrics", &[], Default::default())
        .await;
    if answer.is_err() {
        // The window may be longer than a server keeps a connection that nothing comes on.
        answer = control
            .send("GET", "/metrics", &[], Default::default())
            .await;
    }
    let answer = answer.ok().filter(|answer| answer.status.is_success())?;
    StoreUsage::parse(&String::from_utf8_lossy(&answer.body))
}

struct Seen {
    usage: Option<Usage>,
    client: Option<Usage>,
    apart: apart::Seen,
    store: Option<StoreUsage>,
}

impl Shared {
    /// The next order's number and intended start; none where the run is over.
    fn take(&self) -> Option<(u64, Instant)> {
        let number = self.next.get();
        let start = match self.load {
            Load::Closed { .. } => Instant::now(),
            Load::Open { orders_per_s, .. } => {
                let us = u128::from(number) * 1_000_000 / u128::from(orders_per_s.max(1));
                self.begin + Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
            }
        };
        if start >= self.to {
            return None;
        }
        self.next.set(number.saturating_add(1));
        Some((number, start))
    }

    /// Orders in flight, and those that should have been sent by now.
    fn left(&self) -> u64 {
        let unsent = match self.load {
            Load::Closed { .. } => 0,
            Load::Open { orders_per_s, .. } => {
                let span = (self.to - self.begin).as_micros();
                let due = span * u128::from(orders_per_s) / 1_000_000;
                u64::try_from(due)
                    .unwrap_or(u64::MAX)
                    .saturating_sub(self.next.get())
            }
        };
        self.in_flight.get().saturating_add(unsent)
    }

    /// Whether an order counts: in a closed loop by when it was answered, in an open one by
    /// when it should have been sent, or slow answers would fall out of the window.
    fn counts(&self, start: Instant, end: Instant) -> bool {
        let at = match self.load {
            Load::Closed { .. } => end,
            Load::Open { .. } => start,
        };
        self.from <= at && at < self.to
    }
}

async fn slot(shared: Rc<Shared>, mut connection: Connection) {
    while let Some((number, start)) = shared.take() {
        let order = shared.plan.order(shared.run, number);
        if matches!(shared.load, Load::Open { .. }) {
            sleep_until(start).await;
        }
        let sent = Instant::now();
        shared.in_flight.set(shared.in_flight.get() + 1);
        let outcome = place::place(&mut connection, &order, &shared.prefer, |line| {
            place::write_down(&mut shared.told.borrow_mut(), line)
        })
        .await;
        shared.in_flight.set(shared.in_flight.get() - 1);
        let end = Instant::now();
        let pause = match &outcome {
            Ok(Outcome::Busy { pause, .. }) => Some(*pause),
            Err(PlaceError::Http(_)) => Some(PAUSE),
            Ok(_) | Err(PlaceError::Told(_)) => None,
        };
        if let Err(PlaceError::Told(error)) = outcome {
            shared.failed.borrow_mut().get_or_insert(error);
            return;
        }
        if shared.counts(start, end) {
            if let Ok(Outcome::Settled { order, .. }) = &outcome
                && shared.is_traced
            {
                let mut orders = shared.orders.borrow_mut();
                orders.push((order.0, start, end));
            }
            let mut tally = shared.tally.borrow_mut();
            tally.add(&outcome, end - start, sent - start);
        }
        if let Some(pause) = pause {
            sleep(pause).await;
        }
    }
}

impl Tally {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            latency: Histogram::new_with_max(MAX_US, 3)?,
            late: Histogram::new_with_max(MAX_US, 3)?,
            settled: 0,
            by_status: BTreeMap::new(),
            unsettled: 0,
            errors: BTreeMap::new(),
        })
    }

    fn add(&mut self, outcome: &Result<Outcome, PlaceError>, took: Duration, late: Duration) {
        let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.late.saturating_record(us(late));
        let error = match outcome {
            Ok(Outcome::Settled { status, .. }) => {
                self.settled = self.settled.saturating_add(1);
                self.latency.saturating_record(us(took));
                count(&mut self.by_status, status);
                return;
            }
            Ok(Outcome::Accepted { .. }) => {
                self.unsettled = self.unsettled.saturating_add(1);
                return;
            }
            Ok(Outcome::Busy { code, .. } | Outcome::Refused { code }) => code.as_str(),
            Err(PlaceError::Http(error)) => place::error_name(error),
            Err(PlaceError::Told(_)) => "not written down",
        };
        count(&mut self.errors, error);
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for a person")]
    fn report(
        self,
        load: Load,
        failing_percent: u8,
        window: Duration,
        given_up: u64,
        before: &Seen,
        after: &Seen,
    ) -> Run {
        let orders = self.settled.max(1) as f64;
        // Two digits are as much as any of these is worth.
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        let each = |after: u64, before: u64| rounded(after.saturating_sub(before) as f64 / orders);
        let store = before.store.zip(after.store);
        let server = before.usage.zip(after.usage).map(|(before, after)| Cost {
            cpu_us_per_order: each(after.cpu_us, before.cpu_us),
            peak_rss_kib: after.peak_rss_kib,
            fsyncs_per_order: store.map(|(before, after)| each(after.fsyncs, before.fsyncs)),
            log_bytes_per_order: store
                .map(|(before, after)| each(after.log_bytes, before.log_bytes)),
        });
        let client = before.client.zip(after.client);
        Run {
            load,
            failing_percent,
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            settled: self.settled,
            settled_per_s: rounded(self.settled as f64 / window.as_secs_f64()),
            latency: Latency::from(&self.latency),
            sent_late: matches!(load, Load::Open { .. }).then(|| Latency::from(&self.late)),
            by_status: self.by_status,
            unsettled: self.unsettled,
            errors: self.errors,
            given_up,
            server,
            client_cpu_us_per_order: client
                .map_or(0.0, |(before, after)| each(after.cpu_us, before.cpu_us)),
            views: Vec::new(),
            processes: None,
            hops: None,
        }
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count = count.saturating_add(1);
    } else {
        counts.insert(name.to_owned(), 1);
    }
}
