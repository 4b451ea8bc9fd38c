//! The SQL of one collection, written once when it is opened.

use std::{fmt::Write as _, sync::Arc};

use crate::documents::{After, Collection, Comparison, Error, Kind, Order, Query, Value};

/// How many rows one statement puts. The larger the fewer calls; a batch is cut into the
/// largest that fit, so every one of them is prepared once and then found in the cache.
const PUT_SIZES: [usize; 4] = [64, 16, 4, 1];

/// The SQL of one collection.
#[derive(Debug)]
pub(super) struct Statements {
    /// By how many rows they put, largest first.
    pub(super) puts: Vec<(usize, Arc<str>)>,
}

impl Statements {
    pub(super) fn new(collection: &Collection) -> Self {
        Self {
            puts: PUT_SIZES
                .map(|rows| (rows, put(collection, rows).into()))
                .into(),
        }
    }
}

/// What a new file is filled with.
pub(super) fn schema(collection: &Collection) -> String {
    let mut sql =
        String::from("CREATE TABLE documents (id TEXT PRIMARY KEY NOT NULL, json TEXT NOT NULL");
    for index in collection.indexes {
        let kind = match index.kind {
            Kind::Text => "TEXT",
            Kind::Integer | Kind::Time => "INTEGER",
        };
        let _ = write!(sql, ", {} {kind}", column(index.path));
    }
    sql.push_str(") STRICT;");
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

/// What of a collection its file depends on.
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

fn put(collection: &Collection, rows: usize) -> String {
    let columns: Vec<_> = collection
        .indexes
        .iter()
        .map(|index| column(index.path))
        .collect();
    let mut sql = String::from("INSERT INTO documents (id, json");
    for column in &columns {
        let _ = write!(sql, ", {column}");
    }
    sql.push_str(") VALUES ");
    for row in 0..rows {
        sql.push_str(if row == 0 { "(?, ?" } else { ", (?, ?" });
        sql.push_str(&", ?".repeat(columns.len()));
        sql.push(')');
    }
    sql.push_str(" ON CONFLICT (id) DO UPDATE SET json = excluded.json");
    for column in &columns {
        let _ = write!(sql, ", {column} = excluded.{column}");
    }
    sql
}

/// The SQL of a query, and what its `?` stand for. It asks for one document more than the
/// limit, which says whether another page follows.
pub(super) fn query(collection: &Collection, query: &Query) -> Result<(String, Vec<Value>), Error> {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    for filter in &query.filters {
        collection.filtered_by(filter)?;
        let comparison = match filter.comparison {
            Comparison::Equal => "=",
            Comparison::Below => "<",
        };
        conditions.push(format!("{} {comparison} ?", column(filter.path)));
        values.push(filter.value.clone());
    }
    // Few documents are below a bound: they are to be found by its index and then put in order,
    // which the `+` makes of it, instead of looked for among all of them in that order.
    let bounded = query.filters.iter().any(|filter| {
        filter.comparison == Comparison::Below && Some(filter.path) != collection.newest_first_by
    });
    let unindexed = if bounded { "+" } else { "" };
    let (time, order) = match query.order {
        Order::ById => {
            if let Some(After { id, .. }) = &query.after {
                conditions.push("id > ?".to_owned());
                values.push(Value::Text(id.clone()));
            }
            let order = format!("{unindexed}id");
            ("NULL".to_owned(), order)
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
                }) => {
                    conditions.push(format!("({unindexed}{time}, id) < (?, ?)"));
                    values.push(Value::Integer(*after));
                    values.push(Value::Text(id.clone()));
                }
                None => conditions.push(format!("{time} IS NOT NULL")),
            }
            let order = format!("{unindexed}{time} DESC, id DESC");
            (time, order)
        }
    };
    let mut sql = format!("SELECT id, json, {time} FROM documents");
    for (place, condition) in conditions.iter().enumerate() {
        sql.push_str(if place == 0 { " WHERE " } else { " AND " });
        sql.push_str(condition);
    }
    let _ = write!(sql, " ORDER BY {order} LIMIT ?");
    values.push(Value::Integer(i64::from(query.limit).saturating_add(1)));
    Ok((sql, values))
}
