//! Sagas begin once and end once, however many see them begin and end.

use std::{collections::BTreeSet, time::Duration};

use recourse_saga::{Reason, Status};

use crate::{
    engines::Rows,
    world::{SAVED, World, elsewhere, quiet, rows},
};

async fn assert_one_whole_saga(world: &World, number: u128) {
    let saga = world.saga_of(number).await;
    let story = world.story(saga).await;
    let count = |name: &str| story.iter().filter(|its| *its == name).count();
    assert_eq!((count("started"), count("completed")), (1, 1), "{story:?}");
    let state = world.state(saga).await;
    let sent: BTreeSet<_> = state.commands().iter().map(|sent| sent.id).collect();
    assert_eq!(sent.len(), 6, "{:?}", state.commands());
    assert_eq!(state.commands().len(), 6, "a command was sent twice");
}

#[tokio::test(start_paused = true)]
async fn a_placed_order_starts_its_saga_once_though_every_event_comes_twice() {
    let world = World::new();
    let running = world.start_doubled(&Rows::default()).await;
    for number in 0..3 {
        let saga = world.place(number).await;
        quiet().await;
        assert_eq!(world.story(saga).await, ["started"]);
        world.play_to_the_end(saga).await;
    }
    for number in 0..3 {
        assert_one_whole_saga(&world, number).await;
    }
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_orchestrators_drive_each_saga_once() {
    let world = World::new();
    let other = elsewhere(&world);
    let [one, two] = [Rows::default(), Rows::default()];
    let first = world.start(&one).await;
    let second = other.start(&two).await;
    for number in 0..5 {
        world.place(number).await;
    }
    quiet().await;
    for number in 0..5 {
        world.play_to_the_end(world.saga_of(number).await).await;
        assert_one_whole_saga(&world, number).await;
    }
    tokio::time::sleep(SAVED * 2).await;
    assert!(rows(&one).await.is_empty());
    assert!(rows(&two).await.is_empty());
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_in_the_batch_of_the_placing_is_seen() {
    let world = World::new();
    let cancelling = world.cancelling(1);
    world.append_all(vec![world.placing(1), cancelling]).await;
    let running = world.start(&Rows::default()).await;
    let saga = world.saga_of(1).await;
    let state = world.state(saga).await;
    assert_eq!(state.turned_back().unwrap().code, Reason::CANCELLED);
    world.play_to_the_end(saga).await;
    assert_eq!(world.state(saga).await.status(), Status::Compensated);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_turns_back_its_own_saga_and_no_other() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let [cancelled, other] = [world.place(1).await, world.place(2).await];
    quiet().await;
    world.append(world.cancelling(1)).await;
    quiet().await;
    let turned = |state: recourse_saga::State| state.turned_back().cloned();
    assert!(turned(world.state(cancelled).await).is_some());
    assert!(turned(world.state(other).await).is_none());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_another_orchestrator_ended_leaves_no_row() {
    let world = World::new();
    let slow_rows = Rows::default();
    let slow = elsewhere(&world).start(&slow_rows).await;
    let quick = world.start(&Rows::default()).await;
    let begun = world.place(1).await;
    tokio::time::sleep(SAVED * 2).await;
    assert!(rows(&slow_rows).await.contains(&begun));
    slow.bus.hold();
    let never_seen = world.place(2).await;
    quiet().await;
    for saga in [begun, never_seen] {
        world.play_to_the_end(saga).await;
    }
    slow.bus.release();
    tokio::time::sleep(SAVED * 2).await;
    assert_eq!(rows(&slow_rows).await, BTreeSet::new());
    for number in [1, 2] {
        assert_one_whole_saga(&world, number).await;
    }
    slow.stop().await.unwrap();
    quick.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_end_changes_nothing() {
    let mut world = World::new();
    // So that nobody remembers the end.
    world.options.max_remembered_ends = 0;
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    quiet().await;
    let first = world.open(saga).await.remove(0);
    world.play_to_the_end(saga).await;
    let story = world.story(saga).await;
    world
        .answer(saga, &first, &recourse_saga::Answer::Done)
        .await;
    tokio::time::sleep(SAVED * 2).await;
    assert_eq!(world.story(saga).await, story);
    assert!(rows(&kept).await.is_empty());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_to_a_saga_that_has_just_ended_costs_no_read() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    quiet().await;
    let first = world.open(saga).await.remove(0);
    world.play_to_the_end(saga).await;
    let stream = recourse_saga::Definition::stream(saga);
    let reads = world.store.reads_of(&stream);
    world
        .answer(saga, &first, &recourse_saga::Answer::Done)
        .await;
    quiet().await;
    assert_eq!(world.store.reads_of(&stream), reads);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_for_a_while_loses_no_order() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    world
        .store
        .failing_reads
        .store(5, std::sync::atomic::Ordering::Relaxed);
    let saga = {
        world.append(world.placing(1)).await;
        world.saga_of(1).await
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.story(saga).await, ["started"]);
    world.play_to_the_end(saga).await;
    assert_one_whole_saga(&world, 1).await;
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_cannot_be_loaded_for_a_while_costs_no_other_one_its_answer() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    quiet().await;
    let reserve = world.open(saga).await.remove(0);
    // One that comes after it in the order in which sagas move.
    let saga_of = |number| {
        let event = world.placing(number).events.remove(0);
        recourse_saga::saga_id(recourse_saga_orchestrator::fulfilment::NAME, event.id)
    };
    let later = (2..).find(|number| saga_of(*number) > saga).unwrap();
    let answering = world
        .answering(saga, &reserve, &recourse_saga::Answer::Done)
        .await;
    world
        .store
        .failing_reads
        .store(1, std::sync::atomic::Ordering::Relaxed);
    world
        .append_all(vec![answering, world.placing(later)])
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.story(saga).await, ["started", "answered"]);
    world.play_to_the_end(saga).await;
    assert_one_whole_saga(&world, 1).await;
    running.stop().await.unwrap();
}
