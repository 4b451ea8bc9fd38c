//! The options of a gateway.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use recourse_service::http::Limits;

/// Where to listen, for whom, and how much to take.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
// Flattened into other options, which the group of a struct's name would collide with.
#[group(skip)]
pub struct Options {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value_t = Options::default().listen)]
    pub listen: SocketAddr,
    /// Listen on an address that other machines can reach, though nobody is asked who they are.
    #[arg(long)]
    pub insecure_listen: bool,
    /// A further host name, with or without a port, that this server is called by and whose web
    /// pages may use it. May be repeated.
    #[arg(long = "allowed-host", value_name = "HOST")]
    pub allowed_hosts: Vec<String>,
    /// The largest body of a request, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Options::default().max_body_bytes)]
    pub max_body_bytes: usize,
    /// The most that the address and headers of a request may hold, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Options::default().max_header_bytes)]
    pub max_header_bytes: usize,
    /// The most connections at once; more wait to be accepted.
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().max_connections)]
    pub max_connections: usize,
    /// The most requests at once; more are refused.
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().max_requests_in_flight)]
    pub max_requests_in_flight: usize,
    /// The longest that `Prefer: wait` may ask for, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = Options::default().max_wait_s)]
    pub max_wait_s: u64,
    /// The longest that a request may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Options::default().request_timeout_ms)]
    pub request_timeout_ms: u64,
    /// The longest that a connection may take to send the head of its next request, in
    /// milliseconds; so also how long an idle one is kept.
    #[arg(long, value_name = "MS", default_value_t = Options::default().idle_timeout_ms)]
    pub idle_timeout_ms: u64,
    /// The longest that requests in flight may take once the process is asked to stop, in
    /// milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Options::default().drain_timeout_ms)]
    pub drain_timeout_ms: u64,
    /// The most watchers at once; more are refused. Each has a connection of its own, so there is
    /// room for requests only where `--max-connections` is more.
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().max_watchers)]
    pub max_watchers: usize,
    /// How many events a watcher may be behind once it is up to date; one that falls further
    /// behind is closed.
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().watch_buffer_events)]
    pub watch_buffer_events: usize,
    /// How long a watcher hears nothing before it is told how far the log was considered, in
    /// milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Options::default().watch_keep_alive_ms)]
    pub watch_keep_alive_ms: u64,
    /// How long a watcher is asked to wait before it reconnects, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Options::default().watch_retry_ms)]
    pub watch_retry_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7171)),
            insecure_listen: false,
            allowed_hosts: Vec::new(),
            max_body_bytes: 256 * 1024,
            max_header_bytes: 16 * 1024,
            max_connections: 4096,
            max_requests_in_flight: 2048,
            max_wait_s: 30,
            request_timeout_ms: 45_000,
            idle_timeout_ms: 60_000,
            drain_timeout_ms: 10_000,
            max_watchers: 3_072,
            watch_buffer_events: 4_096,
            watch_keep_alive_ms: 15_000,
            watch_retry_ms: 1_000,
        }
    }
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can be reached from other machines.
    #[error(
        "{0} can be reached from other machines, and this server does not ask who they are: \
         anybody there could place orders and read all of them. Listen on 127.0.0.1, or say \
         --insecure-listen too"
    )]
    NotLoopback(SocketAddr),
    /// An option is out of its range.
    #[error("--{option} {problem}")]
    OutOfRange {
        /// Which option.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two crates gave the same code to different problems.
    #[error("the error code `{0}` has two meanings")]
    CodeTwice(&'static str),
    /// The address cannot be had.
    #[error("{address} cannot be listened on")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl Options {
    /// Whether they can be used.
    ///
    /// # Errors
    /// [`Error::NotLoopback`], [`Error::OutOfRange`].
    pub fn validate(&self) -> Result<(), Error> {
        if !self.listen.ip().to_canonical().is_loopback() && !self.insecure_listen {
            return Err(Error::NotLoopback(self.listen));
        }
        self.validate_limits()
    }

    /// The same where callers are known by a key, so that they may come from anywhere.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn validate_limits(&self) -> Result<(), Error> {
        for (option, count) in [
            ("max-body-bytes", self.max_body_bytes),
            ("max-header-bytes", self.max_header_bytes),
            ("max-connections", self.max_connections),
            ("max-requests-in-flight", self.max_requests_in_flight),
            ("max-watchers", self.max_watchers),
            ("watch-buffer-events", self.watch_buffer_events),
        ] {
            let problem = match count {
                0 => "must be at least 1",
                // What tokio's semaphores take, and far more than a machine has.
                count if count > usize::MAX >> 3 => "is beyond any machine",
                _ => continue,
            };
            return Err(Error::OutOfRange { option, problem });
        }
        if self.watch_keep_alive_ms == 0 {
            return Err(Error::OutOfRange {
                option: "watch-keep-alive-ms",
                problem: "must be at least 1",
            });
        }
        if self.request_timeout() <= self.limits().max_wait {
            return Err(Error::OutOfRange {
                option: "request-timeout-ms",
                problem: "must be longer than --max-wait-s, or nobody could wait that long",
            });
        }
        Ok(())
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_body_bytes: self.max_body_bytes,
            max_wait: Duration::from_secs(self.max_wait_s),
        }
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn the_defaults_of_the_command_line_are_the_defaults() {
        let Command { options } = clap::Parser::parse_from(["gateway"]);
        assert_eq!(options, Options::default());
        assert!(options.validate().is_ok());
    }

    #[test]
    fn an_address_that_others_can_reach_is_refused_unless_said_so() {
        for (address, refused) in [
            ("127.0.0.1:0", false),
            ("127.8.9.1:0", false),
            ("[::1]:0", false),
            ("[::ffff:127.0.0.1]:0", false),
            ("0.0.0.0:0", true),
            ("[::]:0", true),
            ("192.168.1.2:0", true),
        ] {
            let mut options = Options {
                listen: address.parse().unwrap(),
                ..Options::default()
            };
            assert_eq!(
                matches!(options.validate(), Err(Error::NotLoopback(_))),
                refused,
                "{address}"
            );
            options.insecure_listen = true;
            assert!(options.validate().is_ok());
        }
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let with = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.validate()
        };
        assert!(with(|options| options.max_requests_in_flight = 0).is_err());
        assert!(with(|options| options.max_connections = usize::MAX).is_err());
        assert!(with(|options| options.request_timeout_ms = 30_000).is_err());
    }
}
