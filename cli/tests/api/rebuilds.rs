//! Views that are rebuilt while orders flow, over HTTP and from the command line.

use std::{
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::server::{Server, recourse, run};

fn projections(server: &Server, args: &[&str]) -> Output {
    let url = format!("http://{}", server.address());
    let mut command = recourse();
    command.arg("projections").args(args);
    command.args(["--url", &url]).output().unwrap()
}

#[track_caller]
fn printed(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn generation(server: &Server, view: &str) -> Value {
    let listing = server.get("/v1/projections").send().expect(200).json();
    let mut items = listing["items"].as_array().unwrap().iter();
    let found = items.find(|item| item["name"] == view).unwrap();
    found["generation"].clone()
}

#[test]
fn every_view_is_rebuilt_and_promoted_while_orders_flow_and_everybody_reads_what_they_wrote() {
    let server = Server::start();
    server.stocked("tea-1", 10_000);
    let is_over = AtomicBool::new(false);
    let placed = thread::scope(|scope| {
        let flowing = scope.spawn(|| {
            let mut placed: u64 = 0;
            let mut received = 10_000;
            while !is_over.load(Ordering::Relaxed) {
                let order = server.order("tea-1", 1, "tok_visa").wait(20).send();
                let order = order.expect(201);
                // Who asks with the position of what they wrote sees it, and so does who asks
                // without one by its id; and nobody sees less than before.
                let read = server
                    .get(order.location())
                    .after(&order)
                    .send()
                    .expect(200);
                assert_eq!(read.json()["status"], "completed");
                let saga = order.json()["saga_id"].as_str().unwrap().to_owned();
                let saga = server
                    .get(&format!("/v1/sagas/{saga}"))
                    .after(&order)
                    .send();
                assert_eq!(saga.expect(200).json()["status"], "completed");
                let note = format!("note-{placed}");
                let receipt = server.receive("tea-1", 1, &note).send().expect(201);
                received += 1;
                assert_eq!(server.stock("tea-1", &receipt)["received"], received);
                let entries = server
                    .get("/v1/ledger/entries?limit=1")
                    .after(&order)
                    .send();
                let newest = &entries.expect(200).json()["items"][0];
                assert!(newest["number"].as_u64().unwrap() > placed);
                placed += 1;
            }
            placed
        });
        for view in ["orders", "sagas", "stock", "products", "ledger"] {
            let rebuilt = printed(&projections(&server, &["rebuild", view, "--json"]));
            assert_eq!(rebuilt["status"], "ready", "{rebuilt}");
            assert_eq!(rebuilt["comparison"]["different_rows"], 0, "{rebuilt}");
            let promoted = projections(&server, &["promote", view, "--reason", "a drill"]);
            let text = String::from_utf8_lossy(&promoted.stdout).into_owned();
            assert!(promoted.status.success(), "{promoted:?}");
            assert!(text.contains("is asked in generation 1"), "{text}");
            assert_eq!(generation(&server, view), 1);
        }
        let back = printed(&projections(&server, &["rollback", "stock", "--json"]));
        assert_eq!(back["status"], "rolled_back");
        assert_eq!(generation(&server, "stock"), 0);
        let dropped = printed(&projections(&server, &["drop", "orders", "--json"]));
        assert_eq!(dropped["status"], "promoted");
        let refused = projections(&server, &["rollback", "orders"]);
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            said.contains("has no rebuild whose two generations are kept"),
            "{said}"
        );
        is_over.store(true, Ordering::Relaxed);
        flowing.join().unwrap()
    });
    assert!(placed > 5, "{placed}");
    // What is live follows from the log, also after a kill.
    let server = server.restart();
    assert_eq!(generation(&server, "orders"), 1);
    assert_eq!(generation(&server, "stock"), 0);
    let orders = server.get("/v1/orders?limit=200").send().expect(200).json();
    assert!(orders["items"].as_array().unwrap().len() as u64 >= placed.min(200));
    let files: Vec<String> = std::fs::read_dir(server.data().join("views"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !files.iter().any(|file| file.starts_with("orders_v1.db")),
        "{files:?}"
    );
    let (status, verified) = verified(&server.data());
    assert_eq!(status, Some(0), "{verified}");
    let generations: Vec<_> = verified["views"].as_array().unwrap().iter().collect();
    let generations: Vec<_> = generations.iter().map(|view| &view["generation"]).collect();
    assert_eq!(json!(generations), json!([1, 1, 0, 1, 1]));
}

fn verified(data: &Path) -> (Option<i32>, Value) {
    let output = run(&["verify", "--json"], data);
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), report)
}

