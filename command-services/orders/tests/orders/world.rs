//! A store, the service on it, and what sagas write.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use chrono::{DateTime, TimeDelta, Utc};
use recourse_bus::{MemoryCheckpoints, embedded};
use recourse_cqrs::{Clock, WorkerOptions};
use recourse_domain::{Currency, Money, Sku, product};
use recourse_event_store::{
    Append, Batch, Direction, EventStore, ExpectedRevision, Filter, LogId, Metadata, NewEvent,
    Position, RecordedEvent, StoreError, StreamName, Subscription, Visibility, memory, testing,
};
use recourse_orders::{Error, Service};
use recourse_saga::{AttentionNeeded, Completed, Definition, Event, Parked, Started};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

pub const LOG: LogId = LogId(Uuid::from_u128(9));

/// A store that counts its reads of streams and whose subscriptions can be cut.
pub struct Watched {
    pub inner: memory::Store,
    pub cuts: Arc<AtomicUsize>,
    pub failing_subscriptions: AtomicUsize,
    /// Appended by somebody else after a saga's stream was looked at, before that is told.
    pub after_look: Mutex<Option<Append>>,
}

impl Watched {
    pub fn new(inner: memory::Store) -> Arc<Self> {
        Arc::new(Self {
            inner,
            cuts: Arc::default(),
            failing_subscriptions: AtomicUsize::new(0),
            after_look: Mutex::default(),
        })
    }
}

fn take_one(left: &AtomicUsize) -> Result<(), StoreError> {
    match left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
        Ok(_) => Err(StoreError::Unavailable("told to".into())),
        Err(_) => Ok(()),
    }
}

struct CutSubscription {
    inner: Box<dyn Subscription>,
    cuts: Arc<AtomicUsize>,
}

#[async_trait]
impl Subscription for CutSubscription {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        let batch = self.inner.next().await?;
        take_one(&self.cuts)?;
        Ok(batch)
    }
}

#[async_trait]
impl testing::Layer for Watched {
    fn beneath(&self) -> &dyn EventStore {
        &self.inner
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let page = self
            .inner
            .read_stream(stream, from, direction, visibility, max_events)
            .await;
        let after = self
            .after_look
            .lock()
            .unwrap()
            .take_if(|append| append.stream == *stream);
        if let Some(after) = after {
            self.inner.append(vec![after]).await.remove(0).unwrap();
            // Whoever follows the log is told before the look is.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        page
    }

    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        let is_of_sagas = matches!(filter, Filter::TypePrefixes(_));
        let inner = self.inner.subscribe(after, filter, visibility).await?;
        if !is_of_sagas {
            return Ok(inner);
        }
        take_one(&self.failing_subscriptions)?;
        let cuts = Arc::clone(&self.cuts);
        Ok(Box::new(CutSubscription { inner, cuts }))
    }
}

/// The service while it runs.
pub struct World {
    pub store: Arc<Watched>,
    pub router: Router,
    /// Ends with the world.
    _task: JoinSet<Result<(), Error>>,
    clock: Clock,
}

/// An answer.
pub struct Told {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Told {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn position(&self) -> Position {
        let header = self.header("recourse-position").unwrap();
        header.split('-').next().unwrap().parse().unwrap()
    }

    /// The order and its saga's stream.
    pub fn ids(&self) -> (String, StreamName) {
        let order = self.body["order_id"].as_str().unwrap().to_owned();
        let saga = self.body["saga_id"].as_str().unwrap().parse().unwrap();
        (order, Definition::stream(saga))
    }

    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array();
        let errors = errors.map(Vec::as_slice).unwrap_or_default();
        errors
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect()
    }
}

/// Lets everybody come to rest. Takes a millisecond.
pub async fn quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

impl World {
    /// A catalogue of tea, cups, a gift, something for dollars and something of the past.
    pub async fn new() -> Self {
        let world = Self::on(memory::Store::new(LOG)).await;
        for (sku, amount_minor, currency, active) in [
            ("tea-1", 500, "EUR", true),
            ("cup-7", 900, "EUR", true),
            ("gift", 0, "EUR", true),
            ("bagel", 300, "USD", true),
            ("fax", 100, "EUR", false),
        ] {
            world.product(sku, amount_minor, currency, active).await;
        }
        world
    }

