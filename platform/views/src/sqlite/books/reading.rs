//! Reads entries and balances back.

use chrono::DateTime;
use recourse_event_store::StreamName;
use sqlx::{Executor, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use crate::books::{Balance, Booked, Entry, Posting, Query};

/// Why entries cannot be read.
#[derive(Debug)]
pub(super) enum Error {
    /// The file does not answer.
    Sql(sqlx::Error),
    /// What is there is not an entry.
    Damaged(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// All balances.
pub(super) async fn balances<'c>(
    file: impl Executor<'c, Database = Sqlite>,
) -> Result<Vec<Balance>, sqlx::Error> {
    let rows = sqlx::query("SELECT name, currency, balance FROM accounts ORDER BY name, currency")
        .fetch_all(file)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Balance {
                account: row.try_get(0)?,
                currency: row.try_get(1)?,
                amount_minor: row.try_get(2)?,
            })
        })
        .collect()
}

/// The numbers of the entries that a query finds, newest first.
pub(super) async fn numbers(
    file: &mut SqliteConnection,
    query: &Query,
) -> Result<Vec<i64>, sqlx::Error> {
    let below = query
        .below
        .map_or(i64::MAX, |below| i64::try_from(below).unwrap_or(i64::MAX));
    let limit = i64::from(query.limit);
    match (&query.account, query.correlation_id) {
        (None, None) => {
            sqlx::query_scalar(
                "SELECT number FROM entries WHERE number < ? ORDER BY number DESC LIMIT ?",
            )
            .bind(below)
            .bind(limit)
            .fetch_all(file)
            .await
        }
        // Few entries belong together: each is looked at.
        (account, Some(correlation_id)) => {
            sqlx::query_scalar(
                "SELECT number FROM entries
                 WHERE correlation_id = ?1 AND number < ?2 AND (?3 IS NULL OR EXISTS (
                     SELECT 1 FROM accounts JOIN postings
                         ON postings.account = accounts.id AND postings.entry = entries.number
                     WHERE accounts.name = ?3
                 )) ORDER BY number DESC LIMIT ?4",
            )
            .bind(correlation_id.as_bytes().to_vec())
            .bind(below)
            .bind(account)
            .bind(limit)
            .fetch_all(file)
            .await
        }
        // The newest of each currency, which are at an end of a range, and of those the newest.
        (Some(account), None) => {
            let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM accounts WHERE name = ?")
                .bind(account)
                .fetch_all(&mut *file)
                .await?;
            let mut numbers = Vec::new();
            for id in ids {
                let of_account: Vec<i64> = sqlx::query_scalar(
                    "SELECT entry FROM postings WHERE account = ? AND entry < ?
                     ORDER BY entry DESC LIMIT ?",
                )
                .bind(id)
                .bind(below)
                .bind(limit)
                .fetch_all(&mut *file)
                .await?;
                numbers.extend(of_account);
            }
            numbers.sort_unstable();
            numbers.dedup();
            numbers.reverse();
            numbers.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
            Ok(numbers)
        }
    }
}

/// The entries of these numbers, oldest first.
pub(super) async fn entries(
    file: &mut SqliteConnection,
    numbers: &[i64],
) -> Result<Vec<Booked>, Error> {
    let numbers =
        serde_json::to_string(numbers).map_err(|error| Error::Damaged(error.to_string()))?;
    let rows = sqlx::query(
        "SELECT number, position, event_id, event_type, stream, correlation_id, at
         FROM entries WHERE number IN (SELECT value FROM json_each(?)) ORDER BY number",
    )
    .bind(&numbers)
    .fetch_all(&mut *file)
    .await?;
    let postings = sqlx::query(
        "SELECT postings.entry, accounts.name, accounts.currency, postings.amount
         FROM json_each(?) AS wanted CROSS JOIN accounts CROSS JOIN postings
             ON postings.account = accounts.id AND postings.entry = wanted.value
         ORDER BY postings.entry, accounts.name, accounts.currency, postings.amount",
    )
    .bind(&numbers)
    .fetch_all(&mut *file)
    .await?;
    let mut postings = postings.iter().peekable();
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        let number: i64 = row.try_get(0)?;
        let mut of_entry = Vec::new();
        while let Some(posting) = postings.next_if(|posting| {
            posting
                .try_get::<i64, _>(0)
                .is_ok_and(|entry| entry <= number)
        }) {
            of_entry.push(Posting {
                account: posting.try_get(1)?,
                currency: posting.try_get(2)?,
                amount_minor: posting.try_get(3)?,
            });
        }
        entries.push(entry(number, row, of_entry)?);
    }
    Ok(entries)
}

fn entry(number: i64, row: &SqliteRow, postings: Vec<Posting>) -> Result<Booked, Error> {
    let damaged =
        |what: &str| Error::Damaged(format!("{what} of the entry {number} cannot be read"));
    let id = |column: usize, what: &str| -> Result<Uuid, Error> {
        let bytes: Vec<u8> = row.try_get(column)?;
        Uuid::from_slice(&bytes).map_err(|_| damaged(what))
    };
    let position: String = row.try_get(1)?;
    let stream: String = row.try_get(4)?;
    Ok(Booked {
        number: u64::try_from(number).map_err(|_| damaged("the number"))?,
        entry: Entry {
            position: position.parse().map_err(|_| damaged("the position"))?,
            event_id: id(2, "the event's id")?,
            event_type: row.try_get(3)?,
            stream: StreamName::parse(&stream).map_err(|_| damaged("the stream"))?,
            correlation_id: id(5, "the correlation id")?,
            at: DateTime::from_timestamp_micros(row.try_get(6)?)
                .ok_or_else(|| damaged("the time"))?,
            postings,
        },
    })
}
