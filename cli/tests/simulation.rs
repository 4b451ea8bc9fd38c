//! The whole system from a seed: every service, two orchestrators, in-memory engines, tokio's
//! paused clock, one thread. Messages are lost, doubled and delayed, processes crash and what
//! was not durable is gone, clients lose answers and ask again, the provider fails. In the end
//! every promise is held against the log and the views, and the same seed gives the same log
//! to the byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use chrono::{DateTime, Utc};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use recourse::{
    running,
    system::{self, Engines, Places, System},
};
use recourse_bench::{
    acknowledged::{Acknowledged, Writer},
    verify::{self, BookView, Projected, View},
};
use recourse_bus::{MemoryCheckpoints, embedded, faulty};
use recourse_cqrs::MemorySnapshots;
use recourse_domain::payment::Operation;
use recourse_event_store::{EventStore, Filter, LogId, Position, Read, Visibility, memory};
use recourse_gateway::Gateway;
use recourse_payments::simulator::{self, Simulator};
use recourse_projection_services::{ledger, orders, products, sagas, stock};
use recourse_service::{Clock, Ids, clock::TokioClock};
use recourse_views::{documents::Documents, memory as views_memory, projector::Bookkeeping};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SKUS: u64 = 6;
const CLIENTS: u64 = 12;
const ORDERS_PER_CLIENT: u64 = 6;
const CRASHES: u64 = 6;

/// What the ten seeds of a test run must have had at least once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    crashes: u64,
    orchestrator_crashes: u64,
    events_lost_in_crashes: u64,
    losses: u64,
    doubles: u64,
    delays: u64,
    cuts: u64,
    answers_lost: u64,
    orders: u64,
    completed: u64,
    compensated: u64,
    needs_attention: u64,
    cancelled: u64,
}

