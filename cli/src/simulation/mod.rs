//! The whole system from a seed: every service, two orchestrators, in-memory engines, tokio's
//! paused clock, one thread. Messages are lost, doubled and delayed, processes crash and what
//! was not durable is gone, clients lose answers and ask again, cancel and send goods back, an
//! operator meddles, the provider fails. In the end every promise is held against the log and the
//! views, and the same seed gives the same log to the byte.
//!
//! ```text
//! client: orders, cancels, returns ─┐
//! operator: retries, skips, undoes ─┴▶ asking: answers are lost ─▶ world: crashes ─▶ check
//! ```
//!
//! Nothing here reads the machine's clock or waits for it: hours of virtual time pass in seconds.

mod asking;
mod breach;
mod check;
mod client;
mod operator;
mod tally;
mod world;

use std::time::Duration;

pub use breach::Breach;
pub use tally::Tally;

use world::World;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What everything is drawn from.
    pub seed: u64,
    /// How many orders are placed.
    pub orders: u32,
    /// How long all may take to settle once nothing goes wrong any more, in seconds of virtual
    /// time.
    pub settle_within_s: u32,
}

impl Options {
    /// A seed with as much as a test run has.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self {
            seed,
            orders: 72,
            settle_within_s: 600,
        }
    }
}

/// What came of a seed that kept every promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened.
    pub tally: Tally,
    /// How long it took, in virtual time.
    pub virtual_time: Duration,
    /// The log, as bytes: of the same options always the same.
    pub log: Vec<u8>,
}

/// Simulates one seed, on this thread and in a runtime of its own.
///
/// # Errors
/// The first promise that was broken.
pub fn run(options: Options) -> Result<Outcome, Breach> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(Breach::engine)?
        .block_on(async { World::new(options).await.live().await })
}
