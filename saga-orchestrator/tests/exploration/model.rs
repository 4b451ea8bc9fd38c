//! The walk: what can happen next, and where it leads.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use recourse_cqrs::SagaCommand;
use recourse_event_store::Position;
use recourse_saga::{
    ActError, By, Definition, Direction, Event, Finding, Input, Resumed, Rule, Rules, Said,
    SkipResult, State, Status, Timer, act_under, explore::Model, react_under,
};
use uuid::Uuid;

use crate::{
    action::{Action, Operator, name, words},
    calls::{fates, step_of},
    checks::{check_attention, check_end, check_money, check_standstill, check_stock},
    participants::{LoggedAnswer, Shared},
    provider::{Fate, Provider, Verdict},
    returning,
    rules::{Habit, Without},
    world::{Budget, Cancellation, NOW, Story, Target, World},
};

pub struct Orders {
    pub story: Story,
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
        let mut begun: Vec<(Action, World)> = match self.story {
            Story::Order => [[true, true], [false, true], [true, false], [false, false]]
                .map(|enough| (Action::Begin(enough), World::new(enough, self.budget)))
                .into(),
            Story::Return => [true, false]
                .map(|out| (Action::BeginReturn(out), World::returning(out, self.budget)))
                .into(),
        };
        for (_, world) in &mut begun {
            let input = Input::Start {
                input: world.input(),
            };
            let events = self.react(world, input).expect("a saga starts");
            world.append(&events);
        }
        begun
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
                match timer {
                    Timer::Resend(command) => {
                        actions.push(Action::Resend(command, name(world, command)));
                    }
                    Timer::Overdue(command) if looks_now(world, command) => {
                        actions.push(Action::Look(command, name(world, command)));
                    }
                    Timer::Overdue(_) | Timer::Deadline => {}
                }
            }
        }
        if actions.is_empty() && world.saga.next_due().is_some() {
            actions.push(Action::TimePasses);
        }
        self.faults(world, timers_fire, &mut actions);
        operate(world, &mut actions);
        actions
    }

    fn step(&self, world: &World, action: &Action) -> Result<Option<World>, String> {
        let mut next = world.clone();
        match action {
            Action::Begin(_) | Action::BeginReturn(_) => return Ok(None),
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
            Action::GiveUp(operation) => {
                next.budget.expiries -= 1;
                return self.give_up(next, *operation);
            }
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
            Action::Look(command, _) => {
                let is_some = self.overdue(&mut next, *command)?;
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
            Action::SendBack => {
                if !next.send_back() {
                    return Ok(None);
                }
                next.budget.returns -= 1;
            }
            Action::Operate(operator) => return self.operate(next, operator),
        }
        Ok(Some(next))
    }

    fn check(&self, world: &World, is_end: bool) -> Result<(), String> {
        check_stock(world)?;
        match world.story {
            Story::Order => check_money(world)?,
            Story::Return => returning::check(world)?,
        }
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
            // An operator has to find out, and can say so.
            Status::NeedsAttention if world.payment.state().given_up().next().is_some() => Ok(()),
            Status::NeedsAttention if world.refused_for_good || !world.saga.skips().is_empty() => {
                check_standstill(world)
            }
            Status::NeedsAttention => {
                Err("it needs attention though nothing was refused for good".to_owned())
            }
            status => Err(format!("it stands still and says {}", status.as_str())),
        }
    }
}

/// Whether an operator has a command looked up at once.
fn looks_now(world: &World, command: Uuid) -> bool {
    let sent = world.saga.command(command);
    sent.is_some_and(|sent| sent.look_now)
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
        && !world.saga.is_paused()
}

/// What operators may do now.
fn operate(world: &World, actions: &mut Vec<Action>) {
    let budget = &world.budget;
    if world.saga.is_paused() {
        actions.push(Action::Operate(Operator::Resume));
    }
    let payment = &world.queues[Target::Payment.index()];
    let is_told = payment.delivered < payment.commands.len() || !world.unread.is_empty();
    for (operation, key) in world.payment.state().given_up().filter(|_| !is_told) {
        // They ask the provider first.
        let took_effect = world.provider.verdict(key) == Some(Verdict::Applied);
        let step = step_of(world.story, operation);
        actions.push(Action::Operate(Operator::Say(step, took_effect)));
    }
    if budget.pauses > 0 {
        actions.push(Action::Operate(Operator::Pause));
    }
    if budget.retries > 0 {
        actions.push(Action::Operate(Operator::Retry));
    }
    if budget.compensations > 0 {
        actions.push(Action::Operate(Operator::Compensate));
    }
    if budget.skips > 0 {
        let mut sent: Vec<Arc<str>> = Vec::new();
        for command in world.saga.commands() {
            if !sent.contains(&command.step) {
                sent.push(Arc::clone(&command.step));
            }
        }
        let skip = |step| Action::Operate(Operator::Skip(step));
        actions.extend(sent.into_iter().map(skip));
    }
}

fn by() -> By {
    By {
        actor: "anonymous".to_owned(),
        reason: "the bank says so".to_owned(),
    }
}

