//! A plain client: one connection a request, and nothing between a test and the bytes.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::contract;

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request to a server.
#[derive(Clone)]
pub(crate) struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: vec![("host".to_owned(), address.to_string())],
            body: Vec::new(),
        }
    }

    /// Sets a header; the empty name takes nothing away, a known one is replaced.
    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        self.method = method.to_uppercase();
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn wait(self, seconds: u64) -> Self {
        self.header("prefer", format!("wait={seconds}"))
    }

    /// At least as new as an earlier answer.
    pub(crate) fn after(self, answer: &Answer) -> Self {
        self.header("recourse-min-position", answer.position())
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", "application/json")
    }

    /// Sends it. The answer is held against the contract that the server publishes.
    #[track_caller]
    pub(crate) fn send(self) -> Answer {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!(
            "content-length: {}\r\nconnection: close\r\n\r\n",
            self.body.len()
        ));
        let mut request = head.into_bytes();
        request.extend_from_slice(&self.body);
        let answer = exchange(self.address, &request);
        contract::hold(&self.method, &self.target, &answer);
        answer
    }
}

/// Sends bytes as they are and reads one answer; of a stream of events, which has no end, how it
/// begins.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who refuses a body may do so before all of it is there.
    let _ = stream.write_all(request);
    let (mut bytes, mut chunk) = (Vec::new(), [0; 8_192]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
        if is_stream_of_events(&bytes) {
            break;
        }
    }
    Answer::parse(&bytes)
}

fn is_stream_of_events(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let head = text.split_once("\r\n\r\n").map(|(head, _)| head);
    head.is_some_and(|head| head.contains("content-type: text/event-stream"))
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        };
        Self {
            status: status.parse().unwrap(),
            headers: lines.map(header).collect(),
            text: body.to_owned(),
        }
    }

    /// Holds the status, and tells all of the answer where it is another.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    /// Holds that this is a problem document of this code, complete and with its own page.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let document = answer.json();
        assert_eq!(document["code"], code, "{document:#}");
        assert_eq!(document["type"], format!("/errors/{code}"));
        assert_eq!(document["status"], status);
        assert!(document["title"].is_string() && document["instance"].is_string());
        assert!(document["retryable"].is_boolean());
        answer
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.keys().map(String::as_str)
    }

    #[track_caller]
    pub(crate) fn position(&self) -> &str {
        self.header("recourse-position").expect("a position")
    }

    #[track_caller]
    pub(crate) fn location(&self) -> &str {
        self.header("location").expect("a location")
    }

    pub(crate) fn is_replayed(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("a JSON body")
    }

    /// The fields that a problem points at.
    #[track_caller]
    pub(crate) fn pointers(&self) -> Vec<String> {
        let document = self.json();
        let errors = document["errors"].as_array().cloned().unwrap_or_default();
        let pointer = |error: &Value| error["pointer"].as_str().unwrap().to_owned();
        errors.iter().map(pointer).collect()
    }

    /// Where the next page is.
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.header("link")?;
        let (target, rel) = link.strip_prefix('<')?.split_once('>')?;
        assert_eq!(rel, "; rel=\"next\"");
        Some(target.to_owned())
    }
}
