//! `recourse up`: everything in one process on the embedded engines.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, Parser};
use futures::FutureExt;
use recourse_event_store::embedded;
use recourse_gateway::{Bound, Gateway};
use recourse_projection_services::live_generations;
use recourse_service::{Clock, Ids, clock::SystemClock, readiness::Need, shutdown};
use recourse_views::sqlite;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "distributed")]
use crate::esdb;
use crate::{
    arguments::Usage,
    behaviour::Behaviour,
    demo,
    folder::Layout,
    metrics, output,
    running::{self, Running},
    storage::{self, Storage},
    system::{Engines, Places, System},
};

/// Everything in one process, under a data folder.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The data folder: the log, the views and what makes a restart cheap.
    #[arg(long, value_name = "DIR", default_value = "recourse-data")]
    pub data: PathBuf,
    #[command(flatten)]
    gateway: recourse_gateway::Options,
    /// After a start the whole log is read once to look for damage, so many MiB a second; 0 does
    /// not.
    #[arg(long, value_name = "MIB_PER_S", default_value_t = embedded::Options::default_scrub_mib_per_s())]
    scrub_mib_per_s: u32,
    #[command(flatten)]
    storage: storage::Options,
    #[command(flatten)]
    demo: demo::Options,
    #[cfg(feature = "distributed")]
    #[command(flatten)]
    esdb: esdb::Options,
    #[command(flatten)]
    behaviour: Behaviour,
}

impl Options {
    /// Whether they go together.
    fn validate(&self) -> Result<(), Usage> {
        self.gateway.validate().map_err(Usage::new)?;
        self.storage.validate()?;
        #[cfg(feature = "distributed")]
        self.esdb.validate(&self.gateway)?;
        Ok(())
    }
}

/// Serves until a signal asks it to stop.
///
/// # Errors
/// Where it cannot start, or cannot go on: the exit code says so.
pub(crate) async fn run(options: Options, places: Places) -> anyhow::Result<()> {
    // Before anything is made on disk.
    options.validate()?;
    let store = open(&options)?;
    let drain = Duration::from_millis(options.gateway.drain_timeout_ms.saturating_mul(2));
    let stop = CancellationToken::new();
    let running = Running::default();
    let parts = Parts {
        store: Arc::clone(&store),
        places,
        running: running.clone(),
        door: Door::Socket,
    };
    let mut serving = Box::pin(serve(options, parts, stop.clone()));
    let served = shutdown::until_signal(drain, &stop, &mut serving).await;
    // What runs still ends with the future that drives it.
    let left = running.names();
    drop(serving);
    let closed = store.close().await;
    running::ended(served?, &left)?;
    closed.context("cannot close the event store")
}

/// Serves without a socket until `stop`: whoever has the gateway that is handed out calls it.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_in_process(
    data: &Path,
    places: Places,
    stop: CancellationToken,
    hand: oneshot::Sender<Gateway>,
) -> anyhow::Result<()> {
    let arguments = ["up".as_ref(), "--data".as_ref(), data.as_os_str()];
    let Defaults { options } = Defaults::try_parse_from(arguments)?;
    let store = open(&options)?;
    let parts = Parts {
        store: Arc::clone(&store),
        places,
        running: Running::default(),
        door: Door::InProcess(hand),
    };
    let served = serve(options, parts, stop).await;
    let closed = store.close().await;
    served?;
    closed.context("cannot close the event store")
}

/// The options as they are where nobody says otherwise.
#[derive(Debug, Parser)]
struct Defaults {
    #[command(flatten)]
    options: Options,
}

fn open(options: &Options) -> anyhow::Result<Arc<embedded::Store>> {
    let mut log = embedded::Options::new(Layout::of(&options.data).log);
    log.scrub_mib_per_s = options.scrub_mib_per_s;
    let store = embedded::Store::open(log)
        .with_context(|| format!("cannot open the data folder {}", options.data.display()))?;
    Ok(Arc::new(store))
}

/// What the server is made of besides its options.
struct Parts {
    store: Arc<embedded::Store>,
    places: Places,
    running: Running,
    door: Door,
}

/// How requests come in.
enum Door {
    Socket,
    InProcess(oneshot::Sender<Gateway>),
}

