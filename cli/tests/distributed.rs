//! The distributed form as it is run: the real binary, a process a service, on real engines.
//!
//! ```text
//! this test ─▶ gateway ─▶ catalog, inventory, orders, payments, orchestrator, projections
//!                              │                        ▲
//!                            store ─▶ relay ─▶ Kafka ───┘        PostgreSQL, MongoDB
//!
//! all of them but Kafka killed, one after the other
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use recourse_bench::http::{Address, Answer, Connection};
use recourse_engines::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

const KEY: &str = "the-key-of-the-services-of-this-test";

/// Longer than anything here may take, on a machine that builds beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What each token of the simulated provider makes of an order.
const TOKENS: [(&str, &str); 9] = [
    ("tok_visa", "completed"),
    ("tok_declined", "rejected"),
    ("tok_insufficient_funds", "rejected"),
    ("tok_lost_reply", "completed"),
    ("tok_never_arrived", "completed"),
    ("tok_late_arrival", "completed"),
    ("tok_flaky_2", "completed"),
    ("tok_slow_300", "completed"),
    ("tok_capture_refused", "confirmed"),
];

/// What the services are called, in the order in which they are killed.
const SERVICES: [&str; 6] = [
    "catalog",
    "inventory",
    "orders",
    "payments",
    "orchestrator",
    "projections",
];

fn recourse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recourse"));
    command
        .env_clear()
        .stdin(Stdio::null())
        .args(["--log", "warn"]);
    command
}

/// A process of the binary. Dropped, it is killed with -9.
struct Process {
    child: Child,
    /// What it was started with, and is again.
    args: Vec<String>,
    /// Where it says that it is.
    url: String,
}

