//! `recourse backup` and `recourse restore`.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, ensure};
use clap::Args;
use recourse_bench::verify;
use recourse_event_store::embedded::{
    self,
    backup::{self, Progress, Step},
};
use recourse_service::{Clock, clock::SystemClock};
use serde::Serialize;

use crate::{command, folder::Layout};

/// Copy the log away, beside a running server or without one, and read the copy back.
///
/// The copy holds everything that was acknowledged before this began. The views are not in it:
/// they are made of the log again.
#[derive(Clone, Debug, Args)]
pub(crate) struct Backup {
    /// Where to: a folder that is empty or not there yet.
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// The data folder. A running server may have it open and be busy.
    #[arg(long, value_name = "DIR", default_value = "recourse-data")]
    data: PathBuf,
    /// Only read the copy back, and do not hold every promise against it: for a log whose
    /// streams do not fit in memory.
    #[arg(long)]
    quick: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Make a data folder of a backup. Its log is a new one to everything that knew the old.
#[derive(Clone, Debug, Args)]
pub(crate) struct Restore {
    /// The backup.
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// The data folder: one that is empty or not there yet.
    #[arg(long, value_name = "DIR", default_value = "recourse-data")]
    data: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Taken {
    #[serde(flatten)]
    manifest: backup::Manifest,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<verify::Report>,
}

pub(crate) async fn back_up(options: Backup) -> anyhow::Result<ExitCode> {
    let log = Layout::of(&options.data).log;
    let mut shown = Shown::new();
    let now = SystemClock.now();
    let manifest = backup::take(&log, &options.to, now, &mut |progress| shown.show(progress));
    shown.end();
    let manifest =
        manifest.with_context(|| format!("{} is not backed up", options.data.display()))?;
    let mut text = format!(
        "{} bytes of log {} up to {} are copied to {} and read back\n",
        manifest.bytes,
        manifest.log,
        manifest.position,
        options.to.display()
    );
    let verified = if options.quick {
        None
    } else {
        let report = promises(&options.to)
            .await
            .context("the copy is whole, and whether the promises hold in it cannot be said")?;
        text.push_str(&report.text());
        Some(report)
    };
    let holds = verified.as_ref().is_none_or(verify::Report::holds);
    command::print(&Taken { manifest, verified }, &text, options.json)?;
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Holds every promise against the log of a backup.
async fn promises(backup: &Path) -> anyhow::Result<verify::Report> {
    let store = embedded::Store::open_read_only(Layout::of(backup).log)?;
    let options = verify::Options::new(SystemClock.now());
    Ok(verify::run(Arc::new(store), &[], &options).await?)
}

pub(crate) fn restore(options: &Restore) -> anyhow::Result<ExitCode> {
    let is_empty = match std::fs::read_dir(&options.data) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(error)
                .with_context(|| format!("{} cannot be looked into", options.data.display()));
        }
    };
    ensure!(
        is_empty,
        "{} is not empty: name a data folder that is empty or not there yet",
        options.data.display()
    );
    let log = Layout::of(&options.data).log;
    let mut shown = Shown::new();
    let restored = backup::restore(&options.from, &log, &mut |progress| shown.show(progress));
    shown.end();
    let restored = restored.with_context(|| {
        format!(
            "{} is not restored: delete what is in {}",
            options.from.display(),
            options.data.display()
        )
    })?;
    let text = format!(
        "The backup of {} is restored to {}, up to {}.\n\
         The log was {} and is {} from here on: positions, views and checkpoints of the old one are \
         refused.\n\
         What was acknowledged after the backup is not in it; docs/backup.md says what to look at.\n",
        restored.taken_at.to_rfc3339(),
        options.data.display(),
        restored.position,
        restored.former,
        restored.log,
    );
    command::print(&restored, &text, options.json)?;
    Ok(ExitCode::SUCCESS)
}

/// How far it has come, on a terminal.
struct Shown {
    to: Option<std::io::Stderr>,
    last: Option<(Step, u64)>,
}

impl Shown {
    fn new() -> Self {
        let to = std::io::stderr();
        Self {
            to: to.is_terminal().then_some(to),
            last: None,
        }
    }

    fn show(&mut self, progress: Progress) {
        let Some(to) = &mut self.to else {
            return;
        };
        let percent = progress
            .position
            .saturating_mul(100)
            .checked_div(progress.of)
            .unwrap_or(100);
        if self.last.replace((progress.step, percent)) != Some((progress.step, percent)) {
            let what = match progress.step {
                Step::Copying => "copying",
                Step::Checking => "reading back",
            };
            // Nothing can be told where there is nowhere to tell it.
            let _ = write!(to, "\r{what:<12} {percent:>3} %");
        }
    }

    fn end(&mut self) {
        if let (Some(to), Some(_)) = (&mut self.to, self.last) {
            let _ = writeln!(to);
        }
    }
}
