//! The checkpoint of a view's file, which moves in the transaction of the rows.

use recourse_event_store::LogId;
use sqlx::{Executor, Row, Sqlite, Transaction, sqlite::SqliteRow};

use crate::Checkpoint;

/// The table.
pub(super) const TABLE: &str = "
    CREATE TABLE checkpoint (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        log TEXT NOT NULL, position TEXT NOT NULL, event_id TEXT
    ) STRICT;";

/// Why there is no checkpoint to be had.
#[derive(Debug)]
pub(super) enum Error {
    /// The file cannot be read.
    Sql(sqlx::Error),
    /// What is there is not a checkpoint.
    Damaged,
}

/// Reads it; none where nothing was ever committed.
pub(super) async fn read<'c>(
    file: impl Executor<'c, Database = Sqlite>,
) -> Result<Option<Checkpoint>, Error> {
    let row = sqlx::query("SELECT log, position, event_id FROM checkpoint")
        .fetch_optional(file)
        .await
        .map_err(Error::Sql)?;
    row.map(|row| of_row(&row)).transpose()
}

/// Moves it from `expected` to `next`. False where it is not `expected`.
pub(super) async fn advance(
    tx: &mut Transaction<'_, Sqlite>,
    expected: Option<&Checkpoint>,
    next: &Checkpoint,
) -> Result<bool, sqlx::Error> {
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
    let moved = statement.execute(&mut **tx).await?;
    Ok(moved.rows_affected() > 0)
}

fn of_row(row: &SqliteRow) -> Result<Checkpoint, Error> {
    let text = |column: usize| row.try_get::<Option<String>, _>(column).map_err(Error::Sql);
    let log = text(0)?.and_then(|text| text.parse().ok()).map(LogId);
    let position = text(1)?.and_then(|text| text.parse().ok());
    let event_id = text(2)?.map(|text| text.parse().map_err(|_| Error::Damaged));
    Ok(Checkpoint {
        log: log.ok_or(Error::Damaged)?,
        position: position.ok_or(Error::Damaged)?,
        event_id: event_id.transpose()?,
    })
}
