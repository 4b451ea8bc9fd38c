//! A saga as data: named steps of typed kinds, in an order that the builder checks.

mod build;
mod step;

use std::{any::Any, collections::BTreeSet, fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use recourse_bus::Json;
use recourse_event_store::{RecordedEvent, StreamName, typed};
use serde::Serialize;
use uuid::Uuid;

use crate::{Direction, Kind, Part, PlannedStep, Reason, State};

pub use build::{BuildError, Builder};
pub use step::{Backoff, Settlement, Step, closing, compensatable, pivot, retriable};

use step::Settings;

/// Of every id of a saga.
const SAGAS: Uuid = Uuid::from_u128(0x5b0c_94b1_6c0e_5e0b_8a56_7c37_1f6d_02a9);
/// Of every id of a saga's command.
const COMMANDS: Uuid = Uuid::from_u128(0x1c7a_3f52_90e4_5d13_b1f8_4be2_66d0_57ce);

/// What the closures of a definition may build ids from, and what became of earlier steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The saga.
    pub saga: Uuid,
    given_up: Vec<Part>,
}

impl Ids {
    pub(crate) fn of(state: &State) -> Self {
        Self {
            saga: state.saga(),
            given_up: state.given_up().cloned().collect(),
        }
    }

    /// Whether an operator had an item of an earlier step left out and gave it up: it has no
    /// effect, and nobody saw to it elsewhere. The item is empty where the step does not fan out.
    #[must_use]
    pub fn is_given_up(&self, step: &str, item: &str) -> bool {
        let mut given_up = self.given_up.iter();
        given_up.any(|part| &*part.step == step && &*part.item == item)
    }
}

/// A command that an action wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Which of the step's items it is for; empty where the step does not fan out.
    pub item: Arc<str>,
    /// The aggregate's stream.
    pub target: StreamName,
    /// `stock.reserve`.
    pub command_type: String,
    /// Its content.
    pub data: Json,
}

impl Outgoing {
    /// A command of a step that does not fan out.
    ///
    /// # Errors
    /// [`typed::Error::NotTyped`] where the command is not a newtype variant of an enum.
    pub fn new<C: Serialize>(target: StreamName, command: &C) -> Result<Self, typed::Error> {
        let (command_type, data) = typed::encode(command)?;
        Ok(Self {
            item: Arc::from(""),
            target,
            command_type,
            data: serde_json::from_slice(&data).map_err(|_| typed::Error::NotTyped)?,
        })
    }

    /// All that a step sends which does not fan out: one command.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn one<C: Serialize>(target: StreamName, command: &C) -> Commands {
        Ok(vec![Self::new(target, command)?])
    }

    /// The same for one item of a step that fans out.
    #[must_use]
    pub fn item(mut self, key: impl fmt::Display) -> Self {
        self.item = key.to_string().into();
        self
    }
}

/// What an action sends.
pub type Commands = Result<Vec<Outgoing>, typed::Error>;

/// What an event that starts a saga says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// What the saga works on.
    pub input: Json,
    /// The unit of order and ownership, inherited by all that the saga writes.
    pub correlation: Uuid,
}

/// What an event that cancels a saga says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The correlation of the saga that it cancels.
    pub correlation: Uuid,
}

/// The id of the saga that an event starts, by the name of its definition.
#[must_use]
pub fn saga_id(definition: &str, starting_event: Uuid) -> Uuid {
    let mut name = starting_event.as_bytes().to_vec();
    name.extend_from_slice(definition.as_bytes());
    Uuid::new_v5(&SAGAS, &name)
}

/// A saga's input, decoded once for all the commands of one reaction.
pub(crate) type Input = Box<dyn Any + Send + Sync>;
type ErasedAction =
    dyn Fn(&Input, &Ids, &Reason) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync;
type ErasedSettle =
    dyn Fn(&Input, &Ids, &Settlement) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync;
