//! `recourse backup` and `recourse restore`, with the real binary: under load, killed, and put
//! back beside what is newer than the backup.

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

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use recourse::folder::Layout;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::server::{Server, recourse, run};

/// An order that a client was told about.
#[derive(Clone)]
struct Told {
    key: String,
    order: Value,
    status: Value,
    position: String,
}

fn backup(data: &Path, to: &Path) -> Output {
    let mut command = recourse();
    command
        .args(["backup", "--json", "--data"])
        .arg(data)
        .arg(to);
    command.output().unwrap()
}

fn restore(from: &Path, data: &Path) -> Output {
    restoring(from, data).output().unwrap()
}

fn restoring(from: &Path, data: &Path) -> Command {
    let mut command = recourse();
    command
        .args(["restore", "--json", "--data"])
        .arg(data)
        .arg(from);
    command
}

/// Until some consumer has saved how far it has come, which it does now and then.
fn wait_for_a_checkpoint(data: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let state = SqliteConnectOptions::new()
            .filename(Layout::of(data).state)
            .read_only(true);
        let mut state = state.connect().await.unwrap();
        let saved = "SELECT 1 FROM checkpoints LIMIT 1";
        while sqlx::query(saved)
            .fetch_optional(&mut state)
            .await
            .unwrap()
            .is_none()
        {}
    });
}

#[track_caller]
fn done(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn refused(output: &Output, why: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for why in why {
        assert!(said.contains(why), "`{why}` is not in: {said}");
    }
}

fn folder() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

fn stop(server: Server) -> Arc<TempDir> {
    server.signal(Signal::TERM);
    let (status, folder) = server.ended();
    assert!(status.success());
    folder
}

fn place(server: &Server, key: &str, token: &str) -> Told {
    let placed = server.order("tea", 1, token).key(key).wait(20).send();
    let placed = placed.expect(201);
    Told {
        key: key.to_owned(),
        order: placed.json()["order_id"].clone(),
        status: placed.json()["status"].clone(),
        position: placed.position().to_owned(),
    }
}

#[test]
fn a_backup_under_load_holds_every_order_that_was_acknowledged_before_it_began() {
    let server = Server::start();
    server.stocked("tea", 1_000_000);
    let backups = folder();
    let to = backups.path().join("backup");
    let told = Mutex::new(Vec::<Told>::new());
    let enough = |count: usize| while told.lock().unwrap().len() < count {};
    let done_with = AtomicBool::new(false);
    let (before, taken) = thread::scope(|scope| {
        for client in 0..3 {
            let (server, told, done_with) = (&server, &told, &done_with);
            scope.spawn(move || {
                for number in 0.. {
                    if done_with.load(Ordering::SeqCst) {
                        break;
                    }
                    let token = ["tok_visa", "tok_declined", "tok_flaky_1"][number % 3];
                    let placed = place(server, &format!("{client}-{number}"), token);
                    told.lock().unwrap().push(placed);
                }
            });
        }
        enough(30);
        let before = told.lock().unwrap().clone();
        let taken = done(&backup(&server.data(), &to));
        let count = told.lock().unwrap().len();
        enough(count + 10);
        done_with.store(true, Ordering::SeqCst);
        (before, taken)
    });
    assert_eq!(taken["verified"]["breaches"], json!([]));
    let after = place(&server, "after", "tok_visa");
    let old_log = taken["log"].clone();
    drop(server);

    let restored_in = folder();
    let data = restored_in.path().join("data");
    let restored = done(&restore(&to, &data));
    assert_eq!(restored["former"], old_log);
    assert_ne!(restored["log"], old_log);
    let server = Server::start_in(Arc::clone(&restored_in), Vec::new());

    let mut lines = String::new();
    for told in &before {
        let (position, _) = told.position.split_once('-').unwrap();
        let line = json!({"order_id": told.order, "status": told.status, "position": position});
        lines.push_str(&format!("{line}\n"));
        let id = told.order.as_str().unwrap();
        server.get(&format!("/v1/orders/{id}")).send().expect(200);
    }
    let again = server.order("tea", 1, "tok_visa").key(&before[0].key);
    let again = again.wait(20).send().expect(201);
    assert!(again.is_replayed() && again.json()["order_id"] == before[0].order);

    // What the clients of the abandoned future remember is not taken for a place in this log.
    for position in [&before[0].position, &after.position] {
        let query = server.get("/v1/orders");
        let asked = query.header("recourse-min-position", position).send();
        asked.expect_problem(400, "invalid-position");
    }
    let lost = after.order.as_str().unwrap();
    server.get(&format!("/v1/orders/{lost}")).send().expect(404);
    let again = place(&server, "after", "tok_visa");
    assert_eq!(
        again.order, after.order,
        "the same key names the same order"
    );

    let acknowledged = backups.path().join("acknowledged");
    fs::write(&acknowledged, lines).unwrap();
    let args = ["verify", "--json", "--acknowledged"];
    let args = [&args[..], &[acknowledged.to_str().unwrap()]].concat();
    let report = done(&run(&args, &data));
    assert_eq!(report["acknowledged"]["orders"], before.len());
    assert_eq!(report["log"], restored["log"]);
    stop(server);
    done(&run(&args, &data));
}

#[test]
fn views_that_are_newer_than_the_restored_log_are_refused() {
    let server = Server::start();
    server.stocked("tea", 10);
    let backups = folder();
    let to = backups.path().join("backup");
    done(&backup(&server.data(), &to));
    server.receive("tea", 5, "more").send().expect(201);
    wait_for_a_checkpoint(&server.data());
    let old = stop(server);
    let old = Layout::of(&old.path().join("data"));

    let restored = folder();
    let data = restored.path().join("data");
    done(&restore(&to, &data));
    let new = Layout::of(&data);
    fs::create_dir(&new.views).unwrap();
    for view in fs::read_dir(&old.views).unwrap() {
        let view = view.unwrap();
        fs::copy(view.path(), new.views.join(view.file_name())).unwrap();
    }
    let up = || run(&["up", "--listen", "127.0.0.1:0"], &data);
    refused(&up(), &["does not belong to this log", "delete"]);
    fs::remove_dir_all(&new.views).unwrap();
    let server = Server::start_in(restored, Vec::new());
    assert_eq!(
        server.get("/v1/stock/tea").send().expect(200).json()["on_hand"],
        10
    );
}

#[test]
fn what_cannot_be_backed_up_or_restored_is_refused_with_what_to_do() {
    let server = Server::start();
    server.stocked("tea", 10);
    let here = tempfile::tempdir().unwrap();
    let (to, data) = (here.path().join("backup"), here.path().join("data"));
    refused(
        &backup(&here.path().join("nothing"), &to),
        &["no event store"],
    );
    assert!(!to.exists());
    done(&backup(&server.data(), &to));
    refused(&backup(&server.data(), &to), &["is not empty"]);
    refused(&restore(&to, &server.data()), &["is not empty"]);
    // Where nobody names a folder it is the one that everything else has too.
    let mut unnamed = recourse();
    unnamed.arg("restore").arg(&to).current_dir(here.path());
    let unnamed = unnamed.output().unwrap();
    assert!(unnamed.status.success(), "{unnamed:?}");
    assert!(here.path().join("recourse-data/log").is_dir());

    fs::remove_file(to.join("backup.json")).unwrap();
    refused(
        &restore(&to, &data),
        &["not a finished backup", "Take another one"],
    );
    refused(
        &restore(&here.path().join("nothing"), &data),
        &["not a finished backup"],
    );
    server.get("/healthz").send().expect(200);
}

/// A data folder as a version of the program left it that had this format.
fn stored(format: u8) -> Arc<TempDir> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folder = folder();
    let log = Layout::of(&folder.path().join("data")).log;
    fs::create_dir_all(&log).unwrap();
    // The second differs from the first in its header only.
    for format in 1..=format {
        for file in fs::read_dir(fixtures.join(format!("format-{format}/log"))).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), log.join(file.file_name())).unwrap();
        }
    }
    folder
}

