//! EventStoreDB's gRPC protocol, from both ends.
//!
//! ```text
//! services ──port──▶ client::Store ──gRPC──▶ EventStoreDB, KurrentDB
//!                                  └───────▶ server ──port──▶ any event store
//! official clients ───────────────────gRPC──▶ server
//! ```
//!
//! - [`client`]: the port's adapter, a thin client for the calls that the port needs.
//! - [`server`]: the protocol in front of any event store of the port.
//! - `wire`: the messages, generated once for both. `message`: ids and names in them.
//!
//! Why there is a client of our own: `docs/decisions/0038-eventstoredb-adapter.md`.

pub mod client;
mod message;
pub mod server;
mod wire;
