//! Places an order, waits until it has settled, then watches its saga to its end:
//! `cargo run -p recourse-example -- [URL]`. Run again it finds the same order, by its
//! Idempotency-Key.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what it is for"
)]

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// How often a watcher comes back that is cut off each time.
const RETRIES: u32 = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refused  {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let url = std::env::args().nth(1);
    let url = url.as_deref().unwrap_or("http://127.0.0.1:7171");
    let authority = url.strip_prefix("http://").context("http://host:port")?;
    let server = Server(authority.trim_end_matches('/').to_owned());

    // What is bought has to be there. All of this may be repeated: a PUT is what it says, and a
    // delivery counts once.
    let price = json!({"amount_minor": 1999, "currency": "EUR"});
    let product = json!({"name": "Tea", "price": price, "active": true});
    let put = server.call(Method::PUT, "/v1/products/example-tea", &[], &product);
    put.await?;
    let delivery = json!({"quantity": 1000, "reference": "example-delivery"});
    let path = "/v1/stock/example-tea/receipts";
    server.call(Method::POST, path, &[], &delivery).await?;

    let order = json!({
        "customer_id": "6f1b2c1e-7f0a-4c52-9b0e-3c1de7b0a001",
        "currency": "EUR",
        "lines": [{"sku": "example-tea", "quantity": 2}],
        "payment": {"method": "card", "token": "tok_visa"},
    });
    let headers = [("idempotency-key", "example-rust"), ("prefer", "wait=20")];
    let placed = server.call(Method::POST, "/v1/orders", &headers, &order);
    let placed = placed.await?;
    let (total, status) = (
        field(&placed, "/total/amount_minor"),
        field(&placed, "/status"),
    );
    let currency = field(&placed, "/total/currency");
    println!(
        "order    {} {status} {total} {currency}",
        field(&placed, "/order_id")
    );
    server.watch(&field(&placed, "/saga_id")).await
}

/// A field as text; empty where it is not there.
fn field(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// A server at `host:port`.
struct Server(String);

impl Server {
    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let stream = TcpStream::connect(&self.0).await;
        let stream = stream.with_context(|| format!("{} does not answer", self.0))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        #[expect(clippy::disallowed_methods, reason = "it ends with its one request")]
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    /// The JSON of the answer.
    ///
    /// # Errors
    /// A refusal, as the problem that was answered (RFC 9457).
    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> anyhow::Result<Value> {
        let mut request = Request::builder().method(&method).uri(path);
        request = request
            .header("host", &self.0)
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.send(request.body(body.to_string().into())?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        ensure!(status.is_success(), "{method} {path}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Prints each change of a saga until it has ended. Cut off, it comes back with the id of the
    /// last whole message, and gets what came since.
    async fn watch(&self, saga: &str) -> anyhow::Result<()> {
        let mut messages = Messages::default();
        let mut failures = 0;
        while failures < RETRIES {
            if failures > 0 || messages.last.is_some() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            failures += 1;
            let mut request = Request::get(format!("/v1/sagas/{saga}/watch?from=start"));
            request = request.header("host", &self.0);
            if let Some(last) = &messages.last {
                request = request.header("last-event-id", last);
            }
            let Ok(answer) = self.send(request.body(Full::default())?).await else {
                continue;
            };
            let status = answer.status();
            ensure!(status == StatusCode::OK, "the saga {saga}: {status}");
            let mut body = answer.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                for (event, data) in messages.read(frame.data_ref().unwrap_or(&Bytes::new()))? {
                    if event == "end" {
                        println!("end");
                        return Ok(());
                    }
                    failures = 0;
                    show(&data);
                }
            }
            messages.cut_off();
        }
        bail!("the saga {saga} cannot be watched");
    }
}

fn show(saga: &Value) {
    let steps = saga.pointer("/steps").and_then(Value::as_array);
    let mut steps = steps.into_iter().flatten().rev();
    let begun = steps.find(|step| field(step, "/status") != "pending");
    let begun = begun.unwrap_or(&Value::Null);
    let (name, status) = (field(begun, "/name"), field(begun, "/status"));
    println!("saga     {} {name} {status}", field(saga, "/status"));
}

/// Server-Sent Events, put together from what arrives.
#[derive(Default)]
struct Messages {
    /// The id of the last whole message.
    last: Option<String>,
    /// The id seen last.
    id: Option<String>,
    line: Vec<u8>,
    event: String,
    data: String,
}

impl Messages {
    /// The messages that are whole now: their events, and their data.
    fn read(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<(String, Value)>> {
        let mut messages = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8(std::mem::take(&mut self.line))?;
            if line.is_empty() {
                self.last.clone_from(&self.id);
                let (event, data) = (
                    std::mem::take(&mut self.event),
                    std::mem::take(&mut self.data),
                );
                if !data.is_empty() {
                    messages.push((event, serde_json::from_str(&data)?));
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => self.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut self.event),
                "data" => self.data.push_str(value),
                _ => {}
            }
        }
        Ok(messages)
    }

    /// What had come of a message that never became whole is forgotten.
    fn cut_off(&mut self) {
        self.id.clone_from(&self.last);
        self.line.clear();
        self.event.clear();
        self.data.clear();
    }
}
