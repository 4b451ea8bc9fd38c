//! Orders, their sagas, and the participants, whose part the tests play.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use chrono::{DateTime, TimeDelta, Utc};
use recourse_bus::{MemoryCheckpoints, embedded};
use recourse_domain::{
    CardToken, Currency, CustomerId, Money, OrderId, PaymentId, Quantity, Sku, order,
};
use recourse_event_store::{
    Answered, Append, Direction, EventStore, ExpectedRevision, Filter, LogId, Mark, Metadata,
    NewEvent, Position, Read, RecordedEvent, Refused, StreamName, Taken, Visibility, memory,
};
use recourse_saga::{Answer, Definition, Event, Sent, State, commands_of, saga_id};
use recourse_saga_orchestrator::{Error, IN_FLIGHT, Options, Orchestrator, fulfilment};
use recourse_service::clock::{Clock, TokioClock};
use recourse_views::documents::Documents;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

use crate::engines::{Held, Rows, Watched};

pub const LOG: LogId = LogId(Uuid::from_u128(9));

/// How often the rows are saved.
pub const SAVED: Duration = Duration::from_millis(250);

/// A log, and everything that survives the crash of an orchestrator.
pub struct World {
    pub store: Arc<Watched>,
    pub clock: Arc<TokioClock>,
    pub timing: fulfilment::Timing,
    pub options: Options,
}

/// An orchestrator that runs.
pub struct Running {
    pub bus: Arc<Held>,
    pub routes: Router,
    stop: CancellationToken,
    task: JoinSet<Result<(), Error>>,
}

impl Running {
    /// What an operator does; the status of the answer.
    pub async fn act(&self, saga: Uuid, action: &str) -> u16 {
        act(self.routes.clone(), saga, action).await
    }

    /// Ends it as a shutdown does.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap()
    }

    /// Ends it as a crash of its process does.
    pub async fn kill(mut self) {
        self.task.shutdown().await;
    }

    /// How it ends by itself.
    pub async fn ended(mut self) -> Result<(), Error> {
        self.task.join_next().await.unwrap().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.task.try_join_next().is_none()
    }
}

impl World {
    pub fn new() -> Self {
        Self::on(memory::Store::new(LOG))
    }

    pub fn on(store: memory::Store) -> Self {
        let origin = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap();
        Self {
            store: Watched::new(store),
            clock: Arc::new(TokioClock::new(origin)),
            timing: fulfilment::Timing::default(),
            options: Options::default(),
        }
    }

    pub fn current(&self) -> Arc<Definition> {
        Arc::new(fulfilment::definition(&self.timing).unwrap())
    }

    fn bus(&self, twice: bool) -> Arc<Held> {
        let store: Arc<dyn EventStore> = self.store.clone();
        let checkpoints = Arc::new(MemoryCheckpoints::default());
        let tail = embedded::Bus::new(store, commands_of, checkpoints);
        Held::new(Arc::new(tail), twice)
    }

    pub async fn load(
        &self,
        rows: &Rows,
        bus: Arc<Held>,
        definitions: Vec<Arc<Definition>>,
    ) -> Result<Orchestrator, Error> {
        Orchestrator::load(
            self.store.clone(),
            bus,
            Arc::new(rows.clone()),
            self.clock.clone(),
            definitions,
            self.options.clone(),
        )
        .await
    }

    pub async fn start_with(
        &self,
        rows: &Rows,
        bus: Arc<Held>,
        definitions: Vec<Arc<Definition>>,
    ) -> Running {
        let orchestrator = self.load(rows, bus.clone(), definitions).await.unwrap();
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let routes = orchestrator.routes().into_router();
        task.spawn(orchestrator.run(stop.clone()));
        let running = Running {
            bus,
            routes,
            stop,
            task,
        };
        quiet().await;
        running
    }

    pub async fn start(&self, rows: &Rows) -> Running {
        self.start_with(rows, self.bus(false), vec![self.current()])
            .await
    }

    pub async fn start_doubled(&self, rows: &Rows) -> Running {
        self.start_with(rows, self.bus(true), vec![self.current()])
            .await
    }

    pub fn new_bus(&self) -> Arc<Held> {
        self.bus(false)
    }
}

/// What an operator does to a saga as it stands now, or to a step that waits; the status of the
/// answer.
pub async fn act(routes: Router, saga: Uuid, action: &str) -> u16 {
    let step = if action == "skip" {
        ", \"step\": \"reserve-stock\""
    } else {
        ""
    };
    let body = format!("{{\"action\": \"{action}\", \"reason\": \"it must\"{step}}}");
    ask(routes, saga, action, body).await.0
}

