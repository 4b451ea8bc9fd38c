//! What the builder takes and what it refuses.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing"
)]

use std::time::Duration;

use recourse_event_store::typed;
use recourse_saga::{
    Backoff, BuildError, Builder, Definition, Ids, Outgoing, Reason, Step, closing, compensatable,
    pivot, retriable,
};
use uuid::Uuid;

type Commands = Result<Vec<Outgoing>, typed::Error>;

fn nothing(_: &u32, _: &Ids) -> Commands {
    Ok(Vec::new())
}

fn reversed(_: &u32, _: &Ids, _: &Reason) -> Commands {
    Ok(Vec::new())
}

fn before(name: &'static str) -> Step<u32> {
    compensatable(name, nothing, nothing)
}

fn after(name: &'static str) -> Step<u32> {
    retriable(name, nothing).without_effect()
}

fn turn(name: &'static str) -> Step<u32> {
    pivot(name, nothing).reversed_by(reversed)
}

fn last(name: &'static str) -> Step<u32> {
    closing(name, |_: &u32, _: &Ids, _: &Reason| Ok(Vec::new()))
}

fn builder() -> Builder<u32> {
    Definition::builder("toy", 1).starts(|_| Ok(None))
}

fn refused(builder: Builder<u32>) -> BuildError {
    builder.build().unwrap_err()
}

#[test]
fn compensatable_then_pivot_then_retriable_is_an_order() {
    let definition = builder()
        .step(before("hold"))
        .stage(vec![before("charge"), before("pack")])
        .step(turn("decide"))
        .step(after("send").takes_over("hold"))
        .when_undone(last("tell"))
        .build();
    assert!(definition.is_ok());
}

#[test]
fn there_is_exactly_one_pivot_and_it_stands_alone() {
    assert_eq!(refused(builder().step(before("a"))), BuildError::Pivots(0));
    assert_eq!(
        refused(builder().step(turn("a")).step(turn("b"))),
        BuildError::Pivots(2)
    );
    assert_eq!(
        refused(builder().stage(vec![turn("a"), before("b")])),
        BuildError::PivotNotAlone("a".into())
    );
}

#[test]
fn a_step_of_one_side_of_the_pivot_does_not_stand_on_the_other() {
    assert_eq!(
        refused(builder().step(turn("a")).step(before("b"))),
        BuildError::CompensatableAfterPivot("b".into())
    );
    assert_eq!(
        refused(builder().step(after("a")).step(turn("b"))),
        BuildError::RetriableBeforePivot("a".into())
    );
}

#[test]
fn the_closing_act_stands_behind_the_steps_and_nothing_else_does() {
    assert_eq!(
        refused(builder().step(last("a")).step(turn("b"))),
        BuildError::ClosingAsStep("a".into())
    );
    assert_eq!(
        refused(builder().step(turn("b")).when_undone(after("a"))),
        BuildError::NotClosing("a".into())
    );
}

#[test]
fn names_are_unique_the_closing_acts_too() {
    assert_eq!(
        refused(builder().step(before("a")).step(turn("a"))),
        BuildError::Name("a".into())
    );
    assert_eq!(
        refused(builder().step(turn("a")).when_undone(last("a"))),
        BuildError::Name("a".into())
    );
}

#[test]
fn every_step_has_time_and_an_attempt_and_every_stage_a_step() {
    for step in [turn("a").timeout(Duration::ZERO), turn("a").max_attempts(0)] {
        assert_eq!(
            refused(builder().step(step)),
            BuildError::Bounds("a".into())
        );
    }
    let closing = last("z").max_attempts(0);
    assert_eq!(
        refused(builder().step(turn("a")).when_undone(closing)),
        BuildError::Bounds("z".into())
    );
    assert_eq!(
        refused(builder().stage(vec![]).step(turn("a"))),
        BuildError::EmptyStage(0)
    );
}

#[test]
fn only_a_step_after_the_pivot_takes_over_and_only_from_one_before_it() {
    let taken = |step: &str, earlier: &str| BuildError::TakesOver {
        step: step.into(),
        earlier: earlier.into(),
    };
    assert_eq!(
        refused(builder().step(turn("a")).step(after("b").takes_over("a"))),
        taken("b", "a")
    );
    assert_eq!(
        refused(
            builder()
                .step(before("a"))
                .step(before("b").takes_over("a"))
                .step(turn("c"))
        ),
        taken("b", "a")
    );
}

