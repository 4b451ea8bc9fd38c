//! What is secret is in the log, and in nothing that a running server shows.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::{
    client::Request,
    server::{order, product, recourse},
};

/// Tokens of every way through the provider that is quick. The log holds them as they are.
const TOKENS: [&str; 6] = [
    "tok_visa",
    "tok_declined",
    "tok_insufficient_funds",
    "tok_never_arrived",
    "tok_flaky_1",
    "tok_slow_7",
];

/// Tokens that are refused: what is said of them does not repeat them either.
const REFUSED: [&str; 2] = ["tok_ secret", "tok_\u{e9}"];

#[test]
fn no_token_is_in_anything_that_a_server_shows_or_logs() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("log.txt");
    let mut server = recourse()
        .args(["--log", "trace", "up", "--listen", "127.0.0.1:0"])
        // A watch that shows nothing says soon how far it has come.
        .args(["--watch-keep-alive-ms", "100", "--data"])
        .arg(folder.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(File::create(&logs).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = server.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let url = line.trim().rsplit_once("http://").unwrap().1;
    let address = url.parse().unwrap();
    let get = |target: &str| Request::new(address, "GET", target);

    let put = Request::new(address, "PUT", "/v1/products/tea");
    put.json(&product("Tea", 1_000)).send().expect(201);
    let receive = Request::new(address, "POST", "/v1/stock/tea/receipts");
    let goods = json!({"quantity": 100, "reference": "first"});
    receive.json(&goods).send().expect(201);
    let mut shown = Vec::new();
    let mut position = String::new();
    let mut places = BTreeSet::new();
    for token in TOKENS.iter().chain(&REFUSED) {
        let place = Request::new(address, "POST", "/v1/orders");
        let placed = place.json(&order("tea", 1, token)).wait(20).send();
        shown.push(placed.text.clone());
        if REFUSED.contains(token) {
            placed.expect(422);
            continue;
        }
        placed.clone().expect(201);
        placed.position().clone_into(&mut position);
        let body = placed.json();
        for (kind, id) in [("orders", "order_id"), ("sagas", "saga_id")] {
            let place = format!("/v1/{kind}/{}", body[id].as_str().unwrap());
            places.insert(format!("{place}/why"));
            places.insert(place);
        }
    }
    let mut events = 0;
    let mut next = Some("/v1/events?limit=200".to_owned());
    while let Some(target) = next {
        let page = get(&target)
            .header("recourse-min-position", &position)
            .send();
        let page = page.expect(200);
        for event in page.json()["items"].as_array().unwrap() {
            events += 1;
            let whole = [&event["data"], &event["data"]["input"]];
            let commands = event["data"]["commands"].as_array().into_iter().flatten();
            let commands = commands.map(|sent| &sent["command"]["data"]);
            for data in whole.into_iter().chain(commands) {
                assert_ne!(data, "[redacted]", "no schema describes {event}");
            }
            places.insert(format!("/v1/streams/{}", event["stream"].as_str().unwrap()));
        }
        next = page.next();
        shown.push(page.text);
    }
    assert!(events > 80, "{events}");
    for address in ["orders", "sagas", "stock", "products"] {
        places.insert(format!("/v1/{address}?limit=200"));
    }
    for place in ["/metrics", "/readyz", "/healthz"] {
        places.insert(place.to_owned());
    }
    let streams: Vec<_> = places
        .iter()
        .filter(|place| place.starts_with("/v1/streams/"))
        .cloned()
        .collect();
    let payments = streams
        .iter()
        .filter_map(|place| place.strip_prefix("/v1/streams/payment-"))
        .map(|payment| format!("/v1/payments/{payment}"));
    let before = places.len();
    places.extend(payments);
    assert_eq!(places.len() - before, TOKENS.len(), "a payment an order");
    for place in &places {
        shown.push(get(place).send().expect(200).text);
    }
    let sagas = places
        .iter()
        .filter(|place| place.starts_with("/v1/sagas/") && !place.ends_with("/why"));
    for place in streams
        .iter()
        .chain(sagas)
        .map(String::as_str)
        .chain(["/v1/events", "/v1/sagas"])
    {
        let watched = watched(address, &format!("{place}/watch?from=start"), &position);
        assert!(watched.contains("\ndata: "), "{place}: {watched}");
        shown.push(watched);
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let logs = fs::read_to_string(&logs).unwrap();
    assert!(!logs.is_empty(), "something is logged");
    shown.push(logs);

    let stored = bytes_of(&folder.path().join("data").join("log"));
    for token in TOKENS {
        let token = token.as_bytes();
        assert!(
            stored.windows(token.len()).any(|part| part == token),
            "the log has what a payment needs"
        );
    }
    for text in &shown {
        for token in TOKENS.iter().chain(&REFUSED) {
            let at = text.find(token);
            let around = at.map(|at| &text[at.saturating_sub(300)..]);
            assert_eq!(around, None, "{token} is shown");
        }
    }
    assert!(shown.iter().any(|text| text.contains("[redacted]")));
    let hidden: Value = serde_json::from_str(&shown[TOKENS.len() + REFUSED.len()]).unwrap();
    let placed = hidden["items"].as_array().unwrap().iter();
    let mut placed = placed.filter(|event| event["type"] == "order.placed.v1");
    assert_eq!(
        placed.next().unwrap()["data"]["payment"]["token"],
        "[redacted]"
    );
}

/// What a watch shows up to a position, or to its end.
fn watched(address: SocketAddr, path: &str, position: &str) -> String {
    let number = |token: &str| -> u64 { token.split('-').next().unwrap().parse().unwrap() };
    let mut stream = TcpStream::connect(address).unwrap();
    // In HTTP/1.0 the body is what comes until the connection ends.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let (mut text, mut last) = (String::new(), 0);
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        text.push_str(&line);
        text.push('\n');
        if let Some(id) = line.strip_prefix("id: ") {
            last = number(id);
        } else if line.is_empty() && last >= number(position) {
            break;
        }
    }
    text
}

fn bytes_of(folder: &std::path::Path) -> Vec<u8> {
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|file| file.is_file())
        .flat_map(|file| fs::read(file).unwrap())
        .collect()
}
