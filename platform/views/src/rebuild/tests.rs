//! Given what happened to a view's generations, when something is asked, then this happens.

use recourse_cqrs::testing::{Given, given};

use super::*;

const FIRST: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);

fn by() -> By {
    By {
        actor: "anonymous".into(),
        reason: Some("a row is damaged".into()),
    }
}

fn rebuild(rebuild_id: Uuid) -> Command {
    Command::Rebuild {
        rebuild_id,
        version: 1,
        by: by(),
    }
}

fn drop_of(rebuild_id: Uuid) -> Command {
    Command::Drop {
        rebuild_id,
        by: by(),
    }
}

fn compare(rebuild_id: Uuid) -> Compared {
    Compared {
        rebuild_id,
        position: Position::dense(7),
        equal_rows: 2,
        different_rows: 1,
        differences: vec![Difference {
            id: "tea-1".into(),
            kind: DifferenceKind::Changed,
        }],
        unreadable: None,
    }
}

fn switch(rebuild_id: Uuid, generation: u32, target: u64, live: u64) -> Switch {
    Switch {
        rebuild_id,
        version: 1,
        level: Some(Level {
            generation,
            target: Position::dense(target),
            live: Position::dense(live),
        }),
        by: by(),
    }
}

fn started(rebuild_id: Uuid, generation: u32, replaces: u32) -> Event {
    Event::RebuildStarted(RebuildStarted {
        rebuild_id,
        version: 1,
        generation,
        replaces,
        by: by(),
    })
}

fn compared(rebuild_id: Uuid) -> Event {
    Event::RebuildCompared(compare(rebuild_id))
}

fn switched(rebuild_id: Uuid, generation: u32, replaced: u32) -> Switched {
    Switched {
        rebuild_id,
        version: 1,
        generation,
        replaced,
        position: Position::dense(9),
        by: by(),
    }
}

fn promoted(rebuild_id: Uuid, generation: u32, replaced: u32) -> Event {
    Event::Promoted(switched(rebuild_id, generation, replaced))
}

fn rolled_back(rebuild_id: Uuid, generation: u32, replaced: u32) -> Event {
    Event::RolledBack(switched(rebuild_id, generation, replaced))
}

fn dropped(rebuild_id: Uuid, generation: u32) -> Event {
    Event::GenerationDropped(GenerationDropped {
        rebuild_id,
        version: 1,
        generation,
        by: by(),
    })
}

fn of(events: impl IntoIterator<Item = Event>) -> Given<Generations> {
    given(events)
}

fn state(events: impl IntoIterator<Item = Event>) -> State {
    events.into_iter().fold(State::default(), |state, event| {
        Generations::evolve(state, &event)
    })
}

#[test]
fn a_view_that_was_never_rebuilt_is_asked_in_its_first_generation() {
    let state = State::default();
    assert_eq!((state.live(1), state.kept(1)), (0, vec![0]));
}

#[test]
fn a_rebuild_fills_another_generation_beside_the_live_one() {
    of([]).when(rebuild(FIRST)).then([started(FIRST, 1, 0)]);
    let state = state([started(FIRST, 1, 0)]);
    assert_eq!((state.live(1), state.kept(1)), (0, vec![0, 1]));
}

#[test]
fn one_rebuild_of_a_view_is_open_at_once() {
    of([started(FIRST, 1, 0)])
        .when(rebuild(SECOND))
        .then_refused("rebuild-open");
    of([started(FIRST, 1, 0), compared(FIRST)])
        .when(rebuild(SECOND))
        .then_refused("rebuild-open");
}

#[test]
fn the_next_rebuild_drops_what_the_last_one_left_beside_the_live_one() {
    let past = [started(FIRST, 1, 0), compared(FIRST), promoted(FIRST, 1, 0)];
    of(past)
        .when(rebuild(SECOND))
        .then([dropped(FIRST, 0), started(SECOND, 2, 1)]);
    let past = [
        started(FIRST, 1, 0),
        compared(FIRST),
        promoted(FIRST, 1, 0),
        rolled_back(FIRST, 0, 1),
    ];
    of(past)
        .when(rebuild(SECOND))
        .then([dropped(FIRST, 1), started(SECOND, 2, 0)]);
}

