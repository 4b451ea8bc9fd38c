//! A saga as data: named steps of typed kinds, in an order that the builder checks.

use std::{any::Any, collections::BTreeSet, fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use recourse_bus::Json;
use recourse_event_store::{RecordedEvent, StreamName, typed};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{Direction, Kind, PlannedStep, Reason};

/// Of every id of a saga.
const SAGAS: Uuid = Uuid::from_u128(0x5b0c_94b1_6c0e_5e0b_8a56_7c37_1f6d_02a9);
/// Of every id of a saga's command.
const COMMANDS: Uuid = Uuid::from_u128(0x1c7a_3f52_90e4_5d13_b1f8_4be2_66d0_57ce);
/// Of every hash of a definition.
const HASHES: Uuid = Uuid::from_u128(0xd3e6_0b47_2a91_5f70_9c15_e80f_3b44_a6d1);

/// What the closures of a definition may build ids from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The saga.
    pub saga: Uuid,
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

    /// The same for one item of a step that fans out.
    #[must_use]
    pub fn item(mut self, key: impl fmt::Display) -> Self {
        self.item = key.to_string().into();
        self
    }
}

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

/// How long to wait before a command that was refused for now is sent again: twice as long
/// each time, between half and all of it, the share fixed by the command's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// Before any.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            max: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// How long to wait after `attempt` (from 1), which had the id `command`.
    #[must_use]
    pub fn after(&self, attempt: u32, command: Uuid) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1_u32 << doublings).min(self.max);
        let share = u32::try_from(command.as_u128() & 0xffff).unwrap_or(0);
        let half = whole / 2;
        half.saturating_add(half.saturating_mul(share) / 0xffff)
    }
}

type Action<I> =
    dyn Fn(&I, &Ids, &Reason) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync + 'static;

/// A step as it is written down, over the saga's input `I`.
pub struct Step<I> {
    name: &'static str,
    kind: Kind,
    action: Box<Action<I>>,
    compensation: Option<Box<Action<I>>>,
    settings: Settings,
}

/// What every step has besides its commands.
#[derive(Clone, Debug)]
struct Settings {
    timeout: Duration,
    max_attempts: u32,
    backoff: Backoff,
    fans_out: bool,
    version: u32,
    takes_over: Option<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_attempts: 8,
            backoff: Backoff::default(),
            fans_out: false,
            version: 1,
            takes_over: None,
        }
    }
}

/// A step before the pivot: what it does, and what undoes it.
pub fn compensatable<I>(
    name: &'static str,
    action: impl Fn(&I, &Ids) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync + 'static,
    compensation: impl Fn(&I, &Ids) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync + 'static,
) -> Step<I> {
    Step {
        name,
        kind: Kind::Compensatable,
        action: Box::new(move |input, ids, _| action(input, ids)),
        compensation: Some(Box::new(move |input, ids, _| compensation(input, ids))),
        settings: Settings::default(),
    }
}

/// The point of no return.
pub fn pivot<I>(
    name: &'static str,
    action: impl Fn(&I, &Ids) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync + 'static,
) -> Step<I> {
    Step {
        name,
        kind: Kind::Pivot,
        action: Box::new(move |input, ids, _| action(input, ids)),
        compensation: None,
        settings: Settings::default(),
    }
}

/// A step after the pivot: retried until it succeeds.
pub fn retriable<I>(
    name: &'static str,
    action: impl Fn(&I, &Ids) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync + 'static,
) -> Step<I> {
    Step {
        name,
        kind: Kind::Retriable,
        action: Box::new(move |input, ids, _| action(input, ids)),
        compensation: None,
        settings: Settings::default(),
    }
}

/// The act after everything is undone, told why. A refusal that there is nothing to undo counts
/// as done; what was refused for now is tried again, as a compensation is.
pub fn closing<I>(
    name: &'static str,
    action: impl Fn(&I, &Ids, &Reason) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync + 'static,
) -> Step<I> {
    Step {
        name,
        kind: Kind::Closing,
        action: Box::new(action),
        compensation: None,
        settings: Settings::default(),
    }
}

impl<I> Step<I> {
    /// How long an answer may take before it is overdue.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How many attempts at most, of the action and of the compensation each.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.settings.max_attempts = max_attempts;
        self
    }

    /// How long between attempts that were refused for now.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// It sends one command an item, in parallel; else it sends exactly one.
    #[must_use]
    pub fn fans_out(mut self) -> Self {
        self.settings.fans_out = true;
        self
    }

    /// Another version of what the step does: a saga that began with one goes on with it only.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.settings.version = version;
        self
    }

    /// Once an item of this step is done, the same item of that earlier one has nothing left
    /// to undo: the goods of a hold that is committed are out.
    #[must_use]
    pub fn takes_over(mut self, earlier: &'static str) -> Self {
        self.settings.takes_over = Some(earlier);
        self
    }
}

