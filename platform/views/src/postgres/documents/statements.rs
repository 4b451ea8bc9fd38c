//! The SQL of one collection, written once when the server is reached, and of its queries.

use std::{fmt::Write as _, sync::Arc};

use super::super::checkpoints;
use crate::documents::{After, Collection, Comparison, Error, Kind, Order, Query, Value};

/// The SQL of one collection.
#[derive(Debug)]
pub(super) struct Statements {
    /// Reads the checkpoint.
    pub(super) checkpoint: Arc<str>,
    /// Reads the documents of the ids `$1`.
    pub(super) load: Arc<str>,
    /// Commits where no checkpoint is expected.
    pub(super) first_commit: Arc<str>,
    /// Commits where one is.
    pub(super) commit: Arc<str>,
}

impl Statements {
    pub(super) fn new(collection: &Collection) -> Self {
        let schema = collection.table();
        Self {
            checkpoint: checkpoints::reading(&schema).into(),
            load: format!("SELECT id, json::text FROM \"{schema}\".documents WHERE id = ANY($1)")
                .into(),
            first_commit: commit(collection, false).into(),
            commit: commit(collection, true).into(),
        }
    }
}

/// What a new schema is filled with.
pub(super) fn schema(collection: &Collection) -> String {
    // `json` keeps the text as it is, so that a document reads back as it was written.
    let mut sql = String::from(
        "CREATE TABLE documents (id text COLLATE \"C\" PRIMARY KEY, json json NOT NULL",
    );
    for index in collection.indexes {
        let kind = match index.kind {
            Kind::Text => "text COLLATE \"C\"",
            Kind::Integer | Kind::Time => "bigint",
        };
        let _ = write!(sql, ", {} {kind}", column(index.path));
    }
    sql.push_str(");");
    for index in collection.indexes {
        let column = column(index.path);
        let _ = write!(sql, "CREATE INDEX by_{column} ON documents ({column}");
        // What is found by a field is listed newest first without being sorted.
        if let Some(time) = collection
            .newest_first_by
            .filter(|path| *path != index.path)
        {
            let _ = write!(sql, ", {}", self::column(time));
        }
        sql.push_str(", id);");
    }
    sql
}

/// What of a collection its schema depends on.
pub(super) fn definition(collection: &Collection) -> String {
    let mut text = collection.table();
    for index in collection.indexes {
        let _ = write!(text, " {}:{:?}", index.path, index.kind);
    }
    let _ = write!(text, " newest first by {:?}", collection.newest_first_by);
    text
}

/// The column of a field: `f_saga_status`.
fn column(path: &str) -> String {
    format!("f_{}", path.replace('.', "_"))
}

/// One statement, so that it happens whole or not at all without a transaction around it: where
/// the checkpoint is not the expected one, nothing else of it does anything. A row says that it
/// did.
///
/// What it asks for, in this order: what [`checkpoints::moving`] does; ids and texts of the
/// documents to put; the ids to delete; a list for each index.
fn commit(collection: &Collection, is_expected: bool) -> String {
    let schema = collection.table();
    let moving = checkpoints::moving(&schema, is_expected);
    let first = if is_expected { 7 } else { 4 };
    let mut columns = String::new();
    let mut lists = format!("${first}::text[], ${}::text[]", first + 1);
    let mut updates = String::from("json = excluded.json");
    for (index, number) in collection.indexes.iter().zip(first + 3..) {
        let column = column(index.path);
        let kind = match index.kind {
            Kind::Text => "text[]",
            Kind::Integer | Kind::Time => "bigint[]",
        };
        let _ = write!(columns, ", {column}");
        let _ = write!(lists, ", ${number}::{kind}");
        let _ = write!(updates, ", {column} = excluded.{column}");
    }
    format!(
        "WITH moved AS ({moving}),
         put AS (
             INSERT INTO \"{schema}\".documents (id, json{columns})
             SELECT id, json::json{columns} FROM UNNEST({lists}) AS given (id, json{columns})
             WHERE EXISTS (SELECT FROM moved)
             ON CONFLICT (id) DO UPDATE SET {updates}
         ),
         deleted AS (
             DELETE FROM \"{schema}\".documents
             WHERE id = ANY(${deleted}::text[]) AND EXISTS (SELECT FROM moved)
         )
         SELECT 1 FROM moved",
        deleted = first + 2
    )
}

/// The SQL of a part of a scan, which is a query for everything by its id.
pub(super) fn scan(
    collection: &Collection,
    after: Option<After>,
    limit: u32,
) -> (String, Vec<Value>) {
    let limit = i64::from(limit).saturating_add(1);
    let schema = collection.table();
    let select = format!("SELECT id, json::text, NULL::bigint FROM \"{schema}\".documents");
    match after {
        None => (
            format!("{select} ORDER BY id LIMIT $1"),
            vec![Value::Integer(limit)],
        ),
        Some(After { id, .. }) => (
            format!("{select} WHERE id > $1 ORDER BY id LIMIT $2"),
            vec![Value::Text(id), Value::Integer(limit)],
        ),
    }
}

/// The SQL of a query, and what its `$1` and so on stand for. It asks for one document more than
/// the limit, which says whether another page follows.
pub(super) fn query(collection: &Collection, query: &Query) -> Result<(String, Vec<Value>), Error> {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    let mut value = |value: Value| {
        values.push(value);
        format!("${}", values.len())
    };
    for filter in &query.filters {
        collection.filtered_by(filter)?;
        let comparison = match filter.comparison {
            Comparison::Equal => "=",
            Comparison::Below => "<",
        };
        let value = value(filter.value.clone());
        conditions.push(format!("{} {comparison} {value}", column(filter.path)));
    }
    let (time, order) = match query.order {
        Order::ById => {
            if let Some(After { id, .. }) = &query.after {
                conditions.push(format!("id > {}", value(Value::Text(id.clone()))));
            }
            ("NULL::bigint".to_owned(), "id".to_owned())
        }
        Order::NewestFirst => {
            collection.time_index()?;
            let time = column(collection.newest_first_by.unwrap_or_default());
            match &query.after {
                // No document without a time is listed, so none is after it either.
                Some(After { time: None, .. }) => conditions.push("FALSE".to_owned()),
                Some(After {
                    time: Some(after),
                    id,
                }) => conditions.push(format!(
                    "({time}, id) < ({}, {})",
                    value(Value::Integer(*after)),
                    value(Value::Text(id.clone()))
                )),
                None => conditions.push(format!("{time} IS NOT NULL")),
            }
            let order = format!("{time} DESC, id DESC");
            (time, order)
        }
    };
    let limit = value(Value::Integer(i64::from(query.limit).saturating_add(1)));
    let mut sql = format!(
        "SELECT id, json::text, {time} FROM \"{}\".documents",
        collection.table()
    );
    for (place, condition) in conditions.iter().enumerate() {
        sql.push_str(if place == 0 { " WHERE " } else { " AND " });
        sql.push_str(condition);
    }
    let _ = write!(sql, " ORDER BY {order} LIMIT {limit}");
    Ok((sql, values))
}
