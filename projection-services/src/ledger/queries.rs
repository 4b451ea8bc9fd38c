//! What a client sees of the ledger.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use recourse_event_store::{Direction, LogId, StreamName, Visibility};
use recourse_service::{
    Problem,
    contract::{Operation, Routes},
    errors,
    http::{NoParameters, Query},
    page::{self, Limit, Page},
    position,
};
use recourse_views::{
    books::{self, Booked, Books, Posting},
    projector::Bookkeeping,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Ledger, accounts::ACCOUNTS};
use crate::view::{Asked, Freshness, lists, shows};

struct Service {
    books: Arc<dyn Books>,
    freshness: Freshness,
}

pub(crate) fn routes(books: Arc<dyn Books>, freshness: Freshness) -> Routes {
    let balances = Operation::new("listLedgerAccounts", "List what the accounts amount to")
        .tag("ledger")
        .answer(shows::<Page<Account>>("The accounts", ACCOUNT_LIST))
        .fails(errors::QUERY);
    let listing = Operation::new("listLedgerEntries", "List what money moved, newest first")
        .tag("ledger")
        .answer(lists::<Entry>(ENTRY_LIST))
        .fails(errors::LIST);
    Routes::new()
        .get("/v1/ledger/accounts", accounts, balances)
        .get("/v1/ledger/entries", entries, listing)
        .with_state(Arc::new(Service { books, freshness }))
}

const ACCOUNT_LIST: &str = r#"{"items": [
    {"account": "provider-clearing", "balance": {"amount_minor": 3998, "currency": "EUR"}},
    {"account": "revenue", "balance": {"amount_minor": -3998, "currency": "EUR"}}
]}"#;

const ENTRY_LIST: &str = r#"{"items": [{
    "entry_id": "4c4f7d4e-0c3b-5c7e-9a51-3a4f4b2e6d10", "number": 3,
    "at": "2026-01-01T00:00:00Z", "position": "17-0a1b2c3d",
    "order_id": "0b9c6f3e-7a52-5d7e-8a35-5f0c1c5a4e21",
    "payment_id": "9d3f0e1a-2b4c-5d6e-8f70-1a2b3c4d5e6f",
    "cause": {"event_id": "4c4f7d4e-0c3b-5c7e-9a51-3a4f4b2e6d10",
              "type": "payment.refunded.v1",
              "stream": "payment-9d3f0e1a-2b4c-5d6e-8f70-1a2b3c4d5e6f"},
    "postings": [
        {"account": "provider-clearing", "amount": {"amount_minor": -1999, "currency": "EUR"}},
        {"account": "refunds", "amount": {"amount_minor": 1999, "currency": "EUR"}}
    ]
}]}"#;

/// An account in one currency, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "LedgerAccount")]
struct Account {
    account: String,
    balance: Amount,
}

/// An amount that may be of either sign: above zero a debit, below zero a credit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "SignedAmount")]
struct Amount {
    amount_minor: i64,
    currency: String,
}

/// An entry, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "LedgerEntry")]
struct Entry {
    /// The id of the event that made it.
    entry_id: Uuid,
    /// Its number in the book, from 1, without a gap.
    number: u64,
    at: DateTime<Utc>,
    position: String,
    order_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<Uuid>,
    cause: Cause,
    postings: Vec<Posted>,
}

/// The event that an entry is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Cause {
    event_id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    stream: StreamName,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Posted {
    account: String,
    amount: Amount,
}

impl From<Posting> for Posted {
    fn from(posting: Posting) -> Self {
        Self {
            account: posting.account,
            amount: Amount {
                amount_minor: posting.amount_minor,
                currency: posting.currency,
            },
        }
    }
}

impl Entry {
    fn of(booked: Booked, log: LogId) -> Self {
        let Booked { number, entry } = booked;
        let is_payment = entry.stream.category() == "payment";
        Self {
            entry_id: entry.event_id,
            number,
            at: entry.at,
            position: position::write(entry.position, log),
            order_id: entry.correlation_id,
            payment_id: entry.stream.id().parse().ok().filter(|_| is_payment),
            cause: Cause {
                event_id: entry.event_id,
                event_type: entry.event_type,
                stream: entry.stream,
            },
            postings: entry.postings.into_iter().map(Posted::from).collect(),
        }
    }
}

