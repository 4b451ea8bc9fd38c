use recourse_domain::{
    CardToken, ReturnId,
    order::{
        AcceptReturn, Cancel, CloseReturn, Command, Complete, Completed, Confirm, Confirmed, Event,
        Line, MAX_LINES, MAX_RETURNS, PaymentMethod, Placed, Reason, Reject, RejectReturn,
        Rejected, RepeatAnswered, RequestReturn, ReturnClosed, ReturnLine, ReturnMoved,
        ReturnRejected, ReturnRequested, ReturnStatus, Revoke, Revoked, Status, WithdrawReturn,
        decide,
    },
};
use uuid::Uuid;

use crate::given::{
    CUSTOMER, Given, ORDER, Order, PAYMENT, eur, given, given_nothing, pieces, sku,
};

const FIRST: ReturnId = ReturnId(Uuid::from_u128(11));
const SECOND: ReturnId = ReturnId(Uuid::from_u128(12));

/// Three teas for 19.99 each, two cups for 5.00 each, a free sample.
fn placed() -> Event {
    let line = |name, quantity, price| Line {
        sku: sku(name),
        quantity: pieces(quantity),
        unit_price: eur(price),
    };
    Event::Placed(Placed {
        order_id: ORDER,
        payment_id: PAYMENT,
        customer_id: CUSTOMER,
        lines: vec![
            line("tea-1", 3, 1_999),
            line("cup-1", 2, 500),
            line("sample", 1, 0),
        ],
        total: eur(6_997),
        payment: PaymentMethod::Card {
            token: CardToken::new("tok_visa"),
        },
    })
}

fn completed_and(events: impl IntoIterator<Item = Event>) -> Given<Order> {
    given(
        [
            placed(),
            Event::Confirmed(Confirmed {}),
            Event::Completed(Completed::default()),
        ]
        .into_iter()
        .chain(events),
    )
}

fn lines(of: &[(&str, u32)]) -> Vec<ReturnLine> {
    of.iter()
        .map(|(name, quantity)| ReturnLine {
            sku: sku(name),
            quantity: pieces(*quantity),
        })
        .collect()
}

fn request(return_id: ReturnId, of: &[(&str, u32)]) -> Command {
    Command::RequestReturn(RequestReturn {
        return_id,
        lines: lines(of),
        reason: "too bitter".into(),
    })
}

fn requested(return_id: ReturnId, of: &[(&str, u32)], refund: i64) -> Event {
    Event::ReturnRequested(ReturnRequested {
        return_id,
        order_id: ORDER,
        payment_id: PAYMENT,
        lines: lines(of),
        undelivered: vec![],
        refund: eur(refund),
        reason: "too bitter".into(),
    })
}

fn accept(return_id: ReturnId) -> Command {
    Command::AcceptReturn(AcceptReturn { return_id })
}

fn accepted(return_id: ReturnId) -> Event {
    Event::ReturnAccepted(ReturnMoved { return_id })
}

fn withdraw(return_id: ReturnId) -> Command {
    Command::WithdrawReturn(WithdrawReturn { return_id })
}

fn withdrawn(return_id: ReturnId) -> Event {
    Event::ReturnWithdrawn(ReturnMoved { return_id })
}

fn why() -> Reason {
    Reason {
        code: "refund-refused".into(),
        detail: "the card is closed".into(),
    }
}

fn reject(return_id: ReturnId) -> Command {
    Command::RejectReturn(RejectReturn {
        return_id,
        reason: why(),
    })
}

fn rejected(return_id: ReturnId) -> Event {
    Event::ReturnRejected(ReturnRejected {
        return_id,
        reason: why(),
    })
}

fn close(return_id: ReturnId) -> Command {
    Command::CloseReturn(CloseReturn { return_id })
}

fn closed(return_id: ReturnId, status: Status) -> Event {
    Event::ReturnClosed(ReturnClosed { return_id, status })
}

fn revoke() -> Command {
    Command::Revoke(Revoke {
        reason: "fraud".into(),
    })
}

fn revoked() -> Event {
    Event::Revoked(Revoked {
        reason: Reason {
            code: "reversed".into(),
            detail: "fraud".into(),
        },
    })
}

fn repeat(status: Status) -> Event {
    Event::RepeatAnswered(RepeatAnswered { status })
}

#[test]
fn what_was_bought_can_go_back_at_the_price_it_had() {
    let of = [("tea-1", 2), ("cup-1", 1), ("sample", 1)];
    let state = completed_and([])
        .when(request(FIRST, &of))
        .then([requested(FIRST, &of, 4_498)]);
    assert_eq!(state.status(), Some(Status::Completed));
    let its = state.get_return(FIRST).unwrap();
    assert_eq!(its.status, ReturnStatus::Requested);
    assert_eq!(state.returned(&sku("tea-1")), 0);
}

