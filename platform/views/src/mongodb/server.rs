//! The server: how it is reached, and how long a call may take.

use std::{fmt, str::FromStr, time::Duration};

use mongodb::{
    Client, Database,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::{ClientOptions, ConnectionString, HostInfo, ReadConcern, WriteConcern},
};
use serde::{Deserialize, Serialize};

/// The oldest version of the server that is known to do.
const MIN_VERSION: u32 = 5;

/// How a server is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where it is: `mongodb://user:password@host:27017/database`.
    pub address: Address,
    /// How many connections are made at most. Further calls wait for one of them. More than twice
    /// as many as views are filled there at once: each may read while it writes.
    #[serde(default = "max_connections")]
    pub max_connections: u32,
    /// How long a call waits for a connection, and for a server that takes writes.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How long one call to the server may take. A call that took longer may still have taken
    /// effect.
    #[serde(default = "call_timeout_ms")]
    pub call_timeout_ms: u64,
    /// How many documents one command writes. `FerretDB` 1.24 holds a connection to its own
    /// database for each of them until the command ends, and has a hundred for all commands at
    /// once: past that, it stands still. MongoDB takes thousands.
    #[serde(default = "max_batch_documents")]
    pub max_batch_documents: usize,
}

const fn max_connections() -> u32 {
    16
}

const fn connect_timeout_ms() -> u64 {
    2_000
}

const fn call_timeout_ms() -> u64 {
    10_000
}

const fn max_batch_documents() -> usize {
    24
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
            max_batch_documents: max_batch_documents(),
        }
    }
}

/// A server, or the servers of a replica set, and a database there, as a URL. Prints itself
/// without the password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

/// The text is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address has the form mongodb://user:password@host:27017/database")]
pub struct AddressError;

impl Address {
    fn parts(&self) -> Result<(ConnectionString, String), AddressError> {
        let parsed = ConnectionString::parse(&self.0).map_err(|_| AddressError)?;
        let database = parsed.default_database.clone().ok_or(AddressError)?;
        Ok((parsed, database))
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
        address.parts().map(|_| address)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

/// `host:27017,other:27017/database`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parsed, database) = match self.parts() {
            Ok(parts) => parts,
            Err(error) => return error.fmt(f),
        };
        if let HostInfo::HostIdentifiers(hosts) = parsed.host_info {
            let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            f.write_str(&hosts.join(","))?;
        }
        write!(f, "/{database}")
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
    #[error("MongoDB at {address} does not answer")]
    Unavailable {
        /// Where it should be.
        address: Address,
        /// What went wrong.
        source: Failure,
    },
    /// It does not let us do what we have to: the user or the password is another, or the user
    /// may not do it.
    #[error("MongoDB at {address} refuses")]
    Refused {
        /// Where it is.
        address: Address,
        /// What it says.
        source: Failure,
    },
    /// It is too old.
    #[error("MongoDB at {address} is version {found}; {MIN_VERSION} or newer is needed")]
    Version {
        /// Where it is.
        address: Address,
        /// The version that it is of.
        found: String,
    },
    /// A collection is not the one that the program knows.
    #[error("the collection `{collection}` at {address} cannot be used: {what}")]
    Incompatible {
        /// Where it is.
        address: Address,
        /// Which collection, with its version.
        collection: String,
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

    pub(super) fn of(address: &Address, source: Failure) -> Self {
        let address = address.clone();
        if source.is_refusal() {
            return Self::Refused { address, source };
        }
        Self::Unavailable { address, source }
    }
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The driver or the server says.
    #[error("{}", what(.0))]
    Said(#[from] Error),
    /// There was no answer in time.
    #[error("there was no answer within {ms} ms")]
    TooLate {
        /// How long it was waited for.
        ms: u64,
    },
    /// A document was not taken.
    #[error("the server does not take a document: {0}")]
    NotTaken(String),
    /// What was written may be lost again.
    #[error("a majority of the servers does not have it: {0}")]
    NotKept(String),
    /// What was read is not what it should be.
    #[error("{0}")]
    Damaged(String),
}

/// The driver's words without what it knows of the servers, which is long.
fn what(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Command(error) => error.message.clone(),
        other => other.to_string(),
    }
}

impl Failure {
    /// The number that the server gives it, where it is its answer.
    pub(super) fn code(&self) -> Option<i32> {
        match self {
            Self::Said(error) => match &*error.kind {
                ErrorKind::Command(error) => Some(error.code),
                _ => None,
            },
            _ => None,
        }
    }

    fn is_refusal(&self) -> bool {
        let Self::Said(error) = self else {
            return false;
        };
        match &*error.kind {
            ErrorKind::Authentication { .. } => true,
            // Unauthorized, AuthenticationFailed.
            ErrorKind::Command(error) => matches!(error.code, 13 | 18),
            _ => false,
        }
    }
}

/// A server. Clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct Server {
    client: Client,
    pub(super) database: Database,
    call_timeout_ms: u64,
    pub(super) max_batch_documents: usize,
}

impl Server {
    /// Reaches it.
    pub(super) async fn connect(options: &Options) -> Result<Self, OpenError> {
        let address = &options.address;
        let (parsed, database) = address.parts()?;
        let failed = |error: Error| OpenError::of(address, error.into());
        let connect_timeout = Duration::from_millis(options.connect_timeout_ms);
        let mut connect = ClientOptions::parse(parsed).await.map_err(failed)?;
        connect.app_name = Some("recourse".to_owned());
        connect.max_pool_size = Some(options.max_connections);
        connect.connect_timeout = Some(connect_timeout);
        connect.server_selection_timeout = Some(connect_timeout);
        connect.read_concern = Some(ReadConcern::majority());
        connect.write_concern = Some(WriteConcern::majority());
        let client = Client::with_options(connect).map_err(failed)?;
        let server = Self {
            database: client.database(&database),
            client,
            call_timeout_ms: options.call_timeout_ms,
            max_batch_documents: options.max_batch_documents.max(1),
        };
        let info = server.command(doc! { "buildInfo": 1 }).await;
        let info = info.map_err(|error| OpenError::of(address, error))?;
        let found = info.get_str("version").unwrap_or_default();
        let major = found.split('.').next().and_then(|major| major.parse().ok());
        if major.is_none_or(|major: u32| major < MIN_VERSION) {
            return Err(OpenError::Version {
                address: address.clone(),
                found: found.to_owned(),
            });
        }
        Ok(server)
    }

    /// Runs a command that works on the database.
    pub(super) async fn command(&self, command: Document) -> Result<Document, Failure> {
        self.within(async { Ok(self.database.run_command(command).await?) })
            .await
    }

    /// Waits for an answer, for as long as a call may take.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let ms = self.call_timeout_ms;
        tokio::time::timeout(Duration::from_millis(ms), work)
            .await
            .unwrap_or(Err(Failure::TooLate { ms }))
    }

    /// How long the server is to work at one call.
    pub(super) fn max_time(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    /// Waits for what is under way and closes the connections.
    pub(super) async fn close(&self) {
        self.client.clone().shutdown().await;
    }
}

#[cfg(test)]
mod tests;
