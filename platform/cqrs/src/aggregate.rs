//! What the platform asks of an aggregate.

use std::borrow::Cow;

use recourse_event_store::Refused;
use serde::{Serialize, de::DeserializeOwned};

/// The rules of one kind of aggregate, bound to its category of streams.
///
/// A marker type: the rules are pure functions that live elsewhere and know nothing of this.
pub trait Aggregate: Send + Sync + 'static {
    /// The streams are `<CATEGORY>-<id>`.
    const CATEGORY: &'static str;

    /// Take a snapshot each time a stream has grown by this many events; never where `None`.
    const SNAPSHOT_EVERY: Option<u64> = None;

    /// Raise it when [`Self::State`] or [`Self::evolve`] changes: snapshots of another version
    /// are not believed.
    const SNAPSHOT_VERSION: u32 = 0;

    /// What the events make.
    type State: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// An enum of newtype variants, each renamed to its type.
    type Command: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// An enum of newtype variants, each renamed to its type.
    type Event: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Why a command is not obeyed.
    type Refusal: std::error::Error + Clone + Send + Sync + 'static;

    /// What happens, if anything.
    ///
    /// # Errors
    /// Where the command is not obeyed. Nothing is written for a client; a saga gets it as
    /// its durable answer.
    fn decide(
        state: &Self::State,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// What an event makes of the state.
    fn evolve(state: Self::State, event: &Self::Event) -> Self::State;

    /// The refusal as it is told to others. An undo that found nothing has the code
    /// [`NOTHING_TO_UNDO`](crate::NOTHING_TO_UNDO).
    fn refused(refusal: &Self::Refusal) -> Refused;

    /// What an event is to the command that caused it.
    fn role(event: &Self::Event) -> Role {
        let _ = event;
        Role::Answer
    }
}

/// What an event is to the command that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is, or belongs to, the answer: the command is done.
    Answer,
    /// The command is taken and will be answered by the outcome of this operation.
    Intent {
        /// `authorize`. Tells apart what may be open at once: `refund/<id>`.
        operation: Cow<'static, str>,
    },
    /// It answers every open command of this operation.
    Outcome {
        /// `authorize`.
        operation: Cow<'static, str>,
        /// Why not, where the outcome is no.
        refused: Option<Refused>,
    },
    /// It answers nothing: something was learned on the way.
    Progress,
}
