use recourse_domain::{
    CardToken, Money, OrderId, RefundId,
    payment::{
        Applied, AuthorizationRequested, Authorize, Capture, Command, Declined, Event, Joined,
        Operation,
        Operation::{Authorize as A, Capture as C, Void as V},
        Outcome, ProviderCall, RecordOutcome, Refund, RefundRefused, RefundRequested, Refunded,
        RepeatAnswered, Requested, Settle, State, Status, Unknown, Void, decide,
    },
};
use uuid::Uuid;

use crate::given::{Given, ORDER, PAYMENT, Payment, eur, given, given_nothing, usd};

fn total() -> Money {
    eur(3_998)
}

fn authorize() -> Authorize {
    Authorize {
        payment_id: PAYMENT,
        order_id: ORDER,
        amount: total(),
        token: CardToken::new("tok_visa"),
    }
}

fn ask_authorize() -> Command {
    Command::Authorize(authorize())
}

fn ask_capture() -> Command {
    Command::Capture(Capture {})
}

fn ask_void() -> Command {
    Command::Void(Void {})
}

/// The refunds of these tests, each of [`PART`] where nothing else is said.
const R: Operation = Operation::Refund(RefundId(Uuid::from_u128(7)));
const S: Operation = Operation::Refund(RefundId(Uuid::from_u128(8)));
const PART: i64 = 1_500;

fn id_of(refund: Operation) -> RefundId {
    match refund {
        Operation::Refund(id) => id,
        other => unreachable!("{other} is no refund"),
    }
}

fn ask_refund(refund: Operation, amount: i64) -> Command {
    Command::Refund(Refund {
        refund: id_of(refund),
        amount: Some(eur(amount)),
    })
}

fn ask_rest(refund: Operation) -> Command {
    Command::Refund(Refund {
        refund: id_of(refund),
        amount: None,
    })
}

fn refund_requested(refund: Operation, amount: i64, ordinal: u32) -> Event {
    Event::RefundRequested(RefundRequested {
        refund: id_of(refund),
        amount: eur(amount),
        key: key(refund, ordinal),
        ordinal,
    })
}

fn refunded(refund: Operation, amount: i64) -> Event {
    Event::Refunded(Refunded {
        refund: id_of(refund),
        amount: eur(amount),
        reference: "ref-refund".into(),
    })
}

fn nothing_to_refund(refund: Operation) -> Event {
    Event::RefundRefused(RefundRefused {
        refund: id_of(refund),
        declined: Declined {
            code: "nothing-to-undo".into(),
            detail: "no money is taken that could be given back".into(),
            is_final: true,
        },
    })
}

fn captured_and(events: impl IntoIterator<Item = Event>) -> Given<Payment> {
    authorized_and([requested(C, 0), applied(C)].into_iter().chain(events))
}

fn key(operation: Operation, ordinal: u32) -> Uuid {
    PAYMENT.key(operation, ordinal)
}

fn authorization_requested(ordinal: u32) -> Event {
    Event::AuthorizationRequested(AuthorizationRequested {
        payment_id: PAYMENT,
        order_id: ORDER,
        amount: total(),
        token: CardToken::new("tok_visa"),
        key: key(Operation::Authorize, ordinal),
        ordinal,
    })
}

fn requested(operation: Operation, ordinal: u32) -> Event {
    let requested = Requested {
        key: key(operation, ordinal),
        ordinal,
    };
    match operation {
        Operation::Authorize => authorization_requested(ordinal),
        Operation::Capture => Event::CaptureRequested(requested),
        Operation::Void => Event::VoidRequested(requested),
        Operation::Refund(_) => refund_requested(operation, PART, ordinal),
    }
}

fn applied(operation: Operation) -> Event {
    applied_as(operation, format!("ref-{}", operation.as_str()))
}

