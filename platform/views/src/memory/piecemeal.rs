//! Documents in memory without transactions, for the tests of whoever fills them: a commit is
//! many writes, and anything may come between two of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::{
    Checkpoint,
    documents::{self, Change, Collection, Document, Error, Loaded, Page, Query, Scanned, Write},
};

/// Documents whose commits are piecemeal. Clones share what they hold.
#[derive(Clone, Default)]
pub(crate) struct Documents {
    tables: Arc<Mutex<BTreeMap<String, Table>>>,
    failure: Arc<Mutex<Failure>>,
}

#[derive(Clone, Default)]
struct Table {
    checkpoint: Option<Checkpoint>,
    /// None where it was deleted.
    rows: BTreeMap<String, (Checkpoint, Option<String>)>,
}

/// When a call fails.
#[derive(Clone, Copy, Default)]
pub(crate) struct Failure {
    /// How many steps were taken.
    pub(crate) steps: usize,
    /// The step that is not answered.
    pub(crate) fails_at: Option<usize>,
    /// Whether it takes effect all the same.
    pub(crate) takes_effect: bool,
    /// The writes of a commit are made from the last one on.
    pub(crate) is_backwards: bool,
}

impl Documents {
    pub(crate) fn failing(failure: Failure) -> Self {
        Self {
            failure: Arc::new(Mutex::new(failure)),
            ..Self::default()
        }
    }

    /// A copy of what is there now, which nothing changes any more.
    pub(crate) fn copy(&self) -> Self {
        Self {
            tables: Arc::new(Mutex::new(self.lock().clone())),
            ..Self::default()
        }
    }

    /// Becomes what the copy is.
    pub(crate) fn restore(&self, copy: &Self) {
        *self.lock() = copy.lock().clone();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Table>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_backwards(&self) -> bool {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.is_backwards
    }

    /// One step, which happens at once; others get their turn before it.
    async fn step<T>(
        &self,
        collection: &Collection,
        work: impl FnOnce(&mut Table) -> T,
    ) -> Result<T, Error> {
        tokio::task::yield_now().await;
        let (fails, takes_effect) = {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            let step = failure.steps;
            failure.steps += 1;
            (failure.fails_at == Some(step), failure.takes_effect)
        };
        let lost = || Error::Unavailable("lost".into());
        if fails && !takes_effect {
            return Err(lost());
        }
        let done = work(self.lock().entry(collection.table()).or_default());
        if fails { Err(lost()) } else { Ok(done) }
    }
}

#[async_trait]
impl documents::Documents for Documents {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        self.step(collection, |table| table.checkpoint).await
    }

    async fn furthest(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        let furthest = |table: &mut Table| {
            let checkpoints = table.rows.values().map(|(at, _)| *at);
            checkpoints.max_by_key(|at| at.position)
        };
        self.step(collection, furthest).await
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Error> {
        let load = |table: &mut Table| {
            let mut loaded = Loaded::default();
            for id in ids {
                let Some((at, json)) = table.rows.get(id) else {
                    continue;
                };
                loaded.folded.insert(id.clone(), at.position);
                loaded.documents.extend(json.clone().map(|json| Document {
                    id: id.clone(),
                    json,
                }));
            }
            loaded
        };
        self.step(collection, load).await
    }

    async fn commit(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        mut writes: Vec<Write>,
    ) -> Result<(), Error> {
        for Write { id, change } in &writes {
            if let Change::Put(json) = change {
                crate::fields::of_document(collection, id, json)?;
            }
        }
        let moved = || Error::Moved {
            collection: collection.table(),
        };
        if self.checkpoint(collection).await?.as_ref() != expected {
            return Err(moved());
        }
        if self.is_backwards() {
            writes.reverse();
        }
        for Write { id, change } in writes {
            let write = |table: &mut Table| {
                let row = match change {
                    Change::Put(json) => Some(json),
                    Change::Delete => None,
                };
                match table.rows.get(&id) {
                    Some((at, _)) if at.position > next.position => {}
                    _ => {
                        table.rows.insert(id, (*next, row));
                    }
                }
            };
            self.step(collection, write).await?;
        }
        let advance = |table: &mut Table| {
            let is_expected = table.checkpoint.as_ref() == expected;
            if is_expected {
                table.checkpoint = Some(*next);
            }
            is_expected
        };
        match self.step(collection, advance).await? {
            true => Ok(()),
            false => Err(moved()),
        }
    }

    async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
        // The queries are those of the other one, over what is there at this moment.
        let whole = super::Documents::default();
        let puts: Vec<Write> = {
            let tables = self.lock();
            let rows = tables.get(&collection.table()).into_iter();
            let rows = rows.flat_map(|table| &table.rows);
            rows.filter_map(|(id, (_, json))| {
                Some(Write {
                    id: id.clone(),
                    change: Change::Put(json.clone()?),
                })
            })
            .collect()
        };
        let any = crate::conformance::checkpoint(1);
        whole.commit(collection, None, &any, puts).await?;
        whole.query(collection, query).await
    }

    async fn scan(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Error> {
        let mut scanned = Scanned {
            checkpoint: self.checkpoint(collection).await?,
            ..Scanned::default()
        };
        let at = scanned.checkpoint.map(|at| at.position).unwrap_or_default();
        let ids = |table: &mut Table| table.rows.keys().cloned().collect::<BTreeSet<_>>();
        let before = self.step(collection, ids).await?;
        let mut read = async |id: String, is_late: bool| -> Result<(), Error> {
            let row = |table: &mut Table| table.rows.get(&id).cloned();
            let Some((folded, json)) = self.step(collection, row).await? else {
                return Ok(());
            };
            let is_further = folded.position > at;
            match json {
                Some(json) if is_further || !is_late => {
                    if is_further {
                        scanned.folded.insert(id.clone(), folded.position);
                    }
                    visit(Document { id, json });
                }
                None if is_further && is_late => {
                    scanned.gone.insert(id, folded.position);
                }
                _ => {}
            }
            Ok(())
        };
        for id in before {
            read(id, false).await?;
        }
        for id in self.step(collection, ids).await? {
            read(id, true).await?;
        }
        Ok(scanned)
    }

    async fn discard(&self, collection: &Collection) -> Result<(), Error> {
        self.lock().remove(&collection.table());
        Ok(())
    }
}

#[tokio::test]
async fn keeps_the_contract_of_the_port() {
    crate::conformance::documents::run(|| async { Documents::default() }).await;
}
