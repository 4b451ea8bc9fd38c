//! Promise 6: each view is the fold of the log.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use recourse_event_store::{EventStore, Position};
use recourse_views::{
    Projection,
    documents::{self, Documents},
    verify::{CompareError, Comparison, Scanned},
};

use super::{
    Fold, ledger,
    report::{Breaches, Kind, ViewTotals},
};

/// A data folder, opened to be read: beside the server that writes it, or after its end.
pub struct Opened {
    /// The log as of now: opened after the views were scanned, so that it reaches as far.
    pub store: Arc<dyn EventStore>,
    /// Its views, as of just before.
    pub views: Vec<Box<dyn View>>,
    /// Up to where the server had said that the log is durable, where it left word of it.
    pub published_durable: Option<Position>,
}

/// Knows how a data folder is laid out.
#[async_trait]
pub trait OpenFolder: Send + Sync {
    /// Opens it to be read.
    ///
    /// # Errors
    /// Where it cannot be.
    async fn open(&self, data: &Path) -> Result<Opened, Box<dyn std::error::Error + Send + Sync>>;
}

/// A view as of one moment, which can be held against the log.
#[async_trait]
pub trait View: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// Which generation of it this is: the one that queries read.
    fn generation(&self) -> u32;

    /// Compares every row with the fold of the log up to the view's checkpoint.
    ///
    /// # Errors
    /// Where the view or the log cannot be read, or the view does not belong to the log.
    async fn compare(&self, store: &dyn EventStore) -> Result<Comparison, CompareError>;

    /// What it holds, where it is a book: that is held against the payments of the log.
    fn book(&self) -> Option<&ledger::Scanned> {
        None
    }
}

/// The view that a projection makes, as it was scanned.
#[derive(Debug)]
pub struct Projected<P> {
    generation: u32,
    scanned: Result<Scanned<P>, documents::Error>,
}

impl<P: Projection> Projected<P> {
    /// Scans its first generation as it is now. Where it cannot be, [`View::compare`] says so.
    pub async fn scan(documents: &dyn Documents) -> Self {
        Self::scan_generation(documents, 0).await
    }

    /// Scans a generation of it as it is now. Where it cannot be, [`View::compare`] says so.
    pub async fn scan_generation(documents: &dyn Documents, generation: u32) -> Self {
        Self {
            generation,
            scanned: Scanned::of(documents, generation).await,
        }
    }
}

#[async_trait]
impl<P: Projection> View for Projected<P> {
    fn name(&self) -> &str {
        P::NAME
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    async fn compare(&self, store: &dyn EventStore) -> Result<Comparison, CompareError> {
        match &self.scanned {
            Ok(scanned) => scanned.compare(store).await,
            Err(error) => Err(error.clone().into()),
        }
    }
}

impl Fold {
    /// Compares each view. One that cannot be compared is a breach like a row that differs.
    pub(super) async fn views(
        &self,
        store: &dyn EventStore,
        views: &[Box<dyn View>],
        breaches: &mut Breaches,
    ) -> Vec<ViewTotals> {
        let mut totals = Vec::new();
        for view in views {
            let compared = match view.compare(store).await {
                Ok(compared) => compared,
                Err(error) => {
                    let mut why = error.to_string();
                    let mut source = std::error::Error::source(&error);
                    while let Some(error) = source {
                        why = format!("{why}: {error}");
                        source = error.source();
                    }
                    breaches.add(Kind::ViewUnusable, view.name(), why, []);
                    continue;
                }
            };
            for difference in &compared.differences {
                breaches.add(
                    Kind::ViewDiffers,
                    format!("{} {}", view.name(), difference.id),
                    format!("the row is {:?} at {}", difference.kind, compared.position)
                        .to_lowercase(),
                    self.log.last_events_of(&difference.id),
                );
            }
            if let Some(book) = view.book() {
                self.ledger.compare(view.name(), book, breaches);
            }
            let different = compared.differences.len() as u64;
            totals.push(ViewTotals {
                view: view.name().to_owned(),
                generation: view.generation(),
                position: compared.position,
                rows: compared.equal_rows.saturating_add(different),
            });
        }
        totals
    }
}
