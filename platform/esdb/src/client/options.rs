//! Where the server is, and how much of everything there may be.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use percent_encoding::percent_decode_str;

/// How an EventStoreDB or KurrentDB is reached.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
// Flattened into other options, which the group of a struct's name would collide with.
#[group(skip)]
pub struct Options {
    /// The event store, as EventStoreDB's connection strings name it: `esdb://HOST:PORT`, several
    /// nodes joined by commas, `esdb+discover://NAME`, and `?tls=false` where it speaks in the clear.
    #[arg(long = "event-store", value_name = "URL", default_value_t = Options::default().address)]
    pub address: Address,
    /// The certificate, in PEM, that the event store's is signed by. Without it, those that the
    /// system trusts.
    #[arg(long = "event-store-ca-file", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// How long a call of the event store may take, the wait for a connection included, in
    /// milliseconds.
    #[arg(long = "event-store-timeout-ms", value_name = "MS", default_value_t = Options::default().timeout_ms)]
    pub timeout_ms: u64,
    /// How long a node of the event store may take to let us connect, in milliseconds.
    #[arg(long = "event-store-connect-timeout-ms", value_name = "MS", default_value_t = Options::default().connect_timeout_ms)]
    pub connect_timeout_ms: u64,
    /// The longest pause before the event store is asked for another connection, in milliseconds.
    #[arg(long = "event-store-max-pause-ms", value_name = "MS", default_value_t = Options::default().max_pause_ms)]
    pub max_pause_ms: u64,
    /// The event store is asked for a sign of life after so long without one, and given as long
    /// to answer, in milliseconds.
    #[arg(long = "event-store-keepalive-ms", value_name = "MS", default_value_t = Options::default().keepalive_ms)]
    pub keepalive_ms: u64,
    /// How many appends may wait for the event store's answer. The next one waits its turn.
    #[arg(long = "event-store-max-in-flight", value_name = "COUNT", default_value_t = Options::default().max_in_flight)]
    pub max_in_flight: usize,
    /// How much one append may hold, in bytes of types, data and metadata: as the event store is
    /// told.
    #[arg(long = "event-store-max-append-bytes", value_name = "BYTES", default_value_t = Options::default().max_append_bytes)]
    pub max_append_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self::new(Address {
            hosts: vec![Host::new("127.0.0.1", DEFAULT_PORT)],
            discover: false,
            tls: false,
            credentials: None,
        })
    }
}

/// The options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOptions {
    /// A limit of 0 lets nothing through.
    #[error("--event-store-{0} must be at least 1")]
    Zero(&'static str),
}

impl Options {
    /// With limits as EventStoreDB has them where it has them.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            ca_file: None,
            timeout_ms: 5_000,
            connect_timeout_ms: 1_000,
            max_pause_ms: 500,
            keepalive_ms: 2_000,
            max_in_flight: 256,
            max_append_bytes: 1024 * 1024,
        }
    }

    /// Checks them.
    ///
    /// # Errors
    /// [`InvalidOptions`].
    pub fn validate(&self) -> Result<(), InvalidOptions> {
        for (name, zero) in [
            ("timeout-ms", self.timeout_ms == 0),
            ("connect-timeout-ms", self.connect_timeout_ms == 0),
            ("max-pause-ms", self.max_pause_ms == 0),
            ("keepalive-ms", self.keepalive_ms == 0),
            ("max-in-flight", self.max_in_flight == 0),
            ("max-append-bytes", self.max_append_bytes == 0),
        ] {
            if zero {
                return Err(InvalidOptions::Zero(name));
            }
        }
        Ok(())
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(super) fn max_pause(&self) -> Duration {
        Duration::from_millis(self.max_pause_ms)
    }

    pub(super) fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms)
    }
}

/// The port of a node where none is named.
const DEFAULT_PORT: u16 = 2113;

