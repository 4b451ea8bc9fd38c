//! The whole system from a seed, as `recourse simulate` runs it: ten seeds keep every promise, and
//! the same seed gives the same log to the byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use recourse::simulation::{self, Options, Outcome, Tally};
use serde_json::Value;

#[test]
fn ten_seeds_keep_every_promise() {
    let mut total = Tally::default();
    for seed in seeds() {
        let Outcome { tally, .. } = run(seed);
        say(&format!("seed {seed}: {tally:?}\n"));
        total.add(&tally);
    }
    for (name, count) in total.fields() {
        assert!(
            count > 0,
            "no seed had any {name}: the simulation does not simulate them"
        );
    }
}

#[test]
fn a_seed_gives_the_same_log_to_the_byte() {
    let first = run(7);
    let again = run(7);
    let (log, other) = (&first.log, &again.log);
    if let Some(at) = log.iter().zip(other).position(|(one, other)| one != other) {
        let around = |log: &[u8]| {
            let from = at.saturating_sub(600);
            String::from_utf8_lossy(&log[from..log.len().min(at + 300)]).into_owned()
        };
        panic!(
            "byte {at} of the log differs:\n{}\n\n{}",
            around(log),
            around(other)
        );
    }
    assert_eq!(
        log.len(),
        other.len(),
        "one log goes on where the other ends"
    );
    assert_eq!(first, again);
    assert!(first.log != run(8).log, "another seed gave the same log");
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

fn run(seed: u64) -> Outcome {
    simulation::run(Options::of(seed)).unwrap_or_else(|breach| panic!("seed {seed}: {breach:?}"))
}

fn simulate(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recourse"));
    let output = command
        .env_clear()
        .arg("simulate")
        .args(args)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.is_empty(), "{error}");
    let told = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), told)
}

#[test]
fn the_command_counts_what_happened_and_repeats_it() {
    let (code, told) = simulate(&["--seeds", "2", "--orders", "12", "--json"]);
    assert_eq!(code, Some(0), "{told}");
    let report: Value = serde_json::from_str(&told).unwrap();
    let seeds = report["seeds"].as_array().unwrap();
    assert_eq!([&seeds[0]["seed"], &seeds[1]["seed"]], [1, 2]);
    for seed in seeds {
        assert_eq!(seed["orders"], 12);
        assert!(seed["completed"].as_u64().unwrap() > 0, "{seed}");
        assert!(seed["crashes"].as_u64().unwrap() > 0, "{seed}");
        assert!(seed["virtual_time_ms"].as_u64().unwrap() > 1_000, "{seed}");
        assert_eq!(seed["log_sha256"].as_str().unwrap().len(), 64);
    }
    assert_ne!(seeds[0]["log_sha256"], seeds[1]["log_sha256"]);
    assert_eq!(report["total"]["orders"], 24);
    assert!(report.get("broken").is_none());

    let (code, told) = simulate(&["--seed", "2", "--orders", "12"]);
    assert_eq!(code, Some(0), "{told}");
    let hash = seeds[1]["log_sha256"].as_str().unwrap();
    assert!(told.contains(hash), "{told}");
    assert!(
        told.contains("every promise holds in 1 seed\n  orders    12, "),
        "{told}"
    );
}

#[test]
fn a_broken_promise_is_told_with_the_command_that_shows_it_again() {
    // Some payments take longer than that to be answered.
    let args = ["--settle-within-s", "1", "--seeds", "3..9"];
    let (code, told) = simulate(&args);
    assert_eq!(code, Some(1), "{told}");
    let broken = "seed 3 breaks a promise:\n  1 s after all was healed something is still open";
    assert!(told.contains(broken), "{told}");
    let again = "to see it again: recourse simulate --seed 3 --settle-within-s 1\n";
    assert!(told.ends_with(again), "{told}");

    let (code, told) = simulate(&["--seed", "3", "--settle-within-s", "1", "--json"]);
    assert_eq!(code, Some(1), "{told}");
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(report["broken"]["seed"], 3);
    let again = "recourse simulate --seed 3 --settle-within-s 1";
    assert_eq!(report["broken"]["repeat"], again);
    assert!(
        report["broken"]["breach"]
            .as_str()
            .unwrap()
            .contains("the log ends at")
    );
}

#[test]
fn whoever_reads_no_more_is_told_by_the_exit_code_that_a_promise_is_broken() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recourse"));
    command.env_clear().arg("simulate");
    command.args(["--settle-within-s", "1", "--seeds", "3..9"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
