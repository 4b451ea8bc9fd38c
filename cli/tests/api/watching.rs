//! Watching over Server-Sent Events.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::server::{Server, Shared, recourse};

static SHARED: Shared = Shared::with(|server| server.stocked("w-tea", 1_000));

/// One block of a stream that carries data.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    event: String,
    data: Value,
}

/// A client that keeps what it has seen and where it was, over as many connections as it takes.
#[derive(Default)]
struct Watcher {
    last: String,
    seen: Vec<Block>,
}

impl Watcher {
    /// Watches until the server ends the stream, the connection breaks, or `enough` says so of
    /// the last event id. The status of the answer; none where there was no answer.
    fn watch(
        &mut self,
        address: SocketAddr,
        path: &str,
        enough: impl Fn(&str) -> bool,
    ) -> Option<u16> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // In HTTP/1.0 the body is what comes until the connection ends.
        let mut request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n");
        if !self.last.is_empty() {
            request.push_str(&format!("last-event-id: {}\r\n", self.last));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        while !lines.next()?.is_empty() {}
        let (mut event, mut id, mut data) = (String::new(), None, None);
        for line in lines {
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut event),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = serde_json::from_str(value).ok(),
                Some(_) => {}
                // Only a block that came whole counts.
                None => {
                    if let Some(id) = id.take() {
                        self.last = id;
                    }
                    let event = std::mem::take(&mut event);
                    if let Some(data) = data.take() {
                        self.seen.push(Block { event, data });
                    }
                    if enough(&self.last) {
                        break;
                    }
                }
            }
        }
        Some(status)
    }
}

fn number(token: &str) -> u64 {
    token.split('-').next().unwrap().parse().unwrap_or_default()
}

#[test]
fn a_saga_is_watched_step_by_step_to_what_a_query_answers() {
    let server = SHARED.server();
    let placed = server.order("w-tea", 1, "tok_slow_100").send().expect(202);
    let saga = placed.json()["saga_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sagas/{saga}/watch");
    let mut watcher = Watcher::default();
    // At once, whether its saga has begun or not, and until the server has no more to tell.
    assert_eq!(watcher.watch(server.address(), &path, |_| false), Some(200));
    let end = watcher.seen.pop().unwrap();
    assert_eq!(end.event, "end");
    assert!(watcher.seen.len() > 2, "{:#?}", watcher.seen);
    assert!(watcher.seen.iter().all(|block| block.event == "saga"));
    let last = watcher.seen.last().unwrap();
    assert_eq!(last.data["status"], "completed");
    let query = server.get(&format!("/v1/sagas/{saga}"));
    let query = query.header("recourse-min-position", &watcher.last).send();
    assert_eq!(last.data, query.expect(200).json());
    // Who comes back is told that there is no more.
    assert_eq!(watcher.watch(server.address(), &path, |_| false), Some(204));

    let mut all = Watcher::default();
    let path = format!("{path}?from=start");
    all.watch(server.address(), &path, |_| false);
    let steps: Vec<_> = all
        .seen
        .iter()
        .filter_map(|block| block.data["steps"][0]["status"].as_str())
        .collect();
    assert_eq!(steps[..2], ["running", "done"]);
    let stream = server.pages(&format!("/v1/streams/saga-{saga}")).concat();
    assert_eq!(all.seen.len(), stream.len() + 1, "each event and the end");
}

