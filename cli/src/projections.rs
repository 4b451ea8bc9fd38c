//! `recourse projections`: how far the views are, and rebuilding one while it is asked.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    arguments,
    client::{Client, Server, Source, escaped},
    command,
};

/// How often a rebuild is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how far each view has come.
    List(ListOptions),
    /// Fill a view anew beside the one that is asked, and compare both. Waits until it can be
    /// promoted.
    Rebuild(RebuildOptions),
    /// Let what was rebuilt be asked from here on.
    Promote(ActOptions),
    /// Let what was asked before be asked again.
    Rollback(ActOptions),
    /// Drop the one of both that is not asked.
    Drop(ActOptions),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RebuildOptions {
    /// The view: `orders`, `sagas`, `stock`, `products` or `ledger`.
    view: String,
    /// Why, kept with what is done.
    #[arg(long, value_parser = arguments::reason)]
    reason: Option<String>,
    /// Only begin it, and do not wait.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    server: Server,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ActOptions {
    /// The view.
    view: String,
    /// Which rebuild; where nothing is said, the one whose two generations are kept.
    #[arg(long, value_name = "ID")]
    rebuild: Option<Uuid>,
    /// Why, kept with what is done.
    #[arg(long, value_parser = arguments::reason)]
    reason: Option<String>,
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
    /// A server that is older has one only.
    #[serde(default)]
    generation: u32,
    position: String,
    /// Not of an event store whose positions do not count events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lag_events: Option<u64>,
    lag_ms: u64,
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rebuild: Option<Rebuild>,
    /// What else a newer server says.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A rebuild, as far as it is told.
#[derive(Debug, Serialize, Deserialize)]
struct Rebuild {
    rebuild_id: Uuid,
    status: String,
    generation: u32,
    live: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lag_events: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What else the server says.
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Comparison {
    equal_rows: u64,
    different_rows: u64,
    #[serde(default)]
    differences: Vec<Difference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Difference {
    id: String,
    kind: String,
}

/// The body of what is asked for.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(options) => list(options).await,
        Command::Rebuild(options) => rebuild(options).await,
        Command::Promote(options) => act("promote", options).await,
        Command::Rollback(options) => act("rollback", options).await,
        Command::Drop(options) => act("drop", options).await,
    }
}

async fn list(options: ListOptions) -> anyhow::Result<ExitCode> {
    let mut client = options.source.client().await?;
    let listing: Listing = client.get("/v1/projections").await?;
    command::print(&listing, &listing.text(), options.json)?;
    Ok(ExitCode::SUCCESS)
}

fn rebuilds(view: &str) -> String {
    format!("/v1/projections/{}/rebuilds", escaped(view))
}

async fn post(client: &mut Client, target: &str, reason: Option<&str>) -> anyhow::Result<Rebuild> {
    let body = serde_json::to_vec(&Body { reason })?;
    let headers = [("content-type", "application/json")];
    let answer = client.send("POST", target, &headers, body).await?;
    Ok(client.read(&answer)?)
}

async fn rebuild(options: RebuildOptions) -> anyhow::Result<ExitCode> {
    let mut client = options.server.client()?;
    let target = rebuilds(&options.view);
    let mut rebuild = post(&mut client, &target, options.reason.as_deref()).await?;
    let location = format!("{target}/{}", rebuild.rebuild_id);
    if !options.detach {
        let mut shown = Shown::new();
        while rebuild.status == "filling" {
            shown.show(&options.view, &rebuild);
            tokio::time::sleep(LOOK_EVERY).await;
            rebuild = client.get(&location).await?;
        }
        shown.end();
    }
    let text = rebuild.text(&options.view);
    command::print(&rebuild, &text, options.json)?;
    // Somebody else may have promoted it by now, or dropped it.
    Ok(match &*rebuild.status {
        "failed" | "dropped" => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

async fn act(action: &str, options: ActOptions) -> anyhow::Result<ExitCode> {
    let mut client = options.server.client()?;
    let view = &options.view;
    let id = match options.rebuild {
        Some(id) => id,
        None => {
            let listing: Listing = client.get("/v1/projections").await?;
            let mut views = listing.items.into_iter();
            let found = views.find(|item| item.name == *view);
            let found = found.with_context(|| format!("there is no view `{view}`"))?;
            let rebuild = found.rebuild.with_context(|| {
                format!(
                    "`{view}` has no rebuild whose two generations are kept: begin one with \
                     `recourse projections rebuild {view}`"
                )
            })?;
            rebuild.rebuild_id
        }
    };
    let target = format!("{}/{id}/{action}", rebuilds(view));
    let rebuild = post(&mut client, &target, options.reason.as_deref()).await?;
    command::print(&rebuild, &rebuild.text(view), options.json)?;
    Ok(ExitCode::SUCCESS)
}

// Writing into a string does not fail.
impl Listing {
    fn text(&self) -> String {
        let mut text = format!(
            "{:<10} {:>7} {:>10}  {:<9} {:>10} {:>8}  POSITION\n",
            "VIEW", "VERSION", "GENERATION", "STATUS", "LAG EVENTS", "LAG MS"
        );
        for view in &self.items {
            let View {
                name,
                version,
                generation,
                position,
                lag_events,
                lag_ms,
                status,
                ..
            } = view;
            let lag_events = lag_events.map_or_else(|| "-".to_owned(), |lag| lag.to_string());
            let _ = writeln!(
                text,
                "{name:<10} {version:>7} {generation:>10}  {status:<9} {lag_events:>10} \
                 {lag_ms:>8}  {position}"
            );
            if let Some(detail) = &view.detail {
                let _ = writeln!(text, "  {detail}");
            }
            if let Some(rebuild) = &view.rebuild {
                let _ = writeln!(text, "  rebuild {}", rebuild.line());
            }
        }
        text
    }
}

impl Rebuild {
    /// `… generation 3 ready, 100 % at 2050, 0 events behind`
    fn line(&self) -> String {
        let Self {
            rebuild_id,
            status,
            generation,
            ..
        } = self;
        let mut text = format!("{rebuild_id}: generation {generation} {status}");
        if let (Some(share), Some(position)) = (self.share, &self.position) {
            let percent = share * 100.0;
            let _ = write!(text, ", {percent:.0} % at {position}{}", self.behind());
        }
        text
    }

    /// `, 7 events behind`; nothing where events are not counted.
    fn behind(&self) -> String {
        let behind = self.lag_events.map(|lag| format!(", {lag} events behind"));
        behind.unwrap_or_default()
    }

    fn text(&self, view: &str) -> String {
        let mut text = format!("rebuild {}\n", self.line());
        if let Some(comparison) = &self.comparison {
            let Comparison {
                equal_rows,
                different_rows,
                ..
            } = comparison;
            let _ = writeln!(
                text,
                "  compared: {equal_rows} rows are the same, {different_rows} differ"
            );
            if let Some(why) = &comparison.unreadable {
                let _ = writeln!(text, "  what was asked until now cannot be read: {why}");
            }
            for Difference { id, kind } in &comparison.differences {
                let _ = writeln!(text, "  {kind:<8} {id}");
            }
        }
        if let Some(detail) = &self.detail {
            let _ = writeln!(text, "  {detail}");
        }
        let _ = writeln!(text, "  `{view}` is asked in generation {}", self.live);
        let next = match &*self.status {
            "ready" | "rolled_back" => "recourse projections promote",
            "promoted" if self.position.is_some() => "recourse projections rollback",
            _ => return text,
        };
        let _ = writeln!(
            text,
            "  next: {next} {view}, or: recourse projections drop {view}"
        );
        text
    }
}

/// How far it has come, on a terminal.
struct Shown {
    to: Option<std::io::Stderr>,
    is_begun: bool,
}

impl Shown {
    fn new() -> Self {
        let to = std::io::stderr();
        Self {
            to: to.is_terminal().then_some(to),
            is_begun: false,
        }
    }

    fn show(&mut self, view: &str, rebuild: &Rebuild) {
        let Some(to) = &mut self.to else {
            return;
        };
        let percent = rebuild.share.unwrap_or_default() * 100.0;
        let behind = rebuild.behind();
        // Nothing can be told where there is nowhere to tell it.
        let _ = write!(to, "\rfilling {view} {percent:>3.0} %{behind} ");
        let _ = to.flush();
        self.is_begun = true;
    }

    fn end(&mut self) {
        if let (Some(to), true) = (&mut self.to, self.is_begun) {
            let _ = writeln!(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rebuild_is_told_with_what_differs_and_what_comes_next() {
        let rebuild: Rebuild = serde_json::from_value(json!({
            "rebuild_id": "0c1f7a52-90e4-5d13-b1f8-4be266d057ce", "projection": "stock",
            "status": "ready", "generation": 3, "replaces": 1, "live": 1,
            "position": "2050-0a1b2c3d", "lag_events": 0, "share": 1.0,
            "comparison": {"position": "2041-0a1b2c3d", "equal_rows": 311, "different_rows": 1,
                           "differences": [{"id": "tea-1", "kind": "changed"}]}
        }))
        .unwrap();
        assert_eq!(
            rebuild.text("stock"),
            "rebuild 0c1f7a52-90e4-5d13-b1f8-4be266d057ce: generation 3 ready, 100 % at \
             2050-0a1b2c3d, 0 events behind\n  compared: 311 rows are the same, 1 differ\n  \
             changed  tea-1\n  `stock` is asked in generation 1\n  next: recourse projections \
             promote stock, or: recourse projections drop stock\n"
        );
        // What it does not know is passed on.
        assert_eq!(
            serde_json::to_value(&rebuild).unwrap()["projection"],
            "stock"
        );
    }
}
