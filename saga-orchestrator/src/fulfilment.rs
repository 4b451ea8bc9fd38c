//! The saga `fulfilment`: from an order that is placed to one that is completed or rejected.
//!
//! ```text
//! order.placed ─▶ reserve-stock ─▶ authorize-payment ─▶ CONFIRM-ORDER ─▶ capture-payment
//!                 (each line)  ◀── undo, in reverse ─┘  (pivot)          ─▶ commit-stock (each line)
//!                      └▶ reject-order                                   ─▶ complete-order
//! ```
//!
//! Past the pivot an operator can have it undone: the order is revoked first, then the goods come
//! back, the money is refunded or let go, and what is held is released.
//!
//! The pivot is a decision of the order itself: a cancellation races with it in one stream, and
//! exactly one of them wins.

use std::time::Duration;

use recourse_domain::{
    CardToken, HoldId, Money, OrderId, PaymentId, Quantity, RefundId, Sku, order, payment, stock,
};
use recourse_event_store::{RecordedEvent, StreamName, typed};
use recourse_saga::{
    Backoff, BuildError, Cancel, Definition, Direction, Ids, Outgoing, Reason, Settlement, closing,
    compensatable, pivot, retriable,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The definition's name.
pub const NAME: &str = "fulfilment";

/// Which version of the definition starts sagas. Another one is another hash: the code of the one before
/// stays until no saga in flight has it.
pub(crate) const VERSION: u32 = 1;

/// What the saga works on. Holds the card's token, as the authorization needs it: secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
    /// What it costs.
    pub total: Money,
    /// The card that pays.
    pub token: CardToken,
    /// What is ordered; a line's number is its place here.
    pub lines: Vec<Line>,
}

/// A line of the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Which product.
    pub sku: Sku,
    /// How many of it.
    pub quantity: Quantity,
}

impl From<&order::Placed> for Input {
    fn from(placed: &order::Placed) -> Self {
        let order::PaymentMethod::Card { token } = &placed.payment;
        Self {
            order_id: placed.order_id,
            payment_id: placed.payment_id,
            total: placed.total,
            token: token.clone(),
            lines: placed
                .lines
                .iter()
                .map(|line| Line {
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                })
                .collect(),
        }
    }
}

/// How long a saga waits for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// How long a command may stay unanswered before it is overdue.
    pub step_timeout_ms: u64,
    /// How long the saga may take before it needs attention.
    pub deadline_ms: u64,
    /// How often a command is sent at most that can never take effect or was refused for now.
    pub max_attempts: u32,
    /// The wait before the second attempt; it doubles with each.
    pub first_backoff_ms: u64,
    /// The longest wait between attempts.
    pub max_backoff_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            step_timeout_ms: 10_000,
            deadline_ms: 60_000,
            max_attempts: 8,
            first_backoff_ms: 200,
            max_backoff_ms: 10_000,
        }
    }
}

impl Timing {
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// A step with these times.
    pub(crate) fn of<I>(&self, step: recourse_saga::Step<I>) -> recourse_saga::Step<I> {
        step.timeout(Duration::from_millis(self.step_timeout_ms))
            .max_attempts(self.max_attempts)
            .backoff(Backoff {
                first: Duration::from_millis(self.first_backoff_ms),
                max: Duration::from_millis(self.max_backoff_ms),
            })
    }
}

/// The definition.
///
/// # Errors
/// [`BuildError::Bounds`] where the timing leaves a step no time or no attempt.
pub fn definition(timing: &Timing) -> Result<Definition, BuildError> {
    of_version(VERSION, timing)
}

/// The definition under the number of a version.
pub(crate) fn of_version(version: u32, timing: &Timing) -> Result<Definition, BuildError> {
    let timed = |step| timing.of(step);
    Definition::builder::<Input>(NAME, version)
        .deadline(timing.deadline())
        .starts(starts)
        .cancels(cancels)
        .step(timed(
            compensatable("reserve-stock", reserve_stock, release_stock).fans_out(),
        ))
        .step(timed(
            compensatable("authorize-payment", authorize_payment, void_payment)
                .settled_by(settle_authorization),
        ))
        .step(timed(
            pivot("confirm-order", confirm_order).reversed_by(revoke_order),
        ))
        .step(timed(
            retriable("capture-payment", capture_payment)
                .takes_over("authorize-payment")
                .reversed_by(refund_payment)
                .settled_by(settle_capture),
        ))
        .step(timed(
            retriable("commit-stock", commit_stock)
                .fans_out()
                .takes_over("reserve-stock")
                .reversed_by(restock),
        ))
        // Revoking the order takes this back too.
        .step(timed(
            retriable("complete-order", complete_order).without_effect(),
        ))
        .when_undone(timed(closing("reject-order", reject_order)))
        .build()
}

fn starts(event: &RecordedEvent) -> Result<Option<(Input, Uuid)>, typed::Error> {
    if &*event.event.event_type != "order.placed.v1" {
        return Ok(None);
    }
    let event = event.decode::<order::Event>()?;
    Ok(match &*event {
        order::Event::Placed(placed) => Some((Input::from(placed), placed.order_id.0)),
        _ => None,
    })
}

fn cancels(event: &RecordedEvent) -> Result<Option<Cancel>, typed::Error> {
    if &*event.event.event_type != "order.cancelled.v1" {
        return Ok(None);
    }
    Ok(Some(Cancel {
        correlation: event.metadata()?.correlation_id,
    }))
}

type Commands = Result<Vec<Outgoing>, typed::Error>;