/// What an operator asks under a key; the status of the answer, its tag and its body.
pub async fn ask(routes: Router, saga: Uuid, key: &str, body: String) -> (u16, String, Value) {
    let request = Request::post(format!("/v1/sagas/{saga}/actions"))
        .header("content-type", "application/json")
        .header("if-match", "*")
        .header("idempotency-key", key)
        .body(Body::from(body))
        .unwrap();
    let answer = routes.oneshot(request).await.unwrap();
    let tag = answer.headers().get("etag");
    let tag = tag.map_or(String::new(), |tag| tag.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    let body = serde_json::from_slice(&body.unwrap()).unwrap();
    (status, tag, body)
}

/// The same log, seen by a machine whose clock is ahead.
pub fn elsewhere(world: &World) -> World {
    let ahead = world.clock.now() + TimeDelta::milliseconds(700);
    World {
        store: world.store.clone(),
        clock: TokioClock::new(ahead).into(),
        timing: world.timing.clone(),
        options: world.options.clone(),
    }
}

/// Lets everybody come to rest. Takes a millisecond.
pub async fn quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// An order by number, as its events and its saga's id follow from it.
pub fn order_id(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(1_000 + number))
}

fn order_stream(number: u128) -> StreamName {
    StreamName::new("order", order_id(number))
}

fn euros(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("EUR").unwrap(),
    }
}

/// What happens in the log beside the orchestrators.
impl World {
    fn metadata(&self, correlation: Uuid) -> Metadata {
        Metadata::new(correlation, correlation, self.clock.now(), LOG)
    }

    pub fn placing(&self, number: u128) -> Append {
        let order_id = order_id(number);
        let placed = order::Event::Placed(order::Placed {
            order_id,
            payment_id: PaymentId(Uuid::from_u128(2_000 + number)),
            customer_id: CustomerId(Uuid::from_u128(3)),
            lines: vec![order::Line {
                sku: Sku::parse("tea-1").unwrap(),
                quantity: Quantity::new(2).unwrap(),
                unit_price: euros(100),
            }],
            total: euros(200),
            payment: order::PaymentMethod::Card {
                token: CardToken::new("tok_visa"),
            },
        });
        let stream = order_stream(number);
        let event = NewEvent::encode(placed, self.metadata(order_id.0), &stream, 0).unwrap();
        append(stream, vec![event])
    }

    pub fn cancelling(&self, number: u128) -> Append {
        let cancelled = order::Event::Cancelled(order::Cancelled {
            reason: "no".to_owned(),
        });
        let stream = order_stream(number);
        let metadata = self.metadata(order_id(number).0);
        let event = NewEvent::encode(cancelled, metadata, &stream, 1).unwrap();
        append(stream, vec![event])
    }

    /// Places an order and says which saga that starts.
    pub async fn place(&self, number: u128) -> Uuid {
        self.append(self.placing(number)).await;
        self.saga_of(number).await
    }

    pub async fn saga_of(&self, number: u128) -> Uuid {
        let events = self.read(&order_stream(number)).await;
        saga_id(fulfilment::NAME, events[0].event.id)
    }

    pub async fn append(&self, append: Append) {
        self.append_all(vec![append]).await;
    }

    pub async fn append_all(&self, appends: Vec<Append>) {
        for appended in self.store.inner.append(appends).await {
            appended.unwrap();
        }
    }

    /// An event with nothing but this to say, in a participant's stream.
    pub async fn note(&self, target: &StreamName, metadata: Metadata) {
        self.append(noting(target, metadata)).await;
    }

    /// What a participant appends to answer a command.
    pub async fn answering(&self, saga: Uuid, sent: &Sent, answer: &Answer) -> Append {
        let mut metadata = self.inherited(saga).await;
        metadata.mark = Some(self.mark(saga, sent).await);
        metadata.answers = vec![answered(saga, sent)];
        if let Answer::Refused {
            code,
            detail,
            is_final,
        } = answer
        {
            metadata.refused = Some(Refused {
                code: code.clone(),
                detail: detail.clone(),
                is_final: *is_final,
            });
        }
        noting(&sent.target, metadata)
    }

    pub async fn answer(&self, saga: Uuid, sent: &Sent, answer: &Answer) {
        let append = self.answering(saga, sent, answer).await;
        self.append(append).await;
    }

    /// Records a command as an intent: its answer is still to come.
    pub async fn take(&self, saga: Uuid, sent: &Sent) {
        let mut metadata = self.inherited(saga).await;
        metadata.mark = Some(self.mark(saga, sent).await);
        metadata.takes = Some(Taken {
            answered: answered(saga, sent),
            operation: "authorize".to_owned(),
        });
        self.note(&sent.target, metadata).await;
    }

