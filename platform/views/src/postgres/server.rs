//! The server: how it is reached, and the schemas in it.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres,
    migrate::{Migration, MigrationType, Migrator},
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    checkpoints,
    options::{Address, AddressError, MIN_VERSION, OpenError, Options},
};

/// The schema of what no view owns.
pub(super) const SCHEMA: &str = "recourse";

/// Whoever makes schemas holds this lock of the server, so that processes that start at once do
/// it one after the other. Any number does, as long as it stays the same.
const MAKING: i64 = 0x7265_636f_7572_7365;

/// A connection that was not used for longer is asked whether it still is one.
const TRUSTED: Duration = Duration::from_secs(1);

/// What the schema of a view is to hold.
#[derive(Debug)]
pub(super) struct Contents {
    /// `stock_v1`: its name.
    pub(super) name: String,
    /// What a new one is filled with, beside the checkpoint.
    pub(super) schema: String,
    /// What of the view the schema depends on: one that was made for another is refused.
    pub(super) definition: String,
}

/// A server. Clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pool: PgPool,
    options: Options,
}

impl Server {
    /// Reaches it, and brings the schema of what no view owns up to this program's version.
    pub(super) async fn connect(options: &Options) -> Result<Self, OpenError> {
        let address = &options.address;
        let call_timeout = Duration::from_millis(options.call_timeout_ms);
        let connect_timeout = Duration::from_millis(options.connect_timeout_ms);
        let connect = connect_options(options)?;
        // One that is not from the pool, which would try again and not say why in the end.
        let mut first = timeout(connect_timeout, connect.connect())
            .await
            .map_err(|error| OpenError::of(address, error))?;
        match tokio::time::timeout(call_timeout, prepare(&mut first, address)).await {
            Ok(prepared) => prepared?,
            Err(_) => return Err(OpenError::of(address, too_slow())),
        }
        // It has done its part; whether it could say goodbye does not matter.
        let _ = timeout(connect_timeout, first.close()).await;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(connect_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, used| {
                Box::pin(async move {
                    if used.idle_for > TRUSTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(connect);
        Ok(Self {
            pool,
            options: options.clone(),
        })
    }

    /// A connection for one call.
    pub(super) async fn line(&self) -> Result<Line, sqlx::Error> {
        let connection = self.pool.acquire().await?;
        Ok(Line {
            connection,
            in_use: true,
        })
    }

    /// Waits for an answer, for as long as a call may take.
    pub(super) async fn within<T, E: From<sqlx::Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        timeout(Duration::from_millis(self.options.call_timeout_ms), work).await
    }

    /// Waits for what is under way and closes the connections.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection for one call. Closed unless it is [handed back](Line::release): after a failure,
/// or where the call was dropped, nobody knows what the server still does on it.
#[derive(Debug)]
pub(super) struct Line {
    connection: PoolConnection<Postgres>,
    in_use: bool,
}

impl Line {
    /// The call is over, and the connection as it was before.
    pub(super) fn release(mut self) {
        self.in_use = false;
    }
}

impl Deref for Line {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Line {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.in_use {
            self.connection.close_on_drop();
        }
    }
}

/// How every connection is made.
pub(super) fn connect_options(options: &Options) -> Result<PgConnectOptions, AddressError> {
    let address = options.address.options()?;
    // A server that still works when nobody waits any longer is told to stop.
    Ok(address
        .application_name("recourse")
        .options([
            ("search_path", SCHEMA.to_owned()),
            (
                "statement_timeout",
                format!("{}ms", options.call_timeout_ms),
            ),
        ])
        .disable_statement_logging())
}

pub(super) async fn timeout<T, E: From<sqlx::Error>>(
    time: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(time, work)
        .await
        .unwrap_or_else(|_| Err(too_slow().into()))
}

fn too_slow() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Holds the database against what is needed, and brings what no view owns up to date.
async fn prepare(connection: &mut PgConnection, address: &Address) -> Result<(), OpenError> {
    check(connection, address).await?;
    make_schema(connection)
        .await
        .map_err(|error| OpenError::of(address, error))?;
    migrator()
        .run(connection)
        .await
        .map_err(|error| OpenError::of_migration(address, error))
}

/// Whether this is a database that can be used.
async fn check(connection: &mut PgConnection, address: &Address) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(address, error);
    let version: String = sqlx::query_scalar("SHOW server_version_num")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    // `150018` is 15.18.
    let found = version.parse::<u32>().unwrap_or_default() / 10_000;
    if found < MIN_VERSION {
        return Err(OpenError::Version {
            address: address.clone(),
            found,
        });
    }
    let found: String = sqlx::query_scalar("SHOW server_encoding")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if found != "UTF8" {
        return Err(OpenError::Encoding {
            address: address.clone(),
            found,
        });
    }
    Ok(())
}

async fn make_schema(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut tx = begin_making(connection).await?;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "CREATE SCHEMA IF NOT EXISTS {SCHEMA}"
    )))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// The versions of the schema of what no view owns, oldest first. One that was ever released is
/// never changed: whoever has it would be refused.
fn migrator() -> Migrator {
    let state = Migration::new(
        1,
        "state".into(),
        MigrationType::Simple,
        sqlx::SqlSafeStr::into_sql_str(include_str!("migrations/0001_state.sql")),
        false,
    );
    Migrator::with_migrations(vec![state])
}

impl Contents {
    /// The definition that the schema was made for; none where there is no schema.
    pub(super) async fn find(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<String>, sqlx::Error> {
        // A schema that somebody dropped is none.
        sqlx::query_scalar(
            "SELECT definition FROM views
             WHERE name = $1 AND EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
        )
        .bind(&self.name)
        .fetch_optional(connection)
        .await
    }

    /// Makes the schema where there is none, and gives the definition that it was made for.
    pub(super) async fn make(&self, connection: &mut PgConnection) -> Result<String, sqlx::Error> {
        let mut tx = begin_making(connection).await?;
        if let Some(definition) = self.find(&mut tx).await? {
            tx.rollback().await?;
            return Ok(definition);
        }
        let schema = format!(
            "CREATE SCHEMA \"{0}\"; SET LOCAL search_path TO \"{0}\"; {1} {2};
             SET LOCAL search_path TO \"{SCHEMA}\"",
            self.name,
            checkpoints::TABLE,
            self.schema
        );
        sqlx::raw_sql(AssertSqlSafe(schema))
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO views (name, definition) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET definition = excluded.definition",
        )
        .bind(&self.name)
        .bind(&self.definition)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(self.definition.clone())
    }

    /// Drops the schema of this name.
    pub(super) async fn discard(
        connection: &mut PgConnection,
        name: &str,
    ) -> Result<(), sqlx::Error> {
        let mut tx = begin_making(connection).await?;
        sqlx::raw_sql(AssertSqlSafe(format!(
            "DROP SCHEMA IF EXISTS \"{name}\" CASCADE"
        )))
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM views WHERE name = $1")
            .bind(name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }
}

/// Begins to make something, when nobody else does.
async fn begin_making(
    connection: &mut PgConnection,
) -> Result<sqlx::Transaction<'_, Postgres>, sqlx::Error> {
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MAKING)
        .execute(&mut *tx)
        .await?;
    Ok(tx)
}

#[cfg(test)]
mod tests;
