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
            "--hops",
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
        // Every order was followed through the log, and its hops add up to what its client waited.
        let hops = &run["hops"];
        assert_eq!(hops["orders"], run["settled"], "{report}");
        let of = |kind: &str| -> u64 {
            let hops = hops["hops"].as_array().unwrap().iter();
            let of_kind = hops.filter(|hop| hop["kind"] == kind);
            of_kind.map(|hop| hop["count"].as_u64().unwrap()).sum()
        };
        for (kind, least) in [("request", 1), ("event", 3), ("command", 2), ("answer", 1)] {
            assert!(
                of(kind) >= least * run["settled"].as_u64().unwrap(),
                "{report}"
            );
        }
        let views = run["views"].as_array().unwrap();
        assert_eq!(views.len(), 5, "{report}");
        for view in views {
            assert_eq!(view["has_caught_up"], true, "{report}");
        }
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
        ["bench", "--process", "relay=1"],
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