/// Why a definition is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// There is no point of no return, or more than one.
    #[error("a definition has exactly one pivot, this one has {0}")]
    Pivots(usize),
    /// The pivot shares its stage.
    #[error("the pivot `{0}` runs beside another step")]
    PivotNotAlone(String),
    /// A step that can be undone only before the pivot comes after it.
    #[error("the compensatable step `{0}` comes after the pivot")]
    CompensatableAfterPivot(String),
    /// A step that cannot be undone comes before the pivot.
    #[error("the retriable step `{0}` comes before the pivot")]
    RetriableBeforePivot(String),
    /// Two steps have one name.
    #[error("two steps are named `{0}`")]
    Name(String),
    /// A stage without a step.
    #[error("stage {0} has no step")]
    EmptyStage(usize),
    /// A step that could never be answered in time or never be sent.
    #[error("the step `{0}` needs a timeout and at least one attempt")]
    Bounds(String),
    /// A step takes over what no compensatable step before it did.
    #[error("the step `{step}` takes over `{earlier}`, which is no compensatable step before it")]
    TakesOver {
        /// The step.
        step: String,
        /// What it names.
        earlier: String,
    },
    /// A closing act stands among the steps.
    #[error("`{0}` is the act after everything is undone, and stands among the steps")]
    ClosingAsStep(String),
    /// Another step stands where the closing act does.
    #[error("`{0}` is not an act for after everything is undone")]
    NotClosing(String),
    /// Nothing starts it.
    #[error("nothing starts it")]
    NoStart,
}

type Starts<I> =
    dyn Fn(&RecordedEvent) -> Result<Option<(I, Uuid)>, typed::Error> + Send + Sync + 'static;
type Cancels = dyn Fn(&RecordedEvent) -> Result<Option<Cancel>, typed::Error> + Send + Sync;

/// Writes a definition down; see [`Definition::builder`].
pub struct Builder<I> {
    name: &'static str,
    version: u32,
    deadline: Duration,
    stages: Vec<Vec<Step<I>>>,
    closing: Option<Step<I>>,
    starts: Option<Box<Starts<I>>>,
    cancels: Option<Box<Cancels>>,
}

impl<I: 'static> Step<I> {
    fn erase(self, stage: u32) -> ErasedStep {
        let erase = |action: Box<Action<I>>| -> Box<ErasedAction> {
            Box::new(move |input, ids, reason| action(typed_input(input)?, ids, reason))
        };
        ErasedStep {
            plan: PlannedStep {
                name: self.name.into(),
                kind: self.kind,
                stage,
                takes_over: self.settings.takes_over.map(Into::into),
            },
            action: erase(self.action),
            compensation: self.compensation.map(erase),
            settings: self.settings,
        }
    }
}

impl<I: Serialize + DeserializeOwned + Send + Sync + 'static> Builder<I> {
    /// How long a saga may take before it needs attention.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Which events start one, on what, and under which correlation.
    #[must_use]
    pub fn starts(
        mut self,
        starts: impl Fn(&RecordedEvent) -> Result<Option<(I, Uuid)>, typed::Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.starts = Some(Box::new(starts));
        self
    }

    /// Which events cancel one that has not sent its pivot.
    #[must_use]
    pub fn cancels(
        mut self,
        cancels: impl Fn(&RecordedEvent) -> Result<Option<Cancel>, typed::Error> + Send + Sync + 'static,
    ) -> Self {
        self.cancels = Some(Box::new(cancels));
        self
    }

    /// The next step.
    #[must_use]
    pub fn step(self, step: Step<I>) -> Self {
        self.stage(vec![step])
    }

    /// The next steps, in parallel.
    #[must_use]
    pub fn stage(mut self, steps: Vec<Step<I>>) -> Self {
        self.stages.push(steps);
        self
    }

    /// The act after everything is undone.
    #[must_use]
    pub fn when_undone(mut self, closing: Step<I>) -> Self {
        self.closing = Some(closing);
        self
    }

    /// Checks the order.
    ///
    /// # Errors
    /// [`BuildError`] where it breaks a rule.
    pub fn build(self) -> Result<Definition, BuildError> {
        self.check()?;
        let starts = self.starts.ok_or(BuildError::NoStart)?;
        let hash = hash(self.name, self.version, &self.stages, self.closing.as_ref());
        let stages = self
            .stages
            .into_iter()
            .chain(self.closing.map(|step| vec![step]));
        let mut steps = Vec::new();
        for (stage, members) in (0_u32..).zip(stages) {
            steps.extend(members.into_iter().map(|step| step.erase(stage)));
        }
        Ok(Definition {
            name: self.name,
            version: self.version,
            hash,
            deadline: self.deadline,
            steps,
            decode: Box::new(|json| Ok(Box::new(json.read::<I>()?))),
            starts: Box::new(move |event| {
                let Some((input, correlation)) = starts(event)? else {
                    return Ok(None);
                };
                let input = Json::write(&input).map_err(|_| typed::Error::NotTyped)?;
                Ok(Some(Start { input, correlation }))
            }),
            cancels: self.cancels.unwrap_or_else(|| Box::new(|_| Ok(None))),
        })
    }

    fn check(&self) -> Result<(), BuildError> {
        let all = || self.stages.iter().flatten();
        let pivots = all().filter(|step| step.kind == Kind::Pivot).count();
        if pivots != 1 {
            return Err(BuildError::Pivots(pivots));
        }
        let mut names = BTreeSet::new();
        let closing = self.closing.as_ref().map(|closing| closing.name);
        for name in all().map(|step| step.name).chain(closing) {
            if !names.insert(name) {
                return Err(BuildError::Name(name.to_owned()));
            }
        }
        if let Some(closing) = &self.closing {
            if closing.kind != Kind::Closing {
                return Err(BuildError::NotClosing(closing.name.to_owned()));
            }
            check_bounds(closing)?;
        }
        let mut past_pivot = false;
        let mut undoable = BTreeSet::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if stage.is_empty() {
                return Err(BuildError::EmptyStage(index));
            }
            for step in stage {
                check_step(step, stage.len(), past_pivot, &undoable)?;
            }
            past_pivot |= stage.iter().any(|step| step.kind == Kind::Pivot);
            undoable.extend(
                stage
                    .iter()
                    .filter(|step| step.kind == Kind::Compensatable)
                    .map(|step| step.name),
            );
        }
        Ok(())
    }
}

