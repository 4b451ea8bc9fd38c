//! What every projection asks of an event.

use chrono::{DateTime, Utc};
use recourse_event_store::RecordedEvent;
use recourse_views::ProjectionError;

/// Whether it is the answer to a command and nothing else. Such events are the same in every
/// stream and change no aggregate.
pub(crate) fn is_answer_only(event: &RecordedEvent) -> bool {
    let event_type = &*event.event.event_type;
    event_type.starts_with("command.") || event_type.ends_with(".repeat-answered.v1")
}

/// When it was recorded.
pub(crate) fn recorded_at(event: &RecordedEvent) -> Result<DateTime<Utc>, ProjectionError> {
    Ok(event.metadata()?.recorded_at)
}

/// An event that cannot follow what came before it.
pub(crate) fn out_of_place(what: &str) -> ProjectionError {
    ProjectionError::OutOfPlace(what.to_owned())
}
