//! Reads entries and balances back.

use std::sync::Arc;

use recourse_event_store::StreamName;
use sqlx::{AssertSqlSafe, PgConnection, Row, postgres::PgRow};

use super::super::checkpoints;
use crate::books::{Balance, Booked, Entry, Posting, Query};

/// The SQL that reads one book.
#[derive(Debug)]
pub(super) struct Reading {
    /// All balances.
    pub(super) balances: Arc<str>,
    /// The numbers of entries below `$1`, newest first, at most `$2`.
    pub(super) newest: Arc<str>,
    /// Those of what belongs to `$3`, and posts to the account `$4` where it is not null.
    pub(super) of_correlation: Arc<str>,
    /// Those of the account `$3`.
    pub(super) of_account: Arc<str>,
    /// The numbers of entries above `$1`, oldest first, at most `$2`.
    pub(super) onwards: Arc<str>,
    /// The entries numbered `$1`.
    pub(super) entries: Arc<str>,
    /// Their postings.
    pub(super) postings: Arc<str>,
}

impl Reading {
    pub(super) fn new(schema: &str) -> Self {
        Self {
            balances: format!(
                "SELECT name, currency, balance FROM \"{schema}\".accounts ORDER BY name, currency"
            )
            .into(),
            newest: format!(
                "SELECT number FROM \"{schema}\".entries WHERE number < $1
                 ORDER BY number DESC LIMIT $2"
            )
            .into(),
            // Few entries belong together: each is looked at.
            of_correlation: format!(
                "SELECT number FROM \"{schema}\".entries
                 WHERE number < $1 AND correlation_id = $3 AND ($4::text IS NULL OR EXISTS (
                     SELECT FROM \"{schema}\".postings
                     JOIN \"{schema}\".accounts ON accounts.id = postings.account
                     WHERE postings.entry = entries.number AND accounts.name = $4
                 )) ORDER BY number DESC LIMIT $2"
            )
            .into(),
            // The newest of each currency, which are at an end of a range, and of those the
            // newest.
            of_account: format!(
                "SELECT DISTINCT newest.entry FROM \"{schema}\".accounts CROSS JOIN LATERAL (
                     SELECT entry FROM \"{schema}\".postings
                     WHERE account = accounts.id AND entry < $1 ORDER BY entry DESC LIMIT $2
                 ) AS newest WHERE accounts.name = $3 ORDER BY newest.entry DESC LIMIT $2"
            )
            .into(),
            onwards: format!(
                "SELECT number FROM \"{schema}\".entries WHERE number > $1
                 ORDER BY number LIMIT $2"
            )
            .into(),
            entries: format!(
                "SELECT number, position, event_id, event_type, stream, correlation_id, at
                 FROM \"{schema}\".entries WHERE number = ANY($1) ORDER BY number"
            )
            .into(),
            postings: format!(
                "SELECT postings.entry, accounts.name, accounts.currency, postings.amount
                 FROM \"{schema}\".postings
                 JOIN \"{schema}\".accounts ON accounts.id = postings.account
                 WHERE postings.entry = ANY($1)
                 ORDER BY postings.entry, accounts.name, accounts.currency"
            )
            .into(),
        }
    }

    /// All balances.
    pub(super) async fn balances(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<Balance>, sqlx::Error> {
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.balances)))
            .fetch_all(connection)
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

    /// The entries that a query finds, newest first.
    pub(super) async fn find(
        &self,
        connection: &mut PgConnection,
        query: &Query,
    ) -> Result<Vec<Booked>, sqlx::Error> {
        let below = query
            .below
            .map_or(i64::MAX, |below| i64::try_from(below).unwrap_or(i64::MAX));
        let sql = match (&query.account, query.correlation_id) {
            (None, None) => &self.newest,
            (_, Some(_)) => &self.of_correlation,
            (Some(_), None) => &self.of_account,
        };
        let mut statement = sqlx::query_scalar(AssertSqlSafe(Arc::clone(sql)))
            .bind(below)
            .bind(i64::from(query.limit));
        match (&query.account, query.correlation_id) {
            (None, None) => {}
            // No account has such a name, and the server would not read it.
            (Some(account), _) if account.contains('\0') => return Ok(Vec::new()),
            (account, Some(id)) => statement = statement.bind(id).bind(account.clone()),
            (Some(account), None) => statement = statement.bind(account.clone()),
        }
        let numbers = statement.fetch_all(&mut *connection).await?;
        let mut found = self.entries(connection, numbers).await?;
        found.reverse();
        Ok(found)
    }

    /// The entries that come after a number, oldest first, at most so many.
    pub(super) async fn onwards(
        &self,
        connection: &mut PgConnection,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Booked>, sqlx::Error> {
        let numbers = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.onwards)))
            .bind(after)
            .bind(limit)
            .fetch_all(&mut *connection)
            .await?;
        self.entries(connection, numbers).await
    }

    /// The entries of these numbers, oldest first.
    async fn entries(
        &self,
        connection: &mut PgConnection,
        numbers: Vec<i64>,
    ) -> Result<Vec<Booked>, sqlx::Error> {
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.entries)))
            .bind(&numbers)
            .fetch_all(&mut *connection)
            .await?;
        let postings = sqlx::query(AssertSqlSafe(Arc::clone(&self.postings)))
            .bind(&numbers)
            .fetch_all(&mut *connection)
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
}

fn entry(number: i64, row: &PgRow, postings: Vec<Posting>) -> Result<Booked, sqlx::Error> {
    let damaged =
        |what: &str| checkpoints::damaged(&format!("{what} of the entry {number} cannot be read"));
    let position: String = row.try_get(1)?;
    let stream: String = row.try_get(4)?;
    Ok(Booked {
        number: u64::try_from(number).map_err(|_| damaged("the number"))?,
        entry: Entry {
            position: position.parse().map_err(|_| damaged("the position"))?,
            event_id: row.try_get(2)?,
            event_type: row.try_get(3)?,
            stream: StreamName::parse(&stream).map_err(|_| damaged("the stream"))?,
            correlation_id: row.try_get(5)?,
            at: row.try_get(6)?,
            postings,
        },
    })
}
