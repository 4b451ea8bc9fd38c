//! What every adapter of a port does the same: a suite a port.

pub(crate) mod books;
pub(crate) mod documents;

use recourse_event_store::{LogId, Position};
use uuid::Uuid;

use crate::Checkpoint;

/// A checkpoint at a position.
pub(crate) fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint {
        log: LogId(Uuid::from_u128(1)),
        position: Position::dense(position),
        event_id: (position > 0).then(|| Uuid::from_u128(u128::from(position))),
    }
}
