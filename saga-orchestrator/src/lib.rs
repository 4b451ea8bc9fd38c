//! Drives the sagas: one file a definition, and the runtime that feeds them.
//!
//! ```text
//! order.placed ──▶ saga starts ──▶ commands ──▶ answers ──▶ … ──▶ completed or compensated
//!                     ▲ cancellations, deadlines, look-ups
//! ```
//!
//! [`fulfilment`] is the saga of an order. [`Orchestrator`] is the runtime: it knows no saga by
//! name, only definitions. What a saga is lives in the log; what is kept beside it, the rows of
//! the sagas in flight, only makes a restart cheap.

pub mod fulfilment;
mod in_flight;
mod live;
mod lookup;
mod orchestrator;

pub use in_flight::{Error as InFlightError, IN_FLIGHT};
pub use orchestrator::{Counts, Error, Options, Orchestrator};