#[test]
fn something_starts_a_saga() {
    assert_eq!(
        refused(Definition::builder("toy", 1).step(turn("a"))),
        BuildError::NoStart
    );
}

#[test]
fn the_hash_is_of_names_kinds_order_fan_out_and_versions_alone() {
    let hash = |builder: Builder<u32>| builder.build().unwrap().hash().to_owned();
    let base = || {
        builder()
            .step(before("a"))
            .step(before("b"))
            .step(turn("c"))
    };
    let same = hash(base());
    let timed = builder()
        .deadline(Duration::from_secs(1))
        .step(before("a").timeout(Duration::from_secs(1)).max_attempts(2))
        .step(before("b").backoff(Backoff {
            first: Duration::ZERO,
            max: Duration::ZERO,
        }))
        .step(turn("c"));
    assert_eq!(hash(timed), same);
    let others = [
        builder()
            .step(before("b"))
            .step(before("a"))
            .step(turn("c")),
        builder()
            .stage(vec![before("a"), before("b")])
            .step(turn("c")),
        builder()
            .step(before("a").fans_out())
            .step(before("b"))
            .step(turn("c")),
        builder()
            .step(before("a").version(2))
            .step(before("b"))
            .step(turn("c")),
        base().step(after("d")),
        base().when_undone(last("d")),
        Definition::builder("toy", 2)
            .starts(|_| Ok(None))
            .step(before("a"))
            .step(before("b"))
            .step(turn("c")),
        Definition::builder("joy", 1)
            .starts(|_| Ok(None))
            .step(before("a"))
            .step(before("b"))
            .step(turn("c")),
    ];
    let mut hashes: Vec<_> = others.into_iter().map(hash).chain([same]).collect();
    let all = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), all);
}

#[test]
fn a_sagas_id_is_of_its_starting_event_and_its_definitions_name() {
    let one = |version| {
        Definition::builder::<u32>("toy", version)
            .starts(|_| Ok(None))
            .step(turn("a"))
            .build()
            .unwrap()
    };
    let event = Uuid::from_u128(7);
    assert_eq!(one(1).saga_id(event), one(2).saga_id(event));
    assert_ne!(one(1).saga_id(event), one(1).saga_id(Uuid::from_u128(8)));
}

#[test]
fn the_wait_doubles_to_its_bound_and_its_share_is_the_commands() {
    let backoff = Backoff {
        first: Duration::from_millis(200),
        max: Duration::from_secs(2),
    };
    for command in [Uuid::nil(), Uuid::max(), Uuid::from_u128(0x1234)] {
        for (attempt, whole) in [
            (1, 200),
            (2, 400),
            (3, 800),
            (4, 1_600),
            (5, 2_000),
            (99, 2_000),
        ] {
            let wait = backoff.after(attempt, command).as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{attempt}: {wait}");
        }
    }
    assert_eq!(backoff.after(1, Uuid::nil()), Duration::from_millis(100));
    assert_eq!(backoff.after(1, Uuid::max()), Duration::from_millis(200));
}

#[test]
fn every_step_from_the_pivot_on_says_what_takes_it_back() {
    let silent = builder().step(pivot("decide", nothing));
    assert_eq!(refused(silent), BuildError::NoWayBack("decide".into()));
    let silent = builder()
        .step(turn("decide"))
        .step(retriable("send", nothing));
    assert_eq!(refused(silent), BuildError::NoWayBack("send".into()));
    let spoken = builder()
        .step(turn("decide"))
        .step(retriable("send", nothing).reversed_by(reversed))
        .step(retriable("note", nothing).without_effect());
    assert!(spoken.build().is_ok());
}

#[test]
fn only_an_irreversible_pivot_has_irreversible_steps_after_it() {
    let late = builder()
        .step(turn("decide"))
        .step(retriable("send", nothing).irreversible());
    assert_eq!(refused(late), BuildError::WayBack("send".into()));
    let all = builder()
        .step(pivot("decide", nothing).irreversible())
        .step(retriable("send", nothing).irreversible());
    assert!(all.build().is_ok());
    let nothing_done = builder().step(pivot("decide", nothing).without_effect());
    assert_eq!(refused(nothing_done), BuildError::WayBack("decide".into()));
    let early = builder()
        .step(before("hold").without_effect())
        .step(turn("decide"));
    assert_eq!(refused(early), BuildError::WayBack("hold".into()));
}
