//! What operators do to it.

use chrono::TimeDelta;
use recourse_event_store::Position;
use recourse_saga::{
    Action, Answer, Direction, Event, Finding, Input, Parked, Reason, Said, SkipResult, Status,
    StepStatus, Timer,
};

use crate::talk::{Talk, past_the_pivot, skip};

/// The delivery is refused for good.
fn stuck() -> Talk {
    let mut talk = past_the_pivot();
    talk.refused(Direction::Do, "deliver", "no-road", true);
    assert_eq!(talk.state.status(), Status::NeedsAttention);
    talk
}

#[test]
fn compensate_before_the_pivot_turns_back_at_once() {
    let mut talk = Talk::started(&["a", "b"]);
    talk.done("hold a").act(&Action::Compensate);
    assert_eq!(talk.says(), ["compensation-requested"]);
    assert_eq!(talk.sends(), ["undo hold a #1", "undo hold b #1"]);
    assert_eq!(talk.state.status(), Status::Compensating);
    assert_eq!(talk.state.turned_back().unwrap().code, Reason::STOPPED);
    talk.undone("hold a")
        .undone("hold b")
        .done("hold b")
        .done("tell");
    assert_eq!(talk.state.status(), Status::Compensated);
}

#[test]
fn compensate_past_the_pivot_asks_the_pivot_first_and_nobody_else() {
    let mut talk = stuck();
    assert_eq!(talk.plan(), ["decide", "charge", "hold a"]);
    talk.act(&Action::Compensate);
    assert_eq!(talk.sends(), ["reverse decide #1"]);
    assert_eq!(talk.state.status(), Status::Compensating);
    assert_eq!(talk.reversed("decide").sends(), ["undo charge #1"]);
    assert_eq!(talk.state.turned_back().unwrap().code, Reason::REVERSED);
    assert_eq!(talk.undone("charge").sends(), ["undo hold a #1"]);
    assert_eq!(talk.undone("hold a").sends(), ["do tell #1"]);
    assert_eq!(talk.done("tell").says(), ["answered", "compensated"]);
    assert_eq!((talk.remaining(), talk.plan()), (vec![], vec![]));
}

#[test]
fn what_was_delivered_is_fetched_and_what_it_took_over_is_not_undone_besides() {
    let mut talk = past_the_pivot();
    talk.act(&Action::Compensate);
    // The answer to what was under way comes meanwhile, and does not end the saga.
    assert_eq!(talk.done("deliver").says(), ["answered"]);
    assert_eq!(talk.reversed("decide").sends(), ["reverse deliver #1"]);
    assert_eq!(talk.reversed("deliver").sends(), ["undo hold a #1"]);
}

#[test]
fn a_fetch_that_is_answered_first_says_that_it_was_delivered() {
    let mut talk = past_the_pivot();
    talk.act(&Action::Compensate).reversed("decide");
    assert_eq!(talk.reversed("deliver").sends(), ["undo hold a #1"]);
    talk.undone("hold a").done("tell");
    assert!(!talk.state.is_ended());
    assert_eq!(talk.done("deliver").says(), ["answered", "compensated"]);
}

#[test]
fn a_fetch_that_finds_nothing_leaves_the_charge_to_undo() {
    let mut talk = past_the_pivot();
    talk.act(&Action::Compensate).reversed("decide");
    talk.refused(Direction::Reverse, "deliver", "nothing-to-undo", true);
    assert_eq!(talk.sends(), ["undo charge #1"]);
}

#[test]
fn a_pivot_that_is_not_taken_back_leaves_the_saga_where_it_was() {
    let mut talk = stuck();
    talk.act(&Action::Compensate);
    talk.refused(Direction::Reverse, "decide", "too-late", true);
    assert_eq!(talk.says(), ["answered", "attention-needed"]);
    assert_eq!(talk.state.status(), Status::NeedsAttention);
    assert!(
        talk.state
            .trouble()
            .unwrap()
            .contains("the reversal of decide was refused")
    );
    assert_eq!(talk.remaining(), ["deliver"]);
    let steps = talk.state.steps();
    assert_eq!(steps[2].status, StepStatus::Done);
    assert_eq!(steps[2].refused.as_ref().unwrap().code, "too-late");
    // Asked once more it is another attempt.
    assert_eq!(talk.act(&Action::Compensate).sends(), ["reverse decide #2"]);
}

