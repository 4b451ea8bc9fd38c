//! What a state asks for next, and the commands for it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use recourse_bus::Command;
use uuid::Uuid;

use super::{ReactError, Reaction, operator::Skipping};
use crate::{
    Compensated, Completed, Direction, Event, Ids, Kind, Part, Rule, SentCommand, State,
    definition::{self, ErasedStep},
    state::Sent,
};

/// What a state asks for next.
enum Next {
    Send(Vec<SentCommand>),
    Wait,
    End(Event),
}

/// What follows from a state.
impl Reaction<'_> {
    /// An event, and all that follows from it at once: what counts as left out with it, its
    /// commands, its end.
    pub(super) fn with_what_follows(&self, first: Event) -> Result<Vec<Event>, ReactError> {
        let mut next = self.after(&first);
        let mut events = vec![first];
        if next.is_paused() && self.rules.hold(Rule::PauseSendsNothing) {
            return Ok(events);
        }
        let mut commands = Vec::new();
        let skips: Vec<_> = next.pending_skips().cloned().collect();
        for skip in skips {
            match self.skipping(&next, &skip)? {
                Skipping::Send(sent) => commands.extend(sent),
                Skipping::Wait => {}
                Skipping::Counts { remains } => {
                    let skipped = Event::StepSkipped(self.skipped(&next, skip, remains)?);
                    next.apply(&skipped, self.now);
                    events.push(skipped);
                }
            }
        }
        let mut end = None;
        match self.follow(&next)? {
            Next::Send(sent) => commands.extend(sent),
            Next::Wait => {}
            Next::End(event) => end = Some(event),
        }
        if let Some(carries) = events.last_mut().and_then(Event::commands_mut) {
            carries.extend(commands);
        }
        events.extend(end);
        Ok(events)
    }

    fn follow(&self, next: &State) -> Result<Next, ReactError> {
        if next.turned_back().is_some() {
            self.back(next)
        } else if next.is_reversing() {
            self.reverse_pivot(next)
        } else {
            self.forward(next)
        }
    }

    /// Nothing else is touched until the pivot's reversal is answered.
    fn reverse_pivot(&self, next: &State) -> Result<Next, ReactError> {
        let pivots = self.definition.steps().iter();
        let mut commands = Vec::new();
        for pivot in pivots.filter(|step| step.plan.kind == Kind::Pivot) {
            let mut parts: Vec<_> = next.parts_to_undo(&pivot.plan.name).collect();
            parts.retain(|part| {
                next.latest(part, Direction::Reverse)
                    .is_none_or(|sent| !sent.is_open() && sent.resend_at.is_none())
            });
            commands.extend(self.undo(next, pivot, parts)?);
        }
        if commands.is_empty() {
            Ok(Next::Wait)
        } else {
            Ok(Next::Send(commands))
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
            let is_past_pivot = step.plan.kind != Kind::Compensatable;
            if step.plan.kind == Kind::Closing
                || (is_past_pivot && !self.rules.hold(Rule::ReversalGoesToEveryStep))
            {
                continue;
            }
            let stage_is_over = stage.is_some_and(|stage| stage != step.plan.stage);
            if waits && stage_is_over && self.rules.hold(Rule::UndoInReverseOrder) {
                break;
            }
            stage = Some(step.plan.stage);
            let mut parts: Vec<_> = next.parts_to_undo(&step.plan.name).collect();
            if !self.rules.hold(Rule::UndoGoesToTheUnanswered) {
                parts.retain(|part| next.part_is_done(part, Direction::Do));
            }
            if self.rules.hold(Rule::TakenOverIsNotUndone) {
                parts.retain(|part| !next.is_taken_over(part));
            }
            waits |= !parts.is_empty();
            let back = step.plan.back();
            parts.retain(|part| next.attempts(part, back).next().is_none());
            commands.extend(self.undo(next, step, parts)?);
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

    /// The next undo of these items of a step.
    pub(super) fn undo(
        &self,
        next: &State,
        step: &ErasedStep,
        parts: Vec<Part>,
    ) -> Result<Vec<SentCommand>, ReactError> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let back = step.plan.back();
        let mut outgoing: BTreeMap<_, _> = self
            .outgoing(next, step, back)?
            .into_iter()
            .map(|outgoing| (outgoing.item.clone(), outgoing))
            .collect();
        parts
            .into_iter()
            .map(|part| match outgoing.remove(&part.item) {
                Some(outgoing) => {
                    let attempt = next.next_attempt(&part, back);
                    self.sent_command(next, step, outgoing, back, attempt)
                }
                None => Err(ReactError::NoCommand(part)),
            })
            .collect()
    }

    /// A later attempt at one item of a step.
    pub(super) fn command(
        &self,
        step: &ErasedStep,
        part: &Part,
        direction: Direction,
        attempt: u32,
    ) -> Result<SentCommand, ReactError> {
        let outgoing = self
            .outgoing(self.state, step, direction)?
            .into_iter()
            .find(|outgoing| outgoing.item == part.item)
            .ok_or_else(|| ReactError::NoCommand(part.clone()))?;
        self.sent_command(self.state, step, outgoing, direction, attempt)
    }

    pub(super) fn outgoing(
        &self,
        next: &State,
        step: &ErasedStep,
        direction: Direction,
    ) -> Result<Vec<crate::Outgoing>, ReactError> {
        let name = || step.plan.name.to_string();
        let ids = Ids::of(next);
        let outgoing = step
            .outgoing(direction, self.input(next)?, &ids, &next.why_back())
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

    pub(super) fn sent_command(
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

    pub(super) fn input(&self, next: &State) -> Result<&definition::Input, ReactError> {
        if let Some(input) = self.input.get() {
            return Ok(input);
        }
        let json = next.input().ok_or(ReactError::NotStarted)?;
        let input = self.definition.decode(json).map_err(ReactError::Input)?;
        Ok(self.input.get_or_init(|| input))
    }

    pub(super) fn after(&self, event: &Event) -> State {
        let mut next = self.state.clone();
        next.apply(event, self.now);
        next
    }

    pub(super) fn deadline(&self) -> Result<DateTime<Utc>, ReactError> {
        definition::after(self.now, self.definition.deadline()).ok_or(ReactError::Time)
    }

    pub(super) fn sent(&self, command: Uuid) -> Result<&Sent, ReactError> {
        self.state
            .command(command)
            .ok_or(ReactError::UnknownCommand(command))
    }

    pub(super) fn step(&self, name: &str) -> Result<&ErasedStep, ReactError> {
        self.definition
            .step(name)
            .ok_or_else(|| ReactError::UnknownStep(name.to_owned()))
    }
}
