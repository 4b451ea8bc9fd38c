//! Promise 2 for one payment at a time: every operation once, and no money from nowhere.

use std::collections::BTreeMap;

use recourse_domain::{
    Money, PaymentId, RefundId,
    payment::{Event, Operation},
};
use recourse_event_store::{Metadata, RecordedEvent};
use uuid::Uuid;

use super::{
    report::{Breaches, Evidence, Kind, MoneyTotals},
    sagas::Sagas,
};

#[derive(Default)]
pub(super) struct Payments {
    payments: BTreeMap<Uuid, Payment>,
}

/// The fold of one payment, in minor units of its currency.
pub(super) struct Payment {
    id: PaymentId,
    pub(super) order: Uuid,
    amount: Money,
    pub(super) authorized: i128,
    pub(super) captured: i128,
    pub(super) voided: i128,
    pub(super) refunded: i128,
    pub(super) last: Evidence,
    /// How much each refund under way is of.
    refunds: BTreeMap<RefundId, i128>,
    open: Vec<Intent>,
    keys: Vec<Uuid>,
}

struct Intent {
    operation: Operation,
    saga: Option<Uuid>,
    at: Evidence,
}

impl Payments {
    pub(super) fn apply(
        &mut self,
        event: &RecordedEvent,
        metadata: &Metadata,
        what: &Event,
        breaches: &mut Breaches,
    ) {
        let Ok(id) = event.stream.id().parse::<Uuid>() else {
            breaches.add(
                Kind::IllegalEvent,
                &event.stream,
                "the stream of a payment is named by a UUID",
                [event.into()],
            );
            return;
        };
        if let Event::AuthorizationRequested(requested) = what
            && !self.payments.contains_key(&id)
        {
            self.payments.insert(
                id,
                Payment {
                    id: PaymentId(id),
                    order: requested.order_id.0,
                    amount: requested.amount,
                    authorized: 0,
                    captured: 0,
                    voided: 0,
                    refunded: 0,
                    refunds: BTreeMap::new(),
                    last: event.into(),
                    open: Vec::new(),
                    keys: Vec::new(),
                },
            );
        }
        let Some(payment) = self.payments.get_mut(&id) else {
            breaches.add(
                Kind::IllegalEvent,
                &event.stream,
                "nothing was requested before",
                [event.into()],
            );
            return;
        };
        payment.last = event.into();
        payment.apply(event, metadata, what, breaches);
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Payment> {
        self.payments.get(&id)
    }

    /// What must be so at the end of the log.
    pub(super) fn finish(
        &self,
        sagas: &Sagas,
        money: &mut BTreeMap<String, MoneyTotals>,
        breaches: &mut Breaches,
    ) {
        for (id, payment) in &self.payments {
            let totals = money
                .entry(payment.amount.currency.to_string())
                .or_default();
            totals.authorized += payment.authorized;
            totals.captured += payment.captured;
            totals.voided += payment.voided;
            totals.refunded += payment.refunded;
            for intent in &payment.open {
                if !intent.saga.is_some_and(|saga| sagas.is_open(saga)) {
                    breaches.add(
                        Kind::IntentWithoutSaga,
                        format!("payment-{id}"),
                        format!(
                            "{:?} is under way and no open saga waits for it",
                            intent.operation
                        ),
                        [intent.at.clone()]
                            .into_iter()
                            .chain(intent.saga.and_then(|saga| sagas.end_of(saga))),
                    );
                }
            }
        }
    }
}

impl Payment {
    fn apply(
        &mut self,
        event: &RecordedEvent,
        metadata: &Metadata,
        what: &Event,
        breaches: &mut Breaches,
    ) {
        let saga = metadata
            .takes
            .as_ref()
            .and_then(|taken| taken.answered.saga.id().parse().ok());
        match what {
            Event::AuthorizationRequested(requested) => {
                if requested.amount != self.amount || requested.order_id.0 != self.order {
                    breaches.add(
                        Kind::IllegalEvent,
                        &event.stream,
                        "another amount or order than before",
                        [event.into()],
                    );
                }
                self.open(
                    event,
                    Operation::Authorize,
                    (requested.key, requested.ordinal),
                    saga,
                    breaches,
                );
            }
            Event::CaptureRequested(requested) => {
                self.open(
                    event,
                    Operation::Capture,
                    (requested.key, requested.ordinal),
                    saga,
                    breaches,
                );
            }
            Event::VoidRequested(requested) => {
                self.open(
                    event,
                    Operation::Void,
                    (requested.key, requested.ordinal),
                    saga,
                    breaches,
                );
            }
            Event::Authorized(applied) => {
                self.close(event, Operation::Authorize, breaches);
                self.authorized += self.moved(event, applied.amount, breaches);
            }
            Event::Captured(applied) => {
                self.close(event, Operation::Capture, breaches);
                self.captured += self.moved(event, applied.amount, breaches);
            }
            Event::Voided(applied) => {
                self.close(event, Operation::Void, breaches);
                self.voided += self.moved(event, applied.amount, breaches);
            }
            Event::RefundRequested(requested) => {
                self.open(
                    event,
                    Operation::Refund(requested.refund),
                    (requested.key, requested.ordinal),
                    saga,
                    breaches,
                );
                let amount = i128::from(requested.amount.amount_minor);
                self.refunds.insert(requested.refund, amount);
            }
            Event::Refunded(refunded) => {
                self.close(event, Operation::Refund(refunded.refund), breaches);
                let amount = i128::from(refunded.amount.amount_minor);
                self.refunded += amount;
                if self.refunds.remove(&refunded.refund) != Some(amount)
                    || refunded.amount.currency != self.amount.currency
                {
                    breaches.add(
                        Kind::MoneyNotConserved,
                        &event.stream,
                        format!("{} are refunded that were not asked for", refunded.amount),
                        [event.into()],
                    );
                }
            }
            Event::RefundRefused(refused) => {
                self.close(event, Operation::Refund(refused.refund), breaches);
                self.refunds.remove(&refused.refund);
            }
            Event::Declined(_) => self.close(event, Operation::Authorize, breaches),
            Event::CaptureRefused(_) => self.close(event, Operation::Capture, breaches),
            Event::VoidRefused(_) => self.close(event, Operation::Void, breaches),
            Event::Joined(joined) => self.under_way(event, joined.operation, breaches),
            Event::Unknown(unknown) => self.under_way(event, unknown.operation, breaches),
            Event::RepeatAnswered(_) => {}
        }
        if self.authorized > i128::from(self.amount.amount_minor)
            || self.captured + self.voided > self.authorized
            || self.refunded > self.captured
            || self.refunded + self.refunds.values().sum::<i128>() > self.authorized
        {
            breaches.add(
                Kind::MoneyNotConserved,
                &event.stream,
                format!(
                    "authorized {} of {}, captured {}, voided {}, refunded {}",
                    self.authorized,
                    self.amount.amount_minor,
                    self.captured,
                    self.voided,
                    self.refunded
                ),
                [event.into()],
            );
        }
    }

