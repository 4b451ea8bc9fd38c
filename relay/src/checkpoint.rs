//! How far a relay has come, as it keeps it in Kafka.

use recourse_event_store::{LogId, Mark, Position};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Everything up to here is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Checkpoint {
    pub(crate) log: LogId,
    pub(crate) position: Position,
    /// The last event at or before `position`; none where the log was empty up to there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) event_id: Option<Uuid>,
    /// The partitions, in the order of `lanes::all`.
    pub(crate) lanes: Vec<Written>,
}

/// A partition as of then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written {
    /// The place of the last record up to the checkpoint, or before the first one.
    pub(crate) last: Mark,
    /// The offset of the last record that was acknowledged; none where there was none. A partition
    /// that ends before it has lost records, or was made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<i64>,
}

impl Checkpoint {
    pub(crate) fn at(&self) -> recourse_event_store::Checkpoint {
        recourse_event_store::Checkpoint {
            log: self.log,
            position: self.position,
            event_id: self.event_id,
        }
    }
}
