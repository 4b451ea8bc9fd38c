//! What every adapter of [`Books`] does the same.

use chrono::{DateTime, TimeDelta, Utc};
use recourse_event_store::{LogId, Position, StreamName};
use uuid::Uuid;

use super::checkpoint;
use crate::{
    Checkpoint,
    books::{Balance, Book, Booked, Books, Contents, Entry, Error, Posting, Query},
};

pub(crate) const SAMPLE: Book = Book {
    name: "sample",
    version: 1,
    generation: 0,
};

fn at(number: u64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::microseconds(1_700_000_000_123_456 + number as i64)
}

fn posting((account, currency, amount_minor): (&str, &str, i64)) -> Posting {
    Posting {
        account: account.into(),
        currency: currency.into(),
        amount_minor,
    }
}

/// The entry of the event at `position`, of an order.
pub(crate) fn entry(position: u64, order: u128, postings: &[(&str, &str, i64)]) -> Entry {
    Entry {
        position: Position::dense(position),
        event_id: Uuid::from_u128(u128::from(position) << 64),
        event_type: "payment.captured.v1".into(),
        stream: StreamName::new("payment", order),
        correlation_id: Uuid::from_u128(order),
        at: at(position),
        postings: postings.iter().copied().map(posting).collect(),
    }
}

/// Runs the suite, each part on a database of its own.
pub(crate) async fn run<D, F>(new: impl Fn() -> F)
where
    D: Books,
    F: Future<Output = D>,
{
    a_book_never_written_is_empty(&new().await).await;
    entries_balances_and_checkpoint_move_together(&new().await).await;
    nothing_is_written_where_the_checkpoint_has_moved(&new().await).await;
    an_entry_that_is_not_balanced_is_never_in_the_book(&new().await).await;
    a_balance_that_leaves_its_range_is_refused(&new().await).await;
    currencies_are_kept_apart(&new().await).await;
    many_entries_are_one_commit(&new().await).await;
    entries_are_found_newest_first_by_account_and_by_what_they_belong_to(&new().await).await;
    versions_are_beside_each_other(&new().await).await;
    generations_are_beside_each_other(&new().await).await;
    a_discarded_book_was_never_written(&new().await).await;
}

async fn whole(books: &dyn Books) -> (Vec<Booked>, Contents) {
    let mut seen = Vec::new();
    let contents = books
        .scan(&SAMPLE, &mut |booked| seen.push(booked))
        .await
        .unwrap();
    assert_eq!(
        books.checkpoint(&SAMPLE).await.unwrap(),
        contents.checkpoint
    );
    assert_eq!(books.balances(&SAMPLE).await.unwrap(), contents.balances);
    (seen, contents)
}

fn balance(account: &str, currency: &str, amount_minor: i64) -> Balance {
    Balance {
        account: account.into(),
        currency: currency.into(),
        amount_minor,
    }
}

const MOVES_5: [(&str, &str, i64); 2] = [("clearing", "EUR", 5), ("revenue", "EUR", -5)];

async fn a_book_never_written_is_empty(books: &dyn Books) {
    assert_eq!(whole(books).await, (vec![], Contents::default()));
    let query = Query {
        limit: 10,
        ..Query::default()
    };
    assert_eq!(books.entries(&SAMPLE, &query).await.unwrap(), vec![]);
}

async fn entries_balances_and_checkpoint_move_together(books: &dyn Books) {
    let one = checkpoint(1);
    let first = entry(1, 7, &MOVES_5);
    let commit = books.commit(&SAMPLE, None, &one, vec![first.clone()]);
    commit.await.unwrap();
    // Given back in the order of accounts, whatever the order they were given in.
    let second = entry(2, 8, &[("revenue", "EUR", -2), ("clearing", "EUR", 2)]);
    let two = checkpoint(2);
    let commit = books.commit(&SAMPLE, Some(&one), &two, vec![second.clone()]);
    commit.await.unwrap();
    let (booked, contents) = whole(books).await;
    let mut sorted = second;
    sorted.postings.sort();
    let expected = [(1, first), (2, sorted)].map(|(number, entry)| Booked { number, entry });
    assert_eq!(booked, expected);
    let balances = vec![balance("clearing", "EUR", 7), balance("revenue", "EUR", -7)];
    let expected = Contents {
        checkpoint: Some(two),
        balances: balances.clone(),
    };
    assert_eq!(contents, expected);
    // A quiet log moves the checkpoint alone.
    let nine = checkpoint(9);
    let commit = books.commit(&SAMPLE, Some(&two), &nine, vec![]);
    commit.await.unwrap();
    let expected = Contents {
        checkpoint: Some(checkpoint(9)),
        balances,
    };
    assert_eq!(whole(books).await, (booked, expected));
}