#[test]
fn watchers_miss_and_repeat_nothing_through_kills() {
    const WATCHED: [&str; 4] = [
        "/v1/events/watch?from=start",
        "/v1/events/watch?from=start&types=order,payment.captured.v1",
        "/v1/streams/stock-w-kill/watch?from=start",
        "/v1/sagas/watch?from=start",
    ];
    let server = Server::start_with(&["--watch-keep-alive-ms", "100"]);
    server.stocked("w-kill", 1_000);
    let address = Mutex::new(server.address());
    let current = || *address.lock().unwrap_or_else(PoisonError::into_inner);
    let head = Mutex::new(None);
    let failed = AtomicBool::new(false);
    let (server, seen) = thread::scope(|scope| {
        let watching = WATCHED.map(|path| {
            let (current, head, failed) = (&current, &head, &failed);
            scope.spawn(move || {
                let mut watcher = Watcher::default();
                let reached = |last: &str| {
                    let head = *head.lock().unwrap_or_else(PoisonError::into_inner);
                    head.is_some_and(|head| number(last) >= head)
                };
                while !reached(&watcher.last) && !failed.load(Ordering::Relaxed) {
                    watcher.watch(current(), path, reached);
                }
                (path, watcher.seen)
            })
        });
        let (address, head_is) = (&address, &head);
        let driving = catch_unwind(AssertUnwindSafe(move || {
            let mut server = server;
            for round in 0..4 {
                thread::scope(|orders| {
                    for token in ["tok_visa", "tok_declined", "tok_slow_50"] {
                        let server = &server;
                        orders.spawn(move || {
                            for n in 0..8 {
                                let key = format!("w-{round}-{token}-{n}");
                                let order = server.order("w-kill", 1, token).key(&key);
                                order.wait(if n % 2 == 0 { 20 } else { 0 }).send();
                            }
                        });
                    }
                });
                // In the middle of what the last ones have begun.
                server = server.restart();
                *address.lock().unwrap_or_else(PoisonError::into_inner) = server.address();
            }
            // Until nothing happens any more.
            let in_flight = |status: &str| {
                let path = format!("/v1/sagas?status={status}");
                let query = server.get(&path);
                let page = query.header("recourse-min-position", server.head()).send();
                !page.expect(200).json()["items"]
                    .as_array()
                    .unwrap()
                    .is_empty()
            };
            while in_flight("running") || in_flight("compensating") {}
            let end = number(&server.head());
            *head_is.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
            server
        }));
        if driving.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
        let seen = watching.map(|watching| watching.join().unwrap());
        (driving.unwrap(), BTreeMap::from(seen))
    });
    let log = server.pages("/v1/events?limit=200").concat();
    let of = |wanted: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        log.iter().filter(|event| wanted(event)).cloned().collect()
    };
    let data =
        |path: &str| -> Vec<Value> { seen[path].iter().map(|block| block.data.clone()).collect() };
    let is = |event: &Value, of: &str, begin: &str| event[of].as_str().unwrap().starts_with(begin);
    assert!(log.len() > 500, "{}", log.len());
    assert!(data(WATCHED[0]) == log, "not each event once and in order");
    let wanted = of(&|event| is(event, "type", "order.") || is(event, "type", "payment.captured."));
    assert!(data(WATCHED[1]) == wanted, "not each event of these types");
    let wanted = of(&|event| event["stream"] == "stock-w-kill");
    assert!(data(WATCHED[2]) == wanted, "not each event of the stream");
    // A summary for each event of each saga.
    let wanted: Vec<_> = of(&|event| is(event, "stream", "saga-"))
        .iter()
        .map(|event| (event["stream"].clone(), event["type"].clone()))
        .collect();
    let summaries: Vec<_> = data(WATCHED[3])
        .iter()
        .map(|saga| {
            let stream = format!("saga-{}", saga["saga_id"].as_str().unwrap());
            (Value::String(stream), saga["type"].clone())
        })
        .collect();
    assert!(summaries == wanted, "not each change of each saga");
}

#[test]
fn a_person_watches_a_saga_to_its_end() {
    let server = SHARED.server();
    let placed = server.order("w-tea", 1, "tok_declined").wait(20).send();
    let saga = placed.expect(201).json()["saga_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let url = format!("http://{}", server.address());
    let told = |args: &[&str]| {
        let output = recourse()
            .args(["--log", "warn", "watch", &saga, "--url", &url])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = told(&[]);
    for line in [
        "saga fulfilment",
        "reserve-stock        running",
        "authorize-payment    refused: payment-declined",
        "compensating",
        "compensated: payment-declined",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let json = told(&["--json"]);
    let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    let query = server.get(&format!("/v1/sagas/{saga}")).send();
    assert_eq!(last, query.expect(200).json());

    let nowhere = recourse()
        .args([
            "watch",
            "00000000-0000-0000-0000-000000000009",
            "--url",
            &url,
        ])
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    let said = String::from_utf8(nowhere.stderr).unwrap();
    assert!(said.contains("not-found"), "{said}");
}
