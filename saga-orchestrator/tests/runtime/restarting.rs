//! What a restart costs, and what the rows of the sagas in flight survive.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use recourse_saga::{Definition, Status};
use recourse_saga_orchestrator::{Error, InFlightError};
use recourse_views::documents;

use crate::{
    engines::{Fault, Rows, Watched},
    world::{SAVED, World, quiet, rows, rows_position},
};

/// The same world for the next process: it has read nothing yet.
fn next_process(world: &World) -> World {
    World {
        store: Watched::new(world.store.inner.clone()),
        clock: Arc::clone(&world.clock),
        timing: world.timing.clone(),
        options: world.options.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_reads_no_saga_that_has_ended_and_goes_on_with_those_in_flight() {
    let world = World::new();
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let mut ended = Vec::new();
    for number in 0..30 {
        let saga = world.place(number).await;
        quiet().await;
        world.play_to_the_end(saga).await;
        ended.push(saga);
    }
    let in_flight = [world.place(100).await, world.place(101).await];
    tokio::time::sleep(SAVED * 2).await;
    running.kill().await;

    // What one row remembers is enough, and what comes while nobody looks is not lost.
    let missed = world.place(102).await;
    world.play(in_flight[0]).await;
    let world = next_process(&world);
    let running = world.start(&kept).await;
    for saga in &ended {
        assert_eq!(world.store.reads_of(&Definition::stream(*saga)), 0);
    }
    for saga in in_flight {
        assert_eq!(world.store.reads_of(&Definition::stream(saga)), 1);
    }
    for saga in in_flight.into_iter().chain([missed]) {
        world.play_to_the_end(saga).await;
        assert_eq!(world.state(saga).await.status(), Status::Completed);
    }
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_orchestrator_that_is_stopped_saves_how_far_it_has_come() {
    let world = World::new();
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    quiet().await;
    running.stop().await.unwrap();
    assert_eq!(rows(&kept).await, BTreeSet::from([saga]));
    let placed = world.events().await[0].position;
    assert!(rows_position(&kept).await >= placed);
}

#[tokio::test(start_paused = true)]
async fn an_orchestrator_that_is_stopped_half_way_through_a_batch_leaves_it_to_the_next() {
    let world = World::new();
    let kept = Rows::default();
    let running = world.start(&kept).await;
    world.place(1).await;
    quiet().await;
    world.store.failing_reads.store(usize::MAX, Relaxed);
    let half_way = world.place(2).await;
    quiet().await;
    running.stop().await.unwrap();
    assert!(rows_position(&kept).await < world.head().await);
    world.store.failing_reads.store(0, Relaxed);
    let running = world.start(&kept).await;
    assert_eq!(world.story(half_way).await, ["started"]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_rows_everything_is_read_again_and_nothing_happens_twice() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let [ended, open] = [world.place(1).await, world.place(2).await];
    quiet().await;
    world.play_to_the_end(ended).await;
    running.kill().await;
    let stories = [world.story(ended).await, world.story(open).await];
    let running = world.start(&Rows::default()).await;
    assert_eq!([world.story(ended).await, world.story(open).await], stories);
    world.play_to_the_end(open).await;
    assert_eq!(world.state(open).await.status(), Status::Completed);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_saved_for_a_while_are_saved_later() {
    let world = World::new();
    let kept = Rows::default();
    kept.faults.lock().unwrap().extend([Fault::NotTaken; 3]);
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    tokio::time::sleep(SAVED * 2).await;
    assert_eq!(rows(&kept).await, BTreeSet::new());
    tokio::time::sleep(SAVED * 4).await;
    assert_eq!(rows(&kept).await, BTreeSet::from([saga]));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rows_that_were_saved_without_an_answer_are_neither_lost_nor_left() {
    let world = World::new();
    let kept = Rows::default();
    kept.faults.lock().unwrap().push_back(Fault::AnswerLost);
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    tokio::time::sleep(SAVED + SAVED / 2).await;
    assert_eq!(rows(&kept).await, BTreeSet::from([saga]));
    // It ends before the next save: its row is there all the same, and must go.
    world.play_to_the_end(saga).await;
    tokio::time::sleep(SAVED * 3).await;
    assert_eq!(rows(&kept).await, BTreeSet::new());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rows_that_somebody_else_moves_end_the_orchestrator() {
    let world = World::new();
    let kept = Rows::default();
    kept.faults.lock().unwrap().push_back(Fault::Moved);
    let running = world.start(&kept).await;
    world.place(1).await;
    tokio::time::sleep(SAVED * 2).await;
    let ended = running.ended().await;
    assert!(
        matches!(
            ended,
            Err(Error::InFlight(InFlightError::Documents(
                documents::Error::Moved { .. }
            )))
        ),
        "{ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn rows_of_another_log_are_not_believed() {
    let world = World::new();
    let kept = Rows::default();
    let running = world.start(&kept).await;
    world.place(1).await;
    quiet().await;
    running.stop().await.unwrap();
    let empty = World::new();
    let loaded = empty
        .load(&kept, empty.new_bus(), vec![empty.current()])
        .await;
    assert!(matches!(
        loaded.err(),
        Some(Error::InFlight(InFlightError::Checkpoint(_)))
    ));
}
