//! How each service is composed.

use std::sync::Arc;

use futures::TryFutureExt;
use recourse_cqrs::{Clock as Now, WorkerError};
use recourse_event_store::EventStore;
use recourse_projection_services::Projections;
use recourse_service::{admission::Admission, contract::Routes, readiness::Registry};
use tokio_util::sync::CancellationToken;

use super::{Ending, Engines, Error, Options, Service, orchestrator};

/// A service that is composed.
pub(super) struct Part {
    pub(super) service: Service,
    /// Its addresses.
    pub(super) routes: Routes,
    /// Runs it until it is told to stop.
    pub(super) run: Box<dyn FnOnce(CancellationToken) -> Ending + Send>,
}

/// What services are composed with.
pub(super) struct Composing<'a> {
    engines: &'a Engines,
    options: &'a Options,
    readiness: &'a Registry,
    admission: &'a Admission,
    now: Now,
}

impl<'a> Composing<'a> {
    pub(super) fn new(
        engines: &'a Engines,
        options: &'a Options,
        readiness: &'a Registry,
        admission: &'a Admission,
    ) -> Self {
        let clock = Arc::clone(&engines.clock);
        Self {
            engines,
            options,
            readiness,
            admission,
            now: Arc::new(move || clock.now()),
        }
    }

    pub(super) async fn part(&self, service: Service) -> Result<Part, Error> {
        match service {
            Service::Catalog => Ok(self.catalog()),
            Service::Inventory => self.inventory(),
            Service::Orders => self.orders(),
            Service::Payments => self.payments(),
            Service::Orchestrator => self.orchestrator().await,
            Service::Projections => self.projections().await,
        }
    }

    fn catalog(&self) -> Part {
        let worker = self.options.worker.clone();
        let service = recourse_catalog::Service::new(self.store(), self.now(), worker);
        Part {
            service: Service::Catalog,
            routes: service.routes(),
            run: Box::new(|stop| Box::pin(service.run(stop).map_err(ended("catalog")))),
        }
    }

    fn inventory(&self) -> Result<Part, Error> {
        let service = recourse_inventory::Service::new(
            self.store(),
            needed(&self.engines.bus, "bus")?,
            needed(&self.engines.snapshots, "store of snapshots")?,
            self.now(),
            self.options.worker.clone(),
        );
        Ok(Part {
            service: Service::Inventory,
            routes: service.routes(),
            run: Box::new(|stop| Box::pin(service.run(stop).map_err(ended("inventory")))),
        })
    }

    fn orders(&self) -> Result<Part, Error> {
        let bus = needed(&self.engines.bus, "bus")?;
        let worker = self.options.worker.clone();
        let service = recourse_orders::Service::new(self.store(), bus, self.now(), worker)
            .admitting(self.admission.clone());
        Ok(Part {
            service: Service::Orders,
            routes: service.routes(),
            run: Box::new(|stop| Box::pin(service.run(stop).err_into())),
        })
    }

    fn payments(&self) -> Result<Part, Error> {
        let service = recourse_payments::Service::new(
            self.store(),
            needed(&self.engines.bus, "bus")?,
            needed(&self.engines.checkpoints, "store of checkpoints")?,
            needed(&self.engines.provider, "payment provider")?,
            self.now(),
            self.options.worker.clone(),
            self.options.payments.clone(),
        );
        let service = match &self.engines.turns {
            Some(turns) => service.sharing(Arc::clone(turns)),
            None => service,
        };
        Ok(Part {
            service: Service::Payments,
            // A payment is asked for where the views are.
            routes: Routes::new(),
            run: Box::new(|stop| Box::pin(service.run(stop).err_into())),
        })
    }

    async fn orchestrator(&self) -> Result<Part, Error> {
        let service = orchestrator(self.engines, self.options).await?;
        service.register(self.readiness);
        Ok(Part {
            service: Service::Orchestrator,
            routes: service.routes(),
            run: Box::new(|stop| Box::pin(service.run(stop).err_into())),
        })
    }

    async fn projections(&self) -> Result<Part, Error> {
        let service = Projections::open(
            self.store(),
            needed(&self.engines.documents, "database of views")?,
            needed(&self.engines.books, "database of books")?,
            Arc::clone(&self.engines.clock),
            &self.options.projections,
        )
        .await?;
        let service = match &self.engines.turns {
            Some(turns) => service.sharing(turns),
            None => service,
        };
        service.register(self.readiness);
        Ok(Part {
            service: Service::Projections,
            routes: service.routes(),
            run: Box::new(|stop| Box::pin(service.run(stop).err_into())),
        })
    }

    fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.engines.store)
    }

    fn now(&self) -> Now {
        Arc::clone(&self.now)
    }
}

/// An engine that a service cannot do without.
pub(super) fn needed<T: ?Sized>(
    engine: &Option<Arc<T>>,
    what: &'static str,
) -> Result<Arc<T>, Error> {
    engine.clone().ok_or(Error::NoEngine(what))
}

fn ended(service: &'static str) -> impl FnOnce(WorkerError) -> Error {
    move |source| Error::Worker { service, source }
}
