//! Places orders, cancels some and sends goods of some back.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use rand_chacha::rand_core::Rng as _;
use recourse_bench::acknowledged::{Acknowledged, Writer};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::asking::{Answer, Asking};

const SKUS: u64 = 6;
const ORDERS_PER_CLIENT: u64 = 6;

/// Places orders and never gives up on one.
pub(crate) struct Client {
    pub(crate) asking: Asking,
    pub(crate) number: u64,
    pub(crate) writer: Arc<Mutex<Writer>>,
}

/// Every path that a token can take, the good one most often.
const TOKENS: [&str; 18] = [
    "tok_visa",
    "tok_visa",
    "tok_visa",
    "tok_visa",
    "tok_visa",
    "tok_visa",
    "tok_declined",
    "tok_insufficient_funds",
    "tok_lost_reply",
    "tok_never_arrived",
    "tok_late_arrival",
    "tok_flaky_2",
    "tok_slow_700",
    "tok_slow_30000",
    "tok_capture_refused",
    "tok_refund_refused",
    "tok_refund_refused",
    "tok_visa",
];

impl Client {
    pub(crate) async fn live(mut self) -> u64 {
        if self.number == 0 {
            self.stock_up().await;
        }
        for order in 0..ORDERS_PER_CLIENT {
            self.asking.pause(1_500).await;
            self.order(order).await;
        }
        self.asking.answers_lost
    }

    async fn stock_up(&mut self) {
        for sku in 0..SKUS {
            let sku = format!("sku-{sku}");
            let path = format!("/v1/products/{sku}");
            let product = json!({"name": "Tea", "price": {"amount_minor": 500, "currency": "EUR"}, "active": true});
            self.asking
                .insist("PUT", &path, &format!("product-{sku}"), &[], &product)
                .await;
            let path = format!("/v1/stock/{sku}/receipts");
            let receipt = json!({"quantity": 25, "reference": "first"});
            let Answer {
                status, position, ..
            } = self
                .asking
                .insist("POST", &path, &format!("receipt-{sku}"), &[], &receipt)
                .await;
            assert!(status.is_success());
            self.write(&Acknowledged::Receipt {
                sku: recourse_domain::Sku::parse(&sku).unwrap(),
                reference: "first".into(),
                position,
            });
        }
    }

    async fn order(&mut self, number: u64) {
        let key = format!("order-{}-{number}", self.number);
        let first = self.asking.draw.next_u64() % SKUS;
        let mut lines = vec![
            json!({"sku": format!("sku-{first}"), "quantity": 1 + self.asking.draw.next_u64() % 3}),
        ];
        if self.asking.draw.next_u64().is_multiple_of(2) {
            let second = (first + 1) % SKUS;
            lines.push(json!({"sku": format!("sku-{second}"), "quantity": 1}));
        }
        let token = TOKENS[self.asking.draw.next_u64() as usize % TOKENS.len()];
        let body = json!({
            "customer_id": Uuid::from_u128(self.number.into()),
            "currency": "EUR",
            "lines": lines,
            "payment": {"method": "card", "token": token},
        });
        let (position, answer) = loop {
            let Answer {
                status,
                position,
                body: answer,
                ..
            } = self
                .asking
                .insist("POST", "/v1/orders", &key, &[], &body)
                .await;
            if status.is_success() {
                break (position, answer);
            }
            // The catalogue is not filled yet.
            assert_eq!(answer["code"], "unknown-product", "{answer}");
            self.asking.pause(500).await;
        };
        let order_id = answer["order_id"].as_str().unwrap().to_owned();
        self.write(&Acknowledged::Order {
            order_id: serde_json::from_value(answer["order_id"].clone()).unwrap(),
            position,
            status: None,
        });
        if self.asking.draw.next_u64().is_multiple_of(4) {
            self.asking.pause(40).await;
            let path = format!("/v1/orders/{order_id}/cancellation");
            let reason = json!({"reason": "changed my mind"});
            let Answer {
                status,
                body: answer,
                ..
            } = self
                .asking
                .insist("POST", &path, &format!("cancel-{key}"), &[], &reason)
                .await;
            assert!(
                status == StatusCode::OK || status == StatusCode::CONFLICT,
                "{status} {answer}"
            );
        } else if self.asking.draw.next_u64().is_multiple_of(2) {
            self.send_back(&order_id, &key, &body).await;
        }
    }

    /// Waits for the end of its saga, by asking for the order again.
    async fn send_back(&mut self, order_id: &str, key: &str, body: &Value) {
        let waiting = [("prefer", "wait=15")];
        let answer = self
            .asking
            .insist("POST", "/v1/orders", key, &waiting, body)
            .await;
        if answer.body["status"] != "completed" {
            return;
        }
        let path = format!("/v1/orders/{order_id}/returns");
        for part in 0..1 + self.asking.draw.next_u64() % 2 {
            let line = &body["lines"][0];
            let bought = line["quantity"].as_u64().unwrap();
            let quantity = 1 + self.asking.draw.next_u64() % bought;
            let lines = json!([{"sku": line["sku"], "quantity": quantity}]);
            let lines = json!({"lines": lines, "reason": "too bitter"});
            let key = format!("return-{key}-{part}");
            let Answer {
                status,
                position,
                body: answer,
                ..
            } = self.asking.insist("POST", &path, &key, &[], &lines).await;
            if status.is_success() {
                self.write(&Acknowledged::Return {
                    return_id: serde_json::from_value(answer["return_id"].clone()).unwrap(),
                    order_id: serde_json::from_value(answer["order_id"].clone()).unwrap(),
                    position,
                    status: None,
                });
            } else {
                // More than there is left of it, or an operator had the order undone.
                assert_eq!(status, StatusCode::CONFLICT, "{answer}");
            }
        }
    }

    fn write(&self, line: &Acknowledged) {
        self.writer.lock().unwrap().write(line).unwrap();
    }
}
