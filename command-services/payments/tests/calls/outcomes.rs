//! What the provider answers, or does not.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use recourse_domain::payment::{self, Operation};
use recourse_event_store::{Position, memory};
use tokio::time::Instant;

use crate::world::{LOG, World, authorize, capture, quiet, void};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn the_provider_is_called_once_the_intent_is_durable_and_not_before() {
    let world = World::on(memory::Store::with_manual_sync(LOG));
    let running = world.start().await;
    let authorization = world.send(1, authorize(1, "tok_visa")).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.story(1).await, ["authorization-requested"]);
    assert_eq!(world.provider.operations(), []);
    // What asked for it is durable, the intent is not.
    world.store.inner.sync_up_to(Position::dense(1));
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.provider.operations(), []);
    world.store.inner.sync();
    assert_eq!(world.answered(1, authorization).await, "done");

    let captured = world.send(1, capture()).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.provider.operations(), [Operation::Authorize]);
    world.store.inner.sync();
    assert_eq!(world.answered(1, captured).await, "done");
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_intent_behind_the_durable_end_of_its_own_stream_is_not_called_for() {
    let world = World::on(memory::Store::with_manual_sync(LOG));
    let running = world.start().await;
    world.send(1, authorize(1, "tok_visa")).await;
    quiet().await;
    world.store.inner.sync();
    quiet().await;
    world.send(1, capture()).await;
    quiet().await;
    let events = world.events(1).await;
    assert_eq!(
        world.story(1).await[1..],
        ["authorized", "capture-requested"]
    );
    world.store.inner.sync_up_to(events[1].position);
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.provider.operations(), [Operation::Authorize]);
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_further_command_joins_the_call_that_is_under_way() {
    let world = World::new();
    let running = world.start().await;
    let first = world.send(1, authorize(1, "tok_slow_5000")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = world.send(1, authorize(1, "tok_slow_5000")).await;
    for command in [first, second] {
        assert_eq!(world.answered(1, command).await, "done");
    }
    assert_eq!(world.provider.operations(), [Operation::Authorize]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_on_the_way_takes_effect_once_and_is_answered_once() {
    for token in [
        "tok_visa",
        "tok_lost_reply",
        "tok_never_arrived",
        "tok_late_arrival",
        "tok_flaky_3",
        "tok_slow_1500",
    ] {
        let world = World::new();
        let running = world.start().await;
        for (command, operation) in [
            (authorize(1, token), Operation::Authorize),
            (capture(), Operation::Capture),
        ] {
            let command = world.send(1, command).await;
            assert_eq!(world.answered(1, command).await, "done", "{token}");
            let sent = world.provider.sent();
            let sent = sent.iter().filter(|sent| sent.operation == operation);
            let mut keys: Vec<_> = sent.map(|sent| sent.key).collect();
            keys.dedup();
            assert_eq!(keys.len(), 1, "{token} was asked under several keys");
        }
        let effects = world.provider.effects();
        assert_eq!(
            effects,
            [Operation::Authorize, Operation::Capture],
            "{token}"
        );
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_asked_for_again_under_its_key_at_growing_distances() {
    let mut world = World::new();
    world.options.max_backoff_ms = 500;
    let running = world.start().await;
    let command = world.send(1, authorize(1, "tok_flaky_5")).await;
    assert_eq!(world.answered(1, command).await, "done");
    let sent = world.provider.sent();
    let waits: Vec<u128> = sent
        .windows(2)
        .map(|two| (two[1].at - two[0].at).as_millis())
        .collect();
    assert_eq!(waits, [100, 200, 400, 500, 500]);
    assert!(sent.iter().all(|its| its.key == sent[0].key));
    // Not knowing is said once.
    assert_eq!(
        world.story(1).await,
        ["authorization-requested", "outcome-unknown", "authorized"]
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_unknown_and_asked_for_again() {
    let world = World::new();
    let running = world.start().await;
    let slow = Duration::from_secs(60);
    world.provider.delays.lock().unwrap().push_back(slow);
    let start = Instant::now();
    let command = world.send(1, authorize(1, "tok_visa")).await;
    assert_eq!(world.answered(1, command).await, "done");
    let took = start.elapsed();
    assert!(took > Duration::from_secs(30) && took < Duration::from_secs(31));
    assert_eq!(world.story(1).await[1], "outcome-unknown");
    assert_eq!(world.provider.effects(), [Operation::Authorize]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_answer_and_nothing_is_asked_again() {
    let world = World::new();
    let running = world.start().await;
    let command = world.send(1, authorize(1, "tok_declined")).await;
    assert_eq!(world.answered(1, command).await, "payment-declined");
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.provider.operations(), [Operation::Authorize]);
    assert_eq!(world.provider.effects(), []);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_void_asked_for_while_the_authorization_is_unknown_settles_that_first() {
    let world = World::new();
    let running = world.start().await;
    let authorization = world.send(1, authorize(1, "tok_flaky_4")).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(world.answer(1, authorization).await, None);
    let undo = world.send(1, void()).await;
    quiet().await;
    assert_eq!(world.story(1).await.last().unwrap(), "void-requested");
    assert_eq!(world.answered(1, undo).await, "done");
    assert_eq!(world.answer(1, authorization).await.unwrap(), "done");
    let operations = world.provider.operations();
    let first_void = operations.iter().position(|its| *its == Operation::Void);
    assert_eq!(first_void, Some(5), "{operations:?}");
    let effects = world.provider.effects();
    assert_eq!(effects, [Operation::Authorize, Operation::Void]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_void_of_what_turns_out_to_be_declined_asks_the_provider_for_nothing() {
    let world = World::new();
    let running = world.start().await;
    world.provider.losses.store(3, Relaxed);
    let authorization = world.send(1, authorize(1, "tok_declined")).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let undo = world.send(1, void()).await;
    assert_eq!(world.answered(1, undo).await, "nothing-to-undo");
    let declined = world.answer(1, authorization).await.unwrap();
    assert_eq!(declined, "payment-declined");
    assert_eq!(world.provider.operations(), [Operation::Authorize; 4]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn past_the_life_of_its_key_an_unknown_outcome_is_asked_for_no_more() {
    let mut world = World::new();
    world.options.key_life_ms = 10_000;
    let running = world.start().await;
    let start = Instant::now();
    let command = world.send(1, authorize(1, "tok_flaky_1000000")).await;
    tokio::time::sleep(HOUR).await;
    let sent = world.provider.sent();
    let last = sent.last().unwrap().at - start;
    let life = Duration::from_secs(10);
    assert!(last < life && last > life / 2, "asked last after {last:?}");
    // It stays open, for nobody knows, and others are served.
    assert_eq!(world.answer(1, command).await, None);
    let again = world.send(1, authorize(1, "tok_flaky_1000000")).await;
    let other = world.send(2, authorize(2, "tok_visa")).await;
    assert_eq!(world.answered(2, other).await, "done");
    assert_eq!(world.answer(1, again).await, None);
    running.stop().await;

    // The next process knows it too.
    let calls = world.provider.sent().len();
    let running = world.start().await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.provider.sent().len(), calls);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_key_begins_with_its_own_intent() {
    let mut world = World::new();
    world.options.key_life_ms = 10_000;
    let running = world.start().await;
    let authorization = world.send(1, authorize(1, "tok_visa")).await;
    assert_eq!(world.answered(1, authorization).await, "done");
    tokio::time::sleep(HOUR).await;
    let captured = world.send(1, capture()).await;
    assert_eq!(world.answered(1, captured).await, "done");
    running.stop().await;
}

fn settle(operation: Operation, took_effect: bool) -> payment::Command {
    payment::Command::Settle(payment::Settle {
        operation,
        took_effect,
        reference: None,
        reason: "the bank's list says so".to_owned(),
    })
}

#[tokio::test(start_paused = true)]
async fn past_the_life_of_its_key_an_operator_settles_it_and_what_waited_is_asked_for() {
    let mut world = World::new();
    world.options.key_life_ms = 10_000;
    let running = world.start().await;
    let authorization = world.send(1, authorize(1, "tok_flaky_1000000")).await;
    let voided = world.send(1, void()).await;
    let early = world.send(1, settle(Operation::Authorize, false)).await;
    tokio::time::sleep(HOUR).await;
    // The provider was asked still when the operator spoke first.
    assert_eq!(world.answer(1, early).await, None);
    let settled = world.send(1, settle(Operation::Authorize, true)).await;
    for command in [authorization, early, settled] {
        assert_eq!(world.answered(1, command).await, "done");
    }
    // Asked for the first time only now, an hour after its intent.
    tokio::time::sleep(HOUR).await;
    let voids = world.provider.sent().into_iter();
    let voids = voids.filter(|sent| sent.operation == Operation::Void);
    assert!(voids.count() > 0, "the void was never asked for");
    running.stop().await;

    // The next process knows what is given up, and asks nobody.
    let asked = world.provider.sent().len();
    let running = world.start().await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.provider.sent().len(), asked);
    assert_eq!(world.answer(1, voided).await, None);
    let settled = world.send(1, settle(Operation::Void, true)).await;
    assert_eq!(world.answered(1, settled).await, "done");
    assert_eq!(world.answered(1, voided).await, "done");
    running.stop().await;
}
