//! What is remembered of the clients' commands.

use super::*;
use crate::{ClientCommand, Effect, Handled, Rejection, Tracked, handle};

const DAY: i64 = 24 * 3600;

fn apply(tracked: Tracked<Tally>, request: &Request<Tally>, now: i64) -> Tracked<Tally> {
    let handled = handle(&tracked, request, at(now), LOG);
    assert!(!handled.events().is_empty(), "{handled:?}");
    handled.events().iter().fold(tracked, |tracked, event| {
        let position = Position::dense(tracked.position().commit + 1);
        let applied = tracked.apply_new(request.stream(), event.clone(), position);
        applied.unwrap().0
    })
}

fn two(id: u128) -> Request<Tally> {
    let events = vec![Event::Added(1), Event::Added(2)];
    client(&tally("a"), id, Command::Emit(events))
}

#[test]
fn a_client_command_carries_its_id_and_body_and_who_asked() {
    let handled = handle::<Tally>(&Tracked::default(), &two(5), at(1), LOG);
    for event in handled.events() {
        let metadata = metadata(event);
        assert_eq!(metadata.command_id, Some(Uuid::from_u128(5)));
        assert_eq!(metadata.body_hash, Some(Uuid::from_u128(5)));
        assert_eq!(metadata.causation_id, Uuid::from_u128(5));
        assert_eq!(metadata.correlation_id, Uuid::from_u128(1));
        assert_eq!(metadata.actor.as_deref(), Some("somebody"));
        assert_eq!(metadata.request_id.as_deref(), Some("a request"));
        assert_eq!(metadata.mark, None);
        assert!(metadata.answers.is_empty());
    }
}

#[test]
fn a_repeat_is_replayed_and_another_body_is_refused() {
    let tracked = apply(Tracked::default(), &two(5), 0);
    let again = handle(&tracked, &two(5), at(1), LOG);
    assert!(matches!(
        again,
        Handled::Nothing(Effect::Replayed { revision: 1 })
    ));
    let other = Request::Direct {
        stream: tally("a"),
        command: add(1),
        origin: origin(5, 6),
    };
    assert!(matches!(
        handle(&tracked, &other, at(1), LOG),
        Handled::Rejected(Rejection::IdempotencyKeyReused)
    ));
}

#[test]
fn refused_and_unchanged_commands_are_not_remembered() {
    let start = Tracked::<Tally>::default();
    let stream = tally("a");
    assert!(matches!(
        handle(&start, &client(&stream, 5, Command::Take(1)), at(0), LOG),
        Handled::Rejected(Rejection::Refused(TooLittle { there: 0 }))
    ));
    assert!(matches!(
        handle(&start, &client(&stream, 5, Command::Keep(0)), at(0), LOG),
        Handled::Nothing(Effect::Unchanged)
    ));
}

#[test]
fn a_command_is_remembered_for_seven_days_and_the_creation_for_ever() {
    let mut tracked = apply(Tracked::default(), &two(1), 0);
    tracked = apply(tracked, &two(2), 10);
    let replayed = |tracked: &Tracked<Tally>, id, now| {
        matches!(
            handle(tracked, &two(id), at(now), LOG),
            Handled::Nothing(Effect::Replayed { .. })
        )
    };
    assert!(replayed(&tracked, 2, 10 + 7 * DAY));
    // Quiet or not, the answer is the same: here nothing has been pruned yet.
    assert!(!replayed(&tracked, 2, 11 + 7 * DAY));
    assert_eq!(tracked.tracking().remembered(), 2);
    tracked = apply(tracked, &two(3), 11 + 7 * DAY);
    assert_eq!(tracked.tracking().remembered(), 2);
    assert!(!replayed(&tracked, 2, 10 + 7 * DAY));
    assert!(replayed(&tracked, 3, 11 + 7 * DAY));
    assert!(replayed(&tracked, 1, 10_000 * DAY));
}

#[test]
fn a_forgotten_id_used_again_is_remembered_from_then_on() {
    let mut tracked = apply(Tracked::default(), &two(1), 0);
    tracked = apply(tracked, &two(2), 0);
    tracked = apply(tracked, &two(2), 8 * DAY);
    tracked = apply(tracked, &two(3), 14 * DAY);
    assert!(matches!(
        handle(&tracked, &two(2), at(15 * DAY), LOG),
        Handled::Nothing(Effect::Replayed { revision: 5 })
    ));
    tracked = apply(tracked, &two(4), 16 * DAY);
    assert_eq!(tracked.tracking().remembered(), 3);
}

#[test]
fn memory_is_bounded_by_a_week_of_commands_not_by_the_streams_length() {
    let mut tracked = Tracked::default();
    for hour in 0..1_000_u32 {
        tracked = apply(tracked, &two(u128::from(hour) + 1), i64::from(hour) * 3600);
    }
    assert_eq!(tracked.tracking().remembered(), 7 * 24 + 1 + 1);
}

#[test]
fn a_precondition_is_checked_with_the_decision_and_after_a_repeat() {
    let request = |id, precondition| {
        let Origin::Client(client) = origin(id, id) else {
            unreachable!()
        };
        Request::<Tally>::Direct {
            stream: tally("a"),
            command: add(1),
            origin: Origin::Client(ClientCommand {
                precondition,
                ..client
            }),
        }
    };
    let start = Tracked::<Tally>::default();
    assert!(matches!(
        handle(&start, &request(1, Precondition::Revision(0)), at(0), LOG),
        Handled::Rejected(Rejection::PreconditionFailed { actual: None })
    ));
    let tracked = apply(start, &request(1, Precondition::Absent), 0);
    assert!(matches!(
        handle(&tracked, &request(1, Precondition::Absent), at(0), LOG),
        Handled::Nothing(Effect::Replayed { revision: 0 })
    ));
    assert!(matches!(
        handle(&tracked, &request(2, Precondition::Absent), at(0), LOG),
        Handled::Rejected(Rejection::PreconditionFailed { actual: Some(0) })
    ));
    let tracked = apply(tracked, &request(2, Precondition::Revision(0)), 0);
    assert_eq!(tracked.revision(), Some(1));
}

#[test]
fn a_clock_that_lags_behind_is_still_protected_from_repeats() {
    let mut tracked = apply(Tracked::default(), &two(1), 0);
    tracked = apply(tracked, &two(2), 9 * DAY);
    tracked = apply(tracked, &two(3), DAY);
    assert!(matches!(
        handle(&tracked, &two(3), at(DAY), LOG),
        Handled::Nothing(Effect::Replayed { revision: 5 })
    ));
}
