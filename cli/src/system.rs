//! The services of Recourse, composed in one process.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::TryFutureExt;
use recourse_bus::{Bus, Checkpoints};
use recourse_cqrs::{Clock as Now, Snapshots, WorkerOptions};
use recourse_event_store::{EventStore, Position, RecordedEvent};
use recourse_gateway::{Gateway, watch};
use recourse_payments::Provider;
use recourse_projection_services::{Projections, sagas::Followed};
use recourse_saga_orchestrator::{Orchestrator, fulfilment};
use recourse_service::{
    Clock, Ids,
    admission::Admission,
    contract::Routes,
    readiness::{self, Health, Need},
};
use recourse_views::{
    books::Books,
    documents::{Collection, Documents},
};
use tokio::{runtime::Handle, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{running::Running, types};

/// The collections that the services keep in [`Engines::documents`].
#[must_use]
pub fn collections() -> Vec<Collection> {
    let mut collections = recourse_projection_services::collections();
    collections.push(recourse_saga_orchestrator::IN_FLIGHT);
    collections
}

/// What the services stand on. Which engine serves a port is decided here and nowhere else.
#[derive(Clone)]
pub struct Engines {
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// Carries commands and events.
    pub bus: Arc<dyn Bus>,
    /// Holds the views and the rows of the sagas in flight.
    pub documents: Arc<dyn Documents>,
    /// Holds the ledger.
    pub books: Arc<dyn Books>,
    /// Holds how far consumers have come.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// Holds the snapshots of long streams.
    pub snapshots: Arc<dyn Snapshots>,
    /// Moves the money.
    pub provider: Arc<dyn Provider>,
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
type Service = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The services, ready to run.
pub struct System {
    engines: Engines,
    readiness: readiness::Registry,
    admission: Admission,
    catalog: recourse_catalog::Service,
    inventory: recourse_inventory::Service,
    orders: recourse_orders::Service,
    payments: recourse_payments::Service,
    orchestrator: Orchestrator,
    projections: Projections,
}

impl System {
    /// Composes the services and loads what they need before they can run.
    ///
    /// # Errors
    /// Where something they stand on cannot be read, or belongs to another log.
    pub async fn assemble(engines: Engines, options: Options) -> Result<Self, Error> {
        let now: Now = {
            let clock = Arc::clone(&engines.clock);
            Arc::new(move || clock.now())
        };
        let store = || Arc::clone(&engines.store);
        let bus = || Arc::clone(&engines.bus);
        let worker = || options.worker.clone();
        let catalog = recourse_catalog::Service::new(store(), Arc::clone(&now), worker());
        let inventory = recourse_inventory::Service::new(
            store(),
            bus(),
            Arc::clone(&engines.snapshots),
            Arc::clone(&now),
            worker(),
        );
        let admission = Admission::default();
        let orders = recourse_orders::Service::new(store(), bus(), Arc::clone(&now), worker())
            .admitting(admission.clone());
        let payments = recourse_payments::Service::new(
            store(),
            bus(),
            Arc::clone(&engines.checkpoints),
            Arc::clone(&engines.provider),
            Arc::clone(&now),
            worker(),
            options.payments.clone(),
        );
        let orchestrator = orchestrator(&engines, &options).await?;
        let readiness = readiness::Registry::new();
        let log = store();
        readiness.probe("event-store", Need::Everything, move || health(&*log));
        let projections = Projections::open(
            store(),
            Arc::clone(&engines.documents),
            Arc::clone(&engines.books),
            Arc::clone(&engines.clock),
            &options.projections,
        )
        .await?;
        projections.register(&readiness);
        Ok(Self {
            engines,
            readiness,
            admission,
            catalog,
            inventory,
            orders,
            payments,
            orchestrator,
            projections,
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
        routes.extend([
            self.catalog.routes(),
            self.inventory.routes(),
            self.orders.routes(),
            self.projections.routes(),
            self.orchestrator.routes(),
        ]);
        let parts = recourse_gateway::Parts {
            routes,
            store: Arc::clone(&self.engines.store),
            redactor: Arc::new(types::redactor()?),
            sagas: Some(|| Box::new(Watched::default())),
            errors: vec![
                recourse_inventory::errors::ERRORS,
                recourse_orders::errors::ERRORS,
                recourse_saga_orchestrator::errors::ERRORS,
            ],
            readiness: self.readiness.clone(),
            ids: self.engines.ids.clone(),
            shutdown,
        };
        Ok(Gateway::new(options, parts)?)
    }

    /// Runs the services until `shutdown`, or until one of them cannot go on: then `shutdown` is
    /// cancelled, for the others to end too, and the process must. `running` says which have not.
    ///
    /// # Errors
    /// Why the first of them ended.
    pub async fn run(
        self,
        shutdown: CancellationToken,
        places: Places,
        running: Running,
    ) -> Result<(), Error> {
        let Self {
            catalog,
            inventory,
            orders,
            payments,
            orchestrator,
            projections,
            ..
        } = self;
        let ended = |service| move |source| Error::Worker { service, source };
        let token = || shutdown.child_token();
        let mut services: JoinSet<Result<(), Error>> = JoinSet::new();
        let mut run = |name, place: &Handle, service: Service| {
            let part = running.begin(name);
            let service = async move {
                let ended = service.await;
                drop(part);
                ended
            };
            services.spawn_on(service, place);
        };
        let catalog = catalog.run(token()).map_err(ended("catalog"));
        run("catalog", &places.services, Box::pin(catalog));
        let inventory = inventory.run(token()).map_err(ended("inventory"));
        run("inventory", &places.services, Box::pin(inventory));
        let orders = orders.run(token()).err_into();
        run("orders", &places.services, Box::pin(orders));
        let payments = payments.run(token()).err_into();
        run("payments", &places.services, Box::pin(payments));
        let orchestrator = orchestrator.run(token()).err_into();
        run(
            "saga-orchestrator",
            &places.services,
            Box::pin(orchestrator),
        );
        let projections = projections.run(token()).err_into();
        run("projections", &places.projections, Box::pin(projections));
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

/// A further orchestrator. Several at once are settled by the revision of each saga's stream;
/// each keeps rows of its own, so it wants `documents` that no other orchestrator has.
///
/// # Errors
/// Where the sagas in flight cannot be loaded.
pub async fn orchestrator(engines: &Engines, options: &Options) -> Result<Orchestrator, Error> {
    let definitions = recourse_saga_orchestrator::definitions(&options.timing)?;
    let orchestrator = Orchestrator::load(
        Arc::clone(&engines.store),
        Arc::clone(&engines.bus),
        Arc::clone(&engines.documents),
        Arc::clone(&engines.clock),
        definitions,
        options.orchestrator.clone(),
    );
    Ok(orchestrator.await?)
}

/// Whether the store goes on: asked for what no log ever reaches, one that works lets us wait,
/// and one that has failed says so at once.
fn health(store: &dyn EventStore) -> Health {
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
