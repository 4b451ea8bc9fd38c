//! Which engine serves which port, in the distributed form.
//!
//! | port | engine |
//! | --- | --- |
//! | `EventStore` | EventStoreDB or KurrentDB, or the embedded store behind the same protocol |
//! | `Bus` | Kafka, filled by the relay; without it the event store's own tail, and a lock in PostgreSQL says who drives the sagas |
//! | `Documents` | MongoDB for the views of orders and of sagas, PostgreSQL for the others; without MongoDB PostgreSQL for all |
//! | `Books`, `Checkpoints`, `Snapshots`, `Turns` | PostgreSQL |
//!
//! A service connects only to what it needs, in any order, and waits for what is not there.

use std::{
    ops::RangeInclusive,
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::Args;
use futures::future::{BoxFuture, join_all};
use recourse_bus::{Bus, Checkpoints, Turns, embedded, kafka, observed};
use recourse_esdb::client;
use recourse_event_store::{EventStore, LogId, StoreError};
use recourse_payments::Provider;
use recourse_projection_services::{orders::Orders, sagas::Sagas};
use recourse_service::{
    Clock, Ids,
    readiness::{Dependency, Health, Need},
};
use recourse_views::{
    Projection, Router,
    books::Books,
    documents::{Collection, Documents},
    mongodb, postgres,
};

use super::{process::Process, sole::Sole};
use crate::{
    arguments::Usage,
    system::{self, Engines, Service},
};

/// How often an engine is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// How long the event store is waited for before it is said what for.
pub(super) const FIRST_CONNECT: Duration = Duration::from_secs(5);

/// The name of a checkpoint that nobody has: to ask whether the database answers.
const NOBODY: &str = "nobody";

/// Which engines there are, and where.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(crate) struct Options {
    #[command(flatten)]
    event_store: client::Options,
    /// Kafka's brokers to ask first, separated by commas: it brings commands and events, as the
    /// relay writes them. Without it services follow the event store themselves.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    #[command(flatten)]
    kafka_names: KafkaNames,
    #[command(flatten)]
    postgres: PostgresOptions,
    /// MongoDB: the views of orders and of sagas. Without it they are in PostgreSQL too; a process
    /// that reads them is told the same as the one that writes them.
    #[arg(long = "mongodb", value_name = "URL")]
    mongodb_url: Option<mongodb::Address>,
}

/// What is called how in Kafka, and how large it is.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(crate) struct KafkaNames {
    /// What the names of all topics and groups begin with: several systems may share a cluster.
    #[arg(long, value_name = "NAME", default_value = "recourse")]
    kafka_prefix: String,
    /// The largest record: an event with its metadata, in bytes. The same for the relay and for all
    /// who read; topics that are there already have to take it too (`max.message.bytes`).
    #[arg(long, value_name = "BYTES", default_value_t = kafka::Options::default().max_record_bytes,
          value_parser = record_bytes)]
    kafka_max_record_bytes: usize,
}

impl KafkaNames {
    pub(super) fn options(&self, brokers: &str) -> kafka::Options {
        kafka::Options {
            brokers: brokers.to_owned(),
            prefix: self.kafka_prefix.clone(),
            max_record_bytes: self.kafka_max_record_bytes,
            ..kafka::Options::default()
        }
    }
}

/// What the clients of Kafka can be told: more than a request of a broker holds is of no use.
const RECORD_BYTES: RangeInclusive<usize> = 65_536..=67_108_864;

fn record_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok();
    bytes
        .filter(|bytes| RECORD_BYTES.contains(bytes))
        .ok_or_else(|| {
            let (least, most) = (RECORD_BYTES.start(), RECORD_BYTES.end());
            format!("a number of bytes from {least} to {most}")
        })
}

/// Where PostgreSQL is.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(crate) struct PostgresOptions {
    /// PostgreSQL: the views, the ledger, checkpoints and snapshots.
    #[arg(
        long = "postgres",
        value_name = "URL",
        default_value = "postgres://recourse@127.0.0.1:5432/recourse"
    )]
    postgres_url: postgres::Address,
}

impl PostgresOptions {
    fn options(&self) -> postgres::Options {
        postgres::Options::new(self.postgres_url.clone())
    }

    fn turns(&self) -> Arc<dyn Turns> {
        Arc::new(postgres::Locks::new(self.options()))
    }
}

/// What a service needs besides the event store.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    bus: bool,
    documents: bool,
    /// That some of these documents are those of MongoDB, where there is one.
    mongodb: bool,
    books: bool,
    state: bool,
    /// Other processes have the same service, and some of it is done by one at a time.
    turns: bool,
}

impl Needs {
    const fn of(service: Service) -> Self {
        let none = Self {
            bus: false,
            documents: false,
            mongodb: false,
            books: false,
            state: false,
            turns: false,
        };
        match service {
            Service::Catalog => none,
            Service::Orders => Self { bus: true, ..none },
            Service::Inventory => Self {
                bus: true,
                state: true,
                ..none
            },
            Service::Payments => Self {
                bus: true,
                state: true,
                turns: true,
                ..none
            },
            Service::Orchestrator => Self {
                bus: true,
                documents: true,
                ..none
            },
            Service::Projections => Self {
                documents: true,
                mongodb: true,
                books: true,
                turns: true,
                ..none
            },
        }
    }
}

