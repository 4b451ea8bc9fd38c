//! Documents in PostgreSQL: a schema a collection, with the fields of its indexes in columns.
//!
//! ```text
//! stock_v1.checkpoint    one row
//! stock_v1.documents     id, json, one column an index
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};

use self::statements::Statements;
use super::{
    OpenError, Options, checkpoints,
    server::Contents,
    views::{self, Views},
};
use crate::{
    Checkpoint,
    documents::{
        self, After, Change, Collection, Document, Error, Kind, Loaded, Page, Query, Scanned,
        Value, Write,
    },
    fields,
};

mod statements;

/// How many documents a scan reads at once.
const SCANNED_AT_ONCE: u32 = 1_024;

/// Documents in a server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Documents {
    views: Views<Statements>,
}

fn contents(collection: &Collection) -> Contents {
    Contents {
        name: collection.table(),
        schema: statements::schema(collection),
        definition: statements::definition(collection),
    }
}

fn wanted(collection: &Collection) -> (Contents, Statements) {
    (contents(collection), Statements::new(collection))
}

impl Documents {
    /// Reaches the server. The schema of a collection is made when it is first written; those of
    /// these, where they are there, are held against what the program knows.
    ///
    /// # Errors
    /// Where it cannot be reached or used, or a schema was made for another definition of the
    /// collection.
    pub async fn connect(options: &Options, collections: &[Collection]) -> Result<Self, OpenError> {
        let contents: Vec<Contents> = collections.iter().map(contents).collect();
        let views = Views::connect(options, &contents).await?;
        Ok(Self { views })
    }

    /// Waits for what is under way and closes the connections.
    pub async fn close(&self) {
        self.views.server.close().await;
    }

    /// The SQL of a collection; none where it was never written.
    async fn find(&self, collection: &Collection) -> Result<Option<Arc<Statements>>, Error> {
        let found = self
            .views
            .find(&collection.table(), || wanted(collection))
            .await;
        found.map_err(|error| view_error(collection, error))
    }

    /// What was read; nothing where somebody has dropped the schema meanwhile.
    fn read<T: Default>(
        &self,
        collection: &Collection,
        read: Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        match read {
            Ok(read) => Ok(read),
            Err(error) if views::is_gone(&error) => {
                self.views.forget(&collection.table());
                Ok(T::default())
            }
            Err(error) => Err(failed(collection, error)),
        }
    }

    async fn checkpoint_by(
        &self,
        statements: &Statements,
    ) -> Result<Option<Checkpoint>, sqlx::Error> {
        let mut line = self.views.server.line().await?;
        let read = checkpoints::read(&mut line, &statements.checkpoint);
        let checkpoint = self.views.server.within(read).await?;
        line.release();
        Ok(checkpoint)
    }

    async fn load_by(
        &self,
        statements: &Statements,
        ids: &[&str],
    ) -> Result<Vec<Document>, sqlx::Error> {
        let mut line = self.views.server.line().await?;
        let read = sqlx::query(AssertSqlSafe(Arc::clone(&statements.load)))
            .bind(ids)
            .fetch_all(&mut *line);
        let rows = self.views.server.within(read).await?;
        line.release();
        rows.iter().map(document_of).collect()
    }

    /// False where the checkpoint is not the expected one.
    async fn commit_by(
        &self,
        statements: &Statements,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        lists: Lists,
    ) -> Result<bool, sqlx::Error> {
        let sql = match expected {
            Some(_) => &statements.commit,
            None => &statements.first_commit,
        };
        let mut line = self.views.server.line().await?;
        let statement = sqlx::query(AssertSqlSafe(Arc::clone(sql)));
        let statement = checkpoints::bind(statement, expected, next)
            .bind(lists.ids)
            .bind(lists.texts)
            .bind(lists.deleted);
        let fields = lists.fields.into_iter();
        let statement = fields.fold(statement, |statement, field| match field {
            Field::Text(list) => statement.bind(list),
            Field::Integer(list) => statement.bind(list),
        });
        let moved = statement.fetch_optional(&mut *line);
        let moved = self.views.server.within(moved).await?;
        line.release();
        Ok(moved.is_some())
    }

    async fn page(&self, sql: String, values: Vec<Value>, limit: u32) -> Result<Page, sqlx::Error> {
        let mut line = self.views.server.line().await?;
        let page = page(&mut line, sql, values, limit);
        let page = self.views.server.within(page).await?;
        line.release();
        Ok(page)
    }

