//! Where a saga stands: the fold of its stream.

mod operator;
mod sent;
mod view;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use recourse_bus::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Answer, Direction, Event, Kind, PlannedStep, SentCommand, WayBack};

pub use operator::Skip;
pub use sent::{Outcome, Sent};
pub use view::{Part, Status, StepStatus, StepView};

/// Where a saga stands. Needs no definition: what it is going to do was recorded at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    saga: Uuid,
    events: u64,
    definition: Arc<str>,
    definition_hash: Arc<str>,
    input: Option<Json>,
    started_at: Option<DateTime<Utc>>,
    deadline_at: Option<DateTime<Utc>>,
    plan: Vec<PlannedStep>,
    sent: Vec<Sent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turned: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attention: Option<Attention>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parked: Option<String>,
    /// Since when it stands still, paused or parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    still_since: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
    /// That it was parked once, so that inputs may have passed it by.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    was_parked: bool,
    /// Why an operator wants it undone, while the reversal of its pivot is not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reversing: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skips: Vec<Skip>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<End>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime<Utc>>,
}

/// Why a saga turned back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SagaReason")]
pub struct Reason {
    /// Stable, kebab-case: the code of the refused step, or one of those below.
    pub code: String,
    /// For a person.
    pub detail: String,
}

impl Reason {
    /// The code where a step before the pivot was not answered in time.
    pub const TIMEOUT: &'static str = "timeout";
    /// The code where what the saga is for was cancelled.
    pub const CANCELLED: &'static str = "cancelled";
    /// The code where an operator turned it back before the pivot took effect.
    pub const STOPPED: &'static str = "stopped-by-operator";
    /// The code where an operator turned it back and the pivot is reversed.
    pub const REVERSED: &'static str = "reversed";
}

/// Why a saga needs attention, and since which of its events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Attention {
    why: String,
    since: u64,
}

/// How a saga ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every step is done.
    Completed,
    /// Every step is undone.
    Compensated,
}

/// What a timer of a saga is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Look for the answer of this command in its target's stream, then feed
    /// [`Input::Answer`](crate::Input::Answer) or [`Input::Overdue`](crate::Input::Overdue).
    Overdue(Uuid),
    /// Send the next attempt of this command: [`Input::BackoffOver`](crate::Input::BackoffOver).
    Resend(Uuid),
    /// The saga's deadline: [`Input::DeadlinePassed`](crate::Input::DeadlinePassed).
    Deadline,
}

impl State {
    /// A saga of which nothing has happened yet.
    #[must_use]
    pub fn new(saga: Uuid) -> Self {
        Self {
            saga,
            events: 0,
            definition: Arc::from(""),
            definition_hash: Arc::from(""),
            input: None,
            started_at: None,
            deadline_at: None,
            plan: Vec::new(),
            sent: Vec::new(),
            turned: None,
            attention: None,
            parked: None,
            still_since: None,
            paused: false,
            was_parked: false,
            reversing: None,
            skips: Vec::new(),
            ended: None,
            ended_at: None,
        }
    }

    /// The state after an event that was recorded `at` this time.
    pub fn apply(&mut self, event: &Event, at: DateTime<Utc>) {
        match event {
            Event::Started(started) => {
                self.definition = started.definition.as_str().into();
                self.definition_hash = started.definition_hash.as_str().into();
                self.input = Some(started.input.clone());
                self.started_at = Some(at);
                self.deadline_at = Some(started.deadline_at);
                self.plan.clone_from(&started.steps);
            }
            Event::Answered(answered) => self.answered(answered, at),
            Event::TimedOut(timed_out) => {
                if let Some(sent) = self.find_mut(timed_out.command) {
                    sent.overdue = true;
                    sent.due_at = None;
                }
                self.turn(Reason {
                    code: Reason::TIMEOUT.to_owned(),
                    detail: format!("`{}` was not answered in time", timed_out.step),
                });
            }
            Event::Overdue(overdue) => {
                if let Some(sent) = self.find_mut(overdue.command) {
                    sent.overdue = true;
                    sent.looks = sent.looks.saturating_add(1);
                    sent.look_now = false;
                    sent.due_at = overdue.look_again_at;
                }
            }
            Event::Resent(resent) => {
                if let Some(sent) = self.find_mut(resent.command) {
                    sent.superseded = true;
                    sent.due_at = None;
                    sent.resend_at = None;
                }
            }
            Event::CancellationNoted(_) => self.turn(Reason {
                code: Reason::CANCELLED.to_owned(),
                detail: "cancelled before the point of no return".to_owned(),
            }),
            Event::Completed(_) => {
                self.ended = Some(End::Completed);
                self.ended_at = Some(at);
            }
            Event::Compensated(_) => {
                self.ended = Some(End::Compensated);
                self.ended_at = Some(at);
            }
            Event::AttentionNeeded(needed) => {
                self.attention = Some(Attention {
                    why: needed.why.clone(),
                    since: self.events,
                });
            }
            Event::Parked(parked) => {
                self.parked = Some(parked.error.clone());
                self.still_since.get_or_insert(at);
            }
            Event::Paused(_) => {
                self.paused = true;
                self.still_since.get_or_insert(at);
            }
            Event::Resumed(resumed) => self.resumed(resumed),
            Event::Retried(retried) => self.retried(retried, at),
            Event::SkipRequested(requested) => self.skip_requested(requested),
            Event::StepSkipped(skipped) => self.step_skipped(skipped),
            Event::CompensationRequested(requested) => self.compensation_requested(requested),
        }
        self.record(event.commands(), at);
        self.events = self.events.saturating_add(1);
    }

