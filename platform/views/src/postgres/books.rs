//! Books in PostgreSQL: a schema a book, whose rules are the database's own.
//!
//! ```text
//! ledger_v1.checkpoint    one row
//! ledger_v1.accounts      name, currency, balance
//! ledger_v1.entries       number, the event that made it
//! ledger_v1.postings      entry, account, amount
//! ledger_v1.book          how many entries are in it
//! ```
//!
//! Triggers hold what the port promises, see `books/schema.sql`: a deferred constraint holds each
//! entry to zero when its transaction commits. Who writes with another program is held to it too.

mod reading;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use self::reading::Reading;
use super::{
    OpenError, Options, checkpoints,
    server::Contents as Schema,
    views::{self, Views},
};
use crate::{
    Checkpoint,
    books::{self, Balance, Book, Booked, Contents, Entry, Error, Query},
};

/// How many entries a scan reads at once.
const SCANNED_AT_ONCE: i64 = 1_024;

/// Books in a server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Books {
    views: Views<Statements>,
}

/// The SQL of one book, written once when the server is reached.
#[derive(Debug)]
struct Statements {
    checkpoint: Arc<str>,
    first_move: Arc<str>,
    next_move: Arc<str>,
    accounts: Arc<str>,
    postings: Arc<str>,
    entries: Arc<str>,
    reading: Reading,
}

