//! Services behind the gateway, each a server of its own.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::world::{World, request};

const KEY: &str = "the-key-of-the-services";
const ORDER: &str = r#"{"customer_id":"3d6f0a4e-8a55-4f0e-9c1e-5f1f0a2b7c11","lines":[]}"#;

async fn pair() -> (World, World) {
    let service = World::service(KEY, None).await;
    let front = World::front(service.address, Some(KEY)).await;
    (service, front)
}

/// Asks how the front is until it says this of the service.
async fn until_service_is(front: &World, status: &str) -> Value {
    let says = async {
        loop {
            let report = front.get("/readyz").await.json();
            let services = report["dependencies"].as_array().unwrap().clone();
            let found = services.into_iter().find(|its| its["name"] == "probes");
            let found = found.unwrap();
            if found["status"] == status {
                return found;
            }
        }
    };
    timeout(Duration::from_secs(10), says).await.unwrap()
}

#[tokio::test]
async fn a_request_reaches_the_service_and_its_answer_the_client() {
    let (service, front) = pair().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let head = |key: &str| {
        format!(
            "POST /probe/orders\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n\
             Correlation-Id: mine\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01{key}"
        )
    };
    let through = front.send(&head(""), ORDER).await;
    let key = format!("\r\nAuthorization: Bearer {KEY}");
    let direct = service.send(&head(&key), ORDER).await;
    assert_eq!((through.status, direct.status), (201, 201));
    assert_eq!(through.json(), direct.json(), "the same command");
    assert_eq!(through.header("correlation-id"), Some("mine"));

    let context = "GET /probe/context\r\nCorrelation-Id: mine\r\nPrefer: wait=3";
    let answer = front.send(context, "").await;
    assert_eq!(answer.json()["request_id"], "mine");
    assert_eq!(answer.header("preference-applied"), Some("wait=3"));
    let traced = format!("GET /probe/context\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01");
    let answer = front.send(&traced, "").await.json();
    assert!(answer["traceparent"].as_str().unwrap().contains(trace));

    let answer = front.get("/probe/list?limit=7&older_than_ms=3").await;
    assert_eq!(answer.json()["limit"], 7);
    let matched = "PUT /probe/revision-3\r\nIf-Match: \"3\"";
    let answer = front.send(matched, "").await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"4\"")));
    let wrong = front.post("/probe/orders", r#"{"customer_id": 3}"#).await;
    let problem = wrong.problem("invalid-body");
    assert_eq!(problem["instance"], "/probe/orders");
    assert_eq!(problem["errors"][0]["pointer"], "#/customer_id");
    assert_eq!(front.get("/probe/panics").await.status, 500);
}

#[tokio::test]
async fn what_the_front_refuses_reaches_no_service() {
    let (_service, front) = pair().await;
    let answer = front.send("DELETE /probe/orders", "").await;
    answer.problem("method-not-allowed");
    let elsewhere = "GET /probe/context\r\nHost: elsewhere.example";
    front.send(elsewhere, "").await.problem("host-not-allowed");
    let body = vec![b'x'; 300 * 1024];
    let chunked = [b"4b000\r\n".as_slice(), &body[..0x4b000], b"\r\n0\r\n\r\n"].concat();
    let head = "POST /probe/orders\r\nContent-Type: application/json";
    let chunked_head = format!("{head}\r\nTransfer-Encoding: chunked");
    let answer = front.send(&chunked_head, chunked).await;
    assert_eq!(answer.status, 413);
    assert_eq!(front.send(head, body).await.status, 413);
}

#[tokio::test]
async fn a_service_is_used_with_a_key_only() {
    let service = World::service(&format!("another-key-of-theirs\n{KEY}"), None).await;
    let answer = service.get("/probe/context").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    answer.problem("service-key-required");
    assert_eq!(service.get("/nowhere").await.status, 401);
    for open in ["/healthz", "/readyz"] {
        assert_eq!(service.get(open).await.status, 200);
        let wrong = format!("GET {open}\r\nAuthorization: Bearer {KEY}-not");
        let answer = service.send(&wrong, "").await;
        answer.problem("service-key-required");
    }
    let keyed = format!("GET /probe/context\r\nAuthorization: Bearer {KEY}");
    // A name that nobody allowed: who has the key is no web page.
    let keyed = format!("{keyed}\r\nHost: orders:7183");
    assert_eq!(service.send(&keyed, "").await.status, 200);

    for keys in [None, Some("a-key-that-nobody-has")] {
        let front = World::front(service.address, keys).await;
        let answer = front.get("/probe/context").await;
        assert_eq!(answer.status, 503);
        answer.problem("dependency-unavailable");
        let down = until_service_is(&front, "down").await;
        assert!(
            down["detail"]
                .as_str()
                .unwrap()
                .contains("none of the keys")
        );
    }
    let front = World::front(service.address, Some(KEY)).await;
    assert_eq!(front.get("/probe/context").await.status, 200);
}