impl Process {
    /// Starts it. `listen` names the option of its address, which it keeps from here on.
    fn start(args: &[&str], listen: &str) -> Self {
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let any = [listen.to_owned(), "127.0.0.1:0".to_owned()];
        let (child, url) = spawn(&[&args[..], &any].concat());
        let address = url.split_once("://").unwrap().1;
        let address = address.split('?').next().unwrap();
        args.extend([listen.to_owned(), address.to_owned()]);
        Self { child, args, url }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        let (child, url) = spawn(&self.args);
        assert_eq!(url, self.url);
        self.child = child;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the binary and waits for the line that says where it is.
fn spawn(args: &[String]) -> (Child, String) {
    let mut command = recourse();
    let mut child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let url = line.trim().rsplit_once(' ').expect("a line with the URL").1;
    (child, url.to_owned())
}

struct World {
    /// By name, the gateway and the store too.
    processes: BTreeMap<&'static str, Process>,
    postgres: Engine,
    mongodb: Engine,
    _kafka: Engine,
    _folder: TempDir,
}

impl World {
    /// None where an engine is not to be had.
    fn start() -> Option<Self> {
        let kafka = recourse_engines::kafka()?;
        let postgres = recourse_engines::postgres()?;
        let ferretdb = recourse_engines::ferretdb()?;
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("service-keys");
        std::fs::write(&keys, KEY).unwrap();
        let keys = keys.to_str().unwrap().to_owned();
        let data = folder.path().join("data").to_str().unwrap().to_owned();
        let mut processes = BTreeMap::new();
        let store = Process::start(&["serve", "store", "--data", &data], "--esdb-listen");
        let event_store = store.url.clone();
        processes.insert("store", store);
        let mongodb = database(&ferretdb);
        let engines = [
            "--service-key-file",
            &keys,
            "--event-store",
            &event_store,
            "--postgres",
            postgres.address(),
            "--mongodb",
            &mongodb,
            "--kafka",
            kafka.address(),
        ];
        let relay = [
            "serve",
            "relay",
            "--first-start",
            "--event-store",
            &event_store,
            "--kafka",
            kafka.address(),
        ];
        processes.insert("relay", Process::start(&relay, "--listen"));
        for service in SERVICES {
            let args = [&["serve", service][..], &engines].concat();
            processes.insert(service, Process::start(&args, "--listen"));
        }
        let mut args = vec!["serve", "gateway", "--event-store", &event_store];
        args.extend(["--service-key-file", &keys]);
        for (option, service) in [
            ("--catalog-url", "catalog"),
            ("--inventory-url", "inventory"),
            ("--orders-url", "orders"),
            ("--orchestrator-url", "orchestrator"),
            ("--projections-url", "projections"),
        ] {
            args.extend([option, processes[service].url.as_str()]);
        }
        let gateway = Process::start(&args, "--listen");
        processes.insert("gateway", gateway);
        Some(Self {
            processes,
            postgres,
            mongodb: ferretdb,
            _kafka: kafka,
            _folder: folder,
        })
    }

    fn client(&self) -> Client {
        Client(self.processes["gateway"].url.clone())
    }

    /// Waits until this one says that it is ready.
    async fn until_ready(&self, name: &str) {
        let url = &self.processes[name].url;
        let ready = async {
            loop {
                let mut command = recourse();
                let output = command.args(["ready", "--url", url]).output().unwrap();
                if output.status.success() {
                    return;
                }
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(!said.contains("panicked"), "{said}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, ready).await;
        waited.unwrap_or_else(|_| panic!("{name} is not ready"));
    }

    fn verify(&self) -> Value {
        let mut command = recourse();
        command
            .args(["verify", "--json", "--event-store"])
            .arg(&self.processes["store"].url)
            .arg("--postgres")
            .arg(self.postgres.address())
            .arg("--mongodb")
            .arg(database(&self.mongodb));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{errors}");
        serde_json::from_str(&said).unwrap()
    }
}

/// A database of this server.
fn database(mongodb: &Engine) -> String {
    format!("{}recourse", mongodb.address())
}

/// A client of the gateway.
#[derive(Clone)]
struct Client(String);

impl Client {
    /// One request; none where the gateway is away.
    async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Option<Answer> {
        let mut connection = Connection::new(Address::parse(&self.0).unwrap(), PATIENCE);
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let sent = connection.send(method, target, headers, body.into());
        sent.await.ok()
    }

    /// Sends it until it is taken, as a client does that is told to try again.
    async fn insist(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Value {
        let mut last = None;
        let insisting = async {
            loop {
                if let Some(answer) = self.send(method, target, headers, body).await {
                    let said: Value = serde_json::from_slice(&answer.body).unwrap();
                    if answer.status.is_success() {
                        return said;
                    }
                    assert_eq!(answer.status, 503, "{method} {target}: {said}");
                    last = Some(said);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let taken = tokio::time::timeout(PATIENCE, insisting).await;
        taken.unwrap_or_else(|_| panic!("{method} {target} is not taken: {last:?}"))
    }

    async fn stock(&self) {
        let product = json!({
            "name": "Tea",
            "price": {"amount_minor": 500, "currency": "EUR"},
            "active": true,
        });
        self.insist("PUT", "/v1/products/tea", &[], &product).await;
        let receipt = json!({"quantity": 100_000, "reference": "first"});
        self.insist("POST", "/v1/stock/tea/receipts", &[], &receipt)
            .await;
    }

    /// Places an order; its id.
    async fn place(&self, token: &str, key: &str) -> String {
        let order = json!({
            "customer_id": "3d6f0a4e-8a55-4f0e-9c1e-5f1f0a2b7c11",
            "currency": "EUR",
            "lines": [{"sku": "tea", "quantity": 2}],
            "payment": {"method": "card", "token": token},
        });
        let headers = [("idempotency-key", key)];
        let placed = self.insist("POST", "/v1/orders", &headers, &order).await;
        placed["order_id"].as_str().unwrap().to_owned()
    }

    /// Reads an order until it stands so.
    async fn until_order_is(&self, order: &str, statuses: &[&str]) -> Value {
        let target = format!("/v1/orders/{order}");
        let mut last = Value::Null;
        let reading = async {
            loop {
                last = self.insist("GET", &target, &[], &Value::Null).await;
                if statuses.iter().any(|status| last["status"] == *status) {
                    return last.clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("{order} is not {statuses:?}"))
    }
}

/// Customers who buy until they are told to stop; every order of theirs.
async fn buy(
    client: Client,
    number: usize,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut orders = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let key = format!("customer-{number}-{}", orders.len());
        orders.push(client.place("tok_visa", &key).await);
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_of_processes_settles_every_order_whichever_of_them_is_killed() {
    let Some(mut world) = World::start() else {
        return;
    };
    let client = world.client();
    world.until_ready("gateway").await;
    client.stock().await;

    // Every token comes to its end, and the views show it.
    let mut placed = Vec::new();
    for (token, ends) in TOKENS {
        placed.push((client.place(token, token).await, ends));
    }
    for (order, ends) in &placed {
        client.until_order_is(order, &[ends]).await;
    }

    // Every process is killed under load, and comes back.
    let count = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut customers = JoinSet::new();
    for number in 0..3 {
        customers.spawn(buy(client.clone(), number, count.clone(), stop.clone()));
    }
    let names: Vec<&'static str> = world.processes.keys().copied().collect();
    for name in names {
        until_more(&count, 5).await;
        world.processes.get_mut(name).unwrap().kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.processes.get_mut(name).unwrap().start_again();
        if name != "store" {
            world.until_ready(name).await;
        }
        until_more(&count, 5).await;
    }
    world.postgres.kill().unwrap();
    until_more(&count, 1).await;
    world.postgres.restart().unwrap();
    world.mongodb.kill().unwrap();
    until_more(&count, 1).await;
    world.mongodb.restart().unwrap();
    until_more(&count, 5).await;
    stop.store(true, Ordering::Relaxed);
    for orders in customers.join_all().await {
        for order in orders {
            client.until_order_is(&order, &["completed"]).await;
        }
    }
    let report = world.verify();
    assert_eq!(
        report["breaches"].as_array().map_or(0, Vec::len),
        0,
        "{report:#}"
    );
}

async fn until_more(count: &AtomicUsize, more: usize) {
    let wanted = count.load(Ordering::Relaxed) + more;
    let waiting = async {
        while count.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.expect("orders are taken");
}