#[test]
fn a_folder_of_each_format_is_opened_written_and_restored() {
    for format in [1, 2] {
        let written_in = |data: &Path| fs::read(Layout::of(data).log.join("store")).unwrap()[8];
        let server = Server::start_in(stored(format), Vec::new());
        let data = server.data();
        assert_eq!(written_in(&data), format);
        for (token, status) in [("tok_visa", "completed"), ("tok_declined", "rejected")] {
            let order = server
                .order("tea", 2, token)
                .key(&format!("fixture-{token}"));
            let mut body = server::order("tea", 2, token);
            body["customer_id"] = json!("6f1b2c1e-7f0a-4c52-9b0e-3c1de7b0a001");
            let again = order.json(&body).wait(20).send().expect(201);
            assert!(again.is_replayed(), "{again:?}");
            assert_eq!(again.json()["status"], status);
        }
        place(&server, "new", "tok_visa");
        let folder = stop(server);
        assert_eq!(done(&run(&["verify", "--json"], &data))["settled"], 3);
        assert_eq!(
            written_in(&data),
            format,
            "the version before can still open it"
        );
        let (to, restored) = (folder.path().join("backup"), folder.path().join("restored"));
        done(&backup(&data, &to));
        done(&restore(&to, &restored));
        assert_eq!(written_in(&restored), 2);
    }
}
