//! A log with sagas that send commands, and a service that acts on them.
#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use recourse_bus::{
    Bus, BusError, Command, Consumer, Deliveries, Delivery, Json, MemoryCheckpoints, embedded,
};
use recourse_event_store::{
    Append, EventStore, ExpectedRevision, LogId, Mark, NewEvent, RecordedEvent, StoreError,
    StreamName, memory, typed,
};
use uuid::Uuid;

pub(crate) const LOG: LogId = LogId(Uuid::from_u128(7));
pub(crate) const GROUP: &str = "inventory";
pub(crate) const SENT: &str = "saga.sent.v1";

/// What of a saga's event goes out: the commands in its data.
pub(crate) fn outgoing(event: &RecordedEvent) -> Result<Vec<Command>, typed::Error> {
    if &*event.event.event_type != SENT {
        return Ok(vec![]);
    }
    serde_json::from_slice(&event.event.data).map_err(|source| typed::Error::Malformed {
        event_type: SENT.to_owned(),
        source,
    })
}

pub(crate) fn command(number: u64, target: &StreamName) -> Command {
    Command {
        id: Uuid::from_u64_pair(1, number),
        target: target.clone(),
        command_type: "stock.reserve".to_owned(),
        data: Json::write(&number).unwrap(),
        undoes: vec![],
    }
}

pub(crate) fn embedded_bus(
    store: &Arc<dyn EventStore>,
    checkpoints: &MemoryCheckpoints,
) -> embedded::Bus {
    embedded::Bus::new(Arc::clone(store), outgoing, Arc::new(checkpoints.clone()))
}

pub(crate) fn memory_store() -> Arc<dyn EventStore> {
    Arc::new(memory::Store::new(LOG))
}

/// Appends one event, however often the store has to be asked. Its id follows from its
/// stream and revision, so a repeat is one.
pub(crate) async fn append(
    store: &dyn EventStore,
    stream: &StreamName,
    event_type: &str,
    data: String,
) {
    let mut expected = ExpectedRevision::NoStream;
    loop {
        let name = format!("{expected:?}/{stream}/{data}");
        let id = Uuid::new_v5(&Uuid::nil(), name.as_bytes());
        let event = NewEvent::raw(id, event_type, data.clone(), &b"{}"[..]);
        let answers = store
            .append(vec![Append {
                stream: stream.clone(),
                expected,
                events: vec![event],
            }])
            .await;
        match answers.into_iter().next().unwrap() {
            Ok(_) => return,
            Err(recourse_event_store::AppendError::WrongExpectedRevision { actual }) => {
                expected = ExpectedRevision::after(actual);
            }
            Err(recourse_event_store::AppendError::Store(StoreError::Unavailable(_))) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A saga's event that sends commands to these targets, numbered on from `first`.
pub(crate) async fn send(store: &dyn EventStore, saga: u64, first: u64, targets: &[StreamName]) {
    let commands: Vec<_> = (first..)
        .zip(targets)
        .map(|(number, target)| command(number, target))
        .collect();
    let data = serde_json::to_string(&commands).unwrap();
    append(store, &StreamName::new("saga", saga), SENT, data).await;
}

/// Sagas that send two commands to stock and one to an order, among other events.
pub(crate) async fn sagas(store: &dyn EventStore, range: std::ops::Range<u64>) {
    for saga in range {
        let targets = [
            StreamName::new("stock", saga % 5),
            StreamName::new("order", saga),
            StreamName::new("stock", (saga + 1) % 5),
        ];
        let order = StreamName::new("order", saga);
        append(store, &order, "order.placed.v1", format!("{saga}")).await;
        send(store, saga, saga * 3, &targets).await;
        let stream = StreamName::new("saga", saga);
        append(store, &stream, "saga.noted.v1", "{}".to_owned()).await;
    }
}

/// The numbers of the commands to stock that [`sagas`] sends, in order.
pub(crate) fn to_stock(range: std::ops::Range<u64>) -> Vec<u64> {
    range.flat_map(|saga| [saga * 3, saga * 3 + 2]).collect()
}

pub(crate) fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

pub(crate) fn number(delivery: &Delivery) -> u64 {
    delivery.command.data.read().unwrap()
}

/// A wait that only something that hangs does not survive.
pub(crate) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3_600), future)
        .await
        .expect("the bus hangs")
}

/// A service as the design has it: one effect for each command, by the mark of its target.
#[derive(Default)]
pub(crate) struct Service {
    marks: BTreeMap<StreamName, Mark>,
    /// Every command that took effect, in the order in which it did.
    pub(crate) effects: Vec<u64>,
    pub(crate) seen: BTreeSet<Uuid>,
    /// Deliveries that changed nothing.
    pub(crate) redelivered: usize,
    /// Consumers that ended, by how.
    pub(crate) gaps: usize,
    pub(crate) cuts: usize,
}

impl Service {
    pub(crate) fn take(&mut self, delivery: &Delivery) {
        let mark = self
            .marks
            .entry(delivery.command.target.clone())
            .or_default();
        if delivery.mark <= *mark {
            self.redelivered += 1;
            assert!(
                self.seen.contains(&delivery.command.id),
                "the mark sealed a gap: {:?} was never seen",
                delivery.command
            );
            return;
        }
        *mark = delivery.mark;
        assert!(self.seen.insert(delivery.command.id), "two marks, one id");
        self.effects.push(number(delivery));
    }

    /// Consumes until this many commands took effect; asks for a new consumer after each end.
    pub(crate) async fn run(&mut self, bus: &dyn Bus, store: &dyn EventStore, effects: usize) {
        let mut consumer: Option<Box<dyn Consumer<Delivery>>> = None;
        while self.effects.len() < effects {
            let answer = match &mut consumer {
                Some(consumer) => bounded(step(&mut **consumer, store, self)).await,
                none => match bounded(bus.commands(GROUP, &["stock"])).await {
                    Ok(made) => {
                        *none = Some(made);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match answer {
                Ok(()) => {}
                Err(BusError::Gap { after, next }) => {
                    assert!(after < next);
                    self.gaps += 1;
                    consumer = None;
                }
                Err(BusError::Store(StoreError::Unavailable(_))) => {
                    self.cuts += 1;
                    consumer = None;
                }
                Err(error) => panic!("{error}: {error:?}"),
            }
        }
    }
}

async fn step(
    consumer: &mut dyn Consumer<Delivery>,
    store: &dyn EventStore,
    service: &mut Service,
) -> Result<(), BusError> {
    let Deliveries {
        messages,
        considered,
        ..
    } = consumer.next().await?;
    for delivery in &messages {
        service.take(delivery);
    }
    // Effects are durable before they count.
    store.wait_durable(considered).await?;
    consumer.commit(considered).await
}
