//! What operators did to a saga: each with who and why.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use recourse_event_store::StreamName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Direction, SentCommand, is_empty};

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde asks for"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Who acted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct By {
    /// Who; `anonymous` until there is identity.
    pub actor: String,
    /// Why, in the operator's words.
    pub reason: String,
}

/// Content of `saga.paused.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// Who, and why.
    #[serde(flatten)]
    pub by: By,
}

/// Content of `saga.resumed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Resumed {
    /// Who, and why.
    #[serde(flatten)]
    pub by: By,
    /// How long it stood still: every deadline moves by as much.
    pub stood_still_ms: u64,
    /// That it was paused besides being parked, and is so still: it hears what it has missed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays_paused: bool,
    /// When it needs attention now if it has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<DateTime<Utc>>,
    /// The commands that were due meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<SentCommand>,
}

/// Content of `saga.retried.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// Who, and why.
    #[serde(flatten)]
    pub by: By,
    /// That the saga needs no attention any more, and has until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<DateTime<Utc>>,
    /// What is not answered: it is looked up at once, and sent again only where it can never
    /// take effect any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks_up: Vec<Uuid>,
    /// What the operator says became of what is not answered, where that is what is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<SkipResult>,
    /// The next attempts at what was refused; or what the operator says, which settles what is not
    /// answered.
    pub commands: Vec<SentCommand>,
}

/// What an operator says of a step that is left out, or of a command that nobody answers.
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
pub enum SkipResult {
    /// It was seen to elsewhere; the command took effect.
    Done,
    /// It is given up; the command did not take effect and never will.
    #[default]
    Left,
}

/// Content of `saga.skip-requested.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SkipRequested {
    /// Who, and why.
    #[serde(flatten)]
    pub by: By,
    /// The step.
    pub step: Arc<str>,
    /// Which of its items: those that are not settled.
    pub items: Vec<Arc<str>>,
    /// What is left out: the step, or its way back.
    pub direction: Direction,
    /// What the operator says of it.
    pub result: SkipResult,
    /// That the saga needs no attention any more, and has until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<DateTime<Utc>>,
    /// What undoes what the step may have done, and what it was to take over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<SentCommand>,
}

/// Content of `saga.step-skipped.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct StepSkipped {
    /// Who, and why.
    #[serde(flatten)]
    pub by: By,
    /// The step.
    pub step: Arc<str>,
    /// Its item.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub item: Arc<str>,
    /// What is left out: the step, or its way back.
    pub direction: Direction,
    /// What the operator says of it.
    pub result: SkipResult,
    /// That an effect stays which nothing here takes back: the operator's exception.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remains: bool,
    /// The stream of the aggregate whose command is left out.
    pub target: StreamName,
    /// The type of that command: `payment.capture`.
    pub command_type: String,
    /// The commands that follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<SentCommand>,
}

/// Content of `saga.compensation-requested.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CompensationRequested {
    /// Who, and why.
    #[serde(flatten)]
    pub by: By,
    /// That the saga begins with the reversal of its pivot, and goes back only once that is
    /// done; else it turns back now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub past_pivot: bool,
    /// How long it stood still, where it was paused: what it waits for gets as much more time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stood_still_ms: u64,
    /// When it needs attention now if it has not ended.
    pub deadline_at: DateTime<Utc>,
    /// The commands that follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<SentCommand>,
}
