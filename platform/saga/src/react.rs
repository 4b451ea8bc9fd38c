//! What a saga does about what happens to it: one pure function.

use std::cell::OnceCell;

use chrono::{DateTime, Utc};
use recourse_bus::{Command, Json};
use recourse_event_store::{Position, typed};
use uuid::Uuid;

use crate::{
    Answer, Answered, AttentionNeeded, CancellationNoted, Compensated, Completed, Definition,
    Direction, Event, Ids, Kind, Outcome, Overdue, Part, Reason, Resent, Rule, Rules, SentCommand,
    Started, State, TimedOut,
    definition::{self, ErasedStep},
    state::Sent,
};

/// The code of the refusal of an undo that finds nothing to undo.
const NOTHING_TO_UNDO: &str = "nothing-to-undo";

/// What can happen to a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The event that starts it came.
    Start {
        /// What it works on.
        input: Json,
    },
    /// A command of it was answered, in the stream of its target.
    Answer {
        /// Which.
        command: Uuid,
        /// What.
        answer: Answer,
        /// Where the answer stands in the log.
        position: Position,
    },
    /// What it is for was cancelled.
    Cancelled {
        /// Where that stands in the log.
        position: Position,
    },
    /// [`Timer::Overdue`](crate::Timer::Overdue) fired, and no answer is in the target's stream.
    Overdue {
        /// The command.
        command: Uuid,
        /// What the target's stream says.
        finding: Finding,
    },
    /// [`Timer::Resend`](crate::Timer::Resend) fired.
    BackoffOver {
        /// The command that was refused for now.
        command: Uuid,
    },
    /// [`Timer::Deadline`](crate::Timer::Deadline) fired.
    DeadlinePassed,
}

/// What the stream of a target says about a command that is not answered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// Its mark is at or past the command and there is no open intent: it can never take
    /// effect.
    Lost,
    /// Its mark is before the command, or the command is an open intent: it may.
    Waiting,
}

/// Why there is no reaction. The saga is parked then, but for [`ReactError::OtherVersion`],
/// which leaves it to those who have that version.
#[derive(Debug, thiserror::Error)]
pub enum ReactError {
    /// It began with another version of its definition.
    #[error("the saga began with version {recorded} of its definition, this is {ours}")]
    OtherVersion {
        /// What it began with.
        recorded: String,
        /// What it was given.
        ours: String,
    },
    /// Something happened to a saga that has not begun.
    #[error("the saga has not begun")]
    NotStarted,
    /// An answer to what it never sent.
    #[error("the saga never sent the command {0}")]
    UnknownCommand(Uuid),
    /// Its definition has no such step, for all that the hashes agree.
    #[error("the definition has no step `{0}`")]
    UnknownStep(String),
    /// Its input is not what the definition works on.
    #[error("the saga's input cannot be read")]
    Input(#[source] serde_json::Error),
    /// A command cannot be written.
    #[error("a command of `{step}` cannot be written")]
    Command {
        /// The step.
        step: String,
        /// What is wrong.
        source: typed::Error,
    },
    /// A step that does not fan out wants none or several, or one that does names an item twice.
    #[error("`{0}` does not send one command an item")]
    Shape(String),
    /// There is no command that would undo, or repeat, this.
    #[error("`{0}` has no command for this direction")]
    NoCommand(Part),
    /// A time past the end of the calendar.
    #[error("a deadline lies past the end of the calendar")]
    Time,
}

/// What follows from one input: the events to append, in one append, at the revision of
/// `state`. The first says what happened and carries the commands that follow, a second says
/// that the saga has ended or cannot go on. None where nothing new happened, as with whatever
/// is delivered twice.
///
/// `now` is the time that the events are recorded at. Whoever calls fires no timer before its
/// time, and none before it has read its inputs up to the store's head as of that time.
///
/// # Errors
/// [`ReactError`] where the saga, or the definition, is not what it must be.
pub fn react(
    definition: &Definition,
    state: &State,
    input: Input,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, ReactError> {
    react_under(Rules::default(), definition, state, input, now)
}

/// [`react`] with a rule taken away.
///
/// # Errors
/// As [`react`].
#[cfg_attr(
    not(feature = "explore"),
    expect(unreachable_pub, reason = "for exploring only")
)]
pub fn react_under(
    rules: Rules,
    definition: &Definition,
    state: &State,
    input: Input,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, ReactError> {
    let reaction = Reaction {
        rules,
        definition,
        state,
        now,
        input: OnceCell::new(),
    };
    if let Input::Start { input } = input {
        return reaction.start(input);
    }
    if !state.is_started() {
        return Err(ReactError::NotStarted);
    }
    if state.definition_hash() != definition.hash() {
        return Err(ReactError::OtherVersion {
            recorded: state.definition_hash().to_owned(),
            ours: definition.hash().to_owned(),
        });
    }
    if state.is_ended() || state.is_parked() {
        return Ok(Vec::new());
    }
    match input {
        Input::Start { .. } => Ok(Vec::new()),
        Input::Answer {
            command,
            answer,
            position,
        } => reaction.answer(command, answer, position),
        Input::Cancelled { position } => reaction.cancelled(position),
        Input::Overdue { command, finding } => reaction.overdue(command, finding),
        Input::BackoffOver { command } => reaction.backoff_over(command),
        Input::DeadlinePassed => Ok(reaction.deadline_passed()),
    }
}

struct Reaction<'a> {
    rules: Rules,
    definition: &'a Definition,
    state: &'a State,
    now: DateTime<Utc>,
    input: OnceCell<definition::Input>,
}

