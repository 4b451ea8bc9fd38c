//! What watching costs, and what it may not cost.

use std::time::Duration;

use serde_json::json;

use super::world::{Block, World, token};
use crate::world::{World as Served, request};

#[tokio::test(start_paused = true)]
async fn more_watchers_than_there_is_room_for_are_refused() {
    let world = World::with(|options| options.max_watchers = 2);
    let first = world.watch("/v1/events/watch").await;
    let second = world.watch("/v1/sagas/watch").await;
    let refused = world.get("/v1/events/watch", &[]).await;
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.code().await, "overloaded");
    drop(first);
    let third = world.watch("/v1/events/watch").await;
    drop((second, third));
    // Nor does one that is refused for another reason keep a place.
    for _ in 0..3 {
        world.get("/v1/events/watch?from=x", &[]).await;
        world.request("HEAD", "/v1/events/watch", &[]).await;
    }
    world.watch("/v1/events/watch").await;
}

#[tokio::test(start_paused = true)]
async fn who_watches_holds_no_place_of_a_request() {
    let world = World::with(|options| options.max_requests_in_flight = 1);
    let mut watcher = world.watch("/v1/events/watch").await;
    assert_eq!(world.get("/v1/events", &[]).await.status, 200);
    // Nor does the time of a request end it.
    tokio::time::sleep(Duration::from_secs(300)).await;
    world.fill(1).await;
    let seen = watcher.ready().await;
    assert_eq!(seen.iter().filter(|block| block.data.is_some()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_who_is_too_slow_is_closed_and_comes_back_without_loss() {
    let world = World::with(|options| options.watch_buffer_events = 4);
    let mut slow = world.watch("/v1/events/watch").await;
    let mut other = world.watch("/v1/events/watch").await;
    assert_eq!(slow.ready().await, []);
    for _ in 0..3 {
        world.fill(2).await;
        assert_eq!(other.ready().await.len(), 2);
    }
    let mut seen = Vec::new();
    while let Some(block) = slow.next().await {
        seen.push(block.position());
    }
    assert!(seen.len() < 6, "{seen:?}");
    let last = token(seen.last().copied().unwrap_or_default());
    let mut back = world
        .resume("/v1/events/watch", &[("last-event-id", &last)])
        .await;
    seen.extend(back.positions().await);
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_connection_that_takes_nothing_is_closed_and_its_place_given_back() {
    let world = Served::with(|options| {
        options.max_watchers = 1;
        options.watch_buffer_events = 2;
    })
    .await;
    let mut stuck = world.connect().await;
    stuck.send(request("GET /v1/events/watch", b"")).await;
    let wide = json!({"n": "x".repeat(64 * 1024)});
    // Until the buffers on the way are full, and ours after them.
    let mut free = false;
    for _ in 0..5_000 {
        super::super::history::append(&world, "order-1", "order.placed.v1", wide.clone()).await;
        world.store.sync();
        let mut other = world.connect().await;
        other
            .send(request("HEAD /v1/events/watch\r\nConnection: close", b""))
            .await;
        if other.receive_head().await.status == 200 {
            free = true;
            break;
        }
    }
    assert!(free, "the place of the one that is stuck is not given back");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ends_ends_those_who_watch() {
    let world = World::new();
    let mut watcher = world.watch("/v1/events/watch").await;
    assert_eq!(watcher.ready().await, []);
    world.store.fail("the disk is gone");
    assert_eq!(watcher.next().await, None);
}

#[tokio::test]
async fn at_the_end_of_the_server_streams_end_in_order() {
    let world = Served::new().await;
    let mut watcher = world.connect().await;
    watcher.send(request("GET /v1/events/watch", b"")).await;
    let head = watcher.receive_head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    super::super::history::append(&world, "order-1", "order.placed.v1", json!({})).await;
    world.store.sync();
    let chunk = watcher.receive_chunk().await;
    let opening = Block::read(chunk.trim_end());
    assert_eq!(opening.id, Some(token(0)));
    let chunk = watcher.receive_chunk().await;
    assert_eq!(Block::read(chunk.trim_end()).id, Some(token(1)));
    world.shutdown.cancel();
    assert_eq!(watcher.receive_chunk().await, "", "the last chunk");
    assert!(watcher.is_closed().await);
    assert!(world.ended().await, "everything was finished");
}
