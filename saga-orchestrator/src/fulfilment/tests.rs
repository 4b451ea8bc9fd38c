//! What the saga says to what it hears.

use recourse_domain::{Currency, CustomerId};
use recourse_event_store::Position;
use recourse_saga::{Action, Answer, SkipResult, Status};

use super::*;
use crate::talk::{Talk, recorded, refused, sent};

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(2));

fn euros(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("EUR").unwrap(),
    }
}

fn placed() -> order::Placed {
    let line = |sku, quantity| order::Line {
        sku: Sku::parse(sku).unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: euros(100),
    };
    order::Placed {
        order_id: ORDER,
        payment_id: PAYMENT,
        customer_id: CustomerId(Uuid::from_u128(3)),
        lines: vec![line("tea-1", 2), line("cup-7", 1)],
        total: euros(300),
        payment: order::PaymentMethod::Card {
            token: CardToken::new("tok_visa"),
        },
    }
}

fn started() -> Talk {
    let definition = definition(&Timing::default()).unwrap();
    let event = recorded(ORDER, order::Event::Placed(placed()));
    Talk::started(definition, &event)
}

fn stocks() -> [&'static str; 2] {
    ["stock-tea-1", "stock-cup-7"]
}

#[test]
fn an_order_is_reserved_authorized_confirmed_captured_committed_and_completed() {
    let (order, payment) = (format!("order-{ORDER}"), format!("payment-{PAYMENT}"));
    let mut talk = started();
    assert_eq!(talk.commands(), sent("stock.reserve", &stocks()));
    let done = Answer::Done;
    assert_eq!(talk.all(&done), sent("payment.authorize", &[&payment]));
    assert_eq!(talk.all(&done), sent("order.confirm", &[&order]));
    assert_eq!(talk.all(&done), sent("payment.capture", &[&payment]));
    assert_eq!(talk.all(&done), sent("stock.commit", &stocks()));
    assert_eq!(talk.all(&done), sent("order.complete", &[&order]));
    assert_eq!(talk.all(&done), []);
    assert_eq!(talk.state.status(), Status::Completed);
}

#[test]
fn an_order_that_is_not_paid_for_is_released_and_rejected_with_the_reason() {
    let mut talk = started();
    talk.all(&Answer::Done);
    let declined = refused("payment-declined");
    assert_eq!(talk.all(&declined), sent("stock.release", &stocks()));
    let order = format!("order-{ORDER}");
    assert_eq!(talk.all(&Answer::Done), sent("order.reject", &[&order]));
    let reject: order::Reject = talk.sent[0].command.data.read().unwrap();
    assert_eq!(reject.reason.code, "payment-declined");
    talk.all(&Answer::Done);
    assert_eq!(talk.state.status(), Status::Compensated);
}

#[test]
fn a_cancelled_order_is_undone_and_not_rejected_besides() {
    let mut talk = started();
    talk.all(&Answer::Done);
    talk.hear(recourse_saga::Input::Cancelled {
        position: Position::dense(5),
    });
    let payment = format!("payment-{PAYMENT}");
    assert_eq!(talk.commands(), sent("payment.void", &[&payment]));
    assert_eq!(talk.all(&Answer::Done), sent("stock.release", &stocks()));
    assert_eq!(talk.all(&Answer::Done), []);
    assert_eq!(talk.state.status(), Status::Compensated);
}

#[test]
fn what_the_order_knows_already_counts_as_rejected() {
    let mut talk = started();
    talk.all(&refused("out-of-stock"));
    assert_eq!(talk.commands().len(), 1);
    talk.all(&refused("nothing-to-undo"));
    assert_eq!(talk.state.status(), Status::Compensated);
}

#[test]
fn a_capture_that_is_refused_for_good_leaves_all_but_the_capture_to_undo() {
    let mut talk = started();
    for _ in 0..3 {
        talk.all(&Answer::Done);
    }
    talk.all(&refused("capture-refused"));
    assert_eq!(talk.state.status(), Status::NeedsAttention);
    let plan: Vec<_> = talk
        .state
        .undo_plan()
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "confirm-order",
        "authorize-payment",
        "reserve-stock 0",
        "reserve-stock 1",
    ];
    assert_eq!(plan, expected);
}