fn applied_as(operation: Operation, reference: String) -> Event {
    let applied = Applied {
        amount: total(),
        reference,
    };
    match operation {
        Operation::Authorize => Event::Authorized(applied),
        Operation::Capture => Event::Captured(applied),
        Operation::Void => Event::Voided(applied),
        Operation::Refund(refund) => Event::Refunded(Refunded {
            refund,
            amount: eur(PART),
            reference: applied.reference,
        }),
    }
}

fn refused(operation: Operation, is_final: bool) -> Event {
    let declined = Declined {
        code: "payment-declined".into(),
        detail: "the bank said no".into(),
        is_final,
    };
    match operation {
        Operation::Authorize => Event::Declined(declined),
        Operation::Capture => Event::CaptureRefused(declined),
        Operation::Void => Event::VoidRefused(declined),
        Operation::Refund(refund) => Event::RefundRefused(RefundRefused { refund, declined }),
    }
}

fn unknown(operation: Operation) -> Event {
    Event::Unknown(Unknown {
        operation,
        detail: "no answer".into(),
        given_up: false,
    })
}

fn joined(operation: Operation) -> Event {
    Event::Joined(Joined { operation })
}

fn repeat(operation: Operation) -> Event {
    Event::RepeatAnswered(RepeatAnswered { operation })
}

fn record(operation: Operation, ordinal: u32, outcome: Outcome) -> Command {
    Command::RecordOutcome(RecordOutcome {
        operation,
        key: key(operation, ordinal),
        outcome,
    })
}

fn it_applied(operation: Operation) -> Outcome {
    Outcome::Applied {
        reference: format!("ref-{}", operation.as_str()),
    }
}

fn it_refused(is_final: bool) -> Outcome {
    Outcome::Refused {
        code: "payment-declined".into(),
        detail: "the bank said no".into(),
        is_final,
    }
}

fn no_answer() -> Outcome {
    Outcome::Unknown {
        detail: "no answer".into(),
    }
}

fn nothing_to_undo() -> Event {
    Event::VoidRefused(Declined {
        code: "nothing-to-undo".into(),
        detail: "no money is reserved".into(),
        is_final: true,
    })
}

fn opened() -> Given<Payment> {
    given([authorization_requested(0)])
}

fn authorized_and(events: impl IntoIterator<Item = Event>) -> Given<Payment> {
    given(
        [authorization_requested(0), applied(A)]
            .into_iter()
            .chain(events),
    )
}

fn due(state: &State) -> Vec<(Operation, Uuid)> {
    state
        .calls()
        .map(|call| (call.operation, call.key))
        .collect()
}

#[test]
fn an_authorization_is_an_intent_before_the_provider_is_called() {
    let state = given_nothing::<Payment>()
        .when(ask_authorize())
        .then([authorization_requested(0)]);
    assert_eq!(state.status(), Some(Status::Requested));
    assert_eq!(
        state.calls().collect::<Vec<_>>(),
        [ProviderCall {
            operation: A,
            key: key(A, 0),
            payment_id: PAYMENT,
            order_id: ORDER,
            amount: total(),
            token: CardToken::new("tok_visa"),
            authorization: None,
            capture: None,
            is_unknown: false,
        }]
    );
}

#[test]
fn a_key_is_of_one_payment_one_operation_and_one_ordinal() {
    let keys = [
        key(A, 0),
        key(A, 1),
        key(C, 0),
        key(V, 0),
        key(R, 0),
        key(R, 1),
        key(S, 0),
    ];
    for (index, one) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(one));
        assert_eq!(one.get_version_num(), 5);
    }
    assert_eq!(key(A, 0), Uuid::new_v5(&PAYMENT.0, b"authorize/0"));
    let refund = format!("refund/{}/0", id_of(R));
    assert_eq!(key(R, 0), Uuid::new_v5(&PAYMENT.0, refund.as_bytes()));
}

#[test]
fn a_further_authorization_joins_the_open_one() {
    opened().when(ask_authorize()).then_unchanged(joined(A));
    given::<Payment>([authorization_requested(0), unknown(A)])
        .when(ask_authorize())
        .then_unchanged(joined(A));
}

