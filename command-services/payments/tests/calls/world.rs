//! Sagas that ask for money, and the service that gets it.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use recourse_bus::{Command, MemoryCheckpoints, Turns, embedded};
use recourse_cqrs::{Clock, WorkerOptions};
use recourse_domain::{
    CardToken, Currency, Money, OrderId, PaymentId,
    payment::{self, Authorize, Capture, Void},
};
use recourse_event_store::{
    Append, Direction, EventStore, ExpectedRevision, LogId, Metadata, NewEvent, RecordedEvent,
    StreamName, Visibility, memory, typed,
};
use recourse_payments::{Error, Options, Service};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engines::{Cut, Watched};

pub const LOG: LogId = LogId(Uuid::from_u128(9));

pub struct World {
    pub store: Arc<Cut>,
    pub checkpoints: MemoryCheckpoints,
    pub provider: Arc<Watched>,
    pub options: Options,
    pub clock: Clock,
    /// Whose turn it is, where several processes are started.
    pub turns: Option<Arc<dyn Turns>>,
}

pub struct Running {
    stop: CancellationToken,
    task: JoinSet<Result<(), Error>>,
}

impl Running {
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.ended().await.unwrap();
    }

    pub async fn kill(mut self) {
        self.task.shutdown().await;
    }

    pub async fn ended(&mut self) -> Result<(), Error> {
        self.task.join_next().await.unwrap().unwrap()
    }
}

/// Lets everybody come to rest. Takes a millisecond.
pub async fn quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub fn payment_id(number: u128) -> PaymentId {
    PaymentId(Uuid::from_u128(2_000 + number))
}

pub fn stream(number: u128) -> StreamName {
    StreamName::new("payment", payment_id(number))
}

pub fn authorize(number: u128, token: &str) -> payment::Command {
    payment::Command::Authorize(Authorize {
        payment_id: payment_id(number),
        order_id: OrderId(Uuid::from_u128(1_000 + number)),
        amount: Money {
            amount_minor: 1_999,
            currency: Currency::parse("EUR").unwrap(),
        },
        token: CardToken::new(token),
    })
}

pub fn capture() -> payment::Command {
    payment::Command::Capture(Capture {})
}

pub fn void() -> payment::Command {
    payment::Command::Void(Void {})
}

/// The sagas here carry their commands as plain JSON.
fn commands_of(event: &RecordedEvent) -> Result<Vec<Command>, typed::Error> {
    Ok(serde_json::from_slice(&event.event.data).unwrap())
}

impl World {
    pub fn new() -> Self {
        Self::on(memory::Store::new(LOG))
    }

    pub fn on(store: memory::Store) -> Self {
        let origin = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap();
        let started = Instant::now();
        Self {
            store: Cut::new(store),
            checkpoints: MemoryCheckpoints::default(),
            provider: Arc::default(),
            options: Options::default(),
            clock: Arc::new(move || origin + TimeDelta::from_std(started.elapsed()).unwrap()),
            turns: None,
        }
    }

    pub async fn start(&self) -> Running {
        let store: Arc<dyn EventStore> = self.store.clone();
        let checkpoints = Arc::new(self.checkpoints.clone());
        let bus = embedded::Bus::new(Arc::clone(&store), commands_of, checkpoints.clone());
        let service = Service::new(
            store,
            Arc::new(bus),
            checkpoints,
            self.provider.clone(),
            self.clock.clone(),
            WorkerOptions::default(),
            self.options.clone(),
        );
        let service = match &self.turns {
            Some(turns) => service.sharing(Arc::clone(turns)),
            None => service,
        };
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(service.run(stop.clone()));
        quiet().await;
        Running { stop, task }
    }

    /// A saga's command, on its way; answers with its id.
    pub async fn send(&self, number: u128, command: payment::Command) -> Uuid {
        self.send_all(vec![(number, command)]).await.remove(0)
    }

    /// Several, that become durable at once.
    pub async fn send_all(&self, commands: Vec<(u128, payment::Command)>) -> Vec<Uuid> {
        let mut ids = Vec::new();
        let mut appends = Vec::new();
        for (number, command) in commands {
            let (command_type, data) = typed::encode(&command).unwrap();
            let cause = Uuid::new_v5(&payment_id(number).0, command_type.as_bytes());
            let at = (self.clock)();
            let id = Uuid::new_v5(&cause, at.to_rfc3339().as_bytes());
            let command = Command {
                id,
                target: stream(number),
                command_type,
                data: serde_json::from_slice(&data).unwrap(),
                undoes: Vec::new(),
            };
            let metadata = Metadata::new(payment_id(number).0, cause, at, LOG);
            let event = NewEvent::raw(
                id,
                "test.sent.v1",
                serde_json::to_vec(&vec![command]).unwrap(),
                serde_json::to_vec(&metadata).unwrap(),
            );
            ids.push(id);
            appends.push(Append {
                stream: StreamName::new("saga", payment_id(number)),
                expected: ExpectedRevision::Any,
                events: vec![event],
            });
        }
        for appended in self.store.inner.append(appends).await {
            appended.unwrap();
        }
        ids
    }

    pub async fn events(&self, number: u128) -> Vec<Arc<RecordedEvent>> {
        self.store
            .inner
            .read_stream(
                &stream(number),
                None,
                Direction::Forward,
                Visibility::Appended,
                1_000,
            )
            .await
            .unwrap()
    }

    /// The types of a payment's events, without noun and version.
    pub async fn story(&self, number: u128) -> Vec<String> {
        let events = self.events(number).await;
        let short = |event: &Arc<RecordedEvent>| {
            let name = event.event.event_type.split('.').nth(1);
            name.unwrap_or_default().to_owned()
        };
        events.iter().map(short).collect()
    }

    /// What a command was answered: none yet, `done`, or the code of the refusal. Once at most.
    pub async fn answer(&self, number: u128, command: Uuid) -> Option<String> {
        let mut answers = Vec::new();
        for event in self.events(number).await {
            let metadata = event.metadata().unwrap();
            if metadata.answers.iter().any(|its| its.command == command) {
                let refused = metadata.refused.as_ref();
                answers.push(refused.map_or("done".to_owned(), |refused| refused.code.clone()));
            }
        }
        assert!(answers.len() <= 1, "answered more than once: {answers:?}");
        answers.pop()
    }

    /// Waits until a command is answered, and says what.
    pub async fn answered(&self, number: u128, command: Uuid) -> String {
        for _ in 0..200_000 {
            if let Some(answer) = self.answer(number, command).await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no answer: {:?}", self.story(number).await);
    }
}
