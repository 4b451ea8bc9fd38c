//! The calls to the provider on in-memory engines and tokio's paused clock: when they are made,
//! how often, under which key, and what a crash makes of them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test says what is wrong by failing"
)]

mod crashing;
mod engines;
mod outcomes;
mod room;
mod shifts;
mod world;
