//! What an error of the server means.

use std::error::Error;

use recourse_event_store::StoreError;
use tonic::{Code, Status};

use super::options::Host;

/// The trailer by which the server tells errors apart.
const EXCEPTION: &str = "exception";

/// Whether the connection, or the node at its other end, is of no use any more.
pub(super) fn is_lost(status: &Status) -> bool {
    is_not_leader(status)
        || matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::Aborted
        )
}

fn is_not_leader(status: &Status) -> bool {
    trailer(status, EXCEPTION) == Some("not-leader")
}

/// The node that leads, where the one that was asked says so.
pub(super) fn leader(status: &Status) -> Option<Host> {
    if !is_not_leader(status) {
        return None;
    }
    let name = trailer(status, "leader-endpoint-host")?;
    let port = trailer(status, "leader-endpoint-port")?.parse().ok()?;
    Some(Host::new(name, port))
}

fn trailer<'s>(status: &'s Status, name: &str) -> Option<&'s str> {
    status.metadata().get(name)?.to_str().ok()
}

/// Why a reader is not answered.
pub(super) fn unreadable(status: &Status) -> StoreError {
    match status.code() {
        Code::DataLoss => StoreError::Corrupt {
            at: "the event store".to_owned(),
            what: status.message().to_owned(),
        },
        Code::ResourceExhausted => StoreError::Full(status.message().to_owned()),
        _ => StoreError::Unavailable(told(status)),
    }
}

/// The status in words.
pub(super) fn told(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    text.push_str(&causes(status.source()));
    text
}

/// An error and what it comes from, in words.
pub(super) fn chain(error: &dyn Error) -> String {
    format!("{error}{}", causes(error.source()))
}

fn causes(mut cause: Option<&dyn Error>) -> String {
    let mut text = String::new();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
