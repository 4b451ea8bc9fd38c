//! What services keep beside the log: how far each consumer has come, and snapshots. Nothing of
//! it is the truth: whatever is lost is read from the log again.
//!
//! Consumers of all services share the table, so each has a name of its own.

use async_trait::async_trait;
use recourse_bus::{Checkpoint, Checkpoints, CheckpointsError};
use recourse_cqrs::{Snapshot, Snapshots, SnapshotsError};
use recourse_event_store::{LogId, StreamName};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::{
    OpenError, Options,
    server::{Line, Server},
};

/// Checkpoints and snapshots in a server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct State {
    server: Server,
}

impl State {
    /// Reaches the server, and makes the tables where they are not there yet.
    ///
    /// # Errors
    /// Where it cannot be reached or used.
    pub async fn connect(options: &Options) -> Result<Self, OpenError> {
        let server = Server::connect(options).await?;
        Ok(Self { server })
    }

    /// Waits for what is under way and closes the connections.
    pub async fn close(&self) {
        self.server.close().await;
    }

    async fn line(&self) -> Result<Line, sqlx::Error> {
        self.server.line().await
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<String>, sqlx::Error> {
        let mut line = self.line().await?;
        let read = sqlx::query_scalar("SELECT json::text FROM checkpoints WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *line);
        let json = self.server.within(read).await?;
        line.release();
        Ok(json)
    }

    async fn save_checkpoint(&self, name: &str, json: String) -> Result<(), sqlx::Error> {
        let mut line = self.line().await?;
        let written = sqlx::query(
            "INSERT INTO checkpoints (name, json) VALUES ($1, $2::text::json)
             ON CONFLICT (name) DO UPDATE SET json = excluded.json",
        )
        .bind(name)
        .bind(json)
        .execute(&mut *line);
        self.server.within(written).await?;
        line.release();
        Ok(())
    }

    async fn snapshot(&self, stream: &StreamName) -> Result<Option<PgRow>, sqlx::Error> {
        let mut line = self.line().await?;
        let read = sqlx::query(
            "SELECT log, revision, position, event_id, state FROM snapshots WHERE stream = $1",
        )
        .bind(stream.as_str())
        .fetch_optional(&mut *line);
        let row = self.server.within(read).await?;
        line.release();
        Ok(row)
    }

    async fn save_snapshot(&self, snapshot: Snapshot, revision: i64) -> Result<(), sqlx::Error> {
        let mut line = self.line().await?;
        let written = sqlx::query(
            "INSERT INTO snapshots (stream, log, revision, position, event_id, state)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (stream) DO UPDATE SET
                 log = excluded.log, revision = excluded.revision,
                 position = excluded.position, event_id = excluded.event_id,
                 state = excluded.state",
        )
        .bind(snapshot.stream.as_str().to_owned())
        .bind(snapshot.log.0)
        .bind(revision)
        .bind(snapshot.position.to_string())
        .bind(snapshot.event_id)
        .bind(Vec::from(snapshot.state))
        .execute(&mut *line);
        self.server.within(written).await?;
        line.release();
        Ok(())
    }
}

#[async_trait]
impl Checkpoints for State {
    async fn load(&self, name: &str) -> Result<Option<Checkpoint>, CheckpointsError> {
        let failed = |error: &dyn std::error::Error| CheckpointsError(error.to_string());
        let json = self
            .checkpoint(name)
            .await
            .map_err(|error| failed(&error))?;
        json.map(|json| serde_json::from_str(&json).map_err(|error| failed(&error)))
            .transpose()
    }

    async fn save(&self, name: &str, checkpoint: Checkpoint) -> Result<(), CheckpointsError> {
        let failed = |error: &dyn std::error::Error| CheckpointsError(error.to_string());
        let json = serde_json::to_string(&checkpoint).map_err(|error| failed(&error))?;
        let saved = self.save_checkpoint(name, json).await;
        saved.map_err(|error| failed(&error))
    }
}

#[async_trait]
impl Snapshots for State {
    async fn load(&self, stream: &StreamName) -> Result<Option<Snapshot>, SnapshotsError> {
        let row = self.snapshot(stream).await;
        let row = row.map_err(|error| SnapshotsError(error.to_string()))?;
        row.map(|row| snapshot_of(stream, &row)).transpose()
    }

    async fn save(&self, snapshot: Snapshot) -> Result<(), SnapshotsError> {
        let revision = i64::try_from(snapshot.revision)
            .map_err(|_| SnapshotsError("the revision is over 63 bits".to_owned()))?;
        let saved = self.save_snapshot(snapshot, revision).await;
        saved.map_err(|error| SnapshotsError(error.to_string()))
    }
}

fn snapshot_of(stream: &StreamName, row: &PgRow) -> Result<Snapshot, SnapshotsError> {
    let failed = |error: sqlx::Error| SnapshotsError(error.to_string());
    let damaged = || SnapshotsError(format!("the snapshot of {stream} is damaged"));
    let revision: i64 = row.try_get(1).map_err(failed)?;
    let position: String = row.try_get(2).map_err(failed)?;
    Ok(Snapshot {
        log: LogId(row.try_get::<Uuid, _>(0).map_err(failed)?),
        stream: stream.clone(),
        revision: u64::try_from(revision).map_err(|_| damaged())?,
        position: position.parse().map_err(|_| damaged())?,
        event_id: row.try_get(3).map_err(failed)?,
        state: row.try_get::<Vec<u8>, _>(4).map_err(failed)?.into(),
    })
}

#[cfg(test)]
mod tests;