#[test]
fn a_saga_that_was_not_stuck_goes_on_forward_where_its_pivot_is_not_taken_back() {
    let mut talk = Talk::started(&["a"]);
    talk.done("hold a").done("charge");
    talk.act(&Action::Compensate);
    assert_eq!(talk.sends(), ["reverse decide #1"]);
    assert_eq!(talk.done("decide").sends(), [""; 0]);
    talk.refused(Direction::Reverse, "decide", "too-late", true);
    assert_eq!(talk.sends(), ["do deliver #1"]);
    assert_eq!(talk.state.status(), Status::Running);
}

#[test]
fn a_pivot_that_never_was_is_told_as_one_that_did_not_happen() {
    let mut talk = Talk::started(&["a"]);
    talk.done("hold a").done("charge");
    talk.act(&Action::Compensate);
    talk.refused(Direction::Reverse, "decide", "nothing-to-undo", true);
    assert_eq!(talk.sends(), ["undo charge #1"]);
    assert_eq!(talk.state.turned_back().unwrap().code, Reason::STOPPED);
}

#[test]
fn a_delivery_that_waits_to_be_tried_again_is_not_tried_on_the_way_back() {
    let mut talk = past_the_pivot();
    talk.refused(Direction::Do, "deliver", "busy", false);
    talk.act(&Action::Compensate);
    let deliver = talk.id(Direction::Do, "deliver", "");
    talk.hear(Input::BackoffOver { command: deliver });
    assert_eq!(talk.says(), [""; 0]);
    talk.reversed("decide");
    talk.hear(Input::BackoffOver { command: deliver });
    assert_eq!(talk.says(), [""; 0]);
}

#[test]
fn a_paused_saga_records_answers_and_sends_what_is_due_once_it_is_resumed() {
    let mut talk = Talk::started(&["a"]);
    talk.act(&Action::Pause);
    assert_eq!(talk.state.status(), Status::Paused);
    assert_eq!(talk.state.next_due(), None);
    assert_eq!(talk.done("hold a").sends(), [""; 0]);
    assert_eq!(talk.says(), ["answered"]);
    assert_eq!(talk.act(&Action::Resume).sends(), ["do charge #1"]);
    assert_eq!(talk.state.status(), Status::Running);
}

#[test]
fn deadlines_move_by_the_time_that_a_saga_stood_still() {
    let mut talk = Talk::started(&["a"]);
    let (due, deadline) = (talk.state.next_due().unwrap(), talk.state.deadline_at());
    talk.act(&Action::Pause);
    talk.now += TimeDelta::hours(1);
    assert_eq!(talk.hear(Input::DeadlinePassed).says(), [""; 0]);
    talk.overdue(Direction::Do, "hold a", Finding::Waiting);
    assert_eq!(talk.says(), [""; 0]);
    talk.act(&Action::Resume);
    let hour = TimeDelta::hours(1);
    assert_eq!(talk.state.next_due().unwrap(), (due.0 + hour, due.1));
    assert_eq!(talk.state.deadline_at(), deadline.map(|at| at + hour));
}

#[test]
fn a_wait_that_began_in_a_pause_is_no_longer_for_it() {
    let mut talk = past_the_pivot();
    talk.act(&Action::Pause);
    talk.now += TimeDelta::minutes(59);
    talk.refused(Direction::Do, "deliver", "busy", false);
    let waits = talk.state.commands().last().unwrap().resend_at.unwrap() - talk.now;
    talk.now += TimeDelta::minutes(1);
    talk.act(&Action::Resume);
    assert_eq!(talk.state.next_due().unwrap().0, talk.now + waits);
}

#[test]
fn an_end_waits_for_the_pause_too() {
    let mut talk = past_the_pivot();
    talk.act(&Action::Pause).done("deliver");
    assert!(!talk.state.is_ended());
    assert_eq!(talk.act(&Action::Resume).says(), ["resumed", "completed"]);
}

