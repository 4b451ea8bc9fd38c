//! A saga as clients read it.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{End, Outcome, Reason, Sent, State};
use crate::{Direction, Kind, PlannedStep, WayBack};

/// A saga's status, as clients read it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SagaStatus")]
pub enum Status {
    /// On its way forward.
    Running,
    /// On its way back.
    Compensating,
    /// It cannot go on by itself, or is past its deadline.
    NeedsAttention,
    /// Its orchestrator could not handle an input.
    Parked,
    /// An operator lets it stand still.
    Paused,
    /// Every step is done and every command answered.
    Completed,
    /// Every step is undone and every command answered.
    Compensated,
}

impl Status {
    /// As clients read it: `needs_attention`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::NeedsAttention => "needs_attention",
            Self::Parked => "parked",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
        }
    }
}

/// A step's status, as clients read it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not sent.
    Pending,
    /// Sent, and not all of it answered; or refused for now and about to be sent again.
    Running,
    /// An answer has not come in time.
    Overdue,
    /// All of it is done.
    Done,
    /// It was refused.
    Refused,
    /// Its undo is sent, and not all of that answered.
    Undoing,
    /// All of it that was sent and not refused is undone.
    Undone,
    /// An operator left it out, or its way back.
    Skipped,
}

impl StepStatus {
    /// As clients read it: `undoing`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Overdue => "overdue",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::Skipped => "skipped",
        }
    }
}

/// One step, as clients read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Step")]
pub struct StepView {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// Its status.
    pub status: StepStatus,
    /// The most attempts that any of its items has had, forward or back.
    pub attempts: u32,
    /// When its first command was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When the last answer to one of its commands came, where none is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<DateTime<Utc>>,
    /// Why it was last refused, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Reason>,
}

/// A step, or one item of it.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(rename = "StepPart")]
pub struct Part {
    /// The step.
    pub step: Arc<str>,
    /// The item; empty for a step that does not fan out, or all of one that does.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub item: Arc<str>,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)?;
        if self.item.is_empty() {
            return Ok(());
        }
        write!(f, " {}", self.item)
    }
}

