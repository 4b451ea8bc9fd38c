//! What a saga says to what it hears: two holds in parallel, a charge, the decision, a delivery.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod operator;
mod talk;

use chrono::{DateTime, TimeDelta};
use recourse_bus::Json;
use recourse_event_store::Position;
use recourse_saga::{
    Answer, Definition, Direction, Event, Finding, Input, Kind, Parked, ReactError, State, Status,
    StepStatus, Timer, compensatable, pivot, react,
};
use uuid::Uuid;

use talk::{Items, Talk, each, one, past_the_pivot};

#[test]
fn it_goes_forward_stage_by_stage_and_is_completed() {
    let mut talk = Talk::started(&["a", "b"]);
    assert_eq!(talk.sends(), ["do hold a #1", "do hold b #1"]);
    assert_eq!(
        talk.remaining(),
        ["hold a", "hold b", "charge", "decide", "deliver"]
    );
    talk.done("hold b");
    assert_eq!(talk.sends(), [""; 0]);
    talk.done("hold a");
    assert_eq!(talk.sends(), ["do charge #1"]);
    talk.done("charge");
    assert_eq!(talk.sends(), ["do decide #1"]);
    talk.done("decide");
    assert_eq!(talk.sends(), ["do deliver #1"]);
    assert_eq!(
        talk.plan(),
        ["decide", "deliver", "charge", "hold a", "hold b"]
    );
    talk.done("deliver");
    assert_eq!(talk.says(), ["answered", "completed"]);
    assert_eq!(talk.state.status(), Status::Completed);
    assert!(
        talk.steps()
            .iter()
            .all(|(_, status)| *status == StepStatus::Done)
    );
    assert_eq!(talk.state.next_due(), None);
    assert_eq!((talk.remaining(), talk.plan()), (vec![], vec![]));
}

#[test]
fn a_refusal_undoes_what_was_sent_and_not_refused_in_reverse_order() {
    let mut talk = Talk::started(&["a", "b"]);
    talk.done("hold a").done("hold b");
    talk.refused(Direction::Do, "charge", "no-money", true);
    assert_eq!(talk.sends(), ["undo hold a #1", "undo hold b #1"]);
    assert_eq!(talk.state.status(), Status::Compensating);
    assert_eq!(talk.status_of("charge"), StepStatus::Refused);
    assert_eq!(talk.status_of("hold"), StepStatus::Undoing);
    assert_eq!(talk.remaining(), ["hold a", "hold b", "tell"]);
    talk.undone("hold b");
    assert_eq!(talk.remaining(), ["hold a", "tell"]);
    talk.undone("hold a");
    assert_eq!(talk.sends(), ["do tell #1"]);
    assert_eq!(talk.status_of("hold"), StepStatus::Undone);
    talk.done("tell");
    assert_eq!(talk.says(), ["answered", "compensated"]);
    assert_eq!(talk.state.turned_back().unwrap().code, "no-money");
}

#[test]
fn an_item_that_is_still_open_is_undone_too_and_its_answer_waited_for() {
    let mut talk = Talk::started(&["a", "b"]);
    talk.refused(Direction::Do, "hold a", "none-left", true);
    assert_eq!(talk.sends(), ["undo hold b #1"]);
    talk.undone("hold b").done("tell");
    assert_eq!(talk.says(), ["answered"]);
    assert_eq!(talk.state.status(), Status::Compensating);
    talk.done("hold b");
    assert_eq!(talk.says(), ["answered", "compensated"]);
}

#[test]
fn nothing_to_undo_is_undone_and_answers_what_it_would_have_undone() {
    let mut talk = Talk::started(&["a", "b"]);
    talk.refused(Direction::Do, "hold a", "none-left", true);
    talk.refused(Direction::Undo, "hold b", "nothing-to-undo", true);
    assert_eq!(talk.sends(), ["do tell #1"]);
    talk.done("tell");
    assert_eq!(talk.says(), ["answered", "compensated"]);
    // Its own answer, behind that of its undo.
    talk.refused(Direction::Do, "hold b", "nothing-to-undo", true);
    assert_eq!(talk.says(), [""; 0]);
}

