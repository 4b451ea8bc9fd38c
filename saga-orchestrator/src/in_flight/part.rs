//! The rows of one partition, with one checkpoint and one writer.

use std::{collections::BTreeMap, sync::Arc};

use recourse_event_store::{EventStore, Position};
use recourse_views::{
    Checkpoint,
    documents::{self, Change, Collection, Documents, Write},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, Row};

#[derive(Serialize, Deserialize)]
struct Stored {
    saga_id: Uuid,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    passed_over: bool,
}

/// The rows of a partition and their checkpoint.
pub(super) struct Part {
    documents: Arc<dyn Documents>,
    collection: Collection,
    checkpoint: Option<Checkpoint>,
    /// Where a save would have moved it that the database did not answer: it may have.
    in_doubt: Option<Checkpoint>,
    /// The sagas that have a row, or may have.
    stored: BTreeMap<Uuid, Row>,
    /// What changed since the last save: what each saga's row is now, if it is in flight.
    changed: BTreeMap<Uuid, Option<Row>>,
    /// That something did, if only that sagas came and went.
    is_changed: bool,
    /// How often others were saved since.
    saves_of_others: u32,
}

impl Part {
    /// Loads the rows: the sagas that were in flight at the checkpoint.
    pub(super) async fn load(
        documents: Arc<dyn Documents>,
        store: &dyn EventStore,
        collection: Collection,
    ) -> Result<(Self, BTreeMap<Uuid, Row>), Error> {
        // What a database without transactions has further than the checkpoint does no harm: a saga
        // that has begun meanwhile is loaded early, and one that is gone has ended.
        let mut sagas = BTreeMap::new();
        let mut damaged = None;
        let checkpoint = documents
            .scan(
                &collection,
                &mut |document| match serde_json::from_str::<Stored>(&document.json) {
                    Ok(row) => {
                        let is_passed_over = row.passed_over;
                        sagas.insert(row.saga_id, Row { is_passed_over });
                    }
                    Err(error) => damaged = Some((document.id, error)),
                },
            )
            .await?
            .checkpoint;
        if let Some((id, error)) = damaged {
            return Err(Error::Documents(documents::Error::Damaged {
                collection: collection.table(),
                id,
                what: error.to_string(),
            }));
        }
        if let Some(checkpoint) = &checkpoint {
            checkpoint.verify(store, collection.name).await?;
        }
        let part = Self {
            documents,
            collection,
            checkpoint,
            in_doubt: None,
            stored: sagas.clone(),
            changed: BTreeMap::new(),
            is_changed: false,
            saves_of_others: 0,
        };
        Ok((part, sagas))
    }

    /// Up to where the rows say which sagas are in flight; none where they were never saved.
    pub(super) fn position(&self) -> Option<Position> {
        self.checkpoint.map(|checkpoint| checkpoint.position)
    }

    /// Notes that a saga is in flight.
    pub(super) fn begun(&mut self, saga: Uuid, row: Row) {
        let known = match self.changed.get(&saga) {
            Some(changed) => *changed,
            None => self.stored.get(&saga).copied(),
        };
        // Whoever passed over what it waits for may not have been the last to own it.
        if known.is_none_or(|known| row.is_passed_over && !known.is_passed_over) {
            self.changed.insert(saga, Some(row));
            self.is_changed = true;
        }
    }

    /// Notes that a saga has ended.
    pub(super) fn ended(&mut self, saga: Uuid) {
        if self.stored.contains_key(&saga) {
            self.changed.insert(saga, None);
        } else {
            self.changed.remove(&saga);
        }
        self.is_changed = true;
    }

    /// Has it saved though nothing has happened in it.
    pub(super) fn save_in_any_case(&mut self) {
        self.is_changed = true;
    }

    /// Whether there is anything to save, everything up to `considered` being seen. What was
    /// read again from further back waits until it is there.
    pub(super) fn is_due(&self, considered: Position) -> bool {
        self.is_changed
            && self
                .position()
                .is_none_or(|position| considered >= position)
    }

    /// Notes that others were saved: where that has happened often enough, this one is due too.
    pub(super) fn another_was_saved(&mut self, max: u32) {
        self.saves_of_others = self.saves_of_others.saturating_add(1);
        self.is_changed |= self.saves_of_others >= max;
    }

    /// Saves what changed as of `considered`, which is durable, with all that followed from it.
    pub(super) async fn save(
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
        for (saga, row) in &self.changed {
            let change = match row {
                Some(row) => Change::Put(self.stored_form(*saga, *row)?),
                None => Change::Delete,
            };
            writes.push(Write {
                id: saga.to_string(),
                change,
            });
        }
        let saved = self
            .documents
            .commit(&self.collection, self.checkpoint.as_ref(), &next, writes)
            .await;
        if matches!(saved, Err(documents::Error::Unavailable(_))) {
            self.in_doubt = Some(next);
            let begun = self.changed.iter();
            let begun = begun.filter_map(|(saga, row)| Some((*saga, (*row)?)));
            self.stored.extend(begun);
        }
        saved?;
        self.checkpoint = Some(next);
        for (saga, row) in std::mem::take(&mut self.changed) {
            match row {
                Some(row) => self.stored.insert(saga, row),
                None => self.stored.remove(&saga),
            };
        }
        self.is_changed = false;
        self.saves_of_others = 0;
        Ok(())
    }

    fn stored_form(&self, saga: Uuid, row: Row) -> Result<String, Error> {
        let stored = Stored {
            saga_id: saga,
            passed_over: row.is_passed_over,
        };
        serde_json::to_string(&stored).map_err(|error| {
            Error::Documents(documents::Error::Damaged {
                collection: self.collection.table(),
                id: saga.to_string(),
                what: error.to_string(),
            })
        })
    }

    /// Finds out whether a save took effect that was not answered.
    async fn settle_doubt(&mut self) -> Result<(), Error> {
        let Some(in_doubt) = self.in_doubt else {
            return Ok(());
        };
        // The writes are made again either way, which does no harm.
        if self.documents.checkpoint(&self.collection).await? == Some(in_doubt) {
            self.checkpoint = Some(in_doubt);
        }
        self.in_doubt = None;
        Ok(())
    }
}
