//! The walk: what can happen next, and where it leads.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use recourse_cqrs::SagaCommand;
use recourse_event_store::Position;
use recourse_saga::{
    Definition, Direction, Event, Finding, Input, Rules, Status, Timer, explore::Model, react_under,
};
use uuid::Uuid;

use crate::{
    action::{Action, name, words},
    calls::fates,
    checks::{check_attention, check_end, check_money, check_stock},
    participants::{LoggedAnswer, Shared},
    provider::{Fate, Provider, Verdict},
    rules::{Habit, Without},
    world::{Budget, Cancellation, NOW, Target, World},
};

pub struct Orders {
    pub definition: Definition,
    pub budget: Budget,
    pub without: Without,
    /// How many states end a path, by what the saga says there.
    pub ends: RefCell<BTreeMap<String, usize>>,
}

impl Model for Orders {
    type State = World;
    type Action = Action;

    fn initial(&self) -> Vec<(Action, World)> {
        [[true, true], [false, true], [true, false], [false, false]]
            .into_iter()
            .map(|enough| {
                let mut world = World::new(enough, self.budget);
                let input = Input::Start {
                    input: World::input(),
                };
                let events = self.react(&world, input).expect("a saga starts");
                world.append(&events);
                (Action::Begin(enough), world)
            })
            .collect()
    }

    fn actions(&self, world: &World) -> Vec<Action> {
        if world.saga.is_ended() {
            return Vec::new();
        }
        let mut actions = Vec::new();
        for target in Target::ALL {
            let queue = &world.queues[target.index()];
            if queue.delivered < queue.commands.len() {
                actions.push(Action::Deliver(target));
            }
        }
        for answer in &world.unread {
            actions.push(Action::Read(answer.clone(), name(world, answer.command)));
        }
        if world.cancellation == Cancellation::Unread {
            actions.push(Action::ReadCancellation);
        }
        for call in world.payment.state().calls() {
            let verdict = world.provider.verdict(call.key);
            actions.push(Action::Call(
                call.operation,
                Fate::Answered(verdict.unwrap_or(Verdict::Applied)),
            ));
        }
        let inputs_are_read = world.unread.is_empty() && world.cancellation != Cancellation::Unread;
        let timers_fire =
            inputs_are_read || self.without == Without::Habit(Habit::TimersWaitForInputs);
        if inputs_are_read {
            for (_, timer) in world.saga.timers() {
                if let Timer::Resend(command) = timer {
                    actions.push(Action::Resend(command, name(world, command)));
                }
            }
        }
        if actions.is_empty() && world.saga.next_due().is_some() {
            actions.push(Action::TimePasses);
        }
        self.faults(world, timers_fire, &mut actions);
        actions
    }

