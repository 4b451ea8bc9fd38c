//! The relay and the bus on a real Kafka.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing"
)]

mod broken;
mod conformance;
mod crashes;
mod generations;
mod sharing;
mod world;
