//! Services that are processes of their own: their requests go on to them over HTTP.
//!
//! ```text
//! router ─▶ forwarder: circuit ─▶ pool ─▶ service
//!               ▲  │ no answer: once more, where that does no harm
//!               │  └─▶ 503 dependency-unavailable
//!    /readyz ◀──┴── probe, every so often: opens and closes the circuit
//! ```
//!
//! The addresses, what they promise and their limits are those of the code (`Routes`); only who
//! answers is another process. A request is sent again where nothing of it was sent, or where a
//! repeat finds the first one: it reads, or has an `Idempotency-Key`, and the gateway gives every
//! command one.

mod circuit;
mod metrics;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header,
        request::Parts,
        uri::{Authority, PathAndQuery, Scheme},
    },
    response::{IntoResponse, Response},
};
use clap::Args;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use recourse_service::{
    Problem,
    contract::Routes,
    errors,
    http::{CORRELATION_ID, IDEMPOTENCY_KEY, PREFER, RequestContext, TRACEPARENT, too_large},
    keys::Keys,
    readiness::{Dependency, Health},
};
use serde::Deserialize;

use self::circuit::Circuit;

/// What concerns one connection only, RFC 9110 7.6.1, or is said anew on the next one; and what a
/// browser says of itself, which was checked here.
const NOT_PASSED_ON: [HeaderName; 15] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::ORIGIN,
    HeaderName::from_static("sec-fetch-site"),
];

/// How long an idle connection to a service is kept: less than services keep theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How services are asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(skip)]
pub struct Options {
    /// The longest that a connection to a service may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Options::default().forward_connect_timeout_ms)]
    pub forward_connect_timeout_ms: u64,
    /// How many times a request is sent to a service that does not answer, at most.
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().forward_max_tries)]
    pub forward_max_tries: u32,
    /// The wait before a request is sent again, in milliseconds; it doubles.
    #[arg(long, value_name = "MS", default_value_t = Options::default().forward_first_backoff_ms)]
    pub forward_first_backoff_ms: u64,
    /// The largest answer of a service, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Options::default().forward_max_answer_bytes)]
    pub forward_max_answer_bytes: usize,
    /// How many failures in a row open the circuit of a service: its addresses then answer 503
    /// at once.
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().circuit_failures)]
    pub circuit_failures: u32,
    /// How often each service is asked how it is, in milliseconds: an answer closes its circuit.
    #[arg(long, value_name = "MS", default_value_t = Options::default().probe_interval_ms)]
    pub probe_interval_ms: u64,
    /// How long it may take to say that, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Options::default().probe_timeout_ms)]
    pub probe_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            forward_connect_timeout_ms: 1_000,
            forward_max_tries: 4,
            forward_first_backoff_ms: 50,
            forward_max_answer_bytes: 32 * 1024 * 1024,
            circuit_failures: 5,
            probe_interval_ms: 500,
            probe_timeout_ms: 1_000,
        }
    }
}

/// Where a service is: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Authority);

