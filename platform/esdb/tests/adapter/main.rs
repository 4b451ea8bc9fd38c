//! The adapter of the port, against the server of the same protocol.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod conformance;
mod hostility;
mod link;
mod restarts;
mod speed;
mod world;
