//! How a data folder is laid out.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use recourse_bench::verify::{OpenFolder, Opened, Projected};
use recourse_event_store::embedded;
use recourse_projection_services::{orders, products, sagas, stock};
use recourse_views::{documents::Documents, sqlite};

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
}

/// Opens a data folder to be read, beside the process that writes it or after its end.
#[derive(Clone, Copy, Debug)]
pub struct Reading;

#[async_trait]
impl OpenFolder for Reading {
    async fn open(&self, data: &Path) -> Result<Opened, Box<dyn std::error::Error + Send + Sync>> {
        let layout = Layout::of(data);
        let store = embedded::Store::open_read_only(&layout.log)?;
        let documents: Arc<dyn Documents> =
            Arc::new(layout.open_views(sqlite::Access::ReadOnly).await?);
        Ok(Opened {
            published_durable: store.published_durable(),
            store: Arc::new(store),
            views: vec![
                Box::new(Projected::<orders::Orders>::new(Arc::clone(&documents))),
                Box::new(Projected::<sagas::Sagas>::new(Arc::clone(&documents))),
                Box::new(Projected::<stock::Stocks>::new(Arc::clone(&documents))),
                Box::new(Projected::<products::Products>::new(documents)),
            ],
        })
    }
}