#[test]
fn a_timeout_before_the_pivot_turns_back_and_one_after_it_does_not() {
    let mut talk = Talk::started(&["a"]);
    let hold = talk.id(Direction::Do, "hold", "a");
    assert_eq!(talk.wait(), Timer::Overdue(hold));
    talk.overdue(Direction::Do, "hold a", Finding::Waiting);
    assert_eq!(
        (talk.says(), talk.sends()),
        (vec!["timed-out"], vec!["undo hold a #1".into()])
    );
    assert_eq!(talk.state.turned_back().unwrap().code, "timeout");
    assert!(
        talk.state
            .timers()
            .all(|(_, timer)| timer != Timer::Overdue(hold))
    );

    let mut talk = past_the_pivot();
    talk.wait();
    talk.overdue(Direction::Do, "deliver", Finding::Waiting);
    assert_eq!(talk.says(), ["overdue"]);
    assert_eq!(talk.status_of("deliver"), StepStatus::Overdue);
    assert_eq!(talk.state.status(), Status::Running);
    talk.done("deliver");
    assert_eq!(talk.state.status(), Status::Completed);
}

#[test]
fn the_pivot_stays_open_past_its_time_and_its_refusal_turns_back() {
    let mut talk = Talk::started(&["a"]);
    talk.done("hold a").done("charge");
    talk.overdue(Direction::Do, "decide", Finding::Waiting);
    assert_eq!(
        (talk.says(), talk.state.status()),
        (vec!["overdue"], Status::Running)
    );
    talk.refused(Direction::Do, "decide", "cancelled-by-client", true);
    assert_eq!(talk.sends(), ["undo charge #1"]);
}

#[test]
fn looking_grows_rarer_and_ends() {
    let mut talk = past_the_pivot();
    let deliver = talk.id(Direction::Do, "deliver", "");
    let mut waits = Vec::new();
    loop {
        let before = talk.now;
        let at = talk
            .state
            .timers()
            .find(|(_, timer)| *timer == Timer::Overdue(deliver));
        let Some((at, _)) = at else { break };
        talk.now = at;
        waits.push((at - before).num_seconds());
        talk.overdue(Direction::Do, "deliver", Finding::Waiting);
    }
    assert_eq!(waits, [10, 10, 20]);
}

#[test]
fn what_is_lost_is_sent_again_and_at_last_needs_attention() {
    let mut talk = past_the_pivot();
    talk.overdue(Direction::Do, "deliver", Finding::Lost);
    assert_eq!(
        (talk.says(), talk.sends()),
        (vec!["resent"], vec!["do deliver #2".into()])
    );
    talk.overdue(Direction::Do, "deliver", Finding::Lost);
    assert_eq!(talk.says(), ["overdue", "attention-needed"]);
    assert_eq!(talk.state.status(), Status::NeedsAttention);
}

#[test]
fn a_step_is_done_once_any_attempt_is() {
    let mut talk = past_the_pivot();
    let first = talk.id(Direction::Do, "deliver", "");
    talk.overdue(Direction::Do, "deliver", Finding::Lost);
    talk.hear(Input::Answer {
        command: first,
        answer: Answer::Done,
        position: Position::dense(9),
    });
    assert_eq!(talk.says(), ["answered"]);
    assert_eq!(talk.remaining(), ["deliver"]);
    talk.refused(Direction::Do, "deliver", "no", true);
    assert_eq!(talk.says(), ["answered", "completed"]);
}

