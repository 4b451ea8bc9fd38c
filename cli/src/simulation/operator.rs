//! Meddles with sagas: with those that need somebody, and with others.

use axum::http::StatusCode;
use rand_chacha::rand_core::Rng as _;
use serde_json::{Value, json};

use super::{
    asking::{Asking, field},
    breach::Breach,
};

/// Somebody who retries, skips and undoes.
pub(super) struct Operator {
    pub(super) asking: Asking,
    /// How often it looks.
    pub(super) rounds: u64,
}

impl Operator {
    pub(super) async fn live(mut self) -> Result<u64, Breach> {
        for round in 0..self.rounds {
            self.asking.pause(1_000).await;
            if let Some(saga) = self.one_of().await? {
                self.act(round, &saga).await?;
            }
        }
        Ok(self.asking.answers_lost)
    }

    async fn get(&mut self, path: &str) -> Result<(Value, Option<String>), Breach> {
        let answer = self
            .asking
            .insist("GET", path, "none", &[], &Value::Null)
            .await?;
        let tag = answer.headers.get("etag").and_then(|tag| tag.to_str().ok());
        let tag = tag.map(ToOwned::to_owned);
        Ok((answer.body, tag))
    }

    /// A saga that needs somebody, mostly.
    async fn one_of(&mut self) -> Result<Option<String>, Breach> {
        let status = match self.asking.draw.next_u64() % 6 {
            0 => "running",
            1 => "compensating",
            _ => "needs_attention",
        };
        let (page, _) = self.get(&format!("/v1/sagas?status={status}")).await?;
        let Some(sagas) = field(&page, "items").as_array() else {
            return Ok(None);
        };
        let saga = one(sagas, self.asking.draw.next_u64());
        let saga = saga.and_then(|saga| field(saga, "saga_id").as_str());
        Ok(saga.map(ToOwned::to_owned))
    }

    async fn act(&mut self, round: u64, saga: &str) -> Result<(), Breach> {
        let (shown, tag) = self.get(&format!("/v1/sagas/{saga}")).await?;
        let Some(tag) = tag else {
            return Ok(());
        };
        let body = match self.asking.draw.next_u64() % 4 {
            0 => json!({"action": "retry", "reason": "once more"}),
            1 => json!({"action": "compensate", "reason": "the client called"}),
            _ => {
                let Some(step) = self.step(&shown) else {
                    return Ok(());
                };
                let left = self.asking.draw.next_u64().is_multiple_of(2);
                let result = if left { "left" } else { "done" };
                json!({"action": "skip", "step": step, "result": result, "reason": "goodwill"})
            }
        };
        let path = format!("/v1/sagas/{saga}/actions");
        let key = format!("act-{round}");
        let if_match = [("if-match", &*tag)];
        let answer = self
            .asking
            .insist("POST", &path, &key, &if_match, &body)
            .await?;
        // The saga went on meanwhile, or does not stand so that this could be done.
        let is_fine = [
            StatusCode::OK,
            StatusCode::CONFLICT,
            StatusCode::PRECONDITION_FAILED,
        ];
        match is_fine.contains(&answer.status) {
            true => Ok(()),
            false => Err(answer.wrong("an operator's action")),
        }
    }

    /// A step that stands in the way, forward or back.
    fn step(&mut self, shown: &Value) -> Option<String> {
        let steps = field(shown, "steps").as_array()?;
        let stuck = |step: &&Value| {
            let status = field(step, "status").as_str().unwrap_or_default();
            ["refused", "overdue", "undoing", "running"].contains(&status)
        };
        let stuck: Vec<_> = steps.iter().filter(stuck).collect();
        let step = one(&stuck, self.asking.draw.next_u64())?;
        Some(field(step, "name").as_str()?.to_owned())
    }
}

/// One of them, where there is any.
pub(super) fn one<T>(of: &[T], drawn: u64) -> Option<&T> {
    let place = drawn.checked_rem(u64::try_from(of.len()).ok()?)?;
    of.get(usize::try_from(place).ok()?)
}
