//! What the gateway costs: CPU of the serving thread per trivial request, beside a bare axum.
//!
//! `cargo bench -p recourse-gateway --bench entry`

#![expect(clippy::print_stdout, reason = "what a bench is for")]
#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run has nothing to say"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    thread,
};

use recourse_event_store::{LogId, memory};
use recourse_gateway::{Gateway, Log, Options, Parts};
use recourse_schema::{Catalog, Redactor};
use recourse_service::{
    Ids,
    clock::SystemClock,
    contract::{Operation, Routes},
    readiness::Registry,
    telemetry,
};
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 3_000;

fn main() {
    // Log lines as in service: the span of a request is made, nothing is written.
    telemetry::start(&telemetry::Options {
        log: Some("info".into()),
        log_format: telemetry::Format::Plain,
    })
    .unwrap();
    for _ in 0..3 {
        let bare = measure(serve_bare);
        let gateway = measure(serve_gateway);
        println!(
            "bare axum {bare:.1} µs, gateway {gateway:.1} µs, difference {:.1} µs of CPU a request",
            gateway - bare
        );
    }
}

fn routes() -> Routes {
    let operation = Operation::new("trivial", "Say ok");
    Routes::new().get("/v1/trivial", || async { "ok" }, operation)
}

type Serve = fn(mpsc::SyncSender<SocketAddr>, CancellationToken);

fn serve_bare(address: mpsc::SyncSender<SocketAddr>, shutdown: CancellationToken) {
    run(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        address.send(listener.local_addr().unwrap()).unwrap();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            served = async { axum::serve(listener, routes().into_router()).await } => served.unwrap(),
        }
    });
}

fn serve_gateway(address: mpsc::SyncSender<SocketAddr>, shutdown: CancellationToken) {
    run(async move {
        let options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..Options::default()
        };
        let parts = Parts {
            routes: vec![routes()],
            log: Some(Log {
                store: Arc::new(memory::Store::new(LogId(uuid::Uuid::nil()))),
                redactor: Arc::new(Redactor::new(&Catalog::new())),
                sagas: None,
            }),
            keys: None,
            errors: Vec::new(),
            readiness: Registry::new(),
            ids: Ids::from_entropy(Arc::new(SystemClock)).unwrap(),
            shutdown,
        };
        let bound = Gateway::new(options, parts).unwrap().bind().await.unwrap();
        address.send(bound.address()).unwrap();
        bound.serve().await;
    });
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

/// Microseconds of CPU of the serving thread per request.
fn measure(serve: Serve) -> f64 {
    let shutdown = CancellationToken::new();
    let (give, address) = mpsc::sync_channel(1);
    let server = thread::spawn({
        let shutdown = shutdown.clone();
        move || {
            let before = clock_gettime(ClockId::ThreadCPUTime);
            serve(give, shutdown);
            let after = clock_gettime(ClockId::ThreadCPUTime);
            (after.tv_sec - before.tv_sec) as f64 * 1e6
                + (after.tv_nsec - before.tv_nsec) as f64 / 1e3
        }
    });
    let address = address.recv().unwrap();
    let mut connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        })
        .collect();
    let request = b"GET /v1/trivial HTTP/1.1\r\nHost: 127.0.0.1:7171\r\nAccept: */*\r\n\
                    User-Agent: bench\r\n\r\n";
    let mut buffer = [0; 4096];
    for _ in 0..ROUNDS {
        for connection in &mut connections {
            connection.write_all(request).unwrap();
        }
        for connection in &mut connections {
            // An answer this small comes in one piece.
            let read = connection.read(&mut buffer).unwrap();
            assert!(read > 0 && buffer.starts_with(b"HTTP/1.1 200"));
        }
    }
    shutdown.cancel();
    server.join().unwrap() / (CONNECTIONS * ROUNDS) as f64
}
