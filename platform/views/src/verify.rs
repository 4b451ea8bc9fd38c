//! Holds a view against the log: every row, no more and no less.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    marker::PhantomData,
};

use recourse_event_store::{EventStore, Position};

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

/// A row that is not what the log makes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Which row.
    pub id: String,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How a row differs from what the log makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// The log makes it and the view does not have it.
    Missing,
    /// The view has it and the log does not make it.
    Surplus,
    /// Both have it, and not the same.
    Changed,
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

/// The rows of a view as they were at one moment, and how far it had come then.
///
/// To hold a view against a log that is read as of one moment, beside the process that writes
/// both, scan the view first and open the log afterwards: what a view holds was durable before,
/// so the log then reaches at least as far.
#[derive(Debug)]
pub struct Scanned<P> {
    /// A digest of each row, by id.
    rows: BTreeMap<String, u64>,
    checkpoint: Option<Checkpoint>,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> Scanned<P> {
    /// Reads every row.
    ///
    /// # Errors
    /// Where the view cannot be read.
    pub async fn of(documents: &dyn Documents) -> Result<Self, documents::Error> {
        let mut rows = BTreeMap::new();
        let checkpoint = documents
            .scan(&P::collection(), &mut |document| {
                rows.insert(document.id, digest(&document.json));
            })
            .await?;
        Ok(Self {
            rows,
            checkpoint,
            projection: PhantomData,
        })
    }

    /// Compares every row with the fold of the log up to the view's checkpoint.
    ///
    /// # Errors
    /// Where the log cannot be read, or the view does not belong to it.
    pub async fn compare(&self, store: &dyn EventStore) -> Result<Comparison, CompareError> {
        let mut fold = Fold::<P>::default();
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.verify(store, P::NAME).await?;
            fold.advance(store, checkpoint.position).await?;
        }
        let mut differences = Vec::new();
        let mut equal_rows: u64 = 0;
        for (id, row) in fold.rows() {
            let kind = match self.rows.get(id) {
                None => DifferenceKind::Missing,
                Some(found) if *found == digest(&write_row::<P>(id, row)?) => {
                    equal_rows = equal_rows.saturating_add(1);
                    continue;
                }
                Some(_) => DifferenceKind::Changed,
            };
            let id = id.clone();
            differences.push(Difference { id, kind });
        }
        let surplus = self.rows.keys().filter(|id| !fold.rows().contains_key(*id));
        differences.extend(surplus.map(|id| Difference {
            id: id.clone(),
            kind: DifferenceKind::Surplus,
        }));
        differences.sort();
        Ok(Comparison {
            position: self
                .checkpoint
                .map_or(Position::START, |checkpoint| checkpoint.position),
            equal_rows,
            differences,
        })
    }
}

/// Scans a view and compares it with a log that goes on meanwhile: not with one that is read as
/// of an earlier moment, see [`Scanned`].
///
/// # Errors
/// Where either cannot be read, or the view does not belong to the log.
pub async fn compare<P: Projection>(
    store: &dyn EventStore,
    documents: &dyn Documents,
) -> Result<Comparison, CompareError> {
    Scanned::<P>::of(documents).await?.compare(store).await
}

/// A digest, so that a view is not held in memory whole beside its fold.
fn digest(json: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    hasher.finish()
}
