//! The commands of a saga, and what became of them.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, Utc};
use recourse_event_store::StreamName;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Part, Reason, State};
use crate::{Answered, Direction, Kind, PlannedStep};

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was refused.
    Refused(Reason),
    /// Its undo found nothing: it never took effect and never will.
    NeverTook,
}

/// A command that the saga has sent, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sent {
    /// Its id.
    pub id: Uuid,
    /// Of which step.
    pub step: Arc<str>,
    /// Of which item; empty where the step does not fan out.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub item: Arc<str>,
    /// Which way it works.
    pub direction: Direction,
    /// From 1.
    pub attempt: u32,
    /// The stream of the aggregate it went to.
    pub target: StreamName,
    /// The revision of the event in the saga's stream that carries it. With `index`, where to
    /// find its mark.
    pub revision: u64,
    /// Its place among that event's commands.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub index: u32,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// When the target's stream is to be looked at for its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// How often that stream was looked at in vain.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub looks: u32,
    /// That no answer came in time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
    /// That an operator wants it looked up at once, and sent again where it is lost, however often
    /// it was sent before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub look_now: bool,
    /// That a later attempt took its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
    /// When the next attempt is to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resend_at: Option<DateTime<Utc>>,
    /// The answer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When the answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) undoes: Vec<Uuid>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde asks for"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Sent {
    /// That its answer is still to come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.outcome.is_none() && !self.superseded
    }

    /// The item of the step that it is about.
    #[must_use]
    pub fn part(&self) -> Part {
        Part {
            step: Arc::clone(&self.step),
            item: Arc::clone(&self.item),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.outcome == Some(Outcome::Done)
    }

    /// That it took effect, or may have. What was sent again without an answer was found to be
    /// lost.
    pub(crate) fn may_have_taken(&self) -> bool {
        match self.outcome {
            None => !self.superseded,
            Some(Outcome::Done) => true,
            Some(Outcome::Refused(_) | Outcome::NeverTook) => false,
        }
    }
}

/// Questions that the reaction asks.
impl State {
    pub(crate) fn is_started(&self) -> bool {
        self.input.is_some()
    }

    pub(crate) fn has_attention(&self) -> bool {
        self.attention.is_some()
    }

    /// Whether a later attempt at the same was sent than this command, and was not lost.
    pub(crate) fn has_later_attempt(
        &self,
        part: &Part,
        direction: Direction,
        command: Uuid,
    ) -> bool {
        self.attempts(part, direction)
            .filter(|sent| sent.id == command || !sent.superseded || sent.outcome.is_some())
            .last()
            .is_some_and(|last| last.id != command)
    }

    /// Whether the answer to a command decides nothing: a later attempt does, or another has, or
    /// an operator who has it left out.
    pub(crate) fn is_moot(&self, sent: &Sent) -> bool {
        let part = sent.part();
        let is_forward = sent.direction.is_forward();
        self.has_later_attempt(&part, sent.direction, sent.id)
            || (sent.attempt > 1 && self.part_is_done(&part, sent.direction))
            || (is_forward && self.skips().iter().any(|skip| skip.part == part))
    }

    /// An answer closes earlier attempts, and says nothing more where a later one decides.
    pub(super) fn close(&mut self, part: &Part, answered: &Answered) {
        let has_later = self.has_later_attempt(part, answered.direction, answered.command);
        for sent in &mut self.sent {
            let is_spent = has_later && sent.id == answered.command && !sent.is_done();
            if is_spent || answered.closes.contains(&sent.id) {
                sent.superseded = true;
                sent.due_at = None;
                sent.resend_at = None;
            }
        }
    }

    /// The number of the next attempt at an item.
    pub(crate) fn next_attempt(&self, part: &Part, direction: Direction) -> u32 {
        self.attempts(part, direction)
            .map(|sent| sent.attempt)
            .max()
            .unwrap_or(0)
            .saturating_add(1)
    }

    /// Whether the saga still waits for something that it waited for when it came to need
    /// attention: that very command, or a later attempt.
    pub(crate) fn waits_since_attention(&self) -> bool {
        let Some(attention) = &self.attention else {
            return false;
        };
        self.sent
            .iter()
            .filter(|sent| sent.is_open() || sent.resend_at.is_some())
            .any(|open| {
                self.sent.iter().any(|sent| {
                    sent.revision < attention.since
                        && sent.direction == open.direction
                        && sent.step == open.step
                        && sent.item == open.item
                })
            })
    }

