//! Books in `SQLite`: one file a book, whose rules are the file's own.
//!
//! ```text
//! <folder>/ledger_v1.db    collection, checkpoint    as every view's file has them
//!                          accounts                  name, currency, balance
//!                          entries                   number, the event that made it
//!                          postings                  account, entry, amount
//!                          book                      how many entries are in it
//! ```
//!
//! Triggers hold what the port promises, see `books/schema.sql`: who opens the file with another
//! program is held to it too.

mod reading;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Sqlite, Transaction, error::DatabaseError};

use super::{
    checkpoints,
    files::{self, Access, OpenError, Options},
    folder::{Folder, Opened, Wanted},
};
use crate::{
    Checkpoint,
    books::{self, Balance, Book, Booked, Contents, Entry, Error, Query},
};

/// How many rows one statement inserts, largest first: a batch is cut into the largest that fit.
const INSERT_SIZES: [usize; 3] = [64, 8, 1];

/// How many entries a scan reads at once.
const SCANNED_AT_ONCE: i64 = 1_024;

/// The columns of an entry.
const ENTRY: &str = "number, position, event_id, event_type, stream, correlation_id, at";

/// Books in files.
#[derive(Debug)]
pub struct Books {
    folder: Folder<()>,
    inserts: Inserts,
}

/// The statements that insert, by how many rows, largest first.
#[derive(Debug)]
struct Inserts {
    entries: Vec<(usize, Arc<str>)>,
    postings: Vec<(usize, Arc<str>)>,
}

impl Inserts {
    fn new() -> Self {
        let sizes = |into: &str, row: &str| {
            let statement = |rows| {
                let values = vec![row; rows].join(", ");
                (rows, format!("INSERT INTO {into} VALUES {values}").into())
            };
            INSERT_SIZES.map(statement).into()
        };
        Self {
            entries: sizes(&format!("entries ({ENTRY})"), "(?, ?, ?, ?, ?, ?, ?)"),
            postings: sizes("postings (account, entry, amount)", "(?, ?, ?)"),
        }
    }
}

/// Cuts rows into the largest parts that there are statements for.
fn cut<'a, T>(
    mut rows: &'a [T],
    statements: &'a [(usize, Arc<str>)],
) -> Vec<(&'a Arc<str>, &'a [T])> {
    let mut parts = Vec::new();
    for (size, sql) in statements {
        while let Some((part, rest)) = rows.split_at_checked(*size) {
            parts.push((sql, part));
            rows = rest;
        }
    }
    parts
}

fn wanted(book: &Book) -> Wanted<()> {
    Wanted {
        contents: files::Contents {
            table: book.table(),
            schema: include_str!("books/schema.sql").to_owned(),
            definition: format!("{} accounts entries postings", book.table()),
        },
        with: (),
    }
}

impl Books {
    /// Opens the files of these books in a folder, and makes those that are not there where they
    /// are to be filled. Any other file is opened when its book is first wanted.
    ///
    /// # Errors
    /// Where one cannot be opened, or was made by another version of the program.
    pub async fn open(
        folder: &Path,
        books: &[Book],
        access: Access,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let folder = Folder::new(folder, access, options)?;
        for book in books {
            folder.make(&book.table(), || wanted(book)).await?;
        }
        Ok(Self {
            folder,
            inserts: Inserts::new(),
        })
    }

    /// Waits for what is under way and closes the files.
    pub async fn close(&self) {
        self.folder.close().await;
    }

    /// The file of a book; none where it was never written.
    async fn file(&self, book: &Book) -> Result<Option<Arc<Opened<()>>>, Error> {
        let found = self.folder.find(&book.table(), || wanted(book)).await;
        found.map_err(|error| open_error(book, error))
    }

