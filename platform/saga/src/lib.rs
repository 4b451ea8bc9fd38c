//! The saga engine: definitions as data, and one pure reaction.
//!
//! ```text
//! starting event ─┐
//! answer ─────────┤
//! cancellation ───┼▶ react(definition, state, input, now) ─▶ [saga events] ─▶ fold ─▶ state
//! time ───────────┘                                           └ carry the commands
//! ```
//!
//! A saga is the fold of its stream `saga-<id>`. One input makes one event, which says what
//! came in and carries the commands that follow from it, and, where it ends or cannot go on, a
//! second one that says so. Nothing here does I/O or reads a clock.

mod definition;
mod event;
#[cfg(feature = "explore")]
pub mod explore;
mod react;
mod rules;
mod state;
#[cfg(feature = "explore")]
pub mod testing;

pub use recourse_event_store::StreamName;

pub use definition::{
    Backoff, BuildError, Builder, Cancel, Commands, Definition, Ids, Outgoing, Settlement, Start,
    Step, closing, compensatable, pivot, retriable, saga_id,
};
pub use event::{
    Answer, Answered, AttentionNeeded, By, CancellationNoted, Compensated, CompensationRequested,
    Completed, Direction, Event, Kind, Overdue, Parked, Paused, PlannedStep, Resent, Resumed,
    Retried, SentCommand, SkipRequested, SkipResult, Started, StepSkipped, TimedOut, WayBack,
    commands_of,
};
pub use react::{ActError, Action, Finding, Input, ReactError, Said, act, react};
#[cfg(feature = "explore")]
pub use react::{act_under, react_under};
pub use rules::{Rule, Rules};
pub use state::{
    End, Outcome, Part, Reason, Sent, Skip, State, Status, StepStatus, StepView, Timer,
};