#[test]
fn nothing_is_promoted_before_it_is_compared_and_level() {
    of([started(FIRST, 1, 0)])
        .when(Command::Promote(switch(FIRST, 1, 9, 9)))
        .then_refused("rebuild-not-ready");
    of([started(FIRST, 1, 0), compared(FIRST)])
        .when(Command::Promote(switch(FIRST, 1, 8, 9)))
        .then_refused("rebuild-not-ready");
    // The positions were read when another generation was meant.
    of([started(FIRST, 1, 0), compared(FIRST)])
        .when(Command::Promote(switch(FIRST, 0, 9, 9)))
        .then_refused("rebuild-not-ready");
    of([started(FIRST, 1, 0), compared(FIRST)])
        .when(Command::Promote(switch(FIRST, 1, 9, 9)))
        .then([promoted(FIRST, 1, 0)]);
}

#[test]
fn what_is_promoted_is_live_and_the_one_before_is_fed_until_it_is_dropped() {
    let past = [started(FIRST, 1, 0), compared(FIRST), promoted(FIRST, 1, 0)];
    let now = state(past.clone());
    assert_eq!((now.live(1), now.kept(1)), (1, vec![1, 0]));
    of(past.clone())
        .when(drop_of(FIRST))
        .then([dropped(FIRST, 0)]);
    let later = state(past.into_iter().chain([dropped(FIRST, 0)]));
    assert_eq!((later.live(1), later.kept(1)), (1, vec![1]));
    assert_eq!(later.gone(), [(1, 0)]);
}

#[test]
fn a_promotion_is_rolled_back_and_made_again_while_both_are_kept() {
    let past = [started(FIRST, 1, 0), compared(FIRST), promoted(FIRST, 1, 0)];
    of(past.clone())
        .when(Command::RollBack(switch(FIRST, 0, 8, 9)))
        .then_refused("rebuild-not-ready");
    of(past.clone())
        .when(Command::RollBack(switch(FIRST, 0, 9, 9)))
        .then([rolled_back(FIRST, 0, 1)]);
    let back = past.into_iter().chain([rolled_back(FIRST, 0, 1)]);
    assert_eq!(state(back.clone()).kept(1), [0, 1]);
    of(back)
        .when(Command::Promote(switch(FIRST, 1, 9, 9)))
        .then([promoted(FIRST, 1, 0)]);
}

#[test]
fn what_is_so_already_writes_nothing() {
    let past = [started(FIRST, 1, 0), compared(FIRST), promoted(FIRST, 1, 0)];
    of(past.clone())
        .when(Command::Promote(switch(FIRST, 1, 0, 9)))
        .then_nothing();
    of(past.clone())
        .when_internal(Command::RecordComparison(compare(FIRST)))
        .then_nothing();
    let back = past.into_iter().chain([rolled_back(FIRST, 0, 1)]);
    of(back.clone())
        .when(Command::RollBack(switch(FIRST, 0, 0, 9)))
        .then_nothing();
    of(back.chain([dropped(FIRST, 1)]))
        .when(drop_of(FIRST))
        .then_nothing();
}

#[test]
fn what_is_dropped_does_not_come_back() {
    let abandoned = [started(FIRST, 1, 0), compared(FIRST), dropped(FIRST, 1)];
    let now = state(abandoned.clone());
    assert_eq!((now.live(1), now.kept(1)), (0, vec![0]));
    of(abandoned.clone())
        .when(Command::Promote(switch(FIRST, 1, 9, 9)))
        .then_refused("rebuild-not-possible");
    of(abandoned.clone())
        .when_internal(Command::RecordComparison(compare(FIRST)))
        .then_nothing();
    // Nor is its number used again.
    of(abandoned)
        .when(rebuild(SECOND))
        .then([started(SECOND, 2, 0)]);
    let kept_new = [
        started(FIRST, 1, 0),
        compared(FIRST),
        promoted(FIRST, 1, 0),
        dropped(FIRST, 0),
    ];
    of(kept_new)
        .when(Command::RollBack(switch(FIRST, 0, 9, 9)))
        .then_refused("rebuild-not-possible");
}

#[test]
fn what_was_never_promoted_is_not_rolled_back() {
    of([started(FIRST, 1, 0), compared(FIRST)])
        .when(Command::RollBack(switch(FIRST, 0, 9, 9)))
        .then_refused("rebuild-not-possible");
    of([])
        .when(Command::RollBack(switch(FIRST, 0, 9, 9)))
        .then_refused("unknown-rebuild");
}

