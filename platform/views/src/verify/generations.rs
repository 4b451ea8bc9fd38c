//! Holds two generations of a view against each other while both go on.
//!
//! Each is the fold of the log up to where it has come, and they are seldom at the same place: so
//! rows that no event between the two has touched are compared as they are, and for the others the
//! generation that is behind is scanned again and its rows are taken to where the other one is.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use recourse_event_store::{Direction, EventStore, Position, Read, RecordedEvent, Visibility};

use super::{CompareError, Comparison, Difference, DifferenceKind, Scanned};
use crate::{
    Checkpoint,
    books::{self, Book, Booked, Books},
    documents::Documents,
    projection::{FoldError, Projection},
    projector::{read_row, rows::write_row},
};

/// How many events are asked of the log at once.
const MAX_READ_EVENTS: usize = 1_024;

/// How the rows of `live` differ from those of `other`, two generations of a view that go on
/// meanwhile.
///
/// # Errors
/// Where either or the log cannot be read.
pub async fn generations_of_rows<P: Projection>(
    store: &dyn EventStore,
    documents: &dyn Documents,
    live: u32,
    other: u32,
) -> Result<Comparison, CompareError> {
    let scanned_live = Scanned::<P>::of(documents, live).await?;
    let scanned_other = Scanned::<P>::of(documents, other).await?;
    let spans = [scanned_live.span(), scanned_other.span()];
    let mut touched = BTreeSet::new();
    between::<P>(store, over(spans), &mut |key, _| {
        touched.insert(key);
    })
    .await?;
    let mut pairs = Pairs::default();
    for (id, row) in &scanned_live.rows {
        if !touched.contains(id) {
            pairs.add(id, Some(row), scanned_other.rows.get(id));
        }
    }
    for (id, row) in &scanned_other.rows {
        if !touched.contains(id) && !scanned_live.rows.contains_key(id) {
            pairs.add(id, None, Some(row));
        }
    }
    drop((scanned_live, scanned_other));
    if !touched.is_empty() {
        let rows = meet::<P>(store, documents, [live, other], &touched).await?;
        let [live, other] = rows;
        for id in &touched {
            pairs.add(id, live.get(id), other.get(id));
        }
    }
    let [_, end] = over(spans);
    Ok(pairs.comparison(end))
}

/// From the checkpoint that is behind to what is furthest.
fn over([one, other]: [[Position; 2]; 2]) -> [Position; 2] {
    let [[from, end], [other_from, other_end]] = [one, other];
    [from.min(other_from), end.max(other_end)]
}

/// The rows of these ids in both generations, as of one position.
async fn meet<P: Projection>(
    store: &dyn EventStore,
    documents: &dyn Documents,
    generations: [u32; 2],
    wanted: &BTreeSet<String>,
) -> Result<[BTreeMap<String, String>; 2], CompareError> {
    let [first, second] = generations;
    let mut first = Rows::scan::<P>(documents, first, wanted).await?;
    let mut second = Rows::scan::<P>(documents, second, wanted).await?;
    let spans = [first.span(), second.span()];
    let mut events: BTreeMap<String, Vec<Arc<RecordedEvent>>> = BTreeMap::new();
    between::<P>(store, over(spans), &mut |key, event| {
        if wanted.contains(&key) {
            events.entry(key).or_default().push(Arc::clone(event));
        }
    })
    .await?;
    for (id, events) in &events {
        first.advance::<P>(id, events);
        second.advance::<P>(id, events);
    }
    Ok([first.rows, second.rows])
}

/// Some rows of a generation, and as of which moment.
struct Rows {
    rows: BTreeMap<String, String>,
    checkpoint: Position,
    /// Of those that are further, how far.
    further: BTreeMap<String, Position>,
}

impl Rows {
    async fn scan<P: Projection>(
        documents: &dyn Documents,
        generation: u32,
        wanted: &BTreeSet<String>,
    ) -> Result<Self, CompareError> {
        let mut rows = BTreeMap::new();
        let collection = P::collection().in_generation(generation);
        let scanned = documents
            .scan(&collection, &mut |document| {
                if wanted.contains(&document.id) {
                    rows.insert(document.id, document.json);
                }
            })
            .await?;
        let gone = scanned.gone.into_iter();
        let gone = gone.filter(|(id, _)| !rows.contains_key(id));
        Ok(Self {
            further: scanned.folded.into_iter().chain(gone).collect(),
            checkpoint: position(scanned.checkpoint.as_ref()),
            rows,
        })
    }

    fn span(&self) -> [Position; 2] {
        let furthest = self.further.values().copied().max();
        [
            self.checkpoint,
            self.checkpoint.max(furthest.unwrap_or_default()),
        ]
    }

    /// Takes a row over events. One that cannot be taken is damaged, and stays what it is: nothing
    /// that a projection makes.
    fn advance<P: Projection>(&mut self, id: &str, events: &[Arc<RecordedEvent>]) {
        let at = self.further.get(id).copied().unwrap_or(self.checkpoint);
        let mut events = events.iter().filter(|event| event.position > at).peekable();
        if events.peek().is_none() {
            return;
        }
        let json = self.rows.remove(id);
        let row = match &json {
            None => Ok(None),
            Some(json) => read_row::<P>(id, json).map(Some),
        };
        let folded = row.ok().and_then(|mut row| {
            for event in events {
                row = P::apply(row, event).ok()?;
            }
            match row {
                None => Some(None),
                Some(row) => write_row::<P>(id, &row).ok().map(Some),
            }
        });
        match folded {
            Some(None) => {}
            Some(Some(json)) => {
                self.rows.insert(id.to_owned(), json);
            }
            None => {
                let damaged = format!("damaged: {}", json.unwrap_or_default());
                self.rows.insert(id.to_owned(), damaged);
            }
        }
    }
}