    /// Inserts entries and their postings behind those that are there, and lets the book take
    /// them.
    async fn add(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        entries: &[Entry],
    ) -> Result<(), sqlx::Error> {
        let last: i64 = sqlx::query_scalar("SELECT entries FROM book")
            .fetch_one(&mut **tx)
            .await?;
        let ids = accounts(tx, entries).await?;
        let numbered: Vec<(i64, &Entry)> = (last.saturating_add(1)..).zip(entries).collect();
        for (sql, part) in cut(&numbered, &self.inserts.entries) {
            let mut statement = sqlx::query(AssertSqlSafe(Arc::clone(sql)));
            for (number, entry) in part {
                statement = statement
                    .bind(number)
                    .bind(entry.position.to_string())
                    .bind(entry.event_id.as_bytes().to_vec())
                    .bind(&entry.event_type)
                    .bind(entry.stream.to_string())
                    .bind(entry.correlation_id.as_bytes().to_vec())
                    .bind(entry.at.timestamp_micros());
            }
            statement.execute(&mut **tx).await?;
        }
        let mut postings = Vec::with_capacity(entries.len().saturating_mul(4));
        for (number, entry) in &numbered {
            for posting in &entry.postings {
                let id = ids.get(&(&*posting.account, &*posting.currency));
                postings.push((id, number, posting.amount_minor));
            }
        }
        for (sql, part) in cut(&postings, &self.inserts.postings) {
            let mut statement = sqlx::query(AssertSqlSafe(Arc::clone(sql)));
            for (account, number, amount) in part {
                statement = statement.bind(account).bind(number).bind(amount);
            }
            statement.execute(&mut **tx).await?;
        }
        // The book is closed over them here: an entry that is not balanced makes this fail.
        sqlx::query("UPDATE book SET entries = ?")
            .bind(numbered.last().map_or(last, |(number, _)| *number))
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

/// The ids of the accounts that entries post to. Those that are not there yet are made.
async fn accounts<'e>(
    tx: &mut Transaction<'_, Sqlite>,
    entries: &'e [Entry],
) -> Result<BTreeMap<(&'e str, &'e str), i64>, sqlx::Error> {
    let mut ids = BTreeMap::new();
    let postings = entries.iter().flat_map(|entry| &entry.postings);
    for posting in postings {
        let account = (&*posting.account, &*posting.currency);
        if ids.contains_key(&account) {
            continue;
        }
        sqlx::query("INSERT INTO accounts (name, currency) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(account.0)
            .bind(account.1)
            .execute(&mut **tx)
            .await?;
        let id: i64 = sqlx::query_scalar("SELECT id FROM accounts WHERE name = ? AND currency = ?")
            .bind(account.0)
            .bind(account.1)
            .fetch_one(&mut **tx)
            .await?;
        ids.insert(account, id);
    }
    Ok(ids)
}

#[async_trait]
impl books::Books for Books {
    async fn checkpoint(&self, book: &Book) -> Result<Option<Checkpoint>, Error> {
        match self.file(book).await? {
            Some(opened) => checkpoints::read(&opened.file.readers)
                .await
                .map_err(|error| checkpoint_error(book, error)),
            None => Ok(None),
        }
    }

    async fn commit(
        &self,
        book: &Book,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        entries: Vec<Entry>,
    ) -> Result<(), Error> {
        let moved = || Error::Moved { book: book.table() };
        let opened = match expected {
            None => {
                let made = self.folder.make(&book.table(), || wanted(book)).await;
                made.map_err(|error| open_error(book, error))?
            }
            // What was there once and is not is not made again by whoever still writes to it.
            Some(_) => Some(self.file(book).await?.ok_or_else(moved)?),
        };
        let Some(writer) = opened
            .as_ref()
            .and_then(|opened| opened.file.writer.as_ref())
        else {
            return Err(Error::Unavailable("it was opened to be read".to_owned()));
        };
        let mut tx = writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(unavailable)?;
        // Rolled back where it is dropped on the way out.
        if !checkpoints::advance(&mut tx, expected, next)
            .await
            .map_err(unavailable)?
        {
            return Err(moved());
        }
        if !entries.is_empty() {
            self.add(&mut tx, &entries)
                .await
                .map_err(|error| refused(book, error))?;
        }
        tx.commit().await.map_err(|error| refused(book, error))
    }

    async fn balances(&self, book: &Book) -> Result<Vec<Balance>, Error> {
        match self.file(book).await? {
            Some(opened) => {
                let balances = reading::balances(&opened.file.readers).await;
                balances.map_err(unavailable)
            }
            None => Ok(Vec::new()),
        }
    }

    async fn entries(&self, book: &Book, query: &Query) -> Result<Vec<Booked>, Error> {
        let Some(opened) = self.file(book).await? else {
            return Ok(Vec::new());
        };
        // An entry never changes once it is there, so that two reads see the same.
        let mut file = opened.file.readers.acquire().await.map_err(unavailable)?;
        let numbers = reading::numbers(&mut file, query)
            .await
            .map_err(unavailable)?;
        let mut found = reading::entries(&mut file, &numbers)
            .await
            .map_err(|error| read_error(book, error))?;
        found.reverse();
        Ok(found)
    }

    async fn scan(
        &self,
        book: &Book,
        visit: &mut (dyn FnMut(Booked) + Send),
    ) -> Result<Contents, Error> {
        let Some(opened) = self.file(book).await? else {
            return Ok(Contents::default());
        };
        // Everything that one transaction reads is of one moment.
        let mut tx = opened.file.readers.begin().await.map_err(unavailable)?;
        let checkpoint = checkpoints::read(&mut *tx)
            .await
            .map_err(|error| checkpoint_error(book, error))?;
        let balances = reading::balances(&mut *tx).await.map_err(unavailable)?;
        let mut seen: i64 = 0;
        loop {
            let numbers: Vec<i64> = sqlx::query_scalar(
                "SELECT number FROM entries WHERE number > ? ORDER BY number LIMIT ?",
            )
            .bind(seen)
            .bind(SCANNED_AT_ONCE)
            .fetch_all(&mut *tx)
            .await
            .map_err(unavailable)?;
            let Some(last) = numbers.last() else { break };
            seen = *last;
            let found = reading::entries(&mut tx, &numbers)
                .await
                .map_err(|error| read_error(book, error))?;
            found.into_iter().for_each(&mut *visit);
        }
        Ok(Contents {
            checkpoint,
            balances,
        })
    }

    async fn discard(&self, book: &Book) -> Result<(), Error> {
        let deleted = self.folder.delete(&book.table()).await;
        deleted.map_err(|error| Error::Unavailable(error.to_string()))
    }
}

/// A file that was made by another program is that until somebody acts.
fn open_error(book: &Book, error: OpenError) -> Error {
    match error {
        OpenError::Incompatible { what, .. } => Error::Incompatible {
            book: book.table(),
            what,
        },
        OpenError::File { source, .. } => unavailable(source),
        error @ OpenError::Folder { .. } => Error::Unavailable(error.to_string()),
    }
}

fn checkpoint_error(book: &Book, error: checkpoints::Error) -> Error {
    match error {
        checkpoints::Error::Sql(error) => unavailable(error),
        checkpoints::Error::Damaged => Error::Damaged {
            book: book.table(),
            what: "its checkpoint cannot be read".to_owned(),
        },
    }
}

fn read_error(book: &Book, error: reading::Error) -> Error {
    match error {
        reading::Error::Sql(error) => unavailable(error),
        reading::Error::Damaged(what) => Error::Damaged {
            book: book.table(),
            what,
        },
    }
}

/// What the file itself does not take is refused for good; anything else may pass.
fn refused(book: &Book, error: sqlx::Error) -> Error {
    match error.as_database_error() {
        Some(answer) if is_rule(answer) => Error::Refused {
            book: book.table(),
            what: answer.message().to_owned(),
        },
        _ => unavailable(error),
    }
}

/// Whether a rule of the schema was broken: the low byte of `SQLite`'s extended code is 19 for
/// constraints, and a sum that leaves its range says so in its message only.
fn is_rule(answer: &dyn DatabaseError) -> bool {
    let code = answer.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 19) || answer.message() == "integer overflow"
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err asks for"
)]
fn unavailable(error: sqlx::Error) -> Error {
    Error::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests;