    fn answered(&mut self, answered: &crate::Answered, at: DateTime<Utc>) {
        let outcome = match &answered.answer {
            Answer::Done => Outcome::Done,
            Answer::Refused { .. } if answered.counts_as_done => Outcome::Done,
            Answer::Refused { code, detail, .. } => Outcome::Refused(Reason {
                code: code.clone(),
                detail: detail.clone(),
            }),
        };
        let mut undoes = Vec::new();
        if let Some(sent) = self.find_mut(answered.command) {
            sent.outcome = Some(outcome.clone());
            sent.answered_at = Some(at);
            sent.overdue = false;
            sent.look_now = false;
            sent.due_at = None;
            sent.resend_at = answered.resend_at;
            undoes.clone_from(&sent.undoes);
        }
        if answered.counts_as_done && answered.direction != Direction::Do {
            for sent in &mut self.sent {
                // What an operator said of it meanwhile is told by this too.
                let is_of_it = sent.direction.is_forward()
                    && sent.step == answered.step
                    && sent.item == answered.item;
                if sent.outcome.is_none() && (is_of_it || undoes.contains(&sent.id)) {
                    sent.outcome = Some(Outcome::NeverTook);
                    sent.answered_at = Some(at);
                    sent.overdue = false;
                    sent.due_at = None;
                }
            }
        }
        let part = Part {
            step: Arc::clone(&answered.step),
            item: Arc::clone(&answered.item),
        };
        self.close(&part, answered);
        self.turned_by_answer(&part, answered, &outcome);
        // What is done after all, or undone, needs no leaving out.
        let mut skips = std::mem::take(&mut self.skips);
        skips.retain(|skip| {
            let part = &skip.part;
            let is_settled = if skip.direction.is_forward() {
                !self.has_undo(&part.step) && self.part_is_done(part, Direction::Do)
            } else {
                !self.needs_undo(part)
            };
            skip.counts || !is_settled
        });
        self.skips = skips;
        if let Some(deadline_at) = answered.deadline_at {
            self.attention = None;
            self.deadline_at = Some(deadline_at);
        }
    }

    /// Whether this answer turns the saga back.
    fn turned_by_answer(&mut self, part: &Part, answered: &crate::Answered, outcome: &Outcome) {
        let kind = self.kind_of(&part.step);
        match answered.direction {
            Direction::Do => {
                if let Outcome::Refused(reason) = outcome
                    && matches!(kind, Some(Kind::Compensatable | Kind::Pivot))
                    && !answered.is_moot
                {
                    self.turn(reason.clone());
                }
            }
            Direction::Reverse if kind == Some(Kind::Pivot) => {
                let Some(reason) = self.reversing.clone() else {
                    return;
                };
                if *outcome == Outcome::Done {
                    let code = if answered.counts_as_done {
                        Reason::STOPPED
                    } else {
                        Reason::REVERSED
                    };
                    self.turn(Reason {
                        code: code.to_owned(),
                        detail: reason,
                    });
                } else if answered.resend_at.is_none() && !answered.is_moot {
                    self.reversing = None;
                }
            }
            Direction::Undo | Direction::Reverse => {}
        }
    }

    /// The first reason stays. What waits to be sent again forward is not, and what was to be
    /// left out forward is undone with the rest.
    fn turn(&mut self, reason: Reason) {
        if self.turned.is_some() {
            return;
        }
        self.turned = Some(reason);
        self.reversing = None;
        for sent in &mut self.sent {
            if sent.direction.is_forward() {
                sent.resend_at = None;
            }
        }
        self.skips
            .retain(|skip| skip.counts || !skip.direction.is_forward());
    }