    fn open(
        &mut self,
        event: &RecordedEvent,
        operation: Operation,
        (key, ordinal): (Uuid, u32),
        saga: Option<Uuid>,
        breaches: &mut Breaches,
    ) {
        if key != self.id.key(operation, ordinal) {
            breaches.add(
                Kind::IllegalEvent,
                &event.stream,
                format!("the key {key} is not that of {operation:?} {ordinal}"),
                [event.into()],
            );
        }
        if self.keys.contains(&key) {
            breaches.add(
                Kind::IntentKeyReused,
                &event.stream,
                format!("the key {key} was used before"),
                [event.into()],
            );
        }
        self.keys.push(key);
        if let Some(intent) = self.open.iter().find(|open| open.operation == operation) {
            breaches.add(
                Kind::IllegalEvent,
                &event.stream,
                format!("{operation:?} is requested while it is under way"),
                [intent.at.clone(), event.into()],
            );
        }
        self.open.push(Intent {
            operation,
            saga,
            at: event.into(),
        });
    }

    fn close(&mut self, event: &RecordedEvent, operation: Operation, breaches: &mut Breaches) {
        self.under_way(event, operation, breaches);
        if let Some(index) = self
            .open
            .iter()
            .position(|open| open.operation == operation)
        {
            self.open.remove(index);
        }
    }

    fn under_way(&self, event: &RecordedEvent, operation: Operation, breaches: &mut Breaches) {
        if !self.open.iter().any(|open| open.operation == operation) {
            breaches.add(
                Kind::OutcomeWithoutIntent,
                &event.stream,
                format!("{operation:?} is not under way"),
                [event.into()],
            );
        }
    }

    fn moved(&self, event: &RecordedEvent, amount: Money, breaches: &mut Breaches) -> i128 {
        if amount != self.amount {
            breaches.add(
                Kind::MoneyNotConserved,
                &event.stream,
                format!(
                    "{} {} of a payment of {} {}",
                    amount.amount_minor,
                    amount.currency,
                    self.amount.amount_minor,
                    self.amount.currency
                ),
                [event.into()],
            );
        }
        i128::from(amount.amount_minor)
    }
}
