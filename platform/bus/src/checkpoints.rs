//! How far a consumer has come, kept where it survives.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use recourse_event_store::{
    Direction, EventStore, Filter, LogId, Position, Read, RecordedEvent, Visibility,
};
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
        Ok(Self {
            log: store.log_id(),
            position,
            event_id: event_at(store, position).await?,
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
        let refused = |reason: String| {
            Err(BusError::Checkpoint {
                group: name.to_owned(),
                reason: format!(
                    "{reason}; restore the log and the checkpoints from the same backup, or, \
                     once what this consumer wrote is known to come from the log as it is now, \
                     delete the checkpoint to let it start over from the beginning"
                ),
            })
        };
        if self.log != store.log_id() {
            return refused(format!(
                "it was kept for the log {} and this is the log {}",
                self.log,
                store.log_id()
            ));
        }
        // Only what is durable is ever checkpointed, so a log that ends before it lost events.
        let durable = store.durable();
        if self.position > durable {
            return refused(format!(
                "it stands at {}, ahead of the log, which is durable up to {durable}",
                self.position
            ));
        }
        let there = event_at(store, self.position).await?;
        if there != self.event_id {
            let name_of = |id: Option<Uuid>| id.map_or("no event".to_owned(), |id| id.to_string());
            return refused(format!(
                "at {} it saw {} and the log has {}",
                self.position,
                name_of(self.event_id),
                name_of(there)
            ));
        }
        Ok(())
    }
}

/// The id of the last event of ours at or before a position.
async fn event_at(store: &dyn EventStore, position: Position) -> Result<Option<Uuid>, BusError> {
    // A position is opaque, so the one after it cannot be made up: read the event before it,
    // and from there the next one, which is at the position or past it.
    let before = match position {
        Position::START => return Ok(None),
        position => one_event(store, Some(position), Direction::Backward).await?,
    };
    let from = before.as_ref().map(|event| event.position);
    let at = one_event(store, from, Direction::Forward).await?;
    let at = at.filter(|event| event.position <= position);
    Ok(at.or(before).map(|event| event.event.id))
}

/// The event next to a position.
async fn one_event(
    store: &dyn EventStore,
    mut from: Option<Position>,
    direction: Direction,
) -> Result<Option<Arc<RecordedEvent>>, BusError> {
    loop {
        let batch = store
            .read_all(Read {
                from,
                direction,
                visibility: Visibility::Appended,
                filter: Filter::All,
                max_events: 1,
            })
            .await?;
        if batch.at_end || !batch.events.is_empty() {
            return Ok(batch.events.first().cloned());
        }
        from = Some(batch.considered);
    }
}
