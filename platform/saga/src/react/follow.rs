//! What a state asks for next, and the commands for it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use recourse_bus::Command;
use uuid::Uuid;

use super::{ReactError, Reaction};
use crate::{
    Compensated, Completed, Direction, Event, Ids, Kind, Part, Reason, Rule, SentCommand, State,
    definition::{self, ErasedStep},
    state::Sent,
};

/// What a state asks for next.
pub(super) enum Next {
    Send(Vec<SentCommand>),
    Wait,
    End(Event),
}

/// What follows from a state.
impl Reaction<'_> {
    pub(super) fn follow(&self, next: &State) -> Result<Next, ReactError> {
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
            let mut parts: Vec<_> = next.parts_to_undo(&step.plan.name).collect();
            if !self.rules.hold(Rule::UndoGoesToTheUnanswered) {
                parts.retain(|part| next.part_is_done(part, Direction::Do));
            }
            waits |= !parts.is_empty();
            parts.retain(|part| next.attempts(part, Direction::Undo).next().is_none());
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

    /// The first undo of these items of a step.
    fn undo(
        &self,
        next: &State,
        step: &ErasedStep,
        parts: Vec<Part>,
    ) -> Result<Vec<SentCommand>, ReactError> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let mut outgoing: BTreeMap<_, _> = self
            .outgoing(next, step, Direction::Undo)?
            .into_iter()
            .map(|outgoing| (outgoing.item.clone(), outgoing))
            .collect();
        parts
            .into_iter()
            .map(|part| match outgoing.remove(&part.item) {
                Some(outgoing) => self.sent_command(next, step, outgoing, Direction::Undo, 1),
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