impl Tally {
    fn fields(&self) -> [(&'static str, u64); 13] {
        [
            ("crashes", self.crashes),
            ("orchestrator crashes", self.orchestrator_crashes),
            ("events lost in crashes", self.events_lost_in_crashes),
            ("losses", self.losses),
            ("doubles", self.doubles),
            ("delays", self.delays),
            ("cuts", self.cuts),
            ("answers lost", self.answers_lost),
            ("orders", self.orders),
            ("completed", self.completed),
            ("compensated", self.compensated),
            ("needs attention", self.needs_attention),
            ("cancelled", self.cancelled),
        ]
    }

    fn line(&self) -> String {
        let mut line = String::new();
        for (name, count) in self.fields() {
            write!(line, "{count} {name}, ").unwrap();
        }
        line
    }
}

#[test]
fn ten_seeds_keep_every_promise() {
    let mut total: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds() {
        let (tally, _) = run(seed);
        say(&format!("seed {seed}: {}\n", tally.line()));
        for (name, count) in tally.fields() {
            *total.entry(name).or_default() += count;
        }
    }
    for (name, count) in total {
        assert!(
            count > 0,
            "no seed had any {name}: the simulation does not simulate them"
        );
    }
}

#[test]
fn a_seed_gives_the_same_log_to_the_byte() {
    let (first, log) = run(7);
    let (second, again) = run(7);
    assert_eq!(first, second);
    if let Some(at) = log.iter().zip(&again).position(|(one, other)| one != other) {
        let around = |log: &[u8]| {
            let from = at.saturating_sub(600);
            String::from_utf8_lossy(&log[from..log.len().min(at + 300)]).into_owned()
        };
        panic!(
            "byte {at} of the log differs:\n{}\n\n{}",
            around(&log),
            around(&again)
        );
    }
    assert_eq!(
        log.len(),
        again.len(),
        "one log goes on where the other ends"
    );
    let (_, other) = run(8);
    assert!(log != other, "another seed gave the same log");
}

/// `RECOURSE_SEEDS=100..200` runs others than the ten of every test run.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("RECOURSE_SEEDS") else {
        return 1..11;
    };
    let (from, to) = text.split_once("..").expect("RECOURSE_SEEDS=FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

/// Straight to standard output: what a test prints with a macro is shown only where it fails.
fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

fn run(seed: u64) -> (Tally, Vec<u8>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(async { World::new(seed).await.live().await })
}

/// What survives a crash, and the chaos itself.
struct World {
    draw: ChaCha8Rng,
    seed: u64,
    store: memory::Store,
    faults: Option<faulty::Bus>,
    documents: [Arc<views_memory::Documents>; 2],
    books: Arc<views_memory::Books>,
    checkpoints: MemoryCheckpoints,
    snapshots: MemorySnapshots,
    provider: Arc<Simulator>,
    clock: Arc<TokioClock>,
    ids: Ids,
    front: Front,
    tally: Tally,
}

/// Where clients find the gateway: nowhere while the process is down.
#[derive(Clone)]
struct Front {
    gateway: Arc<Mutex<Option<Gateway>>>,
}

/// The processes that run now.
struct Running {
    process: JoinSet<Result<(), system::Error>>,
    second_orchestrator: JoinSet<Result<(), recourse_saga_orchestrator::Error>>,
    engines: Engines,
}

impl Running {
    /// A process ends by a crash of ours and by nothing else.
    fn is_alive(&mut self, seed: u64) {
        if let Some(ended) = self.process.try_join_next() {
            panic!("seed {seed}: the process ended by itself: {ended:?}");
        }
        if let Some(ended) = self.second_orchestrator.try_join_next() {
            panic!("seed {seed}: the second orchestrator ended by itself: {ended:?}");
        }
    }
}

impl World {
    async fn new(seed: u64) -> Self {
        let origin = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap();
        let clock = Arc::new(TokioClock::aligned(origin).await);
        let as_clock: Arc<dyn Clock> = clock.clone();
        Self {
            draw: ChaCha8Rng::seed_from_u64(seed),
            seed,
            store: memory::Store::with_manual_sync(LogId(Uuid::from_u128(seed.into()))),
            faults: None,
            documents: [Arc::default(), Arc::default()],
            books: Arc::default(),
            checkpoints: MemoryCheckpoints::default(),
            snapshots: MemorySnapshots::default(),
            provider: Arc::new(Simulator::new(simulator::Options {
                fault_rate: 0.1,
                seed,
            })),
            clock,
            ids: Ids::seeded(as_clock, seed),
            front: Front {
                gateway: Arc::default(),
            },
            tally: Tally::default(),
        }
    }

    async fn live(mut self) -> (Tally, Vec<u8>) {
        let acknowledged = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(Mutex::new(Writer::open(acknowledged.path()).unwrap()));
        let mut running = self.start().await;
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client {
                draw: ChaCha8Rng::seed_from_u64(self.seed.wrapping_mul(1_000) + number),
                number,
                front: self.front.clone(),
                writer: Arc::clone(&writer),
                answers_lost: 0,
            };
            clients.spawn(client.live());
        }
        for crash in 0..CRASHES {
            self.pass(200, 4_000).await;
            running.is_alive(self.seed);
            if crash % 3 == 2 {
                running.second_orchestrator.shutdown().await;
                self.tally.orchestrator_crashes += 1;
                self.pass(1, 500).await;
                self.start_second_orchestrator(&mut running).await;
            } else {
                running = self.crash(running).await;
            }
        }
        while let Some(ended) = clients.join_next().await {
            self.tally.answers_lost += ended.unwrap();
        }
        self.settle().await;
        running.is_alive(self.seed);
        self.check(&acknowledged).await;
        drop(running);
        (self.tally, self.store.dump())
    }

    /// Virtual time goes by; what is appended becomes durable now and then.
    async fn pass(&mut self, at_least_ms: u64, at_most_ms: u64) {
        let mut left = at_least_ms + self.draw.next_u64() % (at_most_ms - at_least_ms);
        while left > 0 {
            let step = (1 + self.draw.next_u64() % 12).min(left);
            tokio::time::sleep(Duration::from_millis(step)).await;
            self.store.sync();
            left -= step;
        }
    }

    async fn crash(&mut self, running: Running) -> Running {
        // Between two syncs, so that what is appended and not durable is lost.
        let unsynced = self.draw.next_u64() % 12;
        tokio::time::sleep(Duration::from_millis(unsynced)).await;
        *self.front.gateway.lock().unwrap() = None;
        let appended = self.store.appended().await.unwrap();
        self.tally.crashes += 1;
        self.tally.events_lost_in_crashes += appended.commit - self.store.durable().commit;
        self.store = self.store.crash();
        let Running {
            mut process,
            mut second_orchestrator,
            ..
        } = running;
        process.shutdown().await;
        second_orchestrator.shutdown().await;
        self.pass(1, 3_000).await;
        self.start().await
    }

    async fn start(&mut self) -> Running {
        let store: Arc<dyn EventStore> = Arc::new(self.store.clone());
        let tail = Arc::new(embedded::Bus::new(
            Arc::clone(&store),
            recourse_saga::commands_of,
            Arc::new(self.checkpoints.clone()),
        ));
        let bus = match &self.faults {
            Some(faults) => faults.over(tail),
            None => faulty::Bus::new(tail, faulty::Rates::default(), self.seed),
        };
        self.faults = Some(bus.clone());
        let engines = Engines {
            store,
            bus: Arc::new(bus),
            documents: self.documents[0].clone(),
            books: self.books.clone(),
            checkpoints: Arc::new(self.checkpoints.clone()),
            snapshots: Arc::new(self.snapshots.clone()),
            provider: self.provider.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        };
        let system = System::assemble(engines.clone(), system::Options::default())
            .await
            .unwrap();
        let gateway = system
            .gateway(
                recourse_gateway::Options::default(),
                Vec::new(),
                CancellationToken::new(),
            )
            .unwrap();
        *self.front.gateway.lock().unwrap() = Some(gateway);
        let mut process = JoinSet::new();
        process.spawn(system.run(
            CancellationToken::new(),
            Places::here(),
            running::Running::default(),
        ));
        let mut running = Running {
            process,
            second_orchestrator: JoinSet::new(),
            engines,
        };
        self.start_second_orchestrator(&mut running).await;
        running
    }

    /// A process of its own, so with rows of its own.
    async fn start_second_orchestrator(&self, running: &mut Running) {
        let engines = Engines {
            documents: self.documents[1].clone(),
            ..running.engines.clone()
        };
        let orchestrator = system::orchestrator(&engines, &system::Options::default())
            .await
            .unwrap();
        running
            .second_orchestrator
            .spawn(orchestrator.run(CancellationToken::new()));
    }

    /// Nothing goes wrong any more; everything must settle within its deadlines.
    async fn settle(&mut self) {
        let faults = self.faults.clone().unwrap();
        faults.heal();
        let counts = faults.counts();
        self.tally.losses = counts.losses;
        self.tally.doubles = counts.doubles;
        self.tally.delays = counts.delays;
        self.tally.cuts = counts.cuts;
        for _ in 0..600 {
            self.pass(900, 1_100).await;
            let open = verify::open_sagas(&self.store).await.unwrap();
            let stuck = self.count_ends().await.needs_attention;
            if open.len() as u64 <= stuck && self.views_are_at_the_head().await {
                return;
            }
        }
        panic!(
            "seed {}: ten minutes later:\n{}",
            self.seed,
            self.what_is_open().await
        );
    }

    /// The last event of each saga that is open, and where the views are.
    async fn what_is_open(&self) -> String {
        let mut text = format!("the log ends at {}\n", self.store.durable());
        for view in self.views().await {
            let compared = view.compare(&self.store).await.unwrap();
            writeln!(text, "view {} at {}", view.name(), compared.position).unwrap();
        }
        for saga in verify::open_sagas(&self.store).await.unwrap() {
            let stream = recourse_event_store::StreamName::new("saga", saga);
            let direction = recourse_event_store::Direction::Backward;
            let last = self
                .store
                .read_stream(&stream, None, direction, Visibility::Durable, 1)
                .await
                .unwrap();
            for event in last {
                let data = String::from_utf8_lossy(&event.event.data);
                let kind = &event.event.event_type;
                writeln!(text, "{stream}: {} {kind} {data}", event.position).unwrap();
            }
        }
        text
    }

    async fn views_are_at_the_head(&self) -> bool {
        let head = self.store.durable();
        for view in self.views().await {
            let compared = view.compare(&self.store).await.unwrap();
            if compared.position < head {
                return false;
            }
        }
        true
    }

    async fn views(&self) -> Vec<Box<dyn View>> {
        let documents: &dyn Documents = &*self.documents[0];
        vec![
            Box::new(Projected::<orders::Orders>::scan(documents).await),
            Box::new(Projected::<sagas::Sagas>::scan(documents).await),
            Box::new(Projected::<stock::Stocks>::scan(documents).await),
            Box::new(Projected::<products::Products>::scan(documents).await),
            Box::new(BookView::scan(&*self.books, ledger::Ledger::book()).await),
        ]
    }

    async fn check(&mut self, acknowledged: &tempfile::NamedTempFile) {
        let mut options = verify::Options::new(self.clock.now());
        options.acknowledged = Some(acknowledged.path().to_owned());
        let store: Arc<dyn EventStore> = Arc::new(self.store.clone());
        let report = verify::run(store, &self.views().await, &options)
            .await
            .unwrap();
        assert!(report.holds(), "seed {}:\n{}", self.seed, report.text());
        let ends = self.count_ends().await;
        self.tally.orders = report.orders.values().sum();
        self.tally.cancelled = report.orders.get("cancelled").copied().unwrap_or_default();
        self.tally.completed = ends.completed;
        self.tally.compensated = ends.compensated;
        self.tally.needs_attention = ends.needs_attention;
        self.check_provider(&report);
    }

    /// What really happened at the provider is what the log says.
    fn check_provider(&self, report: &verify::Report) {
        let mut authorized = 0;
        for (payment, operations) in self.provider.effects() {
            let mut once = operations.clone();
            once.dedup();
            assert_eq!(
                once, operations,
                "seed {}: {payment} took effect twice",
                self.seed
            );
            if operations.contains(&Operation::Authorize) {
                authorized += 1;
                let both = operations.contains(&Operation::Capture)
                    && operations.contains(&Operation::Void);
                assert!(
                    !both,
                    "seed {}: {payment} was captured and voided",
                    self.seed
                );
            } else {
                panic!("seed {}: {payment} was never authorized", self.seed);
            }
        }
        assert!(authorized <= report.orders.values().sum::<u64>());
        assert!(authorized > 0);
    }

    async fn count_ends(&self) -> Tally {
        let mut tally = Tally::default();
        let mut attention = BTreeSet::new();
        let mut from = Position::START;
        loop {
            let batch = self
                .store
                .read_all(Read {
                    from: Some(from),
                    direction: recourse_event_store::Direction::Forward,
                    visibility: Visibility::Durable,
                    filter: Filter::TypePrefixes(vec!["saga.".into()]),
                    max_events: 1_000,
                })
                .await
                .unwrap();
            for event in &batch.events {
                match &*event.event.event_type {
                    "saga.completed.v1" => tally.completed += 1,
                    "saga.compensated.v1" => tally.compensated += 1,
                    "saga.attention-needed.v1" => {
                        attention.insert(event.stream.clone());
                        continue;
                    }
                    _ => continue,
                }
                attention.remove(&event.stream);
            }
            from = batch.considered;
            if batch.at_end {
                tally.needs_attention = attention.len() as u64;
                return tally;
            }
        }
    }
}

