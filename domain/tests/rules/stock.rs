use recourse_domain::{
    HoldId,
    stock::{
        Adjust, Adjusted, Command, Commit, Event, Held, HoldStatus, MAX_ENDED_HOLDS, MAX_ON_HAND,
        Receive, Received, Release, RepeatAnswered, Reserve, Restock, State, decide, evolve,
    },
};
use uuid::Uuid;

use crate::given::{Given, Stock, given, given_nothing, pieces, sku};

fn hold(line: u32) -> HoldId {
    HoldId {
        saga: Uuid::from_u128(7),
        line,
    }
}

fn receive(quantity: u32, reference: &str) -> Command {
    Command::Receive(Receive {
        sku: sku("tea-1"),
        quantity: pieces(quantity),
        reference: reference.into(),
    })
}

fn received(quantity: u32, reference: &str) -> Event {
    Event::Received(Received {
        sku: sku("tea-1"),
        quantity: pieces(quantity),
        reference: reference.into(),
    })
}

fn adjust(delta: i64) -> Command {
    Command::Adjust(Adjust {
        sku: sku("tea-1"),
        delta,
        reason: "counted".into(),
    })
}

fn adjusted(delta: i64) -> Event {
    Event::Adjusted(Adjusted {
        sku: sku("tea-1"),
        delta,
        reason: "counted".into(),
    })
}

fn reserve(line: u32, quantity: u32) -> Command {
    Command::Reserve(Reserve {
        hold: hold(line),
        sku: sku("tea-1"),
        quantity: pieces(quantity),
    })
}

fn release(line: u32) -> Command {
    Command::Release(Release { hold: hold(line) })
}

fn commit(line: u32) -> Command {
    Command::Commit(Commit { hold: hold(line) })
}

fn restock(line: u32, quantity: u32) -> Command {
    Command::Restock(Restock {
        hold: hold(line),
        sku: sku("tea-1"),
        quantity: pieces(quantity),
    })
}

fn restocked(line: u32, quantity: u32) -> Event {
    Event::Restocked(held(line, quantity))
}

fn held(line: u32, quantity: u32) -> Held {
    Held {
        hold: hold(line),
        sku: sku("tea-1"),
        quantity: pieces(quantity),
    }
}

fn reserved(line: u32, quantity: u32) -> Event {
    Event::Reserved(held(line, quantity))
}

fn released(line: u32, quantity: u32) -> Event {
    Event::Released(held(line, quantity))
}

fn committed(line: u32, quantity: u32) -> Event {
    Event::Committed(held(line, quantity))
}

fn repeat(line: u32, status: HoldStatus) -> Event {
    Event::RepeatAnswered(RepeatAnswered {
        hold: hold(line),
        status,
    })
}

fn counts(state: &State) -> (u64, u64, u64) {
    (state.on_hand(), state.reserved(), state.available())
}

#[test]
fn what_is_received_is_on_hand() {
    let state = given::<Stock>([received(5, "a")])
        .when(receive(3, "b"))
        .then([received(3, "b")]);
    assert_eq!(counts(&state), (8, 0, 8));
}

#[test]
fn a_reference_counts_once() {
    let given = given::<Stock>([received(5, "a")]);
    assert_eq!(given.0.receipt("a"), Some(pieces(5)));
    given.when(receive(5, "a")).then_nothing();
}

#[test]
fn a_reference_is_not_used_for_another_quantity() {
    given::<Stock>([received(5, "a")])
        .when(receive(6, "a"))
        .then_refused("reference-reused");
}

#[test]
fn a_reference_can_be_seen() {
    for reference in ["", "a b", "a\u{0}", &"é".repeat(129)] {
        given_nothing::<Stock>()
            .when(receive(1, reference))
            .then_refused("invalid-reference");
    }
    let longest = "é".repeat(128);
    given_nothing::<Stock>()
        .when(receive(1, &longest))
        .then([received(1, &longest)]);
}

#[test]
fn a_count_is_corrected_up_and_down() {
    let state = given::<Stock>([received(5, "a")])
        .when(adjust(-5))
        .then([adjusted(-5)]);
    assert_eq!(counts(&state), (0, 0, 0));
    let state = given_nothing::<Stock>().when(adjust(4)).then([adjusted(4)]);
    assert_eq!(counts(&state), (4, 0, 4));
}

#[test]
fn a_correction_by_nothing_is_refused() {
    given::<Stock>([received(5, "a")])
        .when(adjust(0))
        .then_refused("invalid-delta");
}

#[test]
fn a_correction_says_why() {
    for reason in ["", "a\u{1b}[2J"] {
        let adjust = Command::Adjust(Adjust {
            sku: sku("tea-1"),
            delta: 1,
            reason: reason.into(),
        });
        given_nothing::<Stock>()
            .when(adjust)
            .then_refused("invalid-reason");
    }
}