#[test]
fn what_never_went_out_is_refunded_and_said_not_to_come_back() {
    let undelivered = vec![sku("tea-1")];
    let complete = Complete {
        undelivered: undelivered.clone(),
    };
    let completed = Event::Completed(Completed {
        undelivered: undelivered.clone(),
    });
    let confirmed = [placed(), Event::Confirmed(Confirmed {})];
    given::<Order>(confirmed.clone())
        .when(Command::Complete(complete))
        .then([completed.clone()]);
    let Event::ReturnRequested(mut expected) =
        requested(FIRST, &[("cup-1", 1), ("tea-1", 1)], 2_499)
    else {
        panic!("a request");
    };
    expected.undelivered = undelivered;
    given::<Order>(confirmed.into_iter().chain([completed]))
        .when(request(FIRST, &[("cup-1", 1), ("tea-1", 1)]))
        .then([Event::ReturnRequested(expected)]);
}

#[test]
fn a_return_that_is_closed_leaves_the_order_partially_returned_and_the_last_one_returned() {
    let some = [("tea-1", 3), ("cup-1", 1)];
    let state = completed_and([requested(FIRST, &some, 6_497), accepted(FIRST)])
        .when(close(FIRST))
        .then([closed(FIRST, Status::PartiallyReturned)]);
    assert_eq!(state.status(), Some(Status::PartiallyReturned));
    assert_eq!(state.returned(&sku("tea-1")), 3);
    let rest = [("cup-1", 1), ("sample", 1)];
    let state = Given::<Order>(state)
        .when(request(SECOND, &rest))
        .then([requested(SECOND, &rest, 500)]);
    let state = Given::<Order>(state)
        .when(accept(SECOND))
        .then([accepted(SECOND)]);
    let state = Given::<Order>(state)
        .when(close(SECOND))
        .then([closed(SECOND, Status::Returned)]);
    assert_eq!(state.status(), Some(Status::Returned));
    let told = Given::<Order>(state)
        .when(request(ReturnId(Uuid::from_u128(13)), &[("tea-1", 1)]))
        .then_refused("not-returnable");
    assert_eq!(told, "nothing of an order that is returned can be returned");
}

#[test]
fn two_returns_at_once_never_take_the_same_piece() {
    let history = || completed_and([requested(FIRST, &[("tea-1", 2)], 3_998)]);
    let told = history()
        .when(request(SECOND, &[("tea-1", 2)]))
        .then_refused("not-returnable");
    assert_eq!(told, "1 of tea-1 can be returned and 2 are wanted");
    history()
        .when(request(SECOND, &[("tea-1", 1)]))
        .then([requested(SECOND, &[("tea-1", 1)], 1_999)]);
}

#[test]
fn an_accepted_and_a_closed_return_keep_their_pieces_and_a_rejected_one_gives_them_back() {
    let all = [("tea-1", 3)];
    let asked = || requested(FIRST, &all, 5_997);
    for events in [
        vec![asked(), accepted(FIRST)],
        vec![asked(), accepted(FIRST), withdrawn(FIRST)],
        vec![
            asked(),
            accepted(FIRST),
            closed(FIRST, Status::PartiallyReturned),
        ],
    ] {
        completed_and(events)
            .when(request(SECOND, &[("tea-1", 1)]))
            .then_refused("not-returnable");
    }
    completed_and([asked(), rejected(FIRST)])
        .when(request(SECOND, &all))
        .then([requested(SECOND, &all, 5_997)]);
}

#[test]
fn more_than_was_bought_does_not_go_back() {
    let told = completed_and([])
        .when(request(FIRST, &[("cup-1", 1), ("tea-1", 4)]))
        .then_refused("not-returnable");
    assert_eq!(told, "3 of tea-1 can be returned and 4 are wanted");
}

#[test]
fn only_what_is_on_the_order_goes_back_each_product_on_one_line() {
    completed_and([])
        .when(request(FIRST, &[("tea-1", 1), ("tea-2", 1)]))
        .then_refused("not-ordered");
    completed_and([])
        .when(request(FIRST, &[("tea-1", 1), ("tea-1", 1)]))
        .then_refused("duplicate-line");
}

