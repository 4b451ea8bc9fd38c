//! Customers of the shop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use recourse_bench::http::{Address, Answer, Connection};
use serde_json::{Value, json};

use crate::PATIENCE;

/// A client of the gateway.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) String);

impl Client {
    /// One request; none where the gateway is away.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Option<Answer> {
        let mut connection = Connection::new(Address::parse(&self.0).unwrap(), PATIENCE);
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let sent = connection.send(method, target, headers, body.into());
        sent.await.ok()
    }

    /// Sends it until it is taken, as a client does that is told to try again.
    pub(crate) async fn insist(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Value {
        let mut last = None;
        let insisting = async {
            loop {
                if let Some(answer) = self.send(method, target, headers, body).await {
                    let said: Value = serde_json::from_slice(&answer.body).unwrap();
                    if answer.status.is_success() {
                        return said;
                    }
                    assert_eq!(answer.status, 503, "{method} {target}: {said}");
                    last = Some(said);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let taken = tokio::time::timeout(PATIENCE, insisting).await;
        taken.unwrap_or_else(|_| panic!("{method} {target} is not taken: {last:?}"))
    }

    pub(crate) async fn stock(&self) {
        let product = json!({
            "name": "Tea",
            "price": {"amount_minor": 500, "currency": "EUR"},
            "active": true,
        });
        self.insist("PUT", "/v1/products/tea", &[], &product).await;
        let receipt = json!({"quantity": 100_000, "reference": "first"});
        self.insist("POST", "/v1/stock/tea/receipts", &[], &receipt)
            .await;
    }

    /// Places an order; its id.
    pub(crate) async fn place(&self, token: &str, key: &str) -> String {
        let order = json!({
            "customer_id": "3d6f0a4e-8a55-4f0e-9c1e-5f1f0a2b7c11",
            "currency": "EUR",
            "lines": [{"sku": "tea", "quantity": 2}],
            "payment": {"method": "card", "token": token},
        });
        let headers = [("idempotency-key", key)];
        let placed = self.insist("POST", "/v1/orders", &headers, &order).await;
        placed["order_id"].as_str().unwrap().to_owned()
    }

    /// Reads an order until it stands so.
    pub(crate) async fn until_order_is(&self, order: &str, statuses: &[&str]) -> Value {
        let target = format!("/v1/orders/{order}");
        let mut last = Value::Null;
        let reading = async {
            loop {
                last = self.insist("GET", &target, &[], &Value::Null).await;
                if statuses.iter().any(|status| last["status"] == *status) {
                    return last.clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("{order} is not {statuses:?}"))
    }
}

/// Customers who buy until they are told to stop; every order of theirs.
pub(crate) async fn buy(
    client: Client,
    number: usize,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut orders = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let key = format!("customer-{number}-{}", orders.len());
        orders.push(client.place("tok_visa", &key).await);
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    orders
}

/// Waits until they have placed so many more.
pub(crate) async fn until_more(count: &AtomicUsize, more: usize) {
    let wanted = count.load(Ordering::Relaxed) + more;
    let waiting = async {
        while count.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.expect("orders are taken");
}
