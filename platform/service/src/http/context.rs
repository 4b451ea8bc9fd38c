//! What is known of a request beside its content, and the layer that finds it out.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, Method, Request, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{CORRELATION_ID, IDEMPOTENCY_KEY, TRACEPARENT};
use crate::{Ids, Problem};

/// The limits that extractors hold requests to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
    /// The longest that `Prefer: wait` may ask for.
    pub max_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 256 * 1024,
            max_wait: Duration::from_secs(30),
        }
    }
}

/// What every request is given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where ids of requests come from.
    pub ids: Ids,
    /// The limits.
    pub limits: Limits,
    /// Cancelled once the process drains: those who wait are answered.
    pub draining: CancellationToken,
}

/// Who asks, under which id, within which limits. Cheap to clone.
///
/// Behind [`enter`] (the gateway, or [`layer`] where a service runs on its own) it is complete;
/// without it the id of the request is nil where the client sent none.
#[derive(Clone, Debug)]
pub struct RequestContext {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    request_id: Box<str>,
    traceparent: Box<str>,
    limits: Limits,
    draining: CancellationToken,
}

impl RequestContext {
    /// The id of the request: the client's `Correlation-Id`, or one of ours.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.inner.request_id
    }

    /// The W3C trace context of what is done for this request: the client's trace, our span.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.inner.traceparent
    }

    /// Who asks. Nobody is known by name yet.
    #[must_use]
    pub fn principal(&self) -> &str {
        "anonymous"
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// Cancelled once the process drains.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.inner.draining
    }

    fn read(headers: &HeaderMap, settings: Option<&Settings>) -> Self {
        let ids = settings.map(|settings| &settings.ids);
        let request_id = headers
            .get(CORRELATION_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| {
                (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
            })
            .map_or_else(
                || ids.map_or(Uuid::nil(), Ids::next).to_string().into(),
                Into::into,
            );
        let mut span = [0; 8];
        let mut trace = [0; 16];
        if let Some(ids) = ids {
            ids.fill(&mut span);
        }
        let given = headers
            .get(TRACEPARENT)
            .and_then(|value| parse_traceparent(value.to_str().ok()?));
        let traceparent = match given {
            Some((trace, flags)) => format!("00-{trace}-{:016x}-{flags}", u64::from_be_bytes(span)),
            None => {
                if let Some(ids) = ids {
                    ids.fill(&mut trace);
                }
                format!(
                    "00-{:032x}-{:016x}-00",
                    u128::from_be_bytes(trace),
                    u64::from_be_bytes(span)
                )
            }
        };
        Self {
            inner: Arc::new(Inner {
                request_id,
                traceparent: traceparent.into(),
                limits: settings.map_or_else(Limits::default, |settings| settings.limits),
                draining: settings
                    .map_or_else(CancellationToken::new, |settings| settings.draining.clone()),
            }),
        }
    }
}

/// The trace id and the flags of a `traceparent`, <https://www.w3.org/TR/trace-context/>.
fn parse_traceparent(text: &str) -> Option<(&str, &str)> {
    let hex = |part: &str, digits: usize| {
        part.len() == digits
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let well_formed = hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && hex(trace, 32)
        && !zero(trace)
        && hex(parent, 16)
        && !zero(parent)
        && hex(flags, 2);
    // A later version may have flags that we do not know; only `sampled` is passed on.
    well_formed.then(|| {
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        (trace, if sampled { "01" } else { "00" })
    })
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(of(parts))
    }
}

pub(super) fn of(parts: &Parts) -> RequestContext {
    parts
        .extensions
        .get::<RequestContext>()
        .cloned()
        .unwrap_or_else(|| RequestContext::read(&parts.headers, None))
}

