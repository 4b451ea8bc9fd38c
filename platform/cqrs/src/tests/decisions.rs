//! Which events a request writes, and what their metadata say.

use recourse_event_store::{Mark, Position};
use uuid::Uuid;

use super::*;
use crate::{
    AGGREGATE_UNREADABLE, COMMAND_NOT_UNDERSTOOD, COMMAND_REFUSED, Effect, Handled, Internal,
    NOTHING_TO_DO, Tracked, handle,
    testing::{Given, given},
};

fn emit(events: impl IntoIterator<Item = Event>) -> Command {
    Command::Emit(events.into_iter().collect())
}

/// The commands that each event answers.
fn answers(given: &[RecordedEvent]) -> Vec<Vec<u128>> {
    given
        .iter()
        .map(|event| {
            let answers = &event.metadata().unwrap().answers;
            answers.iter().map(|a| a.command.as_u128()).collect()
        })
        .collect()
}

fn refusals(given: &[RecordedEvent]) -> Vec<Option<String>> {
    given
        .iter()
        .map(|event| {
            let refused = event.metadata().unwrap().refused.clone();
            refused.map(|refused| refused.code)
        })
        .collect()
}

/// An aggregate with a command of `id` open for each operation.
fn open(operations: &[(u64, Op)]) -> Given<Tally> {
    let mut open = given::<Tally>([]);
    for (number, op) in operations {
        let request = saga(&tally("test"), *number, emit([Event::Asked(*op)]));
        open = open.when_requested(&request).then_open().and();
    }
    open
}

#[test]
fn every_event_of_a_saga_command_carries_its_mark_and_the_last_answer_answers() {
    let then = given::<Tally>([])
        .when_saga(emit([
            Event::Added(1),
            Event::Added(2),
            Event::Noted("afterwards".into()),
        ]))
        .then_answered();
    assert_eq!(answers(then.events()), [vec![], vec![1], vec![]]);
    for event in then.events() {
        let metadata = event.metadata().unwrap();
        assert_eq!(metadata.mark.unwrap().position, Position::dense(1));
    }
    assert_eq!(then.and().tracked().state().total, 3);
}

#[test]
fn an_event_inherits_the_correlation_and_is_caused_by_the_sagas_event() {
    let Request::Saga(mut command) = saga(&tally("a"), 5, add(1)) else {
        unreachable!()
    };
    command.correlation_id = Uuid::from_u128(11);
    command.cause = Uuid::from_u128(12);
    command.request_id = Some("r".into());
    command.traceparent = Some("t".into());
    let handled = handle::<Tally>(&Tracked::default(), &Request::Saga(command), at(3), LOG);
    let metadata = metadata(&handled.events()[0]);
    assert_eq!(metadata.correlation_id, Uuid::from_u128(11));
    assert_eq!(metadata.causation_id, Uuid::from_u128(12));
    assert_eq!(metadata.recorded_at, at(3));
    assert_eq!(metadata.log, LOG);
    assert_eq!(metadata.request_id.as_deref(), Some("r"));
    assert_eq!(metadata.traceparent.as_deref(), Some("t"));
    assert_eq!(metadata.command_id, None);
}

#[test]
fn two_equal_commands_in_one_saga_event_write_events_of_their_own() {
    let Request::Saga(first) = saga(&tally("a"), 5, add(1)) else {
        unreachable!()
    };
    let mut second = first.clone();
    second.command.id = Uuid::from_u128(6);
    second.mark.index = 1;
    let start = Tracked::<Tally>::default();
    let id = |command: &_| {
        let request = Request::Saga(Clone::clone(command));
        handle(&start, &request, at(0), LOG).events()[0].id
    };
    assert_ne!(id(&first), id(&second));
    assert_eq!(id(&first), id(&first.clone()));
}

#[test]
fn a_saga_command_at_or_below_the_mark_changes_nothing() {
    let stream = tally("test");
    let mut tally = given::<Tally>([])
        .when_requested(&saga(&stream, 7, add(1)))
        .then([Event::Added(1)])
        .and();
    for number in [7, 6, 1] {
        let then = tally
            .when_requested(&saga(&stream, number, add(1)))
            .then_nothing();
        assert!(matches!(
            then.handled(),
            Handled::Nothing(Effect::AlreadyTaken)
        ));
        tally = then.and();
    }
    let mut next = tally.when_requested(&saga(&stream, 8, add(1)));
    next = next.then([Event::Added(1)]);
    assert_eq!(
        next.and().tracked().tracking().mark().unwrap().position,
        Position::dense(8)
    );
}

