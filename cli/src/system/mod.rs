//! The services of Recourse, composed: all of them in one process, or one a process.
//!
//! ```text
//! Engines ─▶ System::assemble: each service that is asked for ─▶ routes() ─▶ gateway()
//!                                                             └▶ run()
//! ```
//!
//! Which services a process has, and which engine serves a port, is decided by whoever calls
//! this. The services are the same.

mod contract;
mod services;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use recourse_bus::{Bus, Checkpoints, Turns};
use recourse_cqrs::{Snapshots, WorkerOptions};
use recourse_event_store::{EventStore, Position, RecordedEvent};
use recourse_gateway::{Gateway, Log, watch};
use recourse_payments::Provider;
use recourse_projection_services::sagas::Followed;
use recourse_saga_orchestrator::{Orchestrator, fulfilment};
use recourse_service::{
    Clock, Ids,
    admission::Admission,
    contract::Routes,
    problem::Code,
    readiness::{self, Health, Need},
};
use recourse_views::{
    books::Books,
    documents::{Collection, Documents},
};
use tokio::{runtime::Handle, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::contract::{contract, empty};
use self::services::Part;
use crate::{running::Running, types};

/// The error codes of the services; the platform's own are known anyway.
pub const ERRORS: [&[Code]; 4] = [
    recourse_inventory::errors::ERRORS,
    recourse_orders::errors::ERRORS,
    recourse_projection_services::errors::ERRORS,
    recourse_saga_orchestrator::errors::ERRORS,
];

/// A service: what can be a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Products.
    Catalog,
    /// Stock.
    Inventory,
    /// Orders and returns.
    Orders,
    /// Money.
    Payments,
    /// The sagas.
    Orchestrator,
    /// The views.
    Projections,
}

impl Service {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 6] = [
        Self::Catalog,
        Self::Inventory,
        Self::Orders,
        Self::Payments,
        Self::Orchestrator,
        Self::Projections,
    ];

    /// What it is called: `orders`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Inventory => "inventory",
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Orchestrator => "orchestrator",
            Self::Projections => "projections",
        }
    }
}

/// The collections that the services keep in [`Engines::documents`].
#[must_use]
pub fn collections() -> Vec<Collection> {
    let mut collections = recourse_projection_services::collections();
    collections.push(recourse_saga_orchestrator::IN_FLIGHT);
    collections
}

/// What the services stand on. Which engine serves a port is decided here and nowhere else.
/// What none of the services in the process needs may be left out.
#[derive(Clone)]
pub struct Engines {
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// Carries commands and events.
    pub bus: Option<Arc<dyn Bus>>,
    /// Holds the views and the rows of the sagas in flight.
    pub documents: Option<Arc<dyn Documents>>,
    /// Holds the ledger.
    pub books: Option<Arc<dyn Books>>,
    /// Says whose turn it is, where other processes have the same services; none where there are no
    /// others.
    pub turns: Option<Arc<dyn Turns>>,
    /// Holds how far consumers have come.
    pub checkpoints: Option<Arc<dyn Checkpoints>>,
    /// Holds the snapshots of long streams.
    pub snapshots: Option<Arc<dyn Snapshots>>,
    /// Moves the money.
    pub provider: Option<Arc<dyn Provider>>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Ids,
}

/// How the services behave.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The limits of the workers that execute commands.
    pub worker: WorkerOptions,
    /// The limits of the calls to the provider.
    pub payments: recourse_payments::Options,
    /// The limits of the orchestrator.
    pub orchestrator: recourse_saga_orchestrator::Options,
    /// How long the sagas wait for what.
    pub timing: fulfilment::Timing,
    /// How the views are filled.
    pub projections: recourse_projection_services::Options,
    /// That the definition of `fulfilment` is that of a later build, with the present one beside it: for
    /// tests of a rolling restart.
    pub is_fulfilment_changed: bool,
}