async fn nothing_is_written_where_the_checkpoint_has_moved(books: &dyn Books) {
    let one = checkpoint(1);
    let other_event = Checkpoint {
        event_id: None,
        ..one
    };
    let other_log = Checkpoint {
        log: LogId(Uuid::from_u128(2)),
        ..one
    };
    let moved = |result| matches!(result, Err(Error::Moved { book }) if book == "sample_v1");
    let add = || vec![entry(2, 7, &MOVES_5)];
    assert!(moved(
        books
            .commit(&SAMPLE, Some(&one), &checkpoint(2), add())
            .await
    ));
    assert_eq!(whole(books).await, (vec![], Contents::default()));
    books.commit(&SAMPLE, None, &one, vec![]).await.unwrap();
    for stale in [
        None,
        Some(checkpoint(0)),
        Some(other_event),
        Some(other_log),
    ] {
        let result = books
            .commit(&SAMPLE, stale.as_ref(), &checkpoint(2), add())
            .await;
        assert!(moved(result), "{stale:?}");
        let (booked, contents) = whole(books).await;
        assert_eq!((booked, contents.checkpoint), (vec![], Some(one)));
        assert_eq!(contents.balances, vec![]);
    }
}

async fn an_entry_that_is_not_balanced_is_never_in_the_book(books: &dyn Books) {
    let one = checkpoint(1);
    let first = vec![entry(1, 7, &MOVES_5)];
    books.commit(&SAMPLE, None, &one, first).await.unwrap();
    let before = whole(books).await;
    for wrong in [
        // From nowhere.
        vec![("clearing", "EUR", 5), ("revenue", "EUR", -4)],
        vec![("clearing", "EUR", 5)],
        vec![],
        // Zero only over currencies.
        vec![("clearing", "EUR", 5), ("revenue", "USD", -5)],
        vec![
            ("clearing", "EUR", 5),
            ("revenue", "EUR", -6),
            ("refunds", "USD", 1),
        ],
        vec![("clearing", "EUR", 0), ("revenue", "EUR", 0)],
        vec![("clearing", "EUR", 5), ("clearing", "EUR", -5)],
        // Past what 64 bits hold, to where they would begin again.
        vec![
            ("clearing", "EUR", i64::MAX),
            ("refunds", "EUR", i64::MAX),
            ("revenue", "EUR", 2),
        ],
    ] {
        let good = entry(2, 7, &MOVES_5);
        let entries = vec![good.clone(), entry(3, 7, &wrong), good];
        let result = books
            .commit(&SAMPLE, Some(&one), &checkpoint(4), entries)
            .await;
        assert!(
            matches!(result, Err(Error::Refused { .. })),
            "{wrong:?}: {result:?}"
        );
        assert_eq!(whole(books).await, before, "{wrong:?}");
    }
    // Two that are wrong do not make up for each other.
    let entries = vec![
        entry(2, 7, &[("clearing", "EUR", 5), ("revenue", "EUR", -4)]),
        entry(3, 7, &[("clearing", "EUR", 4), ("revenue", "EUR", -5)]),
    ];
    let result = books
        .commit(&SAMPLE, Some(&one), &checkpoint(4), entries)
        .await;
    assert!(matches!(result, Err(Error::Refused { .. })));
    assert_eq!(whole(books).await, before);
}