#[test]
fn a_return_has_one_to_a_hundred_lines_and_refunds_something() {
    completed_and([])
        .when(request(FIRST, &[]))
        .then_refused("no-lines");
    let many: Vec<(String, u32)> = (0..=MAX_LINES)
        .map(|number| (format!("tea-{number}"), 1))
        .collect();
    let many: Vec<(&str, u32)> = many.iter().map(|(name, its)| (&**name, *its)).collect();
    completed_and([])
        .when(request(FIRST, &many))
        .then_refused("too-many-lines");
    completed_and([])
        .when(request(FIRST, &[("sample", 1)]))
        .then_refused("not-returnable");
}

#[test]
fn a_return_says_why() {
    for reason in ["", "  ", "a\u{0}b", &"é".repeat(501)] {
        completed_and([])
            .when(Command::RequestReturn(RequestReturn {
                return_id: FIRST,
                lines: lines(&[("tea-1", 1)]),
                reason: reason.into(),
            }))
            .then_refused("invalid-reason");
    }
}

#[test]
fn only_a_completed_order_is_returned() {
    let of = [("tea-1", 1)];
    for events in [
        vec![placed()],
        vec![placed(), Event::Confirmed(Confirmed {})],
        vec![placed(), Event::Rejected(Rejected { reason: why() })],
        vec![placed(), Event::Confirmed(Confirmed {}), revoked()],
    ] {
        given::<Order>(events)
            .when(request(FIRST, &of))
            .then_refused("not-returnable");
    }
    given_nothing::<Order>()
        .when(request(FIRST, &of))
        .then_refused("no-such-order");
}

#[test]
fn a_repeated_request_writes_nothing_and_another_one_of_its_id_is_refused() {
    let history = || completed_and([requested(FIRST, &[("tea-1", 3)], 5_997)]);
    history()
        .when(request(FIRST, &[("tea-1", 3)]))
        .then_nothing();
    history()
        .when(request(FIRST, &[("tea-1", 2)]))
        .then_refused("return-differs");
}

#[test]
fn an_order_has_at_most_a_hundred_returns_those_included_that_came_to_nothing() {
    let of = [("tea-1", 1)];
    let mut events = Vec::new();
    for number in 0..MAX_RETURNS as u128 {
        let id = ReturnId(Uuid::from_u128(100 + number));
        events.extend([requested(id, &of, 1_999), rejected(id)]);
    }
    completed_and(events)
        .when(request(FIRST, &of))
        .then_refused("not-returnable");
}

#[test]
fn a_return_is_accepted_once() {
    let asked = || requested(FIRST, &[("tea-1", 1)], 1_999);
    let state = completed_and([asked()])
        .when(accept(FIRST))
        .then([accepted(FIRST)]);
    assert_eq!(
        state.get_return(FIRST).unwrap().status,
        ReturnStatus::Accepted
    );
    completed_and([asked(), accepted(FIRST)])
        .when(accept(FIRST))
        .then_unchanged(repeat(Status::Completed));
    for last in [withdrawn(FIRST), rejected(FIRST)] {
        completed_and([asked(), accepted(FIRST), last])
            .when(accept(FIRST))
            .then_refused("return-rejected");
    }
    completed_and([])
        .when(accept(FIRST))
        .then_refused("no-such-return");
}

#[test]
fn an_acceptance_is_withdrawn_and_the_return_then_rejected() {
    let asked = || requested(FIRST, &[("tea-1", 1)], 1_999);
    completed_and([asked(), accepted(FIRST)])
        .when(reject(FIRST))
        .then_refused("return-accepted");
    let state = completed_and([asked(), accepted(FIRST)])
        .when(withdraw(FIRST))
        .then([withdrawn(FIRST)]);
    Given::<Order>(state)
        .when(withdraw(FIRST))
        .then_unchanged(repeat(Status::Completed));
    let state = completed_and([asked(), accepted(FIRST), withdrawn(FIRST)])
        .when(reject(FIRST))
        .then([rejected(FIRST)]);
    assert_eq!(state.status(), Some(Status::Completed));
    Given::<Order>(state)
        .when(reject(FIRST))
        .then_unchanged(repeat(Status::Completed));
}

#[test]
fn what_was_never_accepted_leaves_nothing_to_withdraw_and_is_rejected() {
    let asked = || requested(FIRST, &[("tea-1", 1)], 1_999);
    completed_and([asked()])
        .when(withdraw(FIRST))
        .then_refused("nothing-to-undo");
    completed_and([])
        .when(withdraw(FIRST))
        .then_refused("nothing-to-undo");
    completed_and([asked()])
        .when(reject(FIRST))
        .then([rejected(FIRST)]);
    completed_and([])
        .when(reject(FIRST))
        .then_refused("no-such-return");
}

