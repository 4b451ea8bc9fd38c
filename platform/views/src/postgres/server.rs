//! The server: how it is reached, and the schemas in it.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::checkpoints;

/// The schema of what no view owns.
const SCHEMA: &str = "recourse";

/// The oldest version of the server that is known to do: what comes before it, its makers no
/// longer mend.
const MIN_VERSION: u32 = 14;

/// Whoever makes schemas holds this lock of the server, so that processes that start at once do
/// it one after the other. Any number does, as long as it stays the same.
const MAKING: i64 = 0x7265_636f_7572_7365;

/// A connection that was not used for longer is asked whether it still is one.
const TRUSTED: Duration = Duration::from_secs(1);

/// How a server is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where it is: `postgres://user:password@host:5432/database`.
    pub address: Address,
    /// How many connections one adapter makes at most. Further calls wait for one of them.
    #[serde(default = "max_connections")]
    pub max_connections: u32,
    /// How long a call waits for a connection.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How long one call to the server may take. A call that took longer may still have taken
    /// effect.
    #[serde(default = "call_timeout_ms")]
    pub call_timeout_ms: u64,
}

const fn max_connections() -> u32 {
    4
}

const fn connect_timeout_ms() -> u64 {
    2_000
}

const fn call_timeout_ms() -> u64 {
    10_000
}

impl Options {
    /// The usual ones, for a server.
    #[must_use]
    pub const fn new(address: Address) -> Self {
        Self {
            address,
            max_connections: max_connections(),
            connect_timeout_ms: connect_timeout_ms(),
            call_timeout_ms: call_timeout_ms(),
        }
    }
}

/// A server and a database in it, as a URL. Prints itself without the password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

/// The text is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address has the form postgres://user:password@host:5432/database")]
pub struct AddressError;

impl Address {
    fn options(&self) -> Result<PgConnectOptions, AddressError> {
        let known = ["postgres://", "postgresql://"];
        if !known.iter().any(|scheme| self.0.starts_with(scheme)) {
            return Err(AddressError);
        }
        PgConnectOptions::from_str(&self.0).map_err(|_| AddressError)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let address = Self(text);
        address.options().map(|_| address)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

/// `host:5432/database`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.options() {
            Ok(options) => write!(
                f,
                "{}:{}/{}",
                options.get_host(),
                options.get_port(),
                options.get_database().unwrap_or(options.get_username())
            ),
            Err(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// It cannot be reached, or did not answer.
    #[error("PostgreSQL at {address} does not answer")]
    Unavailable {
        /// Where it should be.
        address: Address,
        /// What went wrong.
        source: sqlx::Error,
    },
    /// It does not let us do what we have to: there is no such database or user, the password
    /// is another, or the user may not make schemas.
    #[error("PostgreSQL at {address} refuses")]
    Refused {
        /// Where it is.
        address: Address,
        /// What it says.
        source: sqlx::Error,
    },
    /// It is too old.
    #[error("PostgreSQL at {address} is version {found}; {MIN_VERSION} or newer is needed")]
    Version {
        /// Where it is.
        address: Address,
        /// The version that it is of.
        found: u32,
    },
    /// The database keeps text in another encoding than ours.
    #[error("the database at {address} is encoded in {found}; make one in UTF8")]
    Encoding {
        /// Where it is.
        address: Address,
        /// The encoding that it has.
        found: String,
    },
    /// What the database holds was made by another program, or by a newer version of this one.
    #[error("the schema `{SCHEMA}` of {address} cannot be brought up to this program's version")]
    Migration {
        /// Where it is.
        address: Address,
        /// What went wrong.
        source: MigrateError,
    },
    /// A view's schema is not of the view that the program knows.
    #[error("the schema `{view}` of {address} cannot be used: {what}")]
    Incompatible {
        /// Where it is.
        address: Address,
        /// Which view, with its version.
        view: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl OpenError {
    /// Whether another try may succeed without anybody's help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(super) fn of(address: &Address, source: sqlx::Error) -> Self {
        let address = address.clone();
        let code = source
            .as_database_error()
            .and_then(|error| error.code())
            .unwrap_or_default();
        // No such database; not this user or password; may not do that. Others pass: it starts,
        // it stops, it has no place for another connection.
        if code == "3D000" || code.starts_with("28") || code == "42501" {
            return Self::Refused { address, source };
        }
        Self::Unavailable { address, source }
    }

    fn of_migration(address: &Address, error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(source) => Self::of(address, source),
            source => Self::Migration {
                address: address.clone(),
                source,
            },
        }
    }
}

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
        // A server that still works when nobody waits any longer is told to stop.
        let connect = address
            .options()?
            .application_name("recourse")
            .options([
                ("search_path", SCHEMA.to_owned()),
                (
                    "statement_timeout",
                    format!("{}ms", options.call_timeout_ms),
                ),
            ])
            .disable_statement_logging();
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

async fn timeout<T, E: From<sqlx::Error>>(
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
