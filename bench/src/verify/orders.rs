//! Promises 1 and 2: every order settles, and then its money and goods agree with its end.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use recourse_domain::{
    Money, Sku,
    order::{self, Event, Status},
};
use recourse_event_store::{Position, RecordedEvent};
use uuid::Uuid;

use super::{
    payments::Payments,
    report::{Breaches, Evidence, Kind, MoneyTotals},
    sagas::{self, End, HoldChange, Sagas},
};

/// The definition whose sagas settle orders.
const FULFILMENT: &str = "fulfilment";

#[derive(Default)]
pub(super) struct Orders {
    orders: BTreeMap<Uuid, Order>,
}

/// The fold of one order. Its lines are forgotten once its saga has ended.
pub(super) struct Order {
    pub(super) status: Status,
    total: Money,
    payment: Uuid,
    saga: Option<Uuid>,
    lines: Vec<(Sku, u32)>,
    placed: Evidence,
    placed_at: DateTime<Utc>,
    last: Evidence,
}

/// What deadlines are held against.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) as_of: DateTime<Utc>,
    pub(super) grace: TimeDelta,
    pub(super) start_within: TimeDelta,
}

impl Orders {
    pub(super) fn apply(
        &mut self,
        event: &RecordedEvent,
        recorded_at: DateTime<Utc>,
        what: &Event,
        breaches: &mut Breaches,
    ) {
        let mut illegal = |why: String, before: Option<Evidence>| {
            breaches.add(
                Kind::IllegalEvent,
                &event.stream,
                why,
                before.into_iter().chain([event.into()]),
            );
        };
        let Ok(id) = event.stream.id().parse::<Uuid>() else {
            illegal("the stream of an order is named by a UUID".to_owned(), None);
            return;
        };
        let Some(order) = self.orders.get_mut(&id) else {
            let Event::Placed(placed) = what else {
                illegal("it was not placed".to_owned(), None);
                return;
            };
            if placed.order_id.0 != id {
                illegal(
                    format!("the event is about order {}", placed.order_id),
                    None,
                );
            }
            match order::total(&placed.lines) {
                Ok(total) if total == placed.total => {}
                Ok(total) => illegal(format!("its lines cost {}", total.amount_minor), None),
                Err(refusal) => illegal(refusal.to_string(), None),
            }
            self.orders.insert(
                id,
                Order {
                    status: Status::Pending,
                    total: placed.total,
                    payment: placed.payment_id.0,
                    saga: None,
                    lines: placed
                        .lines
                        .iter()
                        .map(|line| (line.sku.clone(), line.quantity.get()))
                        .collect(),
                    placed: event.into(),
                    placed_at: recorded_at,
                    last: event.into(),
                },
            );
            return;
        };
        let next = match (order.status, what) {
            (Status::Pending, Event::Confirmed(_)) => Status::Confirmed,
            (Status::Pending, Event::Rejected(_)) => Status::Rejected,
            (Status::Pending, Event::Cancelled(_)) => Status::Cancelled,
            (Status::Confirmed, Event::Completed(_)) => Status::Completed,
            (status, Event::RepeatAnswered(repeat)) if repeat.status == status => status,
            (status, _) => {
                illegal(
                    format!("{} while it is {status}", event.event.event_type),
                    Some(order.last.clone()),
                );
                status
            }
        };
        order.status = next;
        order.last = event.into();
    }

    /// A saga has started for an order.
    pub(super) fn saga_started(
        &mut self,
        id: Uuid,
        saga: &sagas::Saga,
        event: &RecordedEvent,
        breaches: &mut Breaches,
    ) {
        if saga.definition != FULFILMENT {
            return;
        }
        match self.orders.get_mut(&saga.order) {
            None => breaches.add(
                Kind::IllegalEvent,
                &event.stream,
                format!("order {} was not placed", saga.order),
                [event.into()],
            ),
            Some(order) => {
                if let Some(other) = order.saga.replace(id) {
                    breaches.add(
                        Kind::SagaDoubled,
                        &event.stream,
                        format!("saga {other} works on order {} already", saga.order),
                        [order.placed.clone(), event.into()],
                    );
                }
            }
        }
    }

    /// A saga has ended: its goods went out, all or none, as its order says.
    pub(super) fn saga_ended(&mut self, end: &End, event: &RecordedEvent, breaches: &mut Breaches) {
        let Some(order) = self.orders.get_mut(&end.order) else {
            return;
        };
        let lines = std::mem::take(&mut order.lines);
        let kept = order.status == Status::Completed;
        for (number, (sku, _)) in (0_u32..).zip(&lines) {
            let out = matches!(
                end.holds.get(&number),
                Some((held, HoldChange::Committed)) if held == sku
            );
            if out != kept {
                breaches.add(
                    Kind::GoodsNotOrder,
                    format!("order-{}", end.order),
                    format!(
                        "it is {} and line {number} ({sku}) is {}",
                        order.status,
                        if out { "out" } else { "not out" }
                    ),
                    [order.last.clone(), event.into()],
                );
            }
        }
    }