/// Places orders and never gives up on one.
struct Client {
    draw: ChaCha8Rng,
    number: u64,
    front: Front,
    writer: Arc<Mutex<Writer>>,
    answers_lost: u64,
}

/// Every path that a token can take, the good one most often.
const TOKENS: [&str; 16] = [
    "tok_visa",
    "tok_visa",
    "tok_visa",
    "tok_visa",
    "tok_visa",
    "tok_visa",
    "tok_declined",
    "tok_insufficient_funds",
    "tok_lost_reply",
    "tok_never_arrived",
    "tok_late_arrival",
    "tok_flaky_2",
    "tok_slow_700",
    "tok_slow_30000",
    "tok_capture_refused",
    "tok_visa",
];

impl Client {
    async fn live(mut self) -> u64 {
        if self.number == 0 {
            self.stock_up().await;
        }
        for order in 0..ORDERS_PER_CLIENT {
            self.pause(1_500).await;
            self.order(order).await;
        }
        self.answers_lost
    }

    async fn stock_up(&mut self) {
        for sku in 0..SKUS {
            let sku = format!("sku-{sku}");
            let path = format!("/v1/products/{sku}");
            let product = json!({"name": "Tea", "price": {"amount_minor": 500, "currency": "EUR"}, "active": true});
            self.insist("PUT", &path, &format!("product-{sku}"), &product)
                .await;
            let path = format!("/v1/stock/{sku}/receipts");
            let receipt = json!({"quantity": 25, "reference": "first"});
            let (status, position, _) = self
                .insist("POST", &path, &format!("receipt-{sku}"), &receipt)
                .await;
            assert!(status.is_success());
            self.write(&Acknowledged::Receipt {
                sku: recourse_domain::Sku::parse(&sku).unwrap(),
                reference: "first".into(),
                position,
            });
        }
    }