/// It is not `http://host:port`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("it is not http://host:port")]
pub struct NotAnAddress;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let uri = text.parse::<Uri>().map_err(|_| NotAnAddress)?;
        let plain = uri.scheme() == Some(&Scheme::HTTP)
            && uri.path() == "/"
            && uri.query().is_none()
            && uri.port().is_some();
        let authority = uri.authority().filter(|authority| {
            // Who is asked stands in a file of keys, never in an address.
            plain && !authority.as_str().contains('@')
        });
        Ok(Self(authority.ok_or(NotAnAddress)?.clone()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// Hands requests on to one service. Cheap to clone; clones share its connections.
#[derive(Clone)]
pub struct Forwarder(Arc<Inner>);

struct Inner {
    name: &'static str,
    address: Address,
    authorization: Option<HeaderValue>,
    client: Client<HttpConnector, Full<Bytes>>,
    circuit: Circuit,
    dependency: Dependency,
    options: Options,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no connection")]
    Connect(#[source] legacy::Error),
    #[error("the connection broke")]
    Broken(#[source] legacy::Error),
    #[error("the answer broke off")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {0} ms")]
    Late(u64),
    #[error("the service takes none of the keys that this process has")]
    Key,
    #[error("its circuit opened")]
    Opened,
}

/// A request without its body.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    /// Whether a repeat does no more than the first one.
    fn is_repeatable(&self) -> bool {
        self.method.is_safe() || self.headers.contains_key(IDEMPOTENCY_KEY)
    }
}

impl Forwarder {
    /// Hands requests on to the service of this name at this address, with the first of these
    /// keys. What is found out of it goes to `dependency`.
    #[must_use]
    pub fn new(
        name: &'static str,
        address: Address,
        keys: Option<&Keys>,
        dependency: Dependency,
        options: Options,
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let connect_timeout = Duration::from_millis(options.forward_connect_timeout_ms);
        connector.set_connect_timeout(Some(connect_timeout));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        metrics::describe(name);
        Self(Arc::new(Inner {
            name,
            address,
            authorization: keys.and_then(Keys::authorization),
            client,
            circuit: Circuit::new(options.circuit_failures),
            dependency,
            options,
        }))
    }

    /// The addresses of `contract`, answered by the service.
    pub fn routes(&self, contract: Routes) -> Routes {
        let forwarder = self.clone();
        contract.handed_to(move |request: Request| {
            let forwarder = forwarder.clone();
            async move {
                let answered = forwarder.0.forward(request).await;
                answered.unwrap_or_else(Problem::into_response)
            }
        })
    }

    /// Asks the service how it is, every so often, for as long as this is polled.
    pub async fn watch(&self) {
        let interval = Duration::from_millis(self.0.options.probe_interval_ms.max(1));
        loop {
            self.0.probe().await;
            tokio::time::sleep(interval).await;
        }
    }
}

impl Inner {
    async fn forward(&self, request: Request) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let context = parts.extensions.get::<RequestContext>().cloned();
        let max_body_bytes = context.as_ref().map(|context| context.limits());
        let body = read(body, max_body_bytes.unwrap_or_default().max_body_bytes).await?;
        let mut head = self.head(parts, context.as_ref());
        let draining = context.map(|context| context.draining().clone());
        let draining = draining.unwrap_or_default();
        let mut hurried = false;
        let mut tries = 0;
        loop {
            let Some(opened) = self.circuit.closed() else {
                return Err(self.unavailable());
            };
            let may_hurry = !hurried && head.is_repeatable() && head.headers.contains_key(PREFER);
            let sent = tokio::select! {
                biased;
                sent = self.send(&head, body.clone()) => sent,
                () = opened.cancelled() => Err(Failure::Opened),
                () = draining.cancelled(), if may_hurry => {
                    // Who waits is told what there is: the same request, asked without a wait.
                    head.headers.insert(PREFER, HeaderValue::from_static("wait=0"));
                    hurried = true;
                    continue;
                }
            };
            let failure = match sent {
                Ok(answer) => {
                    self.answered();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            tries += 1;
            let again = matches!(failure, Failure::Connect(_)) || head.is_repeatable();
            let is_last = tries >= self.options.forward_max_tries;
            self.failed(&failure);
            if !again || is_last || matches!(failure, Failure::Key | Failure::Opened) {
                return Err(self.unavailable());
            }
            metrics::repeated(self.name);
            tokio::time::sleep(self.backoff(tries)).await;
        }
    }

    /// The request as it goes on.
    fn head(&self, parts: Parts, context: Option<&RequestContext>) -> Head {
        let mut headers = passed_on(parts.headers);
        if let Some(context) = context {
            for (name, value) in [
                (CORRELATION_ID, context.request_id()),
                (TRACEPARENT, context.traceparent()),
            ] {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            }
        }
        let target = parts.uri.into_parts().path_and_query;
        Head {
            method: parts.method,
            uri: self.uri(target),
            headers: self.with_key(headers),
        }
    }

    fn uri(&self, target: Option<PathAndQuery>) -> Uri {
        let mut parts = axum::http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.address.0.clone());
        parts.path_and_query = Some(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
        // With all three there it always has a form.
        Uri::from_parts(parts).unwrap_or_default()
    }

    fn with_key(&self, mut headers: HeaderMap) -> HeaderMap {
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        headers
    }

    async fn send(&self, head: &Head, body: Bytes) -> Result<Response, Failure> {
        let mut request = axum::http::Request::new(Full::new(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        let answer = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                Failure::Connect(error)
            } else {
                Failure::Broken(error)
            }
        })?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Err(Failure::Key);
        }
        let (mut parts, body) = answer.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH).cloned();
        parts.headers = passed_on(parts.headers);
        // An answer to HEAD says how long that to GET would be.
        if let Some(length) = length.filter(|_| head.method == Method::HEAD) {
            parts.headers.insert(header::CONTENT_LENGTH, length);
        }
        // Whole, before any of it goes on: one that breaks off can still be asked for again.
        let body = Limited::new(body, self.options.forward_max_answer_bytes);
        let body = body.collect().await.map_err(Failure::Answer)?.to_bytes();
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    async fn probe(&self) {
        let head = Head {
            method: Method::GET,
            uri: self.uri(Some(PathAndQuery::from_static("/readyz"))),
            headers: self.with_key(HeaderMap::new()),
        };
        let timeout_ms = self.options.probe_timeout_ms;
        let asked = tokio::time::timeout(
            Duration::from_millis(timeout_ms),
            self.send(&head, Bytes::new()),
        );
        match asked.await.unwrap_or(Err(Failure::Late(timeout_ms))) {
            Ok(answer) => {
                self.answered();
                self.dependency.set(health(answer).await);
            }
            Err(failure) => {
                self.failed(&failure);
                self.dependency.down(with_sources(&failure));
            }
        }
    }

    fn answered(&self) {
        if self.circuit.succeeded() {
            tracing::info!(service = self.name, "the service answers again");
        }
        metrics::answers(self.name, true);
    }

    fn failed(&self, failure: &Failure) {
        let why = with_sources(failure);
        tracing::debug!(service = self.name, why, "the service did not answer");
        if matches!(failure, Failure::Key) {
            tracing::error!(service = self.name, "{failure}");
        }
        if self.circuit.failed() {
            tracing::warn!(service = self.name, why, "the service does not answer");
            self.dependency.down(why);
            metrics::answers(self.name, false);
        }
    }

    fn unavailable(&self) -> Problem {
        let detail = format!("the service {} does not answer", self.name);
        Problem::new(errors::DEPENDENCY_UNAVAILABLE).detail(detail)
    }

    fn backoff(&self, tries: u32) -> Duration {
        let factor = 1_u64.checked_shl(tries.saturating_sub(1));
        let first = self.options.forward_first_backoff_ms;
        Duration::from_millis(first.saturating_mul(factor.unwrap_or(u64::MAX)))
    }
}

/// The whole body, within its limit.
async fn read(body: Body, max_bytes: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, max_bytes).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(max_bytes)),
        Err(error) => {
            tracing::debug!(%error, "a request broke off");
            Err(Problem::new(errors::MALFORMED_JSON).detail("the body broke off"))
        }
    }
}

