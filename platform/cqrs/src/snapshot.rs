//! Snapshots: where a long stream's fold is kept, so that loading reads only its tail.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use recourse_event_store::{LogId, Position, StreamName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Aggregate, Tracked};

/// The fold of a stream up to one of its events. Believed only while the log is the same and
/// that event is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The log.
    pub log: LogId,
    /// The stream.
    pub stream: StreamName,
    /// The last event that is in it.
    pub revision: u64,
    /// Where that event stands in the log.
    pub position: Position,
    /// The id of that event.
    pub event_id: Uuid,
    /// The fold, as only who made it can read.
    pub state: Bytes,
}

/// Where snapshots are kept, one a stream. Only ever called with what is durable in the log.
#[async_trait]
pub trait Snapshots: Send + Sync + 'static {
    /// The one that was saved last.
    ///
    /// # Errors
    /// Where it cannot be read. The stream is folded from its beginning then.
    async fn load(&self, stream: &StreamName) -> Result<Option<Snapshot>, SnapshotsError>;

    /// Keeps it in place of what was there.
    ///
    /// # Errors
    /// Where it cannot be written. What was there before is still there.
    async fn save(&self, snapshot: Snapshot) -> Result<(), SnapshotsError>;
}

/// Why snapshots cannot be read or written. Never more than a loss of time.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the snapshots cannot be read or written: {0}")]
pub struct SnapshotsError(pub String);

/// Snapshots in memory. Clones share what they hold.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshots {
    by_stream: Arc<Mutex<BTreeMap<StreamName, Snapshot>>>,
}

#[async_trait]
impl Snapshots for MemorySnapshots {
    async fn load(&self, stream: &StreamName) -> Result<Option<Snapshot>, SnapshotsError> {
        let by_stream = self
            .by_stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(by_stream.get(stream).cloned())
    }

    async fn save(&self, snapshot: Snapshot) -> Result<(), SnapshotsError> {
        let mut by_stream = self
            .by_stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        by_stream.insert(snapshot.stream.clone(), snapshot);
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(bound = "")]
struct Written<'a, A: Aggregate> {
    version: u32,
    tracked: &'a Tracked<A>,
}

#[derive(Deserialize)]
struct Versioned<'a> {
    version: u32,
    #[serde(borrow)]
    tracked: &'a serde_json::value::RawValue,
}

impl Snapshot {
    /// The snapshot of a stream; none where it has no events, or one that cannot be read.
    #[must_use]
    pub fn of<A: Aggregate>(log: LogId, stream: &StreamName, tracked: &Tracked<A>) -> Option<Self> {
        let head = tracked.tracking().head()?;
        if tracked.unreadable().is_some() {
            return None;
        }
        let written = Written {
            version: A::SNAPSHOT_VERSION,
            tracked,
        };
        Some(Self {
            log,
            stream: stream.clone(),
            revision: head.revision,
            position: head.position,
            event_id: head.event_id,
            state: serde_json::to_vec(&written).ok()?.into(),
        })
    }

    /// The fold; none where another version of the rules made it.
    #[must_use]
    pub fn tracked<A: Aggregate>(&self) -> Option<Tracked<A>> {
        let versioned: Versioned<'_> = serde_json::from_slice(&self.state).ok()?;
        if versioned.version != A::SNAPSHOT_VERSION {
            return None;
        }
        let tracked: Tracked<A> = serde_json::from_str(versioned.tracked.get()).ok()?;
        (tracked.revision() == Some(self.revision)).then_some(tracked)
    }
}