/// Where the services run. A request is answered elsewhere: in the runtime that serves it.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where commands are executed and sagas driven.
    pub services: Handle,
    /// Where views are filled.
    pub projections: Handle,
}

impl Places {
    /// All of it where this is called: one thread can then be all that there is.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn here() -> Self {
        Self {
            services: Handle::current(),
            projections: Handle::current(),
        }
    }
}

/// Why a system does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A service of this process needs an engine that there is none of.
    #[error("there is no engine that is the {0}")]
    NoEngine(&'static str),
    /// The saga's timing leaves it no time.
    #[error("the sagas cannot be defined")]
    Definition(#[from] recourse_saga::BuildError),
    /// The sagas cannot be driven.
    #[error("the saga orchestrator ended")]
    Orchestrator(#[from] recourse_saga_orchestrator::Error),
    /// The views cannot be filled.
    #[error("the projections ended")]
    Projections(#[from] recourse_views::projector::Error),
    /// Orders cannot be taken.
    #[error("the service orders ended")]
    Orders(#[from] recourse_orders::Error),
    /// Payments cannot be taken.
    #[error("the service payments ended")]
    Payments(#[from] recourse_payments::Error),
    /// Products or stock cannot be written.
    #[error("the service {service} ended")]
    Worker {
        /// Which service.
        service: &'static str,
        /// Why.
        source: recourse_cqrs::WorkerError,
    },
    /// The types of what is stored contradict each other.
    #[error("the types of events and commands cannot be told apart")]
    Types(#[from] recourse_schema::Error),
    /// The gateway cannot be made.
    #[error(transparent)]
    Gateway(#[from] recourse_gateway::Error),
    /// A service's task was lost.
    #[error("a service panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// A service that runs to its end.
type Ending = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Services, ready to run.
pub struct System {
    store: Arc<dyn EventStore>,
    ids: Ids,
    readiness: readiness::Registry,
    admission: Admission,
    parts: Vec<Part>,
}

impl System {
    /// Composes all services and loads what they need before they can run.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub async fn assemble(engines: Engines, options: Options) -> Result<Self, Error> {
        let readiness = readiness::Registry::new();
        let log = Arc::clone(&engines.store);
        readiness.probe("event-store", Need::Everything, move || health(&*log));
        Self::with(&Service::ALL, &engines, &options, readiness).await
    }

    /// Composes some services and loads what they need before they can run. How the engines are is
    /// for whoever connects to them to say.
    ///
    /// # Errors
    /// Where something they stand on is not given, cannot be read, or belongs to another log.
    pub async fn of(
        services: &[Service],
        engines: &Engines,
        options: &Options,
    ) -> Result<Self, Error> {
        Self::with(services, engines, options, readiness::Registry::new()).await
    }

    async fn with(
        services: &[Service],
        engines: &Engines,
        options: &Options,
        readiness: readiness::Registry,
    ) -> Result<Self, Error> {
        let admission = Admission::default();
        let composing = services::Composing::new(engines, options, &readiness, &admission);
        let mut parts = Vec::with_capacity(services.len());
        for service in services {
            parts.push(composing.part(*service).await?);
        }
        Ok(Self {
            store: Arc::clone(&engines.store),
            ids: engines.ids.clone(),
            readiness,
            admission,
            parts,
        })
    }

    /// What it depends on: whoever composes it may add to that.
    #[must_use]
    pub fn readiness(&self) -> &readiness::Registry {
        &self.readiness
    }

    /// Whether new orders are taken.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The addresses of its services.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let routes = self.parts.iter().map(|part| part.routes.clone());
        routes.fold(Routes::new(), Routes::merge)
    }

    /// The gateway in front of the services, and of further addresses.
    ///
    /// # Errors
    /// Where its options cannot be used.
    pub fn gateway(
        &self,
        options: recourse_gateway::Options,
        mut routes: Vec<Routes>,
        shutdown: CancellationToken,
    ) -> Result<Gateway, Error> {
        routes.push(self.routes());
        let parts = recourse_gateway::Parts {
            routes,
            log: Some(log(Arc::clone(&self.store))?),
            errors: ERRORS.to_vec(),
            readiness: self.readiness.clone(),
            keys: None,
            ids: self.ids.clone(),
            shutdown,
        };
        Ok(Gateway::new(options, parts)?)
    }

    /// Runs the services until `shutdown`, or until one of them cannot go on: then `shutdown` is
    /// cancelled, for the others to end too. `running` says which have not.
    ///
    /// # Errors
    /// Why the first of them ended.
    pub async fn run(
        self,
        shutdown: CancellationToken,
        places: Places,
        running: Running,
    ) -> Result<(), Error> {
        let mut services: JoinSet<Result<(), Error>> = JoinSet::new();
        for Part { service, run, .. } in self.parts {
            let part = running.begin(service.name());
            let ending = run(shutdown.child_token());
            let place = match service {
                Service::Projections => &places.projections,
                _ => &places.services,
            };
            let ending = async move {
                let ended = ending.await;
                drop(part);
                ended
            };
            services.spawn_on(ending, place);
        }
        let mut first = Ok(());
        while let Some(ended) = services.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(error.into()));
            // What the others say once they are told to end is not why.
            if first.is_ok()
                && let Err(error) = &ended
            {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "a service cannot go on"
                );
                shutdown.cancel();
                first = ended;
            }
        }
        first
    }
}

/// The log as clients see it.
///
/// # Errors
/// Where the types of what is stored contradict each other.
pub fn log(store: Arc<dyn EventStore>) -> Result<Log, Error> {
    Ok(Log {
        store,
        redactor: Arc::new(types::redactor()?),
        sagas: Some(|| Box::new(Watched::default())),
    })
}

/// A saga as those see it who watch it: as the view of sagas shows it.
#[derive(Default)]
struct Watched(Followed);

impl watch::Fold for Watched {
    fn apply(
        &mut self,
        event: &RecordedEvent,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.apply(event)?)
    }

    fn whole(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.0.shown())
    }

    fn summary(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.0.summary())
    }

    fn is_ended(&self) -> bool {
        self.0.is_ended()
    }
}

