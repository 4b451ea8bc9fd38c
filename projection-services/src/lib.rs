//! The read models: orders, sagas, stock, products; and the queries on them.
//!
//! ```text
//! event store ─▶ projector ─▶ rows of a view ─▶ GET /v1/orders, /v1/sagas, /v1/stock, /v1/products
//!                    └── considered ──────────▶ wait for a minimum position
//! ```
//!
//! Each view is one module: its row, the pure projection that makes it, and its addresses.
//! [`Projections`] runs them all and is how a process has them. No secret is in any row.

mod events;
pub mod orders;
pub mod products;
mod projections;
pub mod sagas;
pub mod stock;
mod view;

pub use projections::{Options, Projections, collections};

#[cfg(test)]
mod tests;