#[test]
fn what_is_refused_for_now_is_sent_again_after_its_wait_and_not_for_ever() {
    let mut talk = past_the_pivot();
    talk.refused(Direction::Do, "deliver", "busy", false);
    assert_eq!((talk.says(), talk.sends()), (vec!["answered"], vec![]));
    assert_eq!(talk.status_of("deliver"), StepStatus::Running);
    let deliver = talk.id(Direction::Do, "deliver", "");
    let before = talk.now;
    assert_eq!(talk.wait(), Timer::Resend(deliver));
    let waited = talk.now - before;
    assert!(TimeDelta::milliseconds(100) <= waited && waited <= TimeDelta::milliseconds(200));
    talk.hear(Input::BackoffOver { command: deliver });
    assert_eq!(talk.sends(), ["do deliver #2"]);
    assert_eq!(
        talk.hear(Input::BackoffOver { command: deliver }).says(),
        [""; 0]
    );
    talk.refused(Direction::Do, "deliver", "busy", false);
    assert_eq!(talk.says(), ["answered", "attention-needed"]);
    assert_eq!(talk.status_of("deliver"), StepStatus::Refused);
}

#[test]
fn refused_for_good_after_the_pivot_names_what_is_left() {
    let mut talk = past_the_pivot();
    talk.refused(Direction::Do, "deliver", "gone", true);
    assert_eq!(talk.says(), ["answered", "attention-needed"]);
    assert_eq!(talk.plan(), ["decide", "charge", "hold a"]);
    assert_eq!(talk.remaining(), ["deliver"]);
    assert!(talk.state.trouble().unwrap().contains("deliver"));
    assert_eq!(talk.state.next_due(), None);
}

#[test]
fn a_compensation_that_keeps_failing_needs_attention_and_stands_still() {
    let mut talk = Talk::started(&["a"]);
    talk.done("hold a").done("charge");
    talk.refused(Direction::Do, "decide", "no", true);
    talk.refused(Direction::Undo, "charge", "busy", false);
    let charge = talk.id(Direction::Undo, "charge", "");
    talk.wait();
    talk.hear(Input::BackoffOver { command: charge });
    assert_eq!(talk.sends(), ["undo charge #2"]);
    talk.refused(Direction::Undo, "charge", "busy", false);
    assert_eq!(talk.says(), ["answered", "attention-needed"]);
    assert_eq!(
        (talk.plan(), talk.sends()),
        (vec!["charge".into(), "hold a".into()], vec![])
    );
    assert_eq!(talk.remaining(), ["charge", "hold a", "tell"]);
}

#[test]
fn past_its_deadline_it_needs_attention_until_what_it_waited_for_is_answered() {
    let mut talk = past_the_pivot();
    talk.now = talk.state.deadline_at().unwrap();
    talk.hear(Input::DeadlinePassed);
    assert_eq!(talk.says(), ["attention-needed"]);
    assert_eq!(talk.state.status(), Status::NeedsAttention);
    assert_eq!(talk.hear(Input::DeadlinePassed).says(), [""; 0]);
    talk.done("deliver");
    assert_eq!(talk.state.status(), Status::Completed);

    let mut talk = Talk::started(&["a", "b"]);
    talk.now = talk.state.deadline_at().unwrap();
    talk.hear(Input::DeadlinePassed).done("hold a");
    assert_eq!(talk.state.status(), Status::NeedsAttention);
    talk.done("hold b");
    assert_eq!(talk.state.status(), Status::Running);
    let deadline_at = talk.state.deadline_at().unwrap();
    assert_eq!(deadline_at - talk.now, TimeDelta::seconds(60));
}

#[test]
fn a_cancellation_turns_back_before_the_pivot_is_sent_and_never_after() {
    let cancelled = || Input::Cancelled {
        position: Position::dense(5),
    };
    let mut talk = Talk::started(&["a"]);
    talk.done("hold a").hear(cancelled());
    assert_eq!(
        (talk.says(), talk.sends()),
        (vec!["cancellation-noted"], vec!["undo charge #1".into()])
    );
    assert_eq!(talk.hear(cancelled()).says(), [""; 0]);

    let mut talk = Talk::started(&["a"]);
    talk.done("hold a").done("charge");
    assert_eq!(talk.hear(cancelled()).says(), [""; 0]);
}

