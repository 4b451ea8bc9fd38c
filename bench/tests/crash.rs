//! The crash loop against a server of a few lines: this binary itself, started with `up`.
//!
//! That server keeps what it was asked in a file of its folder, and its log is empty: so the
//! loop must go through, and its check must miss every acknowledged order.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test, though with a main of its own"
)]

use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post, put},
};
use chrono::DateTime;
use recourse_bench::{
    crash::{self, Options},
    server::Spawn,
    verify::{Kind, OpenFolder, Opened},
};
use recourse_event_store::{LogId, Position, memory::Store};
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if args.get(1).map(String::as_str) == Some("up") {
        runtime.block_on(serve(Path::new(&args[3]), &args[5]));
    } else if args.iter().any(|arg| arg == "--list") {
        println!("the_crash_loop_repeats_until_acknowledged_and_checks_at_the_end: test");
    } else {
        runtime.block_on(the_crash_loop_repeats_until_acknowledged_and_checks_at_the_end());
        println!("the_crash_loop_repeats_until_acknowledged_and_checks_at_the_end ... ok");
    }
}

struct Server {
    asked: Mutex<std::fs::File>,
    orders: AtomicU64,
}

async fn serve(data: &Path, listen: &str) {
    std::fs::create_dir_all(data).unwrap();
    let asked = OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("asked"))
        .unwrap();
    let server = Arc::new(Server {
        asked: Mutex::new(asked),
        orders: AtomicU64::new(0),
    });
    let order = |State(server): State<Arc<Server>>, headers: HeaderMap| async move {
        let key = headers["idempotency-key"].to_str().unwrap();
        let line = format!("{key}\n");
        server
            .asked
            .lock()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
        // Long enough to be killed in between.
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.orders.fetch_add(1, Ordering::SeqCst);
        let id = Uuid::new_v5(&Uuid::nil(), key.as_bytes());
        let body = json!({"order_id": id, "status": "completed"});
        (
            StatusCode::CREATED,
            [("recourse-position", "1")],
            Json(body),
        )
    };
    let created = || async { (StatusCode::CREATED, [("recourse-position", "1")]) };
    let none = |_: Query<Vec<(String, String)>>| async { Json(json!({"items": []})) };
    let router = Router::new()
        .route("/healthz", get(|| async { "up" }))
        .route("/v1/products/{sku}", put(created))
        .route("/v1/stock/{sku}/receipts", post(created))
        .route("/v1/orders", post(order))
        .route("/v1/sagas", get(none))
        .with_state(server);
    let listener = TcpListener::bind(listen).await.unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

struct Empty;

#[async_trait]
impl OpenFolder for Empty {
    async fn open(&self, _: &Path) -> Result<Opened, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Opened {
            store: Arc::new(Store::new(LogId(Uuid::nil()))),
            views: Vec::new(),
            published_durable: Some(Position::START),
        })
    }
}

async fn the_crash_loop_repeats_until_acknowledged_and_checks_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let acknowledged = folder.path().join("told");
    let options = Options {
        spawn: Spawn {
            program: std::env::current_exe().unwrap(),
            data: data.clone(),
            args: Vec::new(),
            start_timeout_ms: 10_000,
        },
        name: "c".into(),
        kills: 3,
        in_flight: 8,
        failing_percent: 0,
        skus: 2,
        max_lines: 1,
        seed: 3,
        kill_after_ms: 20..=60,
        wait_s: 5,
        settle_timeout_ms: 10_000,
        acknowledged,
        folder: Arc::new(Empty),
        clock: || DateTime::UNIX_EPOCH,
    };
    let report = crash::run(&options).await.unwrap();
    assert_eq!(report.kills.len(), 3);
    assert!(report.kills.iter().all(|kill| kill.in_flight == 8));
    assert!(
        report
            .kills
            .iter()
            .all(|kill| kill.first_settled_ms.is_some())
    );
    assert!(report.refused.is_empty(), "{}", report.text());
    // What a kill cut off was asked again, under its key.
    assert!(report.repeats > 0);
    let asked = std::fs::read_to_string(data.join("asked")).unwrap();
    let mut keys: Vec<&str> = asked.lines().collect();
    let times = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert!(
        times > keys.len(),
        "{times} requests, {} orders",
        keys.len()
    );
    // Each order that was ever asked for ended acknowledged, and was written down before.
    assert_eq!(report.acknowledged, keys.len() as u64);
    let told = report.verified.acknowledged.unwrap();
    assert_eq!((told.orders, told.others), (report.acknowledged, 5));
    // The log of this server has none of it, and the check says so.
    let lost = report.verified.breaches_by_kind[&Kind::AcknowledgedLost];
    assert_eq!(lost, report.acknowledged + 5);
}