/// What a request comes in with: its context, and an idempotency key where a command has none,
/// so that a repeat by a proxy between here and the service is recognised.
pub fn enter<B>(settings: &Settings, request: &mut Request<B>) -> RequestContext {
    let context = RequestContext::read(request.headers(), Some(settings));
    let commands = matches!(*request.method(), Method::POST | Method::PUT);
    if commands && !request.headers().contains_key(IDEMPOTENCY_KEY) {
        // A UUID is visible ASCII.
        if let Ok(key) = HeaderValue::from_str(&settings.ids.next().to_string()) {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
    }
    request.extensions_mut().insert(context.clone());
    context
}

/// What an answer goes out with: the id of the request and its trace. A problem is told which
/// request it belongs to.
#[must_use]
pub fn leave(context: &RequestContext, path: &str, mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let (mut parts, _) = response.into_parts();
        // Whatever was added to the answer on its way out stays; its length does not.
        parts.headers.remove(header::CONTENT_LENGTH);
        let body = problem.instance(path).into_response().into_body();
        response = Response::from_parts(parts, body);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(context.request_id()) {
        headers.insert(CORRELATION_ID, value);
    }
    if let Ok(value) = HeaderValue::from_str(context.traceparent()) {
        headers.insert(TRACEPARENT, value);
    }
    response
}

/// [`enter`] and [`leave`] around a router, for a service that runs on its own:
/// `router.layer(axum::middleware::from_fn_with_state(settings, context::layer))`.
pub async fn layer(
    axum::extract::State(settings): axum::extract::State<Settings>,
    mut request: axum::extract::Request,
    next: Next,
) -> Response {
    let context = enter(&settings, &mut request);
    let path = request.uri().path().to_owned();
    leave(&context, &path, next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn settings() -> Settings {
        Settings {
            ids: Ids::seeded(Arc::new(SystemClock), 1),
            limits: Limits::default(),
            draining: CancellationToken::new(),
        }
    }

    fn entered(headers: &[(&str, &str)]) -> (RequestContext, Request<()>) {
        let mut request = Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        (enter(&settings(), &mut request), request)
    }

    #[tokio::test]
    async fn a_service_of_its_own_has_the_same_context() {
        use axum::{body::Body, routing::get};
        use http_body_util::BodyExt;
        use tower::ServiceExt;

        let router = axum::Router::new()
            .route(
                "/held",
                get(|context: RequestContext| async move {
                    let detail = context.request_id().to_owned();
                    Problem::new(crate::errors::CONFLICT)
                        .detail(detail)
                        .header(header::ALLOW, HeaderValue::from_static("GET"))
                }),
            )
            .layer(axum::middleware::from_fn_with_state(settings(), layer));
        let request = Request::get("/held?x=1")
            .header(CORRELATION_ID, "mine")
            .body(Body::empty())
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.headers()[CORRELATION_ID], "mine");
        assert_eq!(response.headers()[header::ALLOW], "GET");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["instance"], "/held");
        assert_eq!(document["detail"], "mine");
    }

    #[test]
    fn a_well_formed_correlation_id_is_kept_and_another_replaced() {
        let (context, _) = entered(&[("correlation-id", "order-7")]);
        assert_eq!(context.request_id(), "order-7");
        let long = "x".repeat(129);
        for bad in ["", "a b", "é", &long] {
            let (context, _) = entered(&[("correlation-id", bad)]);
            assert!(Uuid::parse_str(context.request_id()).is_ok(), "{bad}");
        }
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_ours() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let given = format!("00-{trace}-00f067aa0ba902b7-01");
        let (context, _) = entered(&[("traceparent", &given)]);
        assert!(context.traceparent().starts_with(&format!("00-{trace}-")));
        assert!(context.traceparent().ends_with("-01"));
        assert_ne!(context.traceparent(), given);
        for bad in [
            "",
            "00",
            &format!("ff-{trace}-00f067aa0ba902b7-01"),
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{trace}-00f067aa0ba902b7-01-x"),
            &format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
        ] {
            let (context, _) = entered(&[("traceparent", bad)]);
            assert!(!context.traceparent().contains(trace), "{bad}");
            assert!(parse_traceparent(context.traceparent()).is_some());
        }
    }

    #[test]
    fn a_command_without_a_key_is_given_one_and_a_given_key_is_kept() {
        let (_, request) = entered(&[]);
        let made = request.headers()[IDEMPOTENCY_KEY].to_str().unwrap();
        assert!(Uuid::parse_str(made).is_ok());
        let (_, request) = entered(&[("idempotency-key", "k")]);
        assert_eq!(request.headers()[IDEMPOTENCY_KEY], "k");
    }
}
