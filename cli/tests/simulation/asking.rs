//! How those outside ask: until there is an answer.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use rand_chacha::{ChaCha8Rng, rand_core::Rng as _};
use recourse_event_store::Position;
use serde_json::Value;

use crate::world::Front;

/// Far more than any crash takes.
const MAX_TRIES: u32 = 1_000;

/// Somebody who asks, and does not give up.
pub(crate) struct Asking {
    pub(crate) draw: ChaCha8Rng,
    pub(crate) front: Front,
    pub(crate) answers_lost: u64,
}

/// An answer that came.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Where it stands in the log; its start where the answer does not say.
    pub(crate) position: Position,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Asking {
    /// Asks until there is an answer, always under the same key.
    pub(crate) async fn insist(
        &mut self,
        method: &str,
        path: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let mut last = None;
        for _ in 0..MAX_TRIES {
            let gateway = self.front.gateway.lock().unwrap().clone();
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
            let request = request.body(body).unwrap();
            let answered =
                tokio::time::timeout(Duration::from_secs(20), gateway.call(request)).await;
            let Ok(response) = answered else {
                self.answers_lost += 1;
                continue;
            };
            if self.draw.next_u64().is_multiple_of(12) {
                // The network loses the answer.
                self.answers_lost += 1;
                continue;
            }
            let (parts, body) = response.into_parts();
            if parts.status.is_server_error() || parts.status == StatusCode::TOO_MANY_REQUESTS {
                last = Some(parts.status);
                self.pause(400).await;
                continue;
            }
            let bytes = to_bytes(body, 1 << 20).await.unwrap();
            let position = parts
                .headers
                .get("recourse-position")
                .and_then(|value| value.to_str().ok()?.split('-').next()?.parse().ok())
                .unwrap_or_default();
            return Answer {
                status: parts.status,
                position,
                headers: parts.headers,
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            };
        }
        panic!("no answer to {method} {path} under {key}, at last {last:?}")
    }

    pub(crate) async fn pause(&mut self, at_most_ms: u64) {
        let pause = self.draw.next_u64() % at_most_ms;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
