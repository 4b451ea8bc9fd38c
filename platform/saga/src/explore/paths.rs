//! The paths of a [`Walk`]: what can happen next, where it leads, and whether that is right.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use recourse_bus::Json;
use recourse_cqrs::SagaCommand;
use recourse_event_store::{Mark, Position, StreamName, typed};
use uuid::Uuid;

use super::{
    Model,
    party::{LoggedAnswer, NOW, Party, Took},
    walk::{Faults, Seen, Walk},
};
use crate::{
    Answer, Definition, Direction, Event, Finding, Input, Sent, State, Status, Timer, react,
};

/// The paths of a walk.
pub(super) struct Paths<'a> {
    pub(super) walk: &'a Walk,
    pub(super) start: World,
}

/// One state of everything.
#[derive(Clone)]
pub(super) struct World {
    pub(super) saga: State,
    pub(super) parties: BTreeMap<StreamName, Arc<dyn Party>>,
    queues: BTreeMap<StreamName, Arc<Queue>>,
    /// What the log holds and the saga has not read; sorted.
    unread: Vec<LoggedAnswer>,
    read: Arc<Vec<LoggedAnswer>>,
    /// Whether a cancellation has reached the saga; none where nothing is cancelled.
    cancellation_is_read: Option<bool>,
    /// Which of the clients have asked.
    asked: Vec<bool>,
    faults: Faults,
    correlation: Uuid,
}

/// The commands on their way to one aggregate, in log order.
#[derive(Clone, Default)]
struct Queue {
    commands: Vec<Arc<SagaCommand>>,
    delivered: usize,
    /// Those that got lost on the way.
    lost: Vec<Uuid>,
}

/// What can happen.
#[derive(Clone, Debug)]
pub(super) struct Action {
    what: What,
    words: String,
}

#[derive(Clone, Debug)]
enum What {
    Begin,
    Deliver(StreamName),
    Lose(StreamName),
    Read(LoggedAnswer),
    ReadCancellation,
    Ask(usize),
    Overdue(Uuid),
    Resend(Uuid),
    Deadline,
    TimePasses,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // What is in the queues and what was read follows from the saga's own events and from
        // the others' states.
        self.saga.hash(hasher);
        for party in self.parties.values() {
            party.hash().hash(hasher);
        }
        for queue in self.queues.values() {
            (queue.delivered, &queue.lost).hash(hasher);
        }
        self.unread.hash(hasher);
        (self.cancellation_is_read, &self.asked, self.faults).hash(hasher);
    }
}

impl Queue {
    fn next(&self) -> Option<&Arc<SagaCommand>> {
        self.commands.get(self.delivered)
    }
}

impl World {
    /// Where the saga has begun and nobody has heard of it.
    pub(super) fn start(walk: &Walk) -> Result<Self, String> {
        let starts = walk.definition.starts(&walk.starts);
        let start = starts.map_err(|error| error.to_string())?;
        let start = start.ok_or("the event starts no saga of this definition")?;
        let mut world = Self {
            saga: State::new(walk.definition.saga_id(walk.starts.event.id)),
            parties: walk.parties.clone(),
            queues: BTreeMap::new(),
            unread: Vec::new(),
            read: Arc::default(),
            cancellation_is_read: None,
            asked: vec![false; walk.meanwhile.len()],
            faults: walk.faults,
            correlation: start.correlation,
        };
        let input: Json = start.input;
        world.hear(&walk.definition, Input::Start { input })?;
        Ok(world)
    }

    /// What the saga does about something; whether anything.
    fn hear(&mut self, definition: &Definition, input: Input) -> Result<bool, String> {
        let events = react(definition, &self.saga, input, NOW);
        let events = events.map_err(|error| error.to_string())?;
        for event in &events {
            self.append(event)?;
        }
        Ok(!events.is_empty())
    }

