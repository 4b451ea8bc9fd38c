//! What can have happened to a saga.

mod operator;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use recourse_bus::{Command, Json};
use recourse_event_store::{Position, RecordedEvent, Refused, typed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use operator::{
    By, CompensationRequested, Paused, Resumed, Retried, SkipRequested, SkipResult, StepSkipped,
};

/// What can have happened to a saga.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    /// It has begun, and its first step is sent.
    #[serde(rename = "saga.started.v1")]
    Started(Started),
    /// A command was answered.
    #[serde(rename = "saga.answered.v1")]
    Answered(Answered),
    /// A command before the pivot was not answered in time: the saga turns back.
    #[serde(rename = "saga.timed-out.v1")]
    TimedOut(TimedOut),
    /// A command that cannot be given up was not answered in time: it stays open.
    #[serde(rename = "saga.overdue.v1")]
    Overdue(Overdue),
    /// A command can never take effect, or was refused for now: the next attempt is sent.
    #[serde(rename = "saga.resent.v1")]
    Resent(Resent),
    /// What the saga is for was cancelled before the pivot: it turns back.
    #[serde(rename = "saga.cancellation-noted.v1")]
    CancellationNoted(CancellationNoted),
    /// Every step is done and every command answered.
    #[serde(rename = "saga.completed.v1")]
    Completed(Completed),
    /// Every step is undone and every command answered.
    #[serde(rename = "saga.compensated.v1")]
    Compensated(Compensated),
    /// It cannot go on by itself; an answer that comes after all clears this.
    #[serde(rename = "saga.attention-needed.v1")]
    AttentionNeeded(AttentionNeeded),
    /// Its orchestrator could not handle an input: it stands still until an operator acts.
    #[serde(rename = "saga.parked.v1")]
    Parked(Parked),
    /// An operator let it stand still: it records answers and sends nothing.
    #[serde(rename = "saga.paused.v1")]
    Paused(Paused),
    /// An operator let it go on, from a pause or from being parked.
    #[serde(rename = "saga.resumed.v1")]
    Resumed(Resumed),
    /// An operator had what was refused sent again, and what is not answered looked up.
    #[serde(rename = "saga.retried.v1")]
    Retried(Retried),
    /// An operator wants a step, or its way back, left out: what the step may have done is
    /// undone first.
    #[serde(rename = "saga.skip-requested.v1")]
    SkipRequested(SkipRequested),
    /// An item of a step, or its way back, is left out.
    #[serde(rename = "saga.step-skipped.v1")]
    StepSkipped(StepSkipped),
    /// An operator wants the saga undone.
    #[serde(rename = "saga.compensation-requested.v1")]
    CompensationRequested(CompensationRequested),
}

/// Which way a command works.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "CommandDirection")]
pub enum Direction {
    /// Forward.
    Do,
    /// Back, before the pivot.
    Undo,
    /// Back, from the pivot on, at an operator's wish.
    Reverse,
}

impl Direction {
    pub(crate) fn is_forward(&self) -> bool {
        *self == Self::Do
    }
}

/// What takes a step's effect back.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum WayBack {
    /// A command: the compensation before the pivot, the reversal from there on.
    #[default]
    Command,
    /// There is nothing to take back.
    NoEffect,
    /// Nothing does.
    Impossible,
}

impl WayBack {
    fn is_command(&self) -> bool {
        *self == Self::Command
    }
}

/// What a step is to the point of no return.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "StepKind")]
pub enum Kind {
    /// Has a compensation and runs before the pivot.
    Compensatable,
    /// The point of no return.
    Pivot,
    /// Runs after the pivot and is retried until it succeeds.
    Retriable,
    /// The act after everything is undone.
    Closing,
}

/// A step as its saga was started with it: so that a saga can be read without its definition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStep {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// Its place in the order, from 0; steps of one stage run in parallel.
    pub stage: u32,
    /// The earlier step whose effect this one turns into its own: once an item of this is
    /// done, that item of the earlier one has nothing left to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_over: Option<Arc<str>>,
    /// What takes its effect back.
    #[serde(default, skip_serializing_if = "WayBack::is_command")]
    pub way_back: WayBack,
}

