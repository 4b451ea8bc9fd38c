//! What all queries share: how new the view must be, pages, and what is said when it cannot.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderValue, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use recourse_event_store::{EventStore, LogId, Position};
use recourse_service::{
    Problem,
    contract::{self, Input, Operation},
    errors,
    http::{self, MinPosition, PREFERENCE_APPLIED, Prefer, RequestContext},
    page::{self, Limit, Page},
    position,
};
use recourse_views::{
    Projection,
    documents::{self, After, Document, Documents, Filter, Order},
    projector::read_row,
};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::generations::{self, Telling};

/// One view, to be asked. Cheap to clone.
pub(crate) struct View<P: Projection> {
    shared: Arc<Shared>,
    projection: std::marker::PhantomData<fn() -> P>,
}

struct Shared {
    documents: Arc<dyn Documents>,
    freshness: Freshness,
}

/// How new a view is, whatever it is kept in: what those who ask it may wait for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Freshness {
    store: Arc<dyn EventStore>,
    view: Arc<generations::View>,
    default_wait: Duration,
}

impl<P: Projection> Clone for View<P> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            projection: std::marker::PhantomData,
        }
    }
}

/// What a request says of how it wants to be answered.
pub(crate) struct Asked {
    pub(crate) min_position: MinPosition,
    pub(crate) prefer: Prefer,
    pub(crate) context: RequestContext,
    pub(crate) uri: Uri,
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

/// The promise to show one `T`.
pub(crate) fn shows<T: JsonSchema>(
    description: &'static str,
    example: &'static str,
) -> contract::Answer {
    contract::Answer::json::<T>(200, description)
        .example(example)
        .position()
        .preference_applied()
}

/// The promise to list `T`s.
pub(crate) fn lists<T: JsonSchema>(example: &'static str) -> contract::Answer {
    shows::<Page<T>>("A page, newest first", example).link()
}

/// Which page of which rows.
pub(crate) struct List<I> {
    pub(crate) filters: Vec<Filter>,
    pub(crate) order: Order,
    pub(crate) limit: Limit,
    pub(crate) cursor: Option<String>,
    /// The filters as the client gave them: a cursor holds for these only.
    pub(crate) identity: I,
}

/// A row, and how new it is.
pub(crate) struct Found<R> {
    pub(crate) row: R,
    answer: Answer,
}

/// What every answer of a view carries.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    /// Everything up to here is in it.
    position: Position,
    log: LogId,
    prefer: Prefer,
}

impl Answer {
    /// Of what is known up to a position of a log.
    pub(crate) const fn at(position: Position, log: LogId, asked: &Asked) -> Self {
        Self {
            position,
            log,
            prefer: asked.prefer,
        }
    }

    /// Adds it to an answer.
    pub(crate) fn complete(self, mut response: Response) -> Shown {
        let headers = response.headers_mut();
        headers.insert(
            position::HEADER,
            position::header_value(self.position, self.log),
        );
        if let Some(applied) = self.prefer.applied() {
            headers.insert(PREFERENCE_APPLIED, applied);
        }
        Shown(response)
    }
}

/// An answer, to which a view may add.
pub(crate) struct Shown(Response);

impl Shown {
    /// Adds the revision of what is shown.
    pub(crate) fn etag(mut self, tag: HeaderValue) -> Response {
        self.0.headers_mut().insert(header::ETAG, tag);
        self.0
    }
}

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<R> Found<R> {
    /// Shows it.
    pub(crate) fn respond<T: Serialize>(self, show: impl FnOnce(R) -> T) -> Shown {
        self.answer.complete(Json(show(self.row)).into_response())
    }
}

impl Freshness {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        view: Arc<generations::View>,
        default_wait: Duration,
    ) -> Self {
        Self {
            store,
            view,
            default_wait,
        }
    }

    /// The log that the view is made from.
    pub(crate) fn store(&self) -> &dyn EventStore {
        &*self.store
    }

    /// Begins to read the view, as new as the request asks for.
    pub(crate) async fn reading<'a>(&'a self, asked: &'a Asked) -> Result<Reading<'a>, Problem> {
        let minimum = asked.min_position.resolve(&*self.store).await?;
        Ok(self.reading_at(minimum, asked))
    }

    /// As [`Self::reading`], once the view has come to the head of the log as of now; none where
    /// it was there `before`.
    async fn reading_head<'a>(
        &'a self,
        before: Answer,
        asked: &'a Asked,
    ) -> Result<Option<Reading<'a>>, Problem> {
        let head = self.store.appended().await?;
        let is_there = before.position >= head;
        Ok((!is_there).then(|| self.reading_at(Some(head), asked)))
    }

    fn reading_at<'a>(&'a self, minimum: Option<Position>, asked: &'a Asked) -> Reading<'a> {
        let wait = asked.prefer.wait.unwrap_or(self.default_wait);
        Reading {
            freshness: self,
            asked,
            minimum,
            deadline: Instant::now() + wait,
        }
    }
}

/// A question to a view, which is asked again where its queries are switched to another
/// generation meanwhile:
///
/// ```ignore
/// let (found, answer) = loop {
///     let at = reading.generation().await?;
///     let found = documents.query(&collection.in_generation(at.generation), &query).await;
///     if let Some(answer) = reading.told(&at).await? {
///         break (found?, answer);
///     }
/// };
/// ```
pub(crate) struct Reading<'a> {
    freshness: &'a Freshness,
    asked: &'a Asked,
    minimum: Option<Position>,
    deadline: Instant,
}

