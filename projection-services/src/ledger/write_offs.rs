//! What becomes of the money where an operator had a step of it left out.
//!
//! The saga says which step, and what the operator says of it. How much that is follows from what
//! came before: what the order cost, and what its payment had moved by then. An order that is
//! revoked after all takes back what was written off for the goods that it was to keep.

use std::{collections::BTreeMap, sync::Arc};

use recourse_domain::{Money, order, payment};
use recourse_event_store::{RecordedEvent, StreamName};
use recourse_saga::{Direction, SkipResult, StepSkipped};
use recourse_views::{ProjectionError, books::Posting};

use super::accounts::{
    HOLDS_ABANDONED, HOLDS_OPEN, HOLDS_VOIDED, REFUNDS, REVENUE, SETTLED_ELSEWHERE, WRITE_OFFS,
    transfer,
};

/// The type of the event that says that something is left out.
pub(super) const SKIPPED: &str = "saga.step-skipped.";
/// The type of the event by which an order past its point of no return is undone.
pub(super) const REVOKED: &str = "order.revoked.";

/// The streams that say what this event moves: of what was left out its order and its payment;
/// of a revocation its saga and, where that had money left out before, the same.
pub(super) fn streams(
    event: &RecordedEvent,
    read: &[Arc<RecordedEvent>],
) -> Result<Vec<StreamName>, ProjectionError> {
    let mut streams = Vec::new();
    let mut skips = Vec::new();
    if is(event, SKIPPED) {
        skips.extend(money_skip(event)?);
    } else if is(event, REVOKED) {
        let metadata = event.metadata()?;
        streams.extend(
            metadata
                .answers
                .iter()
                .map(|answered| answered.saga.clone()),
        );
        for earlier in read {
            skips.extend(money_skip(earlier)?);
        }
    }
    for skipped in skips {
        let order = event.metadata()?.correlation_id;
        streams.push(StreamName::new("order", order));
        streams.push(skipped.target);
    }
    Ok(streams)
}

/// What an event that is no payment's moves; none where that cannot be counted.
pub(super) fn postings(
    event: &RecordedEvent,
    context: &[Arc<RecordedEvent>],
) -> Result<Option<Vec<Posting>>, ProjectionError> {
    if let Some(skipped) = money_skip(event)? {
        return written_off(&skipped, event, context);
    }
    if !is(event, REVOKED) {
        return Ok(Some(Vec::new()));
    }
    // All of it goes back: what the way back leaves out says so itself.
    let mut sums: BTreeMap<(String, String), i64> = BTreeMap::new();
    for earlier in context {
        let Some(skipped) = money_skip(earlier)? else {
            continue;
        };
        let Some(postings) = written_off(&skipped, earlier, context)? else {
            return Ok(None);
        };
        for posting in postings {
            let sum = sums.entry((posting.account, posting.currency)).or_default();
            let Some(next) = sum.checked_sub(posting.amount_minor) else {
                return Ok(None);
            };
            *sum = next;
        }
    }
    let taken_back = sums
        .into_iter()
        .filter(|(_, amount_minor)| *amount_minor != 0)
        .map(|((account, currency), amount_minor)| Posting {
            account,
            currency,
            amount_minor,
        });
    Ok(Some(taken_back.collect()))
}

/// What leaving out this step moves, by what was so then.
fn written_off(
    skipped: &StepSkipped,
    event: &RecordedEvent,
    context: &[Arc<RecordedEvent>],
) -> Result<Option<Vec<Posting>>, ProjectionError> {
    let Some(so_far) = SoFar::read(skipped, event, context)? else {
        return Ok(Some(Vec::new()));
    };
    Ok(so_far.moved(skipped))
}

/// What the order cost, and what its payment had moved.
struct SoFar {
    total: Money,
    authorized: i64,
    voided: i64,
    captured: i64,
    refunded: i64,
}

impl SoFar {
    /// As of an event. None where there is no order: then nothing is known to be due.
    fn read(
        skipped: &StepSkipped,
        event: &RecordedEvent,
        context: &[Arc<RecordedEvent>],
    ) -> Result<Option<Self>, ProjectionError> {
        let mut so_far: Option<Self> = None;
        let earlier = || {
            let earlier = context.iter();
            earlier.filter(|earlier| earlier.position < event.position)
        };
        for placed in earlier().filter(|earlier| is(earlier, "order.placed.")) {
            if let order::Event::Placed(placed) = &*placed.decode::<order::Event>()? {
                so_far = Some(Self {
                    total: placed.total,
                    authorized: 0,
                    voided: 0,
                    captured: 0,
                    refunded: 0,
                });
            }
        }
        let Some(so_far) = &mut so_far else {
            return Ok(None);
        };
        for moved in earlier().filter(|earlier| earlier.stream == skipped.target) {
            // Of a payment's stream also what answers commands and nothing else.
            if !moved.event.event_type.starts_with("payment.") {
                continue;
            }
            let (sum, amount) = match &*moved.decode::<payment::Event>()? {
                payment::Event::Authorized(done) => (&mut so_far.authorized, done.amount),
                payment::Event::Voided(done) => (&mut so_far.voided, done.amount),
                payment::Event::Captured(done) => (&mut so_far.captured, done.amount),
                payment::Event::Refunded(done) => (&mut so_far.refunded, done.amount),
                _ => continue,
            };
            *sum = sum.saturating_add(amount.amount_minor);
        }
        Ok(Some(Self { ..*so_far }))
    }

    /// Taken and not given back.
    const fn paid(&self) -> i64 {
        self.captured.saturating_sub(self.refunded)
    }

    /// Authorized and neither taken nor let go.
    const fn held(&self) -> i64 {
        self.authorized
            .saturating_sub(self.captured)
            .saturating_sub(self.voided)
    }

    fn moved(&self, skipped: &StepSkipped) -> Option<Vec<Posting>> {
        let move_it = |amount_minor: i64, from: &str, to: &str| {
            let amount = Money {
                amount_minor: amount_minor.max(0),
                currency: self.total.currency,
            };
            transfer(amount, from, to)
        };
        let (instead, let_go) = match skipped.result {
            SkipResult::Left => (WRITE_OFFS, HOLDS_ABANDONED),
            SkipResult::Done => (SETTLED_ELSEWHERE, HOLDS_VOIDED),
        };
        match (skipped.direction, &*skipped.command_type) {
            (Direction::Do, "payment.capture") => {
                let due = self.total.amount_minor.saturating_sub(self.paid());
                let mut postings = move_it(due, REVENUE, instead)?;
                // Whatever the operator says of the money, this hold was to be let go and was not.
                postings.extend(move_it(self.held(), HOLDS_OPEN, HOLDS_ABANDONED)?);
                Some(postings)
            }
            (Direction::Undo, "payment.void") => move_it(self.held(), HOLDS_OPEN, let_go),
            (Direction::Reverse, "payment.refund") => move_it(self.paid(), instead, REFUNDS),
            // A hold that was not made is missed when it is to be taken, and told then.
            _ => Some(Vec::new()),
        }
    }
}

/// What was left out, where it is about money.
fn money_skip(event: &RecordedEvent) -> Result<Option<StepSkipped>, ProjectionError> {
    if !is(event, SKIPPED) {
        return Ok(None);
    }
    Ok(match &*event.decode::<recourse_saga::Event>()? {
        recourse_saga::Event::StepSkipped(skipped) => {
            Some(skipped.clone()).filter(|skipped| skipped.target.category() == "payment")
        }
        _ => None,
    })
}

fn is(event: &RecordedEvent, event_type: &str) -> bool {
    event.event.event_type.starts_with(event_type)
}
