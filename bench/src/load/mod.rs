//! Load: orders over HTTP, in a closed or an open loop, and what each cost.
//!
//! ```text
//! options ─▶ one thread: in-flight slots, each its own connection ─▶ server
//!              │ warm-up │ window: latencies, counts │ drain
//!              └ at both ends of the window: the server's processor time, fsyncs, bytes
//! ```
//!
//! A *closed* loop keeps so many orders in flight: the next one of a slot is sent when the one
//! before is answered. An *open* loop sends at a rate whatever comes back: each order has its
//! scheduled start, and its latency counts from there even where it had to wait for a free
//! connection, so that a server that stalls is not flattered by a client that stalls with it
//! (*coordinated omission*).
//!
//! Client and server share the machine, so the client is one thread and its own processor time
//! is shown.

mod after;
mod drive;
mod report;

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

pub use after::View;
pub use report::{Cost, Latency, Report, Run};

use crate::{
    apart, http, plan,
    server::{self, Server, Spawn},
    verify,
};

/// What to do.
#[derive(Clone)]
pub struct Options {
    /// Against which server.
    pub target: Target,
    /// In front of every SKU and key. Another one each time, or the server finds the orders of
    /// the time before. A letter or digit first, then `[A-Za-z0-9._-]`, at most 40 characters.
    pub name: String,
    /// One run each, times `failing_percent`.
    pub loads: Vec<Load>,
    /// How many of a hundred orders are meant to fail: a third declined, a third without
    /// funds, a third out of stock. One run each, times `loads`.
    pub failing_percent: Vec<u8>,
    /// Before each run's window, in milliseconds.
    pub warm_up_ms: u32,
    /// The window in which is measured, in milliseconds.
    pub duration_ms: u32,
    /// How long what is in flight after the window may take, in milliseconds.
    pub drain_ms: u32,
    /// How long the server may take until an order is settled, in seconds (`Prefer: wait`).
    pub wait_s: u32,
    /// How many products.
    pub skus: u32,
    /// Orders have 1 to this many lines.
    pub max_lines: u32,
    /// Which orders.
    pub seed: u64,
    /// Where to write what the server acknowledged, one line each.
    pub acknowledged: Option<PathBuf>,
    /// How the server's data folder is opened for the check after the last run; no check
    /// without, or where the folder is not known.
    pub folder: Option<Arc<dyn verify::OpenFolder>>,
    /// The processes that the server consists of, where it is several: each one's cost is told.
    pub processes: Vec<apart::Process>,
    /// What is sent to them in `Authorization`.
    pub authorization: Option<String>,
    /// Whether orders are followed through the log, to tell where their time goes, and views are
    /// asked how far they are.
    pub hops: bool,
    /// What time it is, for that check and for the hops: the clock of the server.
    pub clock: fn() -> DateTime<Utc>,
}

/// Against which server.
#[derive(Clone)]
pub enum Target {
    /// One that runs. With its process and data folder there is more to tell.
    Running {
        /// `http://host:port`.
        url: String,
        /// Its process, on this machine.
        pid: Option<u32>,
        /// Its data folder.
        data: Option<PathBuf>,
    },
    /// One that is started for this and ended afterwards.
    Spawned(Spawn),
    /// One in this process, without sockets. Its costs and the client's are one figure.
    InProcess {
        /// What answers.
        service: Arc<dyn http::Service>,
        /// Its data folder.
        data: PathBuf,
    },
}

