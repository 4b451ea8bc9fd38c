use recourse_domain::{
    CardToken, Money,
    order::{
        Cancel, Cancelled, Command, Complete, Completed, Confirm, Confirmed, Event, Line,
        MAX_LINES, PaymentMethod, Place, Placed, Reason, Reject, Rejected, RepeatAnswered, Status,
    },
};

use crate::given::{
    CUSTOMER, Given, ORDER, Order, PAYMENT, eur, given, given_nothing, pieces, sku, usd,
};

fn line(name: &str, quantity: u32, unit_price: Money) -> Line {
    Line {
        sku: sku(name),
        quantity: pieces(quantity),
        unit_price,
    }
}

fn place_with(lines: Vec<Line>, token: &str) -> Place {
    Place {
        order_id: ORDER,
        payment_id: PAYMENT,
        customer_id: CUSTOMER,
        lines,
        payment: PaymentMethod::Card {
            token: CardToken::new(token),
        },
    }
}

fn place(lines: Vec<Line>) -> Command {
    Command::Place(place_with(lines, "tok_visa"))
}

fn placed(lines: Vec<Line>, total: Money) -> Event {
    let place = place_with(lines, "tok_visa");
    Event::Placed(Placed {
        order_id: place.order_id,
        payment_id: place.payment_id,
        customer_id: place.customer_id,
        lines: place.lines,
        total,
        payment: place.payment,
    })
}

fn one_tea() -> Vec<Line> {
    vec![line("tea-1", 2, eur(1_999))]
}

fn pending() -> Given<Order> {
    given([placed(one_tea(), eur(3_998))])
}

fn after(event: Event) -> Given<Order> {
    given([placed(one_tea(), eur(3_998)), event])
}

fn completed() -> Given<Order> {
    given([
        placed(one_tea(), eur(3_998)),
        Event::Confirmed(Confirmed {}),
        Event::Completed(Completed::default()),
    ])
}

fn reason() -> Reason {
    Reason {
        code: "out-of-stock".into(),
        detail: "none left".into(),
    }
}

fn reject() -> Command {
    Command::Reject(Reject { reason: reason() })
}

fn rejected_event() -> Event {
    Event::Rejected(Rejected { reason: reason() })
}

fn cancel(reason: &str) -> Command {
    Command::Cancel(Cancel {
        reason: reason.into(),
    })
}

fn cancelled_event() -> Event {
    Event::Cancelled(Cancelled {
        reason: "changed my mind".into(),
    })
}

fn confirm() -> Command {
    Command::Confirm(Confirm {})
}

fn complete() -> Command {
    Command::Complete(Complete::default())
}

fn repeat(status: Status) -> Event {
    Event::RepeatAnswered(RepeatAnswered { status })
}

#[test]
fn an_order_costs_the_sum_of_its_lines() {
    let lines = vec![line("tea-1", 2, eur(1_999)), line("cup-1", 1, eur(500))];
    let state = given_nothing::<Order>()
        .when(place(lines.clone()))
        .then([placed(lines, eur(4_498))]);
    assert_eq!(state.status(), Some(Status::Pending));
    assert_eq!(state.total(), Some(eur(4_498)));
}

#[test]
fn an_order_is_placed_once() {
    pending()
        .when(place(one_tea()))
        .then_refused("already-placed");
    completed()
        .when(place(one_tea()))
        .then_refused("already-placed");
}

#[test]
fn an_order_has_one_to_a_hundred_lines() {
    let lines = |count: usize| -> Vec<Line> {
        (0..count)
            .map(|number| line(&format!("tea-{number}"), 1, eur(1)))
            .collect()
    };
    given_nothing::<Order>()
        .when(place(lines(0)))
        .then_refused("no-lines");
    given_nothing::<Order>()
        .when(place(lines(MAX_LINES + 1)))
        .then_refused("too-many-lines");
    given_nothing::<Order>()
        .when(place(lines(MAX_LINES)))
        .then([placed(lines(MAX_LINES), eur(100))]);
}

#[test]
fn a_product_is_on_one_line() {
    let told = given_nothing::<Order>()
        .when(place(vec![
            line("tea-1", 1, eur(1)),
            line("cup-1", 1, eur(1)),
            line("tea-1", 2, eur(1)),
        ]))
        .then_refused("duplicate-line");
    assert_eq!(told, "tea-1 is on more than one line");
}

#[test]
fn an_order_has_one_currency() {
    given_nothing::<Order>()
        .when(place(vec![
            line("tea-1", 1, eur(1)),
            line("cup-1", 1, usd(1)),
        ]))
        .then_refused("currency-mismatch");
}

#[test]
fn a_free_line_is_fine_and_a_free_order_is_not() {
    given_nothing::<Order>()
        .when(place(vec![line("tea-1", 3, eur(0))]))
        .then_refused("nothing-to-pay");
    let lines = vec![line("tea-1", 3, eur(0)), line("cup-1", 1, eur(1))];
    given_nothing::<Order>()
        .when(place(lines.clone()))
        .then([placed(lines, eur(1))]);
}

