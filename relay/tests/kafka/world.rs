//! A broker for all tests of this binary, and for each test a log, topics of its own, a relay.

use std::{
    any::Any,
    num::NonZeroU32,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use recourse_bus::{
    conformance::{Subject, world},
    kafka,
};
use recourse_engines::Engine;
use recourse_event_store::EventStore;
use recourse_relay::{Error, Options, Relay};
use recourse_service::clock::SystemClock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

fn broker() -> Option<&'static str> {
    static BROKER: OnceLock<Option<Engine>> = OnceLock::new();
    let engine = BROKER.get_or_init(recourse_engines::kafka);
    engine.as_ref().map(Engine::address)
}

pub(crate) fn memory() -> Arc<dyn EventStore> {
    world::memory_store()
}

/// Options of a test: its own topics, few partitions, short waits.
pub(crate) fn options(broker: &str) -> Options {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Relaxed);
    Options {
        kafka: kafka::Options {
            brokers: broker.to_owned(),
            prefix: format!("test-{number}"),
            ..kafka::Options::default()
        },
        first_start: true,
        event_partitions: NonZeroU32::new(3).unwrap(),
        command_partitions: NonZeroU32::new(2).unwrap(),
        ..Options::default()
    }
}

/// A relay that runs until it is stopped or dropped.
pub(crate) struct Running {
    shutdown: CancellationToken,
    relay: JoinSet<Result<(), Error>>,
}

impl Running {
    pub(crate) fn new(store: &Arc<dyn EventStore>, options: &Options) -> Self {
        let clock = Arc::new(SystemClock);
        let relay = Relay::new(Arc::clone(store), world::outgoing, clock, options.clone());
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(relay.run(shutdown.clone()));
        Self {
            shutdown,
            relay: running,
        }
    }

    /// Lets it end as a process that is told to.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        self.ended().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(mut self) -> Result<(), Error> {
        self.relay.join_next().await.unwrap().unwrap()
    }
}

/// Waits until this generation is the one to read.
pub(crate) async fn generation(options: &Options, number: u32) {
    let client = kafka::Client::new(options.kafka.clone());
    loop {
        let state = kafka::State::read(&client).await.unwrap();
        if state
            .current()
            .is_some_and(|current| current.number == number)
        {
            return;
        }
    }
}

/// A log that is relayed.
pub(crate) struct World {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) options: Options,
    pub(crate) relay: Running,
}

impl World {
    /// None where there is no Kafka to be had.
    pub(crate) async fn new(store: Arc<dyn EventStore>) -> Option<Self> {
        Some(Self::on(store, options(Self::broker().await?)).await)
    }

    /// The broker that tests share which do it no harm.
    pub(crate) async fn broker() -> Option<&'static str> {
        tokio::task::spawn_blocking(broker).await.unwrap()
    }

    pub(crate) async fn on(store: Arc<dyn EventStore>, options: Options) -> Self {
        let relay = Running::new(&store, &options);
        let world = Self {
            store,
            options,
            relay,
        };
        generation(&world.options, 1).await;
        world
    }

    pub(crate) fn bus(&self) -> kafka::Bus {
        kafka::Bus::new(Arc::clone(&self.store), self.options.kafka.clone())
    }

    pub(crate) fn subject(self) -> Subject {
        let keep: Box<dyn Any> = Box::new(self.relay);
        let bus = kafka::Bus::new(Arc::clone(&self.store), self.options.kafka);
        Subject::new(self.store, Arc::new(bus)).keeping(keep)
    }
}
