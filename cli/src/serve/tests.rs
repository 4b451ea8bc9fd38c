//! The gateway and the services as they are apart, over sockets, on engines in memory that they
//! share. Real processes on real engines: `cli/tests/distributed`.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use clap::{CommandFactory as _, Parser};
use recourse_bench::http::{Address, Answer, Connection};
use recourse_gateway::forward;
use recourse_service::{Ids, clock::SystemClock, keys::Keys};
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::{
    gateway::{Front, Services},
    process::Process,
    service::Served,
};
use crate::{
    command::CommandLine,
    system::{self, Engines, Service},
};

const KEY: &str = "the-key-of-the-services";
const PATIENCE: Duration = Duration::from_secs(20);

/// A process: threads of its own, which end with it.
struct Apart {
    address: SocketAddr,
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
    threads: Runtime,
}

impl Apart {
    async fn start<F>(
        live: impl FnOnce(oneshot::Sender<(SocketAddr, CancellationToken)>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let threads = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (begun, begins) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        let life = live(begun);
        drop(threads.spawn(async {
            life.await;
            let _ = ends.send(());
        }));
        let (address, stop) = begins.await.unwrap();
        Self {
            address,
            stop,
            ended,
            threads,
        }
    }

    /// A service on these engines, at this address.
    async fn service(service: Service, engines: &Engines, address: SocketAddr) -> Self {
        let engines = engines.clone();
        Self::start(move |begun| async move {
            let process = Process::new(service.name());
            let served = Served::new(service);
            let routes = vec![served.routes().await.unwrap()];
            let gateway = process.gateway(listening(address), Some(keys()), ids(), routes);
            let bound = gateway.unwrap().bind().await.unwrap();
            begun.send((bound.address(), process.stop.clone())).unwrap();
            let working = process.clone();
            let work = async move {
                let options = system::Options::default();
                served.run(&working, &engines, &options).await;
            };
            process.serve(bound, work).await;
        })
        .await
    }

    async fn gateway(services: Services, engines: &Engines) -> Self {
        let store = engines.store.clone();
        Self::start(move |begun| async move {
            let process = Process::new("gateway");
            let options = listening(any());
            let forward = forward::Options {
                probe_interval_ms: 10,
                ..forward::Options::default()
            };
            let front = Front::new(&process, &services, Some(&keys()), &forward);
            let routes = front.routes(&options).await.unwrap();
            let gateway = process.gateway(options.clone(), None, ids(), routes);
            let bound = gateway.unwrap().bind().await.unwrap();
            begun.send((bound.address(), process.stop.clone())).unwrap();
            let working = process.clone();
            let work = async move {
                front.run(&working, &options, async { Some(store) }).await;
            };
            process.serve(bound, work).await;
        })
        .await
    }

    /// Asked to stop, it ends in good order.
    async fn ends(self) {
        self.stop.cancel();
        self.ended.await.unwrap();
        self.threads.shutdown_background();
    }

    /// At once, wherever it is. Says where it was, which is free again.
    async fn dies(self) -> SocketAddr {
        let threads = self.threads;
        let ending = spawn_blocking(move || threads.shutdown_timeout(PATIENCE));
        ending.await.unwrap();
        self.address
    }
}

fn keys() -> Keys {
    Keys::parse(KEY).unwrap()
}

fn ids() -> Ids {
    Ids::from_entropy(Arc::new(SystemClock)).unwrap()
}

fn any() -> SocketAddr {
    // An address of its own for each: where a process was that died, no connection and no process
    // of another test is before it comes back.
    static LAST: AtomicU8 = AtomicU8::new(1);
    let last = LAST.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, 0, 0, last + 1], 0))
}

fn listening(address: SocketAddr) -> recourse_gateway::Options {
    recourse_gateway::Options {
        listen: address,
        ..recourse_gateway::Options::default()
    }
}

/// All processes.
struct World {
    engines: Engines,
    /// In the order of [`Service::ALL`].
    services: Vec<Option<Apart>>,
    gateway: Apart,
}

