//! What the services of one process keep beside their log: how far each consumer has come, and
//! snapshots. One file, `state.db`, of which nothing is the truth: whatever is lost with it is
//! read from the log again.
//!
//! With `synchronous = FULL`, since a checkpoint that was saved is to survive the loss of power.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use recourse_bus::{Checkpoint, Checkpoints, CheckpointsError};
use recourse_cqrs::{Snapshot, Snapshots, SnapshotsError};
use recourse_event_store::{LogId, StreamName};
use sqlx::{
    ConnectOptions, Row, SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use super::OpenError;

/// The layout of the file. A file of a higher one was made by a newer program.
const LAYOUT: i64 = 1;

/// How long a call waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Checkpoints and snapshots in a file. Clones share it.
#[derive(Clone, Debug)]
pub struct State {
    pool: SqlitePool,
}

impl State {
    /// Opens the file, or makes it in a folder that is there.
    ///
    /// # Errors
    /// Where it cannot be opened, or was made by a newer program.
    pub async fn open(file: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::File {
            file: file.to_owned(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(failed)?;
        if make(&pool).await.map_err(failed)? != LAYOUT {
            return Err(OpenError::Incompatible {
                file: file.to_owned(),
                what: "it was made by another version of this program; use that one, or delete \
                       the file: what it held is then read from the log again"
                    .to_owned(),
            });
        }
        Ok(Self { pool })
    }

    /// Waits for what is under way and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Fills a new file, and says which layout the file has.
async fn make(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let layout: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *tx)
        .await?;
    if layout != 0 {
        return Ok(layout);
    }
    sqlx::raw_sql(
        "CREATE TABLE checkpoints (name TEXT PRIMARY KEY NOT NULL, json TEXT NOT NULL)
             STRICT, WITHOUT ROWID;
         CREATE TABLE snapshots (
             stream TEXT PRIMARY KEY NOT NULL, log TEXT NOT NULL, revision INTEGER NOT NULL,
             position TEXT NOT NULL, event_id TEXT NOT NULL, state BLOB NOT NULL
         ) STRICT;
         PRAGMA user_version = 1;",
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(LAYOUT)
}

#[async_trait]
impl Checkpoints for State {
    async fn load(&self, name: &str) -> Result<Option<Checkpoint>, CheckpointsError> {
        let failed = |error: &dyn std::error::Error| CheckpointsError(error.to_string());
        let json: Option<String> =
            sqlx::query_scalar("SELECT json FROM checkpoints WHERE name = ?")
                .bind(name.to_owned())
                .fetch_optional(&self.pool)
                .await
                .map_err(|error| failed(&error))?;
        json.map(|json| serde_json::from_str(&json).map_err(|error| failed(&error)))
            .transpose()
    }

    async fn save(&self, name: &str, checkpoint: Checkpoint) -> Result<(), CheckpointsError> {
        let failed = |error: &dyn std::error::Error| CheckpointsError(error.to_string());
        let json = serde_json::to_string(&checkpoint).map_err(|error| failed(&error))?;
        sqlx::query(
            "INSERT INTO checkpoints (name, json) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET json = excluded.json",
        )
        .bind(name.to_owned())
        .bind(json)
        .execute(&self.pool)
        .await
        .map_err(|error| failed(&error))?;
        Ok(())
    }
}

#[async_trait]
impl Snapshots for State {
    async fn load(&self, stream: &StreamName) -> Result<Option<Snapshot>, SnapshotsError> {
        let row = sqlx::query(
            "SELECT log, revision, position, event_id, state FROM snapshots WHERE stream = ?",
        )
        .bind(stream.as_str().to_owned())
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| SnapshotsError(error.to_string()))?;
        row.map(|row| snapshot_of(stream, &row)).transpose()
    }

    async fn save(&self, snapshot: Snapshot) -> Result<(), SnapshotsError> {
        let revision = i64::try_from(snapshot.revision)
            .map_err(|_| SnapshotsError("the revision is over 63 bits".to_owned()))?;
        sqlx::query(
            "INSERT INTO snapshots (stream, log, revision, position, event_id, state)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (stream) DO UPDATE SET
                 log = excluded.log, revision = excluded.revision,
                 position = excluded.position, event_id = excluded.event_id,
                 state = excluded.state",
        )
        .bind(snapshot.stream.as_str().to_owned())
        .bind(snapshot.log.to_string())
        .bind(revision)
        .bind(snapshot.position.to_string())
        .bind(snapshot.event_id.to_string())
        .bind(Vec::from(snapshot.state))
        .execute(&self.pool)
        .await
        .map_err(|error| SnapshotsError(error.to_string()))?;
        Ok(())
    }
}

fn snapshot_of(stream: &StreamName, row: &SqliteRow) -> Result<Snapshot, SnapshotsError> {
    let failed = |error: sqlx::Error| SnapshotsError(error.to_string());
    let damaged = || SnapshotsError(format!("the snapshot of {stream} is damaged"));
    let text = |column: usize| row.try_get::<String, _>(column).map_err(failed);
    let revision: i64 = row.try_get(1).map_err(failed)?;
    Ok(Snapshot {
        log: LogId(text(0)?.parse().map_err(|_| damaged())?),
        stream: stream.clone(),
        revision: u64::try_from(revision).map_err(|_| damaged())?,
        position: text(2)?.parse().map_err(|_| damaged())?,
        event_id: text(3)?.parse().map_err(|_| damaged())?,
        state: row.try_get::<Vec<u8>, _>(4).map_err(failed)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use recourse_bus::Json;
    use recourse_event_store::Position;
    use uuid::Uuid;

    use super::*;

    const LOG: LogId = LogId(Uuid::from_u128(1));

    #[tokio::test]
    async fn checkpoints_and_snapshots_are_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let checkpoint = |position| Checkpoint {
            log: LOG,
            position: Position::dense(position),
            event_id: Some(Uuid::from_u128(u128::from(position))),
            state: Some(Json::write(&position).unwrap()),
        };
        let stream = StreamName::new("stock", "tea-1");
        let snapshot = |revision: u64| Snapshot {
            log: LOG,
            stream: stream.clone(),
            revision,
            position: Position::dense(revision * 3),
            event_id: Uuid::from_u128(9),
            state: revision.to_be_bytes().to_vec().into(),
        };
        let state = State::open(&file).await.unwrap();
        assert_eq!(Checkpoints::load(&state, "orders").await.unwrap(), None);
        assert_eq!(Snapshots::load(&state, &stream).await.unwrap(), None);
        for n in [1, 2] {
            Checkpoints::save(&state, "orders", checkpoint(n))
                .await
                .unwrap();
            Snapshots::save(&state, snapshot(n)).await.unwrap();
        }
        Checkpoints::save(&state, "stock", checkpoint(7))
            .await
            .unwrap();
        state.close().await;
        let again = State::open(&file).await.unwrap();
        assert_eq!(
            Checkpoints::load(&again, "orders").await.unwrap(),
            Some(checkpoint(2))
        );
        assert_eq!(
            Snapshots::load(&again, &stream).await.unwrap(),
            Some(snapshot(2))
        );
    }

    #[tokio::test]
    async fn a_file_of_another_layout_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let state = State::open(&file).await.unwrap();
        sqlx::raw_sql("PRAGMA user_version = 2")
            .execute(&state.pool)
            .await
            .unwrap();
        state.close().await;
        assert!(matches!(
            State::open(&file).await,
            Err(OpenError::Incompatible { .. })
        ));
    }
}
