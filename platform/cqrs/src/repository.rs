//! Load, decide, append; on conflict reload what is new and decide again.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use recourse_event_store::{EventStore, Position, RecordedEvent, StoreError, StreamName};
use serde::{Deserialize, Serialize};

use crate::{
    Aggregate, ApplyError, Effect, Rejection, Request, Snapshot, Snapshots, Tracked,
    batch::Group,
    cache::{Cache, Slot},
    load,
};

/// The most snapshots that wait for their state to become durable.
const MAX_WAITING_SNAPSHOTS: usize = 64;

/// The limits of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepositoryOptions {
    /// How many aggregates are kept in memory at most. 0: none.
    pub max_cached_aggregates: usize,
    /// How many times one execution decides again about a stream that somebody else keeps
    /// writing to.
    pub max_conflicts: u32,
    /// How many times one execution tries again where the store is not available.
    pub max_unavailable: u32,
    /// The wait before the first of those, in ms; it doubles each time.
    pub first_backoff_ms: u64,
    /// The longest of those waits, in ms.
    pub max_backoff_ms: u64,
    /// The events of one read of a stream.
    pub max_read_events: usize,
}

impl Default for RepositoryOptions {
    fn default() -> Self {
        Self {
            max_cached_aggregates: 4_096,
            max_conflicts: 64,
            max_unavailable: 5,
            first_backoff_ms: 10,
            max_backoff_ms: 1_000,
            max_read_events: 1_024,
        }
    }
}

impl RepositoryOptions {
    /// The wait before the `failures`th repeat.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let factor = 1_u64
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u64::MAX);
        Duration::from_millis(
            self.first_backoff_ms
                .saturating_mul(factor)
                .min(self.max_backoff_ms),
        )
    }
}

/// What came of a request, once it is in the log. **Not yet durable**: wait for `position`
/// before anything of this leaves the process.
pub struct Outcome<A: Aggregate> {
    /// What came of it.
    pub effect: Effect,
    /// How many events it wrote.
    pub events: usize,
    /// The revision of the last event that it wrote, now or when it was first accepted; the
    /// stream's last where it wrote none. None where the stream has no events.
    pub revision: Option<u64>,
    /// Up to where the log must be durable before anything of this is told.
    pub position: Position,
    /// The aggregate, after everything that was executed with it: its own revision may be
    /// past [`Self::revision`].
    pub tracked: Arc<Tracked<A>>,
}

impl<A: Aggregate> Outcome<A> {
    /// That a client's command was accepted before, and nothing happened now.
    #[must_use]
    pub fn replayed(&self) -> bool {
        matches!(self.effect, Effect::Replayed { .. })
    }

    /// That events were written, be they a durable refusal.
    #[must_use]
    pub fn written(&self) -> bool {
        self.events > 0
    }
}

impl<A: Aggregate> Clone for Outcome<A> {
    fn clone(&self) -> Self {
        Self {
            effect: self.effect.clone(),
            events: self.events,
            revision: self.revision,
            position: self.position,
            tracked: Arc::clone(&self.tracked),
        }
    }
}

impl<A: Aggregate> fmt::Debug for Outcome<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("effect", &self.effect)
            .field("events", &self.events)
            .field("revision", &self.revision)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Why nothing came of a request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error<R: std::error::Error + 'static> {
    /// The rules say no. Wait until `seen` is durable before telling.
    #[error("the command is refused")]
    Refused {
        /// Why.
        #[source]
        refusal: R,
        /// What it was derived from.
        seen: Position,
    },
    /// The command's id was used before, for another body.
    #[error("the idempotency key was used before, for another request")]
    IdempotencyKeyReused {
        /// What that was derived from.
        seen: Position,
    },
    /// The aggregate is not what the client says.
    #[error("the aggregate is at revision {actual:?}, which is not what the request is based on")]
    PreconditionFailed {
        /// The stream's last revision.
        actual: Option<u64>,
        /// What that was derived from.
        seen: Position,
    },
    /// The stream holds an event that this build cannot read.
    #[error("the aggregate cannot be read: {0}")]
    Unreadable(String),
    /// The decision holds an event that has no form.
    #[error("the decision cannot be written: {0}")]
    Unwritable(String),
    /// The events are over the store's limit.
    #[error("the command's events hold {bytes} bytes; the store takes at most {max_bytes}")]
    TooLarge {
        /// What they hold.
        bytes: usize,
        /// What the store takes.
        max_bytes: usize,
    },
    /// Others wrote to the stream each time. Asking again may help.
    #[error("the aggregate is written to by too many at once")]
    Contended,
    /// The store cannot. It may have taken effect all the same: ask again under the same id.
    #[error("the event store cannot answer")]
    Store(#[source] StoreError),
}

