//! The event store: one log in total order, made of streams with revisions.
//!
//! ```text
//! append(stream, expected revision, events) ──▶ log ──▶ read a stream, read all, subscribe
//!                                                │
//!                                   appended ≥ durable positions
//! ```
//!
//! Everything that Recourse knows is in this log and nothing else is ever the truth.
//! [`EventStore`] is the port; [`memory`] and [`embedded`] are its adapters and
//! [`conformance`] the suite that each of them passes.
//!
//! Two positions move through a log. An event is *appended* when it has its place in the
//! order and readers in the same process may see it; it is *durable* when it, and with it
//! everything before it, survives the loss of power. **Nothing may leave the process or
//! enter another file before [`EventStore::wait_durable`] covers everything it was derived
//! from.** A store whose append is durable by itself (EventStoreDB) answers at once.

mod checkpoint;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod embedded;
mod event;
pub mod memory;
mod port;
mod position;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
pub mod typed;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use event::{Answered, Metadata, NewEvent, RecordedEvent, Refused, Taken};
pub use port::{
    Append, AppendError, Appended, Batch, Direction, EventStore, ExpectedRevision, Filter, Read,
    StoreError, Subscription, Visibility,
};
pub use position::{LogId, Mark, ParsePositionError, Position};
pub use stream::{InvalidStreamName, StreamName};