#[test]
fn a_row_that_was_damaged_on_disk_is_found_by_a_rebuild_and_mended_by_promoting_it() {
    let server = Server::start();
    server.stocked("tea-1", 99);
    server.stocked("cup-1", 99);
    let stocked = server.receive("cup-1", 1, "last").send().expect(201);
    assert_eq!(server.stock("cup-1", &stocked)["received"], 100);
    server.signal(Signal::TERM);
    let (_, folder) = server.ended();
    damage(&folder.path().join("data/views/stock_v1.db"));
    let server = Server::start_in(folder, Vec::new());
    let (status, before) = verified(&server.data());
    assert_eq!(
        (status, &before["breaches"][0]["kind"]),
        (Some(1), &json!("view-differs"))
    );
    let rebuilt = printed(&projections(&server, &["rebuild", "stock", "--json"]));
    assert_eq!(
        rebuilt["comparison"]["differences"],
        json!([{"id": "tea-1", "kind": "changed"}])
    );
    let now = server.get("/v1/stock/tea-1").send().expect(200).json();
    assert_eq!(now["received"], 98);
    printed(&projections(&server, &["promote", "stock", "--json"]));
    let mended = server.get("/v1/stock/tea-1").send().expect(200).json();
    assert_eq!(mended["received"], 99);
    let (status, after) = verified(&server.data());
    assert_eq!(status, Some(0), "{after}");
}

/// Writes another figure into a row, as a disk or a hand might.
fn damage(file: &Path) {
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut file = SqliteConnectOptions::new()
            .filename(file)
            .connect()
            .await
            .unwrap();
        let statement = "UPDATE documents SET json = replace(json, '99', '98') WHERE id = 'tea-1'";
        let done = sqlx::query(statement).execute(&mut file).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
        file.close().await.unwrap();
    });
}

#[test]
fn sagas_and_views_are_read_from_the_data_folder_beside_the_server_and_without_it() {
    let server = Server::start();
    server.stocked("tea-1", 10);
    let placed = server
        .order("tea-1", 1, "tok_visa")
        .wait(20)
        .send()
        .expect(201);
    let saga = placed.json()["saga_id"].as_str().unwrap().to_owned();
    let shown = server
        .get(&format!("/v1/sagas/{saga}"))
        .after(&placed)
        .send();
    let shown = shown.expect(200).json();
    // Its rows are there once they are written, which the server need not hurry with.
    let data = server.data();
    let seen = printed(&run(&["sagas", "show", &saga, "--json"], &data));
    assert_eq!(seen, shown);
    let listed = printed(&run(&["sagas", "list", "--json"], &data));
    assert_eq!(listed["items"], json!([shown]));
    let names = |listing: &Value| -> Vec<String> {
        let items = listing["items"].as_array().unwrap().iter();
        items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = ["orders", "sagas", "stock", "products", "ledger"];
    let views = printed(&run(&["projections", "list", "--json"], &data));
    assert_eq!(names(&views), all);
    printed(&projections(&server, &["rebuild", "sagas", "--json"]));
    printed(&projections(&server, &["promote", "sagas", "--json"]));
    printed(&projections(&server, &["drop", "sagas", "--json"]));
    server.signal(Signal::TERM);
    let (_, folder) = server.ended();
    let data = folder.path().join("data");
    let views = printed(&run(&["projections", "list", "--json"], &data));
    assert_eq!(views["items"][1]["generation"], 1);
    assert_eq!(names(&views), all);
    let seen = printed(&run(&["sagas", "show", &saga, "--json"], &data));
    assert_eq!(seen, shown);
    let nobody = run(
        &["sagas", "show", "0d7cbbb4-8f6c-4b7e-9f6e-1d1f5a2b3c4d"],
        &data,
    );
    assert_eq!(nobody.status.code(), Some(1));
    // A folder is read, and nothing more.
    let act = ["sagas", "pause", &saga, "--reason", "to look"];
    assert_eq!(run(&act, &data).status.code(), Some(2));
    let nowhere = run(&["projections", "list"], Path::new("/nowhere"));
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn wrong_use_is_told_apart() {
    for args in [
        &["projections", "rebuild"][..],
        &["projections", "promote", "stock", "--rebuild", "7"],
        &[
            "projections",
            "list",
            "--data",
            "x",
            "--url",
            "http://127.0.0.1:1",
        ],
    ] {
        let mut command: Command = recourse();
        let output = command.args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