impl Options {
    /// Checks them, before anything is made.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn validate(&self) -> Result<(), Usage> {
        self.event_store.validate().map_err(Usage::new)
    }

    /// Connects to what a service needs, and waits for what is not there; none where the process
    /// ends before.
    pub(super) async fn connect(
        &self,
        process: &Process,
        service: Service,
        clock: Arc<dyn Clock>,
        ids: Ids,
        provider: Arc<dyn Provider>,
    ) -> Option<Connected> {
        let mut needs = Needs::of(service);
        // Who follows the store itself keeps how far it has come in the database.
        needs.state |= needs.bus && self.kafka.is_none();
        let store = event_store(&self.event_store, process, &ids, Need::Everything);
        // Whatever else is needed is named from the start, not once the one before is there.
        let postgres = (needs.documents || needs.books || needs.state)
            .then(|| process.readiness.dependency("postgres", Need::Everything));
        let databases = async {
            match &postgres {
                Some(dependency) => self.databases(process, dependency, needs).await,
                None => Some(Databases::default()),
            }
        };
        let mongodb = self.mongodb_url.as_ref().filter(|_| needs.mongodb);
        let mongodb = mongodb.map(|address| {
            let dependency = process.readiness.dependency("mongodb", Need::Everything);
            (address, dependency)
        });
        let in_mongodb = async {
            match &mongodb {
                Some((address, dependency)) => {
                    let what = format!("MongoDB at {address}");
                    let connecting = || connect_mongodb(address);
                    let connected = process.until_there(&what, dependency, connecting);
                    connected.await.map(Some)
                }
                None => Some(None),
            }
        };
        let (store, databases, in_mongodb) = tokio::join!(store, databases, in_mongodb);
        let (store, databases, in_mongodb) = (store?, databases?, in_mongodb?);
        let mut pings = Vec::new();
        if let (Some((_, dependency)), Some(documents)) = (mongodb, &in_mongodb) {
            pings.push(Ping::of_documents(dependency, Arc::clone(documents)));
        }
        let mut bus: Option<Arc<dyn Bus>> = None;
        if needs.bus {
            let follower = Arc::clone(&store);
            bus = match (&self.kafka, &databases.state) {
                (Some(brokers), _) => {
                    let options = self.kafka_names.options(brokers);
                    let dependency = process.readiness.dependency("kafka", Need::Everything);
                    pings.push(Ping::of_kafka(dependency, options.clone()));
                    Some(Arc::new(kafka::Bus::new(follower, options)))
                }
                (None, Some(state)) => {
                    let (outgoing, state) = (recourse_saga::commands_of, state.clone());
                    let tail = embedded::Bus::new(follower, outgoing, state);
                    let locks = postgres::Locks::new(self.postgres.options());
                    Some(Arc::new(Sole { tail, locks }))
                }
                (None, None) => None,
            };
            bus = bus.map(|bus| watched(bus, process));
        }
        if let (Some(dependency), Some(state)) = (postgres, databases.state.clone()) {
            pings.push(Ping::of_checkpoints(dependency, state));
        }
        let engines = Engines {
            store,
            bus,
            documents: databases
                .documents
                .map(|others| routed(others, in_mongodb.as_ref())),
            books: databases.books,
            turns: needs.turns.then(|| self.postgres.turns()),
            checkpoints: databases.state.clone().map(|state| state as _),
            snapshots: databases.state.map(|state| state as _),
            provider: Some(provider),
            clock,
            ids,
        };
        Some(Connected { engines, pings })
    }

    async fn databases(
        &self,
        process: &Process,
        dependency: &Dependency,
        needs: Needs,
    ) -> Option<Databases> {
        let options = self.postgres.options();
        let connecting = || async {
            let state = postgres::State::connect(&options).await?;
            let mut databases = Databases {
                state: Some(Arc::new(state)),
                ..Databases::default()
            };
            if needs.documents {
                let collections = system::collections();
                let documents = postgres::Documents::connect(&options, &collections).await?;
                databases.documents = Some(Arc::new(documents));
            }
            if needs.books {
                let books = recourse_projection_services::books();
                let books = postgres::Books::connect(&options, &books).await?;
                databases.books = Some(Arc::new(books));
            }
            Ok::<_, postgres::OpenError>(databases)
        };
        let what = format!("PostgreSQL at {}", self.postgres.postgres_url);
        process.until_there(&what, dependency, connecting).await
    }
}

/// The collections that belong to MongoDB, where there is one.
fn of_mongodb() -> [Collection; 2] {
    [Orders::collection(), Sagas::collection()]
}

