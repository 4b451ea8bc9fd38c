//! A gateway without a socket, whose time stands still, and readers of what it streams.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt;
use recourse_event_store::{
    Append, Batch, Direction, EventStore, ExpectedRevision, Filter, LogId, Metadata, NewEvent,
    Position, Read, RecordedEvent, StoreError, StreamName, Subscription, Visibility, memory,
    testing,
};
use recourse_gateway::{Gateway, Log, Options, Parts, watch::Fold};
use recourse_service::{Ids, clock::SystemClock, position, readiness::Registry};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) use crate::world::LOG;
use crate::world::redactor;

#[derive(Clone)]
pub(super) struct World {
    pub(super) store: memory::Store,
    pub(super) gateway: Gateway,
}

/// The type of an event of a saga that cannot be folded.
pub(super) const POISON: &str = "saga.poisoned.v1";

/// Counts a saga's events; ended by the type that says so.
#[derive(Default)]
struct Counted {
    events: u64,
    ended: bool,
}

impl Fold for Counted {
    fn apply(
        &mut self,
        event: &RecordedEvent,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if event.revision != self.events {
            return Err(format!("{} instead of {}", event.revision, self.events).into());
        }
        if &*event.event.event_type == POISON {
            return Err("it cannot be folded".into());
        }
        self.events += 1;
        self.ended = &*event.event.event_type == "saga.completed.v1";
        Ok(())
    }

    fn whole(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&json!({"events": self.events, "whole": true}))
    }

    fn summary(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&json!({"events": self.events}))
    }

    fn is_ended(&self) -> bool {
        self.ended
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let store = memory::Store::with_manual_sync(LOG);
        Self::compose(store.clone(), Arc::new(store), change)
    }

    /// On a store that lets others go first before each answer, as a disk may.
    pub(super) fn halting(change: impl FnOnce(&mut Options)) -> Self {
        let store = memory::Store::with_manual_sync(LOG);
        let log = Arc::new(Halting(store.clone()));
        Self::compose(store, log, change)
    }

    fn compose(
        store: memory::Store,
        log: Arc<dyn EventStore>,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let parts = Parts {
            routes: Vec::new(),
            log: Some(Log {
                store: log,
                redactor: Arc::new(redactor()),
                sagas: Some(|| Box::<Counted>::default()),
            }),
            keys: None,
            errors: Vec::new(),
            readiness: Registry::new(),
            ids: Ids::seeded(Arc::new(SystemClock), 1),
            shutdown: CancellationToken::new(),
        };
        let gateway = Gateway::new(options, parts).unwrap();
        Self { store, gateway }
    }

    /// Appends an event; durable only after a sync.
    pub(super) async fn append(&self, stream: &str, event_type: &str, data: Value) {
        let head = self.store.appended().await.unwrap();
        let id = Uuid::from_u128(u128::from(head.commit));
        let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let metadata = serde_json::to_vec(&Metadata::new(id, id, at, LOG)).unwrap();
        let append = Append {
            stream: StreamName::parse(stream).unwrap(),
            expected: ExpectedRevision::Any,
            events: vec![NewEvent::raw(
                id,
                event_type,
                serde_json::to_vec(&data).unwrap(),
                metadata,
            )],
        };
        for appended in self.store.append(vec![append]).await {
            appended.unwrap();
        }
    }

    /// Appends events of several streams in turn, durable.
    pub(super) async fn fill(&self, events: u64) {
        for n in 0..events {
            let stream = ["order-1", "saga-7", "stock-a"][usize::try_from(n % 3).unwrap()];
            let event_type = format!("{}.changed.v1", stream.split('-').next().unwrap());
            self.append(stream, &event_type, json!({"n": n})).await;
        }
        self.store.sync();
    }

    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reader {
        self.request("GET", path, headers).await
    }

    pub(super) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Reader {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let (parts, body) = self.gateway.call(request).await.into_parts();
        Reader {
            status: parts.status,
            headers: parts.headers,
            body,
            text: String::new(),
            blocks: VecDeque::new(),
        }
    }

    /// Begins to watch, and reads the opening.
    pub(super) async fn watch(&self, path: &str) -> Reader {
        self.resume(path, &[]).await
    }

    /// Comes back.
    pub(super) async fn resume(&self, path: &str, headers: &[(&str, &str)]) -> Reader {
        let mut reader = self.get(path, headers).await;
        assert_eq!(reader.status, 200);
        assert_eq!(reader.next().await.unwrap().retry, Some(1_000));
        reader
    }
}

struct Halting(memory::Store);

async fn halt() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

#[async_trait::async_trait]
impl testing::Layer for Halting {
    fn beneath(&self) -> &dyn EventStore {
        &self.0
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        halt().await;
        let read = self
            .0
            .read_stream(stream, from, direction, visibility, max_events);
        let read = read.await;
        halt().await;
        read
    }

    async fn read_all(&self, read: Read) -> Result<Batch, StoreError> {
        halt().await;
        // Pages so short that catching up takes several.
        let max_events = read.max_events.min(5);
        let batch = self.0.read_all(Read { max_events, ..read }).await;
        halt().await;
        batch
    }

    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        halt().await;
        self.0.subscribe(after, filter, visibility).await
    }
}

/// A position as clients see it.
pub(super) fn token(number: u64) -> String {
    position::write(Position::dense(number), LOG)
}

pub(super) fn of_another_log(number: u64) -> String {
    position::write(Position::dense(number), LogId(Uuid::from_u128(1)))
}

/// One block of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) event: Option<String>,
    pub(super) id: Option<String>,
    pub(super) data: Option<Value>,
    pub(super) retry: Option<u64>,
}

impl Block {
    pub(super) fn read(text: &str) -> Self {
        let mut block = Self::default();
        for line in text.lines() {
            let (field, value) = line.split_once(": ").unwrap();
            match field {
                "event" => block.event = Some(value.to_owned()),
                "id" => block.id = Some(value.to_owned()),
                "data" => block.data = Some(serde_json::from_str(value).unwrap()),
                "retry" => block.retry = Some(value.parse().unwrap()),
                other => panic!("{other}"),
            }
        }
        block
    }

    /// The position in its id.
    pub(super) fn position(&self) -> u64 {
        let id = self.id.as_ref().unwrap();
        position::read(id, LOG).unwrap().commit
    }

    pub(super) fn data(&self) -> &Value {
        self.data.as_ref().unwrap()
    }
}

/// An answer, read block by block.
pub(super) struct Reader {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Body,
    text: String,
    blocks: VecDeque<Block>,
}

impl Reader {
    /// The next block; none at the end.
    pub(super) async fn next(&mut self) -> Option<Block> {
        while self.blocks.is_empty() {
            let frame = self.body.frame().await?.unwrap();
            let data = frame.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                self.blocks.push_back(Block::read(block));
                self.text = rest.to_owned();
            }
        }
        self.blocks.pop_front()
    }

    /// What comes before a moment passes in which nothing does.
    pub(super) async fn ready(&mut self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let moment = Duration::from_millis(1);
        while let Ok(Some(block)) = tokio::time::timeout(moment, self.next()).await {
            blocks.push(block);
        }
        blocks
    }

    pub(super) async fn positions(&mut self) -> Vec<u64> {
        let blocks = self.ready().await;
        blocks.iter().map(Block::position).collect()
    }

    /// The whole body, JSON and no stream.
    pub(super) async fn page(self) -> Value {
        let body = self.body.collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    /// The code of a refusal.
    pub(super) async fn code(self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        self.page().await["code"].as_str().unwrap().to_owned()
    }
}
