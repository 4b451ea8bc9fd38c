//! Fills a view of documents: folds events into rows as they come, commits what has changed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    marker::PhantomData,
    sync::Arc,
};

use async_trait::async_trait;
use recourse_event_store::{EventStore, Filter, Position, RecordedEvent};

use super::{Committing, Error, Filler, Options, Target};
use crate::{
    Checkpoint,
    documents::{self, Change, Collection, Documents, Folded, Write},
    projection::{FoldError, Projection},
    rows::Rows,
};

/// Fills one view of documents.
pub type Projector<P> = Filler<DocumentRows<P>>;

/// The rows of a view, in a database of documents.
pub struct DocumentRows<P: Projection> {
    documents: Arc<dyn Documents>,
    collection: Collection,
    /// As they are in the database.
    rows: Rows<P::Row>,
    /// As they are to be there. In the order of keys, so that a database sees the same writes in
    /// the same order.
    pending: BTreeMap<String, Option<P::Row>>,
    /// As the transaction under way writes them.
    writing: BTreeMap<String, Option<P::Row>>,
    /// How far those are folded that a database without transactions has further than the
    /// checkpoint. Empty but after a commit that came to no end.
    further: Folded,
    projection: PhantomData<fn() -> P>,
}

/// Takes an event into a row.
fn apply<P: Projection>(row: &mut Option<P::Row>, event: &RecordedEvent) -> Result<(), Error> {
    let next = P::apply(row.take(), event);
    *row = next.map_err(|source| FoldError::event::<P>(event, source))?;
    Ok(())
}

impl<P: Projection> Projector<P> {
    /// A projector of the first generation that has done nothing yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        documents: Arc<dyn Documents>,
        options: Options,
    ) -> Self {
        Self::of_generation(0, store, documents, options)
    }

    /// A projector of a generation that has done nothing yet.
    #[must_use]
    pub fn of_generation(
        generation: u32,
        store: Arc<dyn EventStore>,
        documents: Arc<dyn Documents>,
        options: Options,
    ) -> Self {
        let target = DocumentRows {
            documents,
            collection: P::collection().in_generation(generation),
            rows: Rows::new(options.cached_rows),
            pending: BTreeMap::new(),
            writing: BTreeMap::new(),
            further: Folded::new(),
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
        self.pending.clear();
        self.writing.clear();
        self.further.clear();
        self.documents
            .checkpoint(&self.collection)
            .await
            .map_err(documents_error::<P>)
    }

    async fn furthest(&self) -> Result<Option<Checkpoint>, Error> {
        let furthest = self.documents.furthest(&self.collection).await;
        furthest.map_err(documents_error::<P>)
    }

    async fn fold(
        &mut self,
        _store: &dyn EventStore,
        events: &[Arc<RecordedEvent>],
    ) -> Result<(), Error> {
        let mut unknown: BTreeMap<String, Vec<&RecordedEvent>> = BTreeMap::new();
        for event in events {
            let key = P::key(event).map_err(|source| FoldError::event::<P>(event, source))?;
            let Some(key) = key else { continue };
            if self.has_folded(&key, event.position) {
                continue;
            }
            if let Some(events) = unknown.get_mut(&key) {
                events.push(event);
                continue;
            }
            let pending = match self.pending.entry(key) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let known = match self.writing.remove(entry.key()) {
                        Some(written) => Some(written),
                        None => self.rows.take(entry.key()).map(Some),
                    };
                    let Some(row) = known.or_else(|| P::begins(event).then_some(None)) else {
                        unknown.insert(entry.into_key(), vec![event]);
                        continue;
                    };
                    entry.insert(row)
                }
            };
            apply::<P>(pending, event)?;
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let (mut rows, folded) = self.load(unknown.keys()).await?;
        for (key, events) in unknown {
            let mut row = rows.remove(&key);
            let at = folded.get(&key).copied().unwrap_or_default();
            let mut is_changed = false;
            for event in events {
                if event.position > at {
                    apply::<P>(&mut row, event)?;
                    is_changed = true;
                }
            }
            if is_changed {
                self.pending.insert(key, row);
            } else {
                if let Some(row) = row {
                    self.rows.put(key.clone(), row);
                }
                self.further.insert(key, at);
            }
        }
        Ok(())
    }

    fn pending(&self) -> usize {
        self.pending.len()
    }

    fn commit(
        &mut self,
        expected: Option<Checkpoint>,
        next: Checkpoint,
    ) -> Result<Committing, Error> {
        self.writing = std::mem::take(&mut self.pending);
        self.further.retain(|_, at| *at > next.position);
        let mut writes = Vec::with_capacity(self.writing.len());
        for (id, row) in &self.writing {
            let change = match row {
                Some(row) => Change::Put(write_row::<P>(id, row).map_err(documents_error::<P>)?),
                // Also where it was never seen there: somebody else may just write it.
                None => Change::Delete,
            };
            let id = id.clone();
            writes.push(Write { id, change });
        }
        let documents = Arc::clone(&self.documents);
        let collection = self.collection;
        Ok(Box::pin(async move {
            let committed = documents.commit(&collection, expected.as_ref(), &next, writes);
            committed.await.map_err(documents_error::<P>)
        }))
    }

    fn committed(&mut self) {
        // Only what is in the database is remembered as such.
        for (id, written) in std::mem::take(&mut self.writing) {
            if let Some(row) = written {
                self.rows.put(id, row);
            }
        }
    }
}

impl<P: Projection> DocumentRows<P> {
    /// Whether a row that is further than the checkpoint has an event in it already.
    fn has_folded(&mut self, key: &str, position: Position) -> bool {
        match self.further.get(key) {
            None => false,
            Some(at) if *at >= position => true,
            Some(_) => {
                self.further.remove(key);
                false
            }
        }
    }

    /// The rows of these ids, those of them that exist, and how far they are folded.
    async fn load(
        &self,
        ids: impl Iterator<Item = &String>,
    ) -> Result<(BTreeMap<String, P::Row>, Folded), Error> {
        let ids: Vec<String> = ids.cloned().collect();
        let loaded = self
            .documents
            .load(&self.collection, &ids)
            .await
            .map_err(documents_error::<P>)?;
        let rows = loaded.documents.into_iter().map(|document| {
            let row = read_row::<P>(&document.id, &document.json)?;
            Ok((document.id, row))
        });
        let rows = rows.collect::<Result<_, _>>();
        Ok((rows.map_err(documents_error::<P>)?, loaded.folded))
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