#[test]
fn what_is_not_accepted_is_not_closed_and_what_is_closed_stays_so() {
    let asked = || requested(FIRST, &[("tea-1", 1)], 1_999);
    let part = Status::PartiallyReturned;
    completed_and([])
        .when(close(FIRST))
        .then_refused("no-such-return");
    completed_and([asked()])
        .when(close(FIRST))
        .then_refused("return-not-accepted");
    completed_and([asked(), rejected(FIRST)])
        .when(close(FIRST))
        .then_refused("return-rejected");
    let done = || completed_and([asked(), accepted(FIRST), closed(FIRST, part)]);
    done().when(close(FIRST)).then_unchanged(repeat(part));
    done().when(accept(FIRST)).then_unchanged(repeat(part));
    done().when(withdraw(FIRST)).then_refused("return-closed");
    done().when(reject(FIRST)).then_refused("return-closed");
}

#[test]
fn a_saga_that_repeats_itself_finds_a_returned_order_confirmed_and_completed() {
    let done = || {
        completed_and([
            requested(FIRST, &[("tea-1", 1)], 1_999),
            accepted(FIRST),
            closed(FIRST, Status::PartiallyReturned),
        ])
    };
    let repeated = repeat(Status::PartiallyReturned);
    done()
        .when(Command::Confirm(Confirm {}))
        .then_unchanged(repeated.clone());
    done()
        .when(Command::Complete(Complete::default()))
        .then_unchanged(repeated);
    done()
        .when(Command::Cancel(Cancel {
            reason: "too late".into(),
        }))
        .then_refused("order-already-settled");
    done()
        .when(Command::Reject(Reject { reason: why() }))
        .then_refused("order-already-confirmed");
}

#[test]
fn a_confirmed_or_completed_order_is_revoked() {
    let state = given::<Order>([placed(), Event::Confirmed(Confirmed {})])
        .when(revoke())
        .then([revoked()]);
    assert_eq!(state.status(), Some(Status::Cancelled));
    let state = completed_and([]).when(revoke()).then([revoked()]);
    assert_eq!(state.status(), Some(Status::Cancelled));
    Given::<Order>(state)
        .when(revoke())
        .then_unchanged(repeat(Status::Cancelled));
}

#[test]
fn a_revoked_order_is_over() {
    let over = || completed_and([revoked()]);
    over()
        .when(Command::Confirm(Confirm {}))
        .then_refused("order-cancelled");
    over()
        .when(Command::Complete(Complete::default()))
        .then_refused("order-cancelled");
    over()
        .when(Command::Reject(Reject { reason: why() }))
        .then_refused("nothing-to-undo");
    over()
        .when(Command::Cancel(Cancel {
            reason: "again".into(),
        }))
        .then_nothing();
}

#[test]
fn a_revocation_and_a_return_exclude_each_other() {
    let asked = || requested(FIRST, &[("tea-1", 1)], 1_999);
    let part = closed(FIRST, Status::PartiallyReturned);
    for events in [
        vec![asked()],
        vec![asked(), accepted(FIRST)],
        vec![asked(), accepted(FIRST), withdrawn(FIRST)],
        vec![asked(), accepted(FIRST), part],
    ] {
        completed_and(events)
            .when(revoke())
            .then_refused("order-has-returns");
    }
    completed_and([asked(), rejected(FIRST)])
        .when(revoke())
        .then([revoked()]);
}

#[test]
fn what_was_never_confirmed_leaves_nothing_to_revoke() {
    given_nothing::<Order>()
        .when(revoke())
        .then_refused("nothing-to-undo");
    given::<Order>([placed()])
        .when(revoke())
        .then_refused("nothing-to-undo");
    given::<Order>([placed(), Event::Rejected(Rejected { reason: why() })])
        .when(revoke())
        .then_refused("nothing-to-undo");
    let cancelled = Event::Cancelled(recourse_domain::order::Cancelled {
        reason: "changed my mind".into(),
    });
    given::<Order>([placed(), cancelled])
        .when(revoke())
        .then_refused("nothing-to-undo");
}

#[test]
fn a_revocation_says_why() {
    completed_and([])
        .when(Command::Revoke(Revoke { reason: " ".into() }))
        .then_refused("invalid-reason");
}

#[test]
fn a_step_that_comes_too_early_may_succeed_later() {
    let state = completed_and([requested(FIRST, &[("tea-1", 1)], 1_999)]).0;
    let refusal = |command| decide(&state, &command).unwrap_err();
    assert!(!refusal(close(FIRST)).is_final());
    assert!(!refusal(accept(SECOND)).is_final());
    assert!(refusal(request(SECOND, &[("tea-1", 3)])).is_final());
    assert!(refusal(revoke()).is_final());
}
