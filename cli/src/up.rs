//! `recourse up`: everything in one process on the embedded engines.

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use recourse_event_store::embedded;
use recourse_payments::simulator::{self, Simulator};
use recourse_service::{Clock, Ids, clock::SystemClock, readiness::Need, shutdown};
use recourse_views::sqlite;
use tokio_util::sync::CancellationToken;

use crate::{
    folder::Layout,
    metrics,
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
    /// How many of the payment provider's answers fail in some way, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    psp_fault_rate: f64,
    /// What those faults are drawn from.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    psp_seed: u64,
    /// After a start the whole log is read once to look for damage, so many MiB a second; 0 does
    /// not.
    #[arg(long, value_name = "MIB_PER_S", default_value_t = embedded::Options::default_scrub_mib_per_s())]
    scrub_mib_per_s: u32,
    #[command(flatten)]
    storage: storage::Options,
    /// How long a saga's command may stay unanswered before it is overdue, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    step_timeout_ms: u64,
    /// How long a saga may take before it needs attention, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    saga_deadline_ms: u64,
}

/// Serves until a signal asks it to stop.
///
/// # Errors
/// Where it cannot start, or cannot go on: the exit code says so.
pub(crate) async fn run(options: Options, places: Places) -> anyhow::Result<()> {
    // Before anything is made on disk.
    options.gateway.validate()?;
    options.storage.validate()?;
    let mut log = embedded::Options::new(Layout::of(&options.data).log);
    log.scrub_mib_per_s = options.scrub_mib_per_s;
    let store = Arc::new(
        embedded::Store::open(log)
            .with_context(|| format!("cannot open the data folder {}", options.data.display()))?,
    );
    let drain = Duration::from_millis(options.gateway.drain_timeout_ms.saturating_mul(2));
    let served = shutdown::until_signal(drain, |stop| {
        serve(options, places, Arc::clone(&store), stop)
    })
    .await;
    let closed = store.close().await;
    served?.unwrap_or(Ok(()))?;
    closed.context("cannot close the event store")
}

async fn serve(
    options: Options,
    places: Places,
    store: Arc<embedded::Store>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
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
    let gateway = system
        .gateway(
            options.gateway,
            vec![metrics::routes(storage.clone())?, storage.routes()],
            stop.clone(),
        )?
        .bind()
        .await?;
    announce(gateway.address())?;

    // The services end only once nobody waits for them any more.
    let services_stop = CancellationToken::new();
    let services = async {
        let ran = system.run(services_stop.clone(), places).await;
        // Where a service cannot go on, nothing can.
        stop.cancel();
        ran
    };
    let serving = async {
        gateway.serve().await;
        services_stop.cancel();
    };
    tokio::select! {
        biased;
        error = store.failed() => Err(error).context("the event store failed"),
        (ran, (), ()) = async {
            tokio::join!(services, serving, storage.watch(level, services_stop.clone()))
        } => Ok(ran?),
    }
}

async fn engines(
    options: &Options,
    store: Arc<embedded::Store>,
) -> anyhow::Result<(Engines, crate::system::Options)> {
    let layout = Layout::of(&options.data);
    let views = layout
        .open_views(sqlite::Access::ReadWrite)
        .await
        .context("cannot open the views")?;
    let books = layout
        .open_books(sqlite::Access::ReadWrite)
        .await
        .context("cannot open the ledger")?;
    let state = sqlite::State::open(&layout.state)
        .await
        .context("cannot open the checkpoints")?;
    let state = Arc::new(state);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let simulator = Simulator::new(simulator::Options {
        fault_rate: options.psp_fault_rate,
        seed: options.psp_seed,
    });
    let bus =
        recourse_bus::embedded::Bus::new(store.clone(), recourse_saga::commands_of, state.clone());
    let engines = Engines {
        store,
        bus: Arc::new(bus),
        documents: Arc::new(views),
        books: Arc::new(books),
        checkpoints: state.clone(),
        snapshots: state,
        provider: Arc::new(simulator),
        ids: Ids::from_entropy(Arc::clone(&clock)).context("no randomness")?,
        clock,
    };
    let mut system = crate::system::Options::default();
    system.timing.step_timeout_ms = options.step_timeout_ms;
    system.timing.deadline_ms = options.saga_deadline_ms;
    Ok((engines, system))
}

/// The address in use, on standard output: scripts wait for this line.
fn announce(address: std::net::SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Recourse is serving at http://{address}")?;
    out.flush()
}
