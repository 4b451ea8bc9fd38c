//! Where a server is, how it is used, and why it cannot be.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sqlx::{migrate::MigrateError, postgres::PgConnectOptions};

use super::server::SCHEMA;

/// The oldest version of the server that is known to do: what comes before it, its makers no
/// longer mend.
pub(super) const MIN_VERSION: u32 = 14;

/// How a server is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where it is: `postgres://user:password@host:5432/database`.
    pub address: Address,
    /// How many connections one adapter makes at most. Further calls wait for one of them. More
    /// than twice as many as views are filled there at once: each may read while it writes.
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
    8
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
    pub(super) fn options(&self) -> Result<PgConnectOptions, AddressError> {
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

    pub(super) fn of_migration(address: &Address, error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(source) => Self::of(address, source),
            source => Self::Migration {
                address: address.clone(),
                source,
            },
        }
    }
}
