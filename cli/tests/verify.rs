//! `recourse verify` on folders that a real server left: whole, damaged byte by byte, and with
//! events or rows that break a promise.

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
    io::{Read as _, Write},
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use recourse::folder::Layout;
use recourse_event_store::{
    Append, Direction, EventStore, ExpectedRevision, Filter, NewEvent, Read, RecordedEvent,
    StreamName, Visibility, embedded,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use uuid::Uuid;

use crate::server::{Server, run};

/// More than any file here has before its zeros.
const MAX_USED_BYTES: u64 = 1 << 20;

const SEGMENT: &str = "log/segment-00000001.log";

/// What a server left behind that took orders of every kind and was stopped.
struct Left {
    folder: Arc<TempDir>,
    /// What its clients were told.
    acknowledged: String,
}

/// Made once for the tests that run at the same time.
fn left() -> Arc<Left> {
    static LEFT: Mutex<Weak<Left>> = Mutex::new(Weak::new());
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.upgrade().unwrap_or_else(|| {
        let made = Arc::new(make());
        *left = Arc::downgrade(&made);
        made
    })
}

fn make() -> Left {
    let server = Server::start();
    let mut acknowledged = String::new();
    let mut told = |line: Value| acknowledged.push_str(&format!("{line}\n"));
    server.stocked("tea", 100);
    let received = server.receive("tea", 5, "note").send().expect(201);
    told(json!({"sku": "tea", "reference": "note", "position": number(received.position())}));
    for token in ["tok_visa", "tok_visa", "tok_declined", "tok_flaky_1"] {
        let placed = server.order("tea", 2, token).wait(20).send().expect(201);
        told(json!({
            "order_id": placed.json()["order_id"],
            "status": placed.json()["status"],
            "position": number(placed.position()),
        }));
    }
    server.signal(Signal::TERM);
    let (status, folder) = server.ended();
    assert!(status.success());
    Left {
        folder,
        acknowledged,
    }
}

/// The position in a token, as the acknowledged file has it.
fn number(token: &str) -> &str {
    token.split_once('-').unwrap().0
}

/// A copy of the data folder, to be damaged.
struct Copy {
    folder: TempDir,
}

impl Copy {
    fn new() -> Self {
        let left = left();
        let folder = tempfile::tempdir().unwrap();
        copy(
            &left.folder.path().join("data"),
            &folder.path().join("data"),
        );
        fs::write(folder.path().join("acknowledged"), &left.acknowledged).unwrap();
        Self { folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Changes the bytes that a file begins with, or cuts it after them.
    fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let path = self.data().join(name);
        let (mut bytes, length) = head(&path);
        let before = bytes.len();
        edit(&mut bytes);
        let length = if bytes.len() == before {
            length
        } else {
            bytes.len() as u64
        };
        write(&path, &bytes, length);
    }

    fn acknowledged(&self) -> PathBuf {
        self.folder.path().join("acknowledged")
    }

    fn verify(&self) -> Output {
        let acknowledged = self.acknowledged();
        let args = ["verify", "--json", "--acknowledged"];
        run(
            &[&args[..], &[acknowledged.to_str().unwrap()]].concat(),
            &self.data(),
        )
    }

    /// Holds that nothing can be said, and why.
    #[track_caller]
    fn expect_refusal(&self, why: &[&str]) {
        let output = self.verify();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        for why in why {
            assert!(said.contains(why), "`{why}` is not in: {said}");
        }
    }

    /// Holds that exactly these kinds of breaches are found, each with what shows it.
    #[track_caller]
    fn expect_breaches(&self, kinds: &[(&str, &str)]) {
        let output = self.verify();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found: Vec<_> = report["breaches_by_kind"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        let mut wanted: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
        wanted.sort_unstable();
        let mut sorted = found.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, wanted, "{:#}", report["breaches"]);
        for (kind, subject) in kinds {
            let breaches = report["breaches"].as_array().unwrap();
            let named = breaches.iter().any(|breach| {
                breach["kind"] == *kind && breach["subject"].as_str().unwrap().contains(subject)
            });
            assert!(named, "no {kind} about {subject}: {:#}", report["breaches"]);
        }
    }

    /// Appends what no service would, as bytes, to a stream: what is there of `event` with
    /// another id and, where the closures say so, other data and metadata.
    async fn append(
        &self,
        stream: &StreamName,
        event: &RecordedEvent,
        change: impl FnOnce(&mut Value, &mut Value),
    ) {
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let (mut data, mut metadata) = (read(&event.event.data), read(&event.event.metadata));
        let parts = metadata.as_object_mut().unwrap();
        for answer in [
            "answers",
            "mark",
            "takes",
            "refused",
            "commandId",
            "bodyHash",
        ] {
            parts.remove(answer);
        }
        change(&mut data, &mut metadata);
        let id = Uuid::new_v5(&event.event.id, b"again");
        let new = NewEvent::raw(
            id,
            Arc::clone(&event.event.event_type),
            data.to_string(),
            metadata.to_string(),
        );
        let store = self.open();
        let append = Append {
            stream: stream.clone(),
            expected: ExpectedRevision::Any,
            events: vec![new],
        };
        store.append(vec![append]).await.remove(0).unwrap();
        store.close().await.unwrap();
    }

    fn open(&self) -> embedded::Store {
        let log = Layout::of(&self.data()).log;
        loop {
            match embedded::Store::open(embedded::Options::new(log.clone())) {
                // A process that another test is starting has, until it runs its program, every
                // file of this one open, and so the lock of a store that is closed here already.
                Err(embedded::OpenError::Locked { .. }) => thread::yield_now(),
                opened => break opened.unwrap(),
            }
        }
    }

    /// The first event of a type.
    async fn first(&self, event_type: &str) -> Arc<RecordedEvent> {
        let store = self.open();
        let read = Read {
            from: None,
            direction: Direction::Forward,
            visibility: Visibility::Durable,
            filter: Filter::TypePrefixes(vec![event_type.to_owned()]),
            max_events: 1,
        };
        let found = store.read_all(read).await.unwrap().events.remove(0);
        store.close().await.unwrap();
        found
    }

    /// Changes a view with SQL.
    async fn sql(&self, view: &str, statement: &'static str) -> u64 {
        let file = std::fs::read_dir(Layout::of(&self.data()).views)
            .unwrap()
            .map(|file| file.unwrap().path())
            .find(|file| {
                let name = file.file_name().unwrap().to_str().unwrap();
                name.starts_with(&format!("{view}_v")) && name.ends_with(".db")
            })
            .unwrap();
        let mut file = SqliteConnectOptions::new()
            .filename(file)
            .connect()
            .await
            .unwrap();
        let done = sqlx::query(statement).execute(&mut file).await.unwrap();
        file.close().await.unwrap();
        done.rows_affected()
    }
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            let (bytes, length) = head(&entry.path());
            write(&target, &bytes, length);
        }
    }
}

