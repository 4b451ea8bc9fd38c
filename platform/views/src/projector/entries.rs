//! Fills a book: makes the entries of a batch and commits them.

use std::{marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use recourse_event_store::{Direction, EventStore, Filter, RecordedEvent, StreamName, Visibility};

use super::{Committing, Error, Filler, Options, Target};
use crate::{
    Checkpoint, ProjectionError,
    books::{self, Book, Books, Entry, Posting},
    projection::FoldError,
};

/// How many events of a stream are read at once.
const READ_EVENTS: usize = 256;

/// A book as a fold of the log: pure, so that the entries depend on nothing but the events.
pub trait Bookkeeping: Send + Sync + 'static {
    /// The name of the view and of its book.
    const NAME: &'static str;
    /// To be raised with each change of what is booked: the view is then filled anew from the
    /// first event.
    const VERSION: u32;

    /// Which events it is made of.
    fn filter() -> Filter;

    /// The streams that say what an event moves, where the event itself does not. For what is
    /// rare: they are read for each such event. Asked again with what was read so far, for that
    /// may name others, until there is none that was not read.
    ///
    /// # Errors
    /// Where an event cannot be read.
    fn context(
        event: &RecordedEvent,
        read: &[Arc<RecordedEvent>],
    ) -> Result<Vec<StreamName>, ProjectionError>;

    /// What an event moves; nothing where no money moves. `context` holds the events of the
    /// streams of [`Self::context`] before this one, stream by stream, oldest first.
    ///
    /// # Errors
    /// Where an event cannot be read, or cannot follow what came before it.
    fn postings(
        event: &RecordedEvent,
        context: &[Arc<RecordedEvent>],
    ) -> Result<Vec<Posting>, ProjectionError>;

    /// Where the entries of the first generation are kept.
    #[must_use]
    fn book() -> Book {
        Book {
            name: Self::NAME,
            version: Self::VERSION,
            generation: 0,
        }
    }
}

/// Fills one book.
pub type Bookkeeper<B> = Filler<Entries<B>>;

/// The entries of a view, in a database of books.
pub struct Entries<B> {
    books: Arc<dyn Books>,
    book: Book,
    pending: Vec<Entry>,
    bookkeeping: PhantomData<fn() -> B>,
}

impl<B: Bookkeeping> Bookkeeper<B> {
    /// A bookkeeper of the first generation that has done nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, books: Arc<dyn Books>, options: Options) -> Self {
        Self::of_generation(0, store, books, options)
    }

    /// A bookkeeper of a generation that has done nothing yet.
    #[must_use]
    pub fn of_generation(
        generation: u32,
        store: Arc<dyn EventStore>,
        books: Arc<dyn Books>,
        options: Options,
    ) -> Self {
        let target = Entries {
            books,
            book: B::book().in_generation(generation),
            pending: Vec::new(),
            bookkeeping: PhantomData,
        };
        Self::with_target(store, target, options)
    }
}

#[async_trait]
impl<B: Bookkeeping> Target for Entries<B> {
    const NAME: &'static str = B::NAME;

    fn filter() -> Filter {
        B::filter()
    }

    async fn reopen(&mut self) -> Result<Option<Checkpoint>, Error> {
        self.pending.clear();
        let found = self.books.checkpoint(&self.book).await;
        found.map_err(books_error::<B>)
    }

    async fn fold(
        &mut self,
        store: &dyn EventStore,
        events: &[Arc<RecordedEvent>],
    ) -> Result<(), Error> {
        for event in events {
            self.pending.extend(entry::<B>(store, event).await?);
        }
        Ok(())
    }

    fn pending(&self) -> usize {
        self.pending.len()
    }

    fn commit(
        &mut self,
        expected: Option<Checkpoint>,
        next: Checkpoint,
    ) -> Result<Committing, Error> {
        let entries = std::mem::take(&mut self.pending);
        let books = Arc::clone(&self.books);
        let book = self.book;
        Ok(Box::pin(async move {
            let committed = books.commit(&book, expected.as_ref(), &next, entries);
            committed.await.map_err(books_error::<B>)
        }))
    }

    fn committed(&mut self) {}
}

/// The entry that an event makes, where it makes one.
async fn entry<B: Bookkeeping>(
    store: &dyn EventStore,
    event: &RecordedEvent,
) -> Result<Option<Entry>, Error> {
    let failed = |source| FoldError::of(B::NAME, event, source);
    let mut context = Vec::new();
    let mut known = Vec::new();
    loop {
        let mut streams = B::context(event, &context).map_err(failed)?;
        streams.retain(|stream| !known.contains(stream));
        if streams.is_empty() {
            break;
        }
        for stream in streams {
            let earlier = before(store, &stream, event).await;
            context.extend(earlier.map_err(|source| Error::Store {
                view: B::NAME,
                source,
            })?);
            known.push(stream);
        }
    }
    let postings = B::postings(event, &context).map_err(failed)?;
    if postings.is_empty() {
        return Ok(None);
    }
    let metadata = event.metadata().map_err(|error| failed(error.into()))?;
    Ok(Some(Entry {
        position: event.position,
        event_id: event.event.id,
        event_type: event.event.event_type.to_string(),
        stream: event.stream.clone(),
        correlation_id: metadata.correlation_id,
        at: metadata.recorded_at,
        postings,
    }))
}

/// The events of a stream that came before an event.
async fn before(
    store: &dyn EventStore,
    stream: &StreamName,
    event: &RecordedEvent,
) -> Result<Vec<Arc<RecordedEvent>>, recourse_event_store::StoreError> {
    let mut events = Vec::new();
    let mut from = Some(0);
    while let Some(revision) = from {
        let read = store
            .read_stream(
                stream,
                Some(revision),
                Direction::Forward,
                Visibility::Durable,
                READ_EVENTS,
            )
            .await?;
        from = match read.last() {
            Some(last) if read.len() == READ_EVENTS && last.position < event.position => {
                last.revision.checked_add(1)
            }
            _ => None,
        };
        events.extend(read);
    }
    events.retain(|earlier| earlier.position < event.position);
    Ok(events)
}

fn books_error<B: Bookkeeping>(source: books::Error) -> Error {
    Error::Books {
        view: B::NAME,
        source,
    }
}