/// How orders are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "loop")]
pub enum Load {
    /// So many at once.
    Closed {
        /// How many.
        in_flight: u32,
    },
    /// So many a second, whatever comes back.
    Open {
        /// How many a second.
        orders_per_s: u32,
        /// The most that wait for an answer at once; the others wait for a connection, and
        /// that counts as latency.
        max_in_flight: u32,
    },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option cannot be.
    #[error("{0}")]
    Options(&'static str),
    /// The server could not be started or ended.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// The server that was started for this did not end as it should.
    #[error("the server had to be killed, or ended with a failure")]
    Unclean,
    /// The server does not answer, or its URL is not one.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// Products or stock could not be prepared.
    #[error("the server cannot be prepared")]
    Prepare(#[from] plan::PrepareError),
    /// The acknowledged file cannot be written.
    #[error("what was acknowledged cannot be written down")]
    Acknowledged(#[source] std::io::Error),
    /// The load thread could not be started, or panicked.
    #[error("the load thread ended early")]
    Thread,
    /// Latencies cannot be counted.
    #[error("latencies cannot be counted")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// The check after the runs could not be made.
    #[error(transparent)]
    Verify(#[from] verify::Error),
}

/// How long a spawned server may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Prepares the server, does every run, and checks the server's log and views.
///
/// # Errors
/// [`Error`]; orders that fail are no error, they are counted.
pub async fn run(options: Options) -> Result<Report, Error> {
    check(&options)?;
    let socket = |url: &str| http::Address::parse(url).map(http::Target::Socket);
    let (server, target, pid, data) = match &options.target {
        Target::Running { url, pid, data } => (None, socket(url)?, *pid, data.clone()),
        Target::Spawned(spawn) => {
            let server = Server::start(spawn, 0).await?;
            let (target, pid) = (socket(server.url())?, server.pid());
            (Some(server), target, Some(pid), Some(spawn.data.clone()))
        }
        Target::InProcess { service, data } => {
            let target = http::Target::InProcess(Arc::clone(service));
            (None, target, Some(std::process::id()), Some(data.clone()))
        }
    };
    let job = drive::Job {
        options: options.clone(),
        target,
        pid,
    };
    let runs = on_own_thread(job).await?;
    if let Some(server) = server
        && !server.stop(STOP_PATIENCE).await?
    {
        return Err(Error::Unclean);
    }
    let verified = match (&options.folder, data) {
        (Some(folder), Some(data)) => {
            let mut check = verify::Options::new((options.clock)());
            check.acknowledged.clone_from(&options.acknowledged);
            Some(verify::folder(&data, &**folder, &check).await?)
        }
        _ => None,
    };
    Ok(Report { runs, verified })
}

fn check(options: &Options) -> Result<(), Error> {
    let name = options.name.as_bytes();
    let well_formed = (1..=40).contains(&name.len())
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
        && name.first().is_some_and(u8::is_ascii_alphanumeric);
    if !well_formed {
        return Err(Error::Options(
            "the name is 1 to 40 of A-Z a-z 0-9 . _ - and begins with a letter or digit",
        ));
    }
    if options.failing_percent.iter().any(|percent| *percent > 100) {
        return Err(Error::Options("of a hundred orders at most a hundred fail"));
    }
    if options.duration_ms == 0 {
        return Err(Error::Options("a window of no time measures nothing"));
    }
    let too_many = |count: u32| !(1..=20_000).contains(&count);
    if options.loads.iter().any(|load| match load {
        Load::Closed { in_flight } => too_many(*in_flight),
        Load::Open {
            orders_per_s,
            max_in_flight,
        } => *orders_per_s == 0 || too_many(*max_in_flight),
    }) {
        return Err(Error::Options(
            "1 to 20000 orders can be in flight, and a rate is not zero",
        ));
    }
    Ok(())
}

/// One thread with a runtime of its own: no wake-up crosses to another.
async fn on_own_thread(job: drive::Job) -> Result<Vec<Run>, Error> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("bench-load".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let result = match runtime {
                Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, job.run()),
                Err(_) => Err(Error::Thread),
            };
            // Nobody waits any more where the caller gave up.
            let _ = answer.send(result);
        })
        .map_err(|_| Error::Thread)?;
    answered.await.map_err(|_| Error::Thread)?
}

#[cfg(test)]
mod tests;