#[test]
fn a_repeated_authorization_is_done() {
    authorized_and([])
        .when(ask_authorize())
        .then_unchanged(repeat(A));
    authorized_and([requested(C, 0), applied(C)])
        .when(ask_authorize())
        .then_unchanged(repeat(A));
}

#[test]
fn after_a_decline_that_may_pass_the_next_attempt_asks_under_a_new_key() {
    let state = given::<Payment>([authorization_requested(0), refused(A, false)])
        .when(ask_authorize())
        .then([authorization_requested(1)]);
    assert_eq!(due(&state), [(A, key(A, 1))]);
}

#[test]
fn after_a_final_decline_the_next_attempt_is_refused_as_the_first() {
    let told = given::<Payment>([authorization_requested(0), refused(A, true)])
        .when(ask_authorize())
        .then_refused("payment-declined");
    assert_eq!(told, "the bank said no");
}

#[test]
fn a_payment_is_of_one_order_and_one_amount() {
    for other in [
        Authorize {
            amount: eur(1),
            ..authorize()
        },
        Authorize {
            order_id: OrderId(Uuid::from_u128(99)),
            ..authorize()
        },
    ] {
        opened()
            .when(Command::Authorize(other))
            .then_refused("payment-differs");
    }
}

#[test]
fn a_payment_is_of_something() {
    for amount in [0, -1] {
        given_nothing::<Payment>()
            .when(Command::Authorize(Authorize {
                amount: eur(amount),
                ..authorize()
            }))
            .then_refused("nothing-to-pay");
    }
}

#[test]
fn what_is_voided_or_about_to_be_is_not_authorized() {
    given::<Payment>([authorization_requested(0), requested(V, 0)])
        .when(ask_authorize())
        .then_refused("payment-voided");
    authorized_and([requested(V, 0), applied(V)])
        .when(ask_authorize())
        .then_refused("payment-voided");
}

#[test]
fn the_provider_authorizes() {
    let state = opened()
        .when(record(A, 0, it_applied(A)))
        .then([applied(A)]);
    assert_eq!(state.status(), Some(Status::Authorized));
    assert!(state.holds_money() && !state.has_open_intent());
}

#[test]
fn the_provider_declines() {
    let state = opened()
        .when(record(A, 0, it_refused(true)))
        .then([refused(A, true)]);
    assert_eq!(state.status(), Some(Status::Declined));
    assert!(!state.holds_money() && !state.has_open_intent());
}

#[test]
fn an_unknown_outcome_is_recorded_once_and_asked_again_under_the_same_key() {
    let state = opened().when(record(A, 0, no_answer())).then([unknown(A)]);
    assert_eq!(state.status(), Some(Status::Unknown));
    assert_eq!(due(&state), [(A, key(A, 0))]);
    assert!(state.calls().all(|call| call.is_unknown));
    given::<Payment>([authorization_requested(0), unknown(A)])
        .when(record(A, 0, no_answer()))
        .then_nothing();
}

#[test]
fn an_unknown_is_settled_by_an_answer() {
    let history = || given::<Payment>([authorization_requested(0), unknown(A)]);
    history()
        .when(record(A, 0, it_applied(A)))
        .then([applied(A)]);
    history()
        .when(record(A, 0, it_refused(false)))
        .then([refused(A, false)]);
}

#[test]
fn a_second_unknown_intent_is_recorded_as_unknown_too() {
    given::<Payment>([
        authorization_requested(0),
        unknown(A),
        refused(A, false),
        authorization_requested(1),
    ])
    .when(record(A, 1, no_answer()))
    .then([unknown(A)]);
}

#[test]
fn a_late_answer_changes_nothing() {
    for outcome in [it_applied(A), it_refused(true), no_answer()] {
        authorized_and([])
            .when(record(A, 0, outcome.clone()))
            .then_nothing();
        given::<Payment>([
            authorization_requested(0),
            refused(A, false),
            authorization_requested(1),
        ])
        .when(record(A, 0, outcome.clone()))
        .then_nothing();
        given_nothing::<Payment>()
            .when(record(C, 0, outcome))
            .then_nothing();
    }
}