/// What a file begins with, up to the zeros that a segment is written ahead with, and how long
/// it is.
fn head(path: &Path) -> (Vec<u8>, u64) {
    let file = fs::File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut bytes = Vec::new();
    file.take(MAX_USED_BYTES).read_to_end(&mut bytes).unwrap();
    let is_whole = bytes.len() as u64 == length;
    assert!(
        is_whole || (used(&bytes) as u64) < MAX_USED_BYTES,
        "too many events"
    );
    (bytes, length)
}

/// Writes a file that ends with zeros, which a sparse one has for nothing.
fn write(path: &Path, bytes: &[u8], length: u64) {
    let mut file = fs::File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(length).unwrap();
}

/// How many bytes there are before the zeros at the end.
fn used(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

#[test]
fn a_folder_that_a_server_left_holds_beside_one_and_after_it() {
    let copy = Copy::new();
    let whole = copy.verify();
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    let report: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(report["breaches"], json!([]));
    assert_eq!(report["settled"], 4);
    assert_eq!(report["acknowledged"]["orders"], 4);
    assert_eq!(report["acknowledged"]["others"], 1);
    let views = report["views"].as_array().unwrap();
    let views: Vec<_> = views
        .iter()
        .map(|view| view["view"].as_str().unwrap())
        .collect();
    assert_eq!(views, ["orders", "sagas", "stock", "products", "ledger"]);

    let server = Server::start();
    server.stocked("tea", 10);
    server.order("tea", 1, "tok_slow_30000").send().expect(202);
    server
        .order("tea", 1, "tok_visa")
        .wait(20)
        .send()
        .expect(201);
    let beside = run(&["verify"], &server.data());
    assert_eq!(beside.status.code(), Some(0), "{beside:?}");
    let text = String::from_utf8(beside.stdout).unwrap();
    assert!(text.ends_with("every promise holds\n"), "{text}");
}

#[test]
fn beside_a_busy_server_every_promise_holds_each_time() {
    const TIMES: usize = 8;
    let server = Server::start();
    server.stocked("tea", 1_000_000);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let placed = server.order("tea", 1, "tok_visa").wait(20).send();
                    placed.expect(201);
                }
            });
        }
        let outputs: Vec<_> = (0..TIMES)
            .map(|_| run(&["verify", "--json"], &server.data()))
            .collect();
        done.store(true, Ordering::SeqCst);
        let mut events = Vec::new();
        for output in outputs {
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            events.push(report["events"].as_u64().unwrap());
        }
        assert!(events.is_sorted_by(|a, b| a < b), "not busy: {events:?}");
    });
}

