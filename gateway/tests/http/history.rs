//! The log over HTTP.

use recourse_event_store::{Append, EventStore, ExpectedRevision, Metadata, NewEvent, StreamName};
use serde_json::{Value, json};
use uuid::Uuid;

use super::world::{LOG, World};

/// Appends an event with this data.
pub(crate) async fn append(world: &World, stream: &str, event_type: &str, data: Value) {
    let cause = Uuid::from_u128(7);
    let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let metadata = serde_json::to_vec(&Metadata::new(cause, cause, at, LOG)).unwrap();
    let data = serde_json::to_vec(&data).unwrap();
    let append = Append {
        stream: StreamName::parse(stream).unwrap(),
        expected: ExpectedRevision::Any,
        events: vec![NewEvent::raw(cause, event_type, data, metadata)],
    };
    for appended in world.store.append(vec![append]).await {
        appended.unwrap();
    }
}

async fn filled() -> World {
    let world = World::new().await;
    for n in 0..10 {
        append(&world, "order-1", "order.placed.v1", json!({"n": n})).await;
        append(&world, "stock-a", "stock.received.v1", json!({"n": n})).await;
    }
    world.store.sync();
    world
}

/// Every page from a path on: the numbers in the events, and how many pages there were.
async fn walk(world: &World, path: &str) -> (Vec<(String, u64)>, usize) {
    let mut path = path.to_owned();
    let mut seen = Vec::new();
    for pages in 1.. {
        let answer = world.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json();
        for item in page["items"].as_array().unwrap() {
            let stream = item["stream"].as_str().unwrap().to_owned();
            seen.push((stream, item["data"]["n"].as_u64().unwrap()));
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert_eq!(answer.header("link"), None);
            return (seen, pages);
        };
        let link = answer.header("link").unwrap();
        assert!(
            link.contains(cursor) && link.ends_with("; rel=\"next\""),
            "{link}"
        );
        path = link[1..link.find('>').unwrap()].to_owned();
    }
    unreachable!()
}

fn both(forward: bool) -> Vec<(String, u64)> {
    let mut all: Vec<_> = (0..10)
        .flat_map(|n| [("order-1".to_owned(), n), ("stock-a".to_owned(), n)])
        .collect();
    if !forward {
        all.reverse();
    }
    all
}

#[tokio::test]
async fn the_log_is_walked_both_ways_without_gap_or_repeat() {
    let world = filled().await;
    for limit in [1, 3, 20, 200] {
        for (direction, forward) in [("forward", true), ("backward", false)] {
            let path = format!("/v1/events?limit={limit}&direction={direction}");
            assert_eq!(walk(&world, &path).await.0, both(forward), "{path}");
        }
    }
}

