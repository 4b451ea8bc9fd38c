//! Reading a stream into a fold: all of it, from a snapshot on, or what is new.

use std::sync::Arc;

use recourse_event_store::{Direction, RecordedEvent, StoreError, StreamName, Visibility};

use crate::{Aggregate, Repository, Snapshot, Tracked, cache::Slot, repository::fold};

/// The whole stream, from its snapshot where there is one to believe.
pub(crate) async fn from_the_start<A: Aggregate>(
    repository: &Repository<A>,
    stream: &StreamName,
) -> Result<Slot<A>, StoreError> {
    if let Some(slot) = from_snapshot(repository, stream).await? {
        return Ok(slot);
    }
    let mut tracked = Arc::new(Tracked::default());
    refresh(repository, stream, &mut tracked).await?;
    Ok(Slot {
        tracked,
        snapshot_at: 0,
    })
}

/// Brings a fold up to date and gives the events that were new. The fold is as it was where
/// this fails.
pub(crate) async fn refresh<A: Aggregate>(
    repository: &Repository<A>,
    stream: &StreamName,
    tracked: &mut Arc<Tracked<A>>,
) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
    let next = tracked.tracking().next_revision();
    let new = read(repository, stream, next).await?;
    if !new.is_empty() {
        *tracked = Arc::new(fold(Tracked::clone(tracked), &new)?);
    }
    Ok(new)
}

/// None where there is no snapshot to believe.
async fn from_snapshot<A: Aggregate>(
    repository: &Repository<A>,
    stream: &StreamName,
) -> Result<Option<Slot<A>>, StoreError> {
    let (Some(_), Some(snapshots)) = (A::SNAPSHOT_EVERY, &repository.snapshots) else {
        return Ok(None);
    };
    let snapshot = match snapshots.load(stream).await {
        Ok(Some(snapshot)) => snapshot,
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::warn!(%stream, %error, "a snapshot was not read");
            return Ok(None);
        }
    };
    let Some(tracked) = believed::<A>(repository, stream, &snapshot) else {
        return Ok(None);
    };
    // The event that the snapshot ends with comes along, to be compared.
    let events = read(repository, stream, snapshot.revision).await?;
    let Some((at, tail)) = events.split_first() else {
        return Ok(None);
    };
    if at.revision != snapshot.revision || at.event.id != snapshot.event_id {
        tracing::warn!(%stream, revision = snapshot.revision, "a snapshot is of another history");
        return Ok(None);
    }
    Ok(Some(Slot {
        tracked: Arc::new(fold(tracked, tail)?),
        snapshot_at: snapshot.revision.saturating_add(1),
    }))
}

fn believed<A: Aggregate>(
    repository: &Repository<A>,
    stream: &StreamName,
    snapshot: &Snapshot,
) -> Option<Tracked<A>> {
    if snapshot.log != repository.store.log_id() || snapshot.stream != *stream {
        tracing::warn!(%stream, "a snapshot is of another log");
        return None;
    }
    snapshot.tracked()
}

/// Everything in the stream from a revision on.
async fn read<A: Aggregate>(
    repository: &Repository<A>,
    stream: &StreamName,
    mut from: u64,
) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
    let max_events = repository.options.max_read_events.max(1);
    let mut events = Vec::new();
    loop {
        let page = repository
            .store
            .read_stream(
                stream,
                Some(from),
                Direction::Forward,
                Visibility::Appended,
                max_events,
            )
            .await?;
        let is_last = page.len() < max_events;
        if let Some(last) = page.last() {
            from = last.revision.saturating_add(1);
        }
        if events.is_empty() {
            events = page;
        } else {
            events.extend(page);
        }
        if is_last {
            return Ok(events);
        }
    }
}
