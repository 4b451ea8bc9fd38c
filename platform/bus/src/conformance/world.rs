//! A log with sagas that send commands, and a service that acts on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    Bus, BusError, Command, Consumer, Deliveries, Delivery, Json, MemoryCheckpoints, embedded,
};
use recourse_event_store::{
    Append, EventStore, ExpectedRevision, LogId, Mark, Metadata, NewEvent, RecordedEvent,
    StoreError, StreamName, memory, typed,
};
use uuid::Uuid;

pub const LOG: LogId = LogId(Uuid::from_u128(7));
pub const GROUP: &str = "inventory";
pub const SENT: &str = "saga.sent.v1";

/// What of a saga's event goes out: the commands in its data.
pub fn outgoing(event: &RecordedEvent) -> Result<Vec<Command>, typed::Error> {
    if &*event.event.event_type != SENT {
        return Ok(vec![]);
    }
    serde_json::from_slice(&event.event.data).map_err(|source| typed::Error::Malformed {
        event_type: SENT.to_owned(),
        source,
    })
}

pub fn command(number: u64, target: &StreamName) -> Command {
    Command {
        id: Uuid::from_u64_pair(1, number),
        target: target.clone(),
        command_type: "stock.reserve".to_owned(),
        data: Json::write(&number).unwrap(),
        undoes: vec![],
    }
}

pub fn embedded_bus(store: &Arc<dyn EventStore>, checkpoints: &MemoryCheckpoints) -> embedded::Bus {
    embedded::Bus::new(Arc::clone(store), outgoing, Arc::new(checkpoints.clone()))
}

pub fn memory_store() -> Arc<dyn EventStore> {
    Arc::new(memory::Store::new(LOG))
}

/// What belongs to one saga shares a correlation with its order.
fn metadata(stream: &StreamName) -> Vec<u8> {
    let (_, key) = stream.as_str().split_once('-').unwrap();
    let correlation = Uuid::new_v5(&Uuid::nil(), key.as_bytes());
    let metadata = Metadata::new(correlation, correlation, Default::default(), LOG);
    serde_json::to_vec(&metadata).unwrap()
}

/// Appends one event, however often the store has to be asked. Its id follows from its
/// stream and revision, so a repeat is one.
pub async fn append(store: &dyn EventStore, stream: &StreamName, event_type: &str, data: String) {
    let mut expected = ExpectedRevision::NoStream;
    loop {
        let name = format!("{expected:?}/{stream}/{data}");
        let id = Uuid::new_v5(&Uuid::nil(), name.as_bytes());
        let event = NewEvent::raw(id, event_type, data.clone(), metadata(stream));
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
pub async fn send(store: &dyn EventStore, saga: u64, first: u64, targets: &[StreamName]) {
    let commands: Vec<_> = (first..)
        .zip(targets)
        .map(|(number, target)| command(number, target))
        .collect();
    let data = serde_json::to_string(&commands).unwrap();
    append(store, &StreamName::new("saga", saga), SENT, data).await;
}

/// Sagas that send two commands to stock and one to an order, among other events.
pub async fn sagas(store: &dyn EventStore, range: std::ops::Range<u64>) {
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
pub fn to_stock(range: std::ops::Range<u64>) -> Vec<u64> {
    range.flat_map(|saga| [saga * 3, saga * 3 + 2]).collect()
}

/// The same for each target.
pub fn to_each_stock(range: std::ops::Range<u64>) -> BTreeMap<StreamName, Vec<u64>> {
    let mut by_target = BTreeMap::<StreamName, Vec<u64>>::new();
    for saga in range {
        for (stock, number) in [(saga % 5, saga * 3), ((saga + 1) % 5, saga * 3 + 2)] {
            let target = StreamName::new("stock", stock);
            by_target.entry(target).or_default().push(number);
        }
    }
    by_target
}

pub fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

pub fn number(delivery: &Delivery) -> u64 {
    delivery.command.data.read().unwrap()
}

/// A wait that only something that hangs does not survive.
pub async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3_600), future)
        .await
        .expect("the bus hangs")
}

/// A service as the design has it: one effect for each command, by the mark of its target.
#[derive(Default)]
pub struct Service {
    marks: BTreeMap<StreamName, Mark>,
    /// Every command that took effect, in the order in which it did.
    pub effects: Vec<u64>,
    /// The same for each target.
    pub by_target: BTreeMap<StreamName, Vec<u64>>,
    pub seen: BTreeSet<Uuid>,
    /// Deliveries that changed nothing.
    pub redelivered: usize,
    /// Consumers that ended, by how.
    pub gaps: usize,
    pub cuts: usize,
}

impl Service {
    pub fn take(&mut self, delivery: &Delivery) {
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
        let of_target = self.by_target.entry(delivery.command.target.clone());
        of_target.or_default().push(number(delivery));
    }

    /// Consumes until this many commands took effect; asks for a new consumer after each end.
    pub async fn run(&mut self, bus: &dyn Bus, store: &dyn EventStore, effects: usize) {
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
                Err(BusError::Gap { after, next, .. }) => {
                    assert!(after < next);
                    self.gaps += 1;
                    consumer = None;
                }
                Err(BusError::Store(StoreError::Unavailable(_)) | BusError::Unavailable(_)) => {
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
