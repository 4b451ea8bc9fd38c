//! The service's addresses and its waiters, on in-memory engines and tokio's paused clock. The
//! tests play the saga's part.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test says what is wrong by failing"
)]

mod cancelling;
mod placing;
mod settlements;
mod world;
