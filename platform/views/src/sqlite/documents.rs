//! Documents in `SQLite`: one file a collection, with the fields of its indexes in columns.
//!
//! ```text
//! <folder>/orders_v1.db    collection    the definition that the file was made for
//!                          checkpoint    one row
//!                          documents     id, json, one column an index
//! ```
//!
//! A file each, so that views are written side by side and dropping a version is deleting a
//! file. In WAL mode with `synchronous = NORMAL`: the loss of power may take the last commits
//! with it, always whole ones from the end, and the view reads them from the log again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use futures::TryStreamExt;
use recourse_event_store::LogId;
use serde::{Deserialize, Serialize};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Row, Sqlite, SqlitePool, Transaction,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use super::statements::{self, Statements};
use crate::{
    Checkpoint,
    documents::{self, After, Change, Collection, Document, Error, Page, Query, Value, Write},
    fields,
};

/// The layout of a file. A file of a higher one was made by a newer program.
const LAYOUT: i64 = 1;

/// How the files are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many queries one collection answers at once; each is a thread.
    pub max_readers: u32,
    /// How long a write waits for another process that holds the file.
    pub busy_timeout_ms: u64,
    /// How much of a file the connection that writes it keeps in memory.
    pub write_cache_kib: u32,
    /// How many pages the write-ahead log gathers before they go into the file.
    pub max_wal_pages: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_readers: 2,
            busy_timeout_ms: 5_000,
            write_cache_kib: 2_048,
            max_wal_pages: 4_096,
        }
    }
}

/// What the files are opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be filled. A file that is not there is made.
    ReadWrite,
    /// To be looked at, beside the process that fills them too. A file that is not there is an
    /// empty collection.
    ReadOnly,
}

/// Why the files cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made.
    #[error("the folder of the views, {folder}, cannot be made")]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be opened.
    #[error("the view in {file} cannot be opened")]
    File {
        /// Which file.
        file: PathBuf,
        /// Why not.
        source: sqlx::Error,
    },
    /// A file is not of the collection that the program knows.
    #[error("the view in {file} cannot be used: {what}")]
    Incompatible {
        /// Which file.
        file: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
}

