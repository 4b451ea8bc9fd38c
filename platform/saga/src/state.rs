//! Where a saga stands: the fold of its stream.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use recourse_bus::Json;
use recourse_event_store::StreamName;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Answer, Direction, Event, Kind, PlannedStep, SentCommand};

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
    turned: Option<Reason>,
    attention: Option<Attention>,
    parked: Option<String>,
    ended: Option<End>,
    ended_at: Option<DateTime<Utc>>,
}

/// Why a saga turned back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, kebab-case: the code of the refused step, [`Reason::TIMEOUT`] or
    /// [`Reason::CANCELLED`].
    pub code: String,
    /// For a person.
    pub detail: String,
}

impl Reason {
    /// The code where a step before the pivot was not answered in time.
    pub const TIMEOUT: &'static str = "timeout";
    /// The code where what the saga is for was cancelled.
    pub const CANCELLED: &'static str = "cancelled";
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

/// A saga's status, as clients read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub index: u32,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// When the target's stream is to be looked at for its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// How often that stream was looked at in vain.
    pub looks: u32,
    /// That no answer came in time.
    pub overdue: bool,
    /// That a later attempt took its place.
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
    pub(crate) undoes: Vec<Uuid>,
}

impl Sent {
    /// That its answer is still to come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.outcome.is_none() && !self.superseded
    }

    fn is_done(&self) -> bool {
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

/// A step, or one item of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
            Event::Parked(parked) => self.parked = Some(parked.error.clone()),
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
        let kind = self.kind_of(&answered.step);
        let mut undoes = Vec::new();
        if let Some(sent) = self.find_mut(answered.command) {
            sent.outcome = Some(outcome.clone());
            sent.answered_at = Some(at);
            sent.overdue = false;
            sent.due_at = None;
            sent.resend_at = answered.resend_at;
            undoes.clone_from(&sent.undoes);
        }
        if answered.counts_as_done && answered.direction != Direction::Do {
            for sent in &mut self.sent {
                if sent.outcome.is_none() && undoes.contains(&sent.id) {
                    sent.outcome = Some(Outcome::NeverTook);
                    sent.answered_at = Some(at);
                    sent.overdue = false;
                    sent.due_at = None;
                }
            }
        }
        if let Outcome::Refused(reason) = outcome
            && answered.direction == Direction::Do
            && matches!(kind, Some(Kind::Compensatable | Kind::Pivot))
        {
            self.turn(reason);
        }
        if let Some(deadline_at) = answered.deadline_at {
            self.attention = None;
            self.deadline_at = Some(deadline_at);
        }
    }

    /// The first reason stays.
    fn turn(&mut self, reason: Reason) {
        self.turned.get_or_insert(reason);
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

    /// What time asks for next, and when. None while it is parked and once it has ended.
    #[must_use]
    pub fn next_due(&self) -> Option<(DateTime<Utc>, Timer)> {
        self.timers().min()
    }

    /// Everything that time will ask for.
    pub fn timers(&self) -> impl Iterator<Item = (DateTime<Utc>, Timer)> {
        let live = !self.is_ended() && !self.is_parked();
        let back = self.turned.is_some();
        let commands = self
            .sent
            .iter()
            // On the way back the undo of a step is what is waited for: its mark is past the
            // step's, so that its answer comes after the step's.
            .filter(move |sent| {
                live && !(back && sent.direction == Direction::Do && self.is_undoable(sent))
            })
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

    fn is_undoable(&self, sent: &Sent) -> bool {
        self.kind_of(&sent.step) == Some(Kind::Compensatable)
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

/// Questions that the reaction asks.
impl State {
    pub(crate) fn is_started(&self) -> bool {
        self.input.is_some()
    }

    pub(crate) fn has_attention(&self) -> bool {
        self.attention.is_some()
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
    fn parts<'a>(&'a self, step: &'a str) -> impl Iterator<Item = Part> + 'a {
        self.sent
            .iter()
            .filter(move |sent| {
                &*sent.step == step && sent.direction == Direction::Do && sent.attempt == 1
            })
            .map(|sent| Part {
                step: Arc::clone(&sent.step),
                item: Arc::clone(&sent.item),
            })
    }

    /// The items of a step that took effect, or may have, and are not undone.
    pub(crate) fn parts_to_undo<'a>(&'a self, step: &'a str) -> impl Iterator<Item = Part> + 'a {
        self.parts(step).filter(|part| self.needs_undo(part))
    }

    fn needs_undo(&self, part: &Part) -> bool {
        self.attempts(part, Direction::Do).any(Sent::may_have_taken)
            && !self.part_is_done(part, Direction::Undo)
    }

    /// Whether everything of the step that was sent is done.
    pub(crate) fn is_done(&self, step: &str) -> bool {
        self.is_sent(step)
            && self
                .parts(step)
                .all(|part| self.part_is_done(&part, Direction::Do))
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
        self.plan
            .iter()
            .any(|step| step.kind == Kind::Pivot && self.is_sent(&step.name))
    }
}
