//! Documents in `SQLite`: one file a collection, with the fields of its indexes in columns.
//!
//! ```text
//! <folder>/orders_v1.db    collection, checkpoint    as every view's file has them
//!                          documents                 id, json, one column an index
//! ```

use std::{collections::BTreeMap, path::Path};

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Row, sqlite::SqliteRow};

use super::{
    checkpoints,
    files::{self, Access, Contents, OpenError, Options},
    statements::{self, Statements},
};
use crate::{
    Checkpoint,
    documents::{self, After, Change, Collection, Document, Error, Page, Query, Value, Write},
    fields,
};

/// Documents in files.
#[derive(Debug)]
pub struct Documents {
    /// By the name of the table that another database would use.
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    statements: Statements,
    file: files::File,
}

impl Documents {
    /// Opens a file for each collection in a folder.
    ///
    /// # Errors
    /// Where one cannot be opened, or was made for another definition of the collection.
    pub async fn open(
        folder: &Path,
        collections: &[Collection],
        access: Access,
        options: &Options,
    ) -> Result<Self, OpenError> {
        files::make_folder(folder, access)?;
        let mut files = BTreeMap::new();
        for collection in collections {
            let contents = Contents {
                table: collection.table(),
                schema: statements::schema(collection),
                definition: statements::definition(collection),
            };
            let file = File {
                statements: Statements::new(collection),
                file: files::File::open(folder, &contents, access, options).await?,
            };
            files.insert(contents.table, file);
        }
        Ok(Self { files })
    }

    /// Waits for what is under way and closes the files.
    pub async fn close(&self) {
        for file in self.files.values() {
            file.file.close().await;
        }
    }

    fn file(&self, collection: &Collection) -> Result<&File, Error> {
        self.files
            .get(&collection.table())
            .ok_or_else(|| Error::Incompatible {
                collection: collection.table(),
                what: "it was not opened".to_owned(),
            })
    }
}

#[async_trait]
impl documents::Documents for Documents {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        let Some(readers) = &self.file(collection)?.file.readers else {
            return Ok(None);
        };
        checkpoints::read(readers)
            .await
            .map_err(|error| checkpoint_error(collection, error))
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Document>, Error> {
        let Some(readers) = &self.file(collection)?.file.readers else {
            return Ok(Vec::new());
        };
        if let [id] = ids {
            let row = sqlx::query("SELECT id, json FROM documents WHERE id = ?")
                .bind(id.clone())
                .fetch_optional(readers)
                .await
                .map_err(unavailable)?;
            return row.iter().map(document_of).collect();
        }
        let rows = sqlx::query(
            "SELECT id, json FROM documents WHERE id IN (SELECT value FROM json_each(?))",
        )
        .bind(json_of(ids)?)
        .fetch_all(readers)
        .await
        .map_err(unavailable)?;
        rows.iter().map(document_of).collect()
    }

    async fn commit(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), Error> {
        let file = self.file(collection)?;
        let Some(writer) = &file.file.writer else {
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
            return Err(Error::Moved {
                collection: collection.table(),
            });
        }
        let mut puts = puts.into_iter();
        for (rows, sql) in &file.statements.puts {
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
        let Some(readers) = &self.file(collection)?.file.readers else {
            return Ok(Page::default());
        };
        let mut statement = sqlx::query(AssertSqlSafe(sql));
        for value in values {
            statement = match value {
                Value::Integer(number) => statement.bind(number),
                Value::Text(text) => statement.bind(text),
            };
        }
        let mut rows = statement.fetch_all(readers).await.map_err(unavailable)?;
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
    ) -> Result<Option<Checkpoint>, Error> {
        let Some(readers) = &self.file(collection)?.file.readers else {
            return Ok(None);
        };
        // Everything that one transaction reads is of one moment.
        let mut tx = readers.begin().await.map_err(unavailable)?;
        let checkpoint = checkpoints::read(&mut *tx)
            .await
            .map_err(|error| checkpoint_error(collection, error))?;
        let mut rows = sqlx::query("SELECT id, json FROM documents ORDER BY id").fetch(&mut *tx);
        while let Some(row) = rows.try_next().await.map_err(unavailable)? {
            visit(document_of(&row)?);
        }
        Ok(checkpoint)
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
