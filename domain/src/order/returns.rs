//! The returns of an order's goods.
//!
//! ```text
//! request ─▶ requested ─ accept ─▶ accepted ─ close ─▶ closed
//!                │                    └─ withdraw ─▶ withdrawn
//!                └──────── reject ─▶ rejected ◀─ reject ─┘
//! ```
//!
//! A request takes its pieces at once: bought − returned − in open returns is decided here, in
//! one stream, so that two returns never take the same piece. What is rejected gives them back.
//!
//! A piece that never went out, because an operator gave its delivery up, is paid for all the
//! same: its return is refunded, and says that nothing comes back to the stock.

use std::collections::BTreeSet;

use super::{
    Event, MAX_LINES, MAX_REASON_CHARS, MAX_RETURNS, Refusal, RejectReturn, RequestReturn,
    ReturnClosed, ReturnLine, ReturnMoved, ReturnRejected, ReturnRequested, ReturnStatus, State,
    Status, repeat, state::Terms,
};
use crate::{Money, ReturnId, Sku, text};

type Decided = Result<Vec<Event>, Refusal>;

pub(super) fn request(state: &State, request: &RequestReturn) -> Decided {
    let Some(terms) = state.terms() else {
        return Err(Refusal::NoSuchOrder);
    };
    if let Some(known) = state.get_return(request.return_id) {
        // A client's command needs no durable answer, so no event says so again.
        return if known.lines == request.lines && known.reason == request.reason {
            Ok(Vec::new())
        } else {
            Err(Refusal::ReturnDiffers)
        };
    }
    if !text::is_plain(&request.reason, MAX_REASON_CHARS) {
        return Err(Refusal::InvalidReason);
    }
    match state.status {
        Some(Status::Completed | Status::PartiallyReturned) => {}
        Some(status) => return Err(Refusal::NotReturnable(status)),
        None => return Err(Refusal::NoSuchOrder),
    }
    let refund = refund(state, terms, &request.lines)?;
    if state.returns().count() >= MAX_RETURNS {
        return Err(Refusal::TooManyReturns);
    }
    let skus = request.lines.iter().map(|line| &line.sku);
    let undelivered = skus.filter(|sku| state.undelivered().contains(sku));
    Ok(vec![Event::ReturnRequested(ReturnRequested {
        return_id: request.return_id,
        order_id: terms.order_id,
        payment_id: terms.payment_id,
        lines: request.lines.clone(),
        undelivered: undelivered.cloned().collect(),
        refund,
        reason: request.reason.clone(),
    })])
}

/// What the lines of a return cost when they were ordered, where all of them can go back.
fn refund(state: &State, terms: &Terms, lines: &[ReturnLine]) -> Result<Money, Refusal> {
    if lines.is_empty() {
        return Err(Refusal::NoReturnLines);
    }
    if lines.len() > MAX_LINES {
        return Err(Refusal::TooManyReturnLines);
    }
    let mut seen = BTreeSet::new();
    let mut refund = Money {
        amount_minor: 0,
        currency: terms.total.currency,
    };
    for line in lines {
        if !seen.insert(&line.sku) {
            return Err(Refusal::DuplicateLine(line.sku.clone()));
        }
        let bought = terms
            .lines
            .iter()
            .find(|bought| bought.sku == line.sku)
            .ok_or_else(|| Refusal::NotOrdered(line.sku.clone()))?;
        let gone = state.returned_or_open(&line.sku);
        let returnable = bought.quantity.get().saturating_sub(gone);
        if line.quantity.get() > returnable {
            return Err(Refusal::OverReturned {
                sku: line.sku.clone(),
                returnable,
                wanted: line.quantity.get(),
            });
        }
        refund = bought
            .unit_price
            .checked_mul(line.quantity.get())
            .and_then(|price| refund.checked_add(price))
            // No part is more than the order's total, which was no overflow.
            .map_err(|_| Refusal::TotalOverflow)?;
    }
    if refund.amount_minor == 0 {
        return Err(Refusal::NothingToRefund);
    }
    Ok(refund)
}

fn moved(return_id: ReturnId) -> ReturnMoved {
    ReturnMoved { return_id }
}

/// An answer that changes nothing.
fn done_already(state: &State) -> Decided {
    state.status.map(repeat).ok_or(Refusal::NoSuchOrder)
}

pub(super) fn accept(state: &State, id: ReturnId) -> Decided {
    let its = state.get_return(id).ok_or(Refusal::NoSuchReturn)?;
    match its.status {
        ReturnStatus::Requested => Ok(vec![Event::ReturnAccepted(moved(id))]),
        ReturnStatus::Accepted | ReturnStatus::Closed => done_already(state),
        ReturnStatus::Withdrawn | ReturnStatus::Rejected => Err(Refusal::ReturnRejected),
    }
}

pub(super) fn withdraw(state: &State, id: ReturnId) -> Decided {
    match state.get_return(id).map(|its| its.status) {
        Some(ReturnStatus::Accepted) => Ok(vec![Event::ReturnWithdrawn(moved(id))]),
        Some(ReturnStatus::Withdrawn | ReturnStatus::Rejected) => done_already(state),
        Some(ReturnStatus::Closed) => Err(Refusal::ReturnClosed),
        Some(ReturnStatus::Requested) | None => Err(Refusal::NothingToWithdraw),
    }
}

pub(super) fn reject(state: &State, reject: &RejectReturn) -> Decided {
    match state.get_return(reject.return_id).map(|its| its.status) {
        Some(ReturnStatus::Requested | ReturnStatus::Withdrawn) => {
            Ok(vec![Event::ReturnRejected(ReturnRejected {
                return_id: reject.return_id,
                reason: reject.reason.clone(),
            })])
        }
        Some(ReturnStatus::Rejected) => done_already(state),
        // Its refund may be under way.
        Some(ReturnStatus::Accepted) => Err(Refusal::ReturnAccepted),
        Some(ReturnStatus::Closed) => Err(Refusal::ReturnClosed),
        None => Err(Refusal::NoSuchReturn),
    }
}

pub(super) fn close(state: &State, id: ReturnId) -> Decided {
    let its = state.get_return(id).ok_or(Refusal::NoSuchReturn)?;
    match its.status {
        ReturnStatus::Requested => Err(Refusal::ReturnNotAccepted),
        ReturnStatus::Accepted => Ok(vec![Event::ReturnClosed(ReturnClosed {
            return_id: id,
            status: after(state, &its.lines),
        })]),
        ReturnStatus::Closed => done_already(state),
        ReturnStatus::Withdrawn | ReturnStatus::Rejected => Err(Refusal::ReturnRejected),
    }
}

/// How the order stands once these lines are back too.
fn after(state: &State, lines: &[ReturnLine]) -> Status {
    let is_back = |sku: &Sku, bought: u32| {
        let now = lines
            .iter()
            .filter(|line| line.sku == *sku)
            .map(|line| line.quantity.get())
            .fold(0, u32::saturating_add);
        state.returned(sku).saturating_add(now) >= bought
    };
    let all = state
        .lines()
        .iter()
        .all(|line| is_back(&line.sku, line.quantity.get()));
    if all {
        Status::Returned
    } else {
        Status::PartiallyReturned
    }
}