#[test]
fn a_hold_is_named_by_saga_and_line_and_the_money_by_the_order() {
    let mut talk = started();
    let saga = talk.state.saga();
    let reserve: stock::Reserve = talk.sent[1].command.data.read().unwrap();
    assert_eq!(reserve.hold, HoldId { saga, line: 1 });
    assert_eq!((reserve.sku.as_str(), reserve.quantity.get()), ("cup-7", 1));
    talk.all(&Answer::Done);
    let authorize: payment::Authorize = talk.sent[0].command.data.read().unwrap();
    assert_eq!((authorize.order_id, authorize.amount), (ORDER, euros(300)));
}

#[test]
fn a_placed_order_starts_it_a_cancelled_one_ends_it_and_nothing_else_does_either() {
    let definition = definition(&Timing::default()).unwrap();
    let placed = recorded(ORDER, order::Event::Placed(placed()));
    let cancelled = recorded(
        ORDER,
        order::Event::Cancelled(order::Cancelled {
            reason: "no".to_owned(),
        }),
    );
    let start = definition.starts(&placed).unwrap().unwrap();
    assert_eq!(start.correlation, ORDER.0);
    assert_eq!(definition.cancels(&placed).unwrap(), None);
    assert_eq!(definition.starts(&cancelled).unwrap(), None);
    let correlation = ORDER.0;
    assert_eq!(
        definition.cancels(&cancelled).unwrap(),
        Some(Cancel { correlation })
    );
}

#[test]
fn a_timing_that_leaves_no_time_is_refused() {
    let timing = Timing {
        step_timeout_ms: 0,
        ..Timing::default()
    };
    assert!(matches!(definition(&timing), Err(BuildError::Bounds(_))));
}

#[test]
fn an_order_whose_capture_is_refused_is_revoked_voided_and_released() {
    let mut talk = started();
    for _ in 0..3 {
        talk.all(&Answer::Done);
    }
    talk.all(&refused("capture-refused"));
    talk.act(&Action::Compensate);
    let (order, payment) = (format!("order-{ORDER}"), format!("payment-{PAYMENT}"));
    assert_eq!(talk.commands(), sent("order.revoke", &[&order]));
    let revoke: order::Revoke = talk.sent[0].command.data.read().unwrap();
    assert_eq!(revoke.reason, "the bank says so");
    let done = Answer::Done;
    assert_eq!(talk.all(&done), sent("payment.void", &[&payment]));
    assert_eq!(talk.all(&done), sent("stock.release", &stocks()));
    assert_eq!(talk.all(&done), []);
    assert_eq!(talk.state.status(), Status::Compensated);
}

#[test]
fn an_order_that_is_paid_and_out_is_revoked_brought_back_and_refunded() {
    let mut talk = started();
    for _ in 0..5 {
        talk.all(&Answer::Done);
    }
    talk.act(&Action::Compensate);
    let payment = format!("payment-{PAYMENT}");
    let done = Answer::Done;
    // Its completion is answered, and so is its revocation.
    assert_eq!(talk.all(&done), sent("stock.restock", &stocks()));
    assert_eq!(talk.all(&done), sent("payment.refund", &[&payment]));
    assert_eq!(talk.all(&done), []);
    assert_eq!(talk.state.status(), Status::Compensated);
}

#[test]
fn what_an_operator_gave_up_to_deliver_is_told_to_the_order() {
    for (result, undelivered) in [
        (SkipResult::Left, vec!["tea-1"]),
        (SkipResult::Done, vec![]),
    ] {
        let mut talk = started();
        for _ in 0..4 {
            talk.all(&Answer::Done);
        }
        // The first line's goods cannot be found.
        let first = talk.state.open_commands().next().unwrap().id;
        talk.hear(recourse_saga::Input::Answer {
            command: first,
            answer: refused("no-such-hold"),
            position: Position::dense(9),
        });
        talk.all(&Answer::Done);
        let step = "commit-stock".into();
        talk.act(&Action::Skip { step, result });
        assert_eq!(talk.commands(), sent("stock.release", &["stock-tea-1"]));
        let order = format!("order-{ORDER}");
        assert_eq!(talk.all(&Answer::Done), sent("order.complete", &[&order]));
        let complete: order::Complete = talk.sent[0].command.data.read().unwrap();
        let told: Vec<&str> = complete.undelivered.iter().map(Sku::as_str).collect();
        assert_eq!(told, undelivered);
    }
}