impl Statements {
    fn new(schema: &str) -> Self {
        Self {
            checkpoint: checkpoints::reading(schema).into(),
            first_move: checkpoints::moving(schema, false).into(),
            next_move: checkpoints::moving(schema, true).into(),
            accounts: format!(
                "INSERT INTO \"{schema}\".accounts (name, currency)
                 SELECT DISTINCT * FROM UNNEST($1::text[], $2::text[])
                 ON CONFLICT DO NOTHING"
            )
            .into(),
            postings: format!(
                "INSERT INTO \"{schema}\".postings (entry, account, amount)
                 SELECT (SELECT entries FROM \"{schema}\".book) + given.entry, accounts.id,
                     given.amount
                 FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[])
                     AS given (name, currency, entry, amount)
                 JOIN \"{schema}\".accounts USING (name, currency)"
            )
            .into(),
            entries: format!(
                "INSERT INTO \"{schema}\".entries
                     (number, position, event_id, event_type, stream, correlation_id, at)
                 SELECT (SELECT entries FROM \"{schema}\".book) + given.number, position, event_id,
                     event_type, stream, correlation_id, at
                 FROM UNNEST($1::text[], $2::uuid[], $3::text[], $4::text[], $5::uuid[],
                     $6::timestamptz[]) WITH ORDINALITY
                     AS given (position, event_id, event_type, stream, correlation_id, at, number)"
            )
            .into(),
            reading: Reading::new(schema),
        }
    }

    /// Adds entries and their postings behind those that are there. Postings first: see the
    /// schema.
    async fn add(
        &self,
        connection: &mut PgConnection,
        entries: &[Entry],
    ) -> Result<(), sqlx::Error> {
        let mut accounts = Vec::new();
        let mut currencies = Vec::new();
        let mut numbers = Vec::new();
        let mut amounts = Vec::new();
        for (number, entry) in (1_i64..).zip(entries) {
            for posting in &entry.postings {
                accounts.push(&*posting.account);
                currencies.push(&*posting.currency);
                numbers.push(number);
                amounts.push(posting.amount_minor);
            }
        }
        sqlx::query(AssertSqlSafe(Arc::clone(&self.accounts)))
            .bind(&accounts)
            .bind(&currencies)
            .execute(&mut *connection)
            .await?;
        sqlx::query(AssertSqlSafe(Arc::clone(&self.postings)))
            .bind(&accounts)
            .bind(&currencies)
            .bind(numbers)
            .bind(amounts)
            .execute(&mut *connection)
            .await?;
        let column = |value: fn(&Entry) -> String| entries.iter().map(value).collect::<Vec<_>>();
        let ids = |value: fn(&Entry) -> uuid::Uuid| entries.iter().map(value).collect::<Vec<_>>();
        sqlx::query(AssertSqlSafe(Arc::clone(&self.entries)))
            .bind(column(|entry| entry.position.to_string()))
            .bind(ids(|entry| entry.event_id))
            .bind(column(|entry| entry.event_type.clone()))
            .bind(column(|entry| entry.stream.to_string()))
            .bind(ids(|entry| entry.correlation_id))
            .bind(entries.iter().map(|entry| entry.at).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }
}

fn contents(book: &Book) -> Schema {
    Schema {
        name: book.table(),
        schema: include_str!("books/schema.sql").replace("$book", &book.table()),
        definition: format!("{} accounts entries postings", book.table()),
    }
}

fn wanted(book: &Book) -> (Schema, Statements) {
    (contents(book), Statements::new(&book.table()))
}

impl Books {
    /// Reaches the server. The schema of a book is made when it is first written; those of these,
    /// where they are there, are held against what the program knows.
    ///
    /// # Errors
    /// Where it cannot be reached or used.
    pub async fn connect(options: &Options, books: &[Book]) -> Result<Self, OpenError> {
        let contents: Vec<Schema> = books.iter().map(contents).collect();
        let views = Views::connect(options, &contents).await?;
        Ok(Self { views })
    }

    /// Waits for what is under way and closes the connections.
    pub async fn close(&self) {
        self.views.server.close().await;
    }

    /// The SQL of a book; none where it was never written.
    async fn find(&self, book: &Book) -> Result<Option<Arc<Statements>>, Error> {
        let found = self.views.find(&book.table(), || wanted(book)).await;
        found.map_err(|error| view_error(book, error))
    }

    /// What was read; nothing where somebody has dropped the schema meanwhile.
    fn read<T: Default>(&self, book: &Book, read: Result<T, sqlx::Error>) -> Result<T, Error> {
        match read {
            Ok(read) => Ok(read),
            Err(error) if views::is_gone(&error) => {
                self.views.forget(&book.table());
                Ok(T::default())
            }
            Err(error) => Err(failed(book, error)),
        }
    }

    async fn checkpoint_by(
        &self,
        statements: &Statements,
    ) -> Result<Option<Checkpoint>, sqlx::Error> {
        let mut line = self.views.server.line().await?;
        let read = checkpoints::read(&mut line, &statements.checkpoint);
        let checkpoint = self.views.server.within(read).await?;
        line.release();
        Ok(checkpoint)
    }

    /// False where the checkpoint is not the expected one.
    async fn commit_by(
        &self,
        statements: &Statements,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        entries: &[Entry],
    ) -> Result<bool, sqlx::Error> {
        let mut line = self.views.server.line().await?;
        let work = async {
            let mut tx = line.begin().await?;
            let sql = match expected {
                Some(_) => &statements.next_move,
                None => &statements.first_move,
            };
            let moving = sqlx::query(AssertSqlSafe(Arc::clone(sql)));
            let moved = checkpoints::bind(moving, expected, next)
                .fetch_optional(&mut *tx)
                .await?;
            if moved.is_none() {
                tx.rollback().await?;
                return Ok::<_, sqlx::Error>(false);
            }
            if !entries.is_empty() {
                statements.add(&mut tx, entries).await?;
            }
            // This is where each entry is held to be balanced.
            tx.commit().await?;
            Ok(true)
        };
        let moved = self.views.server.within(work).await?;
        line.release();
        Ok(moved)
    }

    async fn balances_by(&self, statements: &Statements) -> Result<Vec<Balance>, sqlx::Error> {
        let mut line = self.views.server.line().await?;
        let read = statements.reading.balances(&mut line);
        let balances = self.views.server.within(read).await?;
        line.release();
        Ok(balances)
    }

    async fn entries_by(
        &self,
        statements: &Statements,
        query: &Query,
    ) -> Result<Vec<Booked>, sqlx::Error> {
        let mut line = self.views.server.line().await?;
        // An entry never changes once it is there, so that several reads see the same.
        let read = statements.reading.find(&mut line, query);
        let found = self.views.server.within(read).await?;
        line.release();
        Ok(found)
    }

    async fn scan_by(
        &self,
        statements: &Statements,
        visit: &mut (dyn FnMut(Booked) + Send),
    ) -> Result<Contents, sqlx::Error> {
        let server = &self.views.server;
        let reading = &statements.reading;
        let mut line = server.line().await?;
        // Everything that it reads is of one moment.
        let begun = line.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
        let mut tx = server.within(begun).await?;
        let checkpoint = checkpoints::read(&mut tx, &statements.checkpoint);
        let checkpoint = server.within(checkpoint).await?;
        let balances = server.within(reading.balances(&mut tx)).await?;
        let mut seen: i64 = 0;
        loop {
            let read = reading.onwards(&mut tx, seen, SCANNED_AT_ONCE);
            let found = server.within(read).await?;
            let Some(last) = found.last() else { break };
            seen = i64::try_from(last.number).unwrap_or(i64::MAX);
            found.into_iter().for_each(&mut *visit);
        }
        server.within(tx.rollback()).await?;
        line.release();
        Ok(Contents {
            checkpoint,
            balances,
        })
    }
}

#[async_trait]
impl books::Books for Books {
    async fn checkpoint(&self, book: &Book) -> Result<Option<Checkpoint>, Error> {
        let Some(statements) = self.find(book).await? else {
            return Ok(None);
        };
        self.read(book, self.checkpoint_by(&statements).await)
    }

    async fn commit(
        &self,
        book: &Book,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        entries: Vec<Entry>,
    ) -> Result<(), Error> {
        let moved = || Error::Moved { book: book.table() };
        if entries.iter().any(has_zero) {
            return Err(Error::Refused {
                book: book.table(),
                what: "PostgreSQL holds no text with the character U+0000".to_owned(),
            });
        }
        let statements = match (self.find(book).await?, expected) {
            (Some(statements), _) => statements,
            (None, None) => {
                let made = self.views.make(|| wanted(book)).await;
                made.map_err(|error| view_error(book, error))?
            }
            // What was there once and is not is not made again by whoever still writes to it.
            (None, Some(_)) => return Err(moved()),
        };
        let committed = self.commit_by(&statements, expected, next, &entries);
        // Where somebody has dropped the schema, the checkpoint is gone with it.
        if self.read(book, committed.await)? {
            Ok(())
        } else {
            Err(moved())
        }
    }

    async fn balances(&self, book: &Book) -> Result<Vec<Balance>, Error> {
        let Some(statements) = self.find(book).await? else {
            return Ok(Vec::new());
        };
        self.read(book, self.balances_by(&statements).await)
    }

    async fn entries(&self, book: &Book, query: &Query) -> Result<Vec<Booked>, Error> {
        let Some(statements) = self.find(book).await? else {
            return Ok(Vec::new());
        };
        self.read(book, self.entries_by(&statements, query).await)
    }

    async fn scan(
        &self,
        book: &Book,
        visit: &mut (dyn FnMut(Booked) + Send),
    ) -> Result<Contents, Error> {
        let Some(statements) = self.find(book).await? else {
            return Ok(Contents::default());
        };
        self.read(book, self.scan_by(&statements, visit).await)
    }

    async fn discard(&self, book: &Book) -> Result<(), Error> {
        let discarded = self.views.discard(&book.table()).await;
        discarded.map_err(|error| failed(book, error))
    }
}

/// Whether an entry has a text that the server would not read.
fn has_zero(entry: &Entry) -> bool {
    let postings = entry.postings.iter();
    postings
        .flat_map(|posting| [&*posting.account, &*posting.currency])
        .chain([&*entry.event_type])
        .any(|text| text.contains('\0'))
}

fn view_error(book: &Book, error: views::Error) -> Error {
    match error {
        views::Error::Sql(error) => failed(book, error),
        views::Error::Incompatible(what) => Error::Incompatible {
            book: book.table(),
            what,
        },
    }
}

/// What will not mend itself is told from what may.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err asks for"
)]
fn failed(book: &Book, error: sqlx::Error) -> Error {
    if checkpoints::is_damage(&error) {
        return Error::Damaged {
            book: book.table(),
            what: error.to_string(),
        };
    }
    let answer = error.as_database_error();
    let code = answer.and_then(|answer| answer.code()).unwrap_or_default();
    // A rule of the schema, or a sum that leaves its range.
    if code.starts_with("23") || code.starts_with("22") {
        return Error::Refused {
            book: book.table(),
            what: error.to_string(),
        };
    }
    Error::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests;
