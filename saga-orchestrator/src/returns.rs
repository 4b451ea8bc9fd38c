//! The saga `return`: from goods that a client sends back to money given back, or to a return
//! that is rejected.
//!
//! ```text
//! order.return-requested ─▶ accept-return ─▶ REFUND-PAYMENT ─▶ restock (each line)
//!                               │            (pivot)           ─▶ close-return
//!                               ▼ undo
//!                           withdraw ─▶ reject-return
//! ```
//!
//! The pivot is the refund: money that is given back is not taken again. A refund that the
//! provider refuses for good undoes the acceptance, and the pieces can be returned once more.
//! Several returns of one order run side by side: the order has taken each one's pieces with its
//! request, and each one's refund and restocks are known by the return's own ids.

use recourse_domain::{
    HoldId, Money, OrderId, PaymentId, Quantity, RefundId, ReturnId, Sku, order, payment, stock,
};
use recourse_event_store::{RecordedEvent, StreamName, typed};
use recourse_saga::{
    BuildError, Definition, Ids, Outgoing, Reason, Settlement, closing, compensatable, pivot,
    retriable,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fulfilment::{Timing, settle};

/// The definition's name.
pub const NAME: &str = "return";

/// What the saga works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// The return.
    pub return_id: ReturnId,
    /// Of which order.
    pub order_id: OrderId,
    /// The payment that is refunded.
    pub payment_id: PaymentId,
    /// How much of it.
    pub refund: Money,
    /// What goes back; a line's number is its place here.
    pub lines: Vec<Line>,
}

/// A line of the return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Which product.
    pub sku: Sku,
    /// How many of it.
    pub quantity: Quantity,
    /// That it never went out: it is refunded, and nothing comes back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undelivered: bool,
}

impl From<&order::ReturnRequested> for Input {
    fn from(requested: &order::ReturnRequested) -> Self {
        Self {
            return_id: requested.return_id,
            order_id: requested.order_id,
            payment_id: requested.payment_id,
            refund: requested.refund,
            lines: requested
                .lines
                .iter()
                .map(|line| Line {
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                    undelivered: requested.undelivered.contains(&line.sku),
                })
                .collect(),
        }
    }
}

/// The definition.
///
/// # Errors
/// [`BuildError::Bounds`] where the timing leaves a step no time or no attempt.
pub fn definition(timing: &Timing) -> Result<Definition, BuildError> {
    Definition::builder::<Input>(NAME, 1)
        .deadline(timing.deadline())
        .starts(starts)
        .step(timing.of(compensatable(
            "accept-return",
            accept_return,
            withdraw_return,
        )))
        .step(
            timing.of(pivot("refund-payment", refund_payment)
                .irreversible()
                .settled_by(settle_refund)),
        )
        .step(timing.of(retriable("restock", restock).fans_out().irreversible()))
        .step(timing.of(retriable("close-return", close_return).irreversible()))
        .when_undone(timing.of(closing("reject-return", reject_return)))
        .build()
}

fn starts(event: &RecordedEvent) -> Result<Option<(Input, Uuid)>, typed::Error> {
    if &*event.event.event_type != "order.return-requested.v1" {
        return Ok(None);
    }
    let event = event.decode::<order::Event>()?;
    Ok(match &*event {
        order::Event::ReturnRequested(requested) => {
            Some((Input::from(requested), requested.order_id.0))
        }
        _ => None,
    })
}

type Commands = Result<Vec<Outgoing>, typed::Error>;

fn to_order(input: &Input, command: &order::Command) -> Commands {
    let target = StreamName::new("order", input.order_id);
    Ok(vec![Outgoing::new(target, command)?])
}

// accept-return: the order's word that these pieces go back, and that it is not revoked besides.

fn accept_return(input: &Input, _: &Ids) -> Commands {
    let return_id = input.return_id;
    to_order(
        input,
        &order::Command::AcceptReturn(order::AcceptReturn { return_id }),
    )
}

fn withdraw_return(input: &Input, _: &Ids) -> Commands {
    let return_id = input.return_id;
    to_order(
        input,
        &order::Command::WithdrawReturn(order::WithdrawReturn { return_id }),
    )
}

// refund-payment: the point of no return. One refund a return, known by the return's id, so a
// repeated attempt finds its own.

fn refund_payment(input: &Input, _: &Ids) -> Commands {
    let target = StreamName::new("payment", input.payment_id);
    let command = payment::Command::Refund(payment::Refund {
        refund: RefundId(input.return_id.0),
        amount: Some(input.refund),
    });
    Ok(vec![Outgoing::new(target, &command)?])
}

fn settle_refund(input: &Input, _: &Ids, said: &Settlement) -> Commands {
    let target = StreamName::new("payment", input.payment_id);
    let refund = payment::Operation::Refund(RefundId(input.return_id.0));
    Ok(vec![Outgoing::new(target, &settle(refund, said))?])
}

// restock: each line under its own key, which no hold has: holds are of the saga that sold them.
// What never went out does not come back.

fn restock(input: &Input, ids: &Ids) -> Commands {
    (0_u32..)
        .zip(&input.lines)
        .filter(|(_, line)| !line.undelivered)
        .map(|(number, line)| {
            let target = StreamName::new("stock", &line.sku);
            let command = stock::Command::Restock(stock::Restock {
                hold: HoldId {
                    saga: ids.saga,
                    line: number,
                },
                sku: line.sku.clone(),
                quantity: line.quantity,
            });
            Ok(Outgoing::new(target, &command)?.item(number))
        })
        .collect()
}

