//! Where the server listens, and how much of everything there may be.

use std::{net::SocketAddr, time::Duration};

/// What the server is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// It may be reached from elsewhere, without TLS or passwords.
    pub insecure_listen: bool,
    /// How much one append may hold, in bytes of types, data and metadata.
    pub max_append_bytes: usize,
    /// How many clients may be connected. The next one waits.
    pub max_connections: usize,
    /// How many calls a connection may have open, subscriptions among them.
    pub max_calls_per_connection: u32,
    /// How many appends of one batch session may wait for the disk.
    pub max_batch_appends_in_flight: usize,
    /// A connection is asked for a sign of life after so long without one, and given as long
    /// to answer, in milliseconds.
    pub keepalive_ms: u64,
    /// How long calls may take to end once the server stops, in milliseconds.
    pub drain_timeout_ms: u64,
}

/// The options cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOptions {
    /// Anybody could read and write the log.
    #[error(
        "EventStoreDB's protocol would be served to others on {0}, and there is no \
         authentication: say so with --insecure-listen too"
    )]
    Exposed(SocketAddr),
    /// A limit of 0 lets nothing through.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

impl Options {
    /// As EventStoreDB has them where it has them.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            insecure_listen: false,
            max_append_bytes: 1024 * 1024,
            max_connections: 256,
            max_calls_per_connection: 128,
            max_batch_appends_in_flight: 256,
            keepalive_ms: 10_000,
            drain_timeout_ms: 5_000,
        }
    }

    /// Checks them.
    ///
    /// # Errors
    /// [`InvalidOptions`].
    pub fn validate(&self) -> Result<(), InvalidOptions> {
        if !self.listen.ip().to_canonical().is_loopback() && !self.insecure_listen {
            return Err(InvalidOptions::Exposed(self.listen));
        }
        for (name, zero) in [
            ("max_append_bytes", self.max_append_bytes == 0),
            ("max_connections", self.max_connections == 0),
            (
                "max_calls_per_connection",
                self.max_calls_per_connection == 0,
            ),
            (
                "max_batch_appends_in_flight",
                self.max_batch_appends_in_flight == 0,
            ),
            ("keepalive_ms", self.keepalive_ms == 0),
        ] {
            if zero {
                return Err(InvalidOptions::Zero(name));
            }
        }
        Ok(())
    }

    pub(crate) fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_not_served_by_accident() {
        let mut options = Options::new("0.0.0.0:2113".parse().unwrap());
        assert_eq!(
            options.validate(),
            Err(InvalidOptions::Exposed(options.listen))
        );
        options.insecure_listen = true;
        assert_eq!(options.validate(), Ok(()));
        assert_eq!(
            Options::new("[::1]:2113".parse().unwrap()).validate(),
            Ok(())
        );
    }
}