async fn accounts(
    State(service): State<Arc<Service>>,
    Query(NoParameters {}): Query<NoParameters>,
    asked: Asked,
) -> Result<Response, Problem> {
    let reading = service.freshness.reading(&asked).await?;
    let (balances, answer) = loop {
        let at = reading.generation().await?;
        let book = Ledger::book().in_generation(at.generation);
        let balances = service.books.balances(&book).await;
        if let Some(answer) = reading.told(&at).await? {
            break (balances.map_err(problem)?, answer);
        }
    };
    let items = balances
        .into_iter()
        .map(|balance| Account {
            account: balance.account,
            balance: Amount {
                amount_minor: balance.amount_minor,
                currency: balance.currency,
            },
        })
        .collect();
    let page = Page {
        items,
        next_cursor: None,
    };
    Ok(answer.complete(Json(page).into_response()).into_response())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// How many items a page holds at most.
    #[serde(default)]
    limit: Limit,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
    /// Only what posts to this account.
    account: Option<String>,
    /// Only what belongs to this order.
    order_id: Option<Uuid>,
    /// Only what belongs to this payment.
    payment_id: Option<Uuid>,
}

async fn entries(
    State(service): State<Arc<Service>>,
    Query(parameters): Query<Parameters>,
    asked: Asked,
) -> Result<Response, Problem> {
    let identity = (
        Ledger::NAME,
        &parameters.account,
        parameters.order_id,
        parameters.payment_id,
    );
    let below: Option<u64> = match &parameters.cursor {
        Some(cursor) => Some(page::read_cursor(cursor, &identity)?),
        None => None,
    };
    if let Some(account) = &parameters.account
        && !ACCOUNTS.contains(&account.as_str())
    {
        let known = ACCOUNTS.join(", ");
        return Err(
            Problem::new(errors::INVALID_QUERY).field("?account", format!("one of {known}"))
        );
    }
    let limit = parameters.limit;
    let reading = service.freshness.reading(&asked).await?;
    let (found, answer) = loop {
        let at = reading.generation().await?;
        let order_id = match parameters.payment_id {
            None => Some(parameters.order_id),
            Some(payment) => service
                .order_of(payment)
                .await?
                .filter(|order| parameters.order_id.is_none_or(|wanted| wanted == *order))
                .map(Some),
        };
        let found = match order_id {
            // A payment that there is not, or that is not of this order.
            None => Ok(Vec::new()),
            Some(correlation_id) => {
                let query = books::Query {
                    account: parameters.account.clone(),
                    correlation_id,
                    below,
                    // One more than the page holds says whether there is another.
                    limit: u32::try_from(limit.get())
                        .unwrap_or(u32::MAX)
                        .saturating_add(1),
                };
                let book = Ledger::book().in_generation(at.generation);
                service.books.entries(&book, &query).await
            }
        };
        if let Some(answer) = reading.told(&at).await? {
            break (found.map_err(problem)?, answer);
        }
    };
    let log = service.freshness.store().log_id();
    let items = found
        .into_iter()
        .map(|booked| Entry::of(booked, log))
        .collect();
    let page = Page::of(items, limit, |last: &Entry| {
        page::write_cursor(&identity, &last.number)
    });
    Ok(answer.complete(page.respond(&asked.uri)).into_response())
}

impl Service {
    /// The order that a payment pays for, by the first event of the payment's stream: an order has one
    /// payment, so the entries of the one are those of the other.
    async fn order_of(&self, payment: Uuid) -> Result<Option<Uuid>, Problem> {
        let stream = StreamName::new("payment", payment);
        let store = self.freshness.store();
        let first = store
            .read_stream(&stream, None, Direction::Forward, Visibility::Durable, 1)
            .await?;
        // All that belongs to an order inherits its id.
        let metadata = first.first().and_then(|first| first.metadata().ok());
        Ok(metadata.map(|metadata| metadata.correlation_id))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err asks for"
)]
fn problem(error: books::Error) -> Problem {
    tracing::error!(
        view = Ledger::NAME,
        error = &error as &dyn std::error::Error,
        "a view did not answer a query"
    );
    Problem::new(match error {
        books::Error::Unavailable(_) | books::Error::Moved { .. } => errors::DEPENDENCY_UNAVAILABLE,
        books::Error::Refused { .. }
        | books::Error::Damaged { .. }
        | books::Error::Incompatible { .. } => errors::INTERNAL,
    })
}
