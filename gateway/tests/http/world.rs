//! A gateway of the test's own on a free port, in front of a few routes that do nothing but
//! use the conventions.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{FromRequest, Request, State, rejection::JsonRejection},
};
use recourse_event_store::{EventStore, LogId, memory};
use recourse_gateway::{
    Gateway, Log, Options, Parts,
    forward::{self, Forwarder},
};
use recourse_schema::{Catalog, Redactor};
use recourse_service::{
    Ids, Problem,
    clock::SystemClock,
    contract::{Answer as Promise, Input, Operation, Routes},
    http::{
        Body, ClientCommand, Id, MinPosition, NewId, Preconditions, Prefer, Query, Reply,
        RequestContext, UsualUuid, wait,
    },
    keys::Keys,
    page::Limit,
    readiness::{Dependency, Need, Registry},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::client::{Answer, Connection};

pub(crate) const LOG: LogId = LogId(Uuid::from_u128(0x0198_9f3a_2c41));

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) store: memory::Store,
    pub(crate) shutdown: CancellationToken,
    pub(crate) readiness: Dependency,
    pub(crate) go_on: Arc<Notify>,
    pub(crate) arrived: Arc<Notify>,
    server: JoinSet<bool>,
}

#[derive(Clone)]
struct Probe {
    store: memory::Store,
    go_on: Arc<Notify>,
    arrived: Arc<Notify>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::behind(change, None, None).await
    }

    /// A service that takes these keys; at this address, where it was there before.
    pub(crate) async fn service(keys: &str, address: Option<SocketAddr>) -> Self {
        let listen = |options: &mut Options| {
            // From anywhere: who comes has a key.
            options.listen = address.unwrap_or_else(|| "0.0.0.0:0".parse().unwrap());
        };
        Self::behind(listen, Some(Keys::parse(keys).unwrap()), None).await
    }

    /// What hands the routes of a service on to it, with these keys.
    pub(crate) async fn front(service: SocketAddr, keys: Option<&str>) -> Self {
        Self::front_with(service, keys, |_| {}).await
    }

    pub(crate) async fn front_with(
        service: SocketAddr,
        keys: Option<&str>,
        change: impl FnOnce(&mut forward::Options),
    ) -> Self {
        Self::front_of(&[service], keys, change).await
    }

    /// The same, where the service has several processes.
    pub(crate) async fn front_of(
        services: &[SocketAddr],
        keys: Option<&str>,
        change: impl FnOnce(&mut forward::Options),
    ) -> Self {
        let mut options = forward::Options {
            probe_interval_ms: 10,
            ..forward::Options::default()
        };
        change(&mut options);
        let keys = keys.map(|keys| Keys::parse(keys).unwrap());
        let url = |service: &SocketAddr| format!("http://127.0.0.1:{}", service.port());
        let urls = services.iter().map(|service| url(service).parse().unwrap());
        Self::behind(|_| {}, None, Some((urls.collect(), keys, options))).await
    }

    async fn behind(
        change: impl FnOnce(&mut Options),
        keys: Option<Keys>,
        service: Option<(Vec<forward::Address>, Option<Keys>, forward::Options)>,
    ) -> Self {
        let store = memory::Store::with_manual_sync(LOG);
        let registry = Registry::new();
        let readiness = registry.dependency("event-store", Need::Everything);
        readiness.up();
        let shutdown = CancellationToken::new();
        let probe = Probe {
            store: store.clone(),
            go_on: Arc::default(),
            arrived: Arc::default(),
        };
        let mut options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..Options::default()
        };
        change(&mut options);
        let mut server = JoinSet::new();
        let mut routes = routes(probe.clone());
        if let Some((addresses, keys, options)) = service {
            let dependency = registry.dependency("probes", Need::Some);
            let forwarder =
                Forwarder::new("probes", &addresses, keys.as_ref(), dependency, options);
            routes = forwarder.routes(routes);
            server.spawn(async move {
                forwarder.watch().await;
                true
            });
        }
        let gateway = Gateway::new(
            options,
            Parts {
                routes: vec![routes],
                log: Some(Log {
                    store: Arc::new(store.clone()),
                    redactor: Arc::new(redactor()),
                    sagas: None,
                }),
                keys,
                errors: Vec::new(),
                readiness: registry,
                ids: Ids::seeded(Arc::new(SystemClock), 1),
                shutdown: shutdown.clone(),
            },
        )
        .unwrap();
        let bound = gateway.bind().await.unwrap();
        let address = bound.address();
        server.spawn(bound.serve());
        Self {
            address,
            store,
            shutdown,
            readiness,
            go_on: probe.go_on,
            arrived: probe.arrived,
            server,
        }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    /// Sends one request on a connection of its own. `head` is the request line without the
    /// version, and further headers.
    pub(crate) async fn send(&self, head: &str, body: impl AsRef<[u8]>) -> Answer {
        let mut connection = self.connect().await;
        connection.send(request(head, body.as_ref())).await;
        connection.receive().await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), "").await
    }

    /// Sends JSON.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        let head = format!("POST {path}\r\nContent-Type: application/json");
        self.send(&head, body).await
    }

    /// Waits for the server to end; whether it finished everything.
    pub(crate) async fn ended(mut self) -> bool {
        self.server.join_next().await.unwrap().unwrap()
    }
}

