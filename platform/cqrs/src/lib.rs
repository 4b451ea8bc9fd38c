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

pub use aggregate::{Aggregate, Role};

/// The code of the refusal of an undo that finds nothing to undo. It is the refusal of what
/// it would have undone too: the stream's mark is past both.
pub const NOTHING_TO_UNDO: &str = "nothing-to-undo";
