//! The port: what a view asks of the database that holds its book.
//!
//! A *book* is double entry, kept in relations: accounts with balances, entries, postings. An
//! entry is made from one event and moves amounts between accounts; what it moves sums to zero
//! in each currency. That is not left to whoever writes: **the database itself holds it**, and
//! a commit with an entry that is not balanced does not happen. Entries, balances and the
//! checkpoint change in one transaction or not at all, and an entry that is in the book is never
//! changed.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use recourse_event_store::{Position, StreamName};
use uuid::Uuid;

use crate::{Checkpoint, documents};

/// A book, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Book {
    /// Lower-case letters and `_`: it names tables.
    pub name: &'static str,
    /// Another version is another book beside this one, filled from the first event.
    pub version: u32,
    /// Another generation is another book beside this one too, of the same version: see
    /// [`Collection::generation`](crate::documents::Collection::generation).
    pub generation: u32,
}

impl Book {
    /// The same in another generation.
    #[must_use]
    pub fn in_generation(self, generation: u32) -> Self {
        Self { generation, ..self }
    }

    /// The name that it has in a database: `ledger_v1`, and `ledger_v1_g2` in another generation
    /// than the first.
    #[must_use]
    pub fn table(&self) -> String {
        documents::table(self.name, self.version, self.generation)
    }
}

/// What one event moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event's position.
    pub position: Position,
    /// The event's id, which is the entry's too: an event makes at most one entry.
    pub event_id: Uuid,
    /// The event's type.
    pub event_type: String,
    /// The event's stream.
    pub stream: StreamName,
    /// What the event belongs to.
    pub correlation_id: Uuid,
    /// When the event was recorded, to the microsecond.
    pub at: DateTime<Utc>,
    /// What it moves: at least two, each of another account and currency.
    pub postings: Vec<Posting>,
}

/// What an entry adds to an account, or takes from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Posting {
    /// The account.
    pub account: String,
    /// The currency. An account has a balance for each.
    pub currency: String,
    /// How much, in minor units, not zero: above zero a debit, below zero a credit.
    pub amount_minor: i64,
}

/// What an account amounts to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Balance {
    /// The account.
    pub account: String,
    /// The currency.
    pub currency: String,
    /// The sum of all its postings, in minor units.
    pub amount_minor: i64,
}

/// An entry and its place in the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Its number, from 1, in the order of the log, without a gap.
    pub number: u64,
    /// What it moves; the postings in the order of accounts and currencies.
    pub entry: Entry,
}

/// Which entries, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Those that post to this account, in whatever currency.
    pub account: Option<String>,
    /// Those that belong to this.
    pub correlation_id: Option<Uuid>,
    /// Those whose number is below this.
    pub below: Option<u64>,
    /// How many at most.
    pub limit: u32,
}

/// A whole book, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// How far it had come; none where it was never committed.
    pub checkpoint: Option<Checkpoint>,
    /// What its accounts amounted to, in the order of accounts and currencies.
    pub balances: Vec<Balance>,
}

/// Why a database did not do as it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else moved the checkpoint: nothing was written. Load it and start from there.
    #[error("somebody else has moved the checkpoint of `{book}`")]
    Moved {
        /// Which book.
        book: String,
    },
    /// It cannot be reached, or did not do it. Where the call was a commit, it may still have
    /// taken effect: load the checkpoint.
    #[error("the database of the books did not answer: {0}")]
    Unavailable(String),
    /// The book does not take the entries: one is not balanced, or a balance would leave its
    /// range. Nothing was written.
    #[error("`{book}` does not take the entries: {what}")]
    Refused {
        /// Which book.
        book: String,
        /// What is wrong with them.
        what: String,
    },
    /// What is there cannot be read as a book.
    #[error("`{book}` is damaged: {what}")]
    Damaged {
        /// Which book.
        book: String,
        /// What is wrong with it.
        what: String,
    },
    /// The book in the database is not the one that the program knows.
    #[error("`{book}` is not as this program knows it: {what}")]
    Incompatible {
        /// Which book, and its version.
        book: String,
        /// What is wrong.
        what: String,
    },
}

/// A database of books.
///
/// A book that was never written is empty and has no checkpoint. Every call may be dropped
/// while it waits; a dropped commit may still take effect, whole.
#[async_trait]
pub trait Books: Send + Sync + 'static {
    /// How far the book has come; none where it was never committed.
    ///
    /// # Errors
    /// Where it cannot be read.
    async fn checkpoint(&self, book: &Book) -> Result<Option<Checkpoint>, Error>;

    /// Adds entries at the end, in this order, brings the balances up to them and moves the
    /// checkpoint from `expected` to `next`, together or not at all.
    ///
    /// # Errors
    /// [`Error::Moved`] where the checkpoint is not `expected`, [`Error::Refused`] where an entry
    /// is not balanced: nothing was written.
    async fn commit(
        &self,
        book: &Book,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        entries: Vec<Entry>,
    ) -> Result<(), Error>;

    /// What the accounts amount to, in the order of accounts and currencies. An account is there
    /// from its first posting on.
    ///
    /// # Errors
    /// Where they cannot be read.
    async fn balances(&self, book: &Book) -> Result<Vec<Balance>, Error>;

    /// Some entries, newest first.
    ///
    /// # Errors
    /// Where they cannot be read.
    async fn entries(&self, book: &Book, query: &Query) -> Result<Vec<Booked>, Error>;

    /// Visits every entry, oldest first, as of one moment, and gives the rest of that moment.
    ///
    /// # Errors
    /// Where they cannot be read.
    async fn scan(
        &self,
        book: &Book,
        visit: &mut (dyn FnMut(Booked) + Send),
    ) -> Result<Contents, Error>;

    /// Removes the book, its entries, balances and checkpoint: it is then one that was never
    /// written. No harm where it is that already. Whoever still fills it finds that the checkpoint
    /// has moved.
    ///
    /// # Errors
    /// Where it cannot be removed; part of it may be, and another call removes the rest.
    async fn discard(&self, book: &Book) -> Result<(), Error>;
}

/// Why postings are not those of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbalanced {
    /// One alone moves nothing from anywhere.
    #[error("an entry has fewer than two postings")]
    Few,
    /// It moves nothing.
    #[error("a posting is of zero")]
    Zero,
    /// The two are one.
    #[error("an entry posts to one account twice")]
    Twice,
    /// Money would come from nowhere or go there.
    #[error("an entry does not sum to zero in each of its currencies")]
    Sum,
}

/// Whether these are the postings of an entry: what every adapter holds them to.
///
/// # Errors
/// What is wrong with them.
pub fn check(postings: &[Posting]) -> Result<(), Unbalanced> {
    if postings.len() < 2 {
        return Err(Unbalanced::Few);
    }
    let mut accounts = BTreeSet::new();
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for posting in postings {
        if posting.amount_minor == 0 {
            return Err(Unbalanced::Zero);
        }
        let account = (&*posting.account, &*posting.currency);
        if !accounts.insert(account) {
            return Err(Unbalanced::Twice);
        }
        // More postings than an i128 could not hold do not fit into memory.
        *sums.entry(&posting.currency).or_default() += i128::from(posting.amount_minor);
    }
    if sums.values().all(|sum| *sum == 0) {
        Ok(())
    } else {
        Err(Unbalanced::Sum)
    }
}
