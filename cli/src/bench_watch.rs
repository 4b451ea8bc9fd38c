//! `recourse bench-watch`.

use std::process::ExitCode;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::{Args, value_parser};
use recourse_bench::{
    server::{Server, Spawn},
    watch,
};
use recourse_service::{Clock, clock::SystemClock};

use crate::{arguments, command};

/// Watch many sagas at once and measure how soon watchers hear of what happens.
#[derive(Clone, Debug, Args)]
// The group that clap makes by itself has the name of the struct, as those of others have.
#[group(skip)]
pub(crate) struct BenchWatch {
    /// The server; without one, a server of its own is started on a fresh data folder.
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    url: Option<String>,
    /// Watchers of one saga each.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1_950,
        value_parser = value_parser!(u16).range(1..)
    )]
    sagas: u16,
    /// Watchers of everything.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 50,
        value_parser = value_parser!(u16).range(1..)
    )]
    all: u16,
    /// Events a second in all, about.
    #[arg(
        long,
        value_name = "EVENTS_PER_S",
        default_value_t = 100,
        value_parser = value_parser!(u32).range(1..)
    )]
    events: u32,
    /// How long is measured, in milliseconds.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = value_parser!(u32).range(1..)
    )]
    duration_ms: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(options: BenchWatch) -> anyhow::Result<ExitCode> {
    let own = tempfile::tempdir().context("cannot make a folder for the server")?;
    let server = match &options.url {
        Some(_) => None,
        None => {
            let spawn = Spawn {
                program: std::env::current_exe().context("cannot find this program")?,
                data: own.path().join("data"),
                args: ["--log", "warn"].map(Into::into).to_vec(),
                start_timeout_ms: 30_000,
            };
            Some(Server::start(&spawn, 0).await?)
        }
    };
    let of_server = server.as_ref().map(|server| server.url().to_owned());
    let report = watch::run(watch::Options {
        url: options.url.or(of_server).unwrap_or_default(),
        name: format!("watch-{}", now().timestamp_millis()),
        saga_watchers: options.sagas.into(),
        log_watchers: options.all.into(),
        events_per_s: options.events,
        duration_ms: options.duration_ms,
        clock: now,
    })
    .await?;
    command::print(&report, &report.text(), options.json)?;
    Ok(match (report.missed, report.repeated) {
        (0, 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn now() -> DateTime<Utc> {
    SystemClock.now()
}
