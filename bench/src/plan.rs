//! Which orders are placed: a function of a seed and a number, so that whoever repeats the
//! number sends the same bytes under the same key.

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use uuid::Uuid;

use crate::{
    acknowledged::Acknowledged,
    http::{Connection, Error},
};

/// How many of each product are received: more than any run sells.
const STOCK: u32 = 1_000_000_000;

/// Which orders.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// In front of every SKU and key.
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) skus: u32,
    pub(crate) max_lines: u32,
    /// How many of a hundred orders must fail.
    pub(crate) failing_percent: u8,
}

/// One order to place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) body: Bytes,
    /// That it is meant to fail.
    pub(crate) fails: bool,
}

/// Why a server could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// No answer.
    #[error("the server does not answer")]
    Http(#[from] Error),
    /// An answer that says no.
    #[error("{method} {path} was answered {status}: {body}")]
    Refused {
        /// `PUT`.
        method: &'static str,
        /// Of the request.
        path: String,
        /// Of the answer.
        status: u16,
        /// Of the answer, as text.
        body: String,
    },
}

impl Plan {
    /// The `number`th order of the run `run`.
    pub(crate) fn order(&self, run: u32, number: u64) -> Order {
        let mut draw = ChaCha8Rng::seed_from_u64(self.seed ^ number.rotate_left(20));
        let fails = draw.random_range(0..100_u8) < self.failing_percent;
        let mut token = "tok_visa";
        let mut sold_out = false;
        if fails {
            match draw.random_range(0..3_u8) {
                0 => token = "tok_declined",
                1 => token = "tok_insufficient_funds",
                _ => sold_out = true,
            }
        }
        let skus = self.skus.max(1);
        let lines = draw.random_range(1..=self.max_lines.clamp(1, skus));
        let first = draw.random_range(0..skus);
        let mut lines: Vec<_> = (0..lines)
            .map(|line| {
                let sku = first.wrapping_add(line.wrapping_mul(7919)) % skus;
                json!({"sku": self.sku(sku), "quantity": draw.random_range(1..=3_u32)})
            })
            .collect();
        lines.dedup_by(|a, b| a.get("sku") == b.get("sku"));
        if sold_out {
            lines.push(json!({"sku": self.sold_out(), "quantity": 1}));
        }
        let customer = Uuid::from_u64_pair(self.seed, number % 1_000);
        let body = json!({
            "customer_id": customer,
            "currency": "EUR",
            "lines": lines,
            "payment": {"method": "card", "token": token},
        });
        Order {
            key: format!("{}-{run}-{number}", self.name),
            body: Bytes::from(body.to_string()),
            fails,
        }
    }

    fn sku(&self, number: u32) -> String {
        format!("{}-{number}", self.name)
    }

    fn sold_out(&self) -> String {
        format!("{}-sold-out", self.name)
    }

    /// Puts the products and receives the stock. Harmless where it was done before. What the
    /// server acknowledged is handed to `told`, one by one.
    pub(crate) async fn prepare(
        &self,
        server: &mut Connection,
        mut told: impl FnMut(Acknowledged),
    ) -> Result<(), PrepareError> {
        let names: Vec<String> = (0..self.skus.max(1)).map(|sku| self.sku(sku)).collect();
        for name in names.iter().chain([&self.sold_out()]) {
            let body = json!({
                "name": name,
                "price": {"amount_minor": 1_999, "currency": "EUR"},
                "active": true,
            });
            let path = format!("/v1/products/{name}");
            let position = accepted(server, "PUT", path, &body).await?;
            if let (Some(position), Ok(product)) = (position, recourse_domain::Sku::parse(name)) {
                told(Acknowledged::Product { product, position });
            }
        }
        for name in &names {
            let body = json!({"quantity": STOCK, "reference": "bench"});
            let path = format!("/v1/stock/{name}/receipts");
            let position = accepted(server, "POST", path, &body).await?;
            if let (Some(position), Ok(sku)) = (position, recourse_domain::Sku::parse(name)) {
                let reference = "bench".to_owned();
                told(Acknowledged::Receipt {
                    sku,
                    reference,
                    position,
                });
            }
        }
        Ok(())
    }
}

/// Sends a command that must be accepted; its position.
async fn accepted(
    server: &mut Connection,
    method: &'static str,
    path: String,
    body: &serde_json::Value,
) -> Result<Option<recourse_event_store::Position>, PrepareError> {
    let body = Bytes::from(body.to_string());
    let answer = server.send(method, &path, &[], body).await?;
    if !answer.status.is_success() {
        return Err(PrepareError::Refused {
            method,
            path,
            status: answer.status.as_u16(),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
        });
    }
    Ok(answer.position())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(failing_percent: u8) -> Plan {
        Plan {
            name: "p".into(),
            seed: 7,
            skus: 100,
            max_lines: 2,
            failing_percent,
        }
    }

    #[test]
    fn a_number_is_always_the_same_order_and_keeps_the_share_that_fails() {
        for percent in [0, 10, 50, 100] {
            let plan = plan(percent);
            let failing = (0..10_000).filter(|n| plan.order(1, *n).fails).count();
            let expected = usize::from(percent) * 100;
            assert!(failing.abs_diff(expected) < 200, "{failing} of {expected}");
            assert_eq!(plan.order(1, 5), plan.order(1, 5));
            assert_ne!(plan.order(1, 5).key, plan.order(2, 5).key);
        }
    }

    #[test]
    fn every_way_to_fail_comes_and_no_line_comes_twice() {
        let plan = plan(50);
        let bodies: Vec<serde_json::Value> = (0..1_000)
            .map(|n| serde_json::from_slice(&plan.order(1, n).body).unwrap())
            .collect();
        for token in ["tok_visa", "tok_declined", "tok_insufficient_funds"] {
            assert!(bodies.iter().any(|body| body["payment"]["token"] == token));
        }
        for body in &bodies {
            let mut skus: Vec<_> = body["lines"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| line["sku"].as_str().unwrap())
                .collect();
            let lines = skus.len();
            skus.sort_unstable();
            skus.dedup();
            assert_eq!(skus.len(), lines);
        }
        assert!(
            bodies
                .iter()
                .any(|body| body["lines"][1]["sku"] == "p-sold-out")
        );
    }
}
