//! The demo as a client: its requests go through the gateway like everybody's, only not over a
//! socket.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use recourse_gateway::Gateway;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// The most bytes of an answer: more than any page has.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// The longest that a `Retry-After` is followed for.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The shop that the demo buys from, for as long as it is not asked to stop.
pub(super) struct Shop {
    pub(super) gateway: Gateway,
    /// What the server is called in requests.
    pub(super) host: SocketAddr,
    pub(super) stop: CancellationToken,
}

/// Why there is no answer to go on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The process is to stop.
    #[error("asked to stop")]
    Stopped,
    /// The server says no.
    #[error("{method} {target} was answered {status} {code}")]
    Refused {
        /// `POST`.
        method: &'static str,
        /// Of the request.
        target: String,
        /// Of the answer.
        status: StatusCode,
        /// The problem's code; empty where there is none.
        code: String,
    },
    /// The request or the answer is not what it must be.
    #[error("{method} {target} cannot be sent, or its answer not be read")]
    Unreadable {
        /// `POST`.
        method: &'static str,
        /// Of the request.
        target: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What the server has done.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    body: Bytes,
    request: (&'static str, String),
}

impl Answer {
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| unreadable(&self.request, error))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the request had been answered before.
    pub(super) fn is_replayed(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}

impl Shop {
    pub(super) async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, Error> {
        self.send("GET", target, &[], None).await?.read()
    }

    /// Posts under a key, which is the request's `Correlation-Id` too.
    pub(super) async fn post(
        &self,
        target: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, Error> {
        let mut all = vec![("idempotency-key", key), ("correlation-id", key)];
        all.extend(headers);
        self.send("POST", target, &all, Some(body)).await
    }

    /// Sends until the server has time for it. Anything but 2xx is [`Error::Refused`].
    pub(super) async fn send(
        &self,
        method: &'static str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let request = (method, target.to_owned());
        let mut told = false;
        loop {
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let answer = self.once(&request, headers, body).await?;
            let (parts, body) = answer.into_parts();
            let body = to_bytes(Body::new(body), MAX_BODY_BYTES).await;
            let body = body.map_err(|error| unreadable(&request, error))?;
            if parts.status.is_success() {
                return Ok(Answer {
                    headers: parts.headers,
                    body,
                    request,
                });
            }
            let problem = serde_json::from_slice::<Problem>(&body);
            let code = problem.map(|problem| problem.code).unwrap_or_default();
            let pause = parts.headers.get(header::RETRY_AFTER);
            let Some(pause) = pause.and_then(|pause| pause.to_str().ok()?.parse().ok()) else {
                let (method, target) = request;
                return Err(Error::Refused {
                    method,
                    target,
                    status: parts.status,
                    code,
                });
            };
            if !told {
                tracing::info!(code, method, target, "the demo is asked to come back later");
                told = true;
            }
            let pause = Duration::from_secs(pause).min(MAX_PAUSE);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Error::Stopped),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn once(
        &self,
        request: &(&'static str, String),
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<axum::response::Response, Error> {
        let (method, target) = request;
        let mut built = Request::builder()
            .method(*method)
            .uri(target)
            .header(header::HOST, self.host.to_string());
        for (name, value) in headers {
            built = built.header(*name, *value);
        }
        let body = match body {
            None => Body::empty(),
            Some(body) => {
                built = built.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
        };
        let built = built
            .body(body)
            .map_err(|error| unreadable(request, error))?;
        Ok(self.gateway.call(built).await)
    }
}

fn unreadable(
    (method, target): &(&'static str, String),
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Unreadable {
        method,
        target: target.clone(),
        source: source.into(),
    }
}
