//! `recourse serve gateway`: the way in to services that are processes of their own.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use futures::future::join_all;
use recourse_esdb::client;
use recourse_event_store::EventStore;
use recourse_gateway::{
    Late,
    forward::{self, Address, Forwarder},
};
use recourse_service::{
    Clock, Ids, clock::SystemClock, contract::Routes, keys::Keys, readiness::Need,
};

use super::{KeyFile, engines, process::Process, usual};
use crate::{
    arguments::Usage,
    metrics,
    system::{self, Service},
};

/// The single way in.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    server: recourse_gateway::Options,
    #[command(flatten)]
    keys: KeyFile,
    #[command(flatten)]
    event_store: client::Options,
    #[command(flatten)]
    services: Services,
    #[command(flatten)]
    forward: forward::Options,
}

/// Where the services are: of each the addresses of all its processes, which are asked in turn.
/// Payments has no address for clients.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(super) struct Services {
    /// The service of products. Several processes of it: separated by commas, or given several times.
    #[arg(long, value_name = "URL", value_delimiter = ',', default_value = url(Service::Catalog))]
    pub(super) catalog_url: Vec<Address>,
    /// The service of stock. Several processes of it: separated by commas, or given several times.
    #[arg(long, value_name = "URL", value_delimiter = ',', default_value = url(Service::Inventory))]
    pub(super) inventory_url: Vec<Address>,
    /// The service of orders. Several processes of it: separated by commas, or given several times.
    #[arg(long, value_name = "URL", value_delimiter = ',', default_value = url(Service::Orders))]
    pub(super) orders_url: Vec<Address>,
    /// The service of sagas. Several processes of it: separated by commas, or given several times.
    #[arg(long, value_name = "URL", value_delimiter = ',', default_value = url(Service::Orchestrator))]
    pub(super) orchestrator_url: Vec<Address>,
    /// The service of views. Several processes of it: separated by commas, or given several times.
    #[arg(long, value_name = "URL", value_delimiter = ',', default_value = url(Service::Projections))]
    pub(super) projections_url: Vec<Address>,
}

fn url(service: Service) -> String {
    format!("http://{}", usual(service))
}

impl Services {
    fn of(&self) -> [(Service, &[Address]); 5] {
        [
            (Service::Catalog, &self.catalog_url),
            (Service::Inventory, &self.inventory_url),
            (Service::Orders, &self.orders_url),
            (Service::Orchestrator, &self.orchestrator_url),
            (Service::Projections, &self.projections_url),
        ]
    }
}

/// Serves until a signal.
///
/// # Errors
/// Where it cannot have its address, or does not end within the bound.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let keys = options.keys.read()?;
    options.server.validate().map_err(Usage::new)?;
    options.event_store.validate().map_err(Usage::new)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Ids::from_entropy(clock).context("no randomness")?;
    let process = Process::new("gateway");
    let mut routes = vec![metrics::plain_routes()?];
    let front = Front::new(&process, &options.services, keys.as_ref(), &options.forward);
    routes.extend(front.routes(&options.server).await?);
    let drain_timeout_ms = options.server.drain_timeout_ms;
    let server = options.server.clone();
    let gateway = process
        .gateway(options.server, None, ids.clone(), routes)
        .map_err(Usage::new)?;
    let bound = gateway.bind().await?;
    let working = process.clone();
    let work = async move {
        let store = engines::event_store(&options.event_store, &working, &ids, Need::Some);
        front.run(&working, &server, store).await;
    };
    process.run(bound, drain_timeout_ms, work).await
}

/// The services as the gateway knows them, and the log.
pub(super) struct Front {
    forwarders: Vec<(Service, Forwarder)>,
    log: Late,
}

impl Front {
    pub(super) fn new(
        process: &Process,
        services: &Services,
        keys: Option<&Keys>,
        options: &forward::Options,
    ) -> Self {
        let forwarders = services.of().map(|(service, addresses)| {
            let name = service.name();
            let dependency = process.readiness.dependency(name, Need::Some);
            let options = options.clone();
            (
                service,
                Forwarder::new(name, addresses, keys, dependency, options),
            )
        });
        Self {
            forwarders: forwarders.into(),
            log: Late::default(),
        }
    }

    /// The addresses of the services, and those of the log.
    pub(super) async fn routes(
        &self,
        options: &recourse_gateway::Options,
    ) -> Result<Vec<Routes>, system::Error> {
        let mut routes = Vec::new();
        for (service, forwarder) in &self.forwarders {
            routes.push(forwarder.routes(system::contract(*service).await?));
        }
        let log = system::log(system::empty().store)?;
        routes.push(self.log.routes(log.routes(options)));
        Ok(routes)
    }

    /// Shows the log once it is there, and asks the services how they are, until the process ends.
    pub(super) async fn run(
        &self,
        process: &Process,
        options: &recourse_gateway::Options,
        store: impl Future<Output = Option<Arc<dyn EventStore>>>,
    ) {
        let reading = async {
            let Some(store) = store.await else { return };
            match system::log(Arc::clone(&store)) {
                Ok(log) => self.log.set(log.routes(options)),
                Err(error) => tracing::error!(%error, "the log cannot be shown"),
            }
        };
        let watching = join_all(
            self.forwarders
                .iter()
                .map(|(_, forwarder)| forwarder.watch()),
        );
        let all = async { tokio::join!(reading, watching) };
        process.end.run_until_cancelled(all).await;
    }
}
