//! `recourse ready`: whether a server can serve, for scripts and for whoever supervises it.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use recourse_bench::http::{Address, Connection};
use serde::Deserialize;

use crate::{client::Server, output};

/// Longer than a server that lives takes to say so.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Ask a server whether it can serve. The exit code says so.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    server: Server,
    /// Print JSON, as the server gives it.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Report {
    status: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    status: String,
    #[serde(default)]
    detail: Option<String>,
}

/// Prints what `/readyz` says. Fails where the server is not ready.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let url = &options.server.url;
    let mut connection = Connection::new(Address::parse(url)?, TIMEOUT);
    let asked = connection.send("GET", "/readyz", &[], Vec::new().into());
    let answer = asked
        .await
        .with_context(|| format!("{url} does not answer"))?;
    let value: serde_json::Value = serde_json::from_slice(&answer.body)
        .with_context(|| format!("the answer of {url} cannot be read"))?;
    let report: Report = serde_json::from_value(value.clone())
        .with_context(|| format!("the answer of {url} cannot be read"))?;
    output::print(&value, &report.text(), options.json)?;
    Ok(if answer.status.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.status);
        for Dependency {
            name,
            status,
            detail,
        } in &self.dependencies
        {
            text.push_str(&format!("  {name}: {status}"));
            if let Some(detail) = detail {
                text.push_str(&format!(" ({detail})"));
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_is_lacking() {
        let report: Report = serde_json::from_str(
            r#"{"status": "not-ready", "dependencies": [
                {"name": "event-store", "status": "up", "needed_by": "everything"},
                {"name": "kafka", "status": "starting", "needed_by": "everything",
                 "detail": "waiting for Kafka"}
            ]}"#,
        )
        .unwrap();
        assert_eq!(
            report.text(),
            "not-ready\n  event-store: up\n  kafka: starting (waiting for Kafka)\n"
        );
    }
}
