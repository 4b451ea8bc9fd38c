//! `recourse serve store`: the embedded log in a process of its own, for the services of ours.

use std::{io::Write, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use recourse_esdb::server::{self, Bound, Trusted};
use recourse_event_store::embedded;
use recourse_service::shutdown;
use tokio_util::sync::CancellationToken;

use crate::{arguments::Usage, folder::Layout};

/// Own the log, and serve it over EventStoreDB's protocol to services of ours: they append anywhere
/// and see secrets.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The data folder. Of it, the store has the log.
    #[arg(long, value_name = "DIR", default_value = "recourse-data")]
    data: PathBuf,
    /// The address to serve the log on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from(([127, 0, 0, 1], 2113)))]
    esdb_listen: SocketAddr,
    /// Listen on an address that other machines can reach, though nobody is asked who they are.
    #[arg(long)]
    insecure_listen: bool,
    /// The longest that calls in flight may take once the process is asked to stop, in
    /// milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    drain_timeout_ms: u64,
    /// After a start the whole log is read once to look for damage, so many MiB a second; 0 does
    /// not.
    #[arg(long, value_name = "MIB_PER_S", default_value_t = embedded::Options::default_scrub_mib_per_s())]
    scrub_mib_per_s: u32,
}

/// Serves until a signal asks it to stop.
///
/// # Errors
/// Where it cannot start, or cannot go on: the exit code says so.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut server = server::Options::new(options.esdb_listen);
    server.insecure_listen = options.insecure_listen;
    server.drain_timeout_ms = options.drain_timeout_ms;
    // Before anything is made on disk.
    server.validate().map_err(Usage::new)?;
    let mut log = embedded::Options::new(Layout::of(&options.data).log);
    log.scrub_mib_per_s = options.scrub_mib_per_s;
    let store = embedded::Store::open(log)
        .with_context(|| format!("cannot open the data folder {}", options.data.display()))?;
    let store = Arc::new(store);
    let stop = CancellationToken::new();
    let mut serving = Box::pin(serve(Arc::clone(&store), server, stop.clone()));
    let drain = Duration::from_millis(options.drain_timeout_ms.saturating_mul(2));
    let served = shutdown::until_signal(drain, &stop, &mut serving).await;
    drop(serving);
    let closed = store.close().await;
    served?.unwrap_or_else(|| Err(anyhow::anyhow!("stopped without waiting any longer")))?;
    closed.context("cannot close the event store")
}

async fn serve(
    store: Arc<embedded::Store>,
    options: server::Options,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Clients know the log by the name that is in it: it is the folder's, also after a restore.
    server::name_log(&*store)
        .await
        .context("cannot write what the log is called")?;
    let bound = Bound::bind(store.clone(), Arc::new(Trusted), options, stop).await?;
    announce(bound.address())?;
    tokio::select! {
        biased;
        error = store.failed() => Err(error).context("the event store failed"),
        served = bound.serve() => Ok(served?),
    }
}

/// The address in use, on standard output: scripts wait for this line.
fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Recourse is serving its log at esdb://{address}?tls=false"
    )?;
    out.flush()
}
