//! Rebuilding a view while it is asked: the rules. Pure, as those of every aggregate.
//!
//! ```text
//!            start              level: compared            promote
//! live: 0 ────────▶ live: 0, 1 filling ─────▶ live: 0, 1 ready ─────▶ live: 1, 0 still fed
//!                       │                         │                     │        ▲
//!                       └────── drop ─────────────┘             roll back        promote
//!                                 ▼                                     ▼        │
//!                              live: 0                          live: 0, 1 still fed
//! ```
//!
//! A view has *generations*: collections (or books) of the same version beside each other. One is
//! live, which is to say asked; at most one more is kept and fed. **Which is live follows from the
//! stream `projection-<name>` and from nothing else.** A generation that is dropped is never fed
//! again, and no number is used twice.
//!
//! Each version of the program's projection has its generations by itself: a program that knows
//! another version begins with its own first one, and one that is put back finds its own again.

mod rules;
#[cfg(test)]
mod tests;

use recourse_cqrs::{Aggregate, Refused};
use recourse_event_store::{Position, StreamName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use rules::{Rebuild, Stage, State};

/// How many of the rows that differ are named in the log.
pub const MAX_NAMED_DIFFERENCES: usize = 20;

/// The generations of a view: `projection-<name>`.
#[derive(Debug)]
pub struct Generations;

impl Generations {
    /// The stream of a view.
    #[must_use]
    pub fn stream(view: &str) -> StreamName {
        StreamName::new(Self::CATEGORY, view)
    }
}

impl Aggregate for Generations {
    const CATEGORY: &'static str = "projection";
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
        rules::decide(state, command)
    }

    fn evolve(state: State, event: &Event) -> State {
        rules::evolve(state, event)
    }

    fn refused(refusal: &Refusal) -> Refused {
        Refused {
            code: refusal.code().to_owned(),
            detail: refusal.to_string(),
            is_final: !matches!(refusal, Refusal::NotReady(_)),
        }
    }
}

/// Who had something done, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProjectionActionBy")]
pub struct By {
    /// Who.
    pub actor: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What can be asked of the generations of a view.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Fill another one beside the live one. What was still kept beside it is dropped.
    #[serde(rename = "projection.rebuild")]
    Rebuild {
        /// What the rebuild is to be called.
        rebuild_id: Uuid,
        /// The version of the projection that fills it.
        version: u32,
        /// On whose behalf.
        by: By,
    },
    /// Keep what came of comparing both.
    #[serde(rename = "projection.record-comparison")]
    RecordComparison(Compared),
    /// Let the new one be live.
    #[serde(rename = "projection.promote")]
    Promote(Switch),
    /// Let the one before be live again.
    #[serde(rename = "projection.roll-back")]
    RollBack(Switch),
    /// Drop the one that is not live.
    #[serde(rename = "projection.drop")]
    Drop {
        /// Of which rebuild, of whichever version.
        rebuild_id: Uuid,
        /// On whose behalf.
        by: By,
    },
}

/// That the other generation of a rebuild is to be live.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Switch {
    /// Of which rebuild.
    pub rebuild_id: Uuid,
    /// The version of the projection that is running.
    pub version: u32,
    /// How far both are; none where that is not known, as the process that is asked feeds either of
    /// them not yet, or has not heard of the rebuild.
    pub level: Option<Level>,
    /// On whose behalf.
    pub by: By,
}

/// How far the two generations of a rebuild have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Level {
    /// The generation that is to be live, as it was when `target` was read.
    pub generation: u32,
    /// How far the one that is to be live has come.
    pub target: Position,
    /// How far the one that is live had come when this was asked for.
    pub live: Position,
}

