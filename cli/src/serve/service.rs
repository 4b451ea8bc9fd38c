//! `recourse serve orders`, and the other services of [`Service`].

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::Args;
use recourse_gateway::Late;
use recourse_service::{
    Clock, Ids,
    clock::SystemClock,
    contract::Routes,
    readiness::{Need, Registry},
};

use super::{KeyFile, engines, process::Process};
use crate::{
    arguments::Usage,
    behaviour::Behaviour,
    metrics,
    system::{self, Engines, Places, Service, System},
};

/// One service on its own.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    server: recourse_gateway::Options,
    #[command(flatten)]
    keys: KeyFile,
    #[command(flatten)]
    engines: engines::Options,
    #[command(flatten)]
    behaviour: Behaviour,
}

/// How often the rows of the sagas in flight are saved, in ms. Each save is a few requests to a
/// database that others use too; what a restart reads again of a topic is little.
const SAVE_INTERVAL_MS: u64 = 2_000;

/// How long a view rests at most after a transaction that took long, in ms: queries that another
/// process answers wait for it.
const MAX_LINGER_MS: u64 = 1_000;

/// What is written to a server costs far more than what is written to a file: a view that nobody
/// waits for writes what came within its linger at once, however few events that is.
fn on_servers(mut options: system::Options) -> system::Options {
    options.projections.projector.min_linger_events = 0;
    options.projections.projector.max_linger_ms = MAX_LINGER_MS;
    options.orchestrator.save_interval_ms = SAVE_INTERVAL_MS;
    options
}

/// Serves until a signal.
///
/// # Errors
/// Where it cannot have its address, or does not end within the bound.
pub(super) async fn run(service: Service, options: Options) -> anyhow::Result<()> {
    let keys = options.keys.read()?;
    options.engines.validate()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Ids::from_entropy(Arc::clone(&clock)).context("no randomness")?;
    let process = Process::new(service.name());
    let drain_timeout_ms = options.server.drain_timeout_ms;
    let served = Served::new(service);
    let routes = vec![metrics::plain_routes()?, served.routes().await?];
    let gateway = process
        .gateway(options.server, keys, ids.clone(), routes)
        .map_err(Usage::new)?;
    let bound = gateway.bind().await?;
    let behaviour = on_servers(options.behaviour.options());
    let provider = Arc::new(options.behaviour.provider());
    let working = process.clone();
    let work = async move {
        let connecting = options
            .engines
            .connect(&working, service, clock, ids, provider);
        let Some(connected) = connecting.await else {
            return;
        };
        let living = async {
            served.run(&working, &connected.engines, &behaviour).await;
        };
        tokio::join!(living, working.end.run_until_cancelled(connected.watch()));
    };
    process.run(bound, drain_timeout_ms, work).await
}

/// A service that lives as often as it takes behind one address.
pub(super) struct Served {
    service: Service,
    late: Late,
    readiness: Arc<Mutex<Option<Registry>>>,
}

impl Served {
    pub(super) fn new(service: Service) -> Self {
        Self {
            service,
            late: Late::default(),
            readiness: Arc::default(),
        }
    }

    /// Its addresses, which say that it is away until it is there.
    pub(super) async fn routes(&self) -> Result<Routes, system::Error> {
        Ok(self.late.routes(system::contract(self.service).await?))
    }

    /// Lives until the process ends.
    pub(super) async fn run(self, process: &Process, engines: &Engines, options: &system::Options) {
        let own = process.readiness.dependency(process.name, Need::Everything);
        let readiness = Arc::clone(&self.readiness);
        process.readiness.include(move || lock(&readiness).clone());
        let life = || async {
            let services = [self.service];
            let assembled = System::of(&services, engines, options);
            let Some(system) = process.end.run_until_cancelled(assembled).await else {
                return Ok(());
            };
            let system = system?;
            *lock(&self.readiness) = Some(system.readiness().clone());
            self.late.set(system.routes());
            own.up();
            let ended = system
                .run(
                    process.end.child_token(),
                    Places::here(),
                    process.running.clone(),
                )
                .await;
            self.late.clear();
            *lock(&self.readiness) = None;
            ended
        };
        process.live(&own, life).await;
    }
}

fn lock(readiness: &Mutex<Option<Registry>>) -> std::sync::MutexGuard<'_, Option<Registry>> {
    readiness.lock().unwrap_or_else(PoisonError::into_inner)
}
