//! The conditions and orders of queries, and the indexes that they walk.

use mongodb::bson::{Bson, Document, doc};

use super::layout;
use crate::documents::{After, Collection, Comparison, Error, Order, Query, Value};

/// What the field of an index is called: `f_saga_status`.
pub(super) fn name(path: &str) -> String {
    format!("f_{}", path.replace('.', "_"))
}

/// Where it is in a document.
fn field(path: &str) -> String {
    format!("{}.{}", layout::STATE, name(path))
}

/// Whether a document is there.
const LIVE: &str = "state.live";

/// How far it is folded.
const AT: &str = "state.at";

/// A query as the server takes it.
#[derive(Debug)]
pub(super) struct Find {
    pub(super) filter: Document,
    pub(super) sort: Document,
}

/// The indexes of a collection: name and keys.
pub(super) fn indexes(collection: &Collection) -> Vec<(String, Document)> {
    let mut indexes = vec![
        // What is there, by its id.
        ("live".to_owned(), doc! { LIVE: 1, "_id": 1 }),
        // What is furthest.
        ("at".to_owned(), doc! { AT: 1 }),
    ];
    for index in collection.indexes {
        let field = field(index.path);
        let mut keys = doc! { &field: 1 };
        // What is found by a field is listed newest first without being sorted.
        if let Some(time) = collection
            .newest_first_by
            .filter(|path| *path != index.path)
        {
            keys.insert(self::field(time), 1);
        }
        keys.insert("_id", 1);
        indexes.push((format!("by_{}", name(index.path)), keys));
    }
    indexes
}

/// What is further than a position.
pub(super) fn further(than: &str) -> Find {
    Find {
        filter: doc! { AT: { "$gt": than } },
        sort: doc! { AT: 1 },
    }
}

/// The furthest document.
pub(super) fn furthest() -> Find {
    Find {
        filter: doc! { AT: { "$gt": "" } },
        sort: doc! { AT: -1 },
    }
}

/// What is there, by its id.
pub(super) fn by_id(after: Option<&str>) -> Find {
    let mut filter = doc! { LIVE: true };
    if let Some(after) = after {
        filter.insert("_id", doc! { "$gt": after });
    }
    Find {
        filter,
        sort: doc! { "_id": 1 },
    }
}

/// A query of the port; none where nothing can be found.
pub(super) fn find(collection: &Collection, query: &Query) -> Result<Option<Find>, Error> {
    let mut conditions = Vec::new();
    for filter in &query.filters {
        collection.filtered_by(filter)?;
        let operator = match filter.comparison {
            Comparison::Equal => "$eq",
            Comparison::Below => "$lt",
        };
        let value = match &filter.value {
            Value::Integer(number) => Bson::Int64(*number),
            Value::Text(text) => Bson::String(text.clone()),
        };
        conditions.push(doc! { field(filter.path): { operator: value } });
    }
    let sort = match query.order {
        Order::ById => {
            let after = query.after.as_ref().map(|after| &*after.id);
            let by_id = by_id(after);
            conditions.push(by_id.filter);
            by_id.sort
        }
        Order::NewestFirst => {
            collection.time_index()?;
            let time = field(collection.newest_first_by.unwrap_or_default());
            match &query.after {
                // No document without a time is listed, so none is after it either.
                Some(After { time: None, .. }) => return Ok(None),
                Some(After {
                    time: Some(after),
                    id,
                }) => {
                    conditions.push(doc! { &time: { "$lte": after } });
                    conditions.push(doc! {
                        "$or": [{ &time: { "$lt": after } }, { "_id": { "$lt": id } }]
                    });
                }
                None => conditions.push(doc! { &time: { "$gte": i64::MIN } }),
            }
            doc! { time: -1, "_id": -1 }
        }
    };
    Ok(Some(Find {
        filter: doc! { "$and": conditions },
        sort,
    }))
}