#[test]
fn a_rebuild_that_a_later_one_followed_decides_nothing_any_more() {
    let promoted = [
        started(FIRST, 1, 0),
        compared(FIRST),
        promoted(FIRST, 1, 0),
        dropped(FIRST, 0),
        started(SECOND, 2, 1),
        compared(SECOND),
        promoted(SECOND, 2, 1),
    ];
    of(promoted)
        .when(Command::Promote(switch(FIRST, 1, 9, 9)))
        .then_refused("rebuild-not-possible");
    let back = [
        started(FIRST, 1, 0),
        compared(FIRST),
        self::promoted(FIRST, 1, 0),
        rolled_back(FIRST, 0, 1),
        dropped(FIRST, 1),
        started(SECOND, 2, 0),
        compared(SECOND),
        self::promoted(SECOND, 2, 0),
    ];
    of(back)
        .when(Command::RollBack(switch(FIRST, 0, 9, 9)))
        .then_refused("rebuild-not-possible");
}

#[test]
fn nothing_is_switched_while_nobody_knows_how_far_it_is() {
    let past = [started(FIRST, 1, 0), compared(FIRST)];
    let mut unknown = switch(FIRST, 1, 9, 9);
    unknown.level = None;
    of(past)
        .when(Command::Promote(unknown))
        .then_refused("rebuild-not-ready");
}

#[test]
fn what_another_version_left_is_removed_whatever_version_is_running() {
    let past = [started(FIRST, 1, 0), compared(FIRST), dropped(FIRST, 1)];
    assert_eq!(state(past).gone(), [(1, 1)]);
}

#[test]
fn another_version_has_generations_of_its_own() {
    let past = [started(FIRST, 1, 0), compared(FIRST), promoted(FIRST, 1, 0)];
    let now = state(past.clone());
    assert_eq!((now.live(2), now.kept(2), now.gone()), (0, vec![0], vec![]));
    let of_two = |rebuild_id| Command::Rebuild {
        rebuild_id,
        version: 2,
        by: by(),
    };
    let expected = RebuildStarted {
        rebuild_id: SECOND,
        version: 2,
        generation: 2,
        replaces: 0,
        by: by(),
    };
    of(past.clone())
        .when(of_two(SECOND))
        .then([Event::RebuildStarted(expected)]);
    let mut other = switch(FIRST, 0, 9, 9);
    other.version = 2;
    of(past)
        .when(Command::RollBack(other))
        .then_refused("rebuild-not-possible");
}

/// Every order of commands, to a depth: what holds of generations whatever is asked.
#[test]
fn one_generation_is_live_and_none_comes_back_whatever_is_asked() {
    let id = |number: u32| Uuid::from_u128(u128::from(number));
    let mut now = vec![State::default()];
    for depth in 1..=7 {
        let mut next = Vec::new();
        for state in &now {
            let mut commands = vec![rebuild(id(depth))];
            for rebuild in state.rebuilds() {
                commands.extend([
                    Command::RecordComparison(compare(rebuild.id)),
                    Command::Promote(switch(rebuild.id, rebuild.beside(), 9, 9)),
                    Command::RollBack(switch(rebuild.id, rebuild.beside(), 9, 9)),
                    drop_of(rebuild.id),
                ]);
            }
            for command in commands {
                let Ok(events) = Generations::decide(state, &command) else {
                    continue;
                };
                let mut after = state.clone();
                for event in &events {
                    after = Generations::evolve(after, event);
                    let kept = after.kept(1);
                    assert!(kept.len() <= 2 && kept[0] == after.live(1), "{after:?}");
                    for (_, gone) in after.gone() {
                        assert!(!kept.contains(&gone), "{after:?}");
                    }
                    for gone in state.gone() {
                        assert!(after.gone().contains(&gone), "{after:?}");
                    }
                    let known = |generation: u32| {
                        generation == 0
                            || after
                                .rebuilds()
                                .iter()
                                .any(|it| it.generation == generation)
                    };
                    assert!(kept.into_iter().all(known), "{after:?}");
                }
                if !events.is_empty() {
                    next.push(after);
                }
            }
        }
        next.sort_by_cached_key(|state| serde_json::to_string(state).unwrap());
        next.dedup();
        now = next;
    }
    assert!(now.len() > 20, "{}", now.len());
}
