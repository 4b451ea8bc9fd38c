//! How services are asked.

use std::time::Duration;

use clap::Args;

/// How services are asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(skip)]
pub struct Options {
    /// The longest that a connection to a service may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Options::default().forward_connect_timeout_ms)]
    pub forward_connect_timeout_ms: u64,
    /// How many times a request is sent to each address of a service that does not answer, at
    /// most.
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().forward_max_tries)]
    pub forward_max_tries: u32,
    /// The wait before a request is sent again to who did not answer it, in milliseconds; it
    /// doubles.
    #[arg(long, value_name = "MS", default_value_t = Options::default().forward_first_backoff_ms)]
    pub forward_first_backoff_ms: u64,
    /// The largest answer of a service, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Options::default().forward_max_answer_bytes)]
    pub forward_max_answer_bytes: usize,
    /// How many failures in a row open the circuit of a service's address. While all of its
    /// circuits are open, the service's requests are answered 503 at once.
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().circuit_failures)]
    pub circuit_failures: u32,
    /// How often each address is asked how it is, in milliseconds: an answer closes its circuit.
    #[arg(long, value_name = "MS", default_value_t = Options::default().probe_interval_ms)]
    pub probe_interval_ms: u64,
    /// How long it may take to say that, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Options::default().probe_timeout_ms)]
    pub probe_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            forward_connect_timeout_ms: 1_000,
            forward_max_tries: 4,
            forward_first_backoff_ms: 50,
            forward_max_answer_bytes: 32 * 1024 * 1024,
            circuit_failures: 5,
            probe_interval_ms: 500,
            probe_timeout_ms: 1_000,
        }
    }
}

impl Options {
    /// The wait after so many rounds.
    pub(super) fn backoff(&self, rounds: u32) -> Duration {
        let factor = 1_u64.checked_shl(rounds.saturating_sub(1));
        let first = self.forward_first_backoff_ms;
        Duration::from_millis(first.saturating_mul(factor.unwrap_or(u64::MAX)))
    }
}
