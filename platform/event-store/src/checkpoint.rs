//! How far somebody has come in a log, and whether the log still is what it was then.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Direction, EventStore, Filter, LogId, Position, Read, RecordedEvent, StoreError, Visibility,
};

/// How far somebody (a view, a consumer) has considered a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The log. A position says nothing without it.
    pub log: LogId,
    /// Everything up to here has had its effect there.
    pub position: Position,
    /// The id of the last event of ours at or before `position`: the checkpoint is believed
    /// only while that event is there. None where the log was empty up to there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Uuid>,
}

/// Why a checkpoint is not believed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The log is not the one that it was made from.
    #[error(
        "`{owner}` does not belong to this log: {reason}. Restore both from the same backup, or \
         delete `{owner}`, which is then made again from the log's beginning"
    )]
    Refused {
        /// Whose it is.
        owner: String,
        /// What does not fit.
        reason: String,
    },
    /// The store cannot say.
    #[error("the event store cannot say whether the checkpoint of `{owner}` holds")]
    Store {
        /// Whose it is.
        owner: String,
        /// What is wrong with it.
        source: StoreError,
    },
}

impl Checkpoint {
    /// The checkpoint of who has considered `store` up to `position`, where `last` is the last
    /// event that they had: mostly it is the one there, and need not be looked up.
    ///
    /// # Errors
    /// Where the store cannot say which event is there.
    pub async fn after(
        store: &dyn EventStore,
        position: Position,
        last: Option<&RecordedEvent>,
    ) -> Result<Self, StoreError> {
        match last {
            Some(last) if last.position == position => Ok(Self {
                log: store.log_id(),
                position,
                event_id: Some(last.event.id),
            }),
            _ => Self::at(store, position).await,
        }
    }

    /// The checkpoint of who has considered `store` up to `position`.
    ///
    /// # Errors
    /// Where the store cannot say which event is there.
    pub async fn at(store: &dyn EventStore, position: Position) -> Result<Self, StoreError> {
        Ok(Self {
            log: store.log_id(),
            position,
            event_id: event_at(store, position).await?,
        })
    }

    /// Holds the checkpoint against the log: the same log, reaching as far, with the same
    /// event there.
    ///
    /// # Errors
    /// [`CheckpointError::Refused`] with what to do, as after the restore of a backup.
    pub async fn verify(&self, store: &dyn EventStore, owner: &str) -> Result<(), CheckpointError> {
        let refused = |reason: String| {
            Err(CheckpointError::Refused {
                owner: owner.to_owned(),
                reason,
            })
        };
        if self.log != store.log_id() {
            let log = store.log_id();
            return refused(format!("it was made from {}, and this is {log}", self.log));
        }
        // Another process may have gone on since this one last heard where the log ends.
        if self.position > store.durable() {
            let asked = store.appended().await;
            asked.map_err(|source| CheckpointError::Store {
                owner: owner.to_owned(),
                source,
            })?;
        }
        // Only what is durable is ever checkpointed, so a log that ends before it lost events.
        let durable = store.durable();
        if self.position > durable {
            return refused(format!(
                "it has come to {}, and the log is durable up to {durable} only",
                self.position
            ));
        }
        let there =
            event_at(store, self.position)
                .await
                .map_err(|source| CheckpointError::Store {
                    owner: owner.to_owned(),
                    source,
                })?;
        if there != self.event_id {
            let name = |id: Option<Uuid>| id.map_or("no event".to_owned(), |id| id.to_string());
            return refused(format!(
                "at {} it saw {}, and the log has {}",
                self.position,
                name(self.event_id),
                name(there)
            ));
        }
        Ok(())
    }
}

/// The id of the last event of ours at or before a position.
async fn event_at(store: &dyn EventStore, position: Position) -> Result<Option<Uuid>, StoreError> {
    if position == Position::START {
        return Ok(None);
    }
    // A position is opaque, so the one after it cannot be made up: read the event before it,
    // and from there the next one, which is at the position or past it.
    let before = one_event(store, Some(position), Direction::Backward).await?;
    let from = before.as_ref().map(|event| event.position);
    let at = one_event(store, from, Direction::Forward).await?;
    let at = at.filter(|event| event.position <= position);
    Ok(at.or(before).map(|event| event.event.id))
}

/// The event next to a position.
async fn one_event(
    store: &dyn EventStore,
    mut from: Option<Position>,
    direction: Direction,
) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
    loop {
        let batch = store
            .read_all(Read {
                from,
                direction,
                visibility: Visibility::Durable,
                filter: Filter::All,
                max_events: 1,
            })
            .await?;
        if batch.at_end || !batch.events.is_empty() {
            return Ok(batch.events.into_iter().next());
        }
        from = Some(batch.considered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Append, ExpectedRevision, NewEvent, StreamName, memory::Store};

    const LOG: LogId = LogId(Uuid::from_u128(1));

    async fn log_of(log: LogId, ids: &[u128]) -> Store {
        let store = Store::new(log);
        for id in ids {
            let event = NewEvent::raw(Uuid::from_u128(*id), "a.happened.v1", "{}", "{}");
            let append = Append {
                stream: StreamName::new("a", id),
                expected: ExpectedRevision::NoStream,
                events: vec![event],
            };
            store.append(vec![append]).await.remove(0).unwrap();
        }
        store
    }

    fn at(position: u64, event_id: Option<u128>) -> Checkpoint {
        Checkpoint {
            log: LOG,
            position: Position::dense(position),
            event_id: event_id.map(Uuid::from_u128),
        }
    }

    #[tokio::test]
    async fn a_checkpoint_is_believed_while_its_event_is_there() {
        let store = log_of(LOG, &[10, 20, 30]).await;
        for believed in [at(0, None), at(1, Some(10)), at(3, Some(30))] {
            believed.verify(&store, "orders").await.unwrap();
        }
        let first = one_event(&store, None, Direction::Forward).await.unwrap();
        for last in [None, first.as_deref()] {
            let made = Checkpoint::after(&store, Position::dense(2), last).await;
            assert_eq!(made.unwrap(), at(2, Some(20)));
        }
    }

    #[tokio::test]
    async fn a_checkpoint_ahead_of_or_beside_its_log_is_refused_with_what_to_do() {
        let store = log_of(LOG, &[10, 20, 30]).await;
        let other = log_of(LogId(Uuid::from_u128(2)), &[10, 20, 30]).await;
        for (checkpoint, store, says) in [
            (at(4, Some(40)), &store, "up to 3 only"),
            (at(2, Some(21)), &store, "and the log has"),
            (at(2, None), &store, "it saw no event"),
            (at(2, Some(20)), &other, "and this is"),
        ] {
            let error = checkpoint.verify(store, "orders").await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(says), "{text}");
            assert!(text.contains("from the same backup"), "{text}");
        }
    }
}
