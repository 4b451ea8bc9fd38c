//! The business rules of Recourse: products, stock, orders, payments.
//!
//! Pure: no clock, no randomness, no I/O, no async. Each aggregate is one module with its
//! `Command`, `Event`, `State` and `Refusal`, and two functions:
//!
//! ```text
//! decide(&State, &Command) -> Result<Vec<Event>, Refusal>      what happens, if anything
//! evolve(State, &Event) -> State                               what that makes of the state
//! ```
//!
//! Events and commands are enums of newtype variants, each renamed to its type
//! (`order.placed.v1`, `stock.reserve`): the enum is the list of what a stream may hold. This
//! crate names no other of ours.

pub mod card;
pub mod ids;
pub mod money;
pub mod order;
pub mod payment;
pub mod product;
pub mod sku;
pub mod stock;
mod text;

pub use card::CardToken;
pub use ids::{CustomerId, HoldId, OrderId, PaymentId, RefundId, ReturnId};
pub use money::{Currency, Money};
pub use sku::{Quantity, Sku};

/// The code of an undo that finds nothing to undo, in every aggregate that knows undos. It is
/// also the answer to what it would have undone, which can no longer take effect.
pub const NOTHING_TO_UNDO: &str = "nothing-to-undo";