/// One command to the stock of each line, about the hold of that line.
fn each_line(
    input: &Input,
    ids: &Ids,
    command: impl Fn(&Line, HoldId) -> stock::Command,
) -> Commands {
    (0_u32..)
        .zip(&input.lines)
        .map(|(number, line)| {
            let hold = HoldId {
                saga: ids.saga,
                line: number,
            };
            let target = StreamName::new("stock", &line.sku);
            Ok(Outgoing::new(target, &command(line, hold))?.item(number))
        })
        .collect()
}

fn to_payment(input: &Input, command: &payment::Command) -> Commands {
    let target = StreamName::new("payment", input.payment_id);
    Ok(vec![Outgoing::new(target, command)?])
}

fn to_order(input: &Input, command: &order::Command) -> Commands {
    let target = StreamName::new("order", input.order_id);
    Ok(vec![Outgoing::new(target, command)?])
}

// reserve-stock: goods first, for a refusal here costs nobody anything.

fn reserve_stock(input: &Input, ids: &Ids) -> Commands {
    each_line(input, ids, |line, hold| {
        stock::Command::Reserve(stock::Reserve {
            hold,
            sku: line.sku.clone(),
            quantity: line.quantity,
        })
    })
}

fn release_stock(input: &Input, ids: &Ids) -> Commands {
    each_line(input, ids, |_, hold| {
        stock::Command::Release(stock::Release { hold })
    })
}

// authorize-payment: money is reserved only for goods that are held.

fn authorize_payment(input: &Input, _: &Ids) -> Commands {
    to_payment(
        input,
        &payment::Command::Authorize(payment::Authorize {
            payment_id: input.payment_id,
            order_id: input.order_id,
            amount: input.total,
            token: input.token.clone(),
        }),
    )
}

fn void_payment(input: &Input, _: &Ids) -> Commands {
    to_payment(input, &payment::Command::Void(payment::Void {}))
}

fn settle_authorization(input: &Input, _: &Ids, said: &Settlement) -> Commands {
    let operation = match said.direction {
        Direction::Do => payment::Operation::Authorize,
        Direction::Undo | Direction::Reverse => payment::Operation::Void,
    };
    to_payment(input, &settle(operation, said))
}

/// What tells a payment what an operator found out at the provider.
pub(crate) fn settle(operation: payment::Operation, said: &Settlement) -> payment::Command {
    payment::Command::Settle(payment::Settle {
        operation,
        took_effect: said.took_effect,
        reference: said.reference.clone(),
        reason: said.reason.clone(),
    })
}

// confirm-order: the point of no return. From here on everything can succeed, for the goods
// are held and the money is reserved.

fn confirm_order(input: &Input, _: &Ids) -> Commands {
    to_order(input, &order::Command::Confirm(order::Confirm {}))
}

/// The order's own decision: an open or accepted return excludes it, and then nothing is undone.
fn revoke_order(input: &Input, _: &Ids, reason: &Reason) -> Commands {
    to_order(
        input,
        &order::Command::Revoke(order::Revoke {
            reason: reason.detail.clone(),
        }),
    )
}

// capture-payment: the order is the client's now, and so is the bill.

fn capture_payment(input: &Input, _: &Ids) -> Commands {
    to_payment(input, &payment::Command::Capture(payment::Capture {}))
}

/// All that was taken. Where nothing was, that is the answer, and the authorization is voided.
fn refund_payment(input: &Input, ids: &Ids, _: &Reason) -> Commands {
    to_payment(
        input,
        &payment::Command::Refund(payment::Refund {
            refund: RefundId(ids.saga),
            amount: None,
        }),
    )
}

fn settle_capture(input: &Input, ids: &Ids, said: &Settlement) -> Commands {
    let operation = match said.direction {
        Direction::Do => payment::Operation::Capture,
        Direction::Undo | Direction::Reverse => payment::Operation::Refund(RefundId(ids.saga)),
    };
    to_payment(input, &settle(operation, said))
}

// commit-stock: the goods go out once they are paid.

fn commit_stock(input: &Input, ids: &Ids) -> Commands {
    each_line(input, ids, |_, hold| {
        stock::Command::Commit(stock::Commit { hold })
    })
}

fn restock(input: &Input, ids: &Ids, _: &Reason) -> Commands {
    each_line(input, ids, |line, hold| {
        stock::Command::Restock(stock::Restock {
            hold,
            sku: line.sku.clone(),
            quantity: line.quantity,
        })
    })
}

// complete-order: the client is told. The order keeps what an operator had not delivered, so that
// a return of it brings nothing back to the stock.

fn complete_order(input: &Input, ids: &Ids) -> Commands {
    let undelivered = (0_u32..)
        .zip(&input.lines)
        .filter(|(number, _)| ids.is_given_up("commit-stock", &number.to_string()))
        .map(|(_, line)| line.sku.clone())
        .collect();
    let complete = order::Complete { undelivered };
    to_order(input, &order::Command::Complete(complete))
}

// reject-order: the client hears why. A cancelled or revoked order has its end already; where the saga
// does not know that yet, the order's answer is that there is nothing to undo.

fn reject_order(input: &Input, _: &Ids, reason: &Reason) -> Commands {
    if matches!(&*reason.code, Reason::CANCELLED | Reason::REVERSED) {
        return Ok(Vec::new());
    }
    to_order(
        input,
        &order::Command::Reject(order::Reject {
            reason: order::Reason {
                code: reason.code.clone(),
                detail: reason.detail.clone(),
            },
        }),
    )
}

#[cfg(test)]
mod tests;