/// Connects to the collections that belong there.
pub(super) async fn connect_mongodb(
    address: &mongodb::Address,
) -> Result<Arc<dyn Documents>, mongodb::OpenError> {
    let options = mongodb::Options::new(address.clone());
    let documents = mongodb::Documents::connect(&options, &of_mongodb()).await?;
    Ok(Arc::new(documents))
}

/// All collections: those that belong to MongoDB there, where there is one.
pub(super) fn routed(
    others: Arc<dyn Documents>,
    in_mongodb: Option<&Arc<dyn Documents>>,
) -> Arc<dyn Documents> {
    match in_mongodb {
        Some(in_mongodb) => {
            let names = of_mongodb().map(|collection| collection.name);
            Arc::new(Router::new(others).with(names, in_mongodb))
        }
        None => others,
    }
}

#[derive(Default)]
struct Databases {
    state: Option<Arc<postgres::State>>,
    documents: Option<Arc<dyn Documents>>,
    books: Option<Arc<dyn Books>>,
}

/// Why there is no event store yet.
#[derive(Debug, thiserror::Error)]
enum NotConnected {
    #[error(transparent)]
    Connection(#[from] client::Error),
    #[error(transparent)]
    Reading(#[from] StoreError),
}

/// Connects to the event store, and waits for it; none where the process ends before. `/readyz`
/// says how it is from here on.
pub(super) async fn event_store(
    options: &client::Options,
    process: &Process,
    ids: &Ids,
    need: Need,
) -> Option<Arc<dyn EventStore>> {
    let connected: Arc<OnceLock<Arc<dyn EventStore>>> = Arc::default();
    let waiting = Dependency::starting();
    let (probed, starting) = (Arc::clone(&connected), waiting.clone());
    process
        .readiness
        .probe("event-store", need, move || match probed.get() {
            Some(store) => system::health(&**store),
            None => starting.get(),
        });
    let what = format!("the event store at {}", options.address);
    let connecting = || async {
        let name = LogId(ids.next());
        let store = client::Store::connect_within(options.clone(), name, FIRST_CONNECT).await?;
        // It learns where the log ends: whoever follows it from now on begins there.
        store.appended().await?;
        Ok::<_, NotConnected>(store)
    };
    let store = process.until_there(&what, &waiting, connecting).await?;
    let store: Arc<dyn EventStore> = Arc::new(store);
    // Nobody else sets it.
    let _ = connected.set(Arc::clone(&store));
    Some(store)
}

/// Engines that answered once, and how each is asked whether it still does.
pub(super) struct Connected {
    pub(super) engines: Engines,
    pings: Vec<Ping>,
}

/// `/readyz` says what keeps this bus's consumers from going on. An engine that answers is not enough:
/// a record may be missing, or a topic.
fn watched(bus: Arc<dyn Bus>, process: &Process) -> Arc<dyn Bus> {
    let reading = process.readiness.dependency("bus", Need::Everything);
    let tell = Arc::new(move |why: Option<String>| match why {
        None => reading.up(),
        Some(why) => reading.down(why),
    });
    Arc::new(observed::Bus::new(bus, tell))
}

/// How an engine is asked whether it is still there.
pub(super) struct Ping {
    dependency: Dependency,
    interval: Duration,
    ask: Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

impl Ping {
    /// Of Kafka, which is asked more rarely: each question makes a client.
    pub(super) fn of_kafka(dependency: Dependency, options: kafka::Options) -> Self {
        let client = kafka::Client::new(options);
        Self {
            dependency,
            interval: PING_INTERVAL * 10,
            ask: Box::new(move || {
                let client = client.clone();
                Box::pin(async move {
                    let answered = client.existing().await;
                    answered.map(drop).map_err(|error| error.to_string())
                })
            }),
        }
    }

    fn of_checkpoints(dependency: Dependency, checkpoints: Arc<dyn Checkpoints>) -> Self {
        Self {
            dependency,
            interval: PING_INTERVAL,
            ask: Box::new(move || {
                let checkpoints = Arc::clone(&checkpoints);
                Box::pin(async move {
                    let answered = checkpoints.load(NOBODY).await;
                    answered.map(drop).map_err(|error| error.to_string())
                })
            }),
        }
    }

    fn of_documents(dependency: Dependency, documents: Arc<dyn Documents>) -> Self {
        Self {
            dependency,
            interval: PING_INTERVAL,
            ask: Box::new(move || {
                let documents = Arc::clone(&documents);
                Box::pin(async move {
                    let answered = documents.checkpoint(&Sagas::collection()).await;
                    answered.map(drop).map_err(|error| error.to_string())
                })
            }),
        }
    }

    /// Asks, for as long as this is polled.
    pub(super) async fn watch(&self) {
        loop {
            self.dependency.set(match (self.ask)().await {
                Ok(()) => Health::Up,
                Err(why) => Health::Down(why),
            });
            tokio::time::sleep(self.interval).await;
        }
    }
}

impl Connected {
    /// Asks the engines how they are, for as long as this is polled.
    pub(super) async fn watch(&self) {
        join_all(self.pings.iter().map(Ping::watch)).await;
    }
}