impl World {
    async fn new() -> Self {
        let engines = system::empty();
        let mut services = Vec::new();
        for service in Service::ALL {
            services.push(Some(Apart::service(service, &engines, any()).await));
        }
        let url = |service: Service| {
            let at = Service::ALL.iter().position(|its| *its == service).unwrap();
            let address = services[at].as_ref().unwrap().address;
            vec![format!("http://{address}").parse().unwrap()]
        };
        let urls = Services {
            catalog_url: url(Service::Catalog),
            inventory_url: url(Service::Inventory),
            orders_url: url(Service::Orders),
            orchestrator_url: url(Service::Orchestrator),
            projections_url: url(Service::Projections),
        };
        let gateway = Apart::gateway(urls, &engines).await;
        Self {
            engines,
            services,
            gateway,
        }
    }

    async fn kill(&mut self, at: usize) {
        let address = self.services[at].take().unwrap().dies().await;
        let service = Apart::service(Service::ALL[at], &self.engines, address);
        self.services[at] = Some(service.await);
    }

    async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let address = Address::parse(&format!("http://{}", self.gateway.address)).unwrap();
        let mut connection = Connection::new(address, PATIENCE);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let sent = connection.send(method, target, headers, body.into());
        sent.await.unwrap()
    }

    async fn get(&self, target: &str) -> Value {
        let answer = self.send("GET", target, &[], &Value::Null).await;
        assert_eq!(answer.status, 200, "{target}: {:?}", answer.body);
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Sends it until it is taken, as a client does that is told to try again.
    async fn insist(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Value {
        let insisting = async {
            loop {
                let answer = self.send(method, target, headers, body).await;
                if answer.status.is_success() {
                    return serde_json::from_slice(&answer.body).unwrap();
                }
                assert_eq!(answer.status, 503, "{target}: {:?}", answer.body);
            }
        };
        tokio::time::timeout(PATIENCE, insisting).await.unwrap()
    }

    async fn stock(&self) {
        let product = json!({
            "name": "Tea",
            "price": {"amount_minor": 500, "currency": "EUR"},
            "active": true,
        });
        self.insist("PUT", "/v1/products/tea", &[], &product).await;
        let receipt = json!({"quantity": 1_000, "reference": "first"});
        self.insist("POST", "/v1/stock/tea/receipts", &[], &receipt)
            .await;
    }

    /// Places an order and waits for its end.
    async fn order(&self, token: &str, key: &str) -> Value {
        let order = json!({
            "customer_id": "3d6f0a4e-8a55-4f0e-9c1e-5f1f0a2b7c11",
            "currency": "EUR",
            "lines": [{"sku": "tea", "quantity": 2}],
            "payment": {"method": "card", "token": token},
        });
        let headers = [("idempotency-key", key), ("prefer", "wait=5")];
        let placing = async {
            loop {
                let order = self.insist("POST", "/v1/orders", &headers, &order).await;
                if order["status"] != "pending" && order["status"] != "confirmed" {
                    return order;
                }
            }
        };
        tokio::time::timeout(PATIENCE, placing).await.unwrap()
    }

    async fn ends(self) {
        self.gateway.ends().await;
        for service in self.services.into_iter().flatten() {
            service.ends().await;
        }
    }
}

#[tokio::test]
async fn an_order_settles_through_processes_that_know_only_the_log_of_each_other() {
    let world = World::new().await;
    world.stock().await;
    let paid = world.order("tok_visa", "paid").await;
    assert_eq!(paid["status"], "completed");
    let refused = world.order("tok_declined", "refused").await;
    assert_eq!(refused["status"], "rejected");

    let order = paid["order_id"].as_str().unwrap();
    let shown = world.get(&format!("/v1/orders/{order}")).await;
    assert_eq!(shown["status"], "completed");
    let saga = shown["saga_id"].as_str().unwrap();
    let why = world
        .send("GET", &format!("/v1/sagas/{saga}/why"), &[], &Value::Null)
        .await;
    assert_eq!(why.status, 200);
    let stream = world.get(&format!("/v1/streams/order-{order}")).await;
    assert_eq!(stream["items"][0]["type"], "order.placed.v1");
    let ready = world.get("/readyz").await;
    let dependencies = ready["dependencies"].as_array().unwrap();
    let names: Vec<_> = dependencies
        .iter()
        .map(|its| its["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "catalog",
            "inventory",
            "orders",
            "orchestrator",
            "projections"
        ]
    );
    world.ends().await;
}

#[tokio::test]
async fn the_gateway_apart_promises_what_one_process_does() {
    let world = World::new().await;
    let whole = system::System::assemble(system::empty(), system::Options::default());
    let whole = whole.await.unwrap();
    let whole = whole.gateway(listening(any()), Vec::new(), CancellationToken::new());
    let request = axum::http::Request::get("/openapi.json").header("host", "localhost");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let answer = whole.unwrap().call(request).await;
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .unwrap();
    let whole: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
    let apart = world.get("/openapi.json").await;
    let operations = |document: &Value| -> Vec<String> {
        let paths = document["paths"].as_object().unwrap();
        let of = |(path, its): (&String, &Value)| {
            let methods = its.as_object().unwrap().keys();
            methods
                .map(|method| format!("{method} {path}"))
                .collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    };
    assert!(operations(&whole).len() > 30);
    assert_eq!(operations(&whole), operations(&apart));
    let body = "/paths/~1v1~1orders/post/requestBody";
    assert_eq!(whole.pointer(body), apart.pointer(body));
    world.ends().await;
}

#[tokio::test]
async fn orders_settle_whichever_process_dies_meanwhile() {
    let mut world = World::new().await;
    world.stock().await;
    for at in 0..Service::ALL.len() {
        // Placed, and its saga under way, when the process dies.
        let order = json!({
            "customer_id": "3d6f0a4e-8a55-4f0e-9c1e-5f1f0a2b7c11",
            "currency": "EUR",
            "lines": [{"sku": "tea", "quantity": 1}],
            "payment": {"method": "card", "token": "tok_visa"},
        });
        let key = format!("during-{at}");
        let headers = [("idempotency-key", key.as_str())];
        let placed = world.insist("POST", "/v1/orders", &headers, &order).await;
        world.kill(at).await;
        let waiting = [("idempotency-key", key.as_str()), ("prefer", "wait=10")];
        let settled = world.insist("POST", "/v1/orders", &waiting, &order).await;
        assert_eq!(settled["order_id"], placed["order_id"]);
        assert_eq!(
            settled["status"],
            "completed",
            "{}",
            Service::ALL[at].name()
        );
    }
    world.ends().await;
}

#[tokio::test]
async fn a_service_that_is_away_takes_only_its_own_addresses_with_it() {
    let mut world = World::new().await;
    world.stock().await;
    let inventory = Service::ALL
        .iter()
        .position(|its| *its == Service::Inventory);
    let gone = world.services[inventory.unwrap()].take().unwrap();
    gone.ends().await;
    let receipt = json!({"quantity": 1, "reference": "second"});
    let answer = world
        .send("POST", "/v1/stock/tea/receipts", &[], &receipt)
        .await;
    assert_eq!(answer.status, 503);
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["code"], "dependency-unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("inventory"));
    assert_eq!(world.get("/v1/products/tea").await["name"], "Tea");
    assert_eq!(world.get("/v1/stock/tea").await["on_hand"], 1_000);
    world.ends().await;
}

#[test]
fn a_service_may_have_several_addresses() {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        services: Services,
        #[arg(long, global = true)]
        config: Option<PathBuf>,
    }
    let addresses = |args: &[&str], variable: Option<&str>| {
        let args = ["gateway"].iter().chain(args).map(Into::into);
        let variable = |name: &str| variable.filter(|_| name == "RECOURSE_ORDERS_URL");
        let variable = |name: &str| variable(name).map(Into::into);
        let read = recourse_service::options::load_from::<Line>(args, variable).unwrap();
        assert_eq!(read.config, None);
        let orders = read.services.orders_url.iter();
        orders.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(addresses(&[], None), ["http://127.0.0.1:7183"]);
    let both = ["http://a:1", "http://b:2"];
    let together = "http://a:1,http://b:2";
    assert_eq!(addresses(&["--orders-url", together], None), both);
    let apart = ["--orders-url", both[0], "--orders-url", both[1]];
    assert_eq!(addresses(&apart, None), both);
    assert_eq!(addresses(&[], Some(together)), both);
}

#[test]
fn what_docker_compose_sets_are_options() {
    let mut command = CommandLine::command();
    command.build();
    let serve = command.find_subcommand("serve").unwrap();
    let compose = include_str!("../../../docker-compose.yml");
    let names: Vec<String> = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("RECOURSE_")?.split_once(':'))
        .map(|(name, _)| name.to_lowercase().replace('_', "-"))
        .collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        let known = serve.get_subcommands().any(|service| {
            let mut arguments = service.get_arguments();
            arguments.any(|argument| argument.get_long() == Some(&name))
        });
        assert!(known, "--{name}");
    }
}
