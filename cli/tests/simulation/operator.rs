//! Meddles with sagas: with those that need somebody, and with others.

use axum::http::StatusCode;
use rand_chacha::rand_core::Rng as _;
use serde_json::{Value, json};

use crate::asking::Asking;

const ROUNDS: u64 = 60;

/// Somebody who retries, skips and undoes.
pub(crate) struct Operator {
    pub(crate) asking: Asking,
}

impl Operator {
    pub(crate) async fn live(mut self) -> u64 {
        for round in 0..ROUNDS {
            self.asking.pause(1_000).await;
            if let Some(saga) = self.one_of().await {
                self.act(round, &saga).await;
            }
        }
        self.asking.answers_lost
    }

    async fn get(&mut self, path: &str) -> (Value, Option<String>) {
        let answer = self
            .asking
            .insist("GET", path, "none", &[], &Value::Null)
            .await;
        let tag = answer.headers.get("etag");
        let tag = tag.map(|tag| tag.to_str().unwrap().to_owned());
        (answer.body, tag)
    }

    /// A saga that needs somebody, mostly.
    async fn one_of(&mut self) -> Option<String> {
        let status = match self.asking.draw.next_u64() % 6 {
            0 => "running",
            1 => "compensating",
            _ => "needs_attention",
        };
        let (page, _) = self.get(&format!("/v1/sagas?status={status}")).await;
        let sagas = page["items"].as_array()?;
        let drawn = self.asking.draw.next_u64() as usize;
        let saga = sagas.get(drawn.checked_rem(sagas.len())?)?;
        Some(saga["saga_id"].as_str()?.to_owned())
    }

    async fn act(&mut self, round: u64, saga: &str) {
        let (shown, tag) = self.get(&format!("/v1/sagas/{saga}")).await;
        let Some(tag) = tag else {
            return;
        };
        let body = match self.asking.draw.next_u64() % 4 {
            0 => json!({"action": "retry", "reason": "once more"}),
            1 => json!({"action": "compensate", "reason": "the client called"}),
            _ => {
                let Some(step) = self.step(&shown) else {
                    return;
                };
                let result = ["left", "done"][self.asking.draw.next_u64() as usize % 2];
                json!({"action": "skip", "step": step, "result": result, "reason": "goodwill"})
            }
        };
        let path = format!("/v1/sagas/{saga}/actions");
        let key = format!("act-{round}");
        let if_match = [("if-match", &*tag)];
        let answer = self
            .asking
            .insist("POST", &path, &key, &if_match, &body)
            .await;
        // The saga went on meanwhile, or does not stand so that this could be done.
        let is_fine = [
            StatusCode::OK,
            StatusCode::CONFLICT,
            StatusCode::PRECONDITION_FAILED,
        ];
        assert!(is_fine.contains(&answer.status), "{}", answer.body);
    }

    /// A step that stands in the way, forward or back.
    fn step(&mut self, shown: &Value) -> Option<String> {
        let steps = shown["steps"].as_array()?;
        let stuck = |step: &&Value| {
            ["refused", "overdue", "undoing", "running"].contains(&step["status"].as_str().unwrap())
        };
        let stuck: Vec<_> = steps.iter().filter(stuck).collect();
        let drawn = self.asking.draw.next_u64() as usize;
        let step = stuck.get(drawn.checked_rem(stuck.len())?)?;
        Some(step["name"].as_str()?.to_owned())
    }
}