#[tokio::test]
async fn a_service_that_is_away_is_named_and_the_others_go_on() {
    let (service, front) = pair().await;
    until_service_is(&front, "up").await;
    let address = service.address;
    service.shutdown.cancel();
    assert!(service.ended().await);
    let down = until_service_is(&front, "down").await;
    assert!(down["detail"].as_str().unwrap().contains("no connection"));
    let answer = front.get("/probe/context").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let problem = answer.problem("dependency-unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("probes"));
    assert_eq!(front.get("/v1/events").await.status, 200);

    let _service = World::service(KEY, Some(address)).await;
    until_service_is(&front, "up").await;
    assert_eq!(front.get("/probe/context").await.status, 200);
}

/// Reads one request and says what it was.
async fn read_request(stream: &mut TcpStream) -> String {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        // The only body that these tests send ends like this.
        if read == 0 || text.ends_with("[]}") || !text.starts_with("POST") {
            return text.into_owned();
        }
    }
}

/// A service whose answers to everything but probes break off, so many times.
async fn breaking(listener: TcpListener, mut times: usize) -> Vec<String> {
    let mut requests = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = read_request(&mut stream).await;
        let ready = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        if asked.contains("/readyz") {
            let _ = stream.write_all(ready).await;
            continue;
        }
        requests.push(asked);
        if times == 0 {
            stream.write_all(ready).await.unwrap();
            return requests;
        }
        times -= 1;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all of it";
        stream.write_all(head).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again_under_the_same_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let front = World::front(address, Some(KEY)).await;
    // No key: the front gives it one.
    let (answer, requests) =
        tokio::join!(front.post("/probe/orders", ORDER), breaking(listener, 2));
    assert_eq!(answer.status, 200);
    let key = |request: &String| {
        let mut lines = request.lines();
        let line = lines.find_map(|line| line.strip_prefix("idempotency-key: "));
        line.unwrap().to_owned()
    };
    let keys: Vec<String> = requests.iter().map(key).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(requests.iter().all(|request| request.ends_with(ORDER)));
}

#[tokio::test]
async fn who_waits_for_a_service_while_the_front_stops_is_told_what_there_is() {
    let (service, front) = pair().await;
    let mut waiting = front.connect().await;
    let head = "POST /probe/waits\r\nPrefer: wait=30";
    waiting.send(request(head, b"")).await;
    service.arrived.notified().await;
    front.shutdown.cancel();
    let answer = waiting.receive().await.unwrap();
    assert_eq!(answer.status, 202);
}

#[tokio::test]
async fn who_waits_for_a_service_that_freezes_is_let_go() {
    // It takes connections and never says anything.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hasty = |options: &mut recourse_gateway::forward::Options| options.probe_timeout_ms = 10;
    let front = World::front_with(address, Some(KEY), hasty).await;
    let answer = front.get("/probe/context").await;
    answer.problem("dependency-unavailable");
}

