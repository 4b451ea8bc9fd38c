//! Sagas, watched.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Block, POISON, World, of_another_log, token};

const SAGA: &str = "/v1/sagas/00000000-0000-0000-0000-000000000001/watch";
const STREAM: &str = "saga-00000000-0000-0000-0000-000000000001";

async fn happen(world: &World, event_type: &str) {
    world.append(STREAM, event_type, Value::Null).await;
    world
        .append("order-1", "order.changed.v1", Value::Null)
        .await;
    world.store.sync();
}

fn whole(position: u64, events: u64) -> Block {
    Block {
        event: Some("saga".into()),
        id: Some(token(position)),
        data: Some(json!({"events": events, "whole": true})),
        retry: None,
    }
}

fn end() -> Block {
    Block {
        event: Some("end".into()),
        data: Some(json!({})),
        ..Block::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_is_shown_as_it_is_and_then_after_each_of_its_events_to_its_end() {
    let world = World::new();
    happen(&world, "saga.started.v1").await;
    happen(&world, "saga.answered.v1").await;
    let mut watcher = world.watch(SAGA).await;
    assert_eq!(watcher.ready().await, [whole(4, 2)]);
    world
        .append("saga-another", "saga.started.v1", Value::Null)
        .await;
    happen(&world, "saga.answered.v1").await;
    assert_eq!(watcher.ready().await, [whole(6, 3)]);
    happen(&world, "saga.completed.v1").await;
    assert_eq!(watcher.next().await, Some(whole(8, 4)));
    assert_eq!(watcher.next().await, Some(end()));
    assert_eq!(watcher.next().await, None, "the stream is closed");
}

#[tokio::test(start_paused = true)]
async fn from_a_position_on_every_step_after_it_is_shown() {
    let world = World::new();
    for event_type in ["saga.started.v1", "saga.answered.v1", "saga.completed.v1"] {
        happen(&world, event_type).await;
    }
    let from = |from: String| format!("{SAGA}?from={from}");
    for (path, expected) in [
        (
            from("start".into()),
            vec![whole(1, 1), whole(3, 2), whole(5, 3), end()],
        ),
        (from(token(1)), vec![whole(3, 2), whole(5, 3), end()]),
        (from(token(2)), vec![whole(3, 2), whole(5, 3), end()]),
        (from("end".into()), vec![end()]),
        (SAGA.into(), vec![whole(6, 3), end()]),
    ] {
        assert_eq!(world.watch(&path).await.ready().await, expected, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_to_a_saga_that_has_ended_is_told_to_stay_away() {
    let world = World::new();
    happen(&world, "saga.started.v1").await;
    happen(&world, "saga.completed.v1").await;
    let last = token(1);
    let mut watcher = world.resume(SAGA, &[("last-event-id", &last)]).await;
    assert_eq!(watcher.ready().await, [whole(3, 2), end()], "there is news");
    let last = token(3);
    let answer = world.get(SAGA, &[("last-event-id", &last)]).await;
    assert_eq!(answer.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_position_is_gone_is_shown_as_it_is() {
    let world = World::new();
    happen(&world, "saga.started.v1").await;
    let gone = of_another_log(1);
    let mut watcher = world.resume(SAGA, &[("last-event-id", &gone)]).await;
    let reset = watcher.next().await.unwrap();
    assert_eq!(reset.event.as_deref(), Some("reset"));
    assert_eq!(watcher.ready().await, [whole(2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_saga_is_waited_for_and_then_not_found() {
    let world = World::new();
    for path in [SAGA, "/v1/sagas/no-uuid/watch"] {
        assert_eq!(world.get(path, &[]).await.code().await, "not-found");
    }
    let begun = tokio::time::Instant::now();
    let answer = world.get(SAGA, &[("prefer", "wait=7")]).await;
    assert_eq!(answer.code().await, "not-found");
    assert_eq!(begun.elapsed().as_secs(), 7);
    let (mut watcher, ()) = tokio::join!(world.watch(SAGA), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        happen(&world, "saga.started.v1").await;
    });
    assert_eq!(watcher.ready().await.last(), Some(&whole(2, 1)));
}

#[tokio::test(start_paused = true)]
async fn all_sagas_are_shown_in_short_at_each_change() {
    let world = World::new();
    world.append("saga-a", "saga.started.v1", Value::Null).await;
    world.append("saga-b", "saga.started.v1", Value::Null).await;
    world.store.sync();
    // Both began before anybody watched.
    let mut watcher = world.watch("/v1/sagas/watch").await;
    world
        .append("saga-a", "saga.answered.v1", Value::Null)
        .await;
    world
        .append("order-1", "order.changed.v1", Value::Null)
        .await;
    world
        .append("saga-b", "saga.completed.v1", Value::Null)
        .await;
    world.append("saga-c", "saga.started.v1", Value::Null).await;
    world
        .append("saga-a", "saga.answered.v1", Value::Null)
        .await;
    world.store.sync();
    let seen = |blocks: Vec<Block>| -> Vec<_> {
        blocks
            .iter()
            .map(|block| {
                assert_eq!(block.event.as_deref(), Some("saga"));
                (block.position(), block.data()["events"].as_u64().unwrap())
            })
            .collect()
    };
    let live = [(3, 2), (5, 2), (6, 1), (7, 3)];
    assert_eq!(seen(watcher.ready().await), live);
    let path = format!("/v1/sagas/watch?from={}", token(2));
    assert_eq!(seen(world.watch(&path).await.ready().await), live);
    let all = seen(
        world
            .watch("/v1/sagas/watch?from=start")
            .await
            .ready()
            .await,
    );
    assert_eq!(all, [(1, 1), (2, 1), (3, 2), (5, 2), (6, 1), (7, 3)]);
}

#[tokio::test(start_paused = true)]
async fn who_watches_a_saga_that_cannot_be_folded_is_let_go_before_that_and_not_led_past_it() {
    let world = World::new();
    happen(&world, "saga.started.v1").await;
    let mut log = world.watch("/v1/events/watch").await;
    let mut watchers = Vec::new();
    for path in [SAGA, "/v1/sagas/watch"] {
        let mut watcher = world.watch(path).await;
        watcher.ready().await;
        watchers.push((path, watcher));
    }
    happen(&world, "saga.answered.v1").await;
    happen(&world, POISON).await;
    happen(&world, "saga.answered.v1").await;
    for (path, mut watcher) in watchers {
        assert_eq!(watcher.positions().await, [3], "{path}");
        let last = token(3);
        let back = world.get(path, &[("last-event-id", &last)]).await;
        assert_eq!(back.code().await, "internal", "{path}");
    }
    assert_eq!(log.positions().await, [3, 4, 5, 6, 7, 8]);
}
