//! Where a watcher begins: what a request asks for, held against the log.

use axum::http::{HeaderMap, HeaderName};
use recourse_event_store::{EventStore, Position};
use recourse_service::{Problem, errors, position};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where a watcher begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It does not say.
    Unsaid,
    /// After this position.
    After(Position),
    /// It was somewhere that this log does not know: it is told so, and goes on from the end.
    Gone(Gone),
}

/// Why a position is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It belongs to another log.
    AnotherLog,
    /// The log does not go that far.
    AheadOfLog,
}

impl Gone {
    /// As clients read it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::AnotherLog => "another-log",
            Self::AheadOfLog => "ahead-of-log",
        }
    }
}

/// What a request asks for.
pub(super) struct Asked {
    pub(super) start: Start,
    /// That it has watched before and comes back.
    pub(super) is_reconnect: bool,
}

/// Reads `Last-Event-ID` and `?from=`. The header wins: who reconnects sends the address that
/// it began with, and the header says how far it has come since.
///
/// # Errors
/// `invalid-position` where the one that counts is malformed, or the store's own.
pub(super) async fn read(
    headers: &HeaderMap,
    from: Option<&str>,
    store: &dyn EventStore,
) -> Result<Asked, Problem> {
    let last = match headers.get(LAST_EVENT_ID) {
        Some(value) => {
            let text = value.to_str().map_err(|_| malformed("Last-Event-ID"))?;
            // As long as a client has seen no id, its last one is the empty string.
            Some(text).filter(|text| !text.is_empty())
        }
        None => None,
    };
    let is_reconnect = last.is_some();
    let start = match last.or(from) {
        None => Start::Unsaid,
        Some("start") if !is_reconnect => Start::After(Position::START),
        Some("end") if !is_reconnect => Start::After(store.durable()),
        Some(token) => {
            let name = if is_reconnect {
                "Last-Event-ID"
            } else {
                "?from"
            };
            match position::find(token, store.log_id()).ok_or_else(|| malformed(name))? {
                None => Start::Gone(Gone::AnotherLog),
                Some(position) => {
                    // What was given out was durable, so most often this asks nobody.
                    let known = position <= store.durable() || position <= store.appended().await?;
                    if known {
                        Start::After(position)
                    } else {
                        Start::Gone(Gone::AheadOfLog)
                    }
                }
            }
        }
    };
    Ok(Asked {
        start,
        is_reconnect,
    })
}

fn malformed(name: &str) -> Problem {
    Problem::new(errors::INVALID_POSITION).field(name, "a position as an `id:` of the stream gave")
}
