//! The read models: orders, sagas, stock, products, ledger; and the queries on them.
//!
//! ```text
//! event store ─▶ projector ──▶ rows of a view ─▶ GET /v1/orders, /v1/sagas, /v1/stock, /v1/products
//!     │      └▶ bookkeeper ─▶ entries of a book ▶ GET /v1/ledger/accounts, /v1/ledger/entries
//!     │              └── considered ───────────▶ wait for a minimum position; GET /v1/projections
//!     ├── one stream, when asked ──────────────▶ GET /v1/payments/{id}
//!     └── projection-… ─▶ which generation ────▶ /v1/projections/{name}/rebuilds
//! ```
//!
//! Each view is one module: its row, the pure projection that makes it, and its addresses.
//! [`Projections`] runs them all and is how a process has them. `generations` rebuilds one while
//! it is asked. No secret is in any row.

pub mod errors;
mod events;
mod generations;
pub mod ledger;
mod listing;
pub mod orders;
mod payments;
pub mod products;
mod projections;
pub mod sagas;
pub mod stock;
mod view;

pub use projections::{Options, Projections, books, collections, live_generations, reading};

#[cfg(test)]
mod tests;
