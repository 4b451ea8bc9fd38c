//! `recourse schemas`: the files of `schemas/`, one a type and version of an event.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use recourse_schema::files::{self, Report};

use crate::{command, types};

/// The schemas of the events: write them, or hold what has changed against the rules.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Action {
    /// Write a file for each type and version. Refused where that would change a committed one
    /// incompatibly.
    Export(Options),
    /// Fail where a schema of this program is not compatible with the committed one.
    Check(Options),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Where the committed schemas are.
    #[arg(value_name = "DIR", default_value = "schemas")]
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Does it; the exit code says whether all is compatible.
///
/// # Errors
/// Where the folder cannot be read or written.
pub(crate) fn run(action: &Action) -> anyhow::Result<ExitCode> {
    let catalog = types::events()?;
    let (Action::Export(options) | Action::Check(options)) = action;
    let report = files::compare(&catalog, &options.dir)?;
    let exports = matches!(action, Action::Export(_)) && report.breaches.is_empty();
    if exports {
        files::export(&catalog, &options.dir)?;
    }
    command::print(&report, &said(&report, exports), options.json)?;
    Ok(if report.breaches.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn said(report: &Report, exported: bool) -> String {
    let mut text = String::new();
    for breach in &report.breaches {
        text.push_str(&format!("{} {}\n", breach.type_name, breach.detail));
    }
    let (new, changed, types) = (report.new.len(), report.changed.len(), report.types);
    if !report.breaches.is_empty() {
        text.push_str("these changes need a new version of the type: see docs/event-versions.md\n");
    } else if exported {
        text.push_str(&format!(
            "{types} schemas written: {new} new, {changed} changed compatibly\n"
        ));
    } else {
        text.push_str(&format!(
            "{types} schemas are compatible with those committed\n"
        ));
        for name in report.new.iter().chain(&report.changed) {
            text.push_str(&format!("  {name} is to be exported\n"));
        }
    }
    text
}