    fn step(&self, world: &World, action: &Action) -> Result<Option<World>, String> {
        let mut next = world.clone();
        match action {
            Action::Begin(_) => return Ok(None),
            Action::Deliver(target) => {
                let queue = Arc::make_mut(&mut next.queues[target.index()]);
                let command = Arc::clone(&queue.commands[queue.delivered]);
                queue.delivered += 1;
                self.deliver(&mut next, &command)?;
            }
            Action::DeliverAgain(target, at) => {
                let mut command = SagaCommand::clone(&next.queues[target.index()].commands[*at]);
                if self.without == Without::Habit(Habit::MarkIsKept) {
                    // As if it stood after everything that was taken.
                    command.mark = next.beyond(*target);
                }
                if !self.deliver(&mut next, &command)? {
                    return Ok(None);
                }
                next.budget.duplicates -= 1;
            }
            Action::Lose(target) => {
                next.lose(*target)?;
                next.budget.losses -= 1;
            }
            Action::Read(answer, _) => {
                let events = self.read(&next, answer)?;
                self.append(&mut next, &events)?;
                next.mark_read(answer);
            }
            Action::ReadAgain(answer, _) => {
                if self.read(&next, answer)?.is_empty() {
                    return Ok(None);
                }
                return Err("an answer that was read twice counted twice".to_owned());
            }
            Action::Cancel => {
                if !next.cancel() {
                    return Ok(None);
                }
                next.budget.cancellations -= 1;
            }
            Action::ReadCancellation => {
                let position = Position::dense(1);
                let events = self.react(&next, Input::Cancelled { position })?;
                self.append(&mut next, &events)?;
                next.cancellation = Cancellation::Read;
            }
            Action::Call(operation, fate) => return self.call(next, *operation, *fate),
            Action::LateArrives(key) => {
                let mut provider = Provider::clone(&next.provider);
                provider.arrive(*key);
                next.provider = Shared::new(provider.clone(), provider);
            }
            Action::Overdue(command, _) => {
                let is_some = self.overdue(&mut next, *command)?;
                next.budget.timeouts -= 1;
                return Ok(is_some.then_some(next));
            }
            Action::Resend(command, _) => {
                let events = self.react(&next, Input::BackoffOver { command: *command })?;
                self.append(&mut next, &events)?;
            }
            Action::Deadline => {
                self.deadline(&mut next)?;
                next.budget.deadlines -= 1;
            }
            Action::TimePasses => match next.saga.next_due() {
                Some((_, Timer::Overdue(command))) => {
                    if !self.overdue(&mut next, command)? {
                        return Err("a timer fires and changes nothing".to_owned());
                    }
                }
                Some((_, Timer::Resend(_))) | None => return Ok(None),
                Some((_, Timer::Deadline)) => self.deadline(&mut next)?,
            },
        }
        Ok(Some(next))
    }

    fn check(&self, world: &World, is_end: bool) -> Result<(), String> {
        check_stock(world)?;
        check_money(world)?;
        check_attention(world)?;
        if let Some(end) = world.saga.end() {
            self.count(world);
            return check_end(world, end);
        }
        if !is_end && !stands_still(world) {
            return Ok(());
        }
        self.count(world);
        match world.saga.status() {
            Status::NeedsAttention if world.refused_for_good => Ok(()),
            Status::NeedsAttention => {
                Err("it needs attention though nothing was refused for good".to_owned())
            }
            status => Err(format!("it stands still and says {}", status.as_str())),
        }
    }
}

/// That nothing more happens unless somebody does something new.
fn stands_still(world: &World) -> bool {
    world.unread.is_empty()
        && world.cancellation != Cancellation::Unread
        && world
            .queues
            .iter()
            .all(|queue| queue.delivered == queue.commands.len())
        && world.payment.state().calls().next().is_none()
        && world.saga.next_due().is_none()
}

impl Orders {
    fn faults(&self, world: &World, timers_fire: bool, actions: &mut Vec<Action>) {
        let budget = &world.budget;
        if budget.duplicates > 0 {
            for target in Target::ALL {
                let delivered = world.queues[target.index()].delivered;
                actions.extend((0..delivered).map(|at| Action::DeliverAgain(target, at)));
            }
            for answer in world.read.iter() {
                actions.push(Action::ReadAgain(
                    answer.clone(),
                    name(world, answer.command),
                ));
            }
        }
        if budget.losses > 0 {
            for target in Target::ALL {
                let queue = &world.queues[target.index()];
                if queue.delivered < queue.commands.len() {
                    actions.push(Action::Lose(target));
                }
            }
        }
        if budget.cancellations > 0 {
            actions.push(Action::Cancel);
        }
        for call in world.payment.state().calls() {
            let fates = fates(world, &call);
            actions.extend(
                fates
                    .into_iter()
                    .map(|fate| Action::Call(call.operation, fate)),
            );
        }
        actions.extend(world.provider.late().map(Action::LateArrives));
        if !timers_fire {
            return;
        }
        for (_, timer) in world.saga.timers() {
            match timer {
                Timer::Overdue(command) if budget.timeouts > 0 => {
                    actions.push(Action::Overdue(command, name(world, command)));
                }
                Timer::Deadline if budget.deadlines > 0 => actions.push(Action::Deadline),
                _ => {}
            }
        }
    }

