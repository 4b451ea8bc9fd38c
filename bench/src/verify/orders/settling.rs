//! What must be so once an order's sagas have ended, and by when they must.

use chrono::{DateTime, Utc};
use recourse_domain::order::{ReturnStatus, Status};
use recourse_event_store::RecordedEvent;
use recourse_saga::Direction;
use uuid::Uuid;

use super::{Deadlines, Order};
use crate::verify::{
    payments::Payments,
    report::{Breaches, Evidence, Kind},
    returns::Return,
    sagas::{self, End, HoldChange, Sagas},
    write_offs::WrittenOff,
};

/// Whether an operator had what moves a line's goods left out, or the order not be told of it.
pub(super) fn is_left_out(end: &End, line: u32) -> bool {
    let mut skipped = end.skipped.iter();
    skipped.any(|skipped| match skipped.target.category() {
        "stock" => skipped.item == line.to_string(),
        category => category == "order",
    })
}

/// Something that a saga is to settle.
struct Wait<'a> {
    subject: String,
    since: &'a Evidence,
    at: DateTime<Utc>,
}

impl Wait<'_> {
    /// Its saga once that has ended; a breach where it should have, or should say why not.
    fn ended<'a>(
        &self,
        saga: Option<&'a sagas::Saga>,
        deadlines: Deadlines,
        breaches: &mut Breaches,
    ) -> Option<&'a sagas::Saga> {
        let Some(saga) = saga else {
            let waits = deadlines.as_of.signed_duration_since(self.at);
            if waits > deadlines.start_within {
                breaches.add(
                    Kind::OrderWithoutSaga,
                    &self.subject,
                    format!("no saga after {} ms", waits.num_milliseconds()),
                    [self.since.clone()],
                );
            }
            return None;
        };
        match saga.status {
            sagas::Status::Completed | sagas::Status::Compensated => Some(saga),
            sagas::Status::NeedsAttention | sagas::Status::Parked | sagas::Status::Paused => None,
            sagas::Status::Running | sagas::Status::Compensating => {
                let late = deadlines.as_of.signed_duration_since(saga.deadline_at);
                if late > deadlines.grace {
                    breaches.add(
                        Kind::OrderUnsettled,
                        &self.subject,
                        format!(
                            "{} ms past its deadline, and its saga is {} and waits for {}",
                            late.num_milliseconds(),
                            saga.status.as_str(),
                            saga.waits_for()
                        ),
                        [self.since.clone(), saga.started.clone(), saga.last.clone()],
                    );
                }
                None
            }
        }
    }
}

impl Return {
    /// Its goods are back, all that went out or none, as its end says.
    pub(super) fn goods(&self, end: &End, event: &RecordedEvent, breaches: &mut Breaches) {
        let closed = self.status == ReturnStatus::Closed;
        for (number, (sku, _)) in (0_u32..).zip(&self.lines) {
            let back = matches!(
                end.holds.get(&number),
                Some((of, HoldChange::Restocked)) if of == sku
            );
            let was_out = !self.undelivered.contains(sku);
            if back != (closed && was_out) && !is_left_out(end, number) {
                breaches.add(
                    Kind::GoodsNotOrder,
                    format!("order-{}", end.order),
                    format!(
                        "return {} is {} and its line {number} ({sku}) is {}",
                        self.id,
                        self.status.as_str(),
                        if back { "back" } else { "not back" }
                    ),
                    [self.last.clone(), event.into()],
                );
            }
        }
    }

    /// Promise 1, as for the order itself.
    pub(super) fn is_settled(
        &self,
        order: Uuid,
        deadlines: Deadlines,
        sagas: &Sagas,
        breaches: &mut Breaches,
    ) -> bool {
        let wait = Wait {
            subject: format!("order-{order}"),
            since: &self.requested,
            at: self.requested_at,
        };
        let Some(saga) = wait.ended(sagas.get(self.saga), deadlines, breaches) else {
            return false;
        };
        let agrees = self.status
            == if saga.status == sagas::Status::Completed {
                ReturnStatus::Closed
            } else {
                ReturnStatus::Rejected
            };
        let mut skipped = self.skipped.iter();
        if !agrees && !skipped.any(|skipped| skipped.target.category() == "order") {
            breaches.add(
                Kind::OrderSagaDisagree,
                wait.subject,
                format!(
                    "return {} is {} and its saga {}",
                    self.id,
                    self.status.as_str(),
                    saga.status.as_str()
                ),
                [self.last.clone(), saga.last.clone()],
            );
        }
        agrees
    }
}

impl Order {
    /// Promise 1: whether it and its saga have ended, which is a breach once it should have.
    pub(super) fn is_settled(
        &self,
        id: Uuid,
        deadlines: Deadlines,
        sagas: &Sagas,
        breaches: &mut Breaches,
    ) -> bool {
        let wait = Wait {
            subject: format!("order-{id}"),
            since: &self.placed,
            at: self.placed_at,
        };
        let saga = self.saga.and_then(|saga| sagas.get(saga));
        let Some(saga) = wait.ended(saga, deadlines, breaches) else {
            return false;
        };
        let agrees = if saga.status == sagas::Status::Completed {
            self.was_completed && self.status.is_confirmed()
        } else {
            matches!(self.status, Status::Rejected | Status::Cancelled)
        };
        if !agrees && !self.is_excepted("order") {
            breaches.add(
                Kind::OrderSagaDisagree,
                wait.subject,
                format!(
                    "it is {} and its saga {}",
                    self.status,
                    saga.status.as_str()
                ),
                [self.last.clone(), saga.last.clone()],
            );
        }
        agrees
    }

    /// Whether an operator had something left out of an aggregate of this category.
    fn is_excepted(&self, category: &str) -> bool {
        self.skipped
            .iter()
            .any(|skipped| skipped.target.category() == category)
    }

    /// Promise 2.
    pub(super) fn money(&self, id: Uuid, payments: &Payments, breaches: &mut Breaches) {
        let payment = payments.get(self.payment);
        let (authorized, captured, voided, refunded) = payment.map_or((0, 0, 0, 0), |payment| {
            (
                payment.authorized,
                payment.captured,
                payment.voided,
                payment.refunded,
            )
        });
        let evidence = || {
            [self.last.clone()]
                .into_iter()
                .chain(payment.map(|payment| payment.last.clone()))
        };
        let subject = format!("order-{id}");
        if payment.is_some_and(|payment| payment.order != id) {
            breaches.add(
                Kind::IllegalEvent,
                &subject,
                "its payment is for another order",
                evidence(),
            );
        }
        let WrittenOff {
            unpaid,
            unreturned,
            held,
            ..
        } = self.written_off;
        // A hold whose making was left out is of nobody's concern until it is to be taken.
        let may_be_held = self.skipped.iter().any(|skipped| {
            (skipped.direction, &*skipped.command) == (Direction::Do, "payment.authorize")
        });
        if authorized != captured + voided + held && !may_be_held {
            breaches.add(
                Kind::MoneyNotConserved,
                &subject,
                format!(
                    "it is {}, and of {authorized} authorized {captured} are captured, {voided} \
                     voided and {held} written off",
                    self.status
                ),
                evidence(),
            );
        }
        let kept = self.kept();
        if captured - refunded + unpaid - unreturned != kept {
            breaches.add(
                Kind::CapturedNotGoodsKept,
                &subject,
                format!(
                    "it is {}, its kept goods cost {kept}, and {captured} are captured and \
                     {refunded} refunded; written off are {unpaid} unpaid and {unreturned} not \
                     refunded",
                    self.status
                ),
                evidence(),
            );
        }
    }
}