/// Documents in files.
#[derive(Debug)]
pub struct Documents {
    /// By the name of the table that another database would use.
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    statements: Statements,
    /// None for reading only.
    writer: Option<SqlitePool>,
    /// None where there is no file.
    readers: Option<SqlitePool>,
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
        if access == Access::ReadWrite {
            std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder {
                folder: folder.to_owned(),
                source,
            })?;
        }
        let mut files = BTreeMap::new();
        for collection in collections {
            let path = folder.join(format!("{}.db", collection.table()));
            let file = File::open(&path, collection, access, options).await?;
            files.insert(collection.table(), file);
        }
        Ok(Self { files })
    }

    /// Waits for what is under way and closes the files.
    pub async fn close(&self) {
        for file in self.files.values() {
            for pool in [&file.readers, &file.writer].into_iter().flatten() {
                pool.close().await;
            }
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

impl File {
    async fn open(
        path: &Path,
        collection: &Collection,
        access: Access,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let statements = Statements::new(collection);
        let failed = |source| OpenError::File {
            file: path.to_owned(),
            source,
        };
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(Duration::from_millis(options.busy_timeout_ms))
            .disable_statement_logging();
        let mut writer = None;
        if access == Access::ReadWrite {
            let pool = SqlitePoolOptions::new()
                .max_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .connect_with(
                    connect
                        .clone()
                        .create_if_missing(true)
                        .journal_mode(SqliteJournalMode::Wal)
                        .synchronous(SqliteSynchronous::Normal)
                        .pragma("cache_size", format!("-{}", options.write_cache_kib))
                        .pragma("wal_autocheckpoint", options.max_wal_pages.to_string()),
                )
                .await
                .map_err(failed)?;
            make(&pool, collection).await.map_err(failed)?;
            writer = Some(pool);
        } else if !path.exists() {
            return Ok(Self {
                statements,
                writer: None,
                readers: None,
            });
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(options.max_readers)
            .test_before_acquire(false)
            .connect_lazy_with(connect.read_only(true));
        check(&readers, path, collection).await?;
        Ok(Self {
            statements,
            writer,
            readers: Some(readers),
        })
    }
}

/// Fills a new file. Two processes that do it at once wait for each other.
async fn make(pool: &SqlitePool, collection: &Collection) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let layout: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *tx)
        .await?;
    if layout == 0 {
        sqlx::raw_sql(AssertSqlSafe(statements::schema(collection)))
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO collection (definition) VALUES (?)")
            .bind(statements::definition(collection))
            .execute(&mut *tx)
            .await?;
        sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {LAYOUT}")))
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

/// Holds a file against the collection that the program knows.
async fn check(pool: &SqlitePool, path: &Path, collection: &Collection) -> Result<(), OpenError> {
    let failed = |source| OpenError::File {
        file: path.to_owned(),
        source,
    };
    let incompatible = |what: &str| {
        Err(OpenError::Incompatible {
            file: path.to_owned(),
            what: what.to_owned(),
        })
    };
    let layout: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if layout != LAYOUT {
        return incompatible(
            "it was made by another version of this program; use that one, or delete the file: \
             it is then filled again from the log",
        );
    }
    let definition: String = sqlx::query_scalar("SELECT definition FROM collection")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if definition != statements::definition(collection) {
        return incompatible(
            "its indexes have changed and its version has not; give it a new version, or delete \
             the file: it is then filled again from the log",
        );
    }
    Ok(())
}

#[async_trait]
impl documents::Documents for Documents {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        let Some(readers) = &self.file(collection)?.readers else {
            return Ok(None);
        };
        let row = sqlx::query(CHECKPOINT)
            .fetch_optional(readers)
            .await
            .map_err(unavailable)?;
        row.map(|row| checkpoint_of(collection, &row)).transpose()
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Document>, Error> {
        let Some(readers) = &self.file(collection)?.readers else {
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
        let Some(writer) = &file.writer else {
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
        if !move_checkpoint(&mut tx, expected, next).await? {
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
        let Some(readers) = &self.file(collection)?.readers else {
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
        let Some(readers) = &self.file(collection)?.readers else {
            return Ok(None);
        };
        // Everything that one transaction reads is of one moment.
        let mut tx = readers.begin().await.map_err(unavailable)?;
        let row = sqlx::query(CHECKPOINT)
            .fetch_optional(&mut *tx)
            .await
            .map_err(unavailable)?;
        let checkpoint = row.map(|row| checkpoint_of(collection, &row)).transpose()?;
        let mut rows = sqlx::query("SELECT id, json FROM documents ORDER BY id").fetch(&mut *tx);
        while let Some(row) = rows.try_next().await.map_err(unavailable)? {
            visit(document_of(&row)?);
        }
        Ok(checkpoint)
    }
}

const CHECKPOINT: &str = "SELECT log, position, event_id FROM checkpoint";

/// Moves the checkpoint from `expected` to `next`. False where it is not `expected`.
async fn move_checkpoint(
    tx: &mut Transaction<'_, Sqlite>,
    expected: Option<&Checkpoint>,
    next: &Checkpoint,
) -> Result<bool, Error> {
    let id = |checkpoint: &Checkpoint| checkpoint.event_id.map(|id| id.to_string());
    let statement = match expected {
        None => sqlx::query(
            "INSERT INTO checkpoint (only, log, position, event_id) VALUES (1, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        ),
        Some(_) => sqlx::query(
            "UPDATE checkpoint SET log = ?, position = ?, event_id = ?
             WHERE log = ? AND position = ? AND event_id IS ?",
        ),
    };
    let mut statement = statement
        .bind(next.log.to_string())
        .bind(next.position.to_string())
        .bind(id(next));
    if let Some(expected) = expected {
        statement = statement
            .bind(expected.log.to_string())
            .bind(expected.position.to_string())
            .bind(id(expected));
    }
    let moved = statement.execute(&mut **tx).await.map_err(unavailable)?;
    Ok(moved.rows_affected() > 0)
}

fn checkpoint_of(collection: &Collection, row: &SqliteRow) -> Result<Checkpoint, Error> {
    let damaged = || Error::Damaged {
        collection: collection.table(),
        id: "checkpoint".to_owned(),
        what: "it cannot be read".to_owned(),
    };
    let text = |column: usize| {
        row.try_get::<Option<String>, _>(column)
            .map_err(unavailable)
    };
    let log = text(0)?.and_then(|text| text.parse().ok()).map(LogId);
    let position = text(1)?.and_then(|text| text.parse().ok());
    let event_id = text(2)?.map(|text| text.parse().map_err(|_| damaged()));
    Ok(Checkpoint {
        log: log.ok_or_else(damaged)?,
        position: position.ok_or_else(damaged)?,
        event_id: event_id.transpose()?,
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
mod tests {
    use super::*;
    use crate::{
        conformance::{self, SAMPLE, checkpoint, put},
        documents::{Comparison, Documents as _, Filter, Index, Kind, Order},
    };

    const SAMPLE_2: Collection = Collection {
        version: 2,
        indexes: &[],
        newest_first_by: None,
        ..SAMPLE
    };

    async fn open(folder: &Path, access: Access) -> Documents {
        Documents::open(folder, &[SAMPLE, SAMPLE_2], access, &Options::default())
            .await
            .unwrap()
    }

    /// Removed once it is dropped, after the files are closed.
    struct Owned {
        documents: Documents,
        _folder: tempfile::TempDir,
    }

    #[async_trait]
    impl documents::Documents for Owned {
        async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
            self.documents.checkpoint(collection).await
        }

        async fn load(
            &self,
            collection: &Collection,
            ids: &[String],
        ) -> Result<Vec<Document>, Error> {
            self.documents.load(collection, ids).await
        }

        async fn commit(
            &self,
            collection: &Collection,
            expected: Option<&Checkpoint>,
            next: &Checkpoint,
            writes: Vec<Write>,
        ) -> Result<(), Error> {
            self.documents
                .commit(collection, expected, next, writes)
                .await
        }

        async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
            self.documents.query(collection, query).await
        }

        async fn scan(
            &self,
            collection: &Collection,
            visit: &mut (dyn FnMut(Document) + Send),
        ) -> Result<Option<Checkpoint>, Error> {
            self.documents.scan(collection, visit).await
        }
    }

    #[tokio::test]
    async fn keeps_the_contract_of_the_port() {
        conformance::run(|| async {
            let folder = tempfile::tempdir().unwrap();
            Owned {
                documents: open(folder.path(), Access::ReadWrite).await,
                _folder: folder,
            }
        })
        .await;
    }

    #[tokio::test]
    async fn what_was_committed_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let documents = open(folder.path(), Access::ReadWrite).await;
        let row = put("a", "2026-01-01T00:00:00Z", "running", 1);
        let one = checkpoint(1);
        documents
            .commit(&SAMPLE, None, &one, vec![row])
            .await
            .unwrap();
        // Beside the one that writes.
        let beside = open(folder.path(), Access::ReadOnly).await;
        assert_eq!(beside.checkpoint(&SAMPLE).await.unwrap(), Some(one));
        documents.close().await;
        let again = open(folder.path(), Access::ReadWrite).await;
        assert_eq!(again.checkpoint(&SAMPLE).await.unwrap(), Some(one));
        let rows = again.load(&SAMPLE, &["a".into()]).await.unwrap();
        assert_eq!(rows.len(), 1);
    }

    #[tokio::test]
    async fn reading_only_makes_no_file_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let documents = open(folder.path(), Access::ReadOnly).await;
        assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), None);
        let refused = documents
            .commit(&SAMPLE, None, &checkpoint(1), vec![])
            .await;
        assert!(matches!(refused, Err(Error::Unavailable(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_of_another_definition_or_layout_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let documents = open(folder.path(), Access::ReadWrite).await;
        let changed = Collection {
            indexes: &[Index {
                path: "placed_at",
                kind: Kind::Time,
            }],
            ..SAMPLE
        };
        let options = Options::default();
        let what = |opened| match opened {
            Err(OpenError::Incompatible { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        let opened = Documents::open(folder.path(), &[changed], Access::ReadWrite, &options).await;
        assert!(what(opened).contains("give it a new version"));
        let writer = documents.file(&SAMPLE_2).unwrap().writer.clone().unwrap();
        sqlx::raw_sql("PRAGMA user_version = 2")
            .execute(&writer)
            .await
            .unwrap();
        let opened = Documents::open(folder.path(), &[SAMPLE_2], Access::ReadOnly, &options).await;
        assert!(what(opened).contains("another version of this program"));
    }

    #[tokio::test]
    async fn a_query_walks_an_index_and_sorts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let documents = open(folder.path(), Access::ReadWrite).await;
        let filter = |path, comparison, value| Filter {
            path,
            comparison,
            value,
        };
        let running = || filter("saga.status", Comparison::Equal, "running".into());
        let below = || filter("available", Comparison::Below, 3.into());
        let older = || filter("placed_at", Comparison::Below, 3.into());
        let after = || {
            Some(After {
                time: Some(7),
                id: "a".into(),
            })
        };
        for (filters, order, after, index, sorts) in [
            (vec![], Order::NewestFirst, None, "by_f_placed_at", false),
            (vec![], Order::NewestFirst, after(), "by_f_placed_at", false),
            (
                vec![older()],
                Order::NewestFirst,
                None,
                "by_f_placed_at",
                false,
            ),
            (
                vec![running()],
                Order::NewestFirst,
                None,
                "by_f_saga_status",
                false,
            ),
            (
                vec![running()],
                Order::NewestFirst,
                after(),
                "by_f_saga_status",
                false,
            ),
            // Few are below: they are found first and then put in order.
            (
                vec![below()],
                Order::NewestFirst,
                after(),
                "by_f_available",
                true,
            ),
            (vec![below()], Order::ById, None, "by_f_available", true),
            (
                vec![],
                Order::ById,
                after(),
                "sqlite_autoindex_documents_1",
                false,
            ),
        ] {
            let query = Query {
                filters,
                order,
                after,
                limit: 50,
            };
            let (sql, values) = statements::query(&SAMPLE, &query).unwrap();
            let explained = format!("EXPLAIN QUERY PLAN {sql}");
            let mut statement = sqlx::query(AssertSqlSafe(explained));
            for value in values {
                statement = match value {
                    Value::Integer(number) => statement.bind(number),
                    Value::Text(text) => statement.bind(text),
                };
            }
            let readers = documents.file(&SAMPLE).unwrap().readers.clone().unwrap();
            let rows = statement.fetch_all(&readers).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            let plan = plan.join("; ");
            assert!(
                plan.contains(&format!("USING INDEX {index}")),
                "{sql}: {plan}"
            );
            assert_eq!(plan.contains("TEMP B-TREE"), sorts, "{sql}: {plan}");
        }
    }
}
