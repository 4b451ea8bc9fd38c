//! `recourse why`: why an order or a saga stands as it does, in plain words.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use recourse_event_store::{EventStore, embedded};
use recourse_saga_orchestrator::{
    definitions as all_definitions, fulfilment,
    why::{History, tell},
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    client::{Client, Place, Source},
    command,
    folder::Layout,
};

/// Tell why an order or a saga stands as it does: what happened, what it waits for, until when, and
/// what happens then.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The order, or one of its sagas.
    #[arg(value_name = "ORDER|SAGA", value_parser = id)]
    id: Uuid,
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn id(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| {
        "an order or a saga is named by its whole id, a UUID; `recourse sagas list` and \
         GET /v1/orders show them"
            .to_owned()
    })
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let found = match options.source.place() {
        Place::Folder(data) => from_folder(options.id, data).await?,
        Place::Server(url) => from_server(options.id, Client::new(url)?).await?,
    };
    let Some(why) = found else {
        bail!(
            "there is neither an order nor a saga {}; `recourse sagas list` shows the sagas, GET \
             /v1/orders the orders",
            options.id
        );
    };
    let text = why.get("text").and_then(Value::as_str).unwrap_or_default();
    command::print(&why, text, options.json)?;
    Ok(ExitCode::SUCCESS)
}

/// What the server tells of the saga with this id, or of the order.
async fn from_server(id: Uuid, mut client: Client) -> anyhow::Result<Option<Value>> {
    for path in ["sagas", "orders"] {
        match client.get::<Value>(&format!("/v1/{path}/{id}/why")).await {
            Ok(why) => return Ok(Some(why)),
            Err(error) if error.code() == Some("not-found") => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

async fn from_folder(id: Uuid, data: &std::path::Path) -> anyhow::Result<Option<Value>> {
    let store = embedded::Store::open_read_only(Layout::of(data).log)
        .with_context(|| format!("cannot open the data folder {}", data.display()))?;
    let mut definitions = all_definitions(&fulfilment::Timing::default())?;
    let up_to = store.durable();
    let mut history = History::of_saga(&store, &definitions, id, up_to).await?;
    if history.is_none() {
        history = History::of_order(&store, &definitions, id, up_to).await?;
    }
    let Some(history) = history else {
        return Ok(None);
    };
    // The server's options are not in the folder; how long it waits for what is in the events.
    definitions = all_definitions(&history.timing()?)?;
    Ok(Some(serde_json::to_value(tell(&history, &definitions)?)?))
}
