//! `recourse bench`, as a person or a script runs it: briefly, for what it says and not for how
//! fast it is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::process::Command;

use serde_json::Value;

fn bench(way: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_recourse"))
        .args(["--log", "warn", "bench", "--json", "--in-flight", "8"])
        .args([
            "--warm-up-ms",
            "100",
            "--duration-ms",
            "500",
            "--failing",
            "30",
        ])
        .args(way)
        .arg("--data")
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn orders_are_driven_over_http_and_in_process_and_the_promises_hold() {
    for way in [&[][..], &["--in-process"]] {
        let report = bench(way);
        let run = &report["runs"][0];
        assert!(run["settled"].as_u64().unwrap() > 0, "{report}");
        assert_eq!(run["unsettled"], 0, "{report}");
        assert_eq!(run["errors"], serde_json::json!({}), "{report}");
        for status in ["completed", "rejected"] {
            assert!(run["by_status"][status].as_u64().unwrap() > 0, "{report}");
        }
        assert!(run["server"]["log_bytes_per_order"].as_f64().unwrap() > 1_000.0);
        assert_eq!(report["verified"]["breaches"], serde_json::json!([]));
    }
}

#[test]
fn what_cannot_be_measured_is_wrong_use() {
    for args in [
        ["bench", "--in-flight", "0"],
        ["bench", "--in-flight", "1,20001"],
        ["bench", "--rate", "0"],
        ["bench", "--failing", "101"],
        ["bench", "--duration-ms", "0"],
        ["bench", "--skus", "0"],
        ["bench", "--max-lines", "0"],
        ["bench", "--max-lines", "101"],
        ["bench", "--url", "ftp://x"],
        ["bench-watch", "--all", "0"],
        ["bench-watch", "--sagas", "0"],
        ["bench-watch", "--events", "0"],
        ["bench-watch", "--duration-ms", "0"],
        ["bench-watch", "--url", "127.0.0.1"],
    ] {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_recourse"));
        let refused = bench.args(args).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
    }
    let mut bench = Command::new(env!("CARGO_BIN_EXE_recourse"));
    let refused = bench.args(["bench", "--skus", "2", "--max-lines", "3"]);
    assert_eq!(refused.output().unwrap().status.code(), Some(2));
}
