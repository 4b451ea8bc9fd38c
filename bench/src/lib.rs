//! Load, and the proof that nothing broke under it.
//!
//! ```text
//! load ──▶ orders over HTTP ──▶ latencies, rates, what each cost the server
//!   └▶ acknowledged file ─┐
//! crash ─▶ kill -9, again ┴─▶ verify: the whole log, the views, what clients were told
//! ```
//!
//! [`verify`] folds the log and holds the promises against it; [`load`] drives a server from
//! a process of its own; [`crash`] kills one again and again while orders are in flight.
//! Where a server is several processes, [`apart`] says what each costs, and [`hops`] where an
//! order's time goes between them.
//! [`acknowledged`] is the file that ties them: what a client was told, kept outside the
//! server.

pub mod acknowledged;
pub mod apart;
pub mod crash;
mod histogram;
pub mod hops;
pub mod http;
pub mod load;
mod place;
mod plan;
pub mod server;
pub mod sse;
pub mod verify;
pub mod watch;

pub use histogram::Quantiles;
pub use http::Error as HttpError;
pub use plan::PrepareError;
