//! What a simulation ends with where a promise is broken.

use axum::http::StatusCode;

/// A promise that a seed has broken, or what kept it from saying so.
#[derive(Debug, thiserror::Error)]
pub enum Breach {
    /// A process ended that nobody had ended.
    #[error("{process} ended by itself: {why}")]
    Ended {
        /// Which one.
        process: &'static str,
        /// What it said.
        why: String,
    },
    /// Somebody asked again and again and got no answer.
    #[error("no answer to {method} {path} under the key {key}, at last {last:?}")]
    NoAnswer {
        /// `POST`.
        method: String,
        /// `/v1/orders`.
        path: String,
        /// Of the request.
        key: String,
        /// What the server said instead, where it said anything.
        last: Option<StatusCode>,
    },
    /// An answer that nobody may get.
    #[error("{what} was answered {status}: {body}")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// Of the answer.
        status: StatusCode,
        /// Of the answer.
        body: String,
    },
    /// Something is open still, long after the last thing that went wrong.
    #[error("{within_s} s after all was healed something is still open\n{open}")]
    Unsettled {
        /// How long was waited, in virtual time.
        within_s: u32,
        /// Where the log and the views are, and the last event of each saga that is open.
        open: String,
    },
    /// The log or the views break a promise.
    #[error("{0}")]
    Promises(String),
    /// What really happened at the payment provider is not what may happen.
    #[error("the payment {payment} {what}")]
    Provider {
        /// Which one.
        payment: String,
        /// `took effect twice`.
        what: &'static str,
    },
    /// One of those who use the system panicked, or was lost.
    #[error("somebody outside ended early")]
    Outside(#[from] tokio::task::JoinError),
    /// An engine in memory or a check of what it holds did not go on.
    #[error("the simulation cannot go on")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Breach {
    /// Something that goes wrong only where the simulation itself is.
    pub(super) fn engine(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Engine(error.into())
    }
}
