//! Promise 2 where an operator had a step of the money left out: what that comes to is written
//! off, and then all of it adds up again.

use recourse_domain::Money;
use recourse_saga::{Direction, SkipResult, StepSkipped};

use super::payments::Payment;

/// From one account to another, how much.
pub(super) type Move = (&'static str, &'static str, Money);

/// What was written off for an order, in minor units of its currency.
#[derive(Default)]
pub(super) struct WrittenOff {
    /// What its client keeps and did not pay to us.
    pub(super) unpaid: i128,
    /// What it paid and has not back, for goods that it does not keep.
    pub(super) unreturned: i128,
    /// What is reserved with the provider and was left so.
    pub(super) held: i128,
    /// What goes back where the order is revoked after all.
    forward: Vec<Move>,
}

impl WrittenOff {
    /// A step of the money is left out, of an order that cost so much.
    pub(super) fn skip(
        &mut self,
        skipped: &StepSkipped,
        total: Money,
        payment: Option<&Payment>,
    ) -> Vec<Move> {
        let (paid, held) = payment.map_or((0, 0), |payment| {
            (
                payment.captured - payment.refunded,
                payment.authorized - payment.captured - payment.voided,
            )
        });
        let elsewhere = skipped.result == SkipResult::Done;
        let instead = if elsewhere {
            "settled-elsewhere"
        } else {
            "write-offs"
        };
        let mut moves = Vec::new();
        let mut add = |from, to, minor: i128, sum: &mut i128| {
            if let Ok(amount_minor @ 1..) = i64::try_from(minor) {
                let currency = total.currency;
                let amount = Money {
                    amount_minor,
                    currency,
                };
                moves.push((from, to, amount));
                *sum += minor;
            }
        };
        match (skipped.direction, &*skipped.command_type) {
            (Direction::Do, "payment.capture") => {
                let due = i128::from(total.amount_minor) - paid;
                add("revenue", instead, due, &mut self.unpaid);
                add("holds-open", "holds-abandoned", held, &mut self.held);
                self.forward.extend(moves.iter().copied());
            }
            (Direction::Undo, "payment.void") => {
                let to = if elsewhere {
                    "holds-voided"
                } else {
                    "holds-abandoned"
                };
                add("holds-open", to, held, &mut self.held);
            }
            (Direction::Reverse, "payment.refund") => {
                add(instead, "refunds", paid, &mut self.unreturned);
            }
            _ => {}
        }
        moves
    }

    /// The order is revoked: its client keeps nothing, and what was held is to be let go again.
    pub(super) fn revoke(&mut self) -> Vec<Move> {
        let mut moves = std::mem::take(&mut self.forward);
        for (from, to, _) in &mut moves {
            std::mem::swap(from, to);
        }
        if !moves.is_empty() {
            (self.unpaid, self.held) = (0, 0);
        }
        moves
    }
}
