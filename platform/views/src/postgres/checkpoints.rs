//! The checkpoint of a view's schema, which moves in the transaction of the rows.

use std::sync::Arc;

use recourse_event_store::LogId;
use sqlx::{AssertSqlSafe, PgConnection, Row, postgres::PgArguments, query::Query};
use uuid::Uuid;

use crate::Checkpoint;

/// The table.
pub(super) const TABLE: &str = "
    CREATE TABLE checkpoint (
        id integer PRIMARY KEY CHECK (id = 1),
        log uuid NOT NULL, position text NOT NULL, event_id uuid
    );";

/// The SQL that reads it from a schema.
pub(super) fn reading(schema: &str) -> String {
    format!("SELECT log, position, event_id FROM \"{schema}\".checkpoint")
}

/// The SQL that moves it, and gives a row where it did. `$1` to `$3` are the next one, `$4` to
/// `$6` the expected one, where one is.
///
/// Somebody else who moves it at the same time is waited for, and then found to have moved it.
pub(super) fn moving(schema: &str, is_expected: bool) -> String {
    if is_expected {
        format!(
            "UPDATE \"{schema}\".checkpoint SET log = $1, position = $2, event_id = $3
             WHERE log = $4 AND position = $5 AND event_id IS NOT DISTINCT FROM $6 RETURNING 1"
        )
    } else {
        format!(
            "INSERT INTO \"{schema}\".checkpoint (id, log, position, event_id)
             VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1"
        )
    }
}

/// Binds what [`moving`] asks for.
pub(super) fn bind<'q>(
    query: Query<'q, sqlx::Postgres, PgArguments>,
    expected: Option<&Checkpoint>,
    next: &Checkpoint,
) -> Query<'q, sqlx::Postgres, PgArguments> {
    std::iter::once(next)
        .chain(expected)
        .fold(query, |query, checkpoint| {
            query
                .bind(checkpoint.log.0)
                .bind(checkpoint.position.to_string())
                .bind(checkpoint.event_id)
        })
}

/// Reads it; none where nothing was ever committed.
pub(super) async fn read(
    connection: &mut PgConnection,
    reading: &Arc<str>,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(reading)))
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let position: String = row.try_get(1)?;
    let position = position.parse();
    Ok(Some(Checkpoint {
        log: LogId(row.try_get::<Uuid, _>(0)?),
        position: position.map_err(|_| damaged("the checkpoint cannot be read"))?,
        event_id: row.try_get(2)?,
    }))
}

/// What was read is not what it should be.
pub(super) fn damaged(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

/// What is damaged, where that is why something failed.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }
    )
}
