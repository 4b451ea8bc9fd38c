//! The real binary, killed with -9 again and again while orders are in flight.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{io::Write as _, path::PathBuf, sync::Arc};

use recourse::folder::Reading;
use recourse_bench::{crash, server::Spawn};
use recourse_service::{Clock, clock::SystemClock};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_through_twenty_kills() {
    run(20, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_where_the_payment_provider_fails_too() {
    run(3, &["--psp-fault-rate", "0.2"]).await;
}

async fn run(kills: u32, args: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let options = crash::Options {
        spawn: Spawn {
            program: PathBuf::from(env!("CARGO_BIN_EXE_recourse")),
            data: folder.path().join("data"),
            args: ["--log", "warn"]
                .iter()
                .chain(args)
                .map(Into::into)
                .collect(),
            start_timeout_ms: 30_000,
        },
        name: "crash".to_owned(),
        kills,
        in_flight: 48,
        failing_percent: 25,
        skus: 20,
        max_lines: 3,
        seed: 1,
        kill_after_ms: 20..=600,
        wait_s: 20,
        settle_timeout_ms: 60_000,
        acknowledged: folder.path().join("acknowledged"),
        folder: Arc::new(Reading),
        clock: || SystemClock.now(),
    };
    let report = crash::run(&options).await.unwrap();
    // What a test prints with a macro is shown only where it fails.
    std::io::stdout()
        .write_all(report.text().as_bytes())
        .unwrap();
    assert_eq!(report.kills.len(), kills as usize);
    for kill in &report.kills {
        assert!(
            kill.in_flight >= 32,
            "a kill with {} orders in flight",
            kill.in_flight
        );
        assert_eq!(
            kill.still_open, 0,
            "sagas that were open at a kill are still open"
        );
    }
    assert_eq!(report.unsettled, 0, "acknowledged orders have not settled");
    assert!(report.verified.holds(), "{}", report.verified.text());
}