async fn serve(options: Options, parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    let Parts {
        store,
        places,
        running,
        door,
    } = parts;
    let starting = running.begin("start");
    let (engines, system_options) = engines(&options, Arc::clone(&store)).await?;
    let clock = Arc::clone(&engines.clock);
    let system = System::assemble(engines, system_options).await?;
    let storage = Storage {
        store: Arc::clone(&store),
        clock,
        options: options.storage,
        admission: system.admission().clone(),
        disk: system.readiness().dependency("disk", Need::Everything),
    };
    let level = storage.look(None);
    #[cfg(feature = "distributed")]
    let esdb = options
        .esdb
        .bind(store.clone(), &options.gateway, stop.clone())
        .await?;
    let gateway = system.gateway(
        options.gateway,
        vec![metrics::routes(storage.clone())?, storage.routes()],
        stop.clone(),
    )?;
    // A folder that is not the demo's is refused before anybody is served.
    let demo = options
        .demo
        .open(gateway.clone(), options.data, stop.clone());
    let demo = demo.await?;
    let serving = match door {
        Door::Socket => {
            let gateway = gateway.bind().await?;
            output::line(&format!(
                "Recourse is serving at http://{}",
                gateway.address()
            ))?;
            over_socket(gateway, demo, running.clone()).boxed()
        }
        Door::InProcess(hand) => {
            // Where nobody takes it any more, nobody waits for its end either.
            let _ = hand.send(gateway);
            stop.clone().cancelled_owned().boxed()
        }
    };
    drop(starting);

    let services_stop = CancellationToken::new();
    let services = system.run(services_stop.clone(), places, running.clone());
    #[cfg(feature = "distributed")]
    let serving = async {
        tokio::join!(serving, esdb::serve(esdb, &running, &stop));
    };
    tokio::select! {
        biased;
        error = store.failed() => Err(error).context("the event store failed"),
        (ran, ()) = async {
            tokio::join!(
                together(services, serving, &services_stop, &stop),
                storage.watch(level, services_stop.clone())
            )
        } => Ok(ran?),
    }
}

/// Serves, and has the demo's customers come, until both are told to stop.
async fn over_socket(gateway: Bound, demo: Option<demo::Demo>, running: Running) {
    let address = gateway.address();
    let buying = async {
        if let Some(demo) = demo {
            let _part = running.begin("demo");
            demo.run(address).await;
        }
    };
    let gateway = async {
        let _part = running.begin("gateway");
        gateway.serve().await;
    };
    tokio::join!(gateway, buying);
}

/// Serves until `stop`, with the services behind it: they end only once nobody waits for them any
/// more. Where one of them cannot go on (`services_stop` is cancelled then), nothing can, and the
/// gateway is told at once, not when the last of the others has ended.
async fn together<E>(
    services: impl Future<Output = Result<(), E>>,
    serving: impl Future<Output = ()>,
    services_stop: &CancellationToken,
    stop: &CancellationToken,
) -> Result<(), E> {
    let services = async {
        let ran = services.await;
        services_stop.cancel();
        ran
    };
    let serving = async {
        serving.await;
        services_stop.cancel();
    };
    let failing = async {
        services_stop.cancelled().await;
        stop.cancel();
    };
    let (ran, (), ()) = tokio::join!(services, serving, failing);
    ran
}

async fn engines(
    options: &Options,
    store: Arc<embedded::Store>,
) -> anyhow::Result<(Engines, crate::system::Options)> {
    let layout = Layout::of(&options.data);
    let live = live_generations(&*store)
        .await
        .context("cannot read which views are live")?;
    let views = layout
        .open_views(&live, sqlite::Access::ReadWrite)
        .await
        .context("cannot open the views")?;
    let books = layout
        .open_books(&live, sqlite::Access::ReadWrite)
        .await
        .context("cannot open the ledger")?;
    let state = sqlite::State::open(&layout.state)
        .await
        .context("cannot open the checkpoints")?;
    let state = Arc::new(state);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let bus =
        recourse_bus::embedded::Bus::new(store.clone(), recourse_saga::commands_of, state.clone());
    let engines = Engines {
        store,
        bus: Some(Arc::new(bus)),
        documents: Some(Arc::new(views)),
        books: Some(Arc::new(books)),
        turns: None,
        checkpoints: Some(state.clone()),
        snapshots: Some(state),
        provider: Some(Arc::new(options.behaviour.provider())),
        ids: Ids::from_entropy(Arc::clone(&clock)).context("no randomness")?,
        clock,
    };
    Ok((engines, options.behaviour.options()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_service_that_cannot_go_on_stops_the_gateway_before_the_others_have_ended() {
        let (services_stop, stop) = (CancellationToken::new(), CancellationToken::new());
        let services = async {
            // One has failed, and the others are long in ending.
            services_stop.cancel();
            tokio::time::sleep(Duration::from_secs(7)).await;
            Err("a service ended")
        };
        let begun = tokio::time::Instant::now();
        let mut stopped_after = None;
        let serving = async {
            stop.cancelled().await;
            stopped_after = Some(begun.elapsed());
        };
        let ran = together(services, serving, &services_stop, &stop).await;
        assert_eq!(ran, Err("a service ended"));
        assert_eq!(stopped_after, Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn services_end_once_nobody_waits_for_them_any_more() {
        let (services_stop, stop) = (CancellationToken::new(), CancellationToken::new());
        let services = async {
            services_stop.cancelled().await;
            assert!(stop.is_cancelled());
            Ok::<(), ()>(())
        };
        let serving = async {
            stop.cancelled().await;
            assert!(!services_stop.is_cancelled());
        };
        let asked = async { stop.cancel() };
        let (ran, ()) = tokio::join!(together(services, serving, &services_stop, &stop), asked);
        ran.unwrap();
    }
}
