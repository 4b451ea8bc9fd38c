//! Watching: the log, a stream, a saga and all sagas as Server-Sent Events.
//!
//! ```text
//! GET …/watch ─▶ start: Last-Event-ID, ?from= ─▶ watcher: read the store, meet the tail ─▶ body
//!                                                    ▲ frames, bounded
//!                       durable log ─▶ hub: one reader, each event encoded once
//! ```
//!
//! Whatever is watched, a watcher is resumed by the position it has last seen, misses nothing
//! and gets nothing twice: see `docs/decisions/0027-watching.md`.

mod fold;
mod frame;
mod hub;
mod start;
mod watcher;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use recourse_event_store::{Direction, EventStore, Position, StreamName, Visibility};
use recourse_schema::Redactor;
use recourse_service::{
    Problem,
    contract::{Answer, Input, Operation, Parameter, Place, Routes},
    errors,
    http::{Id, Prefer, Query, RequestContext, wait},
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use fold::{Fold, NewFold};

use self::{
    fold::Folds,
    hub::{Hub, Log, Wants},
    start::{Gone, Start},
    watcher::{Source, Ties, Watcher, revision_after},
};
use crate::{
    Options, history,
    metrics::{self, Kind, Open},
};

/// The media type of Server-Sent Events.
const MEDIA_TYPE: &str = "text/event-stream";

/// Tells proxies (nginx) to pass on each byte as it comes.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How long a watcher of a stream or saga that is not there waits for it, where it does not say:
/// who has placed an order may watch its saga before the saga has begun.
const DEFAULT_WAIT: Duration = Duration::from_secs(2);

/// Closes the connection of a request at once, whatever is still to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(pub(crate) CancellationToken);

struct Watching {
    hub: Arc<Hub>,
    room: Arc<Semaphore>,
    keep_alive: Duration,
    retry_ms: u64,
}

pub(crate) fn routes(
    store: Arc<dyn EventStore>,
    redactor: Arc<Redactor>,
    fold: Option<NewFold>,
    options: &Options,
) -> Routes {
    metrics::describe();
    let log = Log {
        store,
        redactor,
        fold,
    };
    let watching = Watching {
        hub: Arc::new(Hub::new(log, options.watch_buffer_events)),
        room: Arc::new(Semaphore::new(options.max_watchers)),
        keep_alive: Duration::from_millis(options.watch_keep_alive_ms),
        retry_ms: options.watch_retry_ms,
    };
    let mut routes = Routes::new()
        .get(
            "/v1/events/watch",
            events,
            operation("watchEvents", "Watch the log", "events").describe(
                "Each event that becomes durable, as `GET /v1/events` shows it, without an event \
                 name. Begins at the end unless `from` says otherwise.",
            ),
        )
        .get(
            "/v1/streams/{stream}/watch",
            stream,
            operation("watchStream", "Watch a stream", "events").describe(
                "Each event of the stream that becomes durable, as `GET /v1/events` shows it, \
                 without an event name. Begins at the end unless `from` says otherwise; `from` is \
                 a position, not a revision. A stream that is not there is waited for first.",
            ),
        );
    if fold.is_some() {
        routes = routes
            .get(
                "/v1/sagas/watch",
                sagas,
                operation("watchSagas", "Watch all sagas", "sagas").describe(
                    "`event: saga` with a saga in short after each of its events. Begins at the \
                     end unless `from` says otherwise.",
                ),
            )
            .get(
                "/v1/sagas/{id}/watch",
                saga,
                operation("watchSaga", "Watch a saga", "sagas")
                    .describe(
                        "`event: saga` with what `GET /v1/sagas/{id}` answers: as it is, unless \
                         `from` says where to begin, then after each of its events. Once it has \
                         ended, `event: end`, and the stream is closed. A saga that is not there \
                         is waited for first.",
                    )
                    .answer(Answer::empty(
                        204,
                        "It has ended, and who comes back with `Last-Event-ID` knows it: there is \
                         nothing more to come for",
                    )),
            );
    }
    routes.with_state(Arc::new(watching))
}

/// What the operations of all watches have in common.
fn operation(id: &'static str, summary: &'static str, tag: &'static str) -> Operation {
    Operation::new(id, summary)
        .tag(tag)
        .answer(
            Answer::events(
                200,
                "Server-Sent Events. Each `id:` is a position: come back with the last one as \
                 `Last-Event-ID`, which browsers do by themselves, and nothing is missed or comes \
                 twice. A block with `id:` alone says how far the log was considered. `event: \
                 reset` says that the position is gone: read anew what you hold",
            )
            .header(
                "X-Accel-Buffering",
                "`no`: proxies are to pass on each byte as it comes",
            )
            .example(EXAMPLE),
        )
        .fails(&[errors::INVALID_POSITION])
        .fails(errors::READING)
}

const EXAMPLE: &str = "retry: 1000\nid: 17-9f3a2c41\n\nid: 18-9f3a2c41\ndata: {}\n\n";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfEvents {
    /// A position, exclusive, `start` or `end`.
    from: Option<String>,
    /// Types, or the beginnings of types up to a dot, separated by commas.
    types: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfSagas {
    /// A position, exclusive, `start` or `end`.
    from: Option<String>,
}

/// What the request of every watcher says beside its query.
struct Asking {
    headers: HeaderMap,
    context: RequestContext,
    wait: Duration,
    cut: Cut,
}

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if !takes_events(&parts.headers) {
            return Err(Problem::new(errors::NOT_ACCEPTABLE)
                .detail(format!("a watch is answered as {MEDIA_TYPE}")));
        }
        let Ok(prefer) = Prefer::from_request_parts(parts, state).await;
        let Ok(context) = RequestContext::from_request_parts(parts, state).await;
        Ok(Self {
            headers: parts.headers.clone(),
            context,
            wait: prefer.wait.unwrap_or(DEFAULT_WAIT),
            // Without a socket there is none, and the watcher looks after itself.
            cut: parts.extensions.get::<Cut>().cloned().unwrap_or_default(),
        })
    }
}

