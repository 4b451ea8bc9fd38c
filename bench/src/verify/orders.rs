//! Promises 1 and 2: every order settles, and then its money and goods agree with its end.

mod settling;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use recourse_domain::{
    Money, Sku,
    order::{self, Event, ReturnStatus, Status},
    stock::Held,
};
use recourse_event_store::{Position, RecordedEvent, StreamName};
use recourse_saga::StepSkipped;
use uuid::Uuid;

use self::settling::is_left_out;
use super::{
    payments::Payments,
    report::{Breaches, Evidence, Kind, MoneyTotals},
    returns::{self, RETURN, Return},
    sagas::{self, End, HoldChange, Sagas, Skipped},
    write_offs::{Move, WrittenOff},
};

/// The definition whose sagas settle orders.
const FULFILMENT: &str = "fulfilment";

#[derive(Default)]
pub(super) struct Orders {
    orders: BTreeMap<Uuid, Order>,
}

/// The fold of one order. Its lines are forgotten once its saga has undone it.
pub(super) struct Order {
    pub(super) status: Status,
    total: Money,
    payment: Uuid,
    saga: Option<Uuid>,
    lines: Vec<(Sku, u32, i64)>,
    /// That it was completed once, whatever came of that.
    was_completed: bool,
    returns: Vec<Return>,
    /// What an operator had its saga leave out.
    skipped: Vec<Skipped>,
    written_off: WrittenOff,
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
                        .map(|line| {
                            let price = line.unit_price.amount_minor;
                            (line.sku.clone(), line.quantity.get(), price)
                        })
                        .collect(),
                    was_completed: false,
                    returns: Vec::new(),
                    placed: event.into(),
                    placed_at: recorded_at,
                    skipped: Vec::new(),
                    written_off: WrittenOff::default(),
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
            (Status::Confirmed | Status::Completed, Event::Revoked(_))
                if order.keeps_its_returns_out() =>
            {
                Status::Cancelled
            }
            (
                status @ (Status::Completed | Status::PartiallyReturned),
                Event::ReturnRequested(requested),
            ) if order.can_return(requested) => {
                order
                    .returns
                    .push(Return::new(requested, event, recorded_at));
                status
            }
            (status, what)
                if let Some(id) = returns::moves(what)
                    && let Some(its) = order.returns.iter_mut().find(|its| its.id == id)
                    && its.apply(what, event).is_some() =>
            {
                match what {
                    Event::ReturnClosed(closed) if closed.status == order.by_returns() => {
                        closed.status
                    }
                    Event::ReturnClosed(closed) => {
                        illegal(
                            format!("it is {}, and called {}", order.by_returns(), closed.status),
                            Some(order.last.clone()),
                        );
                        closed.status
                    }
                    _ => status,
                }
            }
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
        order.was_completed |= next == Status::Completed;
        order.last = event.into();
    }

    /// A saga had something left out for an order: what that moves, where it is about money.
    pub(super) fn skipped(
        &mut self,
        order: Uuid,
        skipped: &StepSkipped,
        payments: &Payments,
    ) -> Vec<Move> {
        let Some(order) = self.orders.get_mut(&order) else {
            return Vec::new();
        };
        if skipped.target.category() != "payment" {
            return Vec::new();
        }
        let payment = skipped.target.id().parse().ok();
        let payment = payment.and_then(|id| payments.get(id));
        order.written_off.skip(skipped, order.total, payment)
    }

    /// An order was revoked: what that moves.
    pub(super) fn revoked(&mut self, order: &StreamName) -> Vec<Move> {
        let order = order.id().parse().ok();
        order
            .and_then(|id| self.orders.get_mut(&id))
            .map_or_else(Vec::new, |order| order.written_off.revoke())
    }

    /// A saga has started for an order.
    pub(super) fn saga_started(
        &mut self,
        id: Uuid,
        saga: &sagas::Saga,
        event: &RecordedEvent,
        breaches: &mut Breaches,
    ) {
        if saga.definition == RETURN {
            let order = self.orders.get(&saga.order);
            if !order.is_some_and(|order| order.returns.iter().any(|its| its.saga == id)) {
                breaches.add(
                    Kind::IllegalEvent,
                    &event.stream,
                    format!("no return of order {} starts it", saga.order),
                    [event.into()],
                );
            }
            return;
        }
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
        if let Some(its) = order.returns.iter_mut().find(|its| its.saga == end.saga) {
            its.skipped.extend(end.skipped.iter().cloned());
            return its.goods(end, event, breaches);
        }
        order.skipped.extend(end.skipped.iter().cloned());
        let kept = order.was_completed && order.status.is_confirmed();
        let lines = if kept {
            order.lines.clone()
        } else {
            std::mem::take(&mut order.lines)
        };
        for (number, (sku, ..)) in (0_u32..).zip(&lines) {
            let out = matches!(
                end.holds.get(&number),
                Some((held, HoldChange::Committed)) if held == sku
            );
            if out != kept && !is_left_out(end, number) {
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
                .is_some_and(|(of, pieces, _)| of == sku && *pieces == quantity)
        })
    }

    /// Whether what comes back is of its return's line; of another saga it is a reversal, which
    /// is of a hold.
    pub(super) fn returns_line(&self, saga: Uuid, order: Uuid, held: &Held) -> bool {
        let its = self.orders.get(&order).and_then(|order| {
            let mut returns = order.returns.iter();
            returns.find(|its| its.saga == saga)
        });
        its.is_some_and(|its| {
            its.lines.get(held.hold.line as usize) == Some(&(held.sku.clone(), held.quantity.get()))
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
            totals.goods_kept += order.kept();
            totals.unpaid += order.written_off.unpaid;
            totals.unreturned += order.written_off.unreturned;
            totals.abandoned += order.written_off.held;
            // Each of them speaks for itself, so all are asked.
            let returned = order
                .returns
                .iter()
                .filter(|its| !its.is_settled(*id, deadlines, sagas, breaches))
                .count();
            if order.is_settled(*id, deadlines, sagas, breaches) && returned == 0 {
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
    /// That every return of it came to nothing.
    fn keeps_its_returns_out(&self) -> bool {
        let mut returns = self.returns.iter();
        returns.all(|its| its.status == ReturnStatus::Rejected)
    }

    /// Whether so much can go back still, at this price.
    fn can_return(&self, requested: &order::ReturnRequested) -> bool {
        let mut refund = 0_i128;
        let fits = requested.lines.iter().all(|line| {
            let Some((_, bought, price)) = self.lines.iter().find(|(sku, ..)| *sku == line.sku)
            else {
                return false;
            };
            refund += i128::from(*price) * i128::from(line.quantity.get());
            let taken = self
                .returns
                .iter()
                .map(|its| its.takes(&line.sku))
                .fold(line.quantity.get(), u32::saturating_add);
            taken <= *bought
        });
        fits && refund == i128::from(requested.refund.amount_minor)
            && requested.refund.currency == self.total.currency
            && requested.payment_id.0 == self.payment
    }

    /// What its closed returns make of it.
    fn by_returns(&self) -> Status {
        let closed = |its: &&Return| its.status == ReturnStatus::Closed;
        let all = self.lines.iter().all(|(sku, bought, _)| {
            let back = self.returns.iter().filter(closed);
            back.map(|its| its.takes(sku)).fold(0, u32::saturating_add) >= *bought
        });
        if all {
            Status::Returned
        } else {
            Status::PartiallyReturned
        }
    }

    /// What the goods that its client keeps cost.
    fn kept(&self) -> i128 {
        if !(self.was_completed && self.status.is_confirmed()) {
            return 0;
        }
        let closed = self.returns.iter();
        let closed = closed.filter(|its| its.status == ReturnStatus::Closed);
        i128::from(self.total.amount_minor) - closed.map(|its| its.refund).sum::<i128>()
    }

    /// Whether it was told truly that it had this status: a completed one may go on.
    pub(super) fn has_been(&self, status: &str) -> bool {
        status == self.status.as_str()
            || (self.was_completed && status == Status::Completed.as_str())
    }

    /// How a return of it stands.
    pub(super) fn return_status(&self, id: recourse_domain::ReturnId) -> Option<&Return> {
        self.returns.iter().find(|its| its.id == id)
    }

    pub(super) fn placed(&self) -> Position {
        self.placed.position
    }

    pub(super) fn evidence(&self) -> [Evidence; 2] {
        [self.placed.clone(), self.last.clone()]
    }
}