/// What clients ask of a saga.
impl State {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.ended {
            Some(End::Completed) => Status::Completed,
            Some(End::Compensated) => Status::Compensated,
            None if self.parked.is_some() => Status::Parked,
            None if self.paused => Status::Paused,
            None if self.attention.is_some() => Status::NeedsAttention,
            None if self.turned.is_some() || self.reversing.is_some() => Status::Compensating,
            None => Status::Running,
        }
    }

    /// Its steps in order. The act after everything is undone is one of them once it is sent.
    #[must_use]
    pub fn steps(&self) -> Vec<StepView> {
        self.plan
            .iter()
            .filter(|step| step.kind != Kind::Closing || self.is_sent(&step.name))
            .map(|step| self.step_view(step))
            .collect()
    }

    fn step_view(&self, step: &PlannedStep) -> StepView {
        let of_step = || self.sent.iter().filter(|sent| sent.step == step.name);
        let refused = of_step().rev().find_map(|sent| match &sent.outcome {
            Some(Outcome::Refused(reason)) => Some(reason.clone()),
            _ => None,
        });
        let is_answered = !of_step().any(Sent::is_open);
        StepView {
            name: Arc::clone(&step.name),
            kind: step.kind,
            status: self.step_status(&step.name),
            attempts: of_step().map(|sent| sent.attempt).max().unwrap_or(0),
            started_at: of_step().map(|sent| sent.sent_at).min(),
            answered_at: of_step()
                .filter_map(|sent| sent.answered_at)
                .max()
                .filter(|_| is_answered),
            refused,
        }
    }

    fn step_status(&self, step: &str) -> StepStatus {
        let of_step = || self.sent.iter().filter(|sent| &*sent.step == step);
        let keeps_its_effect = self.keeps_its_effect(step);
        let of_step = || of_step().filter(|sent| !keeps_its_effect || sent.direction.is_forward());
        let undo_sent = of_step().any(|sent| sent.direction != Direction::Do);
        let current = || of_step().filter(|sent| !sent.superseded);
        let is_skipped = self
            .skips
            .iter()
            .any(|skip| skip.counts && &*skip.part.step == step);
        if of_step().next().is_none() && self.is_passed(step) {
            StepStatus::Done
        } else if of_step().next().is_none() {
            StepStatus::Pending
        } else if is_skipped && !current().any(Sent::is_open) {
            StepStatus::Skipped
        } else if current().any(|sent| {
            // On the way back, what is awaited is the undo.
            sent.is_open() && sent.overdue && !(undo_sent && sent.direction == Direction::Do)
        }) {
            StepStatus::Overdue
        } else if undo_sent {
            if self.parts_to_undo(step).next().is_some() || current().any(Sent::is_open) {
                StepStatus::Undoing
            } else {
                StepStatus::Undone
            }
        } else if current().any(|sent| sent.is_open() || sent.resend_at.is_some()) {
            StepStatus::Running
        } else if current().any(|sent| matches!(sent.outcome, Some(Outcome::Refused(_)))) {
            StepStatus::Refused
        } else {
            StepStatus::Done
        }
    }

    /// That it had nothing to send: a later one is sent.
    fn is_passed(&self, step: &str) -> bool {
        let stage = self.planned(step).map(|planned| planned.stage);
        let mut forward = self.plan.iter();
        forward.any(|later| {
            later.kind != Kind::Closing && Some(later.stage) > stage && self.is_sent(&later.name)
        })
    }

    /// That a reversal of the pivot was sent and refused: the saga is where it was.
    fn keeps_its_effect(&self, step: &str) -> bool {
        self.turned.is_none()
            && self.reversing.is_none()
            && self.pivot().is_some_and(|pivot| &*pivot.name == step)
    }

    /// What is still to be done until it ends by itself, in order; and what stays for good
    /// because an operator had its undo left out, after its end too.
    #[must_use]
    pub fn remaining(&self) -> Vec<Part> {
        let exceptions = self.exceptions().map(|skip| skip.part.clone());
        let mut parts = if self.is_ended() {
            Vec::new()
        } else if self.turned.is_some() {
            self.remaining_back()
        } else {
            self.remaining_forward()
        };
        parts.extend(exceptions);
        parts
    }

    fn remaining_back(&self) -> Vec<Part> {
        let to_undo = self.undo_plan();
        let mut parts: Vec<Part> = self
            .plan
            .iter()
            .rev()
            .filter(|step| step.kind != Kind::Closing)
            .flat_map(|step| self.parts(&step.name))
            .filter(|part| to_undo.contains(part) || self.is_awaited(part))
            .collect();
        parts.extend(self.closing_to_do());
        parts
    }

    fn remaining_forward(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        if self.reversing.is_some() {
            parts.extend(
                self.pivot()
                    .into_iter()
                    .flat_map(|pivot| self.parts(&pivot.name)),
            );
        }
        for step in self.plan.iter().filter(|step| step.kind != Kind::Closing) {
            if self.is_sent(&step.name) {
                let open: Vec<Part> = self
                    .parts(&step.name)
                    .filter(|part| {
                        let settled =
                            self.part_is_done(part, Direction::Do) || self.is_skipped(part);
                        (!settled || self.is_awaited(part)) && !parts.contains(part)
                    })
                    .collect();
                parts.extend(open);
            } else if !self.is_passed(&step.name) {
                parts.push(Part {
                    step: Arc::clone(&step.name),
                    item: Arc::from(""),
                });
            }
        }
        parts
    }

    fn closing_to_do(&self) -> impl Iterator<Item = Part> + '_ {
        self.plan
            .iter()
            .filter(|step| step.kind == Kind::Closing)
            .map(|step| Part {
                step: Arc::clone(&step.name),
                item: Arc::from(""),
            })
            .filter(|part| !self.is_done(&part.step) || self.is_awaited(part))
    }

    /// Whether a command about it is open, either way.
    fn is_awaited(&self, part: &Part) -> bool {
        self.open_commands()
            .any(|sent| sent.step == part.step && sent.item == part.item)
    }

    /// What there is to undo, in the order in which it would be: everything that took effect,
    /// or may have, and is neither undone nor taken over by a later step. Past the pivot this
    /// begins with the pivot. Empty where nothing takes the pivot back.
    #[must_use]
    pub fn undo_plan(&self) -> Vec<Part> {
        if self.is_ended() {
            return Vec::new();
        }
        if self.is_past_return() {
            return Vec::new();
        }
        let pivot_first = self.plan.iter().filter(|step| step.kind == Kind::Pivot);
        let others = self.plan.iter().rev();
        let others = others.filter(|step| !matches!(step.kind, Kind::Closing | Kind::Pivot));
        pivot_first
            .chain(others)
            .flat_map(|step| {
                self.parts_to_undo(&step.name)
                    .filter(|part| !self.is_taken_over(part))
            })
            .collect()
    }

    /// That its pivot was sent, not refused, and nothing takes it back.
    pub(crate) fn is_past_return(&self) -> bool {
        self.pivot().is_some_and(|pivot| {
            pivot.way_back == WayBack::Impossible
                && self.turned.is_none()
                && self.is_sent(&pivot.name)
        })
    }
}
