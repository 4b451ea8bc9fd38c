//! Everything in one process, and the tools beside it.
//!
//! ```text
//! main ─▶ command ─▶ up: the system on the embedded engines, behind the gateway
//!                 ├▶ serve: one service, in a process of its own
//!                 ├▶ verify: the promises, held against the log and the views
//!                 ├▶ simulate: the system on engines in memory, from a seed
//!                 └▶ bench: load from a process of its own
//! ```
//!
//! [`system`] composes the same service libraries that run one a process elsewhere; which
//! engines they stand on is handed in.

mod arguments;
mod as_of;
mod backup;
mod behaviour;
mod bench;
mod bench_watch;
mod client;
pub mod command;
mod demo;
mod descriptors;
#[cfg(feature = "distributed")]
mod esdb;
pub mod folder;
mod manual;
mod metrics;
mod output;
mod projections;
mod ready;
mod replay;
pub mod running;
mod sagas;
mod schemas;
#[cfg(feature = "distributed")]
mod serve;
mod simulate;
pub mod simulation;
mod storage;
pub mod system;
mod threads;
pub mod types;
mod up;
mod verify;
mod watch;
mod why;
