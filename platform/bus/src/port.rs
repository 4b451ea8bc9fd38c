//! The port: what services ask of a bus.

use std::sync::Arc;

use async_trait::async_trait;
use recourse_event_store::{Filter, Mark, Position, RecordedEvent, StoreError};

use crate::{Command, Membership, Share};

/// A command as it arrives.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The command.
    pub command: Command,
    /// Where it stands in the order of all commands.
    pub mark: Mark,
    /// The event of the saga's stream that carries it: its saga, correlation and cause. Between
    /// processes it comes without its data.
    pub event: Arc<RecordedEvent>,
}

/// Some messages, and how far the log was considered to find them.
#[derive(Clone, Debug)]
pub struct Deliveries<T> {
    /// The messages.
    pub messages: Vec<T>,
    /// Everything up to here was considered: what to commit once the effects are durable. Never
    /// goes back; between processes, some of what comes after it may have been handed over already.
    pub considered: Position,
    /// That the consumer has caught up with the log: at least with what was its head when the
    /// consumer was made.
    pub at_end: bool,
}

/// Why the bus cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The store behind it cannot.
    #[error("the bus cannot read the event store")]
    Store(#[from] StoreError),
    /// A record is missing: a consumer that went on would let a mark seal the gap.
    #[error("a record is missing between {after} and {next}: {help}")]
    Gap {
        /// The last that was seen.
        after: Position,
        /// The next that came.
        next: Position,
        /// Where that is, and what to do.
        help: String,
    },
    /// A record is not what its place says.
    #[error("the record at {position} cannot be read")]
    Malformed {
        /// Where it stands.
        position: Position,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// How far a group has come cannot be kept or believed.
    #[error("the checkpoint of `{group}` cannot be used: {reason}")]
    Checkpoint {
        /// The group.
        group: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The engine between the processes cannot be reached, or is not set up yet.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
    /// A topic is not what it was: records of it are gone. Somebody has to make it again; then
    /// asking again helps.
    #[error("the topic `{topic}` cannot be read on: {reason}")]
    Topic {
        /// Which topic.
        topic: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// The bus.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// The commands for aggregates of these categories, after what `group` has committed. Those
    /// for one aggregate come in log order; between processes, the members of a group share the
    /// aggregates, and who joins or leaves moves some of them: what was not committed comes again.
    async fn commands(
        &self,
        group: &str,
        categories: &[&str],
    ) -> Result<Box<dyn Consumer<Delivery>>, BusError>;

    /// The events that a filter wants and whose correlation belongs to the share, after `after` (exclusive);
    /// those of one correlation in log order. Who consumes these keeps its own checkpoint beside what it
    /// derives from them.
    async fn events(
        &self,
        after: Position,
        filter: Filter,
        share: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError>;

    /// A place in a group whose members share all correlations: each event is of interest to one of
    /// them. Within one process there is one member, and it owns all.
    ///
    /// # Errors
    /// Where the group cannot be reached.
    async fn join(&self, group: &str) -> Result<Box<dyn Membership>, BusError>;
}

/// One member of a group.
#[async_trait]
pub trait Consumer<T>: Send {
    /// Waits for more. At least once, in the order that the bus promises; may be dropped while it waits.
    ///
    /// # Errors
    /// After any error the consumer is done: ask the bus for a new one.
    async fn next(&mut self) -> Result<Deliveries<T>, BusError>;

    /// Says that everything up to `considered`, as [`Self::next`] has answered it, has had its
    /// effect, durably. Cheap: kept in memory and written now and then. A no-op for consumers
    /// that keep their own checkpoint.
    async fn commit(&mut self, considered: Position) -> Result<(), BusError>;
}