/// A generation that is as new as is asked, and what an answer that is read from it carries.
pub(crate) struct At {
    pub(crate) generation: u32,
    answer: Answer,
}

impl Reading<'_> {
    /// The generation to read, once it is as new as is asked.
    pub(crate) async fn generation(&self) -> Result<At, Problem> {
        let Freshness { store, view, .. } = self.freshness;
        loop {
            let serves = view.serving.settled().await;
            if let Some(position) = self.minimum
                && serves.considered.get() < position
            {
                let left = self.deadline.saturating_duration_since(Instant::now());
                let reached = async {
                    tokio::select! {
                        biased;
                        reached = serves.considered.wait(position, left) => Some(reached),
                        () = view.serving.left(serves.generation) => None,
                    }
                };
                match http::wait(left, self.asked.context.draining(), reached).await {
                    Some(Some(true)) => {}
                    // Another generation is read by now: it may be there already.
                    Some(None) => continue,
                    _ => return Err(Problem::new(errors::VIEW_BEHIND)),
                }
            }
            return Ok(At {
                generation: serves.generation,
                answer: Answer::at(serves.considered.get(), store.log_id(), self.asked),
            });
        }
    }

    /// What an answer carries that was read there; none where it may not be told, and the
    /// question is to be asked again.
    pub(crate) async fn told(&self, at: &At) -> Result<Option<Answer>, Problem> {
        let Freshness { store, view, .. } = self.freshness;
        let mut head = None;
        loop {
            match view.serving.may_tell(at.generation, head) {
                Telling::Yes => return Ok(Some(at.answer)),
                Telling::No => return Ok(None),
                Telling::Ask => head = Some(store.appended().await?),
            }
        }
    }
}

impl<P: Projection> View<P> {
    pub(crate) fn new(documents: Arc<dyn Documents>, freshness: Freshness) -> Self {
        Self {
            shared: Arc::new(Shared {
                documents,
                freshness,
            }),
            projection: std::marker::PhantomData,
        }
    }

    /// The log that the view is made from.
    pub(crate) fn log(&self) -> LogId {
        self.shared.freshness.store.log_id()
    }

    /// One row. Where it is not there, the view first reaches the head of the log: what was
    /// written before the question is found.
    pub(crate) async fn get(&self, id: &str, asked: &Asked) -> Result<Found<P::Row>, Problem> {
        let freshness = &self.shared.freshness;
        let (mut document, mut answer) = self.load(id, freshness.reading(asked).await?).await?;
        if document.is_none()
            && let Some(newer) = freshness.reading_head(answer, asked).await?
        {
            (document, answer) = self.load(id, newer).await?;
        }
        let document = document.ok_or_else(|| Problem::new(errors::NOT_FOUND))?;
        let row = self.read(&document)?;
        Ok(Found { row, answer })
    }

    /// A page of rows.
    pub(crate) async fn list<I: Serialize, T: Serialize>(
        &self,
        list: List<I>,
        asked: &Asked,
        show: impl Fn(P::Row) -> T,
    ) -> Result<Response, Problem> {
        let identity = (P::NAME, &list.identity);
        let after = match &list.cursor {
            Some(cursor) => Some(page::read_cursor::<After>(cursor, &identity)?),
            None => None,
        };
        let query = documents::Query {
            filters: list.filters,
            order: list.order,
            after,
            limit: u32::try_from(list.limit.get()).unwrap_or(u32::MAX),
        };
        let reading = self.shared.freshness.reading(asked).await?;
        let (found, answer) = loop {
            let at = reading.generation().await?;
            let collection = P::collection().in_generation(at.generation);
            let found = self.shared.documents.query(&collection, &query).await;
            if let Some(answer) = reading.told(&at).await? {
                break (found.map_err(problem::<P>)?, answer);
            }
        };
        let items = found
            .documents
            .iter()
            .map(|document| self.read(document).map(&show))
            .collect::<Result<Vec<_>, _>>()?;
        let page = Page {
            items,
            next_cursor: found
                .next
                .map(|after| page::write_cursor(&identity, &after)),
        };
        Ok(answer.complete(page.respond(&asked.uri)).into_response())
    }

    async fn load(
        &self,
        id: &str,
        reading: Reading<'_>,
    ) -> Result<(Option<Document>, Answer), Problem> {
        let ids = [id.to_owned()];
        loop {
            let at = reading.generation().await?;
            let collection = P::collection().in_generation(at.generation);
            let found = self.shared.documents.load(&collection, &ids).await;
            if let Some(answer) = reading.told(&at).await? {
                let found = found.map_err(problem::<P>)?;
                return Ok((found.documents.into_iter().next(), answer));
            }
        }
    }

    fn read(&self, document: &Document) -> Result<P::Row, Problem> {
        read_row::<P>(&document.id, &document.json).map_err(problem::<P>)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err asks for"
)]
fn problem<P: Projection>(error: documents::Error) -> Problem {
    tracing::error!(
        view = P::NAME,
        error = &error as &dyn std::error::Error,
        "a view did not answer a query"
    );
    Problem::new(match error {
        documents::Error::Unavailable(_) | documents::Error::Moved { .. } => {
            errors::DEPENDENCY_UNAVAILABLE
        }
        documents::Error::NotIndexed { .. }
        | documents::Error::Damaged { .. }
        | documents::Error::Incompatible { .. } => errors::INTERNAL,
    })
}