#[test]
fn where_there_is_no_folder_nothing_is_said_and_nothing_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let output = run(&["verify"], &data);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("no event store")
    );
    assert!(!data.exists());
}

#[test]
fn a_segment_cut_short_is_named() {
    let copy = Copy::new();
    copy.edit(SEGMENT, |bytes| bytes.truncate(used(bytes) / 2));
    copy.expect_refusal(&["damaged at segment-00000001.log, byte ", "cut short"]);
}

#[test]
fn a_segment_that_lost_its_end_to_zeros_is_named() {
    let copy = Copy::new();
    copy.edit(SEGMENT, |bytes| {
        let half = used(bytes) / 2;
        bytes[half..].fill(0);
    });
    copy.expect_refusal(&["damaged at segment-00000001.log, byte "]);
}

#[test]
fn a_byte_that_flipped_in_the_middle_is_named_wherever_it_is() {
    let copy = Copy::new();
    let length = used(&head(&copy.data().join(SEGMENT)).0);
    for part in 1..8 {
        let at = length * part / 8;
        copy.edit(SEGMENT, |bytes| bytes[at] ^= 0x10);
        copy.expect_refusal(&["damaged at segment-00000001.log, byte ", "does not match"]);
        copy.edit(SEGMENT, |bytes| bytes[at] ^= 0x10);
    }
    assert_eq!(copy.verify().status.code(), Some(0), "it is whole again");
}

#[test]
fn a_segment_that_is_gone_is_named() {
    let copy = Copy::new();
    fs::remove_file(copy.data().join(SEGMENT)).unwrap();
    copy.expect_refusal(&["segment-00000001.log"]);
}

#[test]
fn a_durable_file_that_is_not_whole_says_nothing_and_takes_nothing_away() {
    let copy = Copy::new();
    for content in [&b""[..], b"garbage", &[0xff; 32]] {
        fs::write(copy.data().join("log/durable"), content).unwrap();
        assert_eq!(copy.verify().status.code(), Some(0));
    }
}

#[test]
fn a_durable_file_that_knows_of_more_than_the_log_has_is_believed() {
    let stop = |server: Server| {
        server.signal(Signal::TERM);
        server.ended().1
    };
    let server = Server::start();
    server.stocked("tea", 10);
    let folder = stop(server);
    let old = tempfile::tempdir().unwrap();
    copy(&folder.path().join("data"), &old.path().join("data"));
    let server = Server::start_in(folder, Vec::new());
    server.receive("tea", 5, "more").send().expect(201);
    let folder = stop(server);

    let durable = "data/log/durable";
    fs::copy(folder.path().join(durable), old.path().join(durable)).unwrap();
    let refused = run(&["verify"], &old.path().join("data"));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("damaged in segment-00000001.log"), "{said}");
    assert!(
        said.contains("event 3 should be") && said.contains("Restore"),
        "{said}"
    );
}