impl Input for Asking {
    fn describe(operation: &mut Operation) {
        Prefer::describe(operation);
        operation.add_parameter(Parameter {
            place: Place::Header,
            name: "Last-Event-ID",
            description: "The last `id:` that was seen, where one comes back. It wins over `from`.",
            schema: |_| schemars::json_schema!({"type": "string"}),
            example: None,
        });
        operation.add_codes(&[errors::NOT_ACCEPTABLE]);
    }
}

/// Whether the client takes Server-Sent Events. One that does not say takes what there is.
fn takes_events(headers: &HeaderMap) -> bool {
    if !headers.contains_key(header::ACCEPT) {
        return true;
    }
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| {
            let range = range.trim();
            ["*/*", "text/*", MEDIA_TYPE]
                .iter()
                .any(|taken| range.eq_ignore_ascii_case(taken))
        })
}

/// `GET /v1/events/watch`
async fn events(
    State(watching): State<Arc<Watching>>,
    asking: Asking,
    Query(wanted): Query<OfEvents>,
) -> Result<Response, Problem> {
    let types = history::read_types(wanted.types.as_deref())?;
    let place = watching.place()?;
    let asked = asking.start(&watching, wanted.from.as_deref()).await?;
    let at = watching.position(asked.start);
    let ties = watching.ties(&asking, place, Kind::Events);
    let mut watcher = Watcher::new(ties, Source::Log { types }, at);
    watcher.read().await.map_err(problem)?;
    Ok(watching.respond(watcher, at, asked.start, true))
}

/// `GET /v1/streams/{stream}/watch`
async fn stream(
    State(watching): State<Arc<Watching>>,
    Id(name): Id<StreamName>,
    asking: Asking,
    Query(wanted): Query<OfEvents>,
) -> Result<Response, Problem> {
    let types = history::read_types(wanted.types.as_deref())?;
    let place = watching.place()?;
    let asked = asking.start(&watching, wanted.from.as_deref()).await?;
    let at = watching.position(asked.start);
    watching.find(&name, &asking).await?;
    let next = revision_after(&*watching.hub.log().store, &name, at).await?;
    let source = Source::Stream { name, types, next };
    let ties = watching.ties(&asking, place, Kind::Stream);
    let mut watcher = Watcher::new(ties, source, at);
    watcher.read().await.map_err(problem)?;
    Ok(watching.respond(watcher, at, asked.start, true))
}

/// `GET /v1/sagas/watch`
async fn sagas(
    State(watching): State<Arc<Watching>>,
    asking: Asking,
    Query(wanted): Query<OfSagas>,
) -> Result<Response, Problem> {
    let folds = Folds::new(watching.new_fold()?);
    let place = watching.place()?;
    let asked = asking.start(&watching, wanted.from.as_deref()).await?;
    let at = watching.position(asked.start);
    let ties = watching.ties(&asking, place, Kind::Sagas);
    let mut watcher = Watcher::new(ties, Source::Sagas { folds }, at);
    watcher.read().await.map_err(problem)?;
    Ok(watching.respond(watcher, at, asked.start, true))
}

