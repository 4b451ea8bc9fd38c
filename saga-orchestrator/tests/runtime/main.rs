//! The runtime on in-memory engines and tokio's paused clock: what it reads, appends, keeps and
//! waits for, whatever the store, the bus and the rows do meanwhile.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test says what is wrong by failing"
)]

mod engines;
mod operator;
mod owners;
mod parking;
mod power_loss;
mod restarting;
mod starting;
mod time;
mod versions;
mod world;
