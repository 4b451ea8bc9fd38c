//! What operators have asked of a saga.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Part, Reason, Sent, State};
use crate::{
    By, CompensationRequested, Direction, Resumed, Retried, SkipRequested, SkipResult, StepSkipped,
};

/// An item of a step that an operator wants left out, or its way back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SagaSkip")]
pub struct Skip {
    /// The step and its item.
    #[serde(flatten)]
    pub part: Part,
    /// What is left out: the step, or its way back.
    pub direction: Direction,
    /// What the operator says of it.
    pub result: SkipResult,
    /// Who, and why.
    #[serde(flatten)]
    pub by: By,
    /// That it counts: what there was to undo first is answered.
    pub counts: bool,
    /// That an effect stays which nothing here takes back.
    pub remains: bool,
    /// That it was asked for again: even a way back that is refused does not hold it up.
    pub insists: bool,
}

impl State {
    pub(super) fn resumed(&mut self, resumed: &Resumed) {
        self.was_parked |= self.parked.is_some();
        self.parked = None;
        if resumed.stays_paused {
            return;
        }
        self.move_on(resumed.stood_still_ms);
        if let Some(deadline_at) = resumed.deadline_at {
            self.deadline_at = Some(deadline_at);
        }
    }

    /// Ends a standstill: what it waits for gets as much more time.
    fn move_on(&mut self, stood_still_ms: u64) {
        self.paused = false;
        let since = self.still_since.take();
        let moved = i64::try_from(stood_still_ms)
            .ok()
            .and_then(TimeDelta::try_milliseconds)
            .unwrap_or(TimeDelta::zero());
        for sent in &mut self.sent {
            sent.due_at = sent.due_at.and_then(|at| at.checked_add_signed(moved));
            // What was refused meanwhile waits from then on.
            let waited = match (sent.answered_at, since) {
                (Some(answered), Some(since)) if answered > since => answered - since,
                _ => TimeDelta::zero(),
            };
            sent.resend_at = sent
                .resend_at
                .and_then(|at| at.checked_add_signed(moved - waited));
        }
    }

    pub(super) fn retried(&mut self, retried: &Retried, at: DateTime<Utc>) {
        if let Some(deadline_at) = retried.deadline_at {
            self.attention = None;
            self.deadline_at = Some(deadline_at);
        }
        for command in &retried.looks_up {
            if let Some(sent) = self.find_mut(*command) {
                sent.look_now = true;
                sent.looks = 0;
                sent.due_at = Some(at);
            }
        }
        for command in &retried.commands {
            for sent in &mut self.sent {
                let is_same = sent.direction == command.direction
                    && sent.step == command.step
                    && sent.item == command.item;
                if is_same {
                    // What is told an outcome answers with it what it was asked before.
                    sent.superseded |= retried.said.is_none();
                    sent.due_at = None;
                    sent.resend_at = None;
                }
            }
        }
    }

    pub(super) fn skip_requested(&mut self, requested: &SkipRequested) {
        if let Some(deadline_at) = requested.deadline_at {
            self.attention = None;
            self.deadline_at = Some(deadline_at);
        }
        for item in &requested.items {
            let part = Part {
                step: Arc::clone(&requested.step),
                item: Arc::clone(item),
            };
            let again = self.skips.iter().any(|skip| skip.part == part);
            self.skips.retain(|skip| skip.part != part);
            for sent in &mut self.sent {
                let is_same = sent.direction == requested.direction
                    && sent.step == part.step
                    && sent.item == part.item;
                if is_same {
                    sent.resend_at = None;
                }
            }
            self.skips.push(Skip {
                part,
                direction: requested.direction,
                result: requested.result,
                by: requested.by.clone(),
                counts: false,
                remains: false,
                insists: again,
            });
        }
    }

    pub(super) fn step_skipped(&mut self, skipped: &StepSkipped) {
        for skip in &mut self.skips {
            if skip.part.step == skipped.step && skip.part.item == skipped.item {
                skip.counts = true;
                skip.remains = skipped.remains;
            }
        }
    }

    pub(super) fn compensation_requested(&mut self, requested: &CompensationRequested) {
        self.attention = None;
        self.move_on(requested.stood_still_ms);
        self.deadline_at = Some(requested.deadline_at);
        let reason = requested.by.reason.clone();
        if requested.past_pivot {
            self.reversing = Some(reason);
        } else {
            self.turn(Reason {
                code: Reason::STOPPED.to_owned(),
                detail: reason,
            });
        }
    }

    /// That an operator lets it stand still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Since when it stands still, paused or parked.
    #[must_use]
    pub fn still_since(&self) -> Option<DateTime<Utc>> {
        self.still_since
    }

    /// That it was parked once and goes on: what it waits for may have come meanwhile.
    #[must_use]
    pub fn may_have_missed(&self) -> bool {
        self.was_parked && !self.is_parked() && !self.is_ended()
    }

    /// That the reversal of its pivot is asked for and not answered.
    #[must_use]
    pub fn is_reversing(&self) -> bool {
        self.reversing.is_some()
    }

    /// Why it goes back, or is about to; nothing where it does not.
    pub(crate) fn why_back(&self) -> Reason {
        self.turned.clone().unwrap_or_else(|| Reason {
            code: Reason::REVERSED.to_owned(),
            detail: self.reversing.clone().unwrap_or_default(),
        })
    }

    /// What operators want left out, or had left out.
    #[must_use]
    pub fn skips(&self) -> &[Skip] {
        &self.skips
    }

    /// What is asked to be left out and does not count yet.
    pub(crate) fn pending_skips(&self) -> impl Iterator<Item = &Skip> {
        self.skips.iter().filter(|skip| !skip.counts)
    }

    pub(crate) fn is_skipped(&self, part: &Part) -> bool {
        self.skips
            .iter()
            .any(|skip| skip.counts && skip.part == *part)
    }

    /// Whether the step's part is asked to be left out and does not count yet.
    pub(crate) fn is_being_skipped(&self, part: &Part) -> bool {
        self.pending_skips()
            .any(|skip| skip.direction.is_forward() && skip.part == *part)
    }

    /// What operators had left out forward and gave up, and of which nothing remains.
    pub(crate) fn given_up(&self) -> impl Iterator<Item = &Part> {
        let is_given_up = |skip: &&Skip| {
            let is_left = skip.result == SkipResult::Left && !skip.remains;
            skip.counts && skip.direction.is_forward() && is_left
        };
        self.skips.iter().filter(is_given_up).map(|skip| &skip.part)
    }

    /// What an operator left as it is: effects that nothing here takes back.
    pub fn exceptions(&self) -> impl Iterator<Item = &Skip> {
        self.skips
            .iter()
            .filter(|skip| skip.counts && skip.remains && skip.result == SkipResult::Left)
    }

    /// The latest attempt at an item.
    pub(crate) fn latest<'a>(&'a self, part: &'a Part, direction: Direction) -> Option<&'a Sent> {
        self.attempts(part, direction).last()
    }
}