#[test]
fn a_log_of_a_newer_format_is_refused() {
    let copy = Copy::new();
    copy.edit("log/store", |bytes| bytes[8] = 3);
    let why = ["format 3", "start the newer version again"];
    copy.expect_refusal(&why);
    let output = run(&["up", "--listen", "127.0.0.1:0"], &copy.data());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(why.iter().all(|why| said.contains(why)), "{said}");
}

#[tokio::test]
async fn money_that_was_captured_twice_is_found() {
    let copy = Copy::new();
    let captured = copy.first("payment.captured.").await;
    copy.append(&captured.stream, &captured, |_, _| {}).await;
    let payment = captured.stream.id();
    copy.expect_breaches(&[
        ("money-not-conserved", payment),
        ("outcome-without-intent", payment),
        ("captured-not-goods-kept", "order-"),
    ]);
}

#[tokio::test]
async fn a_hold_without_a_saga_is_found() {
    let copy = Copy::new();
    let reserved = copy.first("stock.reserved.").await;
    let nobody = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"nobody");
    let append = copy.append(&reserved.stream, &reserved, |data, _| {
        data["hold"]["saga"] = json!(nobody);
    });
    append.await;
    copy.expect_breaches(&[("hold-without-saga", "tea")]);
}

#[tokio::test]
async fn a_hold_that_was_committed_twice_is_found() {
    let copy = Copy::new();
    let committed = copy.first("stock.committed.").await;
    copy.append(&committed.stream, &committed, |_, _| {}).await;
    copy.expect_breaches(&[
        ("hold-unknown", "tea"),
        ("hold-without-saga", "tea"),
        ("stock-not-conserved", "tea"),
        ("stock-out-of-bounds", "tea"),
    ]);
}

#[tokio::test]
async fn an_order_that_no_saga_works_on_is_found() {
    let copy = Copy::new();
    let placed = copy.first("order.placed.").await;
    let order = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"order");
    let stream = StreamName::new("order", order);
    let append = copy.append(&stream, &placed, |data, metadata| {
        data["order_id"] = json!(order);
        data["payment_id"] = json!(Uuid::new_v5(&order, b"payment"));
        metadata["recordedAt"] = json!("2020-01-01T00:00:00Z");
    });
    append.await;
    copy.expect_breaches(&[("order-without-saga", &order.to_string())]);
}

#[tokio::test]
async fn a_receipt_that_counts_twice_is_found() {
    let copy = Copy::new();
    let received = copy.first("stock.received.").await;
    copy.append(&received.stream, &received, |_, _| {}).await;
    copy.expect_breaches(&[("client-command-twice", "tea")]);
}

#[tokio::test]
async fn an_event_of_another_log_is_found() {
    let copy = Copy::new();
    let created = copy.first("product.created.").await;
    let append = copy.append(&created.stream, &created, |_, metadata| {
        metadata["log"] = json!(Uuid::nil());
    });
    append.await;
    copy.expect_breaches(&[("wrong-log", "product-tea")]);
}

#[test]
fn what_was_acknowledged_and_is_lost_is_found() {
    let copy = Copy::new();
    let lost = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"lost");
    let mut told = fs::read_to_string(copy.acknowledged()).unwrap();
    told.push_str(&format!("{}\n", json!({"order_id": lost, "position": "5"})));
    fs::write(copy.acknowledged(), told).unwrap();
    copy.expect_breaches(&[("acknowledged-lost", &lost.to_string())]);
}

#[test]
fn a_folder_put_back_to_before_what_was_acknowledged_is_found_out() {
    let server = Server::start();
    server.stocked("tea", 10);
    server.signal(Signal::TERM);
    let (_, folder) = server.ended();
    let old = tempfile::tempdir().unwrap();
    copy(&folder.path().join("data"), &old.path().join("data"));
    let copy = Copy::new();
    fs::remove_dir_all(copy.data()).unwrap();
    fs::rename(old.path().join("data"), copy.data()).unwrap();
    let output = copy.verify();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report["breaches_by_kind"]["acknowledged-lost"], 5,
        "{report:#}"
    );
}

