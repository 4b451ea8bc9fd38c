//! A saga as clients read it.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{End, Outcome, Reason, Sent, State};
use crate::{Direction, Kind, PlannedStep};

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
            None if self.attention.is_some() => Status::NeedsAttention,
            None if self.turned.is_some() => Status::Compensating,
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
        let undo_sent = of_step().any(|sent| sent.direction != Direction::Do);
        let current = || of_step().filter(|sent| !sent.superseded);
        if of_step().next().is_none() {
            StepStatus::Pending
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

    /// What is still to be done until it ends by itself, in order.
    #[must_use]
    pub fn remaining(&self) -> Vec<Part> {
        if self.is_ended() {
            return Vec::new();
        }
        if self.turned.is_some() {
            return self
                .plan
                .iter()
                .rev()
                .filter(|step| step.kind != Kind::Closing)
                .flat_map(|step| self.parts(&step.name))
                .filter(|part| self.needs_undo(part) || self.is_awaited(part))
                .chain(self.closing_to_do())
                .collect();
        }
        let mut parts = Vec::new();
        for step in self.plan.iter().filter(|step| step.kind != Kind::Closing) {
            if self.is_sent(&step.name) {
                parts.extend(self.parts(&step.name).filter(|part| {
                    !self.part_is_done(part, Direction::Do) || self.is_awaited(part)
                }));
            } else {
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
    /// or may have, and is neither undone nor taken over by a later step.
    #[must_use]
    pub fn undo_plan(&self) -> Vec<Part> {
        if self.is_ended() {
            return Vec::new();
        }
        self.plan
            .iter()
            .rev()
            .filter(|step| step.kind != Kind::Closing)
            .flat_map(|step| {
                self.parts_to_undo(&step.name)
                    .filter(|part| !self.is_taken_over(part))
            })
            .collect()
    }

    fn is_taken_over(&self, part: &Part) -> bool {
        self.plan
            .iter()
            .filter(|later| later.takes_over.as_ref() == Some(&part.step))
            .any(|later| {
                let by = Part {
                    step: Arc::clone(&later.name),
                    item: Arc::clone(&part.item),
                };
                self.part_is_done(&by, Direction::Do)
            })
    }
}
