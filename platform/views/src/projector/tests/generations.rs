//! Generations of a view: filled beside each other, compared wherever each of them is.

use super::*;
use crate::{
    books::{Book, Books, Entry, Posting},
    verify::{generations_of_book, generations_of_rows},
};

fn of_generation(
    generation: u32,
    store: &Store,
    documents: &Arc<dyn Documents>,
) -> Projector<Names> {
    let options = Options {
        max_pending: 1,
        ..Options::default()
    };
    let documents = Arc::clone(documents);
    Projector::of_generation(generation, Arc::new(store.clone()), documents, options)
}

/// Fills one generation up to one position and the other up to another.
async fn filled(live: u64, other: u64) -> (Store, Arc<dyn Documents>) {
    let store = log().await;
    let documents: Arc<dyn Documents> = Arc::new(memory::Documents::default());
    let mut ends = [(0, live), (1, other)];
    ends.sort_by_key(|(_, end)| *end);
    for (generation, end) in ends {
        store.sync_up_to(Position::dense(end));
        let mut projector = of_generation(generation, &store, &documents);
        catch_up(&mut projector, &store).await.unwrap();
    }
    (store, documents)
}

/// Writes to a generation what no event says.
async fn damage(documents: &dyn Documents, generation: u32, write: Write) {
    let collection = Names::collection().in_generation(generation);
    let at = documents.checkpoint(&collection).await.unwrap();
    let commit = documents.commit(&collection, at.as_ref(), at.as_ref().unwrap(), vec![write]);
    commit.await.unwrap();
}

fn write(id: &str, change: Change) -> Write {
    Write {
        id: id.into(),
        change,
    }
}

#[tokio::test(start_paused = true)]
async fn two_generations_are_found_equal_wherever_each_of_them_is() {
    for live in (1..60).step_by(7) {
        for other in (1..60).step_by(8) {
            let (store, documents) = filled(live, other).await;
            let found = generations_of_rows::<Names>(&store, &*documents, 0, 1);
            let found = found.await.unwrap();
            assert_eq!(found.differences, [], "{live} {other}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_row_of_the_live_generation_is_found_wherever_the_other_one_is() {
    let changed = r#"{"names":[1],"sum":1}"#.to_owned();
    for (id, change, kind) in [
        ("6", Change::Put(changed.clone()), DifferenceKind::Changed),
        ("6", Change::Put("{}".into()), DifferenceKind::Changed),
        ("6", Change::Delete, DifferenceKind::Missing),
        ("nobody", Change::Put(changed), DifferenceKind::Surplus),
    ] {
        for (live, other) in [(50, 50), (44, 50), (50, 44), (20, 50)] {
            let (store, documents) = filled(live, other).await;
            damage(&*documents, 0, write(id, change.clone())).await;
            let found = generations_of_rows::<Names>(&store, &*documents, 0, 1);
            let found = found.await.unwrap();
            // What later events make of a row that is gone is another row.
            let is_folded = live == 20 && kind == DifferenceKind::Missing;
            let kind = if is_folded {
                DifferenceKind::Changed
            } else {
                kind
            };
            let expected = Difference {
                id: id.into(),
                kind,
            };
            assert_eq!(found.differences, [expected], "{live} {other}");
            assert_eq!(found.position, Position::dense(live.max(other)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_is_discarded_under_its_projector_is_filled_again_from_the_beginning() {
    let (store, documents) = filled(30, 30).await;
    let mut projector = of_generation(1, &store, &documents);
    projector.open().await.unwrap();
    documents
        .discard(&Names::collection().in_generation(1))
        .await
        .unwrap();
    store.sync_up_to(Position::dense(50));
    assert!(catch_up(&mut projector, &store).await.unwrap() > 0);
    let mut live = of_generation(0, &store, &documents);
    catch_up(&mut live, &store).await.unwrap();
    let found = generations_of_rows::<Names>(&store, &*documents, 0, 1);
    assert_eq!(found.await.unwrap().differences, []);
}

const BOOK: Book = Book {
    name: "book",
    version: 1,
    generation: 0,
};

fn entry(position: u64, amount_minor: i64) -> Entry {
    let posting = |account: &str, amount_minor| Posting {
        account: account.into(),
        currency: "EUR".into(),
        amount_minor,
    };
    Entry {
        position: Position::dense(position),
        event_id: Uuid::from_u128(u128::from(position)),
        event_type: "a.happened.v1".into(),
        stream: StreamName::new("a", position),
        correlation_id: Uuid::nil(),
        at: chrono::DateTime::UNIX_EPOCH,
        postings: vec![posting("from", -amount_minor), posting("to", amount_minor)],
    }
}

async fn booked(entries: [(u64, Vec<Entry>); 2]) -> memory::Books {
    let books = memory::Books::default();
    for (generation, (position, entries)) in (0..).zip(entries) {
        let at = Checkpoint {
            log: LOG,
            position: Position::dense(position),
            event_id: None,
        };
        let book = BOOK.in_generation(generation);
        books.commit(&book, None, &at, entries).await.unwrap();
    }
    books
}

#[tokio::test]
async fn two_generations_of_a_book_are_compared_up_to_where_both_are() {
    let other = BOOK.in_generation(1);
    let books = booked([(9, vec![entry(3, 5), entry(8, 7)]), (5, vec![entry(3, 5)])]).await;
    let found = generations_of_book(&books, &BOOK, &other).await.unwrap();
    assert_eq!(found.differences, []);
    assert_eq!(found.position, Position::dense(5));
    let books = booked([
        (9, vec![entry(3, 5), entry(8, 6), entry(9, 1)]),
        (9, vec![entry(3, 5), entry(7, 2), entry(8, 7)]),
    ])
    .await;
    let found = generations_of_book(&books, &BOOK, &other).await.unwrap();
    let kinds: Vec<_> = found.differences.iter().map(|it| it.kind).collect();
    // What is not in it, what should not be in it, and what is not what it should be.
    for kind in [
        DifferenceKind::Missing,
        DifferenceKind::Surplus,
        DifferenceKind::Changed,
    ] {
        assert!(kinds.contains(&kind), "{found:?}");
    }
}