async fn a_balance_that_leaves_its_range_is_refused(books: &dyn Books) {
    let most = [("clearing", "EUR", i64::MAX), ("revenue", "EUR", -i64::MAX)];
    let one = checkpoint(1);
    let first = vec![entry(1, 7, &most)];
    books.commit(&SAMPLE, None, &one, first).await.unwrap();
    let before = whole(books).await;
    let result = books
        .commit(
            &SAMPLE,
            Some(&one),
            &checkpoint(2),
            vec![entry(2, 7, &MOVES_5)],
        )
        .await;
    assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    assert_eq!(whole(books).await, before);
}

async fn currencies_are_kept_apart(books: &dyn Books) {
    let both = [
        ("clearing", "EUR", 5),
        ("revenue", "EUR", -5),
        ("clearing", "JPY", 300),
        ("revenue", "JPY", -300),
    ];
    let entries = vec![entry(1, 7, &both), entry(2, 7, &MOVES_5)];
    books
        .commit(&SAMPLE, None, &checkpoint(2), entries)
        .await
        .unwrap();
    assert_eq!(
        whole(books).await.1.balances,
        [
            balance("clearing", "EUR", 10),
            balance("clearing", "JPY", 300),
            balance("revenue", "EUR", -10),
            balance("revenue", "JPY", -300),
        ]
    );
}

async fn many_entries_are_one_commit(books: &dyn Books) {
    let entries = |from: u64| -> Vec<Entry> {
        (from..from + 1777)
            .map(|n| {
                let amount = i64::try_from(n % 7).unwrap() + 1;
                let account = ["a", "b", "c"][usize::try_from(n % 3).unwrap()];
                entry(
                    n,
                    n.into(),
                    &[(account, "EUR", amount), ("d", "EUR", -amount)],
                )
            })
            .collect()
    };
    books
        .commit(&SAMPLE, None, &checkpoint(2000), entries(1))
        .await
        .unwrap();
    books
        .commit(
            &SAMPLE,
            Some(&checkpoint(2000)),
            &checkpoint(4000),
            entries(2001),
        )
        .await
        .unwrap();
    let (booked, contents) = whole(books).await;
    let expected: Vec<Entry> = [entries(1), entries(2001)].concat();
    assert_eq!(booked.len(), expected.len());
    for ((number, entry), booked) in (1..).zip(expected).zip(&booked) {
        assert_eq!((number, &entry), (booked.number, &booked.entry));
    }
    for balance in contents.balances {
        let postings = booked.iter().flat_map(|booked| &booked.entry.postings);
        let sum: i64 = postings
            .filter(|posting| posting.account == balance.account)
            .map(|posting| posting.amount_minor)
            .sum();
        assert_eq!(balance.amount_minor, sum, "{}", balance.account);
    }
}

async fn entries_are_found_newest_first_by_account_and_by_what_they_belong_to(books: &dyn Books) {
    let refund = [("clearing", "EUR", -5), ("refunds", "EUR", 5)];
    let dollars = [("clearing", "USD", 5), ("revenue", "USD", -5)];
    let entries = vec![
        entry(1, 7, &MOVES_5),
        entry(2, 8, &MOVES_5),
        entry(3, 7, &refund),
        entry(4, 9, &dollars),
        entry(5, 8, &refund),
    ];
    books
        .commit(&SAMPLE, None, &checkpoint(5), entries)
        .await
        .unwrap();
    for (account, order, expected) in [
        (None, None, vec![5, 4, 3, 2, 1]),
        (Some("revenue"), None, vec![4, 2, 1]),
        (Some("refunds"), None, vec![5, 3]),
        (Some("clearing"), Some(8), vec![5, 2]),
        (Some("refunds"), Some(9), vec![]),
        (Some("nothing'"), None, vec![]),
        (None, Some(7), vec![3, 1]),
        (None, Some(1), vec![]),
    ] {
        for limit in [1, 2, 10] {
            let mut query = Query {
                account: account.map(Into::into),
                correlation_id: order.map(Uuid::from_u128),
                below: None,
                limit,
            };
            let mut seen = Vec::new();
            loop {
                let page = books.entries(&SAMPLE, &query).await.unwrap();
                assert!(page.len() <= limit as usize);
                let Some(last) = page.last() else { break };
                query.below = Some(last.number);
                // All postings, not those of the account alone.
                assert!(page.iter().all(|booked| booked.entry.postings.len() == 2));
                seen.extend(page.into_iter().map(|booked| booked.number));
            }
            assert_eq!(seen, expected, "{account:?} {order:?} {limit}");
        }
    }
}