/// A further orchestrator: those on one bus share the sagas.
///
/// # Errors
/// Where the sagas in flight cannot be loaded.
pub async fn orchestrator(engines: &Engines, options: &Options) -> Result<Orchestrator, Error> {
    let definitions = match options.is_fulfilment_changed {
        false => recourse_saga_orchestrator::definitions(&options.timing)?,
        true => recourse_saga_orchestrator::definitions_after_a_change(&options.timing)?,
    };
    let orchestrator = Orchestrator::load(
        Arc::clone(&engines.store),
        services::needed(&engines.bus, "bus")?,
        services::needed(&engines.documents, "database of views")?,
        Arc::clone(&engines.clock),
        definitions,
        options.orchestrator.clone(),
    );
    Ok(orchestrator.await?)
}

/// Whether the store goes on: asked for what no log ever reaches, one that works lets us wait,
/// and one that has failed says so at once.
pub(crate) fn health(store: &dyn EventStore) -> Health {
    let mut never = store.wait_durable(Position::dense(u64::MAX));
    match never.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(error)) => Health::Down(error.to_string()),
        Poll::Ready(Ok(())) | Poll::Pending => Health::Up,
    }
}

#[cfg(test)]
mod tests {
    use recourse_event_store::embedded;

    use super::*;

    #[tokio::test]
    async fn a_store_that_is_gone_is_not_healthy() {
        let folder = tempfile::tempdir().unwrap();
        let store = embedded::Store::open(embedded::Options::new(folder.path())).unwrap();
        assert_eq!(health(&store), Health::Up);
        store.close().await.unwrap();
        assert!(matches!(health(&store), Health::Down(_)));
    }
}
