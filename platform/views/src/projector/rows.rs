//! Fills a view of documents: loads the rows of a batch, folds each once, commits them.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use recourse_event_store::{Batch, EventStore, Filter, RecordedEvent};

use super::{Error, Filler, Options, Target, store_error};
use crate::{
    Checkpoint,
    documents::{self, Change, Collection, Documents, Write},
    projection::{FoldError, Projection},
    rows::Rows,
};

/// Fills one view of documents.
pub type Projector<P> = Filler<DocumentRows<P>>;

/// The rows of a view, in a database of documents.
pub struct DocumentRows<P: Projection> {
    documents: Arc<dyn Documents>,
    collection: Collection,
    rows: Rows<P::Row>,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> Projector<P> {
    /// A projector that has done nothing yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        documents: Arc<dyn Documents>,
        options: Options,
    ) -> Self {
        let target = DocumentRows {
            documents,
            collection: P::collection(),
            rows: Rows::new(options.cached_rows),
            projection: PhantomData,
        };
        Self::with_target(store, target, options)
    }
}

#[async_trait]
impl<P: Projection> Target for DocumentRows<P> {
    const NAME: &'static str = P::NAME;

    fn filter() -> Filter {
        P::filter()
    }

    async fn reopen(&mut self) -> Result<Option<Checkpoint>, Error> {
        self.rows.clear();
        self.documents
            .checkpoint(&self.collection)
            .await
            .map_err(documents_error::<P>)
    }

    async fn take_in(
        &mut self,
        store: &dyn EventStore,
        batch: &Batch,
        expected: Option<&Checkpoint>,
        may_wait: bool,
    ) -> Result<Option<Checkpoint>, Error> {
        // In the order of keys, so that a database sees the same writes in the same order.
        let mut by_row: BTreeMap<String, Vec<&RecordedEvent>> = BTreeMap::new();
        for event in &batch.events {
            let key = P::key(event).map_err(|source| FoldError::event::<P>(event, source))?;
            if let Some(key) = key {
                by_row.entry(key).or_default().push(event);
            }
        }
        if by_row.is_empty() && may_wait {
            return Ok(None);
        }
        let mut rows = self.load(by_row.keys()).await?;
        let mut writes = Vec::with_capacity(by_row.len());
        for (id, events) in by_row {
            let before = rows.remove(&id);
            let was_there = before.is_some();
            let mut row = before;
            for event in events {
                row =
                    P::apply(row, event).map_err(|source| FoldError::event::<P>(event, source))?;
            }
            let change = match row {
                Some(row) => {
                    let json = write_row::<P>(&id, &row).map_err(documents_error::<P>)?;
                    rows.insert(id.clone(), row);
                    Change::Put(json)
                }
                None if was_there => Change::Delete,
                None => continue,
            };
            writes.push(Write { id, change });
        }
        let next = Checkpoint::after(store, batch)
            .await
            .map_err(store_error::<Self>)?;
        self.documents
            .commit(&self.collection, expected, &next, writes)
            .await
            .map_err(documents_error::<P>)?;
        // Only what is in the database is remembered.
        for (id, row) in rows {
            self.rows.put(id, row);
        }
        Ok(Some(next))
    }
}

impl<P: Projection> DocumentRows<P> {
    /// The rows of these ids, those of them that exist, taken from memory or loaded.
    async fn load(
        &mut self,
        ids: impl Iterator<Item = &String>,
    ) -> Result<BTreeMap<String, P::Row>, Error> {
        let mut rows = BTreeMap::new();
        let mut missing = Vec::new();
        for id in ids {
            match self.rows.take(id) {
                Some(row) => {
                    rows.insert(id.clone(), row);
                }
                None => missing.push(id.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(rows);
        }
        let loaded = self
            .documents
            .load(&self.collection, &missing)
            .await
            .map_err(documents_error::<P>)?;
        for document in loaded {
            let row = read_row::<P>(&document.id, &document.json).map_err(documents_error::<P>)?;
            rows.insert(document.id, row);
        }
        Ok(rows)
    }
}

/// Reads the row that a document holds.
///
/// # Errors
/// [`documents::Error::Damaged`] where it is not one.
pub fn read_row<P: Projection>(id: &str, json: &str) -> Result<P::Row, documents::Error> {
    serde_json::from_str(json).map_err(|error| damaged::<P>(id, &error))
}

/// Writes a row as a document holds it.
pub(crate) fn write_row<P: Projection>(id: &str, row: &P::Row) -> Result<String, documents::Error> {
    serde_json::to_string(row).map_err(|error| damaged::<P>(id, &error))
}

fn damaged<P: Projection>(id: &str, error: &serde_json::Error) -> documents::Error {
    documents::Error::Damaged {
        collection: P::collection().table(),
        id: id.to_owned(),
        what: error.to_string(),
    }
}

fn documents_error<P: Projection>(source: documents::Error) -> Error {
    Error::Documents {
        view: P::NAME,
        source,
    }
}