impl<R: std::error::Error + 'static> Error<R> {
    pub(crate) fn rejected(rejection: Rejection<R>, seen: Position) -> Self {
        match rejection {
            Rejection::Refused(refusal) => Self::Refused { refusal, seen },
            Rejection::IdempotencyKeyReused => Self::IdempotencyKeyReused { seen },
            Rejection::PreconditionFailed { actual } => Self::PreconditionFailed { actual, seen },
            Rejection::Unreadable(why) => Self::Unreadable(why),
            Rejection::Unwritable(why) => Self::Unwritable(why),
        }
    }

    /// Up to where the log must be durable before this is told.
    #[must_use]
    pub fn seen(&self) -> Position {
        match self {
            Self::Refused { seen, .. }
            | Self::IdempotencyKeyReused { seen }
            | Self::PreconditionFailed { seen, .. } => *seen,
            Self::Unreadable(_)
            | Self::Unwritable(_)
            | Self::TooLarge { .. }
            | Self::Contended
            | Self::Store(_) => Position::START,
        }
    }

    /// That the same request may succeed later, with nobody doing anything about it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Contended => true,
            Self::Store(error) => matches!(error, StoreError::Unavailable(_) | StoreError::Full(_)),
            _ => false,
        }
    }
}

/// Why an aggregate cannot be loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// The store cannot.
    #[error("the event store cannot answer")]
    Store(#[from] StoreError),
    /// The stream holds an event that this build cannot read.
    #[error("the aggregate cannot be read: {0}")]
    Unreadable(String),
}

/// A stream whose metadata are not ours, or with a hole, is damaged.
pub(crate) fn damaged(error: &ApplyError) -> StoreError {
    let (ApplyError::Metadata {
        stream, revision, ..
    }
    | ApplyError::OutOfOrder {
        stream,
        found: revision,
        ..
    }) = error;
    StoreError::Corrupt {
        at: format!("{stream} at revision {revision}"),
        what: crate::tracked::with_sources(error),
    }
}

/// The aggregates of one kind. Share it in an [`Arc`]; any number of repositories may work
/// on the same streams at once, the expected revision settles who was first.
pub struct Repository<A: Aggregate> {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) snapshots: Option<Arc<dyn Snapshots>>,
    pub(crate) options: RepositoryOptions,
    cache: Mutex<Cache<A>>,
    waiting: Mutex<BTreeMap<StreamName, Snapshot>>,
}

