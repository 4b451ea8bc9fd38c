//! The conventions of the API, once: what is the same for every address.
//!
//! Input comes through extractors, each of which refuses with a [`Problem`](crate::Problem);
//! output through [`Reply`]:
//!
//! ```
//! use recourse_service::{Problem, http::{Body, ClientCommand, Id, Prefer, Reply, RequestContext}};
//!
//! #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Receipt { quantity: u32, reference: String }
//!
//! async fn receive(
//!     context: RequestContext,
//!     command: ClientCommand,
//!     Id(sku): Id<String>,
//!     prefer: Prefer,
//!     Body(receipt): Body<Receipt>, // last: it reads the body
//! ) -> Result<Reply<Receipt>, Problem> {
//!     let _ = (context.request_id(), command.id, command.body_hash(&receipt), sku, prefer.wait);
//!     Ok(Reply::created(receipt))
//! }
//!
//! let router: axum::Router =
//!     axum::Router::new().route("/v1/stock/{sku}/receipts", axum::routing::post(receive));
//! ```

mod command;
pub mod context;
mod input;
mod objects;
mod precondition;
mod prefer;
mod reply;
mod wrong;

pub use command::{ClientCommand, IdempotencyKey, body_hash, client_command_id};
pub use context::{Limits, RequestContext};
pub use input::{
    Body, Id, MaybeBody, MinPosition, NewId, NoParameters, Query, SWALLOWED, UsualUuid, read_id,
    too_large,
};
pub use precondition::{Preconditions, etag};
pub use prefer::{Prefer, wait};
pub use reply::Reply;

use axum::http::HeaderName;

/// The client's id of a request: `requestId` in events and log lines.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");
/// The W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What makes a repeat of a POST find the first one.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is that of an earlier request under the same key.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// RFC 7240.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// RFC 7240.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