#[test]
fn an_answer_under_the_key_of_another_operation_changes_nothing() {
    opened()
        .when(Command::RecordOutcome(RecordOutcome {
            operation: C,
            key: key(A, 0),
            outcome: it_applied(C),
        }))
        .then_nothing();
}

#[test]
fn what_is_authorized_is_captured() {
    let state = authorized_and([])
        .when(ask_capture())
        .then([requested(C, 0)]);
    assert_eq!(due(&state), [(C, key(C, 0))]);
    assert!(
        state
            .calls()
            .all(|call| call.authorization.as_deref() == Some("ref-authorize"))
    );
    let state = authorized_and([requested(C, 0)])
        .when(record(C, 0, it_applied(C)))
        .then([applied(C)]);
    assert_eq!(state.status(), Some(Status::Captured));
    assert!(!state.holds_money());
}

#[test]
fn a_further_capture_joins_the_open_one_and_is_done_after_it() {
    authorized_and([requested(C, 0)])
        .when(ask_capture())
        .then_unchanged(joined(C));
    authorized_and([requested(C, 0), applied(C)])
        .when(ask_capture())
        .then_unchanged(repeat(C));
}

#[test]
fn what_is_not_authorized_is_not_captured() {
    given_nothing::<Payment>()
        .when(ask_capture())
        .then_refused("payment-not-authorized");
    opened()
        .when(ask_capture())
        .then_refused("payment-not-authorized");
    given::<Payment>([authorization_requested(0), refused(A, true)])
        .when(ask_capture())
        .then_refused("payment-not-authorized");
}

#[test]
fn what_is_voided_or_about_to_be_is_not_captured() {
    authorized_and([requested(V, 0)])
        .when(ask_capture())
        .then_refused("payment-voided");
    authorized_and([requested(V, 0), applied(V)])
        .when(ask_capture())
        .then_refused("payment-voided");
    given::<Payment>([authorization_requested(0), requested(V, 0)])
        .when(ask_capture())
        .then_refused("payment-voided");
}

#[test]
fn a_capture_refused_for_good_stays_refused() {
    let state = authorized_and([requested(C, 0)])
        .when(record(C, 0, it_refused(true)))
        .then([refused(C, true)]);
    assert_eq!(state.status(), Some(Status::Authorized));
    authorized_and([requested(C, 0), refused(C, true)])
        .when(ask_capture())
        .then_refused("payment-declined");
}

#[test]
fn a_capture_refused_for_now_is_asked_again_under_a_new_key() {
    authorized_and([requested(C, 0), refused(C, false)])
        .when(ask_capture())
        .then([requested(C, 1)]);
}

#[test]
fn what_is_authorized_is_voided() {
    let state = authorized_and([]).when(ask_void()).then([requested(V, 0)]);
    assert_eq!(due(&state), [(V, key(V, 0))]);
    let state = authorized_and([requested(V, 0)])
        .when(record(V, 0, it_applied(V)))
        .then([applied(V)]);
    assert_eq!(state.status(), Some(Status::Voided));
    assert!(!state.holds_money());
}

#[test]
fn a_further_void_joins_the_open_one_and_is_done_after_it() {
    authorized_and([requested(V, 0)])
        .when(ask_void())
        .then_unchanged(joined(V));
    authorized_and([requested(V, 0), applied(V)])
        .when(ask_void())
        .then_unchanged(repeat(V));
}

#[test]
fn what_never_was_authorized_leaves_nothing_to_void() {
    given_nothing::<Payment>()
        .when(ask_void())
        .then_refused("nothing-to-undo");
    given::<Payment>([authorization_requested(0), refused(A, false)])
        .when(ask_void())
        .then_refused("nothing-to-undo");
}