#[test]
fn a_mark_orders_the_commands_of_one_event_too() {
    let tracking = given::<Tally>([])
        .when_saga(add(1))
        .and()
        .tracked()
        .tracking()
        .clone();
    let mark = |position, index| Mark {
        position: Position::dense(position),
        index,
    };
    assert!(tracking.is_past(mark(1, 0)));
    assert!(!tracking.is_past(mark(1, 1)));
    assert!(tracking.is_past(mark(0, 9)));
}

#[test]
fn a_refusal_of_a_saga_command_is_a_durable_answer_that_leaves_the_state_alone() {
    let then = given::<Tally>([Event::Added(1)])
        .when_saga(Command::Take(5))
        .then_refused("too-little")
        .then_answered();
    let event = &then.events()[0];
    assert_eq!(&*event.event.event_type, COMMAND_REFUSED);
    let refused: recourse_event_store::Refused = serde_json::from_slice(&event.event.data).unwrap();
    assert_eq!(refused.detail, "there is only 1");
    assert_eq!(event.metadata().unwrap().refused, Some(refused));
    let tally = then.and();
    assert_eq!(tally.tracked().state().changes, 1);
    assert_eq!(tally.tracked().revision(), Some(1));
    assert!(tally.tracked().tracking().mark().is_some());
}

#[test]
fn what_is_not_understood_and_what_changes_nothing_is_answered_too() {
    let stream = tally("test");
    for (command_type, data) in [("tally.fly", "{}"), ("tally.take", "\"much\"")] {
        let Request::Saga(mut command) = saga(&stream, 5, add(1)) else {
            unreachable!()
        };
        command.command.command_type = command_type.into();
        command.command.data = serde_json::from_str(data).unwrap();
        given::<Tally>([])
            .when_requested(&Request::Saga(command))
            .then_refused(COMMAND_NOT_UNDERSTOOD)
            .then_answered();
    }
    given::<Tally>([])
        .when_saga(Command::Keep(0))
        .then_refused(NOTHING_TO_DO)
        .then_answered();
}

#[test]
fn an_intent_takes_the_command_and_its_outcome_answers_it() {
    let then = given::<Tally>([])
        .when_saga(emit([Event::Asked(Op::Lift), Event::Added(1)]))
        .then_open();
    let takes = then.events()[0].metadata().unwrap().takes.clone().unwrap();
    assert_eq!(takes.operation, "lift");
    assert_eq!(takes.answered.command.as_u128(), 1);
    let then = then.and().when_internal(Command::Settle(Op::Lift, true));
    assert_eq!(answers(then.events()), [vec![1]]);
    assert_eq!(refusals(then.events()), [None]);
    assert!(then.and().tracked().tracking().open().is_empty());
}

#[test]
fn an_outcome_answers_all_open_commands_of_its_operation_and_no_others() {
    let then = open(&[(1, Op::Lift), (2, Op::Drop), (3, Op::Lift)])
        .when_internal(Command::Settle(Op::Lift, false));
    assert_eq!(answers(then.events()), [vec![1, 3]]);
    assert_eq!(refusals(then.events()), [Some("not-so".into())]);
    let tally = then.and();
    let open = tally.tracked().tracking().open();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].answered.command.as_u128(), 2);
}

#[test]
fn two_outcomes_of_one_decision_each_answer_their_own() {
    let then = open(&[(1, Op::Lift), (2, Op::Drop)]).when_internal(emit([
        Event::Settled((Op::Drop, false)),
        Event::Settled((Op::Lift, true)),
    ]));
    assert_eq!(answers(then.events()), [vec![2], vec![1]]);
    assert_eq!(refusals(then.events()), [Some("not-so".into()), None]);
}

#[test]
fn progress_answers_nothing_and_leaves_the_command_open() {
    let then = open(&[(1, Op::Lift)]).when_internal(emit([Event::Noted("unknown".into())]));
    assert_eq!(answers(then.events()), [Vec::<u128>::new()]);
    assert_eq!(then.and().tracked().tracking().open().len(), 1);
}

#[test]
fn an_outcome_in_the_decision_of_a_further_command_answers_both_with_their_own() {
    // The answer comes before another operation's refusal, and is not stained by it.
    let then = open(&[(1, Op::Lift)])
        .when_requested(&saga(
            &tally("test"),
            2,
            emit([Event::Added(1), Event::Settled((Op::Lift, false))]),
        ))
        .then_answered();
    assert_eq!(answers(then.events()), [vec![2], vec![1]]);
    assert_eq!(refusals(then.events()), [None, Some("not-so".into())]);
}