/// What can have happened to the generations of a view.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProjectionEvent")]
pub enum Event {
    /// Another generation is filled from the first event on.
    #[serde(rename = "projection.rebuild-started.v1")]
    RebuildStarted(RebuildStarted),
    /// It has come as far as the live one, and was compared with it.
    #[serde(rename = "projection.rebuild-compared.v1")]
    RebuildCompared(Compared),
    /// It is the live one. The one before is kept and fed until it is dropped.
    #[serde(rename = "projection.promoted.v1")]
    Promoted(Switched),
    /// The one before is the live one again. The new one is kept and fed until it is dropped.
    #[serde(rename = "projection.rolled-back.v1")]
    RolledBack(Switched),
    /// The one that is not live is not fed any more, and its rows are removed.
    #[serde(rename = "projection.generation-dropped.v1")]
    GenerationDropped(GenerationDropped),
}

/// Another generation is filled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RebuildStarted {
    /// The rebuild.
    pub rebuild_id: Uuid,
    /// The version of the projection that fills it.
    pub version: u32,
    /// The new generation.
    pub generation: u32,
    /// The generation that is live.
    pub replaces: u32,
    /// On whose behalf.
    pub by: By,
}

/// What came of comparing the two generations of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProjectionCompared")]
pub struct Compared {
    /// The rebuild.
    pub rebuild_id: Uuid,
    /// Up to where both were compared.
    pub position: Position,
    /// How many rows are the same in both.
    pub equal_rows: u64,
    /// How many are not.
    pub different_rows: u64,
    /// The first of those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// Why the live generation cannot be read, where it cannot: then none of its rows is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// A row of the live generation that is not what the new one has.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(rename = "ProjectionDifference")]
pub struct Difference {
    /// Which row.
    pub id: String,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How a row of the live generation differs from the new one's.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(rename = "ProjectionDifferenceKind")]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The live one does not have it.
    Missing,
    /// Only the live one has it.
    Surplus,
    /// Both have it, and not the same.
    Changed,
}

/// Another generation is live.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProjectionSwitched")]
pub struct Switched {
    /// The rebuild.
    pub rebuild_id: Uuid,
    /// The version of the projection.
    pub version: u32,
    /// The generation that is live from here on.
    pub generation: u32,
    /// The one that was.
    pub replaced: u32,
    /// How far the one that is live had come.
    pub position: Position,
    /// On whose behalf.
    pub by: By,
}

/// A generation is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct GenerationDropped {
    /// The rebuild that it was of.
    pub rebuild_id: Uuid,
    /// The version of the projection.
    pub version: u32,
    /// Which generation.
    pub generation: u32,
    /// On whose behalf.
    pub by: By,
}

/// Why a command is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The view is being rebuilt already.
    #[error("the rebuild {0} is open: promote it or drop it first")]
    Open(Uuid),
    /// The view has no such rebuild.
    #[error("there is no such rebuild")]
    Unknown,
    /// Not yet.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The rebuild does not stand so.
    #[error(transparent)]
    NotPossible(#[from] NotPossible),
}

/// What is still to come before another generation can be live.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It has not been compared with the live one.
    #[error("it is still filled and has not been compared with the live one")]
    NotCompared,
    /// Who was asked does not know how far it has come.
    #[error("how far it has come is not known here yet: ask again")]
    NotKnown,
    /// It is behind the live one.
    #[error("it has come to {target}, and the live one to {live}")]
    Behind {
        /// How far it has come.
        target: Position,
        /// How far the live one has.
        live: Position,
    },
}

/// What keeps a rebuild from what is asked of it for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPossible {
    /// The generation is gone.
    #[error("its generation {0} is dropped: rebuild the view again")]
    Dropped(u32),
    /// A later rebuild decides what is live.
    #[error("the rebuild {0} came after it: promote that one or roll it back")]
    Superseded(Uuid),
    /// There is nothing to go back from.
    #[error("it was not promoted")]
    NotPromoted,
    /// It is of another version of the projection.
    #[error("it is of version {0} of the projection, and another is running")]
    OtherVersion(u32),
}

impl Refusal {
    /// Stable, kebab-case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open(_) => "rebuild-open",
            Self::Unknown => "unknown-rebuild",
            Self::NotReady(_) => "rebuild-not-ready",
            Self::NotPossible(_) => "rebuild-not-possible",
        }
    }
}
