//! The contract of the API: a route and what is promised of it, declared in one call.
//!
//! ```text
//! Routes::post(path, handler, operation) ──▶ axum::Router      what is answered
//!                  │ the handler's extractors └▶ Operation ──▶ document(): OpenAPI 3.1
//!                  └── describe themselves: parameters, body, and how they refuse
//! ```
//!
//! The gateway takes [`Routes`] and no bare router, so there is no address that the document
//! does not have. What a handler takes is read off its signature, so a parameter or a body
//! cannot be forgotten either; what it answers is said by the [`Operation`], and the tests hold
//! every answer that they see against it.
//!
//! ```
//! use recourse_service::{Problem, contract::{Answer, Operation, Routes}, errors};
//! use recourse_service::http::{Body, ClientCommand, NewId, Reply};
//! use schemars::JsonSchema;
//!
//! /// Goods in.
//! #[derive(serde::Serialize, serde::Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Receipt {
//!     /// How many pieces.
//!     quantity: u32,
//! }
//!
//! async fn receive(
//!     NewId(sku): NewId<String>,
//!     command: ClientCommand,
//!     Body(receipt): Body<Receipt>,
//! ) -> Result<Reply<Receipt>, Problem> {
//!     let _ = (sku, command);
//!     Ok(Reply::created(receipt))
//! }
//!
//! let routes: Routes = Routes::new().post(
//!     "/v1/stock/{sku}/receipts",
//!     receive,
//!     Operation::new("receiveStock", "Take goods in")
//!         .tag("stock")
//!         .body_example(r#"{"quantity": 3}"#)
//!         .answer(Answer::json::<Receipt>(201, "Counted").example(r#"{"quantity": 3}"#))
//!         .fails(errors::COMMAND),
//! );
//! let operation = &routes.operations()[0];
//! assert!(operation.has_parameter("Idempotency-Key"));
//! assert!(operation.codes().any(|code| code.code == "invalid-body"));
//! ```

mod answer;
mod document;
mod input;
mod operation;
mod routes;

pub use answer::Answer;
pub use document::{Info, document};
pub use input::{Input, Inputs};
pub use operation::{Operation, Parameter, Place};
pub use routes::{Bound, Routes};

/// Makes the schema of a type, in the document that asks for it.
pub type SchemaOf = fn(&mut schemars::SchemaGenerator) -> schemars::Schema;

/// The schema of `T`.
pub(crate) fn schema_of<T: schemars::JsonSchema>(
    generator: &mut schemars::SchemaGenerator,
) -> schemars::Schema {
    generator.subschema_for::<T>()
}