#[test]
fn what_is_captured_or_about_to_be_is_not_voided() {
    authorized_and([requested(C, 0)])
        .when(ask_void())
        .then_refused("payment-captured");
    authorized_and([requested(C, 0), applied(C)])
        .when(ask_void())
        .then_refused("payment-captured");
}

#[test]
fn what_could_not_be_captured_is_voided() {
    authorized_and([requested(C, 0), refused(C, true)])
        .when(ask_void())
        .then([requested(V, 0)]);
}

#[test]
fn a_void_waits_for_the_outcome_of_the_authorization() {
    let state = given::<Payment>([authorization_requested(0), unknown(A)])
        .when(ask_void())
        .then([requested(V, 0)]);
    assert_eq!(due(&state), [(A, key(A, 0))]);
    assert_eq!(state.status(), Some(Status::Unknown));
}

#[test]
fn a_waiting_void_is_called_once_the_authorization_is_known_to_have_taken_effect() {
    let state = given::<Payment>([authorization_requested(0), requested(V, 0)])
        .when(record(A, 0, it_applied(A)))
        .then([applied(A)]);
    assert_eq!(due(&state), [(V, key(V, 0))]);
}

#[test]
fn a_waiting_void_ends_with_the_authorization_that_was_declined() {
    let state = given::<Payment>([authorization_requested(0), requested(V, 0)])
        .when(record(A, 0, it_refused(false)))
        .then([refused(A, false), nothing_to_undo()]);
    assert!(!state.has_open_intent());
    assert_eq!(state.status(), Some(Status::Declined));
}

#[test]
fn an_answer_to_a_void_that_was_not_yet_asked_changes_nothing() {
    given::<Payment>([authorization_requested(0), requested(V, 0)])
        .when(record(V, 0, it_applied(V)))
        .then_nothing();
}

#[test]
fn a_void_that_ended_with_an_earlier_authorization_says_nothing_of_the_next() {
    given::<Payment>([
        authorization_requested(0),
        requested(V, 0),
        refused(A, false),
        nothing_to_undo(),
        authorization_requested(1),
        applied(A),
    ])
    .when(ask_void())
    .then([requested(V, 1)]);
}

#[test]
fn a_void_refused_for_now_is_asked_again_and_one_refused_for_good_is_not() {
    authorized_and([requested(V, 0), refused(V, false)])
        .when(ask_void())
        .then([requested(V, 1)]);
    authorized_and([requested(V, 0), refused(V, true)])
        .when(ask_void())
        .then_refused("payment-declined");
}

#[test]
fn some_of_what_is_captured_is_refunded_and_then_the_rest() {
    let state = captured_and([])
        .when(ask_refund(R, PART))
        .then([refund_requested(R, PART, 0)]);
    assert_eq!(due(&state), [(R, key(R, 0))]);
    let call = state.calls().next().unwrap();
    assert_eq!(call.amount, eur(PART));
    assert_eq!(call.capture.as_deref(), Some("ref-capture"));
    let state = captured_and([refund_requested(R, PART, 0)])
        .when(record(R, 0, it_applied(R)))
        .then([refunded(R, PART)]);
    assert_eq!(state.status(), Some(Status::PartiallyRefunded));
    assert_eq!(state.refunded(), Some(eur(PART)));
    assert!(!state.has_open_intent());
    let state = captured_and([refund_requested(R, PART, 0), refunded(R, PART)])
        .when(ask_rest(S))
        .then([refund_requested(S, 3_998 - PART, 0)]);
    let state = Given::<Payment>(state)
        .when(record(S, 0, it_applied(S)))
        .then([refunded(S, 3_998 - PART)]);
    assert_eq!(state.status(), Some(Status::Refunded));
    assert_eq!(state.refundable(), Some(eur(0)));
}

