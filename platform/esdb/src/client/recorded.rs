//! Events as the server shows them.

use std::sync::Arc;

use recourse_event_store::{NewEvent, Position, RecordedEvent, StoreError, StreamName};

use super::naming;
use crate::{
    message::{TYPE, read_uuid},
    wire::streams::read_resp::{ReadEvent, read_event},
};

/// An event of the whole log.
pub(super) struct Found {
    /// Where it stands.
    pub(super) position: Position,
    /// None where it is the store's own, or in a stream whose name none of ours has.
    pub(super) event: Option<Arc<RecordedEvent>>,
}

/// Reads one out of the whole log.
pub(super) fn found(shown: ReadEvent) -> Result<Option<Found>, StoreError> {
    // Of a link that is not resolved, it is the link.
    let Some(shown) = shown.event.or(shown.link) else {
        return Ok(None);
    };
    let position = position(&shown)?;
    let event = recorded(shown, position)?.filter(|event| !is_stores_own(event));
    Ok(Some(Found {
        position,
        event: event.map(Arc::new),
    }))
}

/// Reads one out of a stream.
pub(super) fn of_stream(shown: ReadEvent) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
    let Some(shown) = shown.event else {
        return Ok(None);
    };
    let position = position(&shown)?;
    Ok(recorded(shown, position)?.map(Arc::new))
}

fn is_stores_own(event: &RecordedEvent) -> bool {
    event.event.event_type.starts_with('$') || event.stream.as_str() == naming::STREAM
}

fn position(shown: &read_event::RecordedEvent) -> Result<Position, StoreError> {
    // What the server gives where it does not know.
    if shown.commit_position > LAST || shown.prepare_position > LAST {
        return Err(corrupt(
            shown,
            "the server does not say where it stands: that takes EventStoreDB 22.10 or later",
        ));
    }
    Ok(Position {
        commit: shown.commit_position,
        prepare: shown.prepare_position,
    })
}

/// Positions and revisions are signed in the server.
pub(super) const LAST: u64 = i64::MAX as u64;

fn recorded(
    mut shown: read_event::RecordedEvent,
    position: Position,
) -> Result<Option<RecordedEvent>, StoreError> {
    let Some(name) = shown.stream_identifier.take() else {
        return Err(corrupt(&shown, "it is in no stream"));
    };
    let stream = std::str::from_utf8(&name.stream_name).ok();
    let Some(stream) = stream.and_then(|name| StreamName::parse(name).ok()) else {
        return Ok(None);
    };
    let Some(id) = read_uuid(shown.id.take()) else {
        return Err(corrupt(&shown, "it has no id"));
    };
    let event_type = shown.metadata.remove(TYPE).unwrap_or_default();
    let event = NewEvent::raw(id, event_type, shown.data, shown.custom_metadata);
    Ok(Some(event.record(position, stream, shown.stream_revision)))
}

fn corrupt(shown: &read_event::RecordedEvent, what: &str) -> StoreError {
    StoreError::Corrupt {
        at: format!("{}.{}", shown.commit_position, shown.prepare_position),
        what: what.to_owned(),
    }
}
