//! `recourse bench`.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, ensure};
use axum::{
    body::{Body, Bytes},
    http::Request,
};
use chrono::{DateTime, Utc};
use clap::{Args, value_parser};
use http_body_util::Full;
use recourse_bench::{
    apart,
    http::{self, Answer, Calling},
    load::{self, Load, Target},
    server::Spawn,
};
use recourse_gateway::Gateway;
use recourse_service::{Clock, clock::SystemClock, keys::Keys};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::{self, Usage},
    command,
    folder::Reading,
    system::Places,
    up,
};

/// Drive orders over HTTP, or in process, measure, then verify.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The server; without one, a server of its own is started on a fresh data folder.
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    url: Option<String>,
    /// Everything in this process, without sockets: requests are function calls. Its processor
    /// time and memory are then the server's and the client's together.
    #[arg(long, conflicts_with = "url")]
    pub in_process: bool,
    /// The process of that server, for its processor time and memory.
    #[arg(long, value_name = "PID", requires = "url")]
    pid: Option<u32>,
    /// A process of that server, where it is several, or of an engine that it uses: its name in the
    /// report, its number, and where it shows what it counts. Also asks where orders' time goes,
    /// as with --hops.
    #[arg(long, value_name = "NAME=PID[@URL]", requires = "url")]
    process: Vec<apart::Process>,
    /// The file with the key that those processes want.
    #[arg(long, value_name = "FILE", requires = "url")]
    service_key_file: Option<PathBuf>,
    /// Follow orders through the log, to tell where their time goes, and ask how far views are.
    #[arg(long)]
    hops: bool,
    /// The data folder of that server, to verify it afterwards; or of the one that is
    /// started, which must not exist.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Orders in flight, each for a run in a closed loop: 1, 32, 128 and 512 where nothing is said,
    /// neither here nor by --rate.
    #[arg(
        long,
        value_name = "COUNT",
        value_delimiter = ',',
        value_parser = value_parser!(u32).range(1..=20_000)
    )]
    in_flight: Vec<u32>,
    /// Orders a second, each for a run in an open loop.
    #[arg(
        long,
        value_name = "ORDERS_PER_S",
        value_delimiter = ',',
        value_parser = value_parser!(u32).range(1..)
    )]
    rate: Vec<u32>,
    /// Of a hundred orders, how many are meant to fail; each for a run of its own.
    #[arg(
        long,
        value_name = "PERCENT",
        value_delimiter = ',',
        default_values_t = [0],
        value_parser = value_parser!(u8).range(..=100)
    )]
    failing: Vec<u8>,
    /// How long each run is measured, in milliseconds.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 10_000,
        value_parser = value_parser!(u32).range(1..)
    )]
    duration_ms: u32,
    /// How long each run warms up, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    warm_up_ms: u32,
    /// How many products there are.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 100,
        value_parser = value_parser!(u32).range(1..=1_000_000)
    )]
    skus: u32,
    /// Orders have one to this many lines, of as many products.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = value_parser!(u32).range(1..=100)
    )]
    max_lines: u32,
    /// Which orders.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Where to write what the server acknowledged.
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How long a server may take to serve.
const START_TIMEOUT_MS: u32 = 30_000;

/// What is in flight where nobody says anything.
const IN_FLIGHT: [u32; 4] = [1, 32, 128, 512];

/// The most orders that wait for an answer in an open loop.
const MAX_IN_FLIGHT: u32 = 2_000;

/// Runs it. `places` are where the services run that are in this process, where that is asked for.
pub(crate) async fn run(options: Options, places: Option<Places>) -> anyhow::Result<ExitCode> {
    if options.max_lines > options.skus {
        return Err(Usage::new(
            "--max-lines is at most --skus: no product stands in an order twice",
        )
        .into());
    }
    let own = tempfile::tempdir().context("cannot make a folder for the server")?;
    if let Some(url) = &options.url {
        let target = Target::Running {
            url: url.clone(),
            pid: options.pid,
            data: options.data.clone(),
        };
        return drive(options, target).await;
    }
    let data = options.data.clone();
    let data = data.unwrap_or_else(|| own.path().join("data"));
    ensure!(
        !data.exists(),
        "{} exists: a bench fills its own folder",
        data.display()
    );
    let Some(places) = places else {
        let target = Target::Spawned(Spawn {
            program: std::env::current_exe().context("cannot find this program")?,
            data,
            args: vec!["--log".into(), "warn".into()],
            start_timeout_ms: START_TIMEOUT_MS,
        });
        return drive(options, target).await;
    };
    let stop = CancellationToken::new();
    let (hand, handed) = oneshot::channel();
    let serving = up::run_in_process(&data, places, stop.clone(), hand);
    let driving = async {
        // Told to stop however this ends.
        let _stop = stop.drop_guard_ref();
        // Where there is none, the server says why.
        let Ok(gateway) = handed.await else {
            return Ok(ExitCode::FAILURE);
        };
        let service = Arc::new(InProcess(gateway));
        let data = data.clone();
        drive(options, Target::InProcess { service, data }).await
    };
    let (served, driven) = tokio::join!(serving, driving);
    served?;
    driven
}

/// The gateway, as the load calls it.
struct InProcess(Gateway);

impl http::Service for InProcess {
    fn call(self: Arc<Self>, request: Request<Full<Bytes>>) -> Calling {
        Calling(Box::pin(async move {
            Answer::read(self.0.call(request.map(Body::new)).await).await
        }))
    }
}

async fn drive(mut options: Options, target: Target) -> anyhow::Result<ExitCode> {
    if options.in_flight.is_empty() && options.rate.is_empty() {
        options.in_flight = IN_FLIGHT.into();
    }
    let keys = options.service_key_file.as_deref().map(Keys::read);
    let authorization = match keys.transpose().map_err(Usage::new)? {
        Some(keys) => keys.authorization(),
        None => None,
    };
    let closed = options.in_flight.iter().map(|in_flight| Load::Closed {
        in_flight: *in_flight,
    });
    let open = options.rate.iter().map(|orders_per_s| Load::Open {
        orders_per_s: *orders_per_s,
        max_in_flight: MAX_IN_FLIGHT,
    });
    let report = load::run(load::Options {
        target,
        name: format!("bench-{}", now().timestamp_millis()),
        loads: closed.chain(open).collect(),
        failing_percent: options.failing,
        warm_up_ms: options.warm_up_ms,
        duration_ms: options.duration_ms,
        drain_ms: 30_000,
        wait_s: 30,
        skus: options.skus,
        max_lines: options.max_lines,
        seed: options.seed,
        acknowledged: options.acknowledged,
        folder: Some(Arc::new(Reading)),
        hops: options.hops || !options.process.is_empty(),
        processes: options.process,
        authorization: authorization.and_then(|value| Some(value.to_str().ok()?.to_owned())),
        clock: now,
    })
    .await?;
    command::print(&report, &report.text(), options.json)?;
    let holds = report
        .verified
        .as_ref()
        .is_none_or(|verified| verified.holds());
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn now() -> DateTime<Utc> {
    SystemClock.now()
}