#[test]
fn without_an_answer_the_first_outcome_answers_and_else_the_last_event() {
    let then = open(&[(1, Op::Drop)])
        .when_requested(&saga(
            &tally("test"),
            2,
            emit([Event::Settled((Op::Drop, false)), Event::Noted("so".into())]),
        ))
        .then_answered();
    assert_eq!(answers(then.events()), [vec![1, 2], vec![]]);
    let then = given::<Tally>([])
        .when_saga(emit([Event::Noted("a".into()), Event::Noted("b".into())]))
        .then_answered();
    assert_eq!(answers(then.events()), [vec![], vec![1]]);
}

#[test]
fn an_intent_that_is_settled_in_the_same_decision_is_answered_there_once() {
    let then = given::<Tally>([])
        .when_saga(emit([
            Event::Asked(Op::Lift),
            Event::Added(1),
            Event::Settled((Op::Lift, true)),
        ]))
        .then_answered();
    assert_eq!(answers(then.events()), [vec![], vec![], vec![1]]);
    assert!(then.and().tracked().tracking().open().is_empty());
}

#[test]
fn only_the_first_of_two_intents_takes_the_command() {
    let then = given::<Tally>([])
        .when_saga(emit([Event::Asked(Op::Lift), Event::Asked(Op::Drop)]))
        .then_open();
    assert_eq!(then.and().tracked().tracking().open().len(), 1);
}

#[test]
fn the_service_itself_may_ask_the_same_twice_and_gets_events_of_their_own() {
    let internal = || Request::Direct {
        stream: tally("test"),
        command: emit([Event::Noted("unknown".into())]),
        origin: Origin::Internal(Internal {
            causation_id: Uuid::from_u128(4),
            correlation_id: Uuid::from_u128(5),
            actor: None,
            request_id: None,
            traceparent: None,
        }),
    };
    let first = given::<Tally>([]).when_requested(&internal());
    let (one, revision) = (first.events()[0].event.id, first.events()[0].revision);
    let second = first.and().when_requested(&internal());
    assert_ne!(one, second.events()[0].event.id);
    assert_ne!(revision, second.events()[0].revision);
    let metadata = second.events()[0].metadata().unwrap();
    assert_eq!(metadata.causation_id, Uuid::from_u128(4));
    assert_eq!(metadata.correlation_id, Uuid::from_u128(5));
}

#[test]
fn an_aggregate_that_cannot_be_read_still_answers() {
    let stream = tally("test");
    let metadata = serde_json::to_vec(&Metadata::new(Uuid::nil(), Uuid::nil(), at(0), LOG));
    let strange = NewEvent::raw(
        Uuid::from_u128(1),
        "tally.exploded.v9",
        &b"{}"[..],
        metadata.unwrap(),
    );
    let tracked = Tracked::<Tally>::default();
    let (tracked, _) = tracked
        .apply_new(&stream, strange, Position::dense(1))
        .unwrap();
    let why = tracked.unreadable().unwrap();
    assert!(why.contains("tally.exploded.v9"), "{why}");

    let handled = handle(&tracked, &saga(&stream, 9, add(1)), at(0), LOG);
    let Handled::Write { events, effect } = handled else {
        panic!("not answered")
    };
    assert!(matches!(effect, Effect::Refused(refused) if refused.code == AGGREGATE_UNREADABLE));
    let event = events.into_iter().next().unwrap();
    let (tracked, _) = tracked
        .apply_new(&stream, event, Position::dense(2))
        .unwrap();
    let again = handle(&tracked, &saga(&stream, 9, add(1)), at(0), LOG);
    assert!(matches!(again, Handled::Nothing(Effect::AlreadyTaken)));
    let direct = handle(&tracked, &client(&stream, 1, add(1)), at(0), LOG);
    assert!(matches!(
        direct,
        Handled::Rejected(crate::Rejection::Unreadable(_))
    ));
}

#[test]
fn events_out_of_order_are_refused() {
    let stream = tally("test");
    let request = client(&stream, 1, add(1));
    let handled = handle::<Tally>(&Tracked::default(), &request, at(0), LOG);
    let event = handled.events()[0].clone();
    let ahead = event.record(Position::dense(4), stream, 3);
    let error = Tracked::<Tally>::default().apply(&ahead).unwrap_err();
    assert!(matches!(
        error,
        crate::ApplyError::OutOfOrder {
            expected: 0,
            found: 3,
            ..
        }
    ));
}
