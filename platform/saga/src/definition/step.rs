//! The steps of a saga as they are written down.

use std::time::Duration;

use recourse_event_store::typed;
use uuid::Uuid;

use super::{ErasedAction, ErasedSettle, ErasedStep, Ids, Outgoing, typed_input};
use crate::{Direction, Kind, PlannedStep, Reason, WayBack};

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

/// What an operator found out about a command that nobody else will answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which way the command works.
    pub direction: Direction,
    /// That it took effect; else that it did not and never will.
    pub took_effect: bool,
    /// The name that whoever did it has for it, where the operator knows it.
    pub reference: Option<String>,
    /// In the operator's words.
    pub reason: String,
}

type Settle<I> =
    dyn Fn(&I, &Ids, &Settlement) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync + 'static;

/// A step as it is written down, over the saga's input `I`.
pub struct Step<I> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    action: Box<Action<I>>,
    compensation: Option<Box<Action<I>>>,
    settle: Option<Box<Settle<I>>>,
    /// None from the pivot on until one is declared.
    pub(super) way_back: Option<WayBack>,
    pub(super) settings: Settings,
}

/// What every step has besides its commands.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) timeout: Duration,
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) fans_out: bool,
    pub(super) version: u32,
    pub(super) takes_over: Option<&'static str>,
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
        settle: None,
        way_back: Some(WayBack::Command),
        settings: Settings::default(),
    }
}

/// The point of no return. Declares its way back: [`Step::reversed_by`] or
/// [`Step::irreversible`].
pub fn pivot<I>(
    name: &'static str,
    action: impl Fn(&I, &Ids) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync + 'static,
) -> Step<I> {
    Step {
        name,
        kind: Kind::Pivot,
        action: Box::new(move |input, ids, _| action(input, ids)),
        compensation: None,
        settle: None,
        way_back: None,
        settings: Settings::default(),
    }
}

/// A step after the pivot: retried until it succeeds. Declares its way back:
/// [`Step::reversed_by`], [`Step::without_effect`] or [`Step::irreversible`].
pub fn retriable<I>(
    name: &'static str,
    action: impl Fn(&I, &Ids) -> Result<Vec<Outgoing>, typed::Error> + Send + Sync + 'static,
) -> Step<I> {
    Step {
        name,
        kind: Kind::Retriable,
        action: Box::new(move |input, ids, _| action(input, ids)),
        compensation: None,
        settle: None,
        way_back: None,
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
        settle: None,
        way_back: Some(WayBack::NoEffect),
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

    /// What takes it back from the pivot on, where an operator wants the saga undone, told the
    /// operator's words.
    #[must_use]
    pub fn reversed_by(
        mut self,
        reversal: impl Fn(&I, &Ids, &Reason) -> Result<Vec<Outgoing>, typed::Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.compensation = Some(Box::new(reversal));
        self.way_back = Some(WayBack::Command);
        self
    }

    /// What tells its target what an operator found out about a command that is not answered: where
    /// an outcome can stay unknown for ever. The target decides whether that counts.
    #[must_use]
    pub fn settled_by(
        mut self,
        settle: impl Fn(&I, &Ids, &Settlement) -> Result<Vec<Outgoing>, typed::Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.settle = Some(Box::new(settle));
        self
    }

    /// It has no effect that is not taken back with the pivot: nothing reverses it.
    #[must_use]
    pub fn without_effect(mut self) -> Self {
        self.way_back = Some(WayBack::NoEffect);
        self
    }

    /// Nothing takes it back. On the pivot: an operator cannot undo the saga from there on.
    /// On a later step only where the pivot says so too.
    #[must_use]
    pub fn irreversible(mut self) -> Self {
        self.way_back = Some(WayBack::Impossible);
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

impl<I: 'static> Step<I> {
    pub(super) fn erase(self, stage: u32) -> ErasedStep {
        let erase = |action: Box<Action<I>>| -> Box<ErasedAction> {
            Box::new(move |input, ids, reason| action(typed_input(input)?, ids, reason))
        };
        ErasedStep {
            plan: PlannedStep {
                name: self.name.into(),
                kind: self.kind,
                stage,
                takes_over: self.settings.takes_over.map(Into::into),
                way_back: self.way_back.unwrap_or_default(),
            },
            action: erase(self.action),
            compensation: self.compensation.map(erase),
            settle: self.settle.map(|settle| -> Box<ErasedSettle> {
                Box::new(move |input, ids, said| settle(typed_input(input)?, ids, said))
            }),
            settings: self.settings,
        }
    }
}
