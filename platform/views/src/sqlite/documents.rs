//! Documents in `SQLite`: one file a collection, with the fields of its indexes in columns.
//!
//! ```text
//! <folder>/orders_v1.db      collection, checkpoint    as every view's file has them
//!                            documents                 id, json, one column an index
//!          orders_v1_g2.db   the same of another generation
//! ```

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Row, sqlite::SqliteRow};

use super::{
    checkpoints,
    files::{Access, Contents, OpenError, Options},
    folder::{self, Folder, Wanted},
    statements::{self, Statements},
};
use crate::{
    Checkpoint,
    documents::{
        self, After, Change, Collection, Document, Error, Loaded, Page, Query, Scanned, Value,
        Write,
    },
    fields,
};

/// Documents in files.
#[derive(Debug)]
pub struct Documents {
    folder: Folder<Statements>,
}

impl Documents {
    /// Opens the files of these collections in a folder, and makes those that are not there where
    /// they are to be filled. Any other file is opened when its collection is first wanted.
    ///
    /// # Errors
    /// Where one cannot be opened, or was made for another definition of the collection.
    pub async fn open(
        folder: &Path,
        collections: &[Collection],
        access: Access,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let folder = Folder::new(folder, access, options)?;
        for collection in collections {
            let wanted = || wanted(collection);
            folder.make(&collection.table(), wanted).await?;
        }
        Ok(Self { folder })
    }

    /// Waits for what is under way and closes the files.
    pub async fn close(&self) {
        self.folder.close().await;
    }

    /// The file of a collection; none where it was never written.
    async fn file(&self, collection: &Collection) -> Result<Option<Arc<Opened>>, Error> {
        let found = self
            .folder
            .find(&collection.table(), || wanted(collection))
            .await;
        found.map_err(|error| open_error(collection, error))
    }
}

/// A file that is open, and the SQL of its collection.
type Opened = folder::Opened<Statements>;

fn wanted(collection: &Collection) -> Wanted<Statements> {
    Wanted {
        contents: Contents {
            table: collection.table(),
            schema: statements::schema(collection),
            definition: statements::definition(collection),
        },
        with: Statements::new(collection),
    }
}

#[async_trait]
impl documents::Documents for Documents {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        let Some(opened) = self.file(collection).await? else {
            return Ok(None);
        };
        checkpoints::read(&opened.file.readers)
            .await
            .map_err(|error| checkpoint_error(collection, error))
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Error> {
        let Some(opened) = self.file(collection).await? else {
            return Ok(Loaded::default());
        };
        let readers = &opened.file.readers;
        if let [id] = ids {
            let row = sqlx::query("SELECT id, json FROM documents WHERE id = ?")
                .bind(id.clone())
                .fetch_optional(readers)
                .await
                .map_err(unavailable)?;
            return loaded(row.as_slice());
        }
        let rows = sqlx::query(
            "SELECT id, json FROM documents WHERE id IN (SELECT value FROM json_each(?))",
        )
        .bind(json_of(ids)?)
        .fetch_all(readers)
        .await
        .map_err(unavailable)?;
        loaded(&rows)
    }

    async fn commit(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), Error> {
        let moved = || Error::Moved {
            collection: collection.table(),
        };
        let opened = match expected {
            None => {
                let table = collection.table();
                let made = self.folder.make(&table, || wanted(collection)).await;
                made.map_err(|error| open_error(collection, error))?
            }
            // What was there once and is not is not made again by whoever still writes to it.
            Some(_) => Some(self.file(collection).await?.ok_or_else(moved)?),
        };
        let writer = opened.as_ref().and_then(|opened| {
            let writer = opened.file.writer.as_ref();
            writer.map(|writer| (writer, &opened.with))
        });
        let Some((writer, statements)) = writer else {
            return Err(Error::Unavailable("it was opened to be read".to_owned()));
        };
        let mut puts = Vec::with_capacity(writes.len());
        let mut deletes = Vec::new();
        for Write { id, change } in writes {
            match change {
                Change::Put(json) => {
                    let fields = fields::of_document(collection, &id, &json)?;
                    puts.push((id, json, fields));
                }
                Change::Delete => deletes.push(id),
            }
        }
        let mut tx = writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(unavailable)?;
        // Rolled back where it is dropped on the way out.
        if !checkpoints::advance(&mut tx, expected, next)
            .await
            .map_err(unavailable)?
        {
            return Err(moved());
        }
        let mut puts = puts.into_iter();
        for (rows, sql) in &statements.puts {
            while puts.len() >= *rows {
                let mut statement = sqlx::query(AssertSqlSafe(sql.clone()));
                for (id, json, fields) in puts.by_ref().take(*rows) {
                    statement = statement.bind(id).bind(json);
                    for field in fields {
                        statement = match field {
                            Some(Value::Integer(number)) => statement.bind(number),
                            Some(Value::Text(text)) => statement.bind(text),
                            None => statement.bind(None::<i64>),
                        };
                    }
                }
                statement.execute(&mut *tx).await.map_err(unavailable)?;
            }
        }
        if !deletes.is_empty() {
            sqlx::query("DELETE FROM documents WHERE id IN (SELECT value FROM json_each(?))")
                .bind(json_of(&deletes)?)
                .execute(&mut *tx)
                .await
                .map_err(unavailable)?;
        }
        tx.commit().await.map_err(unavailable)
    }