    /// Appends to the saga's stream: its state goes on, its commands are on their way.
    fn append(&mut self, event: &Event) -> Result<(), String> {
        let revision = self.saga.revision().map_or(0, |revision| revision + 1);
        // As a crash would find it: from the bytes.
        let event = typed::encode(event).and_then(|(kind, data)| typed::decode(&kind, &data));
        let event: Event = event.map_err(|error| error.to_string())?;
        for (index, sent) in (0..).zip(event.commands()) {
            let is_same = |earlier: &&Sent| {
                (&earlier.step, &earlier.item, earlier.direction)
                    == (&sent.step, &sent.item, sent.direction)
            };
            let mut earlier = self.saga.commands().iter().filter(is_same);
            if let Some(earlier) = earlier.find(|earlier| {
                !earlier.superseded && !self.is_answered(earlier.id) && !self.is_lost(earlier.id)
            }) {
                let name = self.name(earlier.id);
                return Err(format!(
                    "{name} is asked again while it may still take effect"
                ));
            }
            if !self.parties.contains_key(&sent.command.target) {
                let target = &sent.command.target;
                return Err(format!(
                    "a command goes to {target}, which the walk was not given"
                ));
            }
            let command = Arc::new(SagaCommand {
                command: sent.command.clone(),
                mark: Mark {
                    position: Position::dense(revision + 1),
                    index,
                },
                saga: Definition::stream(self.saga.saga()),
                cause: Uuid::from_u128(u128::from(revision)),
                correlation_id: self.correlation,
                request_id: None,
                traceparent: None,
            });
            let queue = self.queues.entry(sent.command.target.clone());
            Arc::make_mut(queue.or_default()).commands.push(command);
        }
        self.saga.apply(&event, NOW);
        Ok(())
    }

    fn party(&self, stream: &StreamName) -> Result<&Arc<dyn Party>, String> {
        let party = self.parties.get(stream);
        party.ok_or_else(|| format!("the walk was not given {stream}"))
    }

    /// Hands the next command to an aggregate: what it answers is in the log then.
    fn deliver(&mut self, stream: &StreamName) -> Result<(), String> {
        let Some(command) = self.advance(stream) else {
            return Ok(());
        };
        let took = self.party(stream)?.take(&command)?;
        let Some(Took { party, answers, .. }) = took else {
            return Err(format!(
                "{} was taken for a repeat",
                self.name(command.command.id)
            ));
        };
        self.parties.insert(stream.clone(), party);
        self.log(answers)
    }

    /// The next command gets lost, and another saga's later one arrives.
    fn lose(&mut self, stream: &StreamName) -> Result<(), String> {
        let Some(command) = self.advance(stream) else {
            return Ok(());
        };
        let mut other = SagaCommand::clone(&command);
        if let Some(queue) = self.queues.get_mut(stream) {
            Arc::make_mut(queue).lost.push(command.command.id);
        }
        // It stands right behind the lost one, and nobody here understands it.
        other.mark.index = other.mark.index.saturating_add(1_000);
        other.saga = Definition::stream(Uuid::from_u128(5));
        other.command.id = Uuid::from_u128(6);
        other.command.command_type = "another.saga".to_owned();
        if let Some(took) = self.party(stream)?.take(&other)? {
            self.parties.insert(stream.clone(), took.party);
        }
        Ok(())
    }

    fn advance(&mut self, stream: &StreamName) -> Option<Arc<SagaCommand>> {
        let queue = self.queues.get_mut(stream)?;
        let command = Arc::clone(queue.next()?);
        Arc::make_mut(queue).delivered += 1;
        Some(command)
    }

    fn log(&mut self, answers: Vec<LoggedAnswer>) -> Result<(), String> {
        for answer in answers {
            if self.is_answered(answer.command) {
                return Err(format!("{} was answered twice", self.name(answer.command)));
            }
            self.unread.push(answer);
        }
        self.unread.sort();
        Ok(())
    }

    fn is_answered(&self, command: Uuid) -> bool {
        let mut all = self.unread.iter().chain(self.read.iter());
        all.any(|answer| answer.command == command)
    }

    fn is_lost(&self, command: Uuid) -> bool {
        let mut queues = self.queues.values();
        queues.any(|queue| queue.lost.contains(&command))
    }

    /// What the target's stream says about a command that is not answered there.
    fn finding(&self, command: Uuid) -> Result<Finding, String> {
        for (stream, queue) in &self.queues {
            let mut commands = queue.commands.iter();
            if let Some(sent) = commands.find(|sent| sent.command.id == command) {
                let tracking = self.party(stream)?.tracking();
                let mut open = tracking.open().iter();
                let is_open = open.any(|taken| taken.answered.command == command);
                return Ok(if tracking.is_past(sent.mark) && !is_open {
                    Finding::Lost
                } else {
                    Finding::Waiting
                });
            }
        }
        Err("an overdue command was never sent".to_owned())
    }