/// `GET /v1/sagas/{id}/watch`
async fn saga(
    State(watching): State<Arc<Watching>>,
    Id(id): Id<Uuid>,
    asking: Asking,
    Query(wanted): Query<OfSagas>,
) -> Result<Response, Problem> {
    let fold = watching.new_fold()?();
    let place = watching.place()?;
    let asked = asking.start(&watching, wanted.from.as_deref()).await?;
    let name = StreamName::new("saga", id);
    watching.find(&name, &asking).await?;
    let (at, present) = match asked.start {
        Start::After(at) => (at, false),
        Start::Unsaid | Start::Gone(_) => (Position::START, true),
    };
    let source = Source::Saga {
        name,
        next: 0,
        fold,
        present,
    };
    let ties = watching.ties(&asking, place, Kind::Saga);
    let mut watcher = Watcher::new(ties, source, at);
    let is_news = watcher.read_saga().await.map_err(problem)?;
    if !is_news && asked.is_reconnect {
        // By the standard, what tells a client that comes back not to come again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let at = if present { watcher.at() } else { at };
    Ok(watching.respond(watcher, at, asked.start, !present))
}

impl Asking {
    async fn start(
        &self,
        watching: &Watching,
        from: Option<&str>,
    ) -> Result<start::Asked, Problem> {
        start::read(&self.headers, from, &*watching.hub.log().store).await
    }
}

impl Watching {
    /// A place among the watchers, for as long as one watches.
    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            Problem::new(errors::OVERLOADED).detail("as many watch already as this server takes")
        })
    }

    fn new_fold(&self) -> Result<NewFold, Problem> {
        let fold = self.hub.log().fold;
        fold.ok_or_else(|| Problem::new(errors::NOT_FOUND))
    }

    /// Where a watcher of events begins: without a word, with what comes from now on.
    fn position(&self, start: Start) -> Position {
        match start {
            Start::After(position) => position,
            Start::Unsaid | Start::Gone(_) => self.hub.log().store.durable(),
        }
    }

    fn ties(&self, asking: &Asking, place: OwnedSemaphorePermit, kind: Kind) -> Ties {
        Ties {
            hub: Arc::clone(&self.hub),
            keep_alive: self.keep_alive,
            draining: asking.context.draining().clone(),
            connection: asking.cut.0.clone(),
            _place: place,
            _open: Open::new(kind),
        }
    }

    /// Waits for a stream's first event to be durable.
    async fn find(&self, name: &StreamName, asking: &Asking) -> Result<(), Problem> {
        if self.is_there(name).await? {
            return Ok(());
        }
        let wants = Wants::Events(Vec::new());
        let mut tap = self
            .hub
            .tap(Some(name.clone()), wants, CancellationToken::new());
        // It may have come before the tap was there.
        if self.is_there(name).await? {
            return Ok(());
        }
        match wait(asking.wait, asking.context.draining(), tap.next()).await {
            Some(Some(_)) => Ok(()),
            _ => Err(Problem::new(errors::NOT_FOUND)),
        }
    }

    async fn is_there(&self, name: &StreamName) -> Result<bool, Problem> {
        let store = &self.hub.log().store;
        let first = store
            .read_stream(name, None, Direction::Forward, Visibility::Durable, 1)
            .await?;
        Ok(!first.is_empty())
    }

    /// The answer. `says_where`: that it opens with the position that it begins at, so that who
    /// loses it before the first event comes back there.
    fn respond(
        &self,
        mut watcher: Watcher,
        at: Position,
        start: Start,
        says_where: bool,
    ) -> Response {
        let id = self.hub.log().token(at);
        if let Start::Gone(gone) = start {
            watcher.begin_with(self.reset(&id, gone));
        }
        let id = says_where.then_some(&*id);
        watcher.begin_with(frame::opening(self.retry_ms, id));
        let body = futures::stream::unfold(watcher, |mut watcher| async move {
            let bytes = watcher.next().await?;
            Some((Ok::<Bytes, Infallible>(bytes), watcher))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
        ];
        (headers, Body::from_stream(body)).into_response()
    }

    fn reset(&self, id: &str, gone: Gone) -> Bytes {
        tracing::info!(
            reason = gone.as_str(),
            "a watcher comes from a position that is gone"
        );
        frame::reset(id, gone.as_str())
    }
}

fn problem(error: watcher::Error) -> Problem {
    match error {
        watcher::Error::Store(error) | watcher::Error::Fold(fold::FoldError::Store(error)) => {
            error.into()
        }
        watcher::Error::Fold(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a saga cannot be shown to who wants to watch it"
            );
            Problem::new(errors::INTERNAL)
        }
    }
}
