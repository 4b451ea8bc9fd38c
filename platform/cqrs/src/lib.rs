//! Aggregates: load, decide, append, retry on conflict.
//!
//! ```text
//! client's command ─┐                       ┌▶ answer, once it is durable
//! saga's command ───┼▶ worker: one batch ───┤
//! service's own ────┘   load · decide ·     └▶ events, one append a stream
//!                       append · on conflict reload the delta
//! ```
//!
//! A service does one durable thing a message: it appends to one stream at an expected
//! revision. Around the pure rules of an [`Aggregate`] this crate keeps what makes delivery
//! *at least once* mean effects *once*: the mark of the last saga command taken, the open
//! commands whose answer is still to come, and the ids of the clients' commands. All of that
//! is state, folded from the events' metadata ([`Tracked`]).

mod aggregate;
mod batch;
mod cache;
mod clients;
mod decide;
mod handle;
mod inbox;
mod load;
mod plan;
mod repository;
mod request;
mod snapshot;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tracked;
mod worker;

pub use aggregate::{Aggregate, Role};
pub use clients::{REMEMBERED_FOR, Remembered};
pub use decide::{
    AGGREGATE_UNREADABLE, COMMAND_NOT_UNDERSTOOD, COMMAND_REFUSED, DECISION_TOO_LARGE, Effect,
    Handled, NOTHING_TO_DO, PlatformEvent, Rejection, handle,
};
pub use handle::{Handle, SendError};
pub use recourse_event_store::Refused;
pub use repository::{Error, LoadError, Outcome, Repository, RepositoryOptions};
pub use request::{ClientCommand, Internal, Origin, Precondition, Request, SagaCommand};
pub use snapshot::{MemorySnapshots, Snapshot, Snapshots, SnapshotsError};
pub use tracked::{ApplyError, Head, Tracked, Tracking};
pub use worker::{Clock, Source, Step, Worker, WorkerError, WorkerOptions};

/// The code of the refusal of an undo that finds nothing to undo. It is the refusal of what
/// it would have undone too: the stream's mark is past both.
pub const NOTHING_TO_UNDO: &str = "nothing-to-undo";
