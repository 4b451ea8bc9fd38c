//! Which sagas are in flight: a checkpointed view of its own.
//!
//! A restart, or a new owner, loads these rows, reads the log on from their checkpoint, and
//! then acts. So it costs as much as there is in flight, not as much as there ever was.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use recourse_event_store::{EventStore, Position};
use recourse_views::{
    Checkpoint, CheckpointError,
    documents::{self, Change, Collection, Documents, Write},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The rows, beside the sagas' read model and never promoted or dropped with it.
pub const IN_FLIGHT: Collection = Collection {
    name: "sagas_in_flight",
    version: 1,
    generation: 0,
    indexes: &[],
    newest_first_by: None,
};

#[derive(Serialize, Deserialize)]
struct Row {
    saga_id: Uuid,
}

/// Why the rows cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Their database cannot.
    #[error("the rows of the sagas in flight cannot be read or written")]
    Documents(#[from] documents::Error),
    /// They belong to another log.
    #[error("the rows of the sagas in flight are not believed")]
    Checkpoint(#[from] CheckpointError),
    /// The store cannot say which event stands where they are.
    #[error("the position of the sagas in flight cannot be told")]
    Position(#[from] recourse_bus::BusError),
}

/// The rows and their checkpoint.
pub(crate) struct InFlight {
    documents: Arc<dyn Documents>,
    checkpoint: Option<Checkpoint>,
    /// Where a save would have moved it that the database did not answer: it may have.
    in_doubt: Option<Checkpoint>,
    /// The sagas that have a row, or may have.
    stored: BTreeSet<Uuid>,
    /// What changed since the last save: whether each saga is in flight now.
    changed: BTreeMap<Uuid, bool>,
    /// That something did, if only that sagas came and went.
    is_changed: bool,
}

impl InFlight {
    /// Loads the rows: the sagas that were in flight at the position that comes with them.
    pub(crate) async fn load(
        documents: Arc<dyn Documents>,
        store: &dyn EventStore,
    ) -> Result<(Self, BTreeSet<Uuid>, Position), Error> {
        // What a database without transactions has further than the checkpoint does no harm: a saga
        // that has begun meanwhile is loaded early, and one that is gone has ended.
        let mut sagas = BTreeSet::new();
        let mut damaged = None;
        let checkpoint = documents
            .scan(
                &IN_FLIGHT,
                &mut |document| match serde_json::from_str::<Row>(&document.json) {
                    Ok(row) => {
                        sagas.insert(row.saga_id);
                    }
                    Err(error) => damaged = Some((document.id, error)),
                },
            )
            .await?
            .checkpoint;
        if let Some((id, error)) = damaged {
            return Err(Error::Documents(documents::Error::Damaged {
                collection: IN_FLIGHT.table(),
                id,
                what: error.to_string(),
            }));
        }
        if let Some(checkpoint) = &checkpoint {
            checkpoint.verify(store, IN_FLIGHT.name).await?;
        }
        let position = checkpoint
            .as_ref()
            .map_or(Position::START, |checkpoint| checkpoint.position);
        let rows = Self {
            documents,
            checkpoint,
            in_doubt: None,
            stored: sagas.clone(),
            changed: BTreeMap::new(),
            is_changed: false,
        };
        Ok((rows, sagas, position))
    }

    /// Notes that a saga is in flight.
    pub(crate) fn begun(&mut self, saga: Uuid) {
        if !self.stored.contains(&saga) {
            self.changed.insert(saga, true);
            self.is_changed = true;
        }
    }

    /// Notes that a saga has ended.
    pub(crate) fn ended(&mut self, saga: Uuid) {
        if self.stored.contains(&saga) {
            self.changed.insert(saga, false);
        } else {
            self.changed.remove(&saga);
        }
        self.is_changed = true;
    }

    /// Whether there is anything to save.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Saves what changed as of `considered`, which is durable, with all that followed from it.
    pub(crate) async fn save(
        &mut self,
        store: &dyn EventStore,
        considered: Position,
    ) -> Result<(), Error> {
        self.settle_doubt().await?;
        let at = recourse_bus::Checkpoint::at(store, considered, None).await?;
        let next = Checkpoint {
            log: at.log,
            position: at.position,
            event_id: at.event_id,
        };
        let mut writes = Vec::with_capacity(self.changed.len());
        for (saga, in_flight) in &self.changed {
            let change = if *in_flight {
                let row = serde_json::to_string(&Row { saga_id: *saga }).map_err(|error| {
                    documents::Error::Damaged {
                        collection: IN_FLIGHT.table(),
                        id: saga.to_string(),
                        what: error.to_string(),
                    }
                })?;
                Change::Put(row)
            } else {
                Change::Delete
            };
            writes.push(Write {
                id: saga.to_string(),
                change,
            });
        }
        let saved = self
            .documents
            .commit(&IN_FLIGHT, self.checkpoint.as_ref(), &next, writes)
            .await;
        if matches!(saved, Err(documents::Error::Unavailable(_))) {
            self.in_doubt = Some(next);
            let begun = self.changed.iter().filter(|(_, in_flight)| **in_flight);
            self.stored.extend(begun.map(|(saga, _)| *saga));
        }
        saved?;
        self.checkpoint = Some(next);
        for (saga, in_flight) in std::mem::take(&mut self.changed) {
            if in_flight {
                self.stored.insert(saga);
            } else {
                self.stored.remove(&saga);
            }
        }
        self.is_changed = false;
        Ok(())
    }

    /// Finds out whether a save took effect that was not answered.
    async fn settle_doubt(&mut self) -> Result<(), Error> {
        let Some(in_doubt) = self.in_doubt else {
            return Ok(());
        };
        // The writes are made again either way, which does no harm.
        if self.documents.checkpoint(&IN_FLIGHT).await? == Some(in_doubt) {
            self.checkpoint = Some(in_doubt);
        }
        self.in_doubt = None;
        Ok(())
    }
}
