//! Documents in MongoDB. What is promised and why it holds is told in [the module](super).

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document as Fields, doc};

use super::{
    OpenError, Options, layout,
    queries::{self, Find},
    server::{Failure, Server},
    writes,
};
use crate::{
    Checkpoint,
    documents::{
        self, After, Change, Collection, Document, Error, Loaded, Page, Query, Scanned, Write,
    },
    fields,
};

/// How many documents are asked for by their ids at once, each on a connection of its own. One by
/// one, since not every server finds several ids by an index.
const LOADED_AT_ONCE: usize = 8;

/// How many documents a scan reads at once.
const SCANNED_AT_ONCE: usize = 1_000;

/// Documents in a server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Documents {
    server: Server,
}

/// Why a commit is not one.
enum Refusal {
    Failed(Failure),
    Port(Error),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Port(error)
    }
}

impl Refusal {
    fn of(self, collection: &Collection) -> Error {
        match self {
            Self::Failed(failure) => layout::port_error(collection, &failure),
            Self::Port(error) => error,
        }
    }
}

impl Documents {
    /// Reaches the server, makes the indexes of these collections, and holds the collections
    /// against what the program knows. Those of another generation get their indexes when they
    /// are first written.
    ///
    /// # Errors
    /// Where it cannot be reached or used, or a collection was made for another definition.
    pub async fn connect(options: &Options, collections: &[Collection]) -> Result<Self, OpenError> {
        let server = Server::connect(options).await?;
        let documents = Self { server };
        for collection in collections {
            let ready = documents.prepare(collection).await;
            ready.map_err(|refusal| match refusal {
                Refusal::Failed(failure) => OpenError::of(&options.address, failure),
                Refusal::Port(error) => OpenError::Incompatible {
                    address: options.address.clone(),
                    collection: collection.table(),
                    what: error.to_string(),
                },
            })?;
        }
        Ok(documents)
    }

    /// Waits for what is under way and closes the connections.
    pub async fn close(&self) {
        self.server.close().await;
    }

    async fn prepare(&self, collection: &Collection) -> Result<(), Refusal> {
        self.read_checkpoint(collection).await?;
        Ok(writes::make_indexes(&self.server, collection).await?)
    }

