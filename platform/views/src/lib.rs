//! Read models: rows that are a fold of the log, and the queries on them.
//!
//! ```text
//! event store ── durable, in order ──▶ Projector ──▶ Projection (pure) ──▶ rows
//!                                         │                                 │ one transaction
//!                                         └── checkpoint ───────────────────┴──▶ Documents
//! ```
//!
//! A [`Projection`] is a pure function from a row and an event to a row. A [`Projector`]
//! drives it: reads the log from the view's checkpoint, folds a batch into each row once, and
//! commits rows and checkpoint together. [`documents::Documents`] is the port to the database
//! that holds them; [`sqlite`] and [`memory`] are its adapters. What is to be double entry goes
//! through [`books::Books`] instead, whose database holds each entry to sum to zero; a
//! [`Bookkeeper`] drives that in the same way.
//!
//! A view is rebuilt beside itself: [`rebuild`] has the rules of its generations.
//!
//! A view that a restored backup left ahead of, or beside, the log is refused with what to do
//! ([`Checkpoint::verify`](recourse_event_store::Checkpoint::verify)), never silently carried on.

pub mod books;
#[cfg(test)]
mod conformance;
mod considered;
pub mod documents;
mod fields;
pub mod memory;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod projection;
pub mod projector;
pub mod rebuild;
mod router;
mod rows;
pub mod sqlite;
pub mod verify;

pub use considered::Considered;
pub use projection::{Projection, ProjectionError, fold_in_memory};
pub use projector::{Bookkeeper, Projector};
pub use recourse_event_store::{Checkpoint, CheckpointError};
pub use router::Router;
