//! What holds for every request, in one function and in this order.
//!
//! One function rather than a stack of layers: each layer would box a future and copy a
//! request, and all of it is on the path of every order.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, Limited};
use recourse_service::{
    Ids, Problem, errors,
    http::{
        Limits, SWALLOWED,
        context::{self, Settings},
        too_large,
    },
    keys::Keys,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::Instrument;

use crate::{Options, origin::Guard};

/// How long a client that sends too much may go on: see [`SWALLOWED`].
const REFUSED_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// Who is let in.
enum Door {
    /// Whoever reaches this address by its name and not from another's web page.
    Local(Guard),
    /// Whoever has a key, which no web page has.
    Keyed(Keys),
}

pub(crate) struct Entry {
    router: Router,
    door: Door,
    settings: Settings,
    max_header_bytes: usize,
    request_timeout: Duration,
    room: Semaphore,
}

impl Entry {
    pub(crate) fn new(
        router: Router,
        options: &Options,
        keys: Option<Keys>,
        ids: Ids,
        draining: CancellationToken,
    ) -> Self {
        Self {
            router,
            door: match keys {
                Some(keys) => Door::Keyed(keys),
                None => Door::Local(Guard::new(options.listen, &options.allowed_hosts)),
            },
            settings: Settings {
                ids,
                limits: options.limits(),
                draining,
            },
            max_header_bytes: options.max_header_bytes,
            request_timeout: options.request_timeout(),
            room: Semaphore::new(options.max_requests_in_flight),
        }
    }

    pub(crate) async fn call(&self, mut request: Request<Body>) -> Response {
        let context = context::enter(&self.settings, &mut request);
        let uri = request.uri().clone();
        let span = tracing::info_span!(
            "request",
            requestId = context.request_id(),
            method = %request.method(),
            path = uri.path(),
        );
        let response = self
            .admit(request)
            .instrument(span)
            .await
            .unwrap_or_else(Problem::into_response);
        let mut response = as_problem(response);
        let headers = response.headers_mut();
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        let mut response = context::leave(&context, uri.path(), response);
        // What is shown changes from one moment to the next, and is nobody else's business.
        response
            .headers_mut()
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        response
    }

    async fn admit(&self, request: Request<Body>) -> Result<Response, Problem> {
        self.check_headers(&request)?;
        // Whoever starts and watches processes asks how this one is, and learns nothing more.
        let asks_how_it_is = matches!(request.uri().path(), "/healthz" | "/readyz");
        match &self.door {
            Door::Local(guard) => {
                guard.check(request.method(), request.uri(), request.headers())?;
            }
            // Who shows a key there learns whether it would be taken: the gateway asks so.
            Door::Keyed(_)
                if asks_how_it_is && !request.headers().contains_key(header::AUTHORIZATION) => {}
            Door::Keyed(keys) => keys.check(request.headers())?,
        }
        let Limits { max_body_bytes, .. } = self.settings.limits;
        let declared = declared_length(&request).unwrap_or_default();
        if declared > max_body_bytes {
            // Far too much is not worth waiting for.
            let swallowed = max_body_bytes.saturating_mul(SWALLOWED);
            if declared <= swallowed {
                swallow(request.into_body(), swallowed).await;
            }
            return Err(too_large(max_body_bytes));
        }
        // Whether the server lives is asked most when it has too much to do.
        let _permit = match asks_how_it_is {
            true => None,
            false => Some(
                self.room
                    .try_acquire()
                    .map_err(|_| Problem::new(errors::OVERLOADED))?,
            ),
        };
        let answered = catching(self.router.clone().call(request));
        match tokio::time::timeout(self.request_timeout, answered).await {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => {
                tracing::error!(panic = message(&*panic), "a handler panicked");
                Err(Problem::new(errors::INTERNAL))
            }
            Err(_) => Err(Problem::new(errors::REQUEST_TIMEOUT)),
        }
    }

    fn check_headers(&self, request: &Request<Body>) -> Result<(), Problem> {
        // As they stand in the request: `name: value` and the end of the line.
        let headers: usize = request
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        let uri = request.uri();
        let address = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
        if headers + address > self.max_header_bytes {
            return Err(Problem::new(errors::HEADERS_TOO_LARGE).detail(format!(
                "the address and the headers have at most {} bytes",
                self.max_header_bytes
            )));
        }
        Ok(())
    }
}

fn declared_length(request: &Request<Body>) -> Option<usize> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Reads what is left of a body that is refused, within bounds.
async fn swallow(body: Body, max_bytes: usize) {
    let rest = Limited::new(body, max_bytes);
    let mut rest = pin!(rest);
    let _ = tokio::time::timeout(REFUSED_BODY_TIMEOUT, async {
        while let Some(Ok(_)) = rest.frame().await {}
    })
    .await;
}

/// A failure that is not a problem yet is one of the router's (404, 405) or of an extractor
/// that is not ours.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| {
            value.as_bytes().starts_with(b"application/") && value.as_bytes().ends_with(b"json")
        });
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let problem = Problem::new(match status {
        StatusCode::NOT_FOUND => errors::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => errors::METHOD_NOT_ALLOWED,
        StatusCode::PAYLOAD_TOO_LARGE => errors::BODY_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => errors::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::UNPROCESSABLE_ENTITY => errors::INVALID_BODY,
        _ => {
            tracing::error!(%status, "a handler failed without a problem");
            errors::INTERNAL
        }
    });
    match response.headers().get(header::ALLOW) {
        Some(allow) => problem.header(header::ALLOW, allow.clone()),
        None => problem,
    }
    .into_response()
}

/// Polls a future; a panic in it is its result and not the end of the connection.
async fn catching<F: Future>(work: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        // The future is not polled again after a panic, so no one sees what it left behind.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
