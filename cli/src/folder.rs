//! How a data folder is laid out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use recourse_bench::verify::{BookView, OpenFolder, Opened, Projected, View};
use recourse_event_store::embedded;
use recourse_projection_services::{
    ledger, live_generations, orders::Orders, products::Products, reading, sagas::Sagas,
    stock::Stocks,
};
use recourse_service::{clock::SystemClock, contract::Routes};
use recourse_views::{
    Projection, books::Books, documents::Documents, projector::Bookkeeping, sqlite,
};

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

    /// Opens the views in the generations that are live, and the rows of the sagas in flight beside
    /// them.
    ///
    /// # Errors
    /// Where a file cannot be opened.
    pub async fn open_views(
        &self,
        live: &Live,
        access: sqlite::Access,
    ) -> Result<sqlite::Documents, sqlite::OpenError> {
        let options = sqlite::Options::default();
        let collections: Vec<_> = system::collections()
            .into_iter()
            .map(|collection| collection.in_generation(of(live, collection.name)))
            .collect();
        sqlite::Documents::open(&self.views, &collections, access, &options).await
    }

    /// Opens the ledger in the generation that is live. It is beside the views.
    ///
    /// # Errors
    /// Where its file cannot be opened.
    pub async fn open_books(
        &self,
        live: &Live,
        access: sqlite::Access,
    ) -> Result<sqlite::Books, sqlite::OpenError> {
        let options = sqlite::Options::default();
        let books: Vec<_> = recourse_projection_services::books()
            .into_iter()
            .map(|book| book.in_generation(of(live, book.name)))
            .collect();
        sqlite::Books::open(&self.views, &books, access, &options).await
    }
}

/// The generation of each view that the log says is live, by the view's name.
pub type Live = BTreeMap<&'static str, u32>;

/// The generation of one: what has no generations has the first.
fn of(live: &Live, name: &str) -> u32 {
    live.get(name).copied().unwrap_or_default()
}

/// Opens a data folder to be read, beside the process that writes it or after its end.
#[derive(Clone, Copy, Debug)]
pub struct Reading;

#[async_trait]
impl OpenFolder for Reading {
    async fn open(&self, data: &Path) -> Result<Opened, Box<dyn std::error::Error + Send + Sync>> {
        let layout = Layout::of(data);
        let mut live = live_generations(&embedded::Store::open_read_only(&layout.log)?).await?;
        let access = sqlite::Access::ReadOnly;
        let documents = layout.open_views(&live, access).await?;
        let books = layout.open_books(&live, access).await?;
        loop {
            let views = scan(&documents, &books, &live).await;
            // After the views: a log that is opened first may end before what they hold by now.
            let store = embedded::Store::open_read_only(&layout.log)?;
            let now = live_generations(&store).await?;
            if now == live {
                return Ok(Opened {
                    published_durable: store.published_durable(),
                    store: Arc::new(store),
                    views,
                });
            }
            // Others were promoted meanwhile, and those that were scanned may be gone.
            live = now;
        }
    }
}

/// Everything that the live views hold, wherever they are.
pub async fn scan(documents: &dyn Documents, books: &dyn Books, live: &Live) -> Vec<Box<dyn View>> {
    let of = |name| of(live, name);
    let ledger = ledger::Ledger::book().in_generation(of(ledger::Ledger::NAME));
    vec![
        Box::new(Projected::<Orders>::scan_generation(documents, of(Orders::NAME)).await),
        Box::new(Projected::<Sagas>::scan_generation(documents, of(Sagas::NAME)).await),
        Box::new(Projected::<Stocks>::scan_generation(documents, of(Stocks::NAME)).await),
        Box::new(Projected::<Products>::scan_generation(documents, of(Products::NAME)).await),
        Box::new(BookView::scan(books, ledger).await),
    ]
}

/// The queries of a data folder, as the server would answer them from its views: beside it, or
/// after its end.
///
/// # Errors
/// Where the folder cannot be read.
pub(crate) async fn queries(data: &Path) -> anyhow::Result<Routes> {
    let layout = Layout::of(data);
    let store = embedded::Store::open_read_only(&layout.log)?;
    let live = live_generations(&store).await?;
    let documents = layout.open_views(&live, sqlite::Access::ReadOnly).await?;
    let books = layout.open_books(&live, sqlite::Access::ReadOnly).await?;
    let (documents, books) = (Arc::new(documents), Arc::new(books));
    Ok(reading(Arc::new(store), documents, books, Arc::new(SystemClock)).await?)
}