fn check_step<I>(
    step: &Step<I>,
    stage_len: usize,
    past_pivot: bool,
    undoable: &BTreeSet<&str>,
) -> Result<(), BuildError> {
    let name = step.name.to_owned();
    match step.kind {
        Kind::Compensatable if past_pivot => return Err(BuildError::CompensatableAfterPivot(name)),
        Kind::Retriable if !past_pivot => return Err(BuildError::RetriableBeforePivot(name)),
        Kind::Closing => return Err(BuildError::ClosingAsStep(name)),
        Kind::Pivot if stage_len != 1 => return Err(BuildError::PivotNotAlone(name)),
        _ => {}
    }
    check_bounds(step)?;
    if let Some(earlier) = step.settings.takes_over
        && (!past_pivot || !undoable.contains(earlier))
    {
        return Err(BuildError::TakesOver {
            step: name,
            earlier: earlier.to_owned(),
        });
    }
    Ok(())
}

fn check_bounds<I>(step: &Step<I>) -> Result<(), BuildError> {
    if step.settings.timeout.is_zero() || step.settings.max_attempts == 0 {
        return Err(BuildError::Bounds(step.name.to_owned()));
    }
    Ok(())
}

fn hash<I>(name: &str, version: u32, stages: &[Vec<Step<I>>], closing: Option<&Step<I>>) -> String {
    // Names are written in Rust; none has a line break, which keeps the text unambiguous.
    let mut text = format!("{name}\n{version}\n");
    for (index, stage) in stages.iter().enumerate() {
        for step in stage {
            let Settings {
                fans_out,
                version,
                takes_over,
                ..
            } = &step.settings;
            let takes_over = takes_over.unwrap_or_default();
            text.push_str(&format!(
                "{index}\n{}\n{:?}\n{fans_out}\n{version}\n{takes_over}\n",
                step.name, step.kind
            ));
        }
    }
    if let Some(closing) = closing {
        let Settings {
            fans_out, version, ..
        } = &closing.settings;
        text.push_str(&format!("{}\n{fans_out}\n{version}\n", closing.name));
    }
    Uuid::new_v5(&HASHES, text.as_bytes()).simple().to_string()
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
    settings: Settings,
}

impl Definition {
    /// Begins to write a definition down, over an input `I`.
    #[must_use]
    pub fn builder<I>(name: &'static str, version: u32) -> Builder<I> {
        Builder {
            name,
            version,
            deadline: Duration::from_secs(60),
            stages: Vec::new(),
            closing: None,
            starts: None,
            cancels: None,
        }
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
    /// The commands of the step, one an item; `None` for a compensation that it does not have.
    pub(crate) fn outgoing(
        &self,
        direction: Direction,
        input: &Input,
        ids: &Ids,
        reason: &Reason,
    ) -> Option<Result<Vec<Outgoing>, typed::Error>> {
        match direction {
            Direction::Do => Some((self.action)(input, ids, reason)),
            Direction::Undo => self
                .compensation
                .as_ref()
                .map(|compensation| compensation(input, ids, reason)),
            Direction::Reverse => None,
        }
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
