//! What every service shares, free of business words.
//!
//! ```text
//! options ─▶ telemetry ─▶ run(options, shutdown) ─▶ drain
//!                            │ clock, ids, readiness
//! request ─▶ http::context ─▶ http extractors ─▶ handler ─▶ http::Reply | Problem
//! ```
//!
//! [`http`] holds the conventions of the API as axum extractors, so that no service spells
//! them again; [`problem`] is the one way in which a request fails. [`clock`] and [`ids`] are
//! the only sources of time and randomness, so that a seed replays a whole system.

pub mod admission;
pub mod clock;
pub mod command;
pub mod contract;
pub mod errors;
pub mod http;
pub mod ids;
pub mod keys;
pub mod options;
pub mod page;
pub mod position;
pub mod problem;
pub mod readiness;
pub mod shutdown;
pub mod telemetry;

pub use clock::Clock;
pub use ids::Ids;
pub use problem::Problem;
