//! The ledger, double entry: `GET /v1/ledger/accounts`, `GET /v1/ledger/entries`.
//!
//! Every authorization, void, capture and refund is one entry, made from the event that says
//! that it took effect, and sums to zero. So is what an operator had left out of them. What the
//! accounts are is in [`accounts`]; what was left out, in [`write_offs`]; what a client sees, in
//! `queries`.

mod accounts;
mod queries;
mod write_offs;

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
    const VERSION: u32 = 2;

    fn filter() -> Filter {
        // Of a payment's events those that money moves by; most of the others are as many again.
        // The last two are an operator's doing, and rare.
        let types = [
            "payment.authorized.",
            "payment.captured.",
            "payment.voided.",
            "payment.refunded.",
            write_offs::SKIPPED,
            write_offs::REVOKED,
        ];
        Filter::TypePrefixes(types.map(str::to_owned).to_vec())
    }

    fn context(
        event: &RecordedEvent,
        read: &[Arc<RecordedEvent>],
    ) -> Result<Vec<StreamName>, ProjectionError> {
        write_offs::streams(event, read)
    }

    fn postings(
        event: &RecordedEvent,
        context: &[Arc<RecordedEvent>],
    ) -> Result<Vec<Posting>, ProjectionError> {
        let moved = if event.stream.category() == "payment" {
            accounts::postings(&*event.decode::<payment::Event>()?)
        } else {
            write_offs::postings(event, context)?
        };
        moved.ok_or_else(|| events::out_of_place("more than can be counted"))
    }
}
