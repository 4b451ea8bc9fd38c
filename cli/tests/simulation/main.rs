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

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod asking;
mod check;
mod client;
mod operator;
mod tally;
mod world;

use std::{collections::BTreeMap, io::Write as _};

use tally::Tally;
use world::World;

#[test]
fn ten_seeds_keep_every_promise() {
    let mut total: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds() {
        let (tally, _) = run(seed);
        say(&format!("seed {seed}: {}\n", tally.line()));
        for (name, count) in tally.fields() {
            *total.entry(name).or_default() += count;
        }
    }
    for (name, count) in total {
        assert!(
            count > 0,
            "no seed had any {name}: the simulation does not simulate them"
        );
    }
}

#[test]
fn a_seed_gives_the_same_log_to_the_byte() {
    let (first, log) = run(7);
    let (second, again) = run(7);
    assert_eq!(first, second);
    if let Some(at) = log.iter().zip(&again).position(|(one, other)| one != other) {
        let around = |log: &[u8]| {
            let from = at.saturating_sub(600);
            String::from_utf8_lossy(&log[from..log.len().min(at + 300)]).into_owned()
        };
        panic!(
            "byte {at} of the log differs:\n{}\n\n{}",
            around(&log),
            around(&again)
        );
    }
    assert_eq!(
        log.len(),
        again.len(),
        "one log goes on where the other ends"
    );
    let (_, other) = run(8);
    assert!(log != other, "another seed gave the same log");
}

/// `RECOURSE_SEEDS=100..200` runs others than the ten of every test run.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("RECOURSE_SEEDS") else {
        return 1..11;
    };
    let (from, to) = text.split_once("..").expect("RECOURSE_SEEDS=FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

/// Straight to standard output: what a test prints with a macro is shown only where it fails.
fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

fn run(seed: u64) -> (Tally, Vec<u8>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(async { World::new(seed).await.live().await })
}
