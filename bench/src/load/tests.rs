//! The load generator against a server of a few lines.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use uuid::Uuid;

use super::*;

#[derive(Default)]
struct Fake {
    /// How long the first order of all takes, in milliseconds.
    stall_ms: u64,
    /// Every third order is answered 503.
    busy: bool,
    orders: AtomicU64,
    keys: Mutex<BTreeSet<String>>,
    calls: Mutex<BTreeSet<String>>,
}

type Shared = State<Arc<Fake>>;

async fn order(State(fake): Shared, headers: HeaderMap, body: String) -> Response {
    let number = fake.orders.fetch_add(1, Ordering::SeqCst);
    assert_eq!(headers["prefer"], "wait=5");
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    assert!(fake.keys.lock().unwrap().insert(key));
    if number == 0 {
        tokio::time::sleep(Duration::from_millis(fake.stall_ms)).await;
    }
    if fake.busy && number % 3 == 2 {
        let problem = json!({"code": "overloaded"}).to_string();
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [("retry-after", "0")],
            problem,
        )
            .into_response();
    }
    let body: Value = serde_json::from_str(&body).unwrap();
    let fails = body["payment"]["token"] != "tok_visa" || body.to_string().contains("sold-out");
    let answer = json!({
        "order_id": Uuid::from_u64_pair(1, number),
        "status": if fails { "rejected" } else { "completed" },
    });
    (
        StatusCode::CREATED,
        [("recourse-position", "17")],
        answer.to_string(),
    )
        .into_response()
}

/// Serves until dropped.
async fn serve(fake: Arc<Fake>) -> (JoinSet<()>, String) {
    let note = |State(fake): Shared, uri: axum::http::Uri| async move {
        fake.calls.lock().unwrap().insert(uri.path().to_owned());
        (StatusCode::CREATED, [("recourse-position", "1")])
    };
    let metrics = |State(fake): Shared| async move {
        let orders = fake.orders.load(Ordering::SeqCst);
        format!(
            "recourse_store_fsyncs_total {}\nrecourse_store_log_bytes_total {}\n",
            orders * 2,
            orders * 1_000
        )
    };
    let router = Router::new()
        .route("/v1/products/{sku}", put(note))
        .route("/v1/stock/{sku}/receipts", post(note))
        .route("/v1/orders", post(order))
        .route("/metrics", get(metrics))
        .with_state(fake);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (serving, url)
}