#[test]
fn two_refunds_are_under_way_at_once_and_each_has_its_own_outcome() {
    let history = [refund_requested(R, PART, 0), refund_requested(S, PART, 0)];
    let state = captured_and(history.clone()).0;
    assert_eq!(due(&state), [(R, key(R, 0)), (S, key(S, 0))]);
    let state = captured_and(history)
        .when(record(S, 0, it_applied(S)))
        .then([refunded(S, PART)]);
    assert_eq!(due(&state), [(R, key(R, 0))]);
    assert_ne!(R.name(), S.name());
}

#[test]
fn refunds_are_never_more_than_what_is_captured_open_ones_counted() {
    let told = captured_and([refund_requested(R, 3_000, 0)])
        .when(ask_refund(S, 999))
        .then_refused("refund-too-large");
    assert_eq!(told, "998 EUR can be refunded and 999 EUR are wanted");
    captured_and([refund_requested(R, 3_000, 0)])
        .when(ask_refund(S, 998))
        .then([refund_requested(S, 998, 0)]);
    captured_and([refund_requested(R, 3_000, 0), refused(R, true)])
        .when(ask_refund(S, 3_998))
        .then([refund_requested(S, 3_998, 0)]);
}

#[test]
fn a_refund_too_large_may_fit_once_an_open_one_is_refused() {
    let refusal = |events: Vec<Event>| {
        let state = captured_and(events).0;
        decide(&state, &ask_refund(S, 3_998)).unwrap_err()
    };
    assert!(!refusal(vec![refund_requested(R, PART, 0)]).is_final());
    assert!(refusal(vec![refund_requested(R, PART, 0), refunded(R, PART)]).is_final());
}

#[test]
fn a_refund_is_of_something_in_the_currency_of_its_payment() {
    for amount in [0, -1] {
        captured_and([])
            .when(ask_refund(R, amount))
            .then_refused("nothing-to-pay");
    }
    captured_and([])
        .when(Command::Refund(Refund {
            refund: id_of(R),
            amount: Some(usd(1)),
        }))
        .then_refused("payment-differs");
}

#[test]
fn a_further_refund_of_the_same_id_joins_the_open_one_and_is_done_after_it() {
    for ask in [ask_refund(R, PART), ask_rest(R)] {
        captured_and([refund_requested(R, PART, 0)])
            .when(ask.clone())
            .then_unchanged(joined(R));
        captured_and([refund_requested(R, PART, 0), refunded(R, PART)])
            .when(ask)
            .then_unchanged(repeat(R));
    }
    captured_and([refund_requested(R, PART, 0)])
        .when(ask_refund(R, PART + 1))
        .then_refused("refund-differs");
}

#[test]
fn a_refund_refused_for_now_is_asked_again_under_a_new_key_and_one_refused_for_good_is_not() {
    captured_and([refund_requested(R, PART, 0), refused(R, false)])
        .when(ask_refund(R, PART))
        .then([refund_requested(R, PART, 1)]);
    let state = captured_and([refund_requested(R, PART, 0)])
        .when(record(R, 0, it_refused(true)))
        .then([refused(R, true)]);
    assert_eq!(state.status(), Some(Status::Captured));
    captured_and([refund_requested(R, PART, 0), refused(R, true)])
        .when(ask_refund(R, PART))
        .then_refused("payment-declined");
}

#[test]
fn an_unknown_refund_is_asked_again_under_its_key() {
    let state = captured_and([refund_requested(R, PART, 0)])
        .when(record(R, 0, no_answer()))
        .then([unknown(R)]);
    assert_eq!(state.status(), Some(Status::Unknown));
    assert_eq!(due(&state), [(R, key(R, 0))]);
    captured_and([refund_requested(R, PART, 0), unknown(R)])
        .when(record(R, 0, no_answer()))
        .then_nothing();
}