#[test]
fn a_correction_never_goes_below_what_is_reserved() {
    let history = || given::<Stock>([received(5, "a"), reserved(0, 2)]);
    let told = history()
        .when(adjust(-4))
        .then_refused("stock-would-be-negative");
    assert_eq!(told, "5 pieces are on hand and 2 of them reserved");
    history().when(adjust(-3)).then([adjusted(-3)]);
    for delta in [-1, i64::MIN] {
        given_nothing::<Stock>()
            .when(adjust(delta))
            .then_refused("stock-would-be-negative");
    }
}

#[test]
fn more_than_can_be_counted_is_refused() {
    let full = || given::<Stock>([adjusted(MAX_ON_HAND as i64)]);
    full()
        .when(receive(1, "a"))
        .then_refused("quantity-overflow");
    full().when(adjust(1)).then_refused("quantity-overflow");
    full()
        .when(adjust(i64::MAX))
        .then_refused("quantity-overflow");
    given_nothing::<Stock>()
        .when(adjust(MAX_ON_HAND as i64))
        .then([adjusted(MAX_ON_HAND as i64)]);
}

#[test]
fn what_is_held_is_reserved_and_still_on_hand() {
    let state = given::<Stock>([received(5, "a")])
        .when(reserve(0, 5))
        .then([reserved(0, 5)]);
    assert_eq!(counts(&state), (5, 5, 0));
}

#[test]
fn what_others_hold_cannot_be_held() {
    let told = given::<Stock>([received(5, "a"), reserved(0, 2)])
        .when(reserve(1, 4))
        .then_refused("out-of-stock");
    assert_eq!(told, "3 pieces are available and 4 are wanted");
}

#[test]
fn a_product_that_never_came_in_is_out_of_stock() {
    given_nothing::<Stock>()
        .when(reserve(0, 1))
        .then_refused("out-of-stock");
}

#[test]
fn a_repeated_reservation_finds_its_own_hold() {
    given::<Stock>([received(5, "a"), reserved(0, 5)])
        .when(reserve(0, 5))
        .then_unchanged(repeat(0, HoldStatus::Held(pieces(5))));
}

#[test]
fn a_hold_does_not_change_its_quantity() {
    given::<Stock>([received(5, "a"), reserved(0, 2)])
        .when(reserve(0, 3))
        .then_refused("hold-differs");
}

#[test]
fn a_repeated_reservation_after_the_commit_is_done() {
    given::<Stock>([received(5, "a"), reserved(0, 2), committed(0, 2)])
        .when(reserve(0, 2))
        .then_unchanged(repeat(0, HoldStatus::Committed));
}

#[test]
fn what_was_released_is_not_held_again_by_a_late_reservation() {
    given::<Stock>([received(5, "a"), reserved(0, 2), released(0, 2)])
        .when(reserve(0, 2))
        .then_refused("hold-released");
}

#[test]
fn what_is_released_is_available_again() {
    let state = given::<Stock>([received(5, "a"), reserved(0, 2)])
        .when(release(0))
        .then([released(0, 2)]);
    assert_eq!(counts(&state), (5, 0, 5));
}

#[test]
fn a_release_of_what_was_never_held_finds_nothing_and_leaves_nothing() {
    given::<Stock>([received(5, "a"), reserved(0, 2)])
        .when(release(1))
        .then_refused("nothing-to-undo");
}

#[test]
fn a_release_of_what_is_released_is_done() {
    given::<Stock>([received(5, "a"), reserved(0, 2), released(0, 2)])
        .when(release(0))
        .then_unchanged(repeat(0, HoldStatus::Released));
}

#[test]
fn what_is_committed_cannot_be_released() {
    given::<Stock>([received(5, "a"), reserved(0, 2), committed(0, 2)])
        .when(release(0))
        .then_refused("already-committed");
}

#[test]
fn what_is_committed_is_out() {
    let state = given::<Stock>([received(5, "a"), reserved(0, 2)])
        .when(commit(0))
        .then([committed(0, 2)]);
    assert_eq!(counts(&state), (3, 0, 3));
}

#[test]
fn a_repeated_commit_is_done() {
    given::<Stock>([received(5, "a"), reserved(0, 2), committed(0, 2)])
        .when(commit(0))
        .then_unchanged(repeat(0, HoldStatus::Committed));
}

#[test]
fn what_is_not_held_cannot_be_committed() {
    given::<Stock>([received(5, "a")])
        .when(commit(0))
        .then_refused("no-such-hold");
    given::<Stock>([received(5, "a"), reserved(0, 2), released(0, 2)])
        .when(commit(0))
        .then_refused("no-such-hold");
}