async fn versions_are_beside_each_other(books: &dyn Books) {
    let next_version = Book {
        version: 2,
        ..SAMPLE
    };
    let first = vec![entry(1, 7, &MOVES_5)];
    books
        .commit(&SAMPLE, None, &checkpoint(1), first)
        .await
        .unwrap();
    books
        .commit(&next_version, None, &checkpoint(9), vec![])
        .await
        .unwrap();
    assert_eq!(whole(books).await.0.len(), 1);
    assert_eq!(books.balances(&next_version).await.unwrap(), vec![]);
    let at = books.checkpoint(&next_version).await.unwrap();
    assert_eq!(at, Some(checkpoint(9)));
}

async fn generations_are_beside_each_other(books: &dyn Books) {
    let other = SAMPLE.in_generation(3);
    assert_ne!(other.table(), SAMPLE.table());
    let (one, nine) = (checkpoint(1), checkpoint(9));
    let first = || vec![entry(1, 7, &MOVES_5)];
    books.commit(&SAMPLE, None, &one, first()).await.unwrap();
    books.commit(&other, None, &one, first()).await.unwrap();
    let more = vec![entry(9, 8, &MOVES_5)];
    let commit = books.commit(&other, Some(&one), &nine, more);
    commit.await.unwrap();
    assert_eq!(books.checkpoint(&SAMPLE).await.unwrap(), Some(one));
    assert_eq!(books.checkpoint(&other).await.unwrap(), Some(nine));
    let query = Query {
        limit: 10,
        ..Query::default()
    };
    for (book, entries) in [(&SAMPLE, 1_u64), (&other, 2)] {
        let found = books.entries(book, &query).await.unwrap();
        let numbers: Vec<_> = found.iter().map(|booked| booked.number).collect();
        assert_eq!(numbers, (1..=entries).rev().collect::<Vec<_>>());
        let moved = i64::try_from(entries).unwrap() * 5;
        let balances = [
            balance("clearing", "EUR", moved),
            balance("revenue", "EUR", -moved),
        ];
        assert_eq!(books.balances(book).await.unwrap(), balances);
    }
}

async fn a_discarded_book_was_never_written(books: &dyn Books) {
    let other = SAMPLE.in_generation(1);
    // No harm in what was never there.
    books.discard(&other).await.unwrap();
    let (one, two) = (checkpoint(1), checkpoint(2));
    let first = || vec![entry(1, 7, &MOVES_5)];
    books.commit(&SAMPLE, None, &one, first()).await.unwrap();
    books.commit(&other, None, &one, first()).await.unwrap();
    for _ in 0..2 {
        books.discard(&other).await.unwrap();
        assert_eq!(books.checkpoint(&other).await.unwrap(), None);
        assert_eq!(books.balances(&other).await.unwrap(), vec![]);
        let mut seen = 0;
        let scanned = books.scan(&other, &mut |_| seen += 1).await.unwrap();
        assert_eq!((scanned, seen), (Contents::default(), 0));
    }
    // Who still fills it is told, and does not make it again.
    let late = books.commit(&other, Some(&one), &two, vec![entry(2, 7, &MOVES_5)]);
    assert!(matches!(late.await, Err(Error::Moved { .. })));
    assert_eq!(books.checkpoint(&other).await.unwrap(), None);
    // The one beside it is as it was.
    assert_eq!(whole(books).await.0.len(), 1);
    // It can be filled again, from the beginning and number 1.
    let again = vec![entry(2, 8, &MOVES_5)];
    books.commit(&other, None, &two, again).await.unwrap();
    let mut numbers = Vec::new();
    let contents = books
        .scan(&other, &mut |booked| numbers.push(booked.number))
        .await
        .unwrap();
    assert_eq!(contents.checkpoint, Some(two));
    assert_eq!(numbers, [1]);
}
