//! How those outside ask: until there is an answer.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use rand_chacha::{ChaCha8Rng, rand_core::Rng as _};
use recourse_event_store::Position;
use serde_json::Value;

use super::{breach::Breach, world::Front};

/// Far more than any crash takes.
const MAX_TRIES: u32 = 1_000;

/// Far more than any answer has.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Somebody who asks, and does not give up.
pub(super) struct Asking {
    pub(super) draw: ChaCha8Rng,
    pub(super) front: Front,
    pub(super) answers_lost: u64,
}

/// An answer that came.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Where it stands in the log; its start where the answer does not say.
    pub(super) position: Position,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// What its body has under a name.
    pub(super) fn field(&self, name: &str) -> &Value {
        field(&self.body, name)
    }

    /// That nobody may get it.
    pub(super) fn wrong(self, what: &'static str) -> Breach {
        Breach::Answer {
            what,
            status: self.status,
            body: self.body.to_string(),
        }
    }
}

/// What an object has under a name; null where it has nothing.
pub(super) fn field<'a>(of: &'a Value, name: &str) -> &'a Value {
    of.get(name).unwrap_or(&Value::Null)
}

impl Asking {
    /// Asks until there is an answer, always under the same key.
    ///
    /// # Errors
    /// Where none comes however often it asks.
    pub(super) async fn insist(
        &mut self,
        method: &str,
        path: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, Breach> {
        let mut last = None;
        for _ in 0..MAX_TRIES {
            let gateway = self.front.gateway();
            let Some(gateway) = gateway else {
                self.pause(400).await;
                continue;
            };
            let mut request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::HOST, "127.0.0.1")
                .header("idempotency-key", key);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let body = if body.is_null() {
                Body::empty()
            } else {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            };
            let request = request.body(body).map_err(Breach::engine)?;
            let answered =
                tokio::time::timeout(Duration::from_secs(20), gateway.call(request)).await;
            let Ok(response) = answered else {
                self.answers_lost = self.answers_lost.saturating_add(1);
                continue;
            };
            if self.draw.next_u64().is_multiple_of(12) {
                // The network loses the answer.
                self.answers_lost = self.answers_lost.saturating_add(1);
                continue;
            }
            let (parts, body) = response.into_parts();
            if parts.status.is_server_error() || parts.status == StatusCode::TOO_MANY_REQUESTS {
                last = Some(parts.status);
                self.pause(400).await;
                continue;
            }
            let bytes = to_bytes(body, MAX_ANSWER_BYTES).await;
            let bytes = bytes.map_err(Breach::engine)?;
            let position = parts
                .headers
                .get("recourse-position")
                .and_then(|value| value.to_str().ok()?.split('-').next()?.parse().ok())
                .unwrap_or_default();
            return Ok(Answer {
                status: parts.status,
                position,
                headers: parts.headers,
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            });
        }
        Err(Breach::NoAnswer {
            method: method.to_owned(),
            path: path.to_owned(),
            key: key.to_owned(),
            last,
        })
    }

    pub(super) async fn pause(&mut self, at_most_ms: u64) {
        let pause = self.draw.next_u64() % at_most_ms;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
