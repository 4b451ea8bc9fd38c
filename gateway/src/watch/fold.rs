//! Sagas as they are watched: folded from their streams, in memory.

use std::{collections::HashMap, error::Error};

use bytes::Bytes;
use recourse_event_store::{
    Direction, EventStore, RecordedEvent, StoreError, StreamName, Visibility,
};

/// How many folds are kept. Past that all are let go and folded again from their streams as
/// their next events come.
const MAX_KEPT: usize = 8_192;

/// The most events that one read gives.
const PAGE_EVENTS: usize = 256;

/// The fold of one saga's stream, as watchers are shown it.
pub trait Fold: Send {
    /// Takes in the stream's next event.
    ///
    /// # Errors
    /// Where the event cannot be what follows.
    fn apply(&mut self, event: &RecordedEvent) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// The saga as a query for it answers, as JSON on one line.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn whole(&self) -> Result<Vec<u8>, serde_json::Error>;

    /// The saga in short, as JSON on one line.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn summary(&self) -> Result<Vec<u8>, serde_json::Error>;

    /// That nothing more will come.
    fn is_ended(&self) -> bool;
}

/// Makes the fold of a saga of which nothing is known yet.
pub type NewFold = fn() -> Box<dyn Fold>;

/// Why a saga cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoldError {
    #[error("its stream cannot be read")]
    Store(#[from] StoreError),
    #[error("the event {revision} of {stream} cannot be folded")]
    Event {
        stream: StreamName,
        revision: u64,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("it cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// The folds of the sagas whose events come by.
pub(super) struct Folds {
    new: NewFold,
    kept: HashMap<StreamName, Kept>,
}

struct Kept {
    /// The revision of the event to come.
    next: u64,
    fold: Box<dyn Fold>,
}

/// A saga after one of its events.
pub(super) struct Seen {
    pub(super) whole: Option<Bytes>,
    pub(super) summary: Option<Bytes>,
    pub(super) is_ended: bool,
}

impl Folds {
    pub(super) fn new(new: NewFold) -> Self {
        Self {
            new,
            kept: HashMap::new(),
        }
    }

    /// The saga as it is after this event of its stream. What came before the event and has not
    /// come by is read.
    pub(super) async fn see(
        &mut self,
        store: &dyn EventStore,
        event: &RecordedEvent,
        whole: bool,
        summary: bool,
    ) -> Result<Seen, FoldError> {
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        let mut kept = self
            .kept
            .remove(&event.stream)
            .filter(|kept| kept.next <= event.revision)
            .unwrap_or_else(|| Kept {
                next: 0,
                fold: (self.new)(),
            });
        while kept.next < event.revision {
            let missing = usize::try_from(event.revision - kept.next).unwrap_or(usize::MAX);
            let page = store
                .read_stream(
                    &event.stream,
                    Some(kept.next),
                    Direction::Forward,
                    Visibility::Durable,
                    missing.min(PAGE_EVENTS),
                )
                .await?;
            if page.is_empty() {
                break;
            }
            for earlier in &page {
                kept.apply(earlier)?;
            }
        }
        kept.apply(event)?;
        let seen = Seen {
            whole: whole
                .then(|| kept.fold.whole())
                .transpose()?
                .map(Bytes::from),
            summary: summary
                .then(|| kept.fold.summary())
                .transpose()?
                .map(Bytes::from),
            is_ended: kept.fold.is_ended(),
        };
        if !seen.is_ended {
            self.kept.insert(event.stream.clone(), kept);
        }
        Ok(seen)
    }
}

impl Kept {
    fn apply(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        apply(&mut *self.fold, event)?;
        self.next = event.revision.saturating_add(1);
        Ok(())
    }
}

/// [`Fold::apply`], with what to log where it fails.
pub(super) fn apply(fold: &mut dyn Fold, event: &RecordedEvent) -> Result<(), FoldError> {
    fold.apply(event).map_err(|source| FoldError::Event {
        stream: event.stream.clone(),
        revision: event.revision,
        source,
    })
}