    /// What a query finds, at most so many; 0 is all.
    async fn find(
        &self,
        collection: &Collection,
        find: Find,
        limit: usize,
    ) -> Result<Vec<Fields>, Failure> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let work = async {
            let cursor = self
                .server
                .database
                .collection::<Fields>(&collection.table())
                .find(find.filter)
                .sort(find.sort)
                .limit(limit)
                .max_time(self.server.max_time())
                .await?;
            Ok(cursor.try_collect().await?)
        };
        self.server.within(work).await
    }

    async fn read_checkpoint(
        &self,
        collection: &Collection,
    ) -> Result<Option<Checkpoint>, Refusal> {
        let find = Find {
            filter: doc! { "_id": layout::CHECKPOINT },
            sort: doc! {},
        };
        let found = self.find(collection, find, 1).await?;
        let Some(found) = found.first() else {
            return Ok(None);
        };
        if found.get_str("definition").ok() != Some(&layout::definition(collection)) {
            return Err(Refusal::Port(Error::Incompatible {
                collection: collection.table(),
                what:
                    "its indexes have changed and its version has not; give it a new version, or \
                       drop the collection: it is then filled again from the log"
                        .to_owned(),
            }));
        }
        let fields = found.get_document("checkpoint");
        let fields = fields.map_err(|_| Failure::Damaged("there is no checkpoint".to_owned()))?;
        Ok(Some(layout::checkpoint_of(fields)?))
    }

    async fn commit_by(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        updates: Vec<writes::Update>,
    ) -> Result<bool, Refusal> {
        let found = self.read_checkpoint(collection).await?;
        if found.as_ref() != expected {
            return Ok(false);
        }
        if expected.is_none() {
            writes::make_indexes(&self.server, collection).await?;
        }
        for part in writes::parts(updates, self.server.max_batch_documents) {
            writes::replace(&self.server, collection, part).await?;
        }
        Ok(writes::move_checkpoint(&self.server, collection, expected, next).await?)
    }

    async fn load_by(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Failure> {
        let one = |id: &String| {
            let find = Find {
                filter: doc! { "_id": id },
                sort: doc! {},
            };
            self.find(collection, find, 1)
        };
        let found = stream::iter(ids.iter().map(one)).buffer_unordered(LOADED_AT_ONCE);
        let found: Vec<Vec<Fields>> = found.try_collect().await?;
        let mut loaded = Loaded::default();
        for fields in found.iter().flatten() {
            let kept = layout::kept(fields)?;
            loaded.folded.insert(kept.id.clone(), kept.at);
            loaded
                .documents
                .extend(kept.json.map(|json| Document { id: kept.id, json }));
        }
        Ok(loaded)
    }

    async fn page(
        &self,
        collection: &Collection,
        find: Find,
        limit: usize,
    ) -> Result<Page, Failure> {
        let mut found = self.find(collection, find, limit.saturating_add(1)).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let mut documents = Vec::with_capacity(found.len());
        for fields in &found {
            let kept = layout::kept(fields)?;
            let json = kept.json.unwrap_or_default();
            documents.push(Document { id: kept.id, json });
        }
        let time = collection.newest_first_by.map(queries::name);
        let next = match (found.last(), documents.last()) {
            (Some(fields), Some(last)) if more => Some(After {
                time: time.and_then(|time| {
                    let state = fields.get_document(layout::STATE).ok()?;
                    state.get_i64(time).ok()
                }),
                id: last.id.clone(),
            }),
            _ => None,
        };
        Ok(Page { documents, next })
    }

    async fn scan_by(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Refusal> {
        // First, so that each document is at least as far.
        let mut scanned = Scanned {
            checkpoint: self.read_checkpoint(collection).await?,
            ..Scanned::default()
        };
        let at = scanned.checkpoint.map(|at| at.position).unwrap_or_default();
        let mut after = None;
        loop {
            let find = queries::by_id(after.as_deref());
            let found = self.find(collection, find, SCANNED_AT_ONCE).await?;
            let is_last = found.len() < SCANNED_AT_ONCE;
            for fields in found {
                let kept = layout::kept(&fields)?;
                if kept.at > at {
                    scanned.folded.insert(kept.id.clone(), kept.at);
                }
                after = Some(kept.id.clone());
                let json = kept.json.unwrap_or_default();
                visit(Document { id: kept.id, json });
            }
            if is_last {
                break;
            }
        }
        // What came to be there behind the place that was read, and what is no longer there.
        let further = queries::further(&layout::sortable(at));
        for fields in self.find(collection, further, 0).await? {
            let kept = layout::kept(&fields)?;
            match kept.json {
                None => {
                    scanned.gone.insert(kept.id, kept.at);
                }
                Some(json) => {
                    scanned.folded.insert(kept.id.clone(), kept.at);
                    visit(Document { id: kept.id, json });
                }
            }
        }
        Ok(scanned)
    }
}

#[async_trait]
impl documents::Documents for Documents {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        let found = self.read_checkpoint(collection).await;
        found.map_err(|refusal| refusal.of(collection))
    }

    async fn furthest(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        let failed = |failure| layout::port_error(collection, &failure);
        let found = self.find(collection, queries::furthest(), 1).await;
        let found = found.map_err(failed)?;
        let furthest = found.first().map(layout::folded_to);
        furthest.transpose().map_err(failed)
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Error> {
        let loaded = self.load_by(collection, ids).await;
        loaded.map_err(|failure| layout::port_error(collection, &failure))
    }

    async fn commit(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), Error> {
        let mut updates = Vec::with_capacity(writes.len());
        for Write { id, change } in writes {
            let (document, bytes) = match change {
                Change::Put(json) => {
                    let fields = fields::of_document(collection, &id, &json)?;
                    let document = layout::document(collection, next, &json, fields);
                    (document, json.len())
                }
                Change::Delete => (layout::deleted(next), 0),
            };
            let fields = writes::replacement(&id, document);
            updates.push(writes::Update { fields, bytes });
        }
        let moved = self.commit_by(collection, expected, next, updates).await;
        if moved.map_err(|refusal| refusal.of(collection))? {
            return Ok(());
        }
        Err(Error::Moved {
            collection: collection.table(),
        })
    }

    async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
        let Some(find) = queries::find(collection, query)? else {
            return Ok(Page::default());
        };
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let page = self.page(collection, find, limit).await;
        page.map_err(|failure| layout::port_error(collection, &failure))
    }

    async fn scan(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Error> {
        let scanned = self.scan_by(collection, visit).await;
        scanned.map_err(|refusal| refusal.of(collection))
    }

    async fn discard(&self, collection: &Collection) -> Result<(), Error> {
        let command = doc! { "drop": collection.table(), "writeConcern": { "w": "majority" } };
        match self.server.command(command).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.code() == Some(writes::NO_COLLECTION) => Ok(()),
            Err(failure) => Err(layout::port_error(collection, &failure)),
        }
    }
}

#[cfg(test)]
mod tests;
