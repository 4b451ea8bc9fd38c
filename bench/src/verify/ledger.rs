//! Promise 2 in the ledger: every entry sums to zero, every amount that moved is one entry, and
//! the accounts amount to their postings.
//!
//! What is to be booked is said here anew, from the events of payments and of what operators had
//! left out, and not asked of those who keep the book.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use async_trait::async_trait;
use recourse_domain::payment::Event;
use recourse_event_store::{EventStore, Metadata, Position, RecordedEvent};
use recourse_views::{
    Checkpoint,
    books::{self, Balance, Book, Booked, Books, Entry, Posting},
    verify::{CompareError, Comparison},
};
use uuid::Uuid;

use super::{
    report::{Breaches, Evidence, Kind},
    views::View,
    write_offs::Move,
};

/// What the log says is to be booked.
#[derive(Default)]
pub(super) struct Ledger {
    expected: BTreeMap<Position, Expected>,
}

struct Expected {
    event: Uuid,
    digest: u64,
    at: Evidence,
}

impl Ledger {
    pub(super) fn payment(&mut self, event: &RecordedEvent, metadata: &Metadata, what: &Event) {
        // From, to, how much.
        let moves: &[Move] = match what {
            Event::Authorized(it) => &[("authorizations", "holds-open", it.amount)],
            Event::Voided(it) => &[("holds-open", "holds-voided", it.amount)],
            Event::Captured(it) => &[
                ("holds-open", "holds-captured", it.amount),
                ("revenue", "provider-clearing", it.amount),
            ],
            Event::Refunded(it) => &[("provider-clearing", "refunds", it.amount)],
            _ => return,
        };
        self.expect(event, metadata, moves);
    }

    /// An event moves this; nothing where no money moves.
    pub(super) fn expect(&mut self, event: &RecordedEvent, metadata: &Metadata, moves: &[Move]) {
        if moves.is_empty() {
            return;
        }
        let posting = |account: &str, currency: String, amount_minor: i64| Posting {
            account: account.to_owned(),
            currency,
            amount_minor,
        };
        let mut postings = Vec::with_capacity(moves.len().saturating_mul(2));
        for (from, to, money) in moves {
            let currency = money.currency.to_string();
            postings.push(posting(from, currency.clone(), -money.amount_minor));
            postings.push(posting(to, currency, money.amount_minor));
        }
        let entry = Entry {
            position: event.position,
            event_id: event.event.id,
            event_type: event.event.event_type.to_string(),
            stream: event.stream.clone(),
            correlation_id: metadata.correlation_id,
            at: metadata.recorded_at,
            postings,
        };
        let expected = Expected {
            event: event.event.id,
            digest: digest(entry),
            at: event.into(),
        };
        self.expected.insert(event.position, expected);
    }

    /// Holds a book against what the log says.
    pub(super) fn compare(&self, name: &str, book: &Scanned, breaches: &mut Breaches) {
        for (number, event, what) in &book.unbalanced {
            let at = self.expected.values().find(|entry| entry.event == *event);
            breaches.add(
                Kind::EntryUnbalanced,
                format!("{name} entry {number}"),
                what.clone(),
                at.map(|entry| entry.at.clone()),
            );
        }
        let Some(end) = book.checkpoint.map(|checkpoint| checkpoint.position) else {
            return;
        };
        let mut seen = BTreeSet::new();
        for kept in &book.entries {
            let expected = self.expected.get(&kept.position);
            let evidence = expected.map(|expected| expected.at.clone());
            let (kind, what) = match expected {
                _ if !seen.insert(kept.position) => {
                    (Kind::EntryTwice, "the event is booked already")
                }
                None => (Kind::EntryUnfounded, "no event moves that"),
                Some(expected) if expected.digest != kept.digest => {
                    (Kind::EntryWrong, "it is not what the event moves")
                }
                Some(_) => continue,
            };
            let subject = format!("{name} entry {} at {}", kept.number, kept.position);
            breaches.add(kind, subject, what, evidence);
        }
        for (position, expected) in self.expected.range(..=end) {
            if !seen.contains(position) {
                let subject = format!("{name} at {position}");
                let what = format!("the event {} is not booked", expected.event);
                breaches.add(Kind::EntryMissing, subject, what, [expected.at.clone()]);
            }
        }
        book.check_balances(name, breaches);
    }
}

/// A book as of one moment, which can be held against the log.
#[derive(Debug, Default)]
pub struct Scanned {
    checkpoint: Option<Checkpoint>,
    entries: Vec<Kept>,
    /// The number, the event and what is wrong.
    unbalanced: Vec<(u64, Uuid, String)>,
    /// What the postings of each account and currency come to.
    sums: BTreeMap<(String, String), i128>,
    balances: Vec<Balance>,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    position: Position,
    digest: u64,
}

