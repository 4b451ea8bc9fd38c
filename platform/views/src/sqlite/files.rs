//! A view's file: opened to be filled or to be read, and held against what the program knows.
//!
//! ```text
//! collection    the definition that the file was made for
//! checkpoint    one row
//! …             what the view is made of
//! ```
//!
//! A file each, so that views are written side by side and dropping a version is deleting a
//! file. In WAL mode with `synchronous = NORMAL`: the loss of power may take the last commits
//! with it, always whole ones from the end, and the view reads them from the log again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::{
    AssertSqlSafe, ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::checkpoints;

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

/// What a file is to hold.
#[derive(Debug)]
pub(super) struct Contents {
    /// `orders_v1`: the file is `orders_v1.db`.
    pub(super) table: String,
    /// What a new file is filled with, beside the definition and the checkpoint.
    pub(super) schema: String,
    /// What of the view the schema depends on: a file made for another is refused.
    pub(super) definition: String,
}

/// The file of one view.
#[derive(Debug)]
pub(super) struct File {
    /// None for reading only.
    pub(super) writer: Option<SqlitePool>,
    pub(super) readers: SqlitePool,
}

/// Where the file of a table is.
pub(super) fn path(folder: &Path, table: &str) -> PathBuf {
    folder.join(format!("{table}.db"))
}

/// Makes the folder that the files are in, where they are to be filled.
pub(super) fn make_folder(folder: &Path, access: Access) -> Result<(), OpenError> {
    match access {
        Access::ReadOnly => Ok(()),
        Access::ReadWrite => std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder {
            folder: folder.to_owned(),
            source,
        }),
    }
}

impl File {
    /// Opens a file. One that is not there is made where it is to be filled; to be read, it is
    /// none, and so is one that another process has only begun to make.
    pub(super) async fn open(
        folder: &Path,
        contents: &Contents,
        access: Access,
        options: &Options,
    ) -> Result<Option<Self>, OpenError> {
        let path = &path(folder, &contents.table);
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
            make(&pool, contents).await.map_err(failed)?;
            writer = Some(pool);
        } else if !path.exists() {
            return Ok(None);
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(options.max_readers)
            .test_before_acquire(false)
            .connect_lazy_with(connect.read_only(true));
        let is_made = check(&readers, path, contents).await?;
        Ok(is_made.then_some(Self { writer, readers }))
    }

    /// Waits for what is under way and closes the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }
}

/// Fills a new file. Two processes that do it at once wait for each other.
async fn make(pool: &SqlitePool, contents: &Contents) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let layout: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *tx)
        .await?;
    if layout == 0 {
        let definition = "CREATE TABLE collection (definition TEXT NOT NULL) STRICT;";
        let schema = format!("{definition}{}{}", checkpoints::TABLE, contents.schema);
        sqlx::raw_sql(AssertSqlSafe(schema))
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO collection (definition) VALUES (?)")
            .bind(&contents.definition)
            .execute(&mut *tx)
            .await?;
        sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {LAYOUT}")))
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

/// Holds a file against what the program knows. False where nothing is in it yet.
async fn check(pool: &SqlitePool, path: &Path, contents: &Contents) -> Result<bool, OpenError> {
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
    if layout == 0 {
        return Ok(false);
    }
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
    if definition != contents.definition {
        return incompatible(
            "its indexes have changed and its version has not; give it a new version, or delete \
             the file: it is then filled again from the log",
        );
    }
    Ok(true)
}
