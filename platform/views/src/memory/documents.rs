//! Documents in memory.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::{
    Checkpoint,
    documents::{
        self, After, Change, Collection, Comparison, Document, Error, Loaded, Order, Page, Query,
        Scanned, Value, Write,
    },
    fields,
};

/// Documents in memory.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    tables: Arc<Mutex<BTreeMap<String, Table>>>,
}

#[derive(Debug, Default)]
struct Table {
    checkpoint: Option<Checkpoint>,
    rows: BTreeMap<String, Row>,
}

#[derive(Debug)]
struct Row {
    json: String,
    fields: Vec<Option<Value>>,
}

impl Documents {
    /// No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Table>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl documents::Documents for Documents {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        let tables = self.lock();
        Ok(tables
            .get(&collection.table())
            .and_then(|table| table.checkpoint))
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Error> {
        let tables = self.lock();
        let Some(table) = tables.get(&collection.table()) else {
            return Ok(Loaded::default());
        };
        let document = |id: &String| table.rows.get(id).map(|row| row.document(id));
        Ok(Loaded {
            documents: ids.iter().filter_map(document).collect(),
            ..Loaded::default()
        })
    }

    async fn commit(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), Error> {
        // What can fail comes first: nothing is half done.
        let mut changes = Vec::with_capacity(writes.len());
        for Write { id, change } in writes {
            let row = match change {
                Change::Delete => None,
                Change::Put(json) => Some(Row {
                    fields: fields::of_document(collection, &id, &json)?,
                    json,
                }),
            };
            changes.push((id, row));
        }
        let mut tables = self.lock();
        let table = tables.entry(collection.table()).or_default();
        if table.checkpoint.as_ref() != expected {
            return Err(Error::Moved {
                collection: collection.table(),
            });
        }
        table.checkpoint = Some(*next);
        for (id, row) in changes {
            match row {
                Some(row) => table.rows.insert(id, row),
                None => table.rows.remove(&id),
            };
        }
        Ok(())
    }

    async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
        let mut filters = Vec::with_capacity(query.filters.len());
        for filter in &query.filters {
            filters.push((collection.filtered_by(filter)?, filter));
        }
        let time_index = match query.order {
            Order::ById => None,
            Order::NewestFirst => Some(collection.time_index()?),
        };
        let tables = self.lock();
        let Some(table) = tables.get(&collection.table()) else {
            return Ok(Page::default());
        };
        let mut found = Vec::new();
        for (id, row) in &table.rows {
            let passes = filters.iter().all(|(index, filter)| {
                row.field(*index)
                    .is_some_and(|value| match filter.comparison {
                        Comparison::Equal => *value == filter.value,
                        Comparison::Below => *value < filter.value,
                    })
            });
            let time = match time_index.map(|index| row.field(index)) {
                None => None,
                Some(Some(Value::Integer(time))) => Some(*time),
                Some(_) => continue,
            };
            let is_after = query.after.as_ref().is_none_or(|after| match query.order {
                Order::ById => *id > after.id,
                Order::NewestFirst => (time, id) < (after.time, &after.id),
            });
            if passes && is_after {
                found.push((time, id, row));
            }
        }
        if query.order == Order::NewestFirst {
            found.sort_by_key(|(time, id, _)| Reverse((*time, *id)));
        }
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(time, id, _)| After {
            time: *time,
            id: (*id).clone(),
        });
        let documents = found.iter().map(|(_, id, row)| row.document(id)).collect();
        Ok(Page { documents, next })
    }

    async fn scan(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Error> {
        let tables = self.lock();
        let Some(table) = tables.get(&collection.table()) else {
            return Ok(Scanned::default());
        };
        for (id, row) in &table.rows {
            visit(row.document(id));
        }
        Ok(Scanned {
            checkpoint: table.checkpoint,
            ..Scanned::default()
        })
    }

    async fn discard(&self, collection: &Collection) -> Result<(), Error> {
        self.lock().remove(&collection.table());
        Ok(())
    }
}

impl Row {
    fn document(&self, id: &str) -> Document {
        Document {
            id: id.to_owned(),
            json: self.json.clone(),
        }
    }

    fn field(&self, index: usize) -> Option<&Value> {
        self.fields.get(index).and_then(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract_of_the_port() {
        crate::conformance::documents::run(|| async { Documents::default() }).await;
    }
}