fn options(url: String, load: Load) -> Options {
    Options {
        target: Target::Running {
            url,
            pid: Some(std::process::id()),
            data: None,
        },
        name: "t".into(),
        loads: vec![load],
        failing_percent: vec![50],
        warm_up_ms: 50,
        duration_ms: 300,
        drain_ms: 5_000,
        wait_s: 5,
        skus: 3,
        max_lines: 2,
        seed: 1,
        acknowledged: None,
        folder: None,
        processes: Vec::new(),
        authorization: None,
        hops: false,
        clock: || DateTime::UNIX_EPOCH,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_closed_loop_prepares_counts_and_writes_down_what_it_was_told() {
    let fake = Arc::new(Fake::default());
    let (_serving, url) = serve(Arc::clone(&fake)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(url, Load::Closed { in_flight: 8 });
    let path = folder.path().join("told");
    options.acknowledged = Some(path.clone());
    let report = run(options).await.unwrap();
    let run = &report.runs[0];
    assert!(run.settled > 0 && run.errors.is_empty(), "{run:?}");
    assert_eq!(run.by_status.values().sum::<u64>(), run.settled);
    assert!(run.by_status["completed"] > 0 && run.by_status["rejected"] > 0);
    assert!(run.latency.p50_us > 0 && run.latency.p50_us <= run.latency.max_us);
    let cost = run.server.unwrap();
    assert!(cost.peak_rss_kib > 0);
    // The window's ends are seen a moment late; roughly two syncs and 1000 bytes an order.
    assert!(
        (1.5..2.5).contains(&cost.fsyncs_per_order.unwrap()),
        "{cost:?}"
    );
    assert!((750.0..1_250.0).contains(&cost.log_bytes_per_order.unwrap()));
    // Three products, one that is never received, and a line of the file for each answer.
    let calls = fake.calls.lock().unwrap().len();
    assert_eq!(calls, 7);
    let told = crate::acknowledged::read(&path).unwrap();
    let told = told.filter(|(line, _)| line.is_ok()).count() as u64;
    assert_eq!(told, fake.orders.load(Ordering::SeqCst) + 7);
    assert!(report.text().contains("8 in flight, 50 % failing"));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_open_loop_counts_the_wait_of_orders_that_a_stall_kept_from_being_sent() {
    let fake = Arc::new(Fake {
        stall_ms: 250,
        ..Fake::default()
    });
    let (_serving, url) = serve(Arc::clone(&fake)).await;
    let load = Load::Open {
        orders_per_s: 100,
        max_in_flight: 1,
    };
    let mut options = options(url, load);
    options.warm_up_ms = 0;
    let report = run(options).await.unwrap();
    let run = &report.runs[0];
    // Thirty intended starts in the window; those of the first 250 ms waited for the stall.
    assert!((29..=31).contains(&run.settled), "{run:?}");
    assert!(run.latency.max_us >= 245_000, "{run:?}");
    assert!(run.latency.p50_us >= 50_000, "{run:?}");
    assert!(run.sent_late.unwrap().p50_us >= 50_000, "{run:?}");
    assert_eq!(run.given_up, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_refused_is_counted_by_its_code_and_does_not_settle() {
    let fake = Arc::new(Fake {
        busy: true,
        ..Fake::default()
    });
    let (_serving, url) = serve(Arc::clone(&fake)).await;
    let report = run(options(url, Load::Closed { in_flight: 2 }))
        .await
        .unwrap();
    let run = &report.runs[0];
    assert!(run.errors["503 overloaded"] > 0, "{run:?}");
    assert!(run.settled > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_never_answers_is_given_up_after_the_drain() {
    let fake = Arc::new(Fake {
        stall_ms: 60_000,
        ..Fake::default()
    });
    let (_serving, url) = serve(Arc::clone(&fake)).await;
    let mut options = options(url, Load::Closed { in_flight: 1 });
    options.drain_ms = 50;
    let report = run(options).await.unwrap();
    assert_eq!((report.runs[0].settled, report.runs[0].given_up), (0, 1));
}

#[tokio::test]
async fn nobody_at_the_url_and_options_that_cannot_be_are_errors() {
    let closed = Load::Closed { in_flight: 1 };
    let nobody = run(options("http://127.0.0.1:1".into(), closed)).await;
    assert!(matches!(nobody, Err(Error::Prepare(_))), "{nobody:?}");
    let wrong = run(options("https://127.0.0.1:1".into(), closed)).await;
    assert!(matches!(wrong, Err(Error::Http(_))), "{wrong:?}");
    for load in [
        Load::Closed { in_flight: 0 },
        Load::Open {
            orders_per_s: 0,
            max_in_flight: 1,
        },
    ] {
        let wrong = run(options("http://127.0.0.1:1".into(), load)).await;
        assert!(matches!(wrong, Err(Error::Options(_))), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_in_between_is_no_reason_to_know_nothing_of_the_store() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    let (answered, mut idle) = tokio::sync::mpsc::channel(1);
    serving.spawn(async move {
        // One answer on each connection, which the test then closes.
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            assert!(client.read(&mut request).await.unwrap() > 0);
            let text = "recourse_store_fsyncs_total 1\nrecourse_store_log_bytes_total 2\n";
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            client.write_all(answer.as_bytes()).await.unwrap();
            answered.send(client).await.unwrap();
        }
    });
    let address = http::Address::parse(&url).unwrap();
    let mut control = http::Connection::new(address, Duration::from_secs(5));
    for _ in 0..3 {
        let store = drive::store(&mut control).await.unwrap();
        assert_eq!((store.fsyncs, store.log_bytes), (1, 2));
        drop(idle.recv().await.unwrap());
    }
}