#[tokio::test]
async fn a_row_that_is_not_the_fold_of_the_log_is_found() {
    for (view, statement) in [
        (
            "orders",
            "UPDATE documents SET json = replace(json, '\"captured\"', '\"voided\"')",
        ),
        (
            "stock",
            "UPDATE documents SET json = replace(json, ':99,', ':98,')",
        ),
        (
            "sagas",
            "DELETE FROM documents WHERE id = (SELECT min(id) FROM documents)",
        ),
        (
            "products",
            "INSERT INTO documents (id, json) SELECT 'b' || id, json FROM documents",
        ),
    ] {
        let copy = Copy::new();
        assert!(copy.sql(view, statement).await > 0, "{view}");
        copy.expect_breaches(&[("view-differs", view)]);
    }
}

#[tokio::test]
async fn a_ledger_that_is_not_what_money_moved_is_found() {
    // Each order is authorized and captured: 1 and 2, 3 and 4, and so on.
    for (kinds, statement) in [
        (
            &["entry-unbalanced", "entry-wrong", "balance-wrong"][..],
            "DROP TRIGGER no_posting_is_changed;
             UPDATE postings SET amount = amount + 1 WHERE entry = 2
             AND account = (SELECT id FROM accounts WHERE name = 'revenue')",
        ),
        (
            &["entry-wrong"],
            "DROP TRIGGER no_posting_is_changed; UPDATE postings SET amount = 2 * amount
             WHERE entry = 2; UPDATE accounts SET balance = (
                 SELECT sum(amount) FROM postings WHERE account = accounts.id)",
        ),
        (
            &["entry-missing"],
            "DROP TRIGGER no_posting_is_deleted; DROP TRIGGER no_entry_is_deleted;
             DELETE FROM postings WHERE entry = 1; DELETE FROM entries WHERE number = 1;
             UPDATE accounts SET balance = (
                 SELECT sum(amount) FROM postings WHERE account = accounts.id)",
        ),
        (
            &["entry-twice"],
            "INSERT INTO entries SELECT (SELECT entries + 1 FROM book), position, event_id, event_type, stream,
                 correlation_id, at FROM entries WHERE number = 2;
             INSERT INTO postings SELECT account, (SELECT entries + 1 FROM book), amount
                 FROM postings WHERE entry = 2;
             UPDATE book SET entries = entries + 1",
        ),
        (
            &["entry-unfounded"],
            "INSERT INTO entries SELECT (SELECT entries + 1 FROM book), '1', event_id, event_type, stream,
                 correlation_id, at FROM entries WHERE number = 2;
             INSERT INTO postings SELECT account, (SELECT entries + 1 FROM book), amount
                 FROM postings WHERE entry = 2;
             UPDATE book SET entries = entries + 1",
        ),
        (
            &["balance-wrong"],
            "UPDATE accounts SET balance = CASE name WHEN 'revenue' THEN balance - 1
                 ELSE balance + 1 END WHERE name IN ('revenue', 'provider-clearing')",
        ),
        (
            &["balance-wrong", "ledger-not-zero"],
            "UPDATE accounts SET balance = balance + 1 WHERE name = 'revenue'",
        ),
        (
            &["view-unusable"],
            "UPDATE checkpoint SET log = '00000000-0000-0000-0000-000000000001'",
        ),
        (
            &["view-unusable"],
            "DROP TRIGGER no_entry_is_changed; UPDATE entries SET position = 'x'",
        ),
    ] {
        let copy = Copy::new();
        assert!(copy.sql("ledger", statement).await > 0, "{statement}");
        let kinds: Vec<_> = kinds.iter().map(|kind| (*kind, "ledger")).collect();
        copy.expect_breaches(&kinds);
    }
}

#[tokio::test]
async fn a_view_of_another_log_cannot_be_used() {
    let copy = Copy::new();
    let statement = "UPDATE checkpoint SET log = '00000000-0000-0000-0000-000000000001'";
    assert_eq!(copy.sql("orders", statement).await, 1);
    copy.expect_breaches(&[("view-unusable", "orders")]);
}
