//! Refunds: several of one payment, together never more than what was taken.

use super::{
    Declined, Event, Operation, Refund, RefundRefused, RefundRequested, Refusal, State, join,
    repeat, state::Progress,
};
use crate::Money;

pub(super) fn decide(state: &State, refund: &Refund) -> Result<Vec<Event>, Refusal> {
    let operation = Operation::Refund(refund.refund);
    let known = state.refund(refund.refund);
    if let Some(known) = known {
        let is_another = refund.amount.is_some_and(|amount| amount != known.amount);
        match &known.step.progress {
            _ if is_another => return Err(Refusal::RefundDiffers(known.amount)),
            Progress::Open { .. } => return Ok(join(operation)),
            Progress::Applied { .. } => return Ok(repeat(operation)),
            Progress::Refused(declined) if declined.is_final => {
                return Err(Refusal::Declined(declined.clone()));
            }
            Progress::NotAsked | Progress::Refused(_) => {}
        }
    }
    // Open: recorded now, and due once the outcome of the capture is known.
    if !state.capture().is_open() && !state.capture().is_applied() {
        return Err(match refund.amount {
            Some(_) => Refusal::NotCaptured,
            None => Refusal::NothingToRefund,
        });
    }
    let refundable = state.refundable().ok_or(Refusal::NothingToRefund)?;
    let amount = match refund.amount {
        Some(amount) => within(state, amount, refundable)?,
        // After a refusal of that one the rest would be more.
        None if state.has_open_refund() => return Err(Refusal::RefundOpen),
        None if refundable.amount_minor == 0 => return Err(Refusal::NothingToRefund),
        None => refundable,
    };
    let ordinal = known.map_or(0, |known| known.step.refusals);
    let key = state
        .key(operation, ordinal)
        .ok_or(Refusal::NothingToRefund)?;
    Ok(vec![Event::RefundRequested(RefundRequested {
        refund: refund.refund,
        amount,
        key,
        ordinal,
    })])
}

fn within(state: &State, amount: Money, refundable: Money) -> Result<Money, Refusal> {
    if amount.amount_minor <= 0 {
        return Err(Refusal::NothingToPay);
    }
    if amount.currency != refundable.currency {
        return Err(Refusal::PaymentDiffers);
    }
    if amount.amount_minor > refundable.amount_minor {
        return Err(Refusal::RefundTooLarge {
            refundable,
            wanted: amount,
            may_grow: state.has_open_refund(),
        });
    }
    Ok(amount)
}

/// A refused capture, and with it the end of the refunds that waited for it.
pub(super) fn capture_refused(state: &State, declined: Declined) -> Vec<Event> {
    let mut events = vec![Event::CaptureRefused(declined)];
    events.extend(state.open_refunds().map(|refund| {
        Event::RefundRefused(RefundRefused {
            refund,
            declined: Refusal::NothingToRefund.into(),
        })
    }));
    events
}