/// What a state asks for next.
enum Next {
    Send(Vec<SentCommand>),
    Wait,
    End(Event),
}

impl Reaction<'_> {
    fn start(&self, input: Json) -> Result<Vec<Event>, ReactError> {
        if self.state.is_started() {
            return Ok(Vec::new());
        }
        let mut started = Started {
            definition: self.definition.name().to_owned(),
            definition_hash: self.definition.hash().to_owned(),
            input,
            deadline_at: self.deadline()?,
            steps: self.definition.plan(),
            commands: Vec::new(),
        };
        let next = self.after(&Event::Started(started.clone()));
        match self.follow(&next)? {
            Next::Send(commands) => {
                started.commands = commands;
                Ok(vec![Event::Started(started)])
            }
            Next::Wait => Ok(vec![Event::Started(started)]),
            Next::End(end) => Ok(vec![Event::Started(started), end]),
        }
    }

    fn answer(
        &self,
        command: Uuid,
        answer: Answer,
        position: Position,
    ) -> Result<Vec<Event>, ReactError> {
        let sent = self.sent(command)?;
        if sent.outcome.is_some() && self.rules.hold(Rule::AnsweredOnce) {
            return Ok(Vec::new());
        }
        let step = self.step(&sent.step)?;
        let verdict = self.verdict(sent, step, &answer)?;
        let mut answered = Answered {
            command,
            step: sent.step.clone(),
            item: sent.item.clone(),
            direction: sent.direction,
            answer,
            position,
            counts_as_done: verdict == Verdict::CountsAsDone,
            resend_at: match verdict {
                Verdict::Again(at) => Some(at),
                _ => None,
            },
            deadline_at: None,
            commands: Vec::new(),
        };
        let next = self.after(&Event::Answered(answered.clone()));
        let mut events = Vec::with_capacity(2);
        match self.follow(&next)? {
            Next::Send(commands) => {
                answered.deadline_at = self.cleared(&next)?;
                answered.commands = commands;
                events.push(Event::Answered(answered));
            }
            Next::Wait => {
                answered.deadline_at = self.cleared(&next)?;
                events.push(Event::Answered(answered));
            }
            Next::End(end) => events.extend([Event::Answered(answered), end]),
        }
        if let Verdict::Stuck(why) = verdict
            && !self.state.has_attention()
        {
            events.push(Event::AttentionNeeded(AttentionNeeded { why }));
        }
        Ok(events)
    }

    fn verdict(
        &self,
        sent: &Sent,
        step: &ErasedStep,
        answer: &Answer,
    ) -> Result<Verdict, ReactError> {
        let Answer::Refused {
            code,
            detail,
            is_final,
        } = answer
        else {
            return Ok(Verdict::Plain);
        };
        let undo = sent.direction != Direction::Do;
        let nothing_left = code == NOTHING_TO_UNDO
            && (step.plan.kind == Kind::Closing
                || (undo && self.rules.hold(Rule::NothingToUndoIsDone)));
        if nothing_left {
            return Ok(Verdict::CountsAsDone);
        }
        let kept_up = undo || matches!(step.plan.kind, Kind::Retriable | Kind::Closing);
        let is_done = self.state.part_is_done(&part_of(sent), sent.direction);
        if !kept_up || sent.superseded || is_done {
            return Ok(Verdict::Plain);
        }
        if !is_final
            && sent.attempt < step.max_attempts()
            && self.rules.hold(Rule::RefusedForNowIsSentAgain)
        {
            let at = step
                .resend_at(self.now, sent.attempt, sent.id)
                .ok_or(ReactError::Time)?;
            return Ok(Verdict::Again(at));
        }
        let rule = if undo {
            Rule::FailingUndoNeedsAttention
        } else {
            Rule::RefusedForGoodNeedsAttention
        };
        if !self.rules.hold(rule) {
            return Ok(Verdict::CountsAsDone);
        }
        let what = if undo { "the undo of " } else { "" };
        let part = part_of(sent);
        Ok(Verdict::Stuck(format!(
            "{what}{part} was refused ({code}): {detail}"
        )))
    }

    /// The new deadline of a saga that needs no attention any more: nothing that it waited for
    /// then is still open, and nothing is stuck.
    fn cleared(&self, next: &State) -> Result<Option<DateTime<Utc>>, ReactError> {
        if !self.state.has_attention() || !self.rules.hold(Rule::AnswerClearsAttention) {
            return Ok(None);
        }
        let is_stuck = next.commands().iter().any(|sent| self.is_stuck(next, sent));
        if is_stuck || next.waits_since_attention() {
            return Ok(None);
        }
        self.deadline().map(Some)
    }

    fn is_stuck(&self, next: &State, sent: &Sent) -> bool {
        let kept_up = sent.direction != Direction::Do
            || self
                .definition
                .step(&sent.step)
                .is_some_and(|step| matches!(step.plan.kind, Kind::Retriable | Kind::Closing));
        kept_up
            && !sent.superseded
            && sent.resend_at.is_none()
            && matches!(sent.outcome, Some(Outcome::Refused(_)))
            && !next.part_is_done(&part_of(sent), sent.direction)
    }

    fn cancelled(&self, position: Position) -> Result<Vec<Event>, ReactError> {
        // From there on the pivot's own answer decides: the cancellation refuses it, or came late.
        if self.state.turned_back().is_some()
            || self.state.pivot_is_sent()
            || !self.rules.hold(Rule::CancellationTurnsBack)
        {
            return Ok(Vec::new());
        }
        let mut noted = CancellationNoted {
            position,
            commands: Vec::new(),
        };
        let next = self.after(&Event::CancellationNoted(noted.clone()));
        Ok(match self.follow(&next)? {
            Next::Send(commands) => {
                noted.commands = commands;
                vec![Event::CancellationNoted(noted)]
            }
            Next::Wait => vec![Event::CancellationNoted(noted)],
            Next::End(end) => vec![Event::CancellationNoted(noted), end],
        })
    }

    fn overdue(&self, command: Uuid, finding: Finding) -> Result<Vec<Event>, ReactError> {
        let sent = self.sent(command)?;
        if !sent.is_open() {
            return Ok(Vec::new());
        }
        let step = self.step(&sent.step)?;
        let forward = sent.direction == Direction::Do;
        let before_pivot = forward && step.plan.kind == Kind::Compensatable;
        if before_pivot && self.state.turned_back().is_some() {
            // Its undo is on the way and is what is waited for.
            return Ok(Vec::new());
        }
        let ask_anyway = !self.rules.hold(Rule::OverdueIsLookedUp) && !before_pivot;
        let is_lost =
            (finding == Finding::Lost && self.rules.hold(Rule::LostIsSentAgain)) || ask_anyway;
        if is_lost && sent.attempt < step.max_attempts() {
            return self.resend(sent, step).map(|event| vec![event]);
        }
        let fails = before_pivot
            || (forward
                && step.plan.kind != Kind::Closing
                && self.state.turned_back().is_none()
                && !self.rules.hold(Rule::TimeoutFromThePivotOnDoesNot));
        if fails {
            return self.time_out(sent);
        }
        let again = finding == Finding::Waiting && sent.looks < step.max_attempts();
        let look_again_at = if again {
            Some(
                step.look_again_at(self.now, sent.looks)
                    .ok_or(ReactError::Time)?,
            )
        } else {
            None
        };
        let mut events = vec![Event::Overdue(Overdue {
            command,
            step: sent.step.clone(),
            item: sent.item.clone(),
            look_again_at,
        })];
        if is_lost && !self.state.has_attention() {
            events.push(Event::AttentionNeeded(AttentionNeeded {
                why: format!(
                    "none of {} attempts at {} reached its target",
                    sent.attempt,
                    part_of(sent)
                ),
            }));
        }
        Ok(events)
    }

    fn time_out(&self, sent: &Sent) -> Result<Vec<Event>, ReactError> {
        let mut timed_out = TimedOut {
            command: sent.id,
            step: sent.step.clone(),
            item: sent.item.clone(),
            commands: Vec::new(),
        };
        let next = self.after(&Event::TimedOut(timed_out.clone()));
        Ok(match self.follow(&next)? {
            Next::Send(commands) => {
                timed_out.commands = commands;
                vec![Event::TimedOut(timed_out)]
            }
            Next::Wait => vec![Event::TimedOut(timed_out)],
            Next::End(end) => vec![Event::TimedOut(timed_out), end],
        })
    }

    fn backoff_over(&self, command: Uuid) -> Result<Vec<Event>, ReactError> {
        let sent = self.sent(command)?;
        if sent.resend_at.is_none() {
            return Ok(Vec::new());
        }
        let step = self.step(&sent.step)?;
        self.resend(sent, step).map(|event| vec![event])
    }

    fn resend(&self, sent: &Sent, step: &ErasedStep) -> Result<Event, ReactError> {
        let attempt = sent.attempt.saturating_add(1);
        let part = part_of(sent);
        let command = self.command(self.state, step, &part, sent.direction, attempt)?;
        Ok(Event::Resent(Resent {
            command: sent.id,
            commands: vec![command],
        }))
    }

    fn deadline_passed(&self) -> Vec<Event> {
        if self.state.has_attention() || !self.rules.hold(Rule::DeadlineNeedsAttention) {
            return Vec::new();
        }
        let waits: Vec<_> = self
            .state
            .open_commands()
            .map(|sent| match sent.direction {
                Direction::Do => part_of(sent).to_string(),
                Direction::Undo | Direction::Reverse => format!("the undo of {}", part_of(sent)),
            })
            .collect();
        vec![Event::AttentionNeeded(AttentionNeeded {
            why: format!("past its deadline, waiting for {}", waits.join(", ")),
        })]
    }
}