    /// Takes a later command of somebody else's, so that this one can never take effect.
    pub async fn pass_over(&self, saga: Uuid, sent: &Sent) {
        let mut metadata = self.metadata(saga);
        let position = self.store.inner.appended().await.unwrap();
        metadata.mark = Some(Mark { position, index: 0 });
        self.note(&sent.target, metadata).await;
    }

    /// What follows from a saga's command belongs to the saga's correlation.
    async fn inherited(&self, saga: Uuid) -> Metadata {
        let events = self.read(&Definition::stream(saga)).await;
        self.metadata(events[0].metadata().unwrap().correlation_id)
    }

    async fn mark(&self, saga: Uuid, sent: &Sent) -> Mark {
        let events = self.read(&Definition::stream(saga)).await;
        let event = &events[usize::try_from(sent.revision).unwrap()];
        Mark {
            position: event.position,
            index: sent.index,
        }
    }

    /// Answers every open command with done, and what follows, until nothing does.
    pub async fn play_to_the_end(&self, saga: Uuid) {
        while self.play(saga).await {
            quiet().await;
        }
    }

    /// Answers what is open now; false where nothing is.
    pub async fn play(&self, saga: Uuid) -> bool {
        let open = self.open(saga).await;
        for sent in &open {
            self.answer(saga, sent, &Answer::Done).await;
        }
        !open.is_empty()
    }

    /// Answers with done until a command of this step is open, and says which.
    pub async fn play_up_to(&self, saga: Uuid, step: &str) -> Sent {
        quiet().await;
        loop {
            let open = self.open(saga).await;
            if let Some(sent) = open.iter().find(|sent| &*sent.step == step) {
                return sent.clone();
            }
            assert!(self.play(saga).await, "the saga never comes to {step}");
            quiet().await;
        }
    }

    pub async fn open(&self, saga: Uuid) -> Vec<Sent> {
        self.state(saga).await.open_commands().cloned().collect()
    }

    pub async fn state(&self, saga: Uuid) -> State {
        let mut state = State::new(saga);
        for event in self.read(&Definition::stream(saga)).await {
            let at = event.metadata().unwrap().recorded_at;
            state.apply(&event.decode::<Event>().unwrap(), at);
        }
        state
    }

    /// The types of a saga's events, without noun and version.
    pub async fn story(&self, saga: Uuid) -> Vec<String> {
        let events = self.read(&Definition::stream(saga)).await;
        let short = |event: &Arc<RecordedEvent>| {
            let name = event.event.event_type.split('.').nth(1);
            name.unwrap_or_default().to_owned()
        };
        events.iter().map(short).collect()
    }

    pub async fn read(&self, stream: &StreamName) -> Vec<Arc<RecordedEvent>> {
        self.store
            .inner
            .read_stream(
                stream,
                None,
                Direction::Forward,
                Visibility::Appended,
                1_000,
            )
            .await
            .unwrap()
    }

    /// Everything in the log.
    pub async fn events(&self) -> Vec<Arc<RecordedEvent>> {
        let read = Read {
            from: None,
            direction: Direction::Forward,
            visibility: Visibility::Appended,
            filter: Filter::All,
            max_events: 10_000,
        };
        self.store.inner.read_all(read).await.unwrap().events
    }

    pub fn later(&self, wait: Duration) -> DateTime<Utc> {
        self.clock.now() + TimeDelta::from_std(wait).unwrap()
    }
}

fn answered(saga: Uuid, sent: &Sent) -> Answered {
    Answered {
        command: sent.id,
        saga: Definition::stream(saga),
    }
}

pub fn append(stream: StreamName, events: Vec<NewEvent>) -> Append {
    Append {
        stream,
        expected: ExpectedRevision::Any,
        events,
    }
}

fn noting(target: &StreamName, metadata: Metadata) -> Append {
    let data = serde_json::to_vec(&metadata).unwrap();
    let id = Uuid::new_v5(&Uuid::from_u128(77), &data);
    append(
        target.clone(),
        vec![NewEvent::raw(id, "test.noted.v1", "{}", data)],
    )
}

/// The sagas that have a row.
pub async fn rows(rows: &Rows) -> BTreeSet<Uuid> {
    let mut ids = BTreeSet::new();
    rows.inner
        .scan(&IN_FLIGHT, &mut |document| {
            ids.insert(document.id.parse().unwrap());
        })
        .await
        .unwrap();
    ids
}

/// Where the rows stand.
pub async fn rows_position(rows: &Rows) -> Position {
    let checkpoint = rows.inner.checkpoint(&IN_FLIGHT).await.unwrap();
    checkpoint.map_or(Position::START, |checkpoint| checkpoint.position)
}

impl World {
    /// Where the log ends.
    pub async fn head(&self) -> Position {
        self.store.inner.appended().await.unwrap()
    }
}
