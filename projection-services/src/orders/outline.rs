//! How an order's saga stands: as much of its fold as its status needs, and no more, since it
//! is written with each row.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use recourse_saga::{Answer, Direction, Event, Kind, Status};
use serde::{Deserialize, Serialize};

/// How a saga stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outline {
    deadline_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Status>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_parked: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_paused: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    needs_attention: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    turned_back: bool,
    /// That the reversal of its pivot is asked for and not answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_reversing: bool,
    /// The steps whose refusal turns the saga back, the pivot last. None once it has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    turns_at: Vec<Arc<str>>,
}

/// Takes in an event of the saga's stream.
pub(super) fn take(outline: &mut Option<Outline>, event: &Event) {
    if let Event::Started(started) = event {
        *outline = Some(Outline {
            deadline_at: started.deadline_at,
            ended: None,
            is_parked: false,
            is_paused: false,
            is_reversing: false,
            needs_attention: false,
            turned_back: false,
            turns_at: started
                .steps
                .iter()
                .filter(|step| matches!(step.kind, Kind::Compensatable | Kind::Pivot))
                .map(|step| Arc::clone(&step.name))
                .collect(),
        });
    }
    if let Some(outline) = outline {
        outline.take(event);
    }
}

impl Outline {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Answered(answered) => {
                let refused = matches!(answered.answer, Answer::Refused { .. })
                    && !answered.counts_as_done
                    && !answered.is_moot;
                match answered.direction {
                    Direction::Do if refused => {
                        self.turned_back |= self.turns_at.contains(&answered.step);
                    }
                    Direction::Reverse
                        if self.is_reversing && self.turns_at.last() == Some(&answered.step) =>
                    {
                        let is_over = answered.resend_at.is_none() && !answered.is_moot;
                        self.is_reversing &= !is_over;
                        self.turned_back |= is_over && !refused;
                    }
                    _ => {}
                }
                if let Some(deadline_at) = answered.deadline_at {
                    self.needs_attention = false;
                    self.deadline_at = deadline_at;
                }
            }
            Event::TimedOut(_) | Event::CancellationNoted(_) => self.turned_back = true,
            Event::Completed(_) => self.end(Status::Completed),
            Event::Compensated(_) => self.end(Status::Compensated),
            Event::AttentionNeeded(_) => self.needs_attention = true,
            Event::Parked(_) => self.is_parked = true,
            Event::Paused(_) => self.is_paused = true,
            Event::Resumed(resumed) => {
                (self.is_parked, self.is_paused) = (false, false);
                self.deadline_at = resumed.deadline_at.unwrap_or(self.deadline_at);
            }
            Event::Retried(retried) => self.eased(retried.deadline_at),
            Event::SkipRequested(requested) => self.eased(requested.deadline_at),
            Event::CompensationRequested(requested) => {
                self.eased(Some(requested.deadline_at));
                self.is_paused = false;
                self.is_reversing = requested.past_pivot;
                self.turned_back |= !requested.past_pivot;
            }
            Event::Started(_) | Event::Overdue(_) | Event::Resent(_) | Event::StepSkipped(_) => {}
        }
    }

    /// Needs no attention any more, and has until then, where an action says so.
    fn eased(&mut self, deadline_at: Option<DateTime<Utc>>) {
        if let Some(deadline_at) = deadline_at {
            self.needs_attention = false;
            self.deadline_at = deadline_at;
        }
    }

    fn end(&mut self, status: Status) {
        self.ended = Some(status);
        self.turns_at.clear();
    }

    pub(super) fn status(&self) -> Status {
        match self.ended {
            Some(status) => status,
            None if self.is_parked => Status::Parked,
            None if self.is_paused => Status::Paused,
            None if self.needs_attention => Status::NeedsAttention,
            None if self.turned_back || self.is_reversing => Status::Compensating,
            None => Status::Running,
        }
    }

    pub(super) fn deadline_at(&self) -> DateTime<Utc> {
        self.deadline_at
    }
}