#[test]
fn a_parked_saga_is_resumed_with_all_its_deadlines_moved() {
    let mut talk = Talk::started(&["a"]);
    let due = talk.state.next_due().unwrap();
    let parked = Event::Parked(Parked {
        position: Position::dense(3),
        error: "unreadable".into(),
    });
    talk.state.apply(&parked, talk.now);
    assert!(
        talk.not_possible(&Action::Compensate)
            .contains("resume it first")
    );
    assert!(
        talk.not_possible(&Action::Pause)
            .contains("stands still already")
    );
    talk.now += TimeDelta::hours(1);
    talk.retry();
    assert_eq!(talk.says(), ["resumed"]);
    assert!(talk.state.may_have_missed());
    assert_eq!(talk.state.status(), Status::Running);
    assert_eq!(
        talk.state.next_due().unwrap().0,
        due.0 + TimeDelta::hours(1)
    );
}

#[test]
fn a_paused_saga_that_was_parked_is_resumed_from_that_and_stays_paused() {
    let mut talk = Talk::started(&["a"]);
    let due = talk.state.next_due().unwrap();
    talk.act(&Action::Pause);
    let parked = Event::Parked(Parked {
        position: Position::dense(3),
        error: "unreadable".into(),
    });
    talk.state.apply(&parked, talk.now);
    talk.now += TimeDelta::hours(1);
    talk.act(&Action::Resume);
    assert_eq!(talk.state.status(), Status::Paused);
    assert!(talk.state.may_have_missed());
    // What it has missed is recorded, and nothing is sent.
    assert_eq!(talk.done("hold a").sends(), [""; 0]);
    talk.now += TimeDelta::hours(1);
    assert_eq!(talk.act(&Action::Resume).sends(), ["do charge #1"]);
    assert_eq!(talk.state.status(), Status::Running);
    assert_eq!(
        talk.state.deadline_at().unwrap(),
        due.0 + TimeDelta::hours(2) + TimeDelta::seconds(50)
    );
}

#[test]
fn what_is_awaited_gets_as_much_more_time_where_a_paused_saga_is_undone() {
    let mut talk = past_the_pivot();
    let (due, _) = talk.state.next_due().unwrap();
    talk.act(&Action::Pause);
    talk.now += TimeDelta::hours(1);
    talk.act(&Action::Compensate);
    let deliver = talk.id(Direction::Do, "deliver", "");
    let deliver = talk.state.command(deliver).unwrap();
    assert_eq!(deliver.due_at, Some(due + TimeDelta::hours(1)));
}