#[tokio::test]
async fn a_stream_is_walked_both_ways_without_gap_or_repeat() {
    let world = filled().await;
    for limit in [1, 3, 9, 10, 11] {
        let path = format!("/v1/streams/order-1?limit={limit}");
        let numbers =
            |seen: Vec<(String, u64)>| seen.into_iter().map(|(_, n)| n).collect::<Vec<_>>();
        let (seen, pages) = walk(&world, &path).await;
        assert_eq!(numbers(seen), (0..10).collect::<Vec<_>>());
        assert_eq!(pages, 10_usize.div_ceil(limit), "no empty page at the end");
        let (seen, _) = walk(&world, &format!("{path}&direction=backward")).await;
        assert_eq!(numbers(seen), (0..10).rev().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_event_has_the_shape_that_scripts_rely_on() {
    let world = World::new().await;
    append(&world, "order-1", "order.placed.v1", json!({"n": 1})).await;
    world.store.sync();
    let answer = world.get("/v1/streams/order-1").await;
    assert_eq!(
        answer.json()["items"][0],
        json!({
            "position": "1-9f3a2c41",
            "stream": "order-1",
            "revision": 0,
            "type": "order.placed.v1",
            "id": Uuid::from_u128(7),
            "recorded_at": "2023-11-14T22:13:20Z",
            "data": {"n": 1},
            "metadata": {
                "$correlationId": Uuid::from_u128(7),
                "$causationId": Uuid::from_u128(7),
                "recordedAt": "2023-11-14T22:13:20Z",
                "log": LOG,
            }
        })
    );
    let answer = world.get("/v1/events").await;
    assert_eq!(answer.header("recourse-position"), Some("1-9f3a2c41"));
}

#[tokio::test]
async fn what_a_schema_marks_and_what_none_describes_is_not_shown() {
    let world = World::new().await;
    let payment = json!({"method": "card", "token": "tok_visa"});
    append(
        &world,
        "order-1",
        "order.placed.v1",
        json!({"payment": payment}),
    )
    .await;
    append(
        &world,
        "order-2",
        "order.unheard-of.v1",
        json!({"a": payment}),
    )
    .await;
    world.store.sync();
    for (path, shown) in [
        (
            "/v1/streams/order-1",
            json!({"payment": {"method": "card", "token": "[redacted]"}}),
        ),
        ("/v1/streams/order-2", json!("[redacted]")),
    ] {
        let page = world.get(path).await;
        assert_eq!(page.json()["items"][0]["data"], shown);
        assert!(!page.text().contains("tok_visa"));
        let page = world.get("/v1/events").await.text();
        assert!(page.contains(&format!("\"data\":{shown}")), "{page}");
        assert!(!page.contains("tok_visa"), "{page}");
    }
}

#[tokio::test]
async fn what_is_not_durable_is_not_shown() {
    let world = filled().await;
    append(&world, "order-1", "order.closed.v1", json!({"n": 10})).await;
    append(&world, "order-2", "order.placed.v1", json!({"n": 11})).await;
    assert_eq!(walk(&world, "/v1/events").await.0.len(), 20);
    assert_eq!(walk(&world, "/v1/streams/order-1").await.0.len(), 10);
    world.get("/v1/streams/order-2").await.problem("not-found");
    world.store.sync();
    assert_eq!(walk(&world, "/v1/events").await.0.len(), 22);
    assert_eq!(walk(&world, "/v1/streams/order-2").await.0.len(), 1);
}

#[tokio::test]
async fn types_are_chosen_by_name_or_beginning() {
    let world = filled().await;
    append(&world, "order-1", "order.placed.v10", json!({"n": 10})).await;
    world.store.sync();
    for (types, count) in [
        ("order.placed.v1", 10),
        ("order.placed", 11),
        ("order", 11),
        ("ord", 0),
        ("order.placed.v10,stock", 11),
        ("payment", 0),
    ] {
        let path = format!("/v1/events?types={types}&limit=4");
        assert_eq!(walk(&world, &path).await.0.len(), count, "{types}");
        let path = format!("/v1/streams/order-1?types={types}&limit=4");
        let of_order = if types.contains("stock") { 1 } else { count };
        assert_eq!(walk(&world, &path).await.0.len(), of_order, "{types}");
    }
}

#[tokio::test]
async fn reading_begins_where_it_is_told() {
    let world = filled().await;
    for (path, count) in [
        ("/v1/events?from=start", 20),
        ("/v1/events?from=end", 0),
        ("/v1/events?from=17-9f3a2c41", 3),
        ("/v1/events?from=20-9f3a2c41", 0),
        ("/v1/events?from=17-9f3a2c41&direction=backward", 16),
        ("/v1/events?from=start&direction=backward", 0),
        ("/v1/events?from=end&direction=backward", 20),
        ("/v1/streams/order-1?from=start", 10),
        ("/v1/streams/order-1?from=end", 0),
        ("/v1/streams/order-1?from=7", 3),
        ("/v1/streams/order-1?from=99", 0),
        ("/v1/streams/order-1?from=7&direction=backward", 8),
        ("/v1/streams/order-1?from=end&direction=backward", 10),
    ] {
        assert_eq!(walk(&world, path).await.0.len(), count, "{path}");
    }
}

#[tokio::test]
async fn a_reader_that_asks_for_nonsense_is_told_so() {
    let world = filled().await;
    for name in ["order-9", "order", "$ce-order", "-", "%00", "order-%20"] {
        let path = format!("/v1/streams/{name}");
        world.get(&path).await.problem("not-found");
        world
            .get(&format!("{path}?from=end"))
            .await
            .problem("not-found");
    }
    for query in [
        "limit=0",
        "direction=sideways",
        "types=",
        "types=a,,b",
        "colour=red",
    ] {
        world
            .get(&format!("/v1/events?{query}"))
            .await
            .problem("invalid-query");
        world
            .get(&format!("/v1/streams/order-1?{query}"))
            .await
            .problem("invalid-query");
    }
    for from in ["17", "21-9f3a2c41", "1-00000000", "x", "-1"] {
        let path = format!("/v1/events?from={from}");
        world.get(&path).await.problem("invalid-position");
    }
    for from in ["-1", "x", "1.5", "18446744073709551616", ""] {
        let path = format!("/v1/streams/order-1?from={from}");
        world.get(&path).await.problem("invalid-query");
    }
    world
        .get("/v1/events?cursor=x")
        .await
        .problem("invalid-cursor");
    let page = world.get("/v1/events?limit=1").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    for path in [
        format!("/v1/events?direction=backward&cursor={cursor}"),
        format!("/v1/events?types=order&cursor={cursor}"),
        format!("/v1/streams/order-1?cursor={cursor}"),
    ] {
        world.get(&path).await.problem("cursor-mismatch");
    }
    let other_limit = format!("/v1/events?limit=7&cursor={cursor}");
    assert_eq!(
        world.get(&other_limit).await.json()["items"][0]["revision"],
        0
    );
}

#[tokio::test]
async fn a_store_that_fails_is_a_problem() {
    let world = filled().await;
    world.store.close();
    for path in [
        "/v1/events",
        "/v1/events?from=1-9f3a2c41",
        "/v1/streams/order-1",
    ] {
        world.get(path).await.problem("shutting-down");
    }
}