/// What an answer means for the command it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// What it says.
    Plain,
    /// A refusal that says that there is nothing left to do.
    CountsAsDone,
    /// A refusal for now: the next attempt is sent at this time.
    Again(DateTime<Utc>),
    /// A refusal that nothing but an operator mends, and why.
    Stuck(String),
}

/// What follows from a state.
impl Reaction<'_> {
    fn follow(&self, next: &State) -> Result<Next, ReactError> {
        if next.turned_back().is_some() {
            self.back(next)
        } else {
            self.forward(next)
        }
    }

    fn forward(&self, next: &State) -> Result<Next, ReactError> {
        let steps = || {
            self.definition
                .steps()
                .iter()
                .filter(|step| step.plan.kind != Kind::Closing)
        };
        let sent = || steps().filter(|step| next.is_sent(&step.plan.name));
        if !sent().all(|step| next.is_done(&step.plan.name)) {
            return Ok(Next::Wait);
        }
        let reached = sent().map(|step| step.plan.stage).max();
        let mut commands = Vec::new();
        let mut stage = None;
        for step in steps().filter(|step| Some(step.plan.stage) > reached) {
            if !commands.is_empty() && stage != Some(step.plan.stage) {
                break;
            }
            stage = Some(step.plan.stage);
            commands.extend(self.action(next, step)?);
        }
        if !commands.is_empty() {
            return Ok(Next::Send(commands));
        }
        Ok(self.end(next, Event::Completed(Completed {})))
    }

    fn back(&self, next: &State) -> Result<Next, ReactError> {
        let mut commands = Vec::new();
        let mut stage = None;
        let mut waits = false;
        for step in self.definition.steps().iter().rev() {
            if step.plan.kind != Kind::Compensatable {
                continue;
            }
            let stage_is_over = stage.is_some_and(|stage| stage != step.plan.stage);
            if waits && stage_is_over && self.rules.hold(Rule::UndoInReverseOrder) {
                break;
            }
            stage = Some(step.plan.stage);
            for part in next.parts_to_undo(&step.plan.name) {
                let is_known = next.part_is_done(&part, Direction::Do);
                if !is_known && !self.rules.hold(Rule::UndoGoesToTheUnanswered) {
                    continue;
                }
                waits = true;
                if next.attempts(&part, Direction::Undo).next().is_none() {
                    commands.push(self.command(next, step, &part, Direction::Undo, 1)?);
                }
            }
        }
        if !commands.is_empty() {
            return Ok(Next::Send(commands));
        }
        if waits {
            return Ok(Next::Wait);
        }
        for step in self.definition.steps() {
            if step.plan.kind != Kind::Closing || next.is_done(&step.plan.name) {
                continue;
            }
            if next.is_sent(&step.plan.name) {
                return Ok(Next::Wait);
            }
            commands.extend(self.action(next, step)?);
        }
        if !commands.is_empty() {
            return Ok(Next::Send(commands));
        }
        Ok(self.end(next, Event::Compensated(Compensated {})))
    }

    fn end(&self, next: &State, end: Event) -> Next {
        let waits = next.open_commands().next().is_some();
        if waits && self.rules.hold(Rule::EndWaitsForEveryAnswer) {
            Next::Wait
        } else {
            Next::End(end)
        }
    }

    /// The first attempt at every item of a step.
    fn action(&self, next: &State, step: &ErasedStep) -> Result<Vec<SentCommand>, ReactError> {
        self.outgoing(next, step, Direction::Do)?
            .into_iter()
            .map(|outgoing| self.sent_command(next, step, outgoing, Direction::Do, 1))
            .collect()
    }

    /// One attempt at one item of a step.
    fn command(
        &self,
        next: &State,
        step: &ErasedStep,
        part: &Part,
        direction: Direction,
        attempt: u32,
    ) -> Result<SentCommand, ReactError> {
        let outgoing = self
            .outgoing(next, step, direction)?
            .into_iter()
            .find(|outgoing| outgoing.item == part.item)
            .ok_or_else(|| ReactError::NoCommand(part.clone()))?;
        self.sent_command(next, step, outgoing, direction, attempt)
    }

    fn outgoing(
        &self,
        next: &State,
        step: &ErasedStep,
        direction: Direction,
    ) -> Result<Vec<crate::Outgoing>, ReactError> {
        let name = || step.plan.name.to_string();
        let ids = Ids { saga: next.saga() };
        let none = Reason {
            code: String::new(),
            detail: String::new(),
        };
        let reason = next.turned_back().unwrap_or(&none);
        let outgoing = step
            .outgoing(direction, self.input(next)?, &ids, reason)
            .ok_or_else(|| {
                ReactError::NoCommand(Part {
                    step: step.plan.name.clone(),
                    item: "".into(),
                })
            })?
            .map_err(|source| ReactError::Command {
                step: name(),
                source,
            })?;
        if step.is_shape(&outgoing) {
            Ok(outgoing)
        } else {
            Err(ReactError::Shape(name()))
        }
    }

    fn sent_command(
        &self,
        next: &State,
        step: &ErasedStep,
        outgoing: crate::Outgoing,
        direction: Direction,
        attempt: u32,
    ) -> Result<SentCommand, ReactError> {
        let part = Part {
            step: step.plan.name.clone(),
            item: outgoing.item,
        };
        let undoes = if direction == Direction::Do {
            Vec::new()
        } else {
            next.attempts(&part, Direction::Do)
                .filter(|sent| sent.may_have_taken())
                .map(|sent| sent.id)
                .collect()
        };
        let command = Command {
            id: definition::command_id(next.saga(), &part.step, direction, &part.item, attempt),
            target: outgoing.target,
            command_type: outgoing.command_type,
            data: outgoing.data,
            undoes,
        };
        Ok(SentCommand {
            step: part.step,
            item: part.item,
            direction,
            attempt,
            due_at: step.due_at(self.now).ok_or(ReactError::Time)?,
            command,
        })
    }

    fn input(&self, next: &State) -> Result<&definition::Input, ReactError> {
        if let Some(input) = self.input.get() {
            return Ok(input);
        }
        let json = next.input().ok_or(ReactError::NotStarted)?;
        let input = self.definition.decode(json).map_err(ReactError::Input)?;
        Ok(self.input.get_or_init(|| input))
    }

    fn after(&self, event: &Event) -> State {
        let mut next = self.state.clone();
        next.apply(event, self.now);
        next
    }

    fn deadline(&self) -> Result<DateTime<Utc>, ReactError> {
        definition::after(self.now, self.definition.deadline()).ok_or(ReactError::Time)
    }

    fn sent(&self, command: Uuid) -> Result<&Sent, ReactError> {
        self.state
            .command(command)
            .ok_or(ReactError::UnknownCommand(command))
    }

    fn step(&self, name: &str) -> Result<&ErasedStep, ReactError> {
        self.definition
            .step(name)
            .ok_or_else(|| ReactError::UnknownStep(name.to_owned()))
    }
}

fn part_of(sent: &Sent) -> Part {
    Part {
        step: sent.step.clone(),
        item: sent.item.clone(),
    }
}