type Cancels = dyn Fn(&RecordedEvent) -> Result<Option<Cancel>, typed::Error> + Send + Sync;
type ErasedStarts = dyn Fn(&RecordedEvent) -> Result<Option<Start>, typed::Error> + Send + Sync;
type Decode = dyn Fn(&Json) -> Result<Input, serde_json::Error> + Send + Sync;

fn typed_input<I: 'static>(input: &Input) -> Result<&I, typed::Error> {
    // Always the type that this definition's own `decode` made.
    input.downcast_ref().ok_or(typed::Error::NotTyped)
}

/// A saga as data. Whoever runs one needs nothing of its types.
pub struct Definition {
    name: &'static str,
    version: u32,
    hash: String,
    deadline: Duration,
    steps: Vec<ErasedStep>,
    decode: Box<Decode>,
    starts: Box<ErasedStarts>,
    cancels: Box<Cancels>,
}

pub(crate) struct ErasedStep {
    pub(crate) plan: PlannedStep,
    action: Box<ErasedAction>,
    compensation: Option<Box<ErasedAction>>,
    settle: Option<Box<ErasedSettle>>,
    settings: Settings,
}

impl Definition {
    /// Begins to write a definition down, over an input `I`.
    #[must_use]
    pub fn builder<I>(name: &'static str, version: u32) -> Builder<I> {
        Builder::new(name, version)
    }

    /// Its name: `fulfilment`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Over names, kinds, order, fan-out and the versions of the steps: a saga that began
    /// under another is not this definition's to drive.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How long a saga may take before it needs attention.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What the event starts, if anything.
    ///
    /// # Errors
    /// Where the event is of the right type and cannot be read.
    pub fn starts(&self, event: &RecordedEvent) -> Result<Option<Start>, typed::Error> {
        (self.starts)(event)
    }

    /// What the event cancels, if anything.
    ///
    /// # Errors
    /// Where the event is of the right type and cannot be read.
    pub fn cancels(&self, event: &RecordedEvent) -> Result<Option<Cancel>, typed::Error> {
        (self.cancels)(event)
    }

    /// The id of the saga that an event starts.
    #[must_use]
    pub fn saga_id(&self, starting_event: Uuid) -> Uuid {
        saga_id(self.name, starting_event)
    }

    /// The stream of a saga.
    #[must_use]
    pub fn stream(saga: Uuid) -> StreamName {
        StreamName::new("saga", saga)
    }

    /// The stream that the pivot's command of a saga goes to: what cancels the saga races with it
    /// there. None before the saga's start.
    ///
    /// # Errors
    /// Where the saga's input is not what the definition works on, or the command cannot be
    /// written.
    pub fn pivot_target(&self, state: &State) -> Result<Option<StreamName>, typed::Error> {
        let (Some(input), Some(pivot)) = (
            state.input(),
            self.steps.iter().find(|step| step.plan.kind == Kind::Pivot),
        ) else {
            return Ok(None);
        };
        let input = self.decode(input).map_err(|_| typed::Error::NotTyped)?;
        let ids = Ids::of(state);
        let outgoing = pivot.outgoing(Direction::Do, &input, &ids, &state.why_back());
        let outgoing = outgoing.transpose()?.unwrap_or_default();
        Ok(outgoing.into_iter().next().map(|command| command.target))
    }

    /// What the act after everything is undone sends, for a saga that is on its way back or is
    /// about to be; nothing where it is done, or has nothing to do.
    ///
    /// # Errors
    /// As [`Self::pivot_target`].
    pub fn closing_act(&self, state: &State) -> Result<Vec<Part>, typed::Error> {
        let closing = self.steps.iter();
        let mut closing = closing.filter(|step| step.plan.kind == Kind::Closing);
        let (Some(input), Some(step)) = (state.input(), closing.next()) else {
            return Ok(Vec::new());
        };
        if state.is_done(&step.plan.name) {
            return Ok(Vec::new());
        }
        let input = self.decode(input).map_err(|_| typed::Error::NotTyped)?;
        let ids = Ids::of(state);
        let outgoing = step.outgoing(Direction::Do, &input, &ids, &state.why_back());
        let part = |outgoing: Outgoing| Part {
            step: Arc::clone(&step.plan.name),
            item: outgoing.item,
        };
        let outgoing = outgoing.transpose()?.unwrap_or_default();
        Ok(outgoing.into_iter().map(part).collect())
    }

