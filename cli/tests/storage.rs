//! A disk that is nearly full: new orders are refused, and what is under way settles.

#![cfg(test)]

#[path = "api/client.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
mod client;
#[path = "api/contract.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
mod contract;
#[path = "api/server.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
mod server;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::server::{Server, run};

/// More than any disk has.
const ALL: &str = "17592186044415";

/// What `/readyz` says of the disk, whatever it says of views that have yet to catch up.
fn disk(server: &Server) -> Value {
    let ready = server.get("/readyz").send().json();
    let dependencies = ready["dependencies"].as_array().unwrap();
    let disk = dependencies.iter().find(|entry| entry["name"] == "disk");
    disk.unwrap().clone()
}

#[test]
fn with_little_room_new_orders_are_refused_and_open_sagas_settle() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let start = |mib: &str| {
        let args = ["--disk-low-warn-mib", mib, "--disk-low-refuse-mib", mib];
        Server::start_in(Arc::clone(&folder), args.map(str::to_owned).to_vec())
    };
    let server = start("0");
    server.stocked("tea", 10);
    let place = |server: &Server, key: &str, token: &str| server.order("tea", 1, token).key(key);
    let placed = place(&server, "open", "tok_slow_2000").send().expect(202);
    let cancelled = place(&server, "cancelled", "tok_slow_60000")
        .send()
        .expect(202);
    let done = place(&server, "done", "tok_visa").wait(20).send();
    let returns = done.expect(201).location().to_owned() + "/returns";
    let piece = json!({"lines": [{"sku": "tea", "quantity": 1}], "reason": "too bitter"});
    let send_back = |server: &Server, key: &str| server.post(&returns, &piece).key(key);
    send_back(&server, "back").wait(20).send().expect(201);
    assert_eq!(disk(&server)["status"], "up");

    drop(server);
    let server = start(ALL);
    let refused = place(&server, "new", "tok_visa").send();
    let refused = refused.expect_problem(503, "storage-low");
    assert_eq!(refused.json()["retryable"], true);
    assert!(refused.header("retry-after").is_some());
    let refused = send_back(&server, "again").send();
    refused.expect_problem(503, "storage-low");
    let repeated = send_back(&server, "back").wait(20).send().expect(201);
    assert!(repeated.is_replayed());
    let low = disk(&server);
    assert_eq!(low["status"], "degraded");
    assert!(
        low["detail"]
            .as_str()
            .unwrap()
            .contains("new orders are refused")
    );

    let again = place(&server, "open", "tok_slow_2000")
        .wait(30)
        .send()
        .expect(201);
    assert!(again.is_replayed());
    assert_eq!(again.json()["order_id"], placed.json()["order_id"]);
    assert_eq!(again.json()["status"], "completed");
    let cancellation = format!("{}/cancellation", cancelled.location());
    let reason = json!({"reason": "too slow"});
    server.post(&cancellation, &reason).send().expect(200);
    server.receive("tea", 5, "more").send().expect(201);
    assert_eq!(
        server.get("/v1/storage").send().expect(200).json()["disk"]["level"],
        "refusing"
    );

    drop(server);
    let server = start("0");
    place(&server, "new", "tok_visa")
        .wait(20)
        .send()
        .expect(201);
}

#[test]
fn what_is_stored_and_how_it_grows_is_shown() {
    let server = Server::start_with(&["--disk-low-warn-mib", ALL, "--disk-low-refuse-mib", "0"]);
    server.stocked("tea", 10);
    let placed = server
        .order("tea", 1, "tok_visa")
        .wait(20)
        .send()
        .expect(201);
    let (position, _) = placed.position().split_once('-').unwrap();
    let position: u64 = position.parse().unwrap();
    let shown = server.get("/v1/storage").send().expect(200).json();
    assert!(
        shown["log"]["events"].as_u64().unwrap() >= position,
        "{shown:#}"
    );
    assert_eq!(shown["disk"]["level"], "low");
    for window in shown["growth"].as_array().unwrap() {
        assert_eq!(window["events"], shown["log"]["events"]);
        assert!(window["bytes"].as_u64() <= shown["log"]["bytes"].as_u64());
        assert!(window["full_in_ms"].as_u64().unwrap() > 0);
    }
    let metrics = server.get("/metrics").send().expect(200).text;
    for name in [
        "recourse_store_size_bytes",
        "recourse_disk_free_bytes",
        "recourse_store_growth_bytes_per_hour",
        "recourse_store_scrubbed_position",
    ] {
        assert!(metrics.contains(&format!("\n{name} ")), "{name}: {metrics}");
    }
    assert_eq!(disk(&server)["status"], "degraded");

    // Read again after a start, the log tells the same, and is checked whole.
    let server = server.restart();
    let again = server.get("/v1/storage").send().expect(200).json();
    assert!(again["growth"][0]["events"].as_u64() >= shown["growth"][0]["events"].as_u64());
    loop {
        let shown = server.get("/v1/storage").send().expect(200).json();
        if shown["log"]["checked_events"] == shown["log"]["to_check_events"] {
            assert!(shown["log"]["checked_events"].as_u64().unwrap() >= position);
            break;
        }
    }
}

#[test]
fn thresholds_that_contradict_each_other_are_refused() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let args = [
        "up",
        "--disk-low-warn-mib",
        "1",
        "--disk-low-refuse-mib",
        "2",
    ];
    let refused = run(&args, &folder.path().join("data"));
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("the warning comes first"), "{said}");
}
