//! Commands and events on their way to whoever acts on them.
//!
//! ```text
//! saga's stream ──▶ outgoing commands, in log order    ──▶ command services
//! event store   ──▶ events, in order by correlation   ──▶ orchestrator
//! ```
//!
//! The event store is the outbox: nothing is ever published that is not an event there. On
//! the embedded engines the bus *is* the store's tail ([`embedded`]); between processes a
//! relay carries the same records through Kafka (`kafka`, behind the feature of that name).
//! Either way a consumer gets everything at least once and in order, and commits how far its
//! *effects* have gone.

mod checkpoints;
mod command;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod embedded;
#[cfg(feature = "testing")]
pub mod faulty;
mod hash;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "testing")]
pub mod members;
pub mod observed;
mod port;
mod share;
mod turns;

pub use checkpoints::{Checkpoint, Checkpoints, CheckpointsError, MemoryCheckpoints};
pub use command::{Command, Json};
pub use port::{Bus, BusError, Consumer, Deliveries, Delivery};
pub use share::{Alone, Membership, Share};
pub use turns::{MemoryTurns, Turn, Turns, TurnsError};