#[test]
fn what_is_not_captured_is_not_refunded() {
    for given in [
        given_nothing::<Payment>,
        opened,
        || authorized_and([]),
        || authorized_and([requested(C, 0), refused(C, true)]),
        || authorized_and([requested(V, 0), applied(V)]),
    ] {
        given()
            .when(ask_refund(R, PART))
            .then_refused("payment-not-captured");
        given().when(ask_rest(R)).then_refused("nothing-to-undo");
    }
    captured_and([refund_requested(R, 3_998, 0), refunded(R, 3_998)])
        .when(ask_rest(S))
        .then_refused("nothing-to-undo");
}

#[test]
fn what_the_rest_is_waits_for_a_refund_that_is_under_way() {
    captured_and([refund_requested(R, PART, 0)])
        .when(ask_rest(S))
        .then_refused("refund-open");
}

#[test]
fn a_refund_waits_for_the_outcome_of_the_capture() {
    let history = || authorized_and([requested(C, 0), unknown(C)]);
    let state = history()
        .when(ask_rest(R))
        .then([refund_requested(R, 3_998, 0)]);
    assert_eq!(due(&state), [(C, key(C, 0))]);
    let waiting = || authorized_and([requested(C, 0), unknown(C), refund_requested(R, 3_998, 0)]);
    let state = waiting()
        .when(record(C, 0, it_applied(C)))
        .then([applied(C)]);
    assert_eq!(due(&state), [(R, key(R, 0))]);
    let state = waiting()
        .when(record(C, 0, it_refused(true)))
        .then([refused(C, true), nothing_to_refund(R)]);
    assert!(!state.has_open_intent() && state.holds_money());
    Given::<Payment>(state)
        .when(ask_void())
        .then([requested(V, 0)]);
}

#[test]
fn a_refund_that_ended_with_an_earlier_capture_says_nothing_of_the_next() {
    authorized_and([
        requested(C, 0),
        refund_requested(R, 3_998, 0),
        refused(C, false),
        nothing_to_refund(R),
        requested(C, 1),
        applied(C),
    ])
    .when(ask_rest(R))
    .then([refund_requested(R, 3_998, 1)]);
}

#[test]
fn what_is_captured_and_given_back_leaves_nothing_to_void() {
    captured_and([refund_requested(R, PART, 0), refunded(R, PART)])
        .when(ask_void())
        .then_refused("payment-captured");
    captured_and([refund_requested(R, 3_998, 0), refunded(R, 3_998)])
        .when(ask_void())
        .then_refused("nothing-to-undo");
}

#[test]
fn every_event_says_what_it_is_to_its_command() {
    for operation in [A, C, V] {
        assert_eq!(serde_json::to_value(operation).unwrap(), operation.as_str());
    }
    for operation in [A, C, V, R] {
        assert_eq!(requested(operation, 0).intent(), Some(operation));
        assert_eq!(joined(operation).intent(), Some(operation));
        assert_eq!(applied(operation).outcome(), Some((operation, None)));
        let event = refused(operation, true);
        let (of, declined) = event.outcome().unwrap();
        assert_eq!((of, declined.unwrap().is_final), (operation, true));
        assert_eq!(requested(operation, 0).outcome(), None);
        assert_eq!(applied(operation).intent(), None);
        let progress = unknown(operation);
        assert!(progress.is_progress() && progress.outcome().is_none());
        let answer = repeat(operation);
        assert!(answer.intent().is_none() && answer.outcome().is_none() && !answer.is_progress());
    }
}

#[test]
fn a_payment_does_not_show_its_card() {
    assert!(!format!("{:?}", opened().0).contains("tok_visa"));
}

fn given_up(operation: Operation) -> Event {
    Event::Unknown(Unknown {
        operation,
        detail: "its key is too old".into(),
        given_up: true,
    })
}

fn settle(operation: Operation, took_effect: bool) -> Command {
    Command::Settle(Settle {
        operation,
        took_effect,
        reference: Some(format!("ref-{}", operation.as_str())).filter(|_| took_effect),
        reason: "the bank said no".into(),
    })
}

