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
use tokio::task::JoinSet;

use crate::PATIENCE;

/// A client of the gateways: where one is away it goes to the next.
#[derive(Clone)]
pub(crate) struct Client {
    gateways: Vec<String>,
    /// Which of them is asked.
    at: Arc<AtomicUsize>,
}

impl Client {
    pub(crate) fn new(gateways: Vec<String>) -> Self {
        let at = Arc::default();
        Self { gateways, at }
    }

    /// One request; none where the gateway is away.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Option<Answer> {
        let at = self.at.load(Ordering::Relaxed);
        let gateway = Address::parse(&self.gateways[at % self.gateways.len()]).unwrap();
        let mut connection = Connection::new(gateway, PATIENCE);
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let sent = connection.send(method, target, headers, body.into());
        let answer = sent.await.ok();
        if answer.is_none() {
            self.at.store(at + 1, Ordering::Relaxed);
        }
        answer
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

    /// How an order stands; none where that is not to be had now.
    pub(crate) async fn status(&self, order: &str) -> Option<String> {
        let target = format!("/v1/orders/{order}");
        let answer = self.send("GET", &target, &[], &Value::Null).await?;
        let order: Value = serde_json::from_slice(&answer.body).ok()?;
        order["status"].as_str().map(str::to_owned)
    }

    /// Reads an order until it stands so.
    pub(crate) async fn until_order_is(&self, order: &str, statuses: &[&str]) {
        let mut last = None;
        let reading = async {
            loop {
                // A view that catches up may not show it yet.
                last = self.status(order).await.or(last.take());
                if statuses
                    .iter()
                    .any(|status| last.as_deref() == Some(status))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("{order} is not {statuses:?}: {last:?}"));
    }
}

/// Customers who buy while something is done to the shop.
pub(crate) struct Customers {
    shared: Arc<Shared>,
    buying: JoinSet<Vec<String>>,
}

struct Shared {
    client: Client,
    /// After each order.
    rest: Duration,
    placed: AtomicUsize,
    is_over: AtomicBool,
}

impl Customers {
    /// So many of them, who buy until they leave.
    pub(crate) fn come(client: &Client, many: usize) -> Self {
        Self::who_rest(client, many, Duration::from_millis(50))
    }

    /// The same, with a rest of so long after each order.
    pub(crate) fn who_rest(client: &Client, many: usize, rest: Duration) -> Self {
        let shared = Arc::new(Shared {
            client: client.clone(),
            rest,
            placed: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let buying = (0..many).map(|number| buy(Arc::clone(&shared), number));
        Self {
            buying: buying.collect(),
            shared,
        }
    }

    /// Waits until they have placed so many orders more.
    pub(crate) async fn buy_more(&self, more: usize) {
        let placed = || self.shared.placed.load(Ordering::Relaxed);
        let wanted = placed() + more;
        let waiting = async {
            while placed() < wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.expect("orders are taken");
    }

    /// They leave, and have what they ordered.
    pub(crate) async fn all_are_served(self) {
        let Self { shared, buying } = self;
        shared.is_over.store(true, Ordering::Relaxed);
        for order in buying.join_all().await.concat() {
            shared.client.until_order_is(&order, &["completed"]).await;
        }
    }
}

/// Every order of a customer.
async fn buy(shared: Arc<Shared>, number: usize) -> Vec<String> {
    let mut orders = Vec::new();
    while !shared.is_over.load(Ordering::Relaxed) {
        let key = format!("customer-{number}-{}", orders.len());
        orders.push(shared.client.place("tok_visa", &key).await);
        shared.placed.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(shared.rest).await;
    }
    orders
}