    /// Whether anything of the step was sent.
    pub(crate) fn is_sent(&self, step: &str) -> bool {
        self.sent.iter().any(|sent| &*sent.step == step)
    }

    /// The items of a step that were sent, in order.
    pub(crate) fn parts<'a>(&'a self, step: &'a str) -> impl Iterator<Item = Part> + 'a {
        self.sent
            .iter()
            .filter(move |sent| {
                &*sent.step == step && sent.direction == Direction::Do && sent.attempt == 1
            })
            .map(Sent::part)
    }

    /// The items of a step that took effect, or may have, and are neither undone nor left out.
    pub(crate) fn parts_to_undo<'a>(&'a self, step: &'a str) -> impl Iterator<Item = Part> + 'a {
        // Sets, for a step of a hundred items would be looked through a hundred times.
        let items = |direction, wanted: fn(&Sent) -> bool| -> BTreeSet<&str> {
            self.sent
                .iter()
                .filter(|sent| sent.direction == direction && &*sent.step == step && wanted(sent))
                .map(|sent| &*sent.item)
                .collect()
        };
        let taken = items(Direction::Do, Sent::may_have_taken);
        let undone = items(self.back_of(step), Sent::is_done);
        self.parts(step).filter(move |part| {
            taken.contains(&*part.item)
                && !undone.contains(&*part.item)
                && self.has_undo(&part.step)
                && !self.is_skipped(part)
        })
    }

    pub(crate) fn needs_undo(&self, part: &Part) -> bool {
        self.has_undo(&part.step)
            && self.attempts(part, Direction::Do).any(Sent::may_have_taken)
            && !self.part_is_done(part, self.back_of(&part.step))
    }

    /// The direction of the command that takes a step back.
    pub(crate) fn back_of(&self, step: &str) -> Direction {
        self.plan
            .iter()
            .find(|planned| &*planned.name == step)
            .map_or(Direction::Undo, PlannedStep::back)
    }

    /// Whether a later step has made this part's effect its own: it is done, or what reversed it
    /// says that it was.
    pub(crate) fn is_taken_over(&self, part: &Part) -> bool {
        self.plan
            .iter()
            .filter(|later| later.takes_over.as_ref() == Some(&part.step))
            .any(|later| {
                let by = Part {
                    step: Arc::clone(&later.name),
                    item: Arc::clone(&part.item),
                };
                self.part_is_done(&by, Direction::Do)
                    || (self.attempts(&by, Direction::Do).any(Sent::may_have_taken)
                        && self.part_is_done(&by, later.back()))
            })
    }

    /// Whether everything of the step that was sent is done.
    pub(crate) fn is_done(&self, step: &str) -> bool {
        let mut is_sent = false;
        self.sent
            .iter()
            .filter(|sent| sent.direction == Direction::Do && &*sent.step == step)
            .inspect(|_| is_sent = true)
            .all(|sent| {
                // What is to be left out is not done, though it may have been: it is being undone.
                let skip = self.skips().iter().find(|skip| {
                    skip.direction.is_forward()
                        && skip.part.step == sent.step
                        && skip.part.item == sent.item
                });
                match skip {
                    Some(skip) => skip.counts,
                    None => {
                        sent.is_done()
                            || sent.superseded
                            || (sent.attempt > 1 && self.part_is_done(&sent.part(), Direction::Do))
                    }
                }
            })
            && is_sent
    }

    /// Done once any attempt is.
    pub(crate) fn part_is_done(&self, part: &Part, direction: Direction) -> bool {
        self.attempts(part, direction).any(Sent::is_done)
    }

    /// The attempts at an item, in order.
    pub(crate) fn attempts<'a>(
        &'a self,
        part: &'a Part,
        direction: Direction,
    ) -> impl Iterator<Item = &'a Sent> + 'a {
        self.sent.iter().filter(move |sent| {
            sent.direction == direction && sent.step == part.step && sent.item == part.item
        })
    }

    /// Whether the pivot's command was sent.
    pub(crate) fn pivot_is_sent(&self) -> bool {
        self.pivot().is_some_and(|pivot| self.is_sent(&pivot.name))
    }

    /// A step, as it was planned.
    pub(crate) fn planned(&self, step: &str) -> Option<&PlannedStep> {
        self.plan.iter().find(|planned| &*planned.name == step)
    }

    /// The pivot; none before the saga's start.
    pub(crate) fn pivot(&self) -> Option<&PlannedStep> {
        self.plan.iter().find(|step| step.kind == Kind::Pivot)
    }
}
