//! The log as HTTP: what is durable, and nothing secret.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, State},
    http::{Uri, request::Parts},
    response::Response,
};
use recourse_event_store::{
    Direction, EventStore, Filter, LogId, Position, Read, RecordedEvent, StreamName, Visibility,
};
use recourse_schema::Redactor;
use recourse_service::{
    Problem,
    contract::{Answer, Input, Operation, Routes},
    errors,
    http::{self, Id, MinPosition, PREFERENCE_APPLIED, Prefer, Query, RequestContext},
    page::{self, Limit, Page},
    position,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// The most reads of the store for one page of a filter that wants little: then the page ends
/// early, with a cursor to go on from.
const MAX_READS: usize = 32;

/// How long a query that names a position waits for the log to be durable so far, where the
/// client does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(2);

struct History {
    store: Arc<dyn EventStore>,
    redactor: Arc<Redactor>,
}

pub(crate) fn routes(store: Arc<dyn EventStore>, redactor: Arc<Redactor>) -> Routes {
    let page = |description| {
        Answer::json::<Page<Shown>>(200, description)
            .example(EVENTS)
            .preference_applied()
            .link()
    };
    let reads = |operation: Operation| {
        operation
            .tag("events")
            .fails(&[
                errors::INVALID_CURSOR,
                errors::CURSOR_MISMATCH,
                errors::VIEW_BEHIND,
            ])
            .fails(errors::READING)
    };
    let events_operation = Operation::new("listEvents", "Read the log")
        .describe(
            "What is durable, oldest first. `from` is a position, exclusive. A page may hold fewer \
             events than `limit` and still have a next one, where `types` wants little.",
        )
        .answer(page("A page of the log").may_have(
            "Recourse-Position",
            "How far the log was considered, whether its events were wanted or not",
        ))
        .fails(&[errors::INVALID_POSITION]);
    let stream_operation = Operation::new("readStream", "Read a stream")
        .describe("What is durable, oldest first. `from` is a revision, inclusive.")
        .answer(page("A page of the stream"));
    Routes::new()
        .get("/v1/events", events, reads(events_operation))
        .get("/v1/streams/{stream}", stream, reads(stream_operation))
        .with_state(Arc::new(History { store, redactor }))
}

const EVENTS: &str = r#"{
    "items": [{
        "position": "17-9f3a2c41",
        "stream": "stock-tea-1",
        "revision": 0,
        "type": "stock.received.v1",
        "id": "0c5bd1f7-6f1c-5f0f-8f5e-0d2a1b3c4d5e",
        "recorded_at": "2026-03-01T12:00:00.000Z",
        "data": {"sku": "tea-1", "quantity": 100, "reference": "delivery-2041"},
        "metadata": {"$correlationId": "7a6d1c52-9f56-5f2a-8c39-1f7f0f0e9c11"}
    }]
}"#;

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Way {
    #[default]
    Forward,
    Backward,
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::Forward => Self::Forward,
            Way::Backward => Self::Backward,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// For the log a position, exclusive; for a stream a revision, inclusive; for both `start`
    /// and `end`.
    from: Option<String>,
    /// Where the page begins: `next_cursor` of the one before. Instead of `from`.
    cursor: Option<String>,
    /// How many events a page holds at most.
    #[serde(default)]
    limit: Limit,
    /// `forward` is oldest first, `backward` newest first.
    #[serde(default)]
    direction: Way,
    /// Types, or the beginnings of types up to a dot, separated by commas.
    types: Option<String>,
}

/// Reads `?types=`: types, or the beginnings of types, separated by commas.
pub(crate) fn read_types(types: Option<&str>) -> Result<Vec<String>, Problem> {
    let Some(types) = types else {
        return Ok(Vec::new());
    };
    let types: Vec<_> = types.split(',').map(str::to_owned).collect();
    if types.len() > 100 || types.iter().any(String::is_empty) {
        return Err(Problem::new(errors::INVALID_QUERY).field(
            "?types",
            "1 to 100 types, or beginnings of types, separated by commas",
        ));
    }
    Ok(types)
}

