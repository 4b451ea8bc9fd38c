//! How many are under way at once, and who waits for whom.

use std::time::Duration;

use recourse_domain::payment::Operation;
use tokio::time::Instant;

use crate::world::{World, authorize, quiet};

#[tokio::test(start_paused = true)]
async fn a_slow_call_keeps_no_other_one_waiting() {
    let world = World::new();
    let running = world.start().await;
    let slow = world.send(1, authorize(1, "tok_slow_20000")).await;
    quiet().await;
    let start = Instant::now();
    let quick = world.send(2, authorize(2, "tok_visa")).await;
    assert_eq!(world.answered(2, quick).await, "done");
    assert!(start.elapsed() < Duration::from_millis(100));
    assert_eq!(world.answer(1, slow).await, None);
    assert_eq!(world.answered(1, slow).await, "done");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_than_allowed_are_under_way_though_their_intents_came_at_once() {
    let mut world = World::new();
    world.options.max_calls = 3;
    let running = world.start().await;
    let commands = (0..12).map(|number| (number, authorize(number, "tok_slow_1000")));
    let start = Instant::now();
    let commands = world.send_all(commands.collect()).await;
    for (number, command) in (0..).zip(commands) {
        assert_eq!(world.answered(number, command).await, "done");
    }
    assert_eq!(world.provider.most_under_way(), 3);
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(5));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_to_be_repeated_keep_nobody_out() {
    let mut world = World::new();
    world.options.max_calls = 2;
    let running = world.start().await;
    let stuck = (0..8).map(|number| (number, authorize(number, "tok_flaky_1000000")));
    let stuck = world.send_all(stuck.collect()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let start = Instant::now();
    let other = world.send(100, authorize(100, "tok_visa")).await;
    assert_eq!(world.answered(100, other).await, "done");
    assert!(start.elapsed() < Duration::from_millis(100));
    for (number, command) in (0..).zip(stuck) {
        assert_eq!(world.answer(number, command).await, None);
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn those_that_hang_over_and_over_leave_turns_for_payments_that_are_new() {
    let mut world = World::new();
    world.options.max_calls = 4;
    world.options.call_timeout_ms = 30_000;
    let running = world.start().await;
    // None is ever answered in time; together they need ten times the turns that there are.
    let stuck = (0..40).map(|number| (number, authorize(number, "tok_slow_600000")));
    let stuck = world.send_all(stuck.collect()).await;
    // Each is sent once, and is repeated from there on.
    tokio::time::sleep(Duration::from_secs(2_000)).await;
    for number in 0..20 {
        let start = Instant::now();
        let other = world
            .send(100 + number, authorize(100 + number, "tok_visa"))
            .await;
        assert_eq!(world.answered(100 + number, other).await, "done");
        assert!(start.elapsed() < Duration::from_millis(100), "{number}");
        tokio::time::sleep(Duration::from_secs(7)).await;
    }
    assert!(world.provider.most_under_way() <= 4);
    // Nor does a restart give them all the turns.
    running.stop().await;
    let running = world.start().await;
    let start = Instant::now();
    let other = world.send(200, authorize(200, "tok_visa")).await;
    assert_eq!(world.answered(200, other).await, "done");
    assert!(start.elapsed() < Duration::from_millis(100));
    for (number, command) in (0..).zip(stuck) {
        assert_eq!(world.answer(number, command).await, None);
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn intents_that_are_cut_off_are_found_again() {
    let world = World::new();
    world
        .store
        .subscriptions
        .store(3, std::sync::atomic::Ordering::Relaxed);
    let running = world.start().await;
    for number in 0..4 {
        world
            .store
            .batches
            .store(2, std::sync::atomic::Ordering::Relaxed);
        let command = world.send(number, authorize(number, "tok_visa")).await;
        assert_eq!(world.answered(number, command).await, "done");
    }
    assert_eq!(world.provider.operations(), [Operation::Authorize; 4]);
    running.stop().await;
}