/// A request as it goes over the wire.
pub(crate) fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let (line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut text = format!("{line} HTTP/1.1\r\n");
    if !headers.contains("Host:") {
        text.push_str("Host: localhost\r\n");
    }
    if !headers.is_empty() {
        text.push_str(headers);
        text.push_str("\r\n");
    }
    if !body.is_empty() && !headers.contains("Transfer-Encoding") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Order {
    customer_id: UsualUuid,
    lines: Vec<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Line {
    sku: String,
    quantity: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    limit: Limit,
    older_than_ms: Option<u64>,
}

/// An extractor that is not ours.
struct Foreign;

impl Input for Foreign {}

impl<S: Send + Sync> FromRequest<S> for Foreign {
    type Rejection = JsonRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, JsonRejection> {
        Json::<u32>::from_request(request, state)
            .await
            .map(|_| Self)
    }
}

fn routes(probe: Probe) -> Routes {
    let operation = |id| Operation::new(id, "Probe").answer(Promise::empty(200, "Probed"));
    Routes::new()
        .post("/probe/orders", place, operation("place"))
        .post(
            "/probe/nested",
            |Body(value): Body<Value>| async { Json(value) },
            operation("nested"),
        )
        .get("/probe/list", list, operation("list"))
        .get(
            "/probe/things/{id}",
            |Id(id): Id<UsualUuid>| async move { Json(id) },
            operation("thing"),
        )
        .put(
            "/probe/names/{id}",
            |NewId(id): NewId<UsualUuid>| async move { Json(id) },
            operation("name"),
        )
        .put("/probe/revision-3", change, operation("change"))
        .get("/probe/at-least", at_least, operation("atLeast"))
        .get("/probe/context", context, operation("context"))
        .get("/probe/held", held, operation("held"))
        .post("/probe/held", held, operation("heldPost"))
        .post("/probe/waits", waits, operation("waits"))
        .get("/probe/panics", panics, operation("panics"))
        .post(
            "/probe/foreign",
            |_: Foreign| async {},
            operation("foreign"),
        )
        .with_state(probe)
}

async fn place(command: ClientCommand, Body(order): Body<Order>) -> Reply<Value> {
    Reply::created(json!({
        "command": command.id,
        "key": command.key.as_str(),
        "hash": command.body_hash(&order),
    }))
}

async fn list(Query(list): Query<List>) -> Json<Value> {
    Json(json!({"limit": list.limit.get(), "older_than_ms": list.older_than_ms}))
}

async fn change(conditions: Preconditions) -> Result<Reply<()>, Problem> {
    conditions.check(Some(3))?;
    Ok(Reply::ok(()).etag(4))
}

async fn at_least(
    State(probe): State<Probe>,
    position: MinPosition,
) -> Result<Reply<bool>, Problem> {
    let position = position.resolve(&probe.store).await?;
    Ok(Reply::ok(position.is_some()).position(probe.store.durable(), LOG))
}

async fn context(context: RequestContext, prefer: Prefer) -> Reply<Value> {
    Reply::ok(json!({
        "request_id": context.request_id(),
        "traceparent": context.traceparent(),
        "principal": context.principal(),
    }))
    .applied(prefer)
}

/// Says that it is here, then waits to be told to go on.
async fn held(State(probe): State<Probe>) -> &'static str {
    probe.arrived.notify_one();
    probe.go_on.notified().await;
    "done"
}

/// What a command does that waits for its saga.
async fn waits(State(probe): State<Probe>, context: RequestContext, prefer: Prefer) -> Reply<()> {
    probe.arrived.notify_one();
    let never = std::future::pending::<()>();
    match wait(prefer.wait.unwrap_or_default(), context.draining(), never).await {
        Some(()) => Reply::created(()),
        None => Reply::accepted(()).applied(prefer),
    }
}

async fn panics() -> Reply<()> {
    tokio::task::yield_now().await;
    panic!("on purpose")
}

/// The types that tests write.
const TYPES: [&str; 4] = [
    "order.placed.v1",
    "order.placed.v10",
    "order.closed.v1",
    "stock.received.v1",
];

/// Of the types that tests write: a number may be shown, a payment's token may not.
pub(crate) fn redactor() -> Redactor {
    let schema = json!({
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "payment": {
                "type": "object",
                "properties": {"token": {"type": "string", "x-secret": true}},
            },
        },
    });
    let mut catalog = Catalog::new();
    for name in TYPES {
        catalog = catalog.with_schema(name, schema.clone()).unwrap();
    }
    Redactor::new(&catalog)
}
