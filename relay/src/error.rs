//! Why a relay cannot go on.

use recourse_bus::kafka;
use recourse_event_store::{CheckpointError, Position, StoreError, typed};

/// Why a relay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no topics, and nobody said that this is the first start.
    #[error(
        "there is no topic `{topic}`: where this is the first start, say so (`--first-start`). \
         Otherwise Kafka has lost what it had: start the relay with `--first-start` and a \
         `--generation` that was never used"
    )]
    NotStarted {
        /// The topic in which the relay keeps how far it has come.
        topic: String,
    },
    /// The topics are those of another log, or of one that ended elsewhere: a backup was restored.
    #[error(
        "the topics of generation {generation} do not belong to this log: {reason}. Start the \
         relay with `--generation {}`", generation.saturating_add(1)
    )]
    OtherLog {
        /// Which generation.
        generation: u32,
        /// What does not fit.
        reason: String,
    },
    /// Kafka cannot be reached, or a topic is not what it should be.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// The event store cannot be read.
    #[error("the event store cannot be relayed")]
    Store(#[from] StoreError),
    /// Kafka refused a record, or gave it up.
    #[error("the record of {position} in `{topic}` was not written: {reason}")]
    Delivery {
        /// Where its event stands in the log.
        position: Position,
        /// Where it was to go.
        topic: String,
        /// Why not.
        reason: String,
        /// That it never will be.
        is_final: bool,
    },
    /// A saga's event cannot be read, so its commands cannot be relayed.
    #[error("the commands of the event at {position} cannot be read")]
    Malformed {
        /// Which event.
        position: Position,
        /// What is wrong with it.
        source: typed::Error,
    },
    /// A saga's command goes to a category that has no topic.
    #[error(
        "the event at {position} has a command for `{category}`, which has no topic: this relay \
         is of another release than who sent it. Take the newer one, and start a new generation \
         (`--generation`)"
    )]
    NoTopic {
        /// Which event.
        position: Position,
        /// Which category.
        category: String,
    },
}

impl Error {
    /// Whether beginning again at the checkpoint may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Kafka(error) => matches!(error, kafka::Error::Unavailable(_)),
            Self::Store(error) => matches!(error, StoreError::Unavailable(_) | StoreError::Full(_)),
            Self::Delivery { is_final, .. } => !is_final,
            Self::NotStarted { .. }
            | Self::OtherLog { .. }
            | Self::Malformed { .. }
            | Self::NoTopic { .. } => false,
        }
    }

    /// It with what caused it, in one line.
    pub(crate) fn told(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }

    /// What a checkpoint says that is not believed.
    pub(crate) fn checkpoint(generation: u32, error: CheckpointError) -> Self {
        match error {
            CheckpointError::Store { source, .. } => Self::Store(source),
            CheckpointError::Refused { reason, .. } => Self::OtherLog { generation, reason },
        }
    }
}