    async fn order(&mut self, number: u64) {
        let key = format!("order-{}-{number}", self.number);
        let first = self.draw.next_u64() % SKUS;
        let mut lines =
            vec![json!({"sku": format!("sku-{first}"), "quantity": 1 + self.draw.next_u64() % 3})];
        if self.draw.next_u64().is_multiple_of(2) {
            let second = (first + 1) % SKUS;
            lines.push(json!({"sku": format!("sku-{second}"), "quantity": 1}));
        }
        let token = TOKENS[self.draw.next_u64() as usize % TOKENS.len()];
        let body = json!({
            "customer_id": Uuid::from_u128(self.number.into()),
            "currency": "EUR",
            "lines": lines,
            "payment": {"method": "card", "token": token},
        });
        let (position, answer) = loop {
            let (status, position, answer) = self.insist("POST", "/v1/orders", &key, &body).await;
            if status.is_success() {
                break (position, answer);
            }
            // The catalogue is not filled yet.
            assert_eq!(answer["code"], "unknown-product", "{answer}");
            self.pause(500).await;
        };
        let order_id = answer["order_id"].as_str().unwrap().to_owned();
        self.write(&Acknowledged::Order {
            order_id: serde_json::from_value(answer["order_id"].clone()).unwrap(),
            position,
            status: None,
        });
        if self.draw.next_u64().is_multiple_of(4) {
            self.pause(40).await;
            let path = format!("/v1/orders/{order_id}/cancellation");
            let (status, _, answer) = self
                .insist(
                    "POST",
                    &path,
                    &format!("cancel-{key}"),
                    &json!({"reason": "changed my mind"}),
                )
                .await;
            assert!(
                status == StatusCode::OK || status == StatusCode::CONFLICT,
                "{status} {answer}"
            );
        }
    }

