//! What fills a view: a pure function from a row and an event to a row.

use std::{collections::BTreeMap, sync::Arc};

use recourse_event_store::{
    Direction, EventStore, Filter, Position, Read, RecordedEvent, StoreError, Visibility, typed,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::documents::{Collection, Index};

/// How many events are asked of the log at once where it is folded in memory.
const MAX_READ_EVENTS: usize = 1_024;

/// A view as a fold of the log: pure, so that the rows depend on nothing but the events.
///
/// Everything else (batches, transactions, crashes) is the [`Projector`](crate::Projector)'s.
pub trait Projection: Send + Sync + 'static {
    /// The name of the view and of its collection.
    const NAME: &'static str;
    /// To be raised with each change of what the rows hold or by what they are found: the view
    /// is then filled anew from the first event.
    const VERSION: u32;
    /// By what rows are found.
    const INDEXES: &'static [Index];
    /// The index that rows are listed by, newest first.
    const NEWEST_FIRST_BY: Option<&'static str> = None;

    /// A row. Equal rows have equal JSON: no map without an order.
    type Row: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Which events it is made of.
    fn filter() -> Filter;

    /// Which row an event belongs to; none where it says nothing to this view.
    ///
    /// # Errors
    /// Where the event cannot be read.
    fn key(event: &RecordedEvent) -> Result<Option<String>, ProjectionError>;

    /// Whether no row of its key can be there before this event: the database is not asked for it.
    #[must_use]
    fn begins(_event: &RecordedEvent) -> bool {
        false
    }

    /// The row after an event; none where there is none after it.
    ///
    /// # Errors
    /// Where the event cannot be read, or cannot follow what the row says.
    fn apply(
        row: Option<Self::Row>,
        event: &RecordedEvent,
    ) -> Result<Option<Self::Row>, ProjectionError>;

    /// Where the rows of the first generation are kept.
    #[must_use]
    fn collection() -> Collection {
        Collection {
            name: Self::NAME,
            version: Self::VERSION,
            generation: 0,
            indexes: Self::INDEXES,
            newest_first_by: Self::NEWEST_FIRST_BY,
        }
    }
}

/// Why an event makes no row.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// It is of a type that the projection does not know, or its content is not of its type.
    #[error("the event cannot be read")]
    Unreadable(#[from] typed::Error),
    /// It cannot follow what came before it.
    #[error("the event cannot follow what the row says: {0}")]
    OutOfPlace(String),
}

/// Why a log cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// It cannot be read.
    #[error("the log cannot be read")]
    Store(#[from] StoreError),
    /// An event makes no row.
    #[error("the view `{view}` cannot take in the `{event_type}` at {position}")]
    Event {
        /// Which view.
        view: &'static str,
        /// Where the event is.
        position: Position,
        /// Of which type it is.
        event_type: Arc<str>,
        /// Why not.
        source: ProjectionError,
    },
}

impl FoldError {
    pub(crate) fn event<P: Projection>(event: &RecordedEvent, source: ProjectionError) -> Self {
        Self::of(P::NAME, event, source)
    }

    pub(crate) fn of(view: &'static str, event: &RecordedEvent, source: ProjectionError) -> Self {
        Self::Event {
            view,
            position: event.position,
            event_type: Arc::clone(&event.event.event_type),
            source,
        }
    }
}

/// The rows of a view as the log makes them, in memory: what a view is held against.
pub struct Fold<P: Projection> {
    rows: BTreeMap<String, P::Row>,
    considered: Position,
}

impl<P: Projection> Default for Fold<P> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            considered: Position::START,
        }
    }
}

impl<P: Projection> Fold<P> {
    /// Goes on up to `end`, inclusive, or as far as the log is durable.
    ///
    /// # Errors
    /// Where the log cannot be read or folded.
    pub async fn advance(
        &mut self,
        store: &dyn EventStore,
        end: Position,
    ) -> Result<(), FoldError> {
        while self.considered < end {
            let batch = store
                .read_all(Read {
                    from: Some(self.considered),
                    direction: Direction::Forward,
                    visibility: Visibility::Durable,
                    filter: P::filter(),
                    max_events: MAX_READ_EVENTS,
                })
                .await?;
            for event in &batch.events {
                if event.position > end {
                    self.considered = end;
                    return Ok(());
                }
                self.take(event)?;
            }
            self.considered = batch.considered;
            if batch.at_end {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let failed = |source| FoldError::event::<P>(event, source);
        if let Some(key) = P::key(event).map_err(failed)? {
            let row = self.rows.remove(&key);
            if let Some(row) = P::apply(row, event).map_err(failed)? {
                self.rows.insert(key, row);
            }
        }
        Ok(())
    }

    /// The rows so far, by id.
    #[must_use]
    pub fn rows(&self) -> &BTreeMap<String, P::Row> {
        &self.rows
    }
}

/// The rows of a view as the durable log makes them.
///
/// # Errors
/// Where the log cannot be read or folded.
pub async fn fold_in_memory<P: Projection>(
    store: &dyn EventStore,
) -> Result<BTreeMap<String, P::Row>, FoldError> {
    let mut fold = Fold::<P>::default();
    fold.advance(store, store.durable()).await?;
    Ok(fold.rows)
}