fn in_no_pause(world: &World, events: &[Event]) -> Result<(), String> {
    if world.saga.is_paused() && !events.is_empty() {
        return Err("a timer fires in a pause".to_owned());
    }
    Ok(())
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
        if budget.returns > 0 {
            actions.push(Action::SendBack);
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
        if budget.expiries > 0 {
            let is_late = |key| world.provider.late().any(|late| late == key);
            let calls = world.payment.state().calls();
            let unknown = calls.filter(|call| call.is_unknown && !is_late(call.key));
            actions.extend(unknown.map(|call| Action::GiveUp(call.operation)));
        }
        if !timers_fire {
            return;
        }
        for timer in self.timers(world) {
            match timer {
                Timer::Overdue(command) if budget.timeouts > 0 && !looks_now(world, command) => {
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

    /// The timers that may fire: none in a pause, but where that rule is taken away.
    fn timers(&self, world: &World) -> Vec<Timer> {
        let mut saga = State::clone(&world.saga);
        if saga.is_paused() && self.without == Without::Rule(Rule::PauseStopsTime) {
            let resumed = Event::Resumed(Resumed {
                by: by(),
                stood_still_ms: 0,
                stays_paused: false,
                deadline_at: None,
                commands: Vec::new(),
            });
            saga.apply(&resumed, NOW);
        }
        saga.timers().map(|(_, timer)| timer).collect()
    }

    /// What an operator does; `None` where it is not possible now.
    fn operate(&self, mut world: World, operator: &Operator) -> Result<Option<World>, String> {
        let action = match operator {
            Operator::Pause => recourse_saga::Action::Pause,
            Operator::Resume => recourse_saga::Action::Resume,
            Operator::Compensate => recourse_saga::Action::Compensate,
            Operator::Say(step, took_effect) => recourse_saga::Action::Retry {
                step: Some((*step).into()),
                said: Some(Said {
                    result: if *took_effect {
                        SkipResult::Done
                    } else {
                        SkipResult::Left
                    },
                    reference: None,
                }),
            },
            Operator::Skip(step) => recourse_saga::Action::Skip {
                step: Arc::clone(step),
                result: SkipResult::Left,
            },
            Operator::Retry => recourse_saga::Action::Retry {
                step: None,
                said: None,
            },
        };
        let (definition, saga) = (&self.definition, &world.saga);
        let events = match act_under(self.rules(), definition, saga, &action, &by(), NOW) {
            Ok(events) => events,
            Err(ActError::NotPossible(_)) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let budget = &mut world.budget;
        let left = match operator {
            Operator::Pause => Some(&mut budget.pauses),
            Operator::Retry => Some(&mut budget.retries),
            Operator::Skip(_) => Some(&mut budget.skips),
            Operator::Compensate => Some(&mut budget.compensations),
            Operator::Resume | Operator::Say(..) => None,
        };
        if let Some(left) = left {
            *left -= 1;
        }
        if let Operator::Say(step, false) = operator {
            // But for an authorization nobody can do without it.
            let is_forward = world.saga.turned_back().is_none();
            world.refused_for_good |=
                world.story == Story::Order && (*step != "authorize-payment" || !is_forward);
        }
        self.append(&mut world, &events)?;
        Ok(Some(world))
    }

    fn rules(&self) -> Rules {
        match self.without {
            Without::Rule(rule) => Rules::without(rule),
            Without::Nothing | Without::Habit(_) => Rules::default(),
        }
    }

    fn react(&self, world: &World, input: Input) -> Result<Vec<Event>, String> {
        react_under(self.rules(), &self.definition, &world.saga, input, NOW)
            .map_err(|error| error.to_string())
    }

    fn append(&self, world: &mut World, events: &[Event]) -> Result<(), String> {
        // What is told an outcome answers with it what it was asked before.
        let is_said = matches!(events, [Event::Retried(retried)] if retried.said.is_some());
        let is_operator = events.iter().any(|event| event.by().is_some());
        for sent in events.iter().flat_map(Event::commands) {
            if world.saga.is_paused() && !is_operator {
                return Err(format!("{} is sent in a pause", sent.step));
            }
            let commits = matches!(&*sent.step, "reserve-stock" | "authorize-payment");
            if commits
                && !is_said
                && sent.direction == Direction::Do
                && world.cancellation == Cancellation::Read
            {
                return Err(format!("{} is sent for a cancelled order", sent.step));
            }
            let may_take_effect = |earlier: &&recourse_saga::Sent| {
                (&earlier.step, &earlier.item, earlier.direction)
                    == (&sent.step, &sent.item, sent.direction)
                    && !is_said
                    && earlier.outcome.is_none()
                    && !world.is_lost(earlier.id)
                    && !earlier.superseded
            };
            if let Some(earlier) = world.saga.commands().iter().find(may_take_effect) {
                let name = name(world, earlier.id);
                return Err(if world.is_answered(earlier.id) {
                    format!("{name} is asked again though it is answered")
                } else {
                    format!("{name} is asked again while it may still take effect")
                });
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
        in_no_pause(world, &events)?;
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
        in_no_pause(world, &events)?;
        self.append(world, &events)?;
        if world.saga.status() != Status::NeedsAttention {
            return Err("it is past its deadline and says nothing".to_owned());
        }
        world.flagged_at = world.saga.revision();
        Ok(())
    }
}