#[test]
fn the_act_after_everything_is_undone_is_known_until_it_is_done() {
    let mut talk = stuck();
    let closing = |talk: &Talk| {
        let parts = talk.definition.closing_act(&talk.state).unwrap();
        parts.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    talk.act(&Action::Compensate);
    assert_eq!(closing(&talk), ["tell"]);
    talk.reversed("decide")
        .undone("charge")
        .undone("hold a")
        .done("tell");
    assert_eq!(closing(&talk), [""; 0]);
}

#[test]
fn a_retry_sends_the_next_attempt_of_what_was_refused() {
    let mut talk = stuck();
    assert_eq!(talk.retry().sends(), ["do deliver #2"]);
    assert_eq!(talk.state.status(), Status::Running);
    assert_eq!(talk.done("deliver").says(), ["answered", "completed"]);
}

#[test]
fn a_retry_never_sends_again_what_may_still_take_effect() {
    let mut talk = Talk::started(&["a", "b"]);
    talk.done("hold b");
    assert_eq!(talk.retry().sends(), [""; 0]);
    let first = talk.id(Direction::Do, "hold", "a");
    assert_eq!(talk.wait(), Timer::Overdue(first));
    // It is on its way, and has its time anew: the retry is no reason to give it up.
    talk.overdue(Direction::Do, "hold a", Finding::Waiting);
    assert_eq!(talk.says(), ["overdue"]);
    assert_eq!(talk.wait(), Timer::Overdue(first));
    talk.overdue(Direction::Do, "hold a", Finding::Waiting);
    assert_eq!(talk.says(), ["timed-out"]);
}

#[test]
fn a_retry_sends_again_what_is_lost_however_often_it_was_sent() {
    let mut talk = past_the_pivot();
    talk.overdue(Direction::Do, "deliver", Finding::Lost);
    talk.overdue(Direction::Do, "deliver", Finding::Lost);
    assert_eq!(talk.says(), ["overdue", "attention-needed"]);
    talk.retry();
    assert_eq!(
        (talk.sends(), talk.state.status()),
        (vec![], Status::Running)
    );
    let second = talk.id(Direction::Do, "deliver", "");
    assert_eq!(talk.wait(), Timer::Overdue(second));
    talk.overdue(Direction::Do, "deliver", Finding::Lost);
    assert_eq!(talk.sends(), ["do deliver #3"]);
    assert_eq!(talk.state.open_commands().count(), 1);
    assert_eq!(talk.done("deliver").says(), ["answered", "completed"]);
}

#[test]
fn what_a_retry_does_follows_from_the_saga_alone() {
    let mut talk = Talk::started(&["a", "b"]);
    let retry = Action::Retry {
        step: None,
        said: None,
    };
    let previewed = talk.preview(&retry).unwrap();
    assert_eq!(talk.act(&retry).events, previewed);
    // What is answered meanwhile is read when it is looked up.
    talk.done("hold a").done("hold b");
    assert_eq!(talk.sends(), ["do charge #1"]);
}

#[test]
fn a_skip_undoes_what_may_have_been_done_and_what_it_was_to_take_over_and_then_counts() {
    let mut talk = past_the_pivot();
    assert_eq!(talk.skip("deliver").sends(), ["reverse deliver #1"]);
    talk.refused(Direction::Reverse, "deliver", "nothing-to-undo", true);
    assert_eq!(talk.sends(), ["undo charge #1"]);
    assert_eq!(
        talk.undone("charge").says(),
        ["answered", "step-skipped", "completed"]
    );
    assert_eq!(talk.status_of("deliver"), StepStatus::Skipped);
    assert_eq!(talk.remaining(), [""; 0]);
}

#[test]
fn a_skip_of_what_was_refused_counts_once_what_it_was_to_take_over_is_undone() {
    let mut talk = stuck();
    assert_eq!(talk.skip("deliver").sends(), ["undo charge #1"]);
    assert_eq!(talk.state.status(), Status::Running);
    assert_eq!(
        talk.undone("charge").says(),
        ["answered", "step-skipped", "completed"]
    );
    let Event::StepSkipped(skipped) = &talk.events[1] else {
        panic!("{:?}", talk.events);
    };
    assert_eq!((skipped.direction, skipped.remains), (Direction::Do, false));
    assert_eq!(skipped.target.to_string(), "thing-deliver");
    assert_eq!(skipped.command_type, "thing.do");
    assert_eq!(skipped.by.reason, "the bank says so");
}

#[test]
fn a_skip_before_the_pivot_goes_on_once_the_undo_is_answered() {
    let mut talk = Talk::started(&["a", "b"]);
    talk.done("hold a");
    assert_eq!(talk.skip("hold").sends(), ["undo hold b #1"]);
    assert!(talk.not_possible(&skip("hold")).contains("being skipped"));
    // What it would have been turned back by does not any more.
    talk.refused(Direction::Do, "hold b", "none-left", true);
    assert_eq!(talk.state.turned_back(), None);
    assert_eq!(talk.undone("hold b").sends(), ["do charge #1"]);
    talk.act(&Action::Compensate);
    talk.undone("charge");
    assert_eq!(talk.sends(), ["undo hold a #1"]);
}

#[test]
fn a_cancellation_undoes_a_skip_that_does_not_count_yet_with_the_rest() {
    let mut talk = Talk::started(&["a", "b"]);
    talk.done("hold a").skip("hold");
    talk.hear(Input::Cancelled {
        position: Position::dense(4),
    });
    assert_eq!(talk.sends(), ["undo hold a #1"]);
    talk.undone("hold a").undone("hold b").done("hold b");
    assert_eq!(talk.done("tell").says(), ["answered", "compensated"]);
}

#[test]
fn an_undo_that_is_refused_and_skipped_is_what_remains() {
    let mut talk = Talk::started(&["a"]);
    talk.done("hold a");
    talk.refused(Direction::Do, "charge", "no-money", true);
    talk.refused(Direction::Undo, "hold a", "stuck-door", true);
    assert_eq!(talk.state.status(), Status::NeedsAttention);
    talk.skip("hold");
    assert_eq!(talk.says(), ["skip-requested", "step-skipped"]);
    assert_eq!(talk.sends(), ["do tell #1"]);
    talk.done("tell");
    assert_eq!(talk.state.status(), Status::Compensated);
    assert_eq!(talk.remaining(), ["hold a"]);
    assert_eq!(talk.status_of("hold"), StepStatus::Skipped);
}

#[test]
fn an_undo_that_is_done_after_all_needs_no_skip() {
    let mut talk = Talk::started(&["a"]);
    talk.done("hold a");
    talk.refused(Direction::Do, "charge", "no-money", true);
    assert_eq!(talk.skip("hold").says(), ["skip-requested"]);
    assert_eq!(talk.undone("hold a").says(), ["answered"]);
    assert_eq!(talk.sends(), ["do tell #1"]);
    assert_eq!(talk.remaining(), ["tell"]);
    assert_eq!(talk.status_of("hold"), StepStatus::Undone);
}

#[test]
fn a_skip_whose_undo_is_refused_counts_when_it_is_asked_for_again() {
    let mut talk = past_the_pivot();
    talk.skip("deliver");
    talk.refused(Direction::Reverse, "deliver", "no-road", true);
    assert_eq!(talk.state.status(), Status::NeedsAttention);
    // What it may have done stays, so that nobody knows what became of the charge.
    assert_eq!(talk.skip("deliver").sends(), ["undo charge #1"]);
    talk.undone("charge");
    assert_eq!(talk.says(), ["answered", "step-skipped"]);
    assert_eq!(talk.done("deliver").says(), ["answered", "completed"]);
    assert_eq!(talk.remaining(), ["deliver"]);
}

#[test]
fn what_cannot_be_done_is_refused_with_why() {
    let talk = past_the_pivot();
    assert!(
        talk.not_possible(&skip("decide"))
            .contains("point of no return")
    );
    assert!(talk.not_possible(&skip("charge")).contains("is done"));
    assert!(
        talk.not_possible(&skip("tell"))
            .contains("has not been sent")
    );
    assert!(talk.not_possible(&skip("fly")).contains("no step"));
    assert!(
        talk.not_possible(&Action::Resume)
            .contains("neither paused nor parked")
    );
    let mut talk = past_the_pivot();
    talk.act(&Action::Pause);
    assert!(talk.not_possible(&Action::Pause).contains("already"));
    assert!(
        talk.not_possible(&skip("deliver"))
            .contains("resume it first")
    );
    // Nothing has to be sent forward first.
    assert_eq!(talk.act(&Action::Compensate).sends(), ["reverse decide #1"]);
    assert!(
        talk.not_possible(&Action::Compensate)
            .contains("on its way back")
    );
    assert!(
        talk.not_possible(&skip("deliver"))
            .contains("about to be undone")
    );
    let mut talk = past_the_pivot();
    talk.done("deliver");
    assert!(talk.not_possible(&Action::Compensate).contains("has ended"));
}

#[test]
fn a_retry_where_nothing_waits_is_refused() {
    let mut talk = Talk::started(&[]);
    talk.done("charge").done("decide");
    talk.done("deliver");
    let retry = Action::Retry {
        step: Some("hold".into()),
        said: None,
    };
    assert!(talk.not_possible(&retry).contains("has ended"));
    let talk = past_the_pivot();
    assert!(talk.not_possible(&retry).contains("nothing of it"));
}

fn say(step: &str, result: SkipResult) -> Action {
    Action::Retry {
        step: Some(step.into()),
        said: Some(Said {
            result,
            reference: None,
        }),
    }
}

/// The delivery is told what an operator found out, and answers with it what it was asked first.
fn told(result: SkipResult, answer: &Answer, first_is_first: bool) -> Talk {
    let mut talk = past_the_pivot();
    talk.hear(Input::DeadlinePassed);
    assert_eq!(talk.state.status(), Status::NeedsAttention);
    let first = talk.id(Direction::Do, "deliver", "");
    talk.act(&say("deliver", result));
    assert_eq!(talk.sends(), ["do deliver #2"]);
    assert_eq!(talk.state.status(), Status::Running);
    let second = talk.id(Direction::Do, "deliver", "");
    let mut commands = [first, second];
    if !first_is_first {
        commands.reverse();
    }
    for command in commands {
        talk.hear(Input::Answer {
            command,
            answer: answer.clone(),
            position: Position::dense(9),
        });
    }
    talk
}

#[test]
fn what_nobody_answers_is_settled_by_what_an_operator_found_out() {
    for first_is_first in [true, false] {
        let talk = told(SkipResult::Done, &Answer::Done, first_is_first);
        assert_eq!(talk.state.status(), Status::Completed);
        let refused = Answer::Refused {
            code: "no".into(),
            detail: "it is still here".into(),
            is_final: true,
        };
        let mut talk = told(SkipResult::Left, &refused, first_is_first);
        assert_eq!(talk.state.status(), Status::NeedsAttention);
        assert_eq!(talk.state.open_commands().count(), 0);
        assert_eq!(talk.plan(), ["decide", "charge", "hold a"]);
        talk.act(&Action::Compensate);
        assert_eq!(talk.sends(), ["reverse decide #1"]);
    }
}

#[test]
fn what_an_operator_found_out_is_about_the_step_first_and_then_about_its_way_back() {
    let mut talk = past_the_pivot();
    talk.act(&Action::Compensate).reversed("decide");
    let said = |talk: &mut Talk| {
        talk.act(&say("deliver", SkipResult::Done));
        let command: String = talk.events[0].commands()[0].command.data.read().unwrap();
        command
    };
    assert_eq!(said(&mut talk), "Do true");
    talk.done("deliver");
    // Its first attempt is not answered yet.
    assert_eq!(said(&mut talk), "Do true");
    let open: Vec<_> = talk
        .state
        .open_commands()
        .map(|sent| (sent.id, sent.direction))
        .collect();
    for (command, direction) in open {
        if direction == Direction::Do {
            talk.hear(Input::Answer {
                command,
                answer: Answer::Done,
                position: Position::dense(9),
            });
        }
    }
    assert_eq!(said(&mut talk), "Reverse true");
}

#[test]
fn what_an_operator_said_and_got_lost_leaves_what_it_was_about_as_it_was() {
    let mut talk = past_the_pivot();
    let first = talk.id(Direction::Do, "deliver", "");
    talk.act(&say("deliver", SkipResult::Left));
    let again = say("deliver", SkipResult::Left);
    assert!(talk.not_possible(&again).contains("told already"));
    talk.overdue(Direction::Do, "deliver", Finding::Lost);
    assert_eq!((talk.says(), talk.sends()), (vec!["resent"], vec![]));
    let open: Vec<_> = talk.state.open_commands().map(|sent| sent.id).collect();
    assert_eq!(open, [first]);
    // Said once more, or answered after all, it decides.
    assert_eq!(
        talk.act(&say("deliver", SkipResult::Left)).sends(),
        ["do deliver #3"]
    );
    talk.overdue(Direction::Do, "deliver", Finding::Lost);
    talk.hear(Input::Answer {
        command: first,
        answer: Answer::Refused {
            code: "no-road".into(),
            detail: "no".into(),
            is_final: true,
        },
        position: Position::dense(9),
    });
    assert_eq!(talk.says(), ["answered", "attention-needed"]);
}

#[test]
fn an_operator_cannot_say_what_became_of_what_its_target_knows() {
    let mut talk = past_the_pivot();
    let done = |step| say(step, SkipResult::Done);
    assert!(
        talk.not_possible(&done("charge"))
            .contains("nothing of `charge` is unanswered")
    );
    assert!(talk.not_possible(&done("fly")).contains("no step"));
    talk.act(&Action::Compensate);
    assert!(
        talk.not_possible(&done("decide"))
            .contains("its target knows")
    );
}
