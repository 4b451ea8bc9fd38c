//! What a successful answer carries.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use recourse_event_store::{LogId, Position};
use serde::Serialize;

use super::{IDEMPOTENCY_REPLAYED, PREFERENCE_APPLIED, Prefer, etag};
use crate::position;

/// A JSON answer with the headers of the conventions.
///
/// ```
/// use axum::response::IntoResponse;
/// use recourse_service::http::Reply;
///
/// let response = Reply::created(serde_json::json!({"order_id": "7"}))
///     .location("/v1/orders/7")
///     .etag(0)
///     .into_response();
/// assert_eq!(response.status(), 201);
/// assert_eq!(response.headers()["etag"], "\"0\"");
/// ```
#[derive(Clone, Debug)]
pub struct Reply<T> {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: T,
}

impl<T> Reply<T> {
    /// An answer with this status.
    #[must_use]
    pub fn new(status: StatusCode, body: T) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
        }
    }

    /// 200.
    #[must_use]
    pub fn ok(body: T) -> Self {
        Self::new(StatusCode::OK, body)
    }

    /// 201.
    #[must_use]
    pub fn created(body: T) -> Self {
        Self::new(StatusCode::CREATED, body)
    }

    /// 202: begun, and still going on.
    #[must_use]
    pub fn accepted(body: T) -> Self {
        Self::new(StatusCode::ACCEPTED, body)
    }

    /// The position the answer stands at.
    #[must_use]
    pub fn position(self, position: Position, log: LogId) -> Self {
        self.header(position::HEADER, position::header_value(position, log))
    }

    /// The revision of what is shown.
    #[must_use]
    pub fn etag(self, revision: u64) -> Self {
        self.header(header::ETAG, etag(revision))
    }

    /// Where the thing is: a path. Ids of ours are fit for a header; what is not is left out.
    #[must_use]
    pub fn location(self, path: impl AsRef<str>) -> Self {
        match HeaderValue::from_str(path.as_ref()) {
            Ok(path) => self.header(header::LOCATION, path),
            Err(_) => self,
        }
    }

    /// Says that this is the answer to an earlier request under the same key.
    #[must_use]
    pub fn replayed(self, replayed: bool) -> Self {
        if replayed {
            self.header(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"))
        } else {
            self
        }
    }

    /// Says how long the request was willing to wait.
    #[must_use]
    pub fn applied(self, prefer: Prefer) -> Self {
        match prefer.applied() {
            Some(applied) => self.header(PREFERENCE_APPLIED, applied),
            None => self,
        }
    }

    /// Any other header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