    pub(crate) fn plan(&self) -> Vec<PlannedStep> {
        self.steps.iter().map(|step| step.plan.clone()).collect()
    }

    pub(crate) fn steps(&self) -> &[ErasedStep] {
        &self.steps
    }

    pub(crate) fn step(&self, name: &str) -> Option<&ErasedStep> {
        self.steps.iter().find(|step| &*step.plan.name == name)
    }

    pub(crate) fn decode(&self, input: &Json) -> Result<Input, serde_json::Error> {
        (self.decode)(input)
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl ErasedStep {
    /// The commands of the step, one an item; `None` for a way back that it does not have.
    pub(crate) fn outgoing(
        &self,
        direction: Direction,
        input: &Input,
        ids: &Ids,
        reason: &Reason,
    ) -> Option<Result<Vec<Outgoing>, typed::Error>> {
        match direction {
            Direction::Do => Some((self.action)(input, ids, reason)),
            Direction::Undo | Direction::Reverse if direction == self.plan.back() => self
                .compensation
                .as_ref()
                .map(|compensation| compensation(input, ids, reason)),
            Direction::Undo | Direction::Reverse => None,
        }
    }

    /// What tells its target what an operator found out; `None` where nothing does.
    pub(crate) fn settling(
        &self,
        input: &Input,
        ids: &Ids,
        settlement: &Settlement,
    ) -> Option<Result<Vec<Outgoing>, typed::Error>> {
        let settle = self.settle.as_ref()?;
        Some(settle(input, ids, settlement))
    }

    /// Whether so many commands with these items are what the step is declared to send.
    pub(crate) fn is_shape(&self, outgoing: &[Outgoing]) -> bool {
        if self.settings.fans_out {
            let keys: BTreeSet<_> = outgoing.iter().map(|command| &command.item).collect();
            return keys.len() == outgoing.len();
        }
        match outgoing {
            [one] => one.item.is_empty(),
            // The act after everything is undone may have nothing to do.
            [] => self.plan.kind == Kind::Closing,
            _ => false,
        }
    }

    pub(crate) fn max_attempts(&self) -> u32 {
        self.settings.max_attempts
    }

    pub(crate) fn due_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        after(now, self.settings.timeout)
    }

    pub(crate) fn resend_at(
        &self,
        now: DateTime<Utc>,
        attempt: u32,
        command: Uuid,
    ) -> Option<DateTime<Utc>> {
        after(now, self.settings.backoff.after(attempt, command))
    }

    /// Looks grow further apart, as attempts do, from the timeout on.
    pub(crate) fn look_again_at(&self, now: DateTime<Utc>, looks: u32) -> Option<DateTime<Utc>> {
        let doublings = looks.min(16);
        after(now, self.settings.timeout.saturating_mul(1 << doublings))
    }
}

/// `None` past the end of the calendar.
pub(crate) fn after(now: DateTime<Utc>, wait: Duration) -> Option<DateTime<Utc>> {
    now.checked_add_signed(chrono::TimeDelta::from_std(wait).ok()?)
}

/// The id of a saga's command.
pub(crate) fn command_id(
    saga: Uuid,
    step: &str,
    direction: Direction,
    item: &str,
    attempt: u32,
) -> Uuid {
    let direction = match direction {
        Direction::Do => "do",
        Direction::Undo => "undo",
        Direction::Reverse => "reverse",
    };
    // No step's name has a line break; an item's key comes last but for a number.
    let name = format!("{saga}\n{step}\n{direction}\n{attempt}\n{item}");
    Uuid::new_v5(&COMMANDS, name.as_bytes())
}