#[test]
fn no_line_pays_the_client() {
    given_nothing::<Order>()
        .when(place(vec![
            line("tea-1", 1, eur(100)),
            line("cup-1", 1, eur(-1)),
        ]))
        .then_refused("invalid-price");
}

#[test]
fn a_total_that_does_not_fit_is_refused() {
    given_nothing::<Order>()
        .when(place(vec![line("tea-1", 2, eur(i64::MAX))]))
        .then_refused("total-overflow");
    given_nothing::<Order>()
        .when(place(vec![
            line("tea-1", 1, eur(i64::MAX)),
            line("cup-1", 1, eur(1)),
        ]))
        .then_refused("total-overflow");
}

#[test]
fn a_token_is_visible_ascii() {
    for token in ["", "tok visa", "tok\n", "tök", &"t".repeat(201)] {
        given_nothing::<Order>()
            .when(Command::Place(place_with(one_tea(), token)))
            .then_refused("invalid-token");
    }
    assert!(CardToken::new("t".repeat(200)).is_well_formed());
}

#[test]
fn a_pending_order_is_confirmed() {
    let state = pending()
        .when(confirm())
        .then([Event::Confirmed(Confirmed {})]);
    assert_eq!(state.status(), Some(Status::Confirmed));
}

#[test]
fn a_repeated_confirmation_is_done() {
    after(Event::Confirmed(Confirmed {}))
        .when(confirm())
        .then_unchanged(repeat(Status::Confirmed));
    completed()
        .when(confirm())
        .then_unchanged(repeat(Status::Completed));
}

#[test]
fn what_was_given_up_is_not_confirmed() {
    after(cancelled_event())
        .when(confirm())
        .then_refused("order-cancelled");
    after(rejected_event())
        .when(confirm())
        .then_refused("order-rejected");
}

#[test]
fn a_confirmed_order_is_completed() {
    let state = after(Event::Confirmed(Confirmed {}))
        .when(complete())
        .then([Event::Completed(Completed::default())]);
    assert_eq!(state.status(), Some(Status::Completed));
}

#[test]
fn a_repeated_completion_is_done() {
    completed()
        .when(complete())
        .then_unchanged(repeat(Status::Completed));
}

#[test]
fn what_is_not_confirmed_is_not_completed() {
    pending()
        .when(complete())
        .then_refused("order-not-confirmed");
    after(cancelled_event())
        .when(complete())
        .then_refused("order-cancelled");
    after(rejected_event())
        .when(complete())
        .then_refused("order-rejected");
}

#[test]
fn a_pending_order_is_rejected_with_a_reason() {
    let state = pending().when(reject()).then([rejected_event()]);
    assert_eq!(state.status(), Some(Status::Rejected));
}

#[test]
fn a_repeated_rejection_is_done() {
    after(rejected_event())
        .when(reject())
        .then_unchanged(repeat(Status::Rejected));
}

#[test]
fn a_cancelled_order_leaves_nothing_to_reject() {
    after(cancelled_event())
        .when(reject())
        .then_refused("nothing-to-undo");
    given_nothing::<Order>()
        .when(reject())
        .then_refused("nothing-to-undo");
}

#[test]
fn a_confirmed_order_is_not_rejected() {
    after(Event::Confirmed(Confirmed {}))
        .when(reject())
        .then_refused("order-already-confirmed");
    completed()
        .when(reject())
        .then_refused("order-already-confirmed");
}

#[test]
fn a_pending_order_is_cancelled() {
    let state = pending()
        .when(cancel("changed my mind"))
        .then([cancelled_event()]);
    assert_eq!(state.status(), Some(Status::Cancelled));
}

#[test]
fn a_repeated_cancellation_writes_nothing() {
    after(cancelled_event())
        .when(cancel("again"))
        .then_nothing();
}

#[test]
fn a_confirmed_order_is_not_cancelled() {
    after(Event::Confirmed(Confirmed {}))
        .when(cancel("too late"))
        .then_refused("order-already-confirmed");
}

#[test]
fn a_settled_order_is_not_cancelled() {
    let told = completed()
        .when(cancel("too late"))
        .then_refused("order-already-settled");
    assert_eq!(told, "the order is already completed");
    after(rejected_event())
        .when(cancel("too late"))
        .then_refused("order-already-settled");
}

#[test]
fn a_cancellation_says_why() {
    for reason in ["", "  ", "a\u{0}b", &"é".repeat(501)] {
        pending()
            .when(cancel(reason))
            .then_refused("invalid-reason");
    }
    let longest = "é".repeat(500);
    pending()
        .when(cancel(&longest))
        .then([Event::Cancelled(Cancelled { reason: longest })]);
}

#[test]
fn there_is_nothing_to_do_with_an_order_that_was_never_placed() {
    for command in [confirm(), complete(), cancel("why")] {
        given_nothing::<Order>()
            .when(command)
            .then_refused("no-such-order");
    }
}