impl PlannedStep {
    /// The direction of the command that takes it back, where there is one.
    pub(crate) fn back(&self) -> Direction {
        if self.kind == Kind::Compensatable {
            Direction::Undo
        } else {
            Direction::Reverse
        }
    }
}

/// A command that a saga has sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SentCommand {
    /// The step's name.
    pub step: Arc<str>,
    /// Which of the step's items, where it fans out; empty where it does not.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub item: Arc<str>,
    /// Which way.
    pub direction: Direction,
    /// From 1.
    pub attempt: u32,
    /// When an answer is overdue.
    pub due_at: DateTime<Utc>,
    /// The command.
    pub command: Command,
}

/// What a participant answered.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done,
    /// It is not, and will not be.
    Refused {
        /// Stable, kebab-case.
        code: String,
        /// For a person.
        detail: String,
        /// That asking again cannot help.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_final: bool,
    },
}

impl From<Option<&Refused>> for Answer {
    fn from(refused: Option<&Refused>) -> Self {
        refused.map_or(Self::Done, |refused| Self::Refused {
            code: refused.code.clone(),
            detail: refused.detail.clone(),
            is_final: refused.is_final,
        })
    }
}

/// Content of `saga.started.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    /// The definition's name.
    pub definition: String,
    /// The hash of its names, kinds, order, fan-out and versions.
    pub definition_hash: String,
    /// What it works on, derived from the event that starts it.
    #[schemars(extend("x-data-of" = "definition"))]
    pub input: Json,
    /// When it needs attention if it has not ended.
    pub deadline_at: DateTime<Utc>,
    /// Its steps, in order.
    pub steps: Vec<PlannedStep>,
    /// The commands of the first step.
    pub commands: Vec<SentCommand>,
}

/// Content of `saga.answered.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// Which command.
    pub command: Uuid,
    /// Of which step.
    pub step: Arc<str>,
    /// Of which item.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub item: Arc<str>,
    /// Which way it worked.
    pub direction: Direction,
    /// What the answer is.
    pub answer: Answer,
    /// Where the answer stands in the log.
    pub position: Position,
    /// That a refusal says no more than that there was nothing left to do: it counts as done,
    /// and the commands that this one undoes never took effect and never will.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counts_as_done: bool,
    /// That it decides nothing: a later attempt does, or an operator who has it left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_moot: bool,
    /// Earlier attempts at the same that are open: their target has passed them, so they never
    /// take effect any more. Written once, and read still: no two attempts are open together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closes: Vec<Uuid>,
    /// When the next attempt is sent, where it was refused for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resend_at: Option<DateTime<Utc>>,
    /// That the saga needs no attention any more, and has until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<DateTime<Utc>>,
    /// The commands that follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<SentCommand>,
}

/// Content of `saga.timed-out.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TimedOut {
    /// Which command.
    pub command: Uuid,
    /// Of which step.
    pub step: Arc<str>,
    /// Of which item.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub item: Arc<str>,
    /// The commands that follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<SentCommand>,
}

/// Content of `saga.overdue.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Overdue {
    /// Which command.
    pub command: Uuid,
    /// Of which step.
    pub step: Arc<str>,
    /// Of which item.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub item: Arc<str>,
    /// When the target's stream is looked at again; absent after the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_again_at: Option<DateTime<Utc>>,
}

/// Content of `saga.resent.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Resent {
    /// The command that will not take effect.
    pub command: Uuid,
    /// The next attempt; none where the saga is on its way back and does not want it any more.
    /// Then what follows from that.
    pub commands: Vec<SentCommand>,
}

/// Content of `saga.cancellation-noted.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CancellationNoted {
    /// Where the cancellation stands in the log.
    pub position: Position,
    /// The commands that follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<SentCommand>,
}

/// Content of `saga.completed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Completed {}

/// Content of `saga.compensated.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Compensated {}

/// Content of `saga.attention-needed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AttentionNeeded {
    /// Why, for a person.
    pub why: String,
}

/// Content of `saga.parked.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Parked {
    /// The input that could not be handled.
    pub position: Position,
    /// What went wrong.
    pub error: String,
}

fn is_empty(item: &Arc<str>) -> bool {
    item.is_empty()
}