impl Scanned {
    /// Reads every entry, and what the accounts amount to.
    async fn of(books: &dyn Books, book: &Book) -> Result<Self, books::Error> {
        let mut scanned = Self::default();
        let contents = books.scan(book, &mut |booked| scanned.take(booked)).await?;
        scanned.checkpoint = contents.checkpoint;
        scanned.balances = contents.balances;
        Ok(scanned)
    }

    /// A book by hand.
    #[cfg(test)]
    pub(super) fn made_of(
        checkpoint: Option<Checkpoint>,
        entries: Vec<Entry>,
        balances: Vec<Balance>,
    ) -> Self {
        let mut scanned = Self {
            checkpoint,
            balances,
            ..Self::default()
        };
        for (number, entry) in (1..).zip(entries) {
            scanned.take(Booked { number, entry });
        }
        scanned
    }

    fn take(&mut self, booked: Booked) {
        let Booked { number, entry } = booked;
        let mut by_currency: BTreeMap<&str, i128> = BTreeMap::new();
        for posting in &entry.postings {
            let amount = i128::from(posting.amount_minor);
            *by_currency.entry(&posting.currency).or_default() += amount;
            let account = (posting.account.clone(), posting.currency.clone());
            *self.sums.entry(account).or_default() += amount;
        }
        let postings = entry.postings.len();
        if postings < 2 {
            let what = format!("it has {postings} postings");
            self.unbalanced.push((number, entry.event_id, what));
        }
        for (currency, sum) in by_currency {
            if sum != 0 {
                let what = format!("its postings come to {sum} {currency}");
                self.unbalanced.push((number, entry.event_id, what));
            }
        }
        self.entries.push(Kept {
            number,
            position: entry.position,
            digest: digest(entry),
        });
    }

    fn check_balances(&self, name: &str, breaches: &mut Breaches) {
        let mut sums = self.sums.clone();
        let mut by_currency: BTreeMap<&str, i128> = BTreeMap::new();
        for balance in &self.balances {
            let kept = i128::from(balance.amount_minor);
            *by_currency.entry(&balance.currency).or_default() += kept;
            let account = (balance.account.clone(), balance.currency.clone());
            let sum = sums.remove(&account).unwrap_or_default();
            if sum != kept {
                breaches.add(
                    Kind::BalanceWrong,
                    format!("{name} {} {}", balance.account, balance.currency),
                    format!("the balance is {kept} and the postings come to {sum}"),
                    [],
                );
            }
        }
        for ((account, currency), sum) in sums {
            let subject = format!("{name} {account} {currency}");
            let what = format!("there is no balance and the postings come to {sum}");
            breaches.add(Kind::BalanceWrong, subject, what, []);
        }
        for (currency, sum) in by_currency {
            if sum != 0 {
                let subject = format!("{name} {currency}");
                let what = format!("all balances come to {sum}");
                breaches.add(Kind::LedgerNotZero, subject, what, []);
            }
        }
    }
}

/// All that an entry says, so that two are compared without both being kept.
fn digest(mut entry: Entry) -> u64 {
    entry.postings.sort();
    let mut hasher = DefaultHasher::new();
    (
        entry.event_id,
        &entry.event_type,
        entry.stream.to_string(),
        entry.correlation_id,
        entry.at.timestamp_micros(),
    )
        .hash(&mut hasher);
    for posting in &entry.postings {
        (&posting.account, &posting.currency, posting.amount_minor).hash(&mut hasher);
    }
    hasher.finish()
}

/// The view that is a book, as it was scanned.
#[derive(Debug)]
pub struct BookView {
    book: Book,
    scanned: Result<Scanned, books::Error>,
}

impl BookView {
    /// One by hand.
    #[cfg(test)]
    pub(super) const fn of(scanned: Scanned) -> Self {
        let book = Book {
            name: "ledger",
            version: 1,
            generation: 0,
        };
        Self {
            book,
            scanned: Ok(scanned),
        }
    }

    /// Scans it as it is now. Where it cannot be, [`View::compare`] says so.
    pub async fn scan(books: &dyn Books, book: Book) -> Self {
        Self {
            book,
            scanned: Scanned::of(books, &book).await,
        }
    }
}

#[async_trait]
impl View for BookView {
    fn name(&self) -> &str {
        self.book.name
    }

    fn generation(&self) -> u32 {
        self.book.generation
    }

    /// Whether it belongs to the log. What it says is held against the fold of all payments.
    async fn compare(&self, store: &dyn EventStore) -> Result<Comparison, CompareError> {
        let scanned = match &self.scanned {
            Ok(scanned) => scanned,
            Err(error) => return Err(error.clone().into()),
        };
        if let Some(checkpoint) = &scanned.checkpoint {
            checkpoint.verify(store, self.book.name).await?;
        }
        let position = scanned.checkpoint.map(|checkpoint| checkpoint.position);
        Ok(Comparison {
            position: position.unwrap_or(Position::START),
            equal_rows: scanned.entries.len() as u64,
            differences: Vec::new(),
        })
    }

    fn book(&self) -> Option<&Scanned> {
        self.scanned.as_ref().ok()
    }
}