/// Visits each event of a view between two positions, with the row that it belongs to.
async fn between<P: Projection>(
    store: &dyn EventStore,
    positions: [Position; 2],
    visit: &mut (dyn FnMut(String, &Arc<RecordedEvent>) + Send),
) -> Result<(), CompareError> {
    let [mut from, end] = positions;
    while from < end {
        let batch = store
            .read_all(Read {
                from: Some(from),
                direction: Direction::Forward,
                visibility: Visibility::Durable,
                filter: P::filter(),
                max_events: MAX_READ_EVENTS,
            })
            .await
            .map_err(FoldError::Store)?;
        for event in &batch.events {
            if event.position > end {
                return Ok(());
            }
            let key = P::key(event).map_err(|source| FoldError::event::<P>(event, source))?;
            if let Some(key) = key {
                visit(key, event);
            }
        }
        from = batch.considered;
        if batch.at_end {
            break;
        }
    }
    Ok(())
}

/// How the entries and balances of `live` differ from those of `other`, two generations of a book
/// that go on meanwhile. Entries are never changed, so those that both have come to are compared;
/// a balance is held against the postings of its own book.
///
/// # Errors
/// Where either cannot be read.
pub async fn generations_of_book(
    books: &dyn Books,
    live: &Book,
    other: &Book,
) -> Result<Comparison, CompareError> {
    let live = WholeBook::scan(books, live).await?;
    let other = WholeBook::scan(books, other).await?;
    let end = live.position.min(other.position);
    let mut pairs = Pairs::default();
    let ids: BTreeSet<&Key> = live.entries.keys().chain(other.entries.keys()).collect();
    for key in ids.into_iter().filter(|key| key.0 <= end) {
        let id = format!("entry of {} at {}", key.1, key.0);
        pairs.add(&id, live.entries.get(key), other.entries.get(key));
    }
    let accounts = live.sums.keys().chain(live.balances.keys());
    for account in accounts.collect::<BTreeSet<_>>() {
        let id = format!("balance of {} in {}", account.0, account.1);
        pairs.add(&id, live.balances.get(account), live.sums.get(account));
    }
    Ok(pairs.comparison(end))
}

/// An entry by the event that it is made from.
type Key = (Position, uuid::Uuid);

/// A book as of one moment.
struct WholeBook {
    position: Position,
    /// A digest of each entry.
    entries: BTreeMap<Key, u64>,
    /// What the postings of each account and currency come to.
    sums: BTreeMap<(String, String), i128>,
    balances: BTreeMap<(String, String), i128>,
}

impl WholeBook {
    async fn scan(books: &dyn Books, book: &Book) -> Result<Self, books::Error> {
        let mut entries = BTreeMap::new();
        let mut sums: BTreeMap<(String, String), i128> = BTreeMap::new();
        let contents = books
            .scan(book, &mut |booked| {
                for posting in &booked.entry.postings {
                    let account = (posting.account.clone(), posting.currency.clone());
                    let sum = sums.entry(account).or_default();
                    *sum = sum.saturating_add(i128::from(posting.amount_minor));
                }
                let key = (booked.entry.position, booked.entry.event_id);
                entries.insert(key, digest_of_entry(&booked));
            })
            .await?;
        let balances = contents.balances.into_iter().map(|balance| {
            let account = (balance.account, balance.currency);
            (account, i128::from(balance.amount_minor))
        });
        Ok(Self {
            position: position(contents.checkpoint.as_ref()),
            entries,
            sums,
            balances: balances.collect(),
        })
    }
}

/// All that an entry says, its number too.
fn digest_of_entry(booked: &Booked) -> u64 {
    let Booked { number, entry } = booked;
    let mut hasher = DefaultHasher::new();
    (
        number,
        &entry.event_type,
        entry.stream.as_str(),
        entry.correlation_id,
        entry.at.timestamp_micros(),
    )
        .hash(&mut hasher);
    for posting in &entry.postings {
        (&posting.account, &posting.currency, posting.amount_minor).hash(&mut hasher);
    }
    hasher.finish()
}

fn position(checkpoint: Option<&Checkpoint>) -> Position {
    checkpoint.map_or(Position::START, |checkpoint| checkpoint.position)
}

/// What was compared so far.
#[derive(Default)]
struct Pairs {
    equal: u64,
    differences: Vec<Difference>,
}

impl Pairs {
    fn add<T: PartialEq>(&mut self, id: &str, live: Option<T>, other: Option<T>) {
        let kind = match (live, other) {
            (None, None) => return,
            (Some(live), Some(other)) if live == other => {
                self.equal = self.equal.saturating_add(1);
                return;
            }
            (Some(_), Some(_)) => DifferenceKind::Changed,
            (None, Some(_)) => DifferenceKind::Missing,
            (Some(_), None) => DifferenceKind::Surplus,
        };
        let id = id.to_owned();
        self.differences.push(Difference { id, kind });
    }

    fn comparison(mut self, position: Position) -> Comparison {
        self.differences.sort();
        Comparison {
            position,
            equal_rows: self.equal,
            differences: self.differences,
        }
    }
}

impl<P> Scanned<P> {
    /// From its checkpoint to what is furthest of it.
    fn span(&self) -> [Position; 2] {
        let checkpoint = position(self.checkpoint.as_ref());
        let furthest = self.further.keys().next_back().copied();
        [checkpoint, checkpoint.max(furthest.unwrap_or_default())]
    }
}