/// Whether a type is one of these or below one of them: `order` and `order.placed` want
/// `order.placed.v1`, `order.placed.v1` does not want `order.placed.v10`.
pub(crate) fn wants(types: &[String], event_type: &str) -> bool {
    types.is_empty()
        || types.iter().any(|wanted| {
            event_type.strip_prefix(&**wanted).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('.') || wanted.ends_with('.')
            })
        })
}

/// An event, as it is shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub(crate) struct Shown {
    /// Where in the log it stands.
    position: String,
    /// Its stream.
    stream: StreamName,
    /// Where in its stream it stands, from 0.
    revision: u64,
    /// What happened: `order.placed.v1`.
    #[serde(rename = "type")]
    event_type: Arc<str>,
    /// Its id, which follows from its cause.
    id: uuid::Uuid,
    /// When it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Its content, without secrets.
    #[schemars(with = "Value")]
    data: Box<RawValue>,
    /// What caused it and what it answers.
    #[schemars(with = "Value")]
    metadata: Box<RawValue>,
}

/// How new the log must be, and how long a request waits for that.
struct Asked {
    min_position: MinPosition,
    prefer: Prefer,
    context: RequestContext,
    uri: Uri,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(prefer) = Prefer::from_request_parts(parts, state).await;
        let Ok(context) = RequestContext::from_request_parts(parts, state).await;
        Ok(Self {
            min_position: MinPosition::from_request_parts(parts, state).await?,
            prefer,
            context,
            uri: parts.uri.clone(),
        })
    }
}

impl Input for Asked {
    fn describe(operation: &mut Operation) {
        MinPosition::describe(operation);
        Prefer::describe(operation);
    }
}

impl Asked {
    /// Waits until what the client has seen can be read here too.
    async fn reach(&self, store: &dyn EventStore) -> Result<(), Problem> {
        let Some(position) = self.min_position.resolve(store).await? else {
            return Ok(());
        };
        let wait = self.prefer.wait.unwrap_or(DEFAULT_WAIT);
        let durable = store.wait_durable(position);
        match http::wait(wait, self.context.draining(), durable).await {
            Some(reached) => Ok(reached?),
            None => Err(Problem::new(errors::VIEW_BEHIND)),
        }
    }

    fn respond(&self, page: &Page<Shown>) -> Response {
        let mut response = page.respond(&self.uri);
        if let Some(applied) = self.prefer.applied() {
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
        }
        response
    }
}