    /// Notes commands as sent by the event that is being applied.
    fn record(&mut self, commands: &[SentCommand], at: DateTime<Utc>) {
        let revision = self.events;
        self.sent
            .extend((0_u32..).zip(commands).map(|(index, sent)| Sent {
                id: sent.command.id,
                step: Arc::clone(&sent.step),
                item: Arc::clone(&sent.item),
                direction: sent.direction,
                attempt: sent.attempt,
                target: sent.command.target.clone(),
                revision,
                index,
                sent_at: at,
                due_at: Some(sent.due_at),
                looks: 0,
                overdue: false,
                look_now: false,
                superseded: false,
                resend_at: None,
                outcome: None,
                answered_at: None,
                undoes: sent.command.undoes.clone(),
            }));
    }

    fn find_mut(&mut self, command: Uuid) -> Option<&mut Sent> {
        self.sent.iter_mut().find(|sent| sent.id == command)
    }

    fn kind_of(&self, step: &str) -> Option<Kind> {
        self.plan
            .iter()
            .find(|planned| &*planned.name == step)
            .map(|planned| planned.kind)
    }
}

/// Questions to a saga.
impl State {
    /// Its id.
    #[must_use]
    pub fn saga(&self) -> Uuid {
        self.saga
    }

    /// The revision of the last event applied; none before the first.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.events.checked_sub(1)
    }

    /// The name of its definition.
    #[must_use]
    pub fn definition(&self) -> &str {
        &self.definition
    }

    /// The hash of the definition it began with.
    #[must_use]
    pub fn definition_hash(&self) -> &str {
        &self.definition_hash
    }

    /// What it works on; none before its start.
    #[must_use]
    pub fn input(&self) -> Option<&Json> {
        self.input.as_ref()
    }

    /// When it began; none before its start.
    #[must_use]
    pub fn started_at(&self) -> Option<DateTime<Utc>> {
        self.started_at
    }

    /// When it needs attention if it has not ended; none before its start.
    #[must_use]
    pub fn deadline_at(&self) -> Option<DateTime<Utc>> {
        self.deadline_at
    }

    /// When it ended, where it did.
    #[must_use]
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.ended_at
    }

    /// How it ended, where it did.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.ended
    }

    /// That nothing more happens by itself: completed or compensated.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// That it is on its way back, or has gone it, and why.
    #[must_use]
    pub fn turned_back(&self) -> Option<&Reason> {
        self.turned.as_ref()
    }

    /// Why it needs attention, or stands still, where it does.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        if self.is_ended() {
            return None;
        }
        let attention = self.attention.as_ref().map(|attention| &*attention.why);
        self.parked.as_deref().or(attention)
    }

    /// That its orchestrator could not handle an input.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Every command that it has sent, in order.
    #[must_use]
    pub fn commands(&self) -> &[Sent] {
        &self.sent
    }

    /// One command that it has sent.
    #[must_use]
    pub fn command(&self, id: Uuid) -> Option<&Sent> {
        self.sent.iter().find(|sent| sent.id == id)
    }

    /// The commands whose answer is still to come.
    pub fn open_commands(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| sent.is_open())
    }

    /// What time asks for next, and when. None while it is paused or parked, and once it has
    /// ended.
    #[must_use]
    pub fn next_due(&self) -> Option<(DateTime<Utc>, Timer)> {
        self.timers().min()
    }

    /// Everything that time will ask for.
    pub fn timers(&self) -> impl Iterator<Item = (DateTime<Utc>, Timer)> {
        let live = !self.is_ended() && !self.is_parked() && !self.is_paused();
        let commands = self
            .sent
            .iter()
            .filter(move |sent| live && self.is_timed(sent))
            .flat_map(|sent| {
                let overdue = sent
                    .due_at
                    .filter(|_| sent.is_open())
                    .map(|at| (at, Timer::Overdue(sent.id)));
                let resend = sent.resend_at.map(|at| (at, Timer::Resend(sent.id)));
                overdue.into_iter().chain(resend)
            });
        let deadline = self
            .deadline_at
            .filter(|_| live && self.attention.is_none())
            .map(|at| (at, Timer::Deadline));
        commands.chain(deadline)
    }

    /// Whether time has a say in a command now.
    fn is_timed(&self, sent: &Sent) -> bool {
        if !sent.direction.is_forward() {
            return true;
        }
        // Until the pivot's reversal is answered nothing else is touched. On the way back the
        // undo of a step is what is waited for: its mark is past the step's, so that its
        // answer comes after the step's.
        let undo_is_awaited = self.turned.is_some() || self.is_being_skipped(&sent.part());
        self.reversing.is_none() && !(undo_is_awaited && self.has_undo(&sent.step))
    }

    /// Whether a command takes the step back.
    pub(crate) fn has_undo(&self, step: &str) -> bool {
        self.plan.iter().any(|planned| {
            &*planned.name == step
                && planned.kind != Kind::Closing
                && planned.way_back == WayBack::Command
        })
    }
}
