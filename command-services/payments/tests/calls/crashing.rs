//! What the next process asks for again, and what not.

use std::{sync::Arc, time::Duration};

use recourse_bus::{BusError, Checkpoints};
use recourse_domain::payment::Operation;
use recourse_event_store::memory;
use recourse_payments::Error;

use crate::{
    engines::{Cut, Watched},
    world::{LOG, World, authorize, capture, quiet, stream},
};

const SAVED: Duration = Duration::from_millis(600);

#[tokio::test(start_paused = true)]
async fn a_restart_asks_for_what_is_open_and_for_nothing_that_is_settled() {
    for with_checkpoint in [true, false] {
        let mut world = World::new();
        let running = world.start().await;
        for number in 0..5 {
            let command = world.send(number, authorize(number, "tok_visa")).await;
            assert_eq!(world.answered(number, command).await, "done");
        }
        let declined = world.send(5, authorize(5, "tok_declined")).await;
        world.answered(5, declined).await;
        let open = world.send(6, authorize(6, "tok_slow_2000")).await;
        tokio::time::sleep(SAVED).await;
        running.kill().await;
        let key = world.provider.sent().last().unwrap().key;
        assert_eq!(world.answer(6, open).await, None);

        world.provider = Arc::default();
        if !with_checkpoint {
            world.checkpoints = recourse_bus::MemoryCheckpoints::default();
        }
        let running = world.start().await;
        assert_eq!(world.answered(6, open).await, "done");
        let sent = world.provider.sent();
        assert_eq!((sent.len(), sent[0].key), (1, key), "{sent:?}");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_checkpoint_knows_what_is_open_without_the_log_before_it() {
    let world = World::new();
    let running = world.start().await;
    let open = world.send(1, authorize(1, "tok_flaky_1000000")).await;
    // Long before the checkpoint: only what it keeps can bring it back.
    for number in 2..6 {
        let command = world.send(number, authorize(number, "tok_visa")).await;
        world.answered(number, command).await;
    }
    tokio::time::sleep(SAVED).await;
    running.stop().await;
    let kept = world.checkpoints.load("payments-open-intents").await;
    let kept = kept.unwrap().unwrap();
    assert!(kept.position > world.events(1).await[0].position);
    let state = kept.state.unwrap();
    assert!(state.as_str().contains(stream(1).as_str()));
    assert!(!state.as_str().contains(stream(2).as_str()), "{state:?}");
    let calls = world.provider.sent().len();
    let running = world.start().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.provider.sent().len() > calls, "nobody asks any more");
    assert_eq!(world.answer(1, open).await, None);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_was_lost_with_the_power_is_asked_for_under_the_same_key() {
    let mut world = World::on(memory::Store::with_manual_sync(LOG));
    let running = world.start().await;
    let authorization = world.send(1, authorize(1, "tok_visa")).await;
    quiet().await;
    world.store.inner.sync();
    quiet().await;
    // The provider has answered, and that is not durable.
    assert_eq!(
        world.story(1).await,
        ["authorization-requested", "authorized"]
    );
    let left = world.store.inner.crash();
    running.kill().await;
    world.store = Cut::new(left);
    assert_eq!(world.story(1).await, ["authorization-requested"]);
    let running = world.start().await;
    assert_eq!(world.answered(1, authorization).await, "done");
    let sent = world.provider.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].key, sent[1].key);
    assert_eq!(world.provider.effects(), [Operation::Authorize]);
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn power_lost_after_any_millisecond_moves_no_money_twice() {
    for token in ["tok_visa", "tok_lost_reply", "tok_flaky_1", "tok_slow_3"] {
        for millis in 0..16 {
            let mut world = World::on(memory::Store::with_manual_sync(LOG));
            let mut running = world.start().await;
            let mut commands = vec![world.send(1, authorize(1, token)).await];
            // What a saga has sent is durable before it comes to be asked for twice.
            world.store.inner.sync();
            for step in 0..=millis {
                if step % 3 == 2 {
                    world.store.inner.sync();
                }
                quiet().await;
            }
            let left = world.store.inner.crash();
            running.kill().await;
            world.store = Cut::new(left);
            running = world.start().await;
            let store = world.store.inner.clone();
            let mut disk = tokio::task::JoinSet::new();
            disk.spawn(async move {
                loop {
                    store.sync();
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
            assert_eq!(world.answered(1, commands.remove(0)).await, "done");
            let captured = world.send(1, capture()).await;
            assert_eq!(world.answered(1, captured).await, "done");
            assert_eq!(
                world.provider.effects(),
                [Operation::Authorize, Operation::Capture],
                "{token} after {millis} ms"
            );
            let mut keys: Vec<_> = world.provider.sent().iter().map(|its| its.key).collect();
            keys.dedup();
            assert_eq!(keys.len(), 2, "{token} after {millis} ms");
            disk.shutdown().await;
            running.kill().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_another_log_is_not_believed() {
    let mut world = World::new();
    let running = world.start().await;
    world.send(1, authorize(1, "tok_flaky_1000000")).await;
    tokio::time::sleep(SAVED).await;
    running.stop().await;
    // The bus is not to be the one who says so.
    let name = "payments-open-intents";
    let kept = world.checkpoints.load(name).await.unwrap().unwrap();
    world.checkpoints = recourse_bus::MemoryCheckpoints::default();
    world.checkpoints.save(name, kept).await.unwrap();
    world.store = Cut::new(memory::Store::new(LOG));
    world.provider = Arc::new(Watched::default());
    let mut running = world.start().await;
    let ended = running.ended().await;
    assert!(
        matches!(ended, Err(Error::Checkpoint(BusError::Checkpoint { .. }))),
        "{ended:?}"
    );
    assert_eq!(world.provider.operations(), []);
}
