//! How a data folder is laid out.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use recourse_bench::verify::{BookView, OpenFolder, Opened, Projected, View};
use recourse_event_store::embedded;
use recourse_projection_services::{ledger, orders, products, sagas, stock};
use recourse_views::{books::Books, documents::Documents, projector::Bookkeeping, sqlite};

use crate::system;

/// The parts of a data folder.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The log.
    pub log: PathBuf,
    /// The views.
    pub views: PathBuf,
    /// The file of checkpoints and snapshots.
    pub state: PathBuf,
}

impl Layout {
    /// Of this data folder.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self {
            log: data.join("log"),
            views: data.join("views"),
            state: data.join("state.db"),
        }
    }

    /// Opens the views, and the rows of the sagas in flight beside them.
    ///
    /// # Errors
    /// Where a file cannot be opened.
    pub async fn open_views(
        &self,
        access: sqlite::Access,
    ) -> Result<sqlite::Documents, sqlite::OpenError> {
        let options = sqlite::Options::default();
        sqlite::Documents::open(&self.views, &system::collections(), access, &options).await
    }

    /// Opens the ledger, which is beside the views.
    ///
    /// # Errors
    /// Where its file cannot be opened.
    pub async fn open_books(
        &self,
        access: sqlite::Access,
    ) -> Result<sqlite::Books, sqlite::OpenError> {
        let options = sqlite::Options::default();
        let books = recourse_projection_services::books();
        sqlite::Books::open(&self.views, &books, access, &options).await
    }
}

/// Opens a data folder to be read, beside the process that writes it or after its end.
#[derive(Clone, Copy, Debug)]
pub struct Reading;

#[async_trait]
impl OpenFolder for Reading {
    async fn open(&self, data: &Path) -> Result<Opened, Box<dyn std::error::Error + Send + Sync>> {
        let layout = Layout::of(data);
        let documents = match layout.open_views(sqlite::Access::ReadOnly).await {
            Ok(documents) => documents,
            Err(error) => {
                // A folder without a log is told as such, not by the views that it lacks too.
                drop(embedded::Store::open_read_only(&layout.log)?);
                return Err(error.into());
            }
        };
        let books = layout.open_books(sqlite::Access::ReadOnly).await?;
        let views = scan(&documents, &books).await;
        // After the views: a log that is opened first may end before what they hold by now.
        let store = embedded::Store::open_read_only(&layout.log)?;
        Ok(Opened {
            published_durable: store.published_durable(),
            store: Arc::new(store),
            views,
        })
    }
}

/// Everything that the views hold, wherever they are.
pub async fn scan(documents: &dyn Documents, books: &dyn Books) -> Vec<Box<dyn View>> {
    vec![
        Box::new(Projected::<orders::Orders>::scan(documents).await),
        Box::new(Projected::<sagas::Sagas>::scan(documents).await),
        Box::new(Projected::<stock::Stocks>::scan(documents).await),
        Box::new(Projected::<products::Products>::scan(documents).await),
        Box::new(BookView::scan(books, ledger::Ledger::book()).await),
    ]
}
