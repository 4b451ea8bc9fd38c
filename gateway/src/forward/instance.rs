//! One process of a service: its address, whether it is worth asking, and how it says it is.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, response, uri::PathAndQuery},
    response::Response,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use recourse_service::{
    errors, http::IDEMPOTENCY_KEY, keys::Keys, problem::Code, readiness::Health,
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Address, Options, circuit::Circuit, headers::passed_on, metrics};

/// How long an idle connection to a service is kept: less than services keep theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a process says that cannot do now what another one may.
const TURNED_DOWN: [Code; 4] = [
    errors::DEPENDENCY_UNAVAILABLE,
    errors::STORE_UNAVAILABLE,
    errors::SHUTTING_DOWN,
    errors::OVERLOADED,
];

/// What requests are sent with.
pub(super) struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    authorization: Option<HeaderValue>,
    pub(super) options: Options,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
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

impl Failure {
    /// Whether nothing of the request can have been taken.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Key)
    }
}

/// A request without its body.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) headers: HeaderMap,
}

impl Head {
    /// Whether a repeat does no more than the first one.
    pub(super) fn is_repeatable(&self) -> bool {
        self.method.is_safe() || self.headers.contains_key(IDEMPOTENCY_KEY)
    }
}

/// What a process answers, all of it.
pub(super) struct Answer {
    parts: response::Parts,
    body: Bytes,
}

/// The part of a problem that is of use here.
#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    code: std::borrow::Cow<'a, str>,
}

impl Answer {
    /// Whether it says that this process cannot do now what another one may.
    pub(super) fn turns_down(&self) -> bool {
        self.parts.status == StatusCode::SERVICE_UNAVAILABLE
            && serde_json::from_slice::<Problem<'_>>(&self.body)
                .is_ok_and(|problem| TURNED_DOWN.iter().any(|code| problem.code == code.code))
    }

    pub(super) fn into_response(self) -> Response {
        Response::from_parts(self.parts, Body::from(self.body))
    }
}

impl Sender {
    pub(super) fn new(keys: Option<&Keys>, options: Options) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let connect_timeout = Duration::from_millis(options.forward_connect_timeout_ms);
        connector.set_connect_timeout(Some(connect_timeout));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self {
            client,
            authorization: keys.and_then(Keys::authorization),
            options,
        }
    }

    async fn send(&self, to: &Address, head: &Head, body: Bytes) -> Result<Answer, Failure> {
        let mut request = axum::http::Request::new(Full::new(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = to.uri(head.target.clone());
        request.headers_mut().clone_from(&head.headers);
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
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
        Ok(Answer { parts, body })
    }
}

/// One process of a service, as it is known here.
pub(super) struct Instance {
    service: &'static str,
    address: Address,
    circuit: Circuit,
    /// By what it said last, or that it says nothing.
    health: Mutex<Health>,
}

impl Instance {
    pub(super) fn new(service: &'static str, address: Address, options: &Options) -> Self {
        metrics::describe(service, &address);
        Self {
            service,
            address,
            circuit: Circuit::new(options.circuit_failures),
            health: Mutex::new(Health::Starting("no news of it yet".to_owned())),
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// What is cancelled once its circuit opens; none where it is open.
    pub(super) fn closed(&self) -> Option<CancellationToken> {
        self.circuit.closed()
    }

    pub(super) fn health(&self) -> Health {
        let health = self.health.lock();
        health.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(
            self.health(),
            Health::Up | Health::Noted(_) | Health::Degraded(_)
        )
    }

    fn set(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Sends a request, and waits until there is an answer or it is not worth waiting for.
    pub(super) async fn send(
        &self,
        sender: &Sender,
        head: &Head,
        body: Bytes,
        opened: &CancellationToken,
    ) -> Result<Answer, Failure> {
        tokio::select! {
            biased;
            sent = sender.send(&self.address, head, body) => sent,
            () = opened.cancelled() => Err(Failure::Opened),
        }
    }

    /// Asks it how it is.
    pub(super) async fn probe(&self, sender: &Sender) {
        let mut headers = HeaderMap::new();
        // Without a key too it is told whether that would do: an empty one is none.
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer"));
        let head = Head {
            method: Method::GET,
            target: PathAndQuery::from_static("/readyz"),
            headers,
        };
        let timeout_ms = sender.options.probe_timeout_ms;
        let asked = tokio::time::timeout(
            Duration::from_millis(timeout_ms),
            sender.send(&self.address, &head, Bytes::new()),
        );
        match asked.await.unwrap_or(Err(Failure::Late(timeout_ms))) {
            Ok(answer) => {
                self.answered();
                self.set(said(&answer));
            }
            Err(failure) => {
                self.failed(&failure);
                self.set(Health::Down(with_sources(&failure)));
            }
        }
    }

    pub(super) fn answered(&self) {
        if self.circuit.succeeded() {
            let (service, address) = (self.service, &self.address);
            tracing::info!(service, %address, "the service answers again");
        }
        metrics::answers(self.service, &self.address, true);
    }

    pub(super) fn failed(&self, failure: &Failure) {
        let (service, address) = (self.service, &self.address);
        let why = with_sources(failure);
        tracing::debug!(service, %address, why, "the service did not answer");
        // Each probe meets it again.
        if matches!(failure, Failure::Key) && self.health() != Health::Down(why.clone()) {
            tracing::error!(service, %address, "{failure}");
        }
        if self.circuit.failed() {
            tracing::warn!(service, %address, why, "the service does not answer");
            metrics::answers(service, address, false);
            self.set(Health::Down(why));
        }
    }
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

/// How a process is that answers `/readyz` so.
fn said(answer: &Answer) -> Health {
    let status = answer.parts.status;
    let Ok(said) = serde_json::from_slice::<Readiness>(&answer.body) else {
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
    match (status.is_success(), lacking.is_empty()) {
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
