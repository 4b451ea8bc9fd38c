//! Holds a view against the log: every row, no more and no less. And two generations of a view
//! against each other: see [`generations_of_rows`].

mod generations;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    marker::PhantomData,
};

use recourse_event_store::{EventStore, Position};

pub use self::generations::{generations_of_book, generations_of_rows};
/// A row that is not what it should be: where a view is held against the log, that is the live one,
/// and what the log makes of it the new one.
pub use crate::rebuild::{Difference, DifferenceKind};
use crate::{
    Checkpoint, CheckpointError, books,
    documents::{self, Documents},
    projection::{Fold, FoldError, Projection},
    projector::rows::write_row,
};

/// What a view and the log were found to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Up to where the view has come; nothing past that was compared.
    pub position: Position,
    /// How many rows are the same.
    pub equal_rows: u64,
    /// Those that are not.
    pub differences: Vec<Difference>,
}

/// Why a view cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// It does not belong to the log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The view cannot be read.
    #[error("the view cannot be read")]
    Documents(#[from] documents::Error),
    /// The book cannot be read.
    #[error("the book cannot be read")]
    Books(#[from] books::Error),
}

/// The rows of a view as they were at one moment, and how far it had come then; in a database
/// without transactions, how far each had that was further than the view.
///
/// To hold a view against a log that is read as of one moment, beside the process that writes
/// both, scan the view first and open the log afterwards: what a view holds was durable before,
/// so the log then reaches at least as far.
#[derive(Debug)]
pub struct Scanned<P> {
    /// A digest of each row, by id.
    rows: BTreeMap<String, u64>,
    checkpoint: Option<Checkpoint>,
    /// The ids of those that were further, by how far.
    further: BTreeMap<Position, BTreeSet<String>>,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> Scanned<P> {
    /// Reads every row of a generation.
    ///
    /// # Errors
    /// Where the view cannot be read.
    pub async fn of(documents: &dyn Documents, generation: u32) -> Result<Self, documents::Error> {
        let mut rows = BTreeMap::new();
        let collection = P::collection().in_generation(generation);
        let scanned = documents
            .scan(&collection, &mut |document| {
                rows.insert(document.id, digest(&document.json));
            })
            .await?;
        let mut further: BTreeMap<Position, BTreeSet<String>> = BTreeMap::new();
        let gone = scanned.gone.into_iter();
        let gone = gone.filter(|(id, _)| !rows.contains_key(id));
        for (id, position) in gone.chain(scanned.folded) {
            further.entry(position).or_default().insert(id);
        }
        Ok(Self {
            rows,
            checkpoint: scanned.checkpoint,
            further,
            projection: PhantomData,
        })
    }

    /// Compares every row with the fold of the log up to the view's checkpoint, or as far as it was
    /// further than that.
    ///
    /// # Errors
    /// Where the log cannot be read, or the view does not belong to it.
    pub async fn compare(&self, store: &dyn EventStore) -> Result<Comparison, CompareError> {
        let mut fold = Fold::<P>::default();
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.verify(store, P::NAME).await?;
            fold.advance(store, checkpoint.position).await?;
        }
        let mut found = Comparison {
            position: self
                .checkpoint
                .map_or(Position::START, |checkpoint| checkpoint.position),
            equal_rows: 0,
            differences: Vec::new(),
        };
        let later: BTreeSet<&String> = self.further.values().flatten().collect();
        let ids: BTreeSet<&String> = fold.rows().keys().chain(self.rows.keys()).collect();
        for id in ids.difference(&later) {
            self.compare_row(id, &fold, &mut found)?;
        }
        for (position, ids) in &self.further {
            fold.advance(store, *position).await?;
            for id in ids {
                self.compare_row(id, &fold, &mut found)?;
            }
        }
        found.differences.sort();
        Ok(found)
    }

    fn compare_row(
        &self,
        id: &str,
        fold: &Fold<P>,
        found: &mut Comparison,
    ) -> Result<(), documents::Error> {
        let kind = match (fold.rows().get(id), self.rows.get(id)) {
            (None, None) => return Ok(()),
            (Some(_), None) => DifferenceKind::Missing,
            (None, Some(_)) => DifferenceKind::Surplus,
            (Some(row), Some(is)) if *is == digest(&write_row::<P>(id, row)?) => {
                found.equal_rows = found.equal_rows.saturating_add(1);
                return Ok(());
            }
            (Some(_), Some(_)) => DifferenceKind::Changed,
        };
        let id = id.to_owned();
        found.differences.push(Difference { id, kind });
        Ok(())
    }
}

/// Scans the first generation of a view and compares it with a log that goes on meanwhile: not with one that is read as
/// of an earlier moment, see [`Scanned`].
///
/// # Errors
/// Where either cannot be read, or the view does not belong to the log.
pub async fn compare<P: Projection>(
    store: &dyn EventStore,
    documents: &dyn Documents,
) -> Result<Comparison, CompareError> {
    Scanned::<P>::of(documents, 0).await?.compare(store).await
}

/// A digest, so that a view is not held in memory whole beside its fold.
fn digest(json: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    hasher.finish()
}
