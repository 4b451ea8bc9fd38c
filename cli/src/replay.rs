//! `recourse replay`: history as it was, without its secrets.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Args;
use recourse_event_store::{
    Direction, EventStore, Filter, Position, Read, RecordedEvent, StreamName, Visibility, embedded,
};
use recourse_schema::Redactor;
use recourse_service::position;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    arguments, as_of,
    client::{Client, Place, Source, escaped},
    folder::Layout,
    output, types,
};

/// Print history as JSON lines, oldest first: the whole log, or one stream; or what a stream was at a
/// position.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Only this stream: `order-…`.
    #[arg(long, value_name = "STREAM", value_parser = arguments::stream)]
    stream: Option<String>,
    /// After this position.
    #[arg(long, value_name = "POSITION", value_parser = arguments::position)]
    from: Option<String>,
    /// Up to this position, and it too.
    #[arg(long, value_name = "POSITION", value_parser = arguments::position)]
    to: Option<String>,
    /// Print what the stream's aggregate was once this position was written, as JSON.
    #[arg(
        long,
        value_name = "POSITION",
        value_parser = arguments::position,
        requires = "stream",
        conflicts_with_all = ["from", "to", "types"]
    )]
    as_of: Option<String>,
    /// Only these types, or beginnings of types up to a dot: `order,stock.reserved`.
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    types: Vec<String>,
    #[command(flatten)]
    source: Source,
    /// Print JSON, as it does anyway.
    #[arg(long)]
    json: bool,
}

/// An event, as the API shows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) position: String,
    pub(crate) stream: StreamName,
    pub(crate) revision: u64,
    #[serde(rename = "type")]
    pub(crate) event_type: Arc<str>,
    pub(crate) id: uuid::Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recorded_at: Option<chrono::DateTime<chrono::Utc>>,
    pub(crate) data: Box<RawValue>,
    pub(crate) metadata: Box<RawValue>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Line>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// The most events that are read at once.
const BATCH: usize = 200;

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    match (&options.stream, &options.as_of) {
        (Some(stream), Some(_)) => {
            as_of::is_known(stream)?;
            let mut lines = Vec::new();
            each(&options, &mut |line| {
                lines.push(line);
                Ok(())
            })
            .await?;
            let shown = as_of::fold(stream, &lines)?;
            output::line(&serde_json::to_string(&shown)?)?;
        }
        _ => {
            each(&options, &mut |line| {
                output::line(&serde_json::to_string(&line)?)
            })
            .await?
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is done with each event, in order.
type Sink<'a> = &'a mut (dyn FnMut(Line) -> anyhow::Result<()> + Send);

async fn each(options: &Options, sink: Sink<'_>) -> anyhow::Result<()> {
    match options.source.place() {
        Place::Folder(data) => from_folder(options, data, sink).await,
        Place::Server(url) => from_server(options, Client::new(url)?, sink).await,
    }
}

/// Positions order what one log holds; the server alone knows how, so it is asked by events.
struct Range {
    after: Option<Position>,
    up_to: Option<Position>,
}

impl Options {
    /// The last position that is wanted.
    fn last(&self) -> Option<&str> {
        self.to.as_deref().or(self.as_of.as_deref())
    }
}

impl Range {
    fn of(options: &Options) -> anyhow::Result<Self> {
        Ok(Self {
            after: options.from.as_deref().map(number).transpose()?,
            up_to: options.last().map(number).transpose()?,
        })
    }

    fn has_passed(&self, position: Position) -> bool {
        self.up_to.is_some_and(|last| position > last)
    }

    fn holds(&self, position: Position) -> bool {
        self.after.is_none_or(|after| position > after) && !self.has_passed(position)
    }
}

/// The place in a token that was checked before, or that a server gave.
fn number(token: &str) -> anyhow::Result<Position> {
    arguments::number(token).with_context(|| format!("`{token}` is not a position"))
}

async fn from_server(options: &Options, mut client: Client, sink: Sink<'_>) -> anyhow::Result<()> {
    let range = Range::of(options)?;
    if let Some(token) = options.as_of.as_deref().filter(|token| token.contains('-')) {
        // The server says whether it is a position of its log.
        let (from, none) = (escaped(token), "types=none&limit=1");
        let _: Page = client
            .get(&format!("/v1/events?from={from}&{none}"))
            .await?;
    }
    let mut query = format!("?limit={BATCH}");
    if !options.types.is_empty() {
        query.push_str(&format!("&types={}", escaped(&options.types.join(","))));
    }
    let path = match &options.stream {
        Some(stream) => format!("/v1/streams/{}", escaped(stream)),
        None => "/v1/events".to_owned(),
    };
    let mut place = match (&options.stream, &options.from) {
        (None, Some(from)) => format!("&from={}", escaped(from)),
        _ => String::new(),
    };
    loop {
        let page: Page = client.get(&format!("{path}{query}{place}")).await?;
        for line in page.items {
            let position = number(&line.position)?;
            if range.has_passed(position) {
                return Ok(());
            }
            if range.holds(position) {
                sink(line)?;
            }
        }
        let Some(cursor) = page.next_cursor else {
            return Ok(());
        };
        place = format!("&cursor={}", escaped(&cursor));
    }
}

async fn from_folder(
    options: &Options,
    data: &std::path::Path,
    sink: Sink<'_>,
) -> anyhow::Result<()> {
    let store = embedded::Store::open_read_only(Layout::of(data).log)
        .with_context(|| format!("cannot open the data folder {}", data.display()))?;
    let log = store.log_id();
    for token in options.from.as_deref().into_iter().chain(options.last()) {
        // A number alone is a position too; with a tag it has to be this log's.
        if token.contains('-') {
            position::read(token, log)?;
        }
    }
    let range = Range::of(options)?;
    let redactor = types::redactor()?;
    let stream = options.stream.as_deref().map(StreamName::parse);
    let stream = stream.transpose().context("that is no stream")?;
    let shown = |event: &RecordedEvent| {
        let of_stream = stream.as_ref().is_none_or(|name| *name == event.stream);
        of_stream && range.holds(event.position) && wants(&options.types, event)
    };
    let mut from = range.after;
    loop {
        let batch = store
            .read_all(Read {
                from,
                direction: Direction::Forward,
                visibility: Visibility::Durable,
                filter: match &stream {
                    Some(name) => Filter::StreamPrefixes(vec![name.as_str().to_owned()]),
                    None => Filter::All,
                },
                max_events: BATCH,
            })
            .await?;
        for event in &batch.events {
            if range.has_passed(event.position) {
                return Ok(());
            }
            if shown(event) {
                sink(line(event, &redactor, log))?;
            }
        }
        if batch.at_end {
            return Ok(());
        }
        from = Some(batch.considered);
    }
}

fn line(event: &RecordedEvent, redactor: &Redactor, log: recourse_event_store::LogId) -> Line {
    Line {
        position: position::write(event.position, log),
        stream: event.stream.clone(),
        revision: event.revision,
        event_type: Arc::clone(&event.event.event_type),
        id: event.event.id,
        recorded_at: event.metadata().ok().map(|metadata| metadata.recorded_at),
        data: redactor.show(&event.event.event_type, &event.event.data),
        metadata: serde_json::from_slice(&event.event.metadata)
            .unwrap_or_else(|_| RawValue::NULL.to_owned()),
    }
}

/// As the API reads `types`.
fn wants(types: &[String], event: &RecordedEvent) -> bool {
    types.is_empty()
        || types.iter().any(|wanted| {
            let rest = event.event.event_type.strip_prefix(&**wanted);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('.') || wanted.ends_with('.')
            })
        })
}