/// A process of a service that gives each request the same answer, and says that it is ready.
struct Stub {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Stub {
    /// `answer` is a status and a body; none breaks the connection instead.
    async fn start(answer: Option<(&'static str, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (heard, mut serving) = (Arc::clone(&asked), JoinSet::new());
        serving.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                let answer = if request.contains("/readyz") {
                    Some(READY)
                } else {
                    heard.lock().unwrap().push(request);
                    answer
                };
                if let Some((status, body)) = answer {
                    let length = body.len();
                    let kind = "application/problem+json";
                    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}");
                    let head = format!("{head}\r\ncontent-length: {length}\r\n");
                    let answer = format!("{head}connection: close\r\n\r\n{body}");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        Self {
            address,
            asked,
            _serving: serving,
        }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

const READY: (&str, &str) = ("200 OK", r#"{"dependencies":[]}"#);
const ANSWER: (&str, &str) = ("200 OK", "{}");
/// What a process says that has not come to its engines.
const AWAY: (&str, &str) = (
    "503 Service Unavailable",
    r#"{"code":"dependency-unavailable","detail":"not here, either"}"#,
);
/// What it says that did what it could.
const BEHIND: (&str, &str) = ("503 Service Unavailable", r#"{"code":"view-behind"}"#);

#[tokio::test]
async fn the_processes_of_a_service_are_asked_in_turn() {
    let [one, other] = [
        Stub::start(Some(ANSWER)).await,
        Stub::start(Some(ANSWER)).await,
    ];
    let front = World::front_of(&[one.address, other.address], Some(KEY), |_| {}).await;
    until_service_is(&front, "up").await;
    for _ in 0..10 {
        assert_eq!(front.get("/probe/context").await.status, 200);
    }
    assert_eq!((one.asked(), other.asked()), (5, 5));
}

#[tokio::test]
async fn a_process_that_is_away_leaves_its_requests_to_the_other() {
    let service = World::service(KEY, None).await;
    let other = World::service(KEY, None).await;
    let front = World::front_of(&[service.address, other.address], Some(KEY), |_| {}).await;
    until_service_is(&front, "up").await;
    let port = service.address.port();
    service.shutdown.cancel();
    assert!(service.ended().await);
    // At once: before anybody has noticed, and afterwards.
    for _ in 0..20 {
        assert_eq!(front.post("/probe/orders", ORDER).await.status, 201);
    }
    let degraded = until_service_is(&front, "degraded").await;
    let detail = degraded["detail"].as_str().unwrap();
    assert!(
        detail.contains(&format!("127.0.0.1:{port}: no connection")),
        "{detail}"
    );
    other.shutdown.cancel();
    assert!(other.ended().await);
    until_service_is(&front, "down").await;
    front
        .get("/probe/context")
        .await
        .problem("dependency-unavailable");
}

#[tokio::test]
async fn a_request_that_broke_off_goes_to_the_other_process_under_the_same_key() {
    let [breaks, answers] = [Stub::start(None).await, Stub::start(Some(ANSWER)).await];
    let addresses = [breaks.address, answers.address];
    // Only its requests tell: its probes succeed.
    let front = World::front_of(&addresses, Some(KEY), |_| {}).await;
    until_service_is(&front, "up").await;
    for _ in 0..2 {
        assert_eq!(front.post("/probe/orders", ORDER).await.status, 200);
    }
    let key = |request: &String| {
        let mut lines = request.lines();
        let line = lines.find_map(|line| line.strip_prefix("idempotency-key: "));
        line.unwrap().to_owned()
    };
    let keys = |stub: &Stub| {
        stub.asked
            .lock()
            .unwrap()
            .iter()
            .map(key)
            .collect::<Vec<_>>()
    };
    let (broken, answered) = (keys(&breaks), keys(&answers));
    assert_eq!(answered.len(), 2);
    assert!(!broken.is_empty());
    assert!(
        broken.iter().all(|key| answered.contains(key)),
        "{broken:?}, {answered:?}"
    );
}

#[tokio::test]
async fn a_process_that_cannot_do_it_now_leaves_it_to_the_other() {
    let [away, answers] = [
        Stub::start(Some(AWAY)).await,
        Stub::start(Some(ANSWER)).await,
    ];
    let front = World::front_of(&[away.address, answers.address], Some(KEY), |_| {}).await;
    until_service_is(&front, "up").await;
    for _ in 0..6 {
        assert_eq!(front.get("/probe/context").await.status, 200);
    }
    assert!(away.asked() > 0);
    assert_eq!(answers.asked(), 6);

    // Where none can, the client is told what the last one said.
    let front = World::front_of(&[away.address, away.address], Some(KEY), |_| {}).await;
    let answer = front.get("/probe/context").await;
    let problem = answer.json();
    assert_eq!(
        (answer.status, &problem["detail"]),
        (503, &"not here, either".into())
    );

    // What another one would not do better is not asked again.
    let [behind, other] = [
        Stub::start(Some(BEHIND)).await,
        Stub::start(Some(BEHIND)).await,
    ];
    let front = World::front_of(&[behind.address, other.address], Some(KEY), |_| {}).await;
    assert_eq!(front.get("/probe/context").await.status, 503);
    assert_eq!(behind.asked() + other.asked(), 1);
}

#[tokio::test]
async fn who_waits_for_a_process_that_freezes_is_served_by_the_other() {
    // It takes connections and never says anything.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let frozen = listener.local_addr().unwrap();
    let answers = Stub::start(Some(ANSWER)).await;
    let hasty = |options: &mut recourse_gateway::forward::Options| options.probe_timeout_ms = 50;
    let front = World::front_of(&[frozen, answers.address], Some(KEY), hasty).await;
    // The first goes to the frozen one, or its circuit is open by now.
    for _ in 0..2 {
        assert_eq!(front.get("/probe/context").await.status, 200);
    }
}