/// Up to the intent of an operation.
fn asked(operation: Operation) -> Vec<Event> {
    let mut events = vec![authorization_requested(0)];
    if operation != A {
        events.push(applied(A));
    }
    if operation == R {
        events.extend([requested(C, 0), applied(C)]);
    }
    if operation != A {
        events.push(requested(operation, 0));
    }
    events
}

fn asked_and(operation: Operation, event: Event) -> Given<Payment> {
    given(asked(operation).into_iter().chain([event]))
}

#[test]
fn what_the_provider_is_asked_about_no_more_is_not_asked_and_not_forgotten() {
    let outcome = Outcome::GivenUp {
        detail: "its key is too old".into(),
    };
    for operation in [A, C, V, R] {
        for before in [None, Some(unknown(operation))] {
            let state = given::<Payment>(asked(operation).into_iter().chain(before))
                .when(record(operation, 0, outcome.clone()))
                .then([given_up(operation)]);
            assert_eq!(due(&state), []);
            let expected = [(operation, key(operation, 0))];
            assert_eq!(state.given_up().collect::<Vec<_>>(), expected);
            assert_eq!(state.status(), Some(Status::Unknown));
            // What comes after all is of no call that is due.
            asked_and(operation, given_up(operation))
                .when(record(operation, 0, it_applied(operation)))
                .then_nothing();
        }
    }
}

#[test]
fn what_the_provider_is_asked_about_no_more_an_operator_settles() {
    for operation in [A, C, V, R] {
        let its = || asked_and(operation, given_up(operation));
        let state = its()
            .when(settle(operation, true))
            .then([applied(operation)]);
        assert_eq!(state.given_up().next(), None);
        let Command::Settle(mut nameless) = settle(operation, true) else {
            unreachable!("a settlement");
        };
        nameless.reference = None;
        its()
            .when(Command::Settle(nameless))
            .then([applied_as(operation, key(operation, 0).to_string())]);

        let state = its()
            .when(settle(operation, false))
            .then([settled_as_refused(operation)]);
        assert_eq!((due(&state), state.given_up().next()), (vec![], None));
    }
}

fn settled_as_refused(operation: Operation) -> Event {
    let mut event = refused(operation, true);
    let (Event::Declined(declined)
    | Event::CaptureRefused(declined)
    | Event::VoidRefused(declined)
    | Event::RefundRefused(RefundRefused { declined, .. })) = &mut event
    else {
        unreachable!("a refusal");
    };
    declined.code = "settled-by-operator".into();
    event
}

#[test]
fn what_waited_for_an_outcome_goes_on_once_an_operator_settles_it() {
    let voiding = || {
        let events = [authorization_requested(0), requested(V, 0), given_up(A)];
        given::<Payment>(events)
    };
    let state = voiding().when(settle(A, true)).then([applied(A)]);
    assert_eq!(due(&state), [(V, key(V, 0))]);
    voiding()
        .when(settle(A, false))
        .then([settled_as_refused(A), nothing_to_undo()]);
    authorized_and([requested(C, 0), requested(R, 0), given_up(C)])
        .when(settle(C, false))
        .then([settled_as_refused(C), nothing_to_refund(R)]);
}

#[test]
fn while_the_provider_is_asked_its_own_answer_counts() {
    for operation in [A, C, V, R] {
        for took_effect in [true, false] {
            given::<Payment>(asked(operation))
                .when(settle(operation, took_effect))
                .then_unchanged(joined(operation));
            asked_and(operation, unknown(operation))
                .when(settle(operation, took_effect))
                .then_unchanged(joined(operation));
            asked_and(operation, applied(operation))
                .when(settle(operation, took_effect))
                .then_unchanged(repeat(operation));
            asked_and(operation, refused(operation, true))
                .when(settle(operation, took_effect))
                .then_refused("payment-declined");
        }
    }
    authorized_and([])
        .when(settle(C, true))
        .then_refused("nothing-to-settle");
    given_nothing::<Payment>()
        .when(settle(A, true))
        .then_refused("nothing-to-settle");
}