impl<A: Aggregate> Repository<A> {
    /// A repository without snapshots.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, options: RepositoryOptions) -> Self {
        Self {
            cache: Mutex::new(Cache::new(options.max_cached_aggregates)),
            waiting: Mutex::new(BTreeMap::new()),
            snapshots: None,
            store,
            options,
        }
    }

    /// With snapshots, for an aggregate that has [`Aggregate::SNAPSHOT_EVERY`].
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: Arc<dyn Snapshots>) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    /// The store that it works on.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// How many aggregates are cached.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.cache().len()
    }

    /// The aggregate as it is now; always asks the store for what is new. What is derived
    /// from it may leave the process once the log is durable up to [`Tracked::position`].
    ///
    /// # Errors
    /// Where the store cannot answer, or the stream cannot be read.
    pub async fn load(&self, stream: &StreamName) -> Result<Arc<Tracked<A>>, LoadError> {
        let cached = self.cache().get(stream);
        let slot = match cached {
            Some(mut slot) => {
                load::refresh(self, stream, &mut slot.tracked).await?;
                slot
            }
            None => load::from_the_start(self, stream).await?,
        };
        if let Some(why) = slot.tracked.unreadable() {
            return Err(LoadError::Unreadable(why.to_owned()));
        }
        let tracked = Arc::clone(&slot.tracked);
        self.put(stream, slot);
        Ok(tracked)
    }

    /// Executes requests, in their order for each stream, and answers in their order. Each
    /// stream gets one append and all streams one call to the store, however many requests.
    ///
    /// Where a request to a stream fails for the store's sake, so do all later ones to that
    /// stream: a saga's command never overtakes another. May be dropped; what it was about
    /// may then have taken effect.
    pub async fn execute(
        &self,
        requests: Vec<Request<A>>,
        now: DateTime<Utc>,
    ) -> Vec<Result<Outcome<A>, Error<A::Refusal>>> {
        let mut results = Vec::with_capacity(requests.len());
        results.resize_with(requests.len(), || None);
        let mut groups: Vec<Group<A>> = Vec::new();
        // Only ever looked up by key.
        let mut by_stream: HashMap<&StreamName, usize> = HashMap::new();
        for (at, request) in requests.iter().enumerate() {
            let stream = request.stream();
            let group = *by_stream.entry(stream).or_insert(groups.len());
            match groups.get_mut(group) {
                Some(group) => group.push(at),
                None => groups.push(Group::new(stream.clone(), at)),
            }
        }
        crate::batch::run(self, &requests, groups, &mut results, now).await;
        results
            .into_iter()
            // Every request belongs to a group and every group is run to its end.
            .map(|result| result.unwrap_or(Err(Error::Contended)))
            .collect()
    }

    /// Takes out the snapshots whose state has become durable, for the caller to save.
    #[must_use]
    pub fn take_due_snapshots(&self) -> Vec<Snapshot> {
        let durable = self.store.durable();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .extract_if(.., |_, snapshot| snapshot.position <= durable)
            .map(|(_, snapshot)| snapshot)
            .collect()
    }

    /// Saves the snapshots whose state has become durable. Off the hot path: nothing waits
    /// for it, and one that fails costs only time at the next load.
    pub async fn save_due_snapshots(&self) {
        let Some(snapshots) = self.snapshots.clone() else {
            return;
        };
        for snapshot in self.take_due_snapshots() {
            save(&*snapshots, snapshot).await;
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache<A>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self, stream: &StreamName) -> Option<Slot<A>> {
        self.cache().take(stream)
    }

    pub(crate) fn put(&self, stream: &StreamName, slot: Slot<A>) {
        self.cache().put(stream.clone(), slot);
    }

    /// Takes a snapshot if the stream has grown enough since the last one.
    pub(crate) fn snapshot(&self, stream: &StreamName, slot: &mut Slot<A>) {
        let (Some(every), Some(_)) = (A::SNAPSHOT_EVERY, &self.snapshots) else {
            return;
        };
        let length = slot.tracked.tracking().next_revision();
        if length.saturating_sub(slot.snapshot_at) < every {
            return;
        }
        if let Some(snapshot) = Snapshot::of(self.store.log_id(), stream, &slot.tracked) {
            slot.snapshot_at = length;
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() < MAX_WAITING_SNAPSHOTS || waiting.contains_key(stream) {
                waiting.insert(stream.clone(), snapshot);
            }
        }
    }
}

/// Saves one snapshot; a failure is logged and forgotten.
pub(crate) async fn save(snapshots: &dyn Snapshots, snapshot: Snapshot) {
    let (stream, revision) = (snapshot.stream.clone(), snapshot.revision);
    if let Err(error) = snapshots.save(snapshot).await {
        tracing::warn!(%stream, revision, %error, "a snapshot was not saved");
    }
}

/// A fold goes on with some events.
pub(crate) fn fold<A: Aggregate>(
    mut tracked: Tracked<A>,
    events: &[Arc<RecordedEvent>],
) -> Result<Tracked<A>, StoreError> {
    for event in events {
        tracked = tracked.apply(event).map_err(|error| damaged(&error))?;
    }
    Ok(tracked)
}
