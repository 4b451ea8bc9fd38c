//! A client that sends exactly what it is told, well-formed or not.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const SILENCE: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            unread: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A server that has refused may have closed its side by now.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads one answer; none where the connection ended before one.
    pub(crate) async fn receive(&mut self) -> Option<Answer> {
        let mut answer = self.head().await?;
        let length = answer
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < length {
            assert!(self.read_more().await, "the answer broke off");
        }
        answer.body = self.unread.drain(..length).collect();
        Some(answer)
    }

    /// Reads an answer up to where its body begins.
    pub(crate) async fn receive_head(&mut self) -> Answer {
        self.head().await.expect("an answer")
    }

    /// Reads the next chunk of a chunked body; the last one is empty.
    pub(crate) async fn receive_chunk(&mut self) -> String {
        let line = loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                break self.unread.drain(..at + 2).collect::<Vec<_>>();
            }
            assert!(self.read_more().await, "the answer broke off");
        };
        let length = std::str::from_utf8(&line).unwrap().trim_end();
        let length = usize::from_str_radix(length, 16).unwrap();
        while self.unread.len() < length + 2 {
            assert!(self.read_more().await, "the answer broke off");
        }
        let chunk: Vec<u8> = self.unread.drain(..length + 2).take(length).collect();
        String::from_utf8(chunk).unwrap()
    }

    async fn head(&mut self) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read_more().await {
                return None;
            }
        };
        let head = String::from_utf8(self.unread.drain(..head_end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Answer {
            status: status.parse().unwrap(),
            headers,
            body: Vec::new(),
        })
    }

    /// Whether the server has closed the connection and sent nothing more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.read_more().await
    }

    async fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer);
        // A server that says nothing at all fails the test and does not hang it.
        match timeout(SILENCE, read).await.expect("an answer in time") {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
        }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(have, _)| have == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice");
        value
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer as a problem of this code, which must be one of the tables'.
    pub(crate) fn problem(&self, code: &str) -> Value {
        let document = self.json();
        assert_eq!(document["code"], code, "{document}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let known = recourse_service::errors::ERRORS
            .iter()
            .find(|known| known.code == code)
            .unwrap_or_else(|| panic!("{code} is in no table"));
        assert_eq!(self.status, known.status, "{document}");
        assert_eq!(document["status"], known.status);
        assert_eq!(document["title"], known.title);
        assert_eq!(document["retryable"], known.retryable);
        assert_eq!(document["type"], format!("/errors/{code}"));
        assert!(document["instance"].as_str().unwrap().starts_with('/'));
        assert!(self.header("correlation-id").is_some());
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        if matches!(known.status, 429 | 503) {
            assert!(self.header("retry-after").is_some(), "no Retry-After");
        }
        document
    }

    /// The pointers of a problem's `errors`.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let document = self.json();
        let errors = document["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|error| {
                assert!(!error["detail"].as_str().unwrap().is_empty());
                error["pointer"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