    async fn scan_by(
        &self,
        collection: &Collection,
        statements: &Statements,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Option<Checkpoint>, sqlx::Error> {
        let server = &self.views.server;
        let mut line = server.line().await?;
        // Everything that it reads is of one moment.
        let begun = line.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
        let mut tx = server.within(begun).await?;
        let checkpoint = checkpoints::read(&mut tx, &statements.checkpoint);
        let checkpoint = server.within(checkpoint).await?;
        let mut after = None;
        loop {
            let (sql, values) = statements::scan(collection, after, SCANNED_AT_ONCE);
            let page = page(&mut tx, sql, values, SCANNED_AT_ONCE);
            let page = server.within(page).await?;
            page.documents.into_iter().for_each(&mut *visit);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        server.within(tx.rollback()).await?;
        line.release();
        Ok(checkpoint)
    }
}

/// What a commit writes, a list a column.
struct Lists {
    ids: Vec<String>,
    texts: Vec<String>,
    deleted: Vec<String>,
    fields: Vec<Field>,
}

/// The values of one index.
enum Field {
    Text(Vec<Option<String>>),
    Integer(Vec<Option<i64>>),
}

impl Lists {
    /// What can be found to be wrong before anything is written is.
    fn new(collection: &Collection, writes: Vec<Write>) -> Result<Self, Error> {
        let mut lists = Self {
            ids: Vec::with_capacity(writes.len()),
            texts: Vec::with_capacity(writes.len()),
            deleted: Vec::new(),
            fields: collection
                .indexes
                .iter()
                .map(|index| match index.kind {
                    Kind::Text => Field::Text(Vec::new()),
                    Kind::Integer | Kind::Time => Field::Integer(Vec::new()),
                })
                .collect(),
        };
        for Write { id, change } in writes {
            match change {
                Change::Delete => lists.deleted.push(id),
                Change::Put(json) => {
                    let fields = fields::of_document(collection, &id, &json)?;
                    for (list, field) in lists.fields.iter_mut().zip(fields) {
                        match (list, field) {
                            (Field::Text(list), Some(Value::Text(text))) => {
                                if text.contains('\0') {
                                    return Err(damaged(collection, &id, ZERO));
                                }
                                list.push(Some(text));
                            }
                            (Field::Integer(list), Some(Value::Integer(number))) => {
                                list.push(Some(number));
                            }
                            (Field::Text(list), _) => list.push(None),
                            (Field::Integer(list), _) => list.push(None),
                        }
                    }
                    if id.contains('\0') {
                        return Err(damaged(collection, &id, ZERO));
                    }
                    lists.ids.push(id);
                    lists.texts.push(json);
                }
            }
        }
        Ok(lists)
    }
}

/// What PostgreSQL's text does not hold.
const ZERO: &str = "PostgreSQL holds no text with the character U+0000";

#[async_trait]
impl documents::Documents for Documents {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        let Some(statements) = self.find(collection).await? else {
            return Ok(None);
        };
        self.read(collection, self.checkpoint_by(&statements).await)
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Error> {
        let Some(statements) = self.find(collection).await? else {
            return Ok(Loaded::default());
        };
        // There can be none of an id that the server cannot read.
        let ids = ids.iter().map(String::as_str);
        let ids: Vec<&str> = ids.filter(|id| !id.contains('\0')).collect();
        let documents = self.load_by(&statements, &ids).await;
        Ok(Loaded {
            documents: self.read(collection, documents)?,
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
        let lists = Lists::new(collection, writes)?;
        let moved = || Error::Moved {
            collection: collection.table(),
        };
        let statements = match (self.find(collection).await?, expected) {
            (Some(statements), _) => statements,
            (None, None) => {
                let made = self.views.make(|| wanted(collection)).await;
                made.map_err(|error| view_error(collection, error))?
            }
            // What was there once and is not is not made again by whoever still writes to it.
            (None, Some(_)) => return Err(moved()),
        };
        let committed = self.commit_by(&statements, expected, next, lists).await;
        // Where somebody has dropped the schema, the checkpoint is gone with it.
        if self.read(collection, committed)? {
            Ok(())
        } else {
            Err(moved())
        }
    }

    async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
        let (sql, values) = statements::query(collection, query)?;
        if self.find(collection).await?.is_none() {
            return Ok(Page::default());
        }
        let page = self.page(sql, values, query.limit).await;
        self.read(collection, page)
    }

    async fn scan(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Error> {
        let Some(statements) = self.find(collection).await? else {
            return Ok(Scanned::default());
        };
        let checkpoint = self.scan_by(collection, &statements, visit).await;
        Ok(Scanned {
            checkpoint: self.read(collection, checkpoint)?,
            ..Scanned::default()
        })
    }

    async fn discard(&self, collection: &Collection) -> Result<(), Error> {
        let discarded = self.views.discard(&collection.table()).await;
        discarded.map_err(|error| failed(collection, error))
    }
}

/// One page of what a statement finds that asks for one document more than the limit.
async fn page(
    connection: &mut PgConnection,
    sql: String,
    values: Vec<Value>,
    limit: u32,
) -> Result<Page, sqlx::Error> {
    let mut statement = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        statement = match value {
            Value::Integer(number) => statement.bind(number),
            // No document has it, and the server would not read it.
            Value::Text(text) if text.contains('\0') => return Ok(Page::default()),
            Value::Text(text) => statement.bind(text),
        };
    }
    let mut rows = statement.fetch_all(connection).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let documents = rows
        .iter()
        .map(document_of)
        .collect::<Result<Vec<_>, _>>()?;
    let next = match (rows.last(), documents.last()) {
        (Some(row), Some(last)) if more => Some(After {
            time: row.try_get(2)?,
            id: last.id.clone(),
        }),
        _ => None,
    };
    Ok(Page { documents, next })
}

fn document_of(row: &PgRow) -> Result<Document, sqlx::Error> {
    Ok(Document {
        id: row.try_get(0)?,
        json: row.try_get(1)?,
    })
}

fn view_error(collection: &Collection, error: views::Error) -> Error {
    match error {
        views::Error::Sql(error) => failed(collection, error),
        views::Error::Incompatible(what) => Error::Incompatible {
            collection: collection.table(),
            what,
        },
    }
}

fn damaged(collection: &Collection, id: &str, what: &str) -> Error {
    Error::Damaged {
        collection: collection.table(),
        id: id.to_owned(),
        what: what.to_owned(),
    }
}

/// What will not mend itself is told from what may.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err asks for"
)]
fn failed(collection: &Collection, error: sqlx::Error) -> Error {
    let answer = error.as_database_error();
    let code = answer.and_then(|answer| answer.code()).unwrap_or_default();
    // A column.
    if code == "42703" {
        return Error::Incompatible {
            collection: collection.table(),
            what: format!("another version of this program has made it: {error}"),
        };
    }
    // A document that is no JSON, or a field that no index holds.
    if checkpoints::is_damage(&error) || code.starts_with("22") || code.starts_with("54") {
        return damaged(collection, "of a commit", &error.to_string());
    }
    Error::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests;
