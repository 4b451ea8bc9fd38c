//! `recourse verify`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use recourse_bench::verify;
use recourse_service::{Clock, clock::SystemClock};

use crate::{command, folder::Reading};

/// Hold every promise against the log and the views.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The data folder. A running server may have it open and be busy.
    #[arg(long, value_name = "DIR", default_value = "recourse-data")]
    data: PathBuf,
    #[cfg(feature = "distributed")]
    #[command(flatten)]
    engines: crate::serve::Engines,
    /// What clients were told, one JSON object a line, as `bench` writes it: nothing of that
    /// may be missing.
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let mut how = verify::Options::new(SystemClock.now());
    how.acknowledged = options.acknowledged;
    #[cfg(feature = "distributed")]
    let opened = options.engines.open().await?;
    #[cfg(not(feature = "distributed"))]
    let opened: Option<verify::Opened> = None;
    let report = match opened {
        Some(opened) => {
            how.dense_positions = false;
            verify::run(opened.store, &opened.views, &how).await?
        }
        None => verify::folder(&options.data, &Reading, &how).await?,
    };
    command::print(&report, &report.text(), options.json)?;
    Ok(if report.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