fn out() -> Given<Stock> {
    given::<Stock>([received(5, "a"), reserved(0, 2), committed(0, 2)])
}

#[test]
fn what_a_return_brings_back_is_on_hand_once() {
    let state = out().when(restock(100, 1)).then([restocked(100, 1)]);
    assert_eq!(counts(&state), (4, 0, 4));
    Given::<Stock>(state)
        .when(restock(100, 1))
        .then_unchanged(repeat(100, HoldStatus::Restocked));
}

#[test]
fn a_commit_is_undone_by_bringing_back_what_was_held() {
    let state = out().when(restock(0, 2)).then([restocked(0, 2)]);
    assert_eq!(counts(&state), (5, 0, 5));
    let undone = || Given::<Stock>(state.clone());
    undone()
        .when(restock(0, 2))
        .then_unchanged(repeat(0, HoldStatus::Restocked));
    // The undo of the reservation before it finds it undone as well.
    undone()
        .when(release(0))
        .then_unchanged(repeat(0, HoldStatus::Restocked));
    undone().when(commit(0)).then_refused("hold-restocked");
    undone().when(reserve(0, 2)).then_refused("hold-restocked");
}

#[test]
fn a_commit_of_another_quantity_is_not_undone() {
    out().when(restock(0, 1)).then_refused("hold-differs");
}

#[test]
fn a_hold_that_was_never_committed_leaves_nothing_to_bring_back() {
    given::<Stock>([received(5, "a"), reserved(0, 2)])
        .when(restock(0, 2))
        .then_refused("nothing-to-undo");
    given::<Stock>([received(5, "a"), reserved(0, 2), released(0, 2)])
        .when(restock(0, 2))
        .then_refused("nothing-to-undo");
}

/// A commit is undone months later, when so many others have come that nobody knows it.
#[test]
fn a_commit_that_is_long_forgotten_is_undone_all_the_same() {
    let mut state = out().0;
    for line in 1..=MAX_ENDED_HOLDS as u32 {
        state = evolve(state, &reserved(line, 1));
        state = evolve(state, &released(line, 1));
    }
    assert_eq!(state.hold_status(hold(0)), None);
    let state = Given::<Stock>(state)
        .when(restock(0, 2))
        .then([restocked(0, 2)]);
    assert_eq!(counts(&state), (5, 0, 5));
}

#[test]
fn more_than_can_be_counted_is_not_brought_back() {
    given::<Stock>([adjusted(MAX_ON_HAND as i64)])
        .when(restock(0, 1))
        .then_refused("quantity-overflow");
}

#[test]
fn a_command_for_another_product_is_refused() {
    let history = || given::<Stock>([received(5, "a")]);
    let other = sku("tea-2");
    history()
        .when(Command::Reserve(Reserve {
            hold: hold(0),
            sku: other.clone(),
            quantity: pieces(1),
        }))
        .then_refused("wrong-sku");
    history()
        .when(Command::Receive(Receive {
            sku: other.clone(),
            quantity: pieces(1),
            reference: "b".into(),
        }))
        .then_refused("wrong-sku");
    history()
        .when(Command::Restock(Restock {
            hold: hold(0),
            sku: other.clone(),
            quantity: pieces(1),
        }))
        .then_refused("wrong-sku");
    history()
        .when(Command::Adjust(Adjust {
            sku: other,
            delta: 1,
            reason: "counted".into(),
        }))
        .then_refused("wrong-sku");
}

/// However many orders a product sees, its snapshot holds the open holds and few more.
#[test]
fn ended_holds_are_forgotten_and_open_ones_never() {
    let mut state = evolve(State::default(), &received(1_000_000, "a"));
    for line in 0..1_000 {
        let last = if line % 2 == 0 {
            commit(line)
        } else {
            release(line)
        };
        for command in [reserve(line, 1), last] {
            for event in decide(&state, &command).unwrap() {
                state = evolve(state, &event);
            }
        }
    }
    state = evolve(state, &reserved(5_000, 3));
    let kept = MAX_ENDED_HOLDS as u32;
    assert_eq!(state.hold_status(hold(999 - kept)), None);
    assert_eq!(
        state.hold_status(hold(1_000 - kept)),
        Some(HoldStatus::Committed)
    );
    assert_eq!(state.hold_status(hold(999)), Some(HoldStatus::Released));
    assert_eq!(
        state.holds().collect::<Vec<_>>(),
        [(hold(5_000), pieces(3))]
    );
    assert_eq!(counts(&state), (999_500, 3, 999_497));
    assert!(serde_json::to_string(&state).unwrap().len() < 8_192);
}