    /// A command by its step.
    fn name(&self, command: Uuid) -> String {
        let Some(sent) = self.saga.command(command) else {
            return "a command".to_owned();
        };
        let direction = match sent.direction {
            Direction::Do => "",
            Direction::Undo => "undo of ",
            Direction::Reverse => "reversal of ",
        };
        let attempt = match sent.attempt {
            1 => String::new(),
            attempt => format!(" (attempt {attempt})"),
        };
        format!("{direction}{}{attempt}", sent.part())
    }

    fn inputs_are_read(&self) -> bool {
        self.unread.is_empty() && self.cancellation_is_read != Some(false)
    }
}

impl Model for Paths<'_> {
    type State = World;
    type Action = Action;

    fn initial(&self) -> Vec<(Action, World)> {
        let begin = action(What::Begin, "the saga begins");
        vec![(begin, self.start.clone())]
    }

    fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        if world.saga.is_ended() {
            return actions;
        }
        for (stream, queue) in &world.queues {
            if let Some(next) = queue.next() {
                let name = world.name(next.command.id);
                let words = format!("{stream} takes {name}");
                actions.push(action(What::Deliver(stream.clone()), words));
            }
        }
        for answer in &world.unread {
            let said = match &answer.answer {
                Answer::Done => "done",
                Answer::Refused { code, .. } => code,
            };
            let words = format!("the saga reads {}: {said}", world.name(answer.command));
            actions.push(action(What::Read(answer.clone()), words));
        }
        if world.cancellation_is_read == Some(false) {
            let words = "the saga reads the cancellation";
            actions.push(action(What::ReadCancellation, words));
        }
        if world.inputs_are_read() {
            for (_, timer) in world.saga.timers() {
                if let Timer::Resend(command) = timer {
                    let words = format!("{} is sent again", world.name(command));
                    actions.push(action(What::Resend(command), words));
                }
            }
        }
        if actions.is_empty() && world.saga.next_due().is_some() {
            actions.push(action(What::TimePasses, "time passes"));
        }
        for (number, meanwhile) in self.walk.meanwhile.iter().enumerate() {
            if world.asked.get(number) == Some(&false) {
                actions.push(action(What::Ask(number), &meanwhile.words));
            }
        }
        faults(world, &mut actions);
        actions
    }

    fn step(&self, world: &World, action: &Action) -> Result<Option<World>, String> {
        let definition = &self.walk.definition;
        let mut next = world.clone();
        match &action.what {
            What::Begin => return Ok(None),
            What::Deliver(stream) => next.deliver(stream)?,
            What::Lose(stream) => {
                next.lose(stream)?;
                next.faults.losses -= 1;
            }
            What::Read(answer) => {
                next.hear(definition, heard(answer))?;
                next.unread.retain(|unread| unread != answer);
                Arc::make_mut(&mut next.read).push(answer.clone());
            }
            What::ReadCancellation => {
                let position = Position::dense(1);
                next.hear(definition, Input::Cancelled { position })?;
                next.cancellation_is_read = Some(true);
            }
            What::Ask(number) => return self.ask(next, *number),
            What::Overdue(command) => {
                next.faults.timeouts -= 1;
                return Ok(overdue(definition, &mut next, *command)?.then_some(next));
            }
            What::Resend(command) => {
                next.hear(definition, Input::BackoffOver { command: *command })?;
            }
            What::Deadline => {
                next.faults.deadlines -= 1;
                next.hear(definition, Input::DeadlinePassed)?;
            }
            What::TimePasses => match next.saga.next_due() {
                Some((_, Timer::Overdue(command))) => {
                    if !overdue(definition, &mut next, command)? {
                        return Err("a timer fires and changes nothing".to_owned());
                    }
                }
                Some((_, Timer::Deadline)) => {
                    next.hear(definition, Input::DeadlinePassed)?;
                }
                Some((_, Timer::Resend(_))) | None => return Ok(None),
            },
        }
        Ok(Some(next))
    }

    fn check(&self, world: &World, is_end: bool) -> Result<(), String> {
        let seen = Seen { world };
        if let Some((what, _)) = self.walk.holds.iter().find(|(_, holds)| !holds(&seen)) {
            return Err(format!("this does not hold: {what}"));
        }
        self.check_repeats(world)?;
        if !world.saga.is_ended() {
            return match world.saga.status() {
                _ if !is_end => Ok(()),
                Status::NeedsAttention => Err(format!(
                    "it needs attention, and nothing more will happen: {}",
                    world.saga.trouble().unwrap_or("it is past its deadline")
                )),
                status => Err(format!("it stands still and says {}", status.as_str())),
            };
        }
        for sent in world.saga.commands() {
            let is_settled = world.is_answered(sent.id) || world.is_lost(sent.id);
            if sent.is_open() || !is_settled {
                return Err(format!("it has ended with {} open", world.name(sent.id)));
            }
        }
        let status = world.saga.status().as_str();
        let words = match world.saga.turned_back() {
            Some(reason) => format!("{status} ({})", reason.code),
            None => status.to_owned(),
        };
        *self.walk.ended.borrow_mut().entry(words).or_default() += 1;
        Ok(())
    }
}

