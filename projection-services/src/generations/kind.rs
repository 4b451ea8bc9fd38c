//! What a view is kept in, rows or a book, so that its generations are looked after alike.

use std::{marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use recourse_event_store::EventStore;
use recourse_views::{
    Bookkeeper, Considered, Projection, Projector,
    books::{self, Books},
    documents::{Collection, Documents},
    projector::{self, Bookkeeping, Error, Filler, Target},
    verify::{CompareError, Comparison, generations_of_book, generations_of_rows},
};
use tokio_util::sync::CancellationToken;

/// One view and its generations, whatever they are kept in.
#[async_trait]
pub(crate) trait Kind: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The version that this program fills.
    fn version(&self) -> u32;

    /// What fills a generation; it has done nothing yet.
    fn filler(&self, generation: u32) -> Box<dyn Fill>;

    /// How far a generation has come, by what is in its database.
    async fn position(&self, generation: u32) -> Result<Considered, Error>;

    /// How the rows of `live` differ from those of `other`.
    async fn compare(&self, live: u32, other: u32) -> Result<Comparison, CompareError>;

    /// How many rows a generation has.
    async fn count(&self, generation: u32) -> Result<u64, CompareError>;

    /// Removes a generation, of whichever version.
    async fn discard(&self, version: u32, generation: u32) -> Result<(), Error>;
}

/// What fills a generation.
#[async_trait]
pub(crate) trait Fill: Send {
    /// Finds where it is and holds that against the log.
    async fn open(&mut self) -> Result<(), Error>;

    /// How far it has considered the log.
    fn considered(&self) -> Considered;

    /// Follows how far it comes while another process fills it. Never ends.
    async fn follow(&mut self);

    /// Fills it until it is cancelled, or cannot go on.
    async fn fill(&mut self, cancelled: &CancellationToken) -> Result<(), Error>;
}

#[async_trait]
impl<T: Target> Fill for Filler<T> {
    async fn open(&mut self) -> Result<(), Error> {
        Filler::open(self).await
    }

    fn considered(&self) -> Considered {
        Filler::considered(self)
    }

    async fn follow(&mut self) {
        Filler::follow(self).await;
    }

    async fn fill(&mut self, cancelled: &CancellationToken) -> Result<(), Error> {
        Filler::fill(self, cancelled).await
    }
}

/// A view of rows.
pub(crate) struct Rows<P> {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) options: projector::Options,
    pub(crate) projection: PhantomData<fn() -> P>,
}

#[async_trait]
impl<P: Projection> Kind for Rows<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> u32 {
        P::VERSION
    }

    fn filler(&self, generation: u32) -> Box<dyn Fill> {
        let (store, documents) = (Arc::clone(&self.store), Arc::clone(&self.documents));
        let options = self.options.clone();
        let projector = Projector::<P>::of_generation(generation, store, documents, options);
        Box::new(projector)
    }

    async fn position(&self, generation: u32) -> Result<Considered, Error> {
        let collection = P::collection().in_generation(generation);
        let found = self.documents.checkpoint(&collection).await;
        let found = found.map_err(|source| Error::Documents {
            view: P::NAME,
            source,
        })?;
        Ok(found.map_or_else(Considered::default, |at| Considered::at(at.position)))
    }

    async fn compare(&self, live: u32, other: u32) -> Result<Comparison, CompareError> {
        generations_of_rows::<P>(&*self.store, &*self.documents, live, other).await
    }

    async fn count(&self, generation: u32) -> Result<u64, CompareError> {
        let mut rows: u64 = 0;
        let collection = P::collection().in_generation(generation);
        let counted = self.documents.scan(&collection, &mut |_| rows += 1).await;
        counted?;
        Ok(rows)
    }

    async fn discard(&self, version: u32, generation: u32) -> Result<(), Error> {
        let collection = Collection {
            version,
            ..P::collection().in_generation(generation)
        };
        let discarded = self.documents.discard(&collection).await;
        discarded.map_err(|source| Error::Documents {
            view: P::NAME,
            source,
        })
    }
}

/// A view that is a book.
pub(crate) struct Book<B> {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) books: Arc<dyn Books>,
    pub(crate) options: projector::Options,
    pub(crate) bookkeeping: PhantomData<fn() -> B>,
}

#[async_trait]
impl<B: Bookkeeping> Kind for Book<B> {
    fn name(&self) -> &'static str {
        B::NAME
    }

    fn version(&self) -> u32 {
        B::VERSION
    }

    fn filler(&self, generation: u32) -> Box<dyn Fill> {
        let (store, books) = (Arc::clone(&self.store), Arc::clone(&self.books));
        let options = self.options.clone();
        let bookkeeper = Bookkeeper::<B>::of_generation(generation, store, books, options);
        Box::new(bookkeeper)
    }

    async fn position(&self, generation: u32) -> Result<Considered, Error> {
        let found = self
            .books
            .checkpoint(&B::book().in_generation(generation))
            .await;
        let found = found.map_err(|source| Error::Books {
            view: B::NAME,
            source,
        })?;
        Ok(found.map_or_else(Considered::default, |at| Considered::at(at.position)))
    }

    async fn compare(&self, live: u32, other: u32) -> Result<Comparison, CompareError> {
        let book = B::book();
        let (live, other) = (book.in_generation(live), book.in_generation(other));
        generations_of_book(&*self.books, &live, &other).await
    }

    async fn count(&self, generation: u32) -> Result<u64, CompareError> {
        let mut entries: u64 = 0;
        let book = B::book().in_generation(generation);
        self.books.scan(&book, &mut |_| entries += 1).await?;
        Ok(entries)
    }

    async fn discard(&self, version: u32, generation: u32) -> Result<(), Error> {
        let book = books::Book {
            version,
            ..B::book().in_generation(generation)
        };
        let discarded = self.books.discard(&book).await;
        discarded.map_err(|source| Error::Books {
            view: B::NAME,
            source,
        })
    }
}