/// Which nodes there are, and how to speak to them.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// At least one.
    pub(super) hosts: Vec<Host>,
    /// The nodes are asked who leads; else the only one does.
    pub(super) discover: bool,
    pub(super) tls: bool,
    pub(super) credentials: Option<Credentials>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl Host {
    pub(super) fn new(name: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            port,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An IPv6 address is written in brackets before a port.
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// Who we are there.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// The text is not an event store's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event store's address is esdb://HOST:PORT or esdb+discover://HOST:PORT: {0}")]
pub struct ParseAddressError(String);

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |what: &str| ParseAddressError(what.to_owned());
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("there is no scheme"))?;
        let discover = match scheme {
            "esdb" | "kurrentdb" | "kdb" => false,
            "esdb+discover" | "kurrentdb+discover" | "kdb+discover" => true,
            _ => return Err(wrong("the scheme is another")),
        };
        let (authority, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(read_credentials(credentials)?), hosts),
            None => (None, authority),
        };
        let hosts: Vec<Host> = hosts.split(',').map(read_host).collect::<Result<_, _>>()?;
        let mut address = Self {
            discover: discover || hosts.len() > 1,
            hosts,
            tls: true,
            credentials,
        };
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            match parameter.split_once('=') {
                Some((name, value)) if name.eq_ignore_ascii_case("tls") => {
                    address.tls = value.parse().map_err(|_| wrong("tls is true or false"))?;
                }
                // What is not understood must not be passed over: it may be about trust.
                _ => {
                    return Err(ParseAddressError(format!(
                        "the parameter {parameter} is not known"
                    )));
                }
            }
        }
        Ok(address)
    }
}

fn read_credentials(text: &str) -> Result<Credentials, ParseAddressError> {
    let wrong = || ParseAddressError("who we are is USER:PASSWORD".to_owned());
    let (user, password) = text.split_once(':').ok_or_else(wrong)?;
    let read = |text| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(std::borrow::Cow::into_owned).map_err(|_| wrong())
    };
    Ok(Credentials {
        user: read(user)?,
        password: read(password)?,
    })
}

fn read_host(text: &str) -> Result<Host, ParseAddressError> {
    let wrong = || ParseAddressError(format!("{text} is not HOST:PORT"));
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(wrong)?,
        None => match text.find(':') {
            Some(at) => text.split_at_checked(at).ok_or_else(wrong)?,
            None => (text, ""),
        },
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| wrong())?,
        None if port.is_empty() => DEFAULT_PORT,
        None => return Err(wrong()),
    };
    if name.is_empty() {
        return Err(wrong());
    }
    Ok(Host::new(name, port))
}

/// Without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.discover {
            "esdb+discover"
        } else {
            "esdb"
        };
        write!(f, "{scheme}://")?;
        if let Some(credentials) = &self.credentials {
            write!(f, "{}:***@", credentials.user)?;
        }
        for (number, host) in self.hosts.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
        }
        write!(f, "?tls={}", self.tls)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_eventstoredb_writes_it() {
        for (text, shown) in [
            ("esdb://one:2113?tls=false", "esdb://one:2113?tls=false"),
            ("kdb://[::1]/?tls=true", "esdb://[::1]:2113?tls=true"),
            (
                "esdb://one,two:1",
                "esdb+discover://one:2113,two:1?tls=true",
            ),
            (
                "kurrentdb+discover://cluster:7",
                "esdb+discover://cluster:7?tls=true",
            ),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_password_is_read_and_never_shown() {
        let address: Address = "esdb://admin:ch%40nge@one".parse().unwrap();
        assert_eq!(address.credentials.as_ref().unwrap().password, "ch@nge");
        assert!(!format!("{address} {address:?}").contains("nge"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "one:2113",
            "http://one",
            "esdb://",
            "esdb://one:",
            "esdb://one:port",
            "esdb://one,",
            "esdb://admin@one",
            "esdb://one?tls=maybe",
            "esdb://one?tlsVerifyCert=false",
            "esdb://[::1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