/// Without what concerns this connection only.
fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&NOT_PASSED_ON) {
        headers.remove(name);
    }
    headers
}

/// What `/readyz` of a service says, as far as it is of use here.
#[derive(Deserialize)]
struct Readiness {
    dependencies: Vec<Needed>,
}

#[derive(Deserialize)]
struct Needed {
    name: String,
    status: String,
    #[serde(default)]
    detail: Option<String>,
}

/// How a service is that answers `/readyz`.
async fn health(answer: Response) -> Health {
    let (is_ready, status) = (answer.status().is_success(), answer.status());
    let body = answer.into_body().collect().await;
    let said = body
        .ok()
        .and_then(|body| serde_json::from_slice::<Readiness>(&body.to_bytes()).ok());
    let Some(said) = said else {
        return Health::Down(format!("its /readyz answers {status}"));
    };
    let lacking: Vec<String> = said
        .dependencies
        .into_iter()
        .filter(|needed| needed.status != "up")
        .map(
            |Needed {
                 name,
                 status,
                 detail,
             }| {
                let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
                format!("{name} is {status}{detail}")
            },
        )
        .collect();
    match (is_ready, lacking.is_empty()) {
        (true, true) => Health::Up,
        (true, false) => Health::Degraded(lacking.join(", ")),
        (false, _) => Health::Starting(lacking.join(", ")),
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_address_is_one() {
        let address: Address = "http://orders:7183".parse().unwrap();
        assert_eq!(address.to_string(), "http://orders:7183");
        assert!("http://127.0.0.1:7183/".parse::<Address>().is_ok());
        assert!("http://[::1]:7183".parse::<Address>().is_ok());
        for wrong in [
            "",
            "orders:7183",
            "https://orders:7183",
            "http://orders",
            "http://orders:7183/v1",
            "http://orders:7183?x",
            "http://key@orders:7183",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_concerns_one_connection_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("host", "localhost"),
            ("authorization", "Bearer of-the-client"),
            ("origin", "http://localhost"),
            ("prefer", "wait=3"),
            ("if-match", "\"3\""),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let passed = passed_on(headers);
        let mut names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["if-match", "prefer"]);
    }
}