impl Paths<'_> {
    /// Whatever was delivered, delivered again, changes nothing.
    fn check_repeats(&self, world: &World) -> Result<(), String> {
        for (stream, queue) in &world.queues {
            for command in queue.commands.iter().take(queue.delivered) {
                if world.party(stream)?.take(command)?.is_some() {
                    let name = world.name(command.command.id);
                    return Err(format!("{name}, delivered twice, counted twice"));
                }
            }
        }
        for answer in world.read.iter() {
            if world.clone().hear(&self.walk.definition, heard(answer))? {
                let name = world.name(answer.command);
                return Err(format!("the answer to {name}, read twice, counted twice"));
            }
        }
        Ok(())
    }

    fn ask(&self, mut world: World, number: usize) -> Result<Option<World>, String> {
        let (Some(meanwhile), Some(asked)) =
            (self.walk.meanwhile.get(number), world.asked.get_mut(number))
        else {
            return Ok(None);
        };
        *asked = true;
        let id = Uuid::from_u128(1_000 + number as u128);
        let party = world.party(&meanwhile.stream)?;
        let Some(took) = party.ask(&*meanwhile.command, id)? else {
            return Ok(None);
        };
        world.parties.insert(meanwhile.stream.clone(), took.party);
        for event in &took.events {
            let cancels = self.walk.definition.cancels(event);
            if cancels.map_err(|error| error.to_string())?.is_some() {
                world.cancellation_is_read = Some(false);
            }
        }
        world.log(took.answers)?;
        Ok(Some(world))
    }
}

fn action(what: What, words: impl Into<String>) -> Action {
    Action {
        what,
        words: words.into(),
    }
}

fn heard(answer: &LoggedAnswer) -> Input {
    Input::Answer {
        command: answer.command,
        answer: answer.answer.clone(),
        position: Position::dense(1),
    }
}

/// As the orchestrator does it: looks into the target's stream first.
fn overdue(definition: &Definition, world: &mut World, command: Uuid) -> Result<bool, String> {
    if world.is_answered(command) {
        // Found there: the same as reading it.
        return Ok(false);
    }
    let finding = world.finding(command)?;
    world.hear(definition, Input::Overdue { command, finding })
}

fn faults(world: &World, actions: &mut Vec<Action>) {
    if world.faults.losses > 0 {
        for (stream, queue) in &world.queues {
            if let Some(next) = queue.next() {
                let words = format!("{} gets lost", world.name(next.command.id));
                actions.push(action(What::Lose(stream.clone()), words));
            }
        }
    }
    if !world.inputs_are_read() {
        return;
    }
    for (_, timer) in world.saga.timers() {
        match timer {
            Timer::Overdue(command) if world.faults.timeouts > 0 => {
                let words = format!("{} is overdue", world.name(command));
                actions.push(action(What::Overdue(command), words));
            }
            Timer::Deadline if world.faults.deadlines > 0 => {
                actions.push(action(What::Deadline, "the deadline passes"));
            }
            _ => {}
        }
    }
}
