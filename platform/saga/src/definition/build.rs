//! Checks what is written down and makes a definition of it.

use std::{collections::BTreeSet, time::Duration};

use recourse_bus::Json;
use recourse_event_store::{RecordedEvent, typed};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    Cancel, Cancels, Definition, Start,
    step::{Settings, Step},
};
use crate::{Kind, WayBack};

/// Of every hash of a definition.
const HASHES: Uuid = Uuid::from_u128(0xd3e6_0b47_2a91_5f70_9c15_e80f_3b44_a6d1);

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
    /// A step from the pivot on says neither what reverses it nor that nothing needs to.
    #[error("the step `{0}` from the pivot on declares no way back")]
    NoWayBack(String),
    /// A step before the pivot, or the closing act, declares a reversal; or the pivot says
    /// that it has no effect; or a later step cannot be reversed though the pivot can.
    #[error("the step `{0}` cannot have the way back that it declares")]
    WayBack(String),
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

impl<I> Builder<I> {
    pub(super) fn new(name: &'static str, version: u32) -> Self {
        Self {
            name,
            version,
            deadline: Duration::from_secs(60),
            stages: Vec::new(),
            closing: None,
            starts: None,
            cancels: None,
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

    /// The events of this type start one, on what is made of them, under their own correlation:
    /// [`Self::starts`] for most sagas.
    #[must_use]
    pub fn starts_on<E: DeserializeOwned + Send + Sync + 'static>(
        self,
        event_type: &'static str,
        input: impl Fn(&E) -> Option<I> + Send + Sync + 'static,
    ) -> Self {
        self.starts(move |event| {
            if &*event.event.event_type != event_type {
                return Ok(None);
            }
            let Some(input) = input(&*event.decode::<E>()?) else {
                return Ok(None);
            };
            Ok(Some((input, event.metadata()?.correlation_id)))
        })
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
            if closing.way_back != Some(WayBack::NoEffect) {
                return Err(BuildError::WayBack(closing.name.to_owned()));
            }
            check_bounds(closing)?;
        }
        let pivot_way_back = all()
            .find(|step| step.kind == Kind::Pivot)
            .and_then(|pivot| pivot.way_back);
        let mut past_pivot = false;
        let mut undoable = BTreeSet::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if stage.is_empty() {
                return Err(BuildError::EmptyStage(index));
            }
            for step in stage {
                check_step(step, stage.len(), past_pivot, &undoable)?;
                check_way_back(step, pivot_way_back)?;
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

fn check_way_back<I>(step: &Step<I>, of_pivot: Option<WayBack>) -> Result<(), BuildError> {
    let name = || step.name.to_owned();
    match (step.kind, step.way_back) {
        (_, None) => Err(BuildError::NoWayBack(name())),
        (Kind::Compensatable, Some(WayBack::NoEffect | WayBack::Impossible))
        | (Kind::Pivot, Some(WayBack::NoEffect)) => Err(BuildError::WayBack(name())),
        (Kind::Retriable, Some(WayBack::Impossible)) if of_pivot != Some(WayBack::Impossible) => {
            Err(BuildError::WayBack(name()))
        }
        _ => Ok(()),
    }
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
            let way_back = step.way_back.unwrap_or_default();
            text.push_str(&format!(
                "{index}\n{}\n{:?}\n{fans_out}\n{version}\n{takes_over}\n{way_back:?}\n",
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