/// Shows an event of a log.
pub(crate) fn show(event: &RecordedEvent, log: LogId, redactor: &Redactor) -> Shown {
    Shown {
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

impl History {
    fn show(&self, event: &RecordedEvent) -> Shown {
        show(event, self.store.log_id(), &self.redactor)
    }
}

/// `GET /v1/events`: the whole log, oldest first unless `direction=backward`.
async fn events(
    State(history): State<Arc<History>>,
    asked: Asked,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let store = &*history.store;
    let types = read_types(wanted.types.as_deref())?;
    asked.reach(store).await?;
    let filters = ("events", wanted.direction, &types);
    let direction = wanted.direction.into();
    let mut from: Option<Position> = match (&wanted.cursor, wanted.from.as_deref()) {
        (Some(cursor), _) => Some(page::read_cursor(cursor, &filters)?),
        (None, Some("start")) => Some(Position::START),
        (None, Some("end")) => match direction {
            Direction::Forward => Some(store.durable()),
            Direction::Backward => None,
        },
        (None, Some(token)) => {
            let head = store.durable().max(store.appended().await?);
            Some(position::read_within(token, store.log_id(), head)?)
        }
        (None, None) => None,
    };
    let mut items = Vec::new();
    let mut at_end = false;
    for _ in 0..MAX_READS {
        let batch = store
            .read_all(Read {
                from,
                direction,
                visibility: Visibility::Durable,
                filter: if types.is_empty() {
                    Filter::All
                } else {
                    Filter::TypePrefixes(types.clone())
                },
                max_events: wanted.limit.get() - items.len(),
            })
            .await?;
        items.extend(
            batch
                .events
                .iter()
                .filter(|event| wants(&types, &event.event.event_type))
                .map(|event| history.show(event)),
        );
        from = Some(batch.considered);
        at_end = batch.at_end;
        if at_end || items.len() >= wanted.limit.get() {
            break;
        }
    }
    let next_cursor = if at_end {
        None
    } else {
        from.map(|from| page::write_cursor(&filters, &from))
    };
    let mut response = asked.respond(&Page { items, next_cursor });
    if let Some(considered) = from {
        let considered = position::header_value(considered, store.log_id());
        response.headers_mut().insert(position::HEADER, considered);
    }
    Ok(response)
}

/// `GET /v1/streams/{stream}`: one stream, oldest first unless `direction=backward`.
async fn stream(
    State(history): State<Arc<History>>,
    asked: Asked,
    Id(name): Id<StreamName>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let types = read_types(wanted.types.as_deref())?;
    asked.reach(&*history.store).await?;
    let filters = ("stream", &name, wanted.direction, &types);
    let direction = wanted.direction.into();
    let read = |from, max_events| {
        history
            .store
            .read_stream(&name, from, direction, Visibility::Durable, max_events)
    };
    let mut next: Option<u64> = match (&wanted.cursor, wanted.from.as_deref()) {
        (Some(cursor), _) => Some(page::read_cursor(cursor, &filters)?),
        (None, None) => None,
        (None, Some("start")) => Some(0),
        // Forward from the end there is nothing; the stream is still looked up below.
        (None, Some("end")) => match direction {
            Direction::Forward => Some(u64::MAX),
            Direction::Backward => None,
        },
        (None, Some(revision)) => Some(read_revision(revision)?),
    };
    // One more than the page holds says whether there is another.
    let chunk = wanted.limit.get() + 1;
    let mut items = Vec::new();
    let mut more = false;
    'pages: for _ in 0..MAX_READS {
        let events = read(next, chunk).await?;
        for event in &events {
            if wants(&types, &event.event.event_type) {
                if items.len() == wanted.limit.get() {
                    next = Some(event.revision);
                    more = true;
                    break 'pages;
                }
                items.push(history.show(event));
            }
        }
        let after = events.last().and_then(|last| match direction {
            Direction::Forward => last.revision.checked_add(1),
            Direction::Backward => last.revision.checked_sub(1),
        });
        more = events.len() == chunk && after.is_some();
        next = after;
        if !more {
            break;
        }
    }
    if items.is_empty() && read_first(&history, &name).await?.is_none() {
        return Err(Problem::new(errors::NOT_FOUND));
    }
    let next_cursor = next
        .filter(|_| more)
        .map(|revision| page::write_cursor(&filters, &revision));
    Ok(asked.respond(&Page { items, next_cursor }))
}

async fn read_first(
    history: &History,
    name: &StreamName,
) -> Result<Option<Arc<RecordedEvent>>, Problem> {
    let first = history
        .store
        .read_stream(name, None, Direction::Forward, Visibility::Durable, 1)
        .await?;
    Ok(first.into_iter().next())
}

fn read_revision(text: &str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        Problem::new(errors::INVALID_QUERY)
            .field("?from", "a revision of the stream, `start` or `end`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_wanted_by_its_name_and_by_its_beginning_up_to_a_dot() {
        let wants = |wanted: &str| wants(&[wanted.to_owned()], "order.placed.v1");
        for wanted in [
            "order.placed.v1",
            "order.placed",
            "order.placed.",
            "order",
            "order.",
        ] {
            assert!(wants(wanted), "{wanted}");
        }
        for wanted in ["order.placed.v", "ord", "order.placed.v10", "payment"] {
            assert!(!wants(wanted), "{wanted}");
        }
    }
}
