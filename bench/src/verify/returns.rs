//! The returns of an order, as its own stream tells them: what each takes and refunds, and how
//! it ends.

use chrono::{DateTime, Utc};
use recourse_domain::{
    ReturnId, Sku,
    order::{Event, ReturnRequested, ReturnStatus},
};
use recourse_event_store::RecordedEvent;
use recourse_saga::saga_id;
use uuid::Uuid;

use super::{report::Evidence, sagas::Skipped};

/// The definition whose sagas carry returns out.
pub(super) const RETURN: &str = "return";

/// The fold of one return.
pub(super) struct Return {
    pub(super) id: ReturnId,
    pub(super) saga: Uuid,
    pub(super) status: ReturnStatus,
    pub(super) lines: Vec<(Sku, u32)>,
    /// Of these nothing ever went out, so that nothing comes back.
    pub(super) undelivered: Vec<Sku>,
    pub(super) refund: i128,
    /// What an operator had its saga leave out.
    pub(super) skipped: Vec<Skipped>,
    pub(super) requested: Evidence,
    pub(super) requested_at: DateTime<Utc>,
    pub(super) last: Evidence,
}

impl Return {
    pub(super) fn new(
        requested: &ReturnRequested,
        event: &RecordedEvent,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            id: requested.return_id,
            saga: saga_id(RETURN, event.event.id),
            status: ReturnStatus::Requested,
            lines: requested
                .lines
                .iter()
                .map(|line| (line.sku.clone(), line.quantity.get()))
                .collect(),
            undelivered: requested.undelivered.clone(),
            refund: i128::from(requested.refund.amount_minor),
            skipped: Vec::new(),
            requested: event.into(),
            requested_at: at,
            last: event.into(),
        }
    }

    /// How many pieces of a product it has taken, unless it came to nothing.
    pub(super) fn takes(&self, sku: &Sku) -> u32 {
        if self.status == ReturnStatus::Rejected {
            return 0;
        }
        self.lines
            .iter()
            .filter(|(of, _)| of == sku)
            .map(|(_, pieces)| *pieces)
            .fold(0, u32::saturating_add)
    }

    /// Goes on; `None` where the event may not follow.
    pub(super) fn apply(&mut self, what: &Event, event: &RecordedEvent) -> Option<()> {
        use ReturnStatus::{Accepted, Closed, Rejected, Requested, Withdrawn};
        self.status = match (self.status, what) {
            (Requested, Event::ReturnAccepted(_)) => Accepted,
            (Accepted, Event::ReturnWithdrawn(_)) => Withdrawn,
            (Requested | Withdrawn, Event::ReturnRejected(_)) => Rejected,
            (Accepted, Event::ReturnClosed(_)) => Closed,
            _ => return None,
        };
        self.last = event.into();
        Some(())
    }
}

/// The return that an event moves on.
pub(super) const fn moves(what: &Event) -> Option<ReturnId> {
    match what {
        Event::ReturnAccepted(its) | Event::ReturnWithdrawn(its) => Some(its.return_id),
        Event::ReturnRejected(its) => Some(its.return_id),
        Event::ReturnClosed(its) => Some(its.return_id),
        _ => None,
    }
}
