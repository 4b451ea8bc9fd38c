//! The ledger, double entry: `GET /v1/ledger/accounts`, `GET /v1/ledger/entries`.
//!
//! Every authorization, void, capture and refund is one entry, made from the event that says
//! that it took effect, and sums to zero. What the accounts are is in [`accounts`]; what a
//! client sees, in `queries`.

mod accounts;
mod queries;

use std::sync::Arc;

use recourse_domain::payment;
use recourse_event_store::{Filter, RecordedEvent, StreamName};
use recourse_views::{ProjectionError, books::Posting, projector::Bookkeeping};

use crate::events;

pub(crate) use queries::routes;

/// The view of what money moved.
#[derive(Debug)]
pub struct Ledger;

impl Bookkeeping for Ledger {
    const NAME: &'static str = "ledger";
    const VERSION: u32 = 1;

    fn filter() -> Filter {
        // Of a payment's events those that money moves by; most of the others are as many again.
        let types = ["authorized", "captured", "voided", "refunded"];
        Filter::TypePrefixes(types.map(|name| format!("payment.{name}.")).to_vec())
    }

    fn context(_: &RecordedEvent) -> Result<Vec<StreamName>, ProjectionError> {
        Ok(Vec::new())
    }

    fn postings(
        event: &RecordedEvent,
        _: &[Arc<RecordedEvent>],
    ) -> Result<Vec<Posting>, ProjectionError> {
        if event.stream.category() != "payment" {
            return Ok(Vec::new());
        }
        let happened = event.decode::<payment::Event>()?;
        accounts::postings(&happened)
            .ok_or_else(|| events::out_of_place("more than can be counted"))
    }
}