fn close_return(input: &Input, _: &Ids) -> Commands {
    let return_id = input.return_id;
    to_order(
        input,
        &order::Command::CloseReturn(order::CloseReturn { return_id }),
    )
}

// reject-return: the client hears why, and the pieces can be returned again.

fn reject_return(input: &Input, _: &Ids, reason: &Reason) -> Commands {
    to_order(
        input,
        &order::Command::RejectReturn(order::RejectReturn {
            return_id: input.return_id,
            reason: order::Reason {
                code: reason.code.clone(),
                detail: reason.detail.clone(),
            },
        }),
    )
}

#[cfg(test)]
mod tests {
    use recourse_domain::Currency;
    use recourse_saga::{Answer, Status, StepStatus, StepView};

    use super::*;
    use crate::talk::{Talk, recorded, refused, sent};

    const ORDER: OrderId = OrderId(Uuid::from_u128(1));
    const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(2));
    const RETURN: ReturnId = ReturnId(Uuid::from_u128(3));

    fn requested() -> order::ReturnRequested {
        let line = |sku, quantity| order::ReturnLine {
            sku: Sku::parse(sku).unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
        };
        order::ReturnRequested {
            return_id: RETURN,
            order_id: ORDER,
            payment_id: PAYMENT,
            lines: vec![line("tea-1", 2), line("cup-7", 1)],
            undelivered: vec![],
            refund: Money {
                amount_minor: 300,
                currency: Currency::parse("EUR").unwrap(),
            },
            reason: "too bitter".to_owned(),
        }
    }

    fn started() -> Talk {
        of(requested())
    }

    fn of(requested: order::ReturnRequested) -> Talk {
        let definition = definition(&Timing::default()).unwrap();
        let event = recorded(ORDER, order::Event::ReturnRequested(requested));
        Talk::started(definition, &event)
    }

    #[test]
    fn a_return_is_accepted_refunded_restocked_and_closed() {
        let (order, payment) = (format!("order-{ORDER}"), format!("payment-{PAYMENT}"));
        let mut talk = started();
        assert_eq!(talk.commands(), sent("order.accept-return", &[&order]));
        let done = Answer::Done;
        assert_eq!(talk.all(&done), sent("payment.refund", &[&payment]));
        let refund: payment::Refund = talk.sent[0].command.data.read().unwrap();
        assert_eq!(refund.refund, RefundId(RETURN.0));
        assert_eq!(refund.amount, Some(requested().refund));
        let stocks = ["stock-tea-1", "stock-cup-7"];
        assert_eq!(talk.all(&done), sent("stock.restock", &stocks));
        let restock: stock::Restock = talk.sent[0].command.data.read().unwrap();
        assert_eq!((restock.hold.line, restock.quantity.get()), (0, 2));
        assert_eq!(talk.all(&done), sent("order.close-return", &[&order]));
        assert_eq!(talk.all(&done), []);
        assert_eq!(talk.state.status(), Status::Completed);
    }

    #[test]
    fn what_never_went_out_is_refunded_and_not_restocked() {
        let mut requested = requested();
        requested.undelivered = vec![Sku::parse("tea-1").unwrap()];
        let mut talk = of(requested.clone());
        talk.all(&Answer::Done);
        assert_eq!(
            talk.all(&Answer::Done),
            sent("stock.restock", &["stock-cup-7"])
        );
        let restock: stock::Restock = talk.sent[0].command.data.read().unwrap();
        assert_eq!((restock.hold.line, restock.quantity.get()), (1, 1));

        requested.undelivered.push(Sku::parse("cup-7").unwrap());
        let mut talk = of(requested);
        talk.all(&Answer::Done);
        let order = format!("order-{ORDER}");
        assert_eq!(
            talk.all(&Answer::Done),
            sent("order.close-return", &[&order])
        );
        let remaining = talk.state.remaining();
        assert_eq!(remaining.len(), 1, "{remaining:?}");
        talk.all(&Answer::Done);
        assert_eq!(talk.state.status(), Status::Completed);
        let done = |step: &StepView| step.status == StepStatus::Done;
        assert!(talk.state.steps().iter().all(done));
    }

    #[test]
    fn a_refund_refused_for_good_undoes_the_acceptance_and_rejects_the_return_with_the_reason() {
        let order = format!("order-{ORDER}");
        let mut talk = started();
        talk.all(&Answer::Done);
        let refused = refused("refund-refused");
        assert_eq!(talk.all(&refused), sent("order.withdraw-return", &[&order]));
        assert_eq!(
            talk.all(&Answer::Done),
            sent("order.reject-return", &[&order])
        );
        let reject: order::RejectReturn = talk.sent[0].command.data.read().unwrap();
        assert_eq!(reject.reason.code, "refund-refused");
        talk.all(&Answer::Done);
        assert_eq!(talk.state.status(), Status::Compensated);
    }

    #[test]
    fn what_is_not_accepted_is_rejected_without_an_acceptance_to_withdraw() {
        let order = format!("order-{ORDER}");
        let mut talk = started();
        let refused = refused("return-rejected");
        assert_eq!(talk.all(&refused), sent("order.reject-return", &[&order]));
        talk.all(&Answer::Done);
        assert_eq!(talk.state.status(), Status::Compensated);
    }
}