    pub async fn on(store: memory::Store) -> Self {
        let origin = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap();
        let started = Instant::now();
        let clock: Clock =
            Arc::new(move || origin + TimeDelta::from_std(started.elapsed()).unwrap());
        let store = Watched::new(store);
        let as_store: Arc<dyn EventStore> = store.clone();
        let bus = embedded::Bus::new(
            Arc::clone(&as_store),
            recourse_saga::commands_of,
            Arc::new(MemoryCheckpoints::default()),
        );
        let service = Service::new(
            as_store,
            Arc::new(bus),
            Arc::clone(&clock),
            WorkerOptions::default(),
        );
        let router = service.routes().into_router();
        let mut task = JoinSet::new();
        task.spawn(service.run(CancellationToken::new()));
        quiet().await;
        Self {
            store,
            router,
            _task: task,
            clock,
        }
    }

    pub async fn product(&self, sku: &str, amount_minor: i64, currency: &str, active: bool) {
        let details = product::Details {
            sku: Sku::parse(sku).unwrap(),
            name: sku.to_owned(),
            price: Money {
                amount_minor,
                currency: Currency::parse(currency).unwrap(),
            },
            active,
        };
        let stream = StreamName::new("product", sku);
        let event = product::Event::Changed(details);
        self.append(writing(&stream, event, (self.clock)())).await;
    }

    pub async fn append(&self, append: Append) -> Position {
        let appended = self.store.inner.append(vec![append]).await.remove(0);
        appended.unwrap().position.unwrap()
    }

    /// A saga's event, ready to be appended.
    pub fn happening(&self, saga: &StreamName, event: Event) -> Append {
        writing(saga, event, (self.clock)())
    }

    pub async fn happens(&self, saga: &StreamName, event: Event) -> Position {
        self.append(self.happening(saga, event)).await
    }

    /// How many events the log has.
    pub async fn events(&self) -> u64 {
        self.store.inner.appended().await.unwrap().commit
    }

    pub fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> impl Future<Output = Told> + Send + use<> {
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let router = self.router.clone();
        async move {
            let response = router.oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = to_bytes(body, 1 << 20).await.unwrap();
            Told {
                status: parts.status,
                headers: parts.headers,
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            }
        }
    }

    pub async fn place(&self, key: &str, body: &Value) -> Told {
        self.post("/v1/orders", &[("idempotency-key", key)], body)
            .await
    }

    /// The same, willing to wait, in the background.
    pub fn place_and_wait(&self, key: &str, seconds: u32, body: &Value) -> JoinSet<Told> {
        let wait = format!("wait={seconds}");
        let headers = [("idempotency-key", key), ("prefer", &*wait)];
        let mut task = JoinSet::new();
        task.spawn(self.post("/v1/orders", &headers, body));
        task
    }
}

fn writing<E: serde::Serialize + Send + Sync + 'static>(
    stream: &StreamName,
    event: E,
    at: DateTime<Utc>,
) -> Append {
    let metadata = Metadata::new(Uuid::nil(), Uuid::nil(), at, LOG);
    Append {
        stream: stream.clone(),
        expected: ExpectedRevision::Any,
        events: vec![NewEvent::encode(event, metadata, stream, 0).unwrap()],
    }
}

/// An order of these lines.
pub fn order(lines: &[(&str, u32)]) -> Value {
    let line = |(sku, quantity): &(&str, u32)| json!({"sku": sku, "quantity": quantity});
    json!({
        "customer_id": Uuid::from_u128(3),
        "currency": "EUR",
        "lines": lines.iter().map(line).collect::<Vec<_>>(),
        "payment": {"method": "card", "token": "tok_visa"},
    })
}

pub fn started() -> Event {
    Event::Started(Started {
        definition: "fulfilment".to_owned(),
        definition_hash: "0".to_owned(),
        input: recourse_bus::Json::write(&1).unwrap(),
        deadline_at: DateTime::UNIX_EPOCH,
        steps: Vec::new(),
        commands: Vec::new(),
    })
}

pub fn completed() -> Event {
    Event::Completed(Completed {})
}

pub fn attention() -> Event {
    Event::AttentionNeeded(AttentionNeeded {
        why: "no".to_owned(),
    })
}

pub fn parked() -> Event {
    Event::Parked(Parked {
        position: Position::dense(1),
        error: "no".to_owned(),
    })
}
