//! How far a consumer has come, kept where it survives.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use recourse_event_store::{CheckpointError, EventStore, LogId, Position};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{BusError, Json};

/// How far a consumer has considered a log, and what it knew there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The log. A position says nothing without it.
    pub log: LogId,
    /// Everything up to here has had its effect, durably.
    pub position: Position,
    /// The id of the last event at or before `position`: the checkpoint is believed only while
    /// that event is there. None where the log was empty up to there.
    pub event_id: Option<Uuid>,
    /// What the consumer wants back with its position; none for a group of the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Json>,
}

/// Where checkpoints are kept.
#[async_trait]
pub trait Checkpoints: Send + Sync + 'static {
    /// What was saved last under this name.
    ///
    /// # Errors
    /// Where it cannot be read.
    async fn load(&self, name: &str) -> Result<Option<Checkpoint>, CheckpointsError>;

    /// Keeps it in place of what was there. Once this answers, it survives the loss of power.
    /// Called only with positions that are durable in the store.
    ///
    /// # Errors
    /// Where it cannot be written; what was there before is still there.
    async fn save(&self, name: &str, checkpoint: Checkpoint) -> Result<(), CheckpointsError>;
}

/// Why checkpoints cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the checkpoints cannot be read or written: {0}")]
pub struct CheckpointsError(pub String);

/// Checkpoints in memory: for tests and the simulation. Clones share what they hold, so one
/// kept aside survives the crash of whoever uses it.
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpoints {
    by_name: Arc<Mutex<BTreeMap<String, Checkpoint>>>,
}

#[async_trait]
impl Checkpoints for MemoryCheckpoints {
    async fn load(&self, name: &str) -> Result<Option<Checkpoint>, CheckpointsError> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(by_name.get(name).cloned())
    }

    async fn save(&self, name: &str, checkpoint: Checkpoint) -> Result<(), CheckpointsError> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(name.to_owned(), checkpoint);
        Ok(())
    }
}

impl Checkpoint {
    /// The checkpoint of a consumer that has considered `store` up to `position`.
    ///
    /// # Errors
    /// [`BusError::Store`] where the store cannot say which event is there.
    pub async fn at(
        store: &dyn EventStore,
        position: Position,
        state: Option<Json>,
    ) -> Result<Self, BusError> {
        let at = recourse_event_store::Checkpoint::at(store, position).await?;
        Ok(Self {
            log: at.log,
            position: at.position,
            event_id: at.event_id,
            state,
        })
    }

    /// Holds the checkpoint against the log: the same log, reaching as far, with the same
    /// event there. `name` is whose checkpoint it is, for the error.
    ///
    /// # Errors
    /// [`BusError::Checkpoint`] with what to do where it is not to be believed, as after the
    /// restore of a backup; [`BusError::Store`] where the store cannot say.
    pub async fn verify(&self, store: &dyn EventStore, name: &str) -> Result<(), BusError> {
        let at = recourse_event_store::Checkpoint {
            log: self.log,
            position: self.position,
            event_id: self.event_id,
        };
        at.verify(store, name).await.map_err(|error| match error {
            CheckpointError::Store { source, .. } => BusError::Store(source),
            refused @ CheckpointError::Refused { .. } => BusError::Checkpoint {
                group: name.to_owned(),
                reason: refused.to_string(),
            },
        })
    }
}
