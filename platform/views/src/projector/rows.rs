//! Fills a view of documents: folds events into rows as they come, commits what has changed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    marker::PhantomData,
    sync::Arc,
};

use async_trait::async_trait;
use recourse_event_store::{EventStore, Filter, RecordedEvent};

use super::{Committing, Error, Filler, Options, Target};
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
    /// As they are in the database.
    rows: Rows<P::Row>,
    /// As they are to be there. In the order of keys, so that a database sees the same writes in
    /// the same order.
    pending: BTreeMap<String, Pending<P::Row>>,
    /// As the transaction under way writes them.
    writing: BTreeMap<String, Pending<P::Row>>,
    projection: PhantomData<fn() -> P>,
}

/// A row that events have changed.
struct Pending<R> {
    /// None where there is none any more.
    row: Option<R>,
    /// Whether it is in the database.
    is_there: bool,
}

impl<R> Pending<R> {
    fn of(row: Option<R>) -> Self {
        Self {
            is_there: row.is_some(),
            row,
        }
    }

    fn apply<P: Projection<Row = R>>(&mut self, event: &RecordedEvent) -> Result<(), Error> {
        let row = P::apply(self.row.take(), event);
        self.row = row.map_err(|source| FoldError::event::<P>(event, source))?;
        Ok(())
    }
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
        self.documents
            .checkpoint(&self.collection)
            .await
            .map_err(documents_error::<P>)
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
            if let Some(events) = unknown.get_mut(&key) {
                events.push(event);
                continue;
            }
            let pending = match self.pending.entry(key) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let known = match self.writing.remove(entry.key()) {
                        Some(written) => Some(written.row),
                        None => self.rows.take(entry.key()).map(Some),
                    };
                    let Some(row) = known.or_else(|| P::begins(event).then_some(None)) else {
                        unknown.insert(entry.into_key(), vec![event]);
                        continue;
                    };
                    entry.insert(Pending::of(row))
                }
            };
            pending.apply::<P>(event)?;
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let mut rows = self.load(unknown.keys()).await?;
        for (key, events) in unknown {
            let mut pending = Pending::of(rows.remove(&key));
            for event in events {
                pending.apply::<P>(event)?;
            }
            self.pending.insert(key, pending);
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
        let mut writes = Vec::with_capacity(self.writing.len());
        for (id, pending) in &self.writing {
            let change = match &pending.row {
                Some(row) => Change::Put(write_row::<P>(id, row).map_err(documents_error::<P>)?),
                None if pending.is_there => Change::Delete,
                None => continue,
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
            if let Some(row) = written.row {
                self.rows.put(id, row);
            }
        }
    }
}

impl<P: Projection> DocumentRows<P> {
    /// The rows of these ids, those of them that exist.
    async fn load(
        &self,
        ids: impl Iterator<Item = &String>,
    ) -> Result<BTreeMap<String, P::Row>, Error> {
        let ids: Vec<String> = ids.cloned().collect();
        let documents = self
            .documents
            .load(&self.collection, &ids)
            .await
            .map_err(documents_error::<P>)?;
        let rows = documents.into_iter().map(|document| {
            let row = read_row::<P>(&document.id, &document.json)?;
            Ok((document.id, row))
        });
        rows.collect::<Result<_, _>>().map_err(documents_error::<P>)
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