    /// Asks until there is an answer, always under the same key.
    async fn insist(
        &mut self,
        method: &str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> (StatusCode, Position, Value) {
        loop {
            let gateway = self.front.gateway.lock().unwrap().clone();
            let Some(gateway) = gateway else {
                self.pause(400).await;
                continue;
            };
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::HOST, "127.0.0.1")
                .header(header::CONTENT_TYPE, "application/json")
                .header("idempotency-key", key)
                .body(Body::from(body.to_string()))
                .unwrap();
            let answered =
                tokio::time::timeout(Duration::from_secs(20), gateway.call(request)).await;
            let Ok(response) = answered else {
                self.answers_lost += 1;
                continue;
            };
            if self.draw.next_u64().is_multiple_of(12) {
                // The network loses the answer.
                self.answers_lost += 1;
                continue;
            }
            let (parts, body) = response.into_parts();
            if parts.status.is_server_error() || parts.status == StatusCode::TOO_MANY_REQUESTS {
                self.pause(400).await;
                continue;
            }
            let bytes = to_bytes(body, 1 << 20).await.unwrap();
            let position = parts
                .headers
                .get("recourse-position")
                .and_then(|value| value.to_str().ok()?.split('-').next()?.parse().ok())
                .unwrap_or_default();
            let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            return (parts.status, position, answer);
        }
    }

    async fn pause(&mut self, at_most_ms: u64) {
        let pause = self.draw.next_u64() % at_most_ms;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    fn write(&self, line: &Acknowledged) {
        self.writer.lock().unwrap().write(line).unwrap();
    }
}