    async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
        let (sql, values) = statements::query(collection, query)?;
        let Some(opened) = self.file(collection).await? else {
            return Ok(Page::default());
        };
        let mut statement = sqlx::query(AssertSqlSafe(sql));
        for value in values {
            statement = match value {
                Value::Integer(number) => statement.bind(number),
                Value::Text(text) => statement.bind(text),
            };
        }
        let mut rows = statement
            .fetch_all(&opened.file.readers)
            .await
            .map_err(unavailable)?;
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let documents = rows
            .iter()
            .map(document_of)
            .collect::<Result<Vec<_>, _>>()?;
        let next = match (rows.last(), documents.last()) {
            (Some(row), Some(last)) if more => Some(After {
                time: row.try_get(2).map_err(unavailable)?,
                id: last.id.clone(),
            }),
            _ => None,
        };
        Ok(Page { documents, next })
    }

    async fn scan(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Error> {
        let Some(opened) = self.file(collection).await? else {
            return Ok(Scanned::default());
        };
        // Everything that one transaction reads is of one moment.
        let mut tx = opened.file.readers.begin().await.map_err(unavailable)?;
        let checkpoint = checkpoints::read(&mut *tx)
            .await
            .map_err(|error| checkpoint_error(collection, error))?;
        let mut rows = sqlx::query("SELECT id, json FROM documents ORDER BY id").fetch(&mut *tx);
        while let Some(row) = rows.try_next().await.map_err(unavailable)? {
            visit(document_of(&row)?);
        }
        Ok(Scanned {
            checkpoint,
            ..Scanned::default()
        })
    }

    async fn discard(&self, collection: &Collection) -> Result<(), Error> {
        let deleted = self.folder.delete(&collection.table()).await;
        deleted.map_err(|error| Error::Unavailable(error.to_string()))
    }
}

/// A file that was made by another program is that until somebody acts.
fn open_error(collection: &Collection, error: OpenError) -> Error {
    match error {
        OpenError::Incompatible { what, .. } => Error::Incompatible {
            collection: collection.table(),
            what,
        },
        OpenError::File { source, .. } => unavailable(source),
        error @ OpenError::Folder { .. } => Error::Unavailable(error.to_string()),
    }
}

fn checkpoint_error(collection: &Collection, error: checkpoints::Error) -> Error {
    match error {
        checkpoints::Error::Sql(error) => unavailable(error),
        checkpoints::Error::Damaged => Error::Damaged {
            collection: collection.table(),
            id: "checkpoint".to_owned(),
            what: "it cannot be read".to_owned(),
        },
    }
}

fn loaded(rows: &[SqliteRow]) -> Result<Loaded, Error> {
    Ok(Loaded {
        documents: rows.iter().map(document_of).collect::<Result<_, _>>()?,
        ..Loaded::default()
    })
}

fn document_of(row: &SqliteRow) -> Result<Document, Error> {
    Ok(Document {
        id: row.try_get(0).map_err(unavailable)?,
        json: row.try_get(1).map_err(unavailable)?,
    })
}

fn json_of(ids: &[String]) -> Result<String, Error> {
    serde_json::to_string(ids).map_err(|error| Error::Unavailable(error.to_string()))
}
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err asks for"
)]
fn unavailable(error: sqlx::Error) -> Error {
    Error::Unavailable(error.to_string())
}
#[cfg(test)]
mod tests;
