//! Places orders, cancels some and sends goods of some back.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use rand_chacha::rand_core::Rng as _;
use recourse_bench::acknowledged::{Acknowledged, Writer};
use recourse_domain::{OrderId, Sku};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    asking::{Asking, field},
    breach::Breach,
    operator::one,
};

const SKUS: u64 = 6;

/// Places orders and never gives up on one.
pub(super) struct Client {
    pub(super) asking: Asking,
    pub(super) number: u64,
    /// How many orders it places.
    pub(super) orders: u64,
    /// How many of each product there are, for all clients together.
    pub(super) stock: u64,
    pub(super) writer: Arc<Mutex<Writer>>,
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
    pub(super) async fn live(mut self) -> Result<u64, Breach> {
        if self.number == 0 {
            self.stock_up().await?;
        }
        for order in 0..self.orders {
            self.asking.pause(1_500).await;
            self.order(order).await?;
        }
        Ok(self.asking.answers_lost)
    }

    async fn stock_up(&mut self) -> Result<(), Breach> {
        for sku in 0..SKUS {
            let sku = format!("sku-{sku}");
            let path = format!("/v1/products/{sku}");
            let product = json!({"name": "Tea", "price": {"amount_minor": 500, "currency": "EUR"}, "active": true});
            let put = self
                .asking
                .insist("PUT", &path, &format!("product-{sku}"), &[], &product)
                .await?;
            if !put.status.is_success() {
                return Err(put.wrong("a product"));
            }
            let path = format!("/v1/stock/{sku}/receipts");
            let receipt = json!({"quantity": self.stock, "reference": "first"});
            let received = self
                .asking
                .insist("POST", &path, &format!("receipt-{sku}"), &[], &receipt)
                .await?;
            if !received.status.is_success() {
                return Err(received.wrong("a receipt"));
            }
            self.write(&Acknowledged::Receipt {
                sku: Sku::parse(&sku).map_err(Breach::engine)?,
                reference: "first".into(),
                position: received.position,
            })?;
        }
        Ok(())
    }

    async fn order(&mut self, number: u64) -> Result<(), Breach> {
        let key = format!("order-{}-{number}", self.number);
        let first = self.asking.draw.next_u64() % SKUS;
        let mut lines = vec![
            json!({"sku": format!("sku-{first}"), "quantity": 1 + self.asking.draw.next_u64() % 3}),
        ];
        if self.asking.draw.next_u64().is_multiple_of(2) {
            let second = (first + 1) % SKUS;
            lines.push(json!({"sku": format!("sku-{second}"), "quantity": 1}));
        }
        let token = one(&TOKENS, self.asking.draw.next_u64());
        let body = json!({
            "customer_id": Uuid::from_u128(self.number.into()),
            "currency": "EUR",
            "lines": lines,
            "payment": {"method": "card", "token": token},
        });
        let placed = loop {
            let placed = self
                .asking
                .insist("POST", "/v1/orders", &key, &[], &body)
                .await?;
            if placed.status.is_success() {
                break placed;
            }
            // The catalogue is not filled yet.
            if placed.field("code") != "unknown-product" {
                return Err(placed.wrong("an order"));
            }
            self.asking.pause(500).await;
        };
        let order_id: OrderId = read(placed.field("order_id"))?;
        self.write(&Acknowledged::Order {
            order_id,
            position: placed.position,
            status: None,
        })?;
        if self.asking.draw.next_u64().is_multiple_of(4) {
            self.asking.pause(40).await;
            let path = format!("/v1/orders/{order_id}/cancellation");
            let reason = json!({"reason": "changed my mind"});
            let cancelled = self
                .asking
                .insist("POST", &path, &format!("cancel-{key}"), &[], &reason)
                .await?;
            if !matches!(cancelled.status, StatusCode::OK | StatusCode::CONFLICT) {
                return Err(cancelled.wrong("a cancellation"));
            }
        } else if self.asking.draw.next_u64().is_multiple_of(2) {
            self.send_back(order_id, &key, &body).await?;
        }
        Ok(())
    }

    /// Waits for the end of its saga, by asking for the order again.
    async fn send_back(
        &mut self,
        order_id: OrderId,
        key: &str,
        body: &Value,
    ) -> Result<(), Breach> {
        let waiting = [("prefer", "wait=15")];
        let answer = self
            .asking
            .insist("POST", "/v1/orders", key, &waiting, body)
            .await?;
        if answer.field("status") != "completed" {
            return Ok(());
        }
        let path = format!("/v1/orders/{order_id}/returns");
        for part in 0..1 + self.asking.draw.next_u64() % 2 {
            let line = body.pointer("/lines/0").unwrap_or(&Value::Null);
            let bought = field(line, "quantity").as_u64().unwrap_or(1).max(1);
            let quantity = 1 + self.asking.draw.next_u64() % bought;
            let lines = json!([{"sku": field(line, "sku"), "quantity": quantity}]);
            let lines = json!({"lines": lines, "reason": "too bitter"});
            let key = format!("return-{key}-{part}");
            let answer = self.asking.insist("POST", &path, &key, &[], &lines).await?;
            if answer.status.is_success() {
                self.write(&Acknowledged::Return {
                    return_id: read(answer.field("return_id"))?,
                    order_id: read(answer.field("order_id"))?,
                    position: answer.position,
                    status: None,
                })?;
            } else if answer.status != StatusCode::CONFLICT {
                // It may be more than there is left of it, or an operator had the order undone.
                return Err(answer.wrong("a return"));
            }
        }
        Ok(())
    }

    fn write(&self, line: &Acknowledged) -> Result<(), Breach> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write(line).map_err(Breach::engine)
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Breach> {
    T::deserialize(value).map_err(Breach::engine)
}