    /// Whether a hold is of its order's line.
    pub(super) fn holds_line(&self, order: Uuid, line: u32, sku: &Sku, quantity: u32) -> bool {
        self.orders.get(&order).is_none_or(|order| {
            order
                .lines
                .get(line as usize)
                .is_some_and(|(of, pieces)| of == sku && *pieces == quantity)
        })
    }

    /// What must be so at the end of the log. The orders by status, and how many are settled.
    pub(super) fn finish(
        &self,
        deadlines: Deadlines,
        sagas: &Sagas,
        payments: &Payments,
        money: &mut BTreeMap<String, MoneyTotals>,
        breaches: &mut Breaches,
    ) -> (BTreeMap<String, u64>, u64) {
        let mut by_status = BTreeMap::<String, u64>::new();
        let mut settled = 0_u64;
        for (id, order) in &self.orders {
            let count = by_status.entry(order.status.to_string()).or_default();
            *count = count.saturating_add(1);
            let totals = money.entry(order.total.currency.to_string()).or_default();
            totals.ordered += i128::from(order.total.amount_minor);
            if order.status == Status::Completed {
                totals.goods_kept += i128::from(order.total.amount_minor);
            }
            if order.is_settled(*id, deadlines, sagas, breaches) {
                settled = settled.saturating_add(1);
                order.money(*id, payments, breaches);
            }
        }
        (by_status, settled)
    }

    /// An order, if it was placed.
    pub(super) fn get(&self, id: Uuid) -> Option<&Order> {
        self.orders.get(&id)
    }
}

impl Order {
    /// Promise 1: whether it and its saga have ended, which is a breach once it should have.
    fn is_settled(
        &self,
        id: Uuid,
        deadlines: Deadlines,
        sagas: &Sagas,
        breaches: &mut Breaches,
    ) -> bool {
        let subject = format!("order-{id}");
        let Some(saga) = self.saga.and_then(|saga| sagas.get(saga)) else {
            let waits = deadlines.as_of.signed_duration_since(self.placed_at);
            if waits > deadlines.start_within {
                breaches.add(
                    Kind::OrderWithoutSaga,
                    subject,
                    format!("no saga after {} ms", waits.num_milliseconds()),
                    [self.placed.clone()],
                );
            }
            return false;
        };
        let agrees = match saga.status {
            sagas::Status::Completed => self.status == Status::Completed,
            sagas::Status::Compensated => {
                matches!(self.status, Status::Rejected | Status::Cancelled)
            }
            sagas::Status::NeedsAttention | sagas::Status::Parked => return false,
            sagas::Status::Running | sagas::Status::Compensating => {
                let late = deadlines.as_of.signed_duration_since(saga.deadline_at);
                if late > deadlines.grace {
                    breaches.add(
                        Kind::OrderUnsettled,
                        subject,
                        format!(
                            "{} ms past its deadline, and its saga is {} and waits for {}",
                            late.num_milliseconds(),
                            saga.status.as_str(),
                            saga.waits_for()
                        ),
                        [self.placed.clone(), saga.started.clone(), saga.last.clone()],
                    );
                }
                return false;
            }
        };
        if !agrees {
            breaches.add(
                Kind::OrderSagaDisagree,
                subject,
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

    /// Promise 2.
    fn money(&self, id: Uuid, payments: &Payments, breaches: &mut Breaches) {
        let payment = payments.get(self.payment);
        let (authorized, captured, voided) = payment.map_or((0, 0, 0), |payment| {
            (payment.authorized, payment.captured, payment.voided)
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
        if authorized != captured + voided {
            breaches.add(
                Kind::MoneyNotConserved,
                &subject,
                format!(
                    "it is {}, and of {authorized} authorized {captured} are captured and \
                     {voided} voided",
                    self.status
                ),
                evidence(),
            );
        }
        let kept = if self.status == Status::Completed {
            i128::from(self.total.amount_minor)
        } else {
            0
        };
        if captured != kept {
            breaches.add(
                Kind::CapturedNotGoodsKept,
                &subject,
                format!(
                    "it is {}, its kept goods cost {kept} and {captured} are captured",
                    self.status
                ),
                evidence(),
            );
        }
    }

    pub(super) fn placed(&self) -> Position {
        self.placed.position
    }

    pub(super) fn evidence(&self) -> [Evidence; 2] {
        [self.placed.clone(), self.last.clone()]
    }
}