#[test]
fn whatever_comes_twice_changes_nothing() {
    let mut talk = Talk::started(&["a"]);
    let input = talk.state.input().unwrap().clone();
    assert_eq!(talk.hear(Input::Start { input }).says(), [""; 0]);
    talk.done("hold a");
    assert_eq!(talk.done("hold a").says(), [""; 0]);
    assert_eq!(
        talk.refused(Direction::Do, "hold a", "no", true).says(),
        [""; 0]
    );
    assert_eq!(
        talk.overdue(Direction::Do, "hold a", Finding::Lost).says(),
        [""; 0]
    );
}

#[test]
fn a_parked_saga_stands_still() {
    let mut talk = Talk::started(&["a"]);
    let parked = Event::Parked(Parked {
        position: Position::dense(3),
        error: "cannot read".into(),
    });
    talk.state.apply(&parked, talk.now);
    assert_eq!(talk.state.status(), Status::Parked);
    assert_eq!(talk.state.next_due(), None);
    assert_eq!(talk.done("hold a").says(), [""; 0]);
}

#[test]
fn a_saga_without_items_goes_on_to_its_next_stage() {
    let talk = Talk::started(&[]);
    assert_eq!(talk.sends(), ["do charge #1"]);
}

#[test]
fn command_ids_follow_from_saga_step_direction_item_and_attempt() {
    let ids =
        |talk: &Talk| -> Vec<Uuid> { talk.state.commands().iter().map(|sent| sent.id).collect() };
    let mut one = Talk::started(&["a", "b"]);
    let mut two = Talk::started(&["a", "b"]);
    for talk in [&mut one, &mut two] {
        talk.done("hold a")
            .refused(Direction::Do, "hold b", "no", true);
    }
    assert_eq!(ids(&one), ids(&two));
    let mut unique = ids(&one);
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 3);
}

#[test]
fn another_versions_saga_and_a_strangers_answer_are_errors() {
    let mut talk = Talk::started(&["a"]);
    let answer = |command| Input::Answer {
        command,
        answer: Answer::Done,
        position: Position::dense(9),
    };
    let stranger = react(&talk.definition, &talk.state, answer(Uuid::nil()), talk.now);
    assert!(matches!(stranger, Err(ReactError::UnknownCommand(_))));
    let other = Definition::builder::<Items>("toy", 2)
        .starts(|_| Ok(None))
        .step(pivot("decide", one("decide")).reversed_by(talk::told("revoke")))
        .build()
        .unwrap();
    let hold = talk.id(Direction::Do, "hold", "a");
    let version = react(&other, &talk.state, answer(hold), talk.now);
    assert!(matches!(version, Err(ReactError::OtherVersion { .. })));
    talk.state = State::new(Uuid::from_u128(1));
    let early = react(&talk.definition, &talk.state, answer(hold), talk.now);
    assert!(matches!(early, Err(ReactError::NotStarted)));
}

#[test]
fn a_step_that_sends_what_it_is_not_declared_to_is_an_error() {
    let definition = Definition::builder::<Items>("toy", 1)
        .starts(|_| Ok(None))
        .step(compensatable("hold", each("hold"), each("hold")))
        .step(pivot("decide", one("decide")).reversed_by(talk::told("revoke")))
        .build()
        .unwrap();
    let input = Json::write(&Items(vec!["a".into()])).unwrap();
    let started = react(
        &definition,
        &State::new(Uuid::nil()),
        Input::Start { input },
        DateTime::UNIX_EPOCH,
    );
    assert!(matches!(started, Err(ReactError::Shape(step)) if step == "hold"));
}

#[test]
fn a_snapshot_of_a_saga_is_its_fold() {
    let mut talk = Talk::started(&["a", "b"]);
    talk.done("hold a")
        .refused(Direction::Do, "hold b", "none-left", true);
    let text = serde_json::to_string(&talk.state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), talk.state);
    assert_eq!(talk.state.steps()[0].kind, Kind::Compensatable);
}