    fn count(&self, world: &World) {
        let status = world.saga.status().as_str();
        let words = match world.saga.turned_back() {
            Some(reason) => format!("{status} ({})", reason.code),
            None => status.to_owned(),
        };
        *self.ends.borrow_mut().entry(words).or_default() += 1;
    }

    fn react(&self, world: &World, input: Input) -> Result<Vec<Event>, String> {
        let rules = match self.without {
            Without::Rule(rule) => Rules::without(rule),
            Without::Nothing | Without::Habit(_) => Rules::default(),
        };
        react_under(rules, &self.definition, &world.saga, input, NOW)
            .map_err(|error| error.to_string())
    }

    fn append(&self, world: &mut World, events: &[Event]) -> Result<(), String> {
        for sent in events.iter().flat_map(Event::commands) {
            let commits = matches!(&*sent.step, "reserve-stock" | "authorize-payment");
            if commits
                && sent.direction == Direction::Do
                && world.cancellation == Cancellation::Read
            {
                return Err(format!("{} is sent for a cancelled order", sent.step));
            }
            let may_take_effect = |earlier: &&recourse_saga::Sent| {
                (&earlier.step, &earlier.item, earlier.direction)
                    == (&sent.step, &sent.item, sent.direction)
                    && !world.is_answered(earlier.id)
                    && !world.is_lost(earlier.id)
            };
            if let Some(earlier) = world.saga.commands().iter().find(may_take_effect) {
                return Err(format!(
                    "{} is asked again while it may still take effect",
                    name(world, earlier.id)
                ));
            }
        }
        world.append(events);
        if world.saga.status() != Status::NeedsAttention {
            world.flagged_at = None;
        }
        Ok(())
    }

    fn read(&self, world: &World, answer: &LoggedAnswer) -> Result<Vec<Event>, String> {
        self.react(
            world,
            Input::Answer {
                command: answer.command,
                answer: answer.answer.clone(),
                position: Position::dense(1),
            },
        )
    }

    fn deliver(&self, world: &mut World, command: &SagaCommand) -> Result<bool, String> {
        let changed = world.deliver(command)?;
        if self.without == Without::Habit(Habit::NothingToUndoIsAnswered) {
            world
                .unread
                .retain(|unread| words(&unread.answer) != "nothing-to-undo");
        }
        Ok(changed)
    }

    /// As the orchestrator does it: looks into the target's stream first.
    fn overdue(&self, world: &mut World, command: Uuid) -> Result<bool, String> {
        let Some((target, sent)) = world.command(command) else {
            return Err("an overdue command was never sent".to_owned());
        };
        if world.is_answered(command) {
            // Found there: the same as reading it.
            return Ok(false);
        }
        let (is_past, is_open) = world.tracking(target, sent);
        let finding = if is_past && !is_open {
            Finding::Lost
        } else {
            Finding::Waiting
        };
        let events = self.react(world, Input::Overdue { command, finding })?;
        self.append(world, &events)?;
        Ok(!events.is_empty())
    }

    fn deadline(&self, world: &mut World) -> Result<(), String> {
        let waits = world
            .saga
            .open_commands()
            .any(|sent| !world.is_answered(sent.id));
        let pending = world
            .saga
            .timers()
            .any(|(_, timer)| matches!(timer, Timer::Resend(_)));
        if !waits && !pending {
            return Err("it needs attention though all it waits for has happened".to_owned());
        }
        let events = self.react(world, Input::DeadlinePassed)?;
        self.append(world, &events)?;
        if world.saga.status() != Status::NeedsAttention {
            return Err("it is past its deadline and says nothing".to_owned());
        }
        world.flagged_at = world.saga.revision();
        Ok(())
    }
}
