//! `recourse projections`.

use std::{fmt::Write as _, process::ExitCode};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::{client::Server, command};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how far each view has come.
    List(ListOptions),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    server: Server,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The answer of `GET /v1/projections`.
#[derive(Debug, Serialize, Deserialize)]
struct Listing {
    items: Vec<View>,
}

#[derive(Debug, Serialize, Deserialize)]
struct View {
    name: String,
    version: u32,
    position: String,
    lag_events: u64,
    lag_ms: u64,
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What else a newer server says.
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::List(options) = command;
    let mut client = options.server.client()?;
    let listing: Listing = client.get("/v1/projections").await?;
    command::print(&listing, &text(&listing), options.json)?;
    Ok(ExitCode::SUCCESS)
}

fn text(listing: &Listing) -> String {
    let mut text = format!(
        "{:<10} {:>7}  {:<9} {:>10} {:>8}  POSITION\n",
        "VIEW", "VERSION", "STATUS", "LAG EVENTS", "LAG MS"
    );
    for view in &listing.items {
        let View {
            name,
            version,
            position,
            lag_events,
            lag_ms,
            status,
            ..
        } = view;
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "{name:<10} {version:>7}  {status:<9} {lag_events:>10} {lag_ms:>8}  {position}"
        );
        if let Some(detail) = &view.detail {
            let _ = writeln!(text, "  {detail}");
        }
    }
    text
}