impl Event {
    /// Whether events of this type are what an operator did: nothing else in the log leads to them.
    #[must_use]
    pub fn is_of_operator(event_type: &str) -> bool {
        matches!(
            event_type,
            "saga.paused.v1"
                | "saga.resumed.v1"
                | "saga.retried.v1"
                | "saga.skip-requested.v1"
                | "saga.compensation-requested.v1"
        )
    }

    /// The commands that it carries.
    #[must_use]
    pub fn commands(&self) -> &[SentCommand] {
        match self {
            Self::Started(event) => &event.commands,
            Self::Answered(event) => &event.commands,
            Self::TimedOut(event) => &event.commands,
            Self::Resent(event) => &event.commands,
            Self::CancellationNoted(event) => &event.commands,
            Self::Resumed(event) => &event.commands,
            Self::Retried(event) => &event.commands,
            Self::SkipRequested(event) => &event.commands,
            Self::StepSkipped(event) => &event.commands,
            Self::CompensationRequested(event) => &event.commands,
            Self::Overdue(_)
            | Self::Completed(_)
            | Self::Compensated(_)
            | Self::AttentionNeeded(_)
            | Self::Parked(_)
            | Self::Paused(_) => &[],
        }
    }

    /// Where its commands go; none for an event that carries none.
    pub(crate) fn commands_mut(&mut self) -> Option<&mut Vec<SentCommand>> {
        match self {
            Self::Started(event) => Some(&mut event.commands),
            Self::Answered(event) => Some(&mut event.commands),
            Self::TimedOut(event) => Some(&mut event.commands),
            Self::Resent(event) => Some(&mut event.commands),
            Self::CancellationNoted(event) => Some(&mut event.commands),
            Self::Resumed(event) => Some(&mut event.commands),
            Self::Retried(event) => Some(&mut event.commands),
            Self::SkipRequested(event) => Some(&mut event.commands),
            Self::StepSkipped(event) => Some(&mut event.commands),
            Self::CompensationRequested(event) => Some(&mut event.commands),
            Self::Overdue(_)
            | Self::Completed(_)
            | Self::Compensated(_)
            | Self::AttentionNeeded(_)
            | Self::Parked(_)
            | Self::Paused(_) => None,
        }
    }

    /// Who acted, where this is an operator's doing.
    #[must_use]
    pub fn by(&self) -> Option<&By> {
        match self {
            Self::Paused(event) => Some(&event.by),
            Self::Resumed(event) => Some(&event.by),
            Self::Retried(event) => Some(&event.by),
            Self::SkipRequested(event) => Some(&event.by),
            Self::CompensationRequested(event) => Some(&event.by),
            Self::StepSkipped(event) => Some(&event.by),
            _ => None,
        }
    }
}

/// The commands that an event of a saga's stream carries, in order: what the bus delivers.
///
/// # Errors
/// Where the event is not one of a saga.
pub fn commands_of(event: &RecordedEvent) -> Result<Vec<Command>, typed::Error> {
    let event = event.decode::<Event>()?;
    Ok(event
        .commands()
        .iter()
        .map(|sent| sent.command.clone())
        .collect())
}

#[cfg(test)]
mod tests {
    use recourse_event_store::StreamName;

    use super::*;

    #[test]
    fn an_event_reads_back_with_the_commands_it_carries() {
        let command = Command {
            id: Uuid::nil(),
            target: StreamName::new("stock", "tea-1"),
            command_type: "stock.reserve".into(),
            data: Json::write(&serde_json::json!({"quantity": 2})).unwrap(),
            undoes: vec![],
        };
        let event = Event::Answered(Answered {
            command: Uuid::nil(),
            step: "reserve-stock".into(),
            item: "0".into(),
            direction: Direction::Do,
            answer: Answer::Refused {
                code: "out-of-stock".into(),
                detail: "none left".into(),
                is_final: false,
            },
            position: Position::dense(7),
            counts_as_done: false,
            is_moot: false,
            closes: vec![],
            resend_at: None,
            deadline_at: None,
            commands: vec![SentCommand {
                step: "reserve-stock".into(),
                item: "0".into(),
                direction: Direction::Undo,
                attempt: 1,
                due_at: DateTime::UNIX_EPOCH,
                command,
            }],
        });
        let (event_type, data) = typed::encode(&event).unwrap();
        assert_eq!(event_type, "saga.answered.v1");
        assert_eq!(typed::decode::<Event>(&event_type, &data).unwrap(), event);
    }
}
