//! The log and its streams, watched.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, of_another_log, token};

#[tokio::test(start_paused = true)]
async fn an_event_comes_once_it_is_durable_and_as_the_log_shows_it() {
    let world = World::new();
    let mut watcher = world.watch("/v1/events/watch").await;
    let secret = json!({"payment": {"token": "tok_visa"}});
    world.append("order-1", "order.placed.v1", secret).await;
    assert_eq!(watcher.ready().await, [], "it is not durable");
    world.store.sync();
    let block = watcher.next().await.unwrap();
    assert_eq!(block.id, Some(token(1)));
    assert_eq!(block.event, None, "whoever listens to messages gets it");
    let mut page = world.get("/v1/events", &[]).await.page().await;
    assert_eq!(*block.data(), page["items"][0].take());
    assert_eq!(block.data()["data"]["payment"]["token"], "[redacted]");
    assert_eq!(watcher.ready().await, []);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_a_stream_that_nobody_keeps_or_holds_back() {
    let world = World::new();
    let answer = world.get("/v1/events/watch", &[]).await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(answer.headers[name], value);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_begins_where_it_says() {
    let world = World::new();
    world.fill(6).await;
    let from = |from: String| format!("/v1/events/watch?from={from}");
    for (path, expected) in [
        (from("start".into()), vec![1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (from(token(0)), vec![1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (from(token(4)), vec![5, 6, 7, 8, 9]),
        (from(token(6)), vec![7, 8, 9]),
        (from("end".into()), vec![7, 8, 9]),
        ("/v1/events/watch".into(), vec![7, 8, 9]),
        (
            "/v1/events/watch?from=start&types=stock.changed,order".into(),
            vec![1, 3, 4, 6, 7, 9],
        ),
        ("/v1/streams/order-1/watch?from=start".into(), vec![1, 4, 7]),
        ("/v1/streams/order-1/watch".into(), vec![7]),
        (
            format!("/v1/streams/order-1/watch?from={}", token(3)),
            vec![4, 7],
        ),
        (
            "/v1/streams/order-1/watch?from=start&types=stock".into(),
            vec![],
        ),
    ] {
        let world = World::new();
        world.fill(6).await;
        let mut watcher = world.watch(&path).await;
        let mut seen = watcher.positions().await;
        world.fill(3).await;
        seen.extend(watcher.positions().await);
        assert_eq!(seen, expected, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_goes_on_from_its_last_event_whatever_the_address_says() {
    let world = World::new();
    world.fill(6).await;
    for path in [
        "/v1/events/watch?from=start",
        "/v1/events/watch?from=end",
        "/v1/events/watch",
    ] {
        let mut watcher = world.resume(path, &[("last-event-id", &token(4))]).await;
        assert_eq!(watcher.positions().await, [5, 6], "{path}");
        // The last event id of a client that has seen none.
        let mut watcher = world.resume(path, &[("last-event-id", "")]).await;
        let all = if path.ends_with("start") { 6 } else { 0 };
        assert_eq!(watcher.positions().await.len(), all, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_where_it_begins_before_anything_happens() {
    let world = World::new();
    world.fill(2).await;
    for (path, at) in [
        ("/v1/events/watch", 2),
        ("/v1/events/watch?from=start", 0),
        ("/v1/streams/order-1/watch?from=end", 2),
        ("/v1/sagas/watch", 2),
    ] {
        let opening = world.get(path, &[]).await.next().await.unwrap();
        assert_eq!(
            (opening.id, opening.data),
            (Some(token(at)), None),
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_says_every_15_s_how_far_the_log_was_considered() {
    let world = World::new();
    for path in [
        "/v1/events/watch?types=nothing",
        "/v1/streams/order-1/watch?types=nothing",
        "/v1/sagas/watch?from=end",
    ] {
        world
            .append("order-1", "order.placed.v1", Value::Null)
            .await;
        let at = world.store.sync().commit;
        let mut watcher = world.watch(path).await;
        let begun = tokio::time::Instant::now();
        for more in 0..3 {
            if more > 0 {
                world
                    .append("order-2", "order.placed.v1", Value::Null)
                    .await;
                world.store.sync();
            }
            let block = watcher.next().await.unwrap();
            assert_eq!(block.data, None, "it dispatches nothing");
            assert_eq!(block.id, Some(token(at + more)), "{path}");
            let seconds = Duration::from_secs(15 * (more + 1));
            assert_eq!(begun.elapsed().as_secs(), seconds.as_secs());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_needs_no_keep_alive() {
    let world = World::new();
    let mut watcher = world.watch("/v1/events/watch").await;
    for n in 1..10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.fill(1).await;
        assert_eq!(watcher.positions().await, [n]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_position_that_is_gone_resets_the_stream_which_goes_on_from_the_end() {
    let world = World::new();
    world.fill(4).await;
    for (gone, reason) in [
        (of_another_log(2), "another-log"),
        (token(5), "ahead-of-log"),
    ] {
        let from = format!("/v1/events/watch?from={gone}");
        let stream = format!("/v1/streams/order-1/watch?from={gone}");
        let sagas = format!("/v1/sagas/watch?from={gone}");
        for (path, header) in [
            ("/v1/events/watch?from=start", Some(&*gone)),
            (&*from, None),
            (&*stream, None),
            (&*sagas, None),
        ] {
            let header = header.map(|gone| ("last-event-id", gone));
            let mut watcher = world.resume(path, header.as_slice()).await;
            let reset = watcher.next().await.unwrap();
            assert_eq!(reset.event.as_deref(), Some("reset"), "{path}");
            // With its id, so that who comes back then is not reset again.
            assert_eq!(reset.id, Some(token(4)));
            assert_eq!(
                *reset.data(),
                json!({"reason": reason, "position": token(4)})
            );
            assert_eq!(watcher.ready().await, []);
        }
    }
    // What is appended and not yet durable is not gone.
    world
        .append("order-1", "order.placed.v1", Value::Null)
        .await;
    let mut watcher = world
        .watch(&format!("/v1/events/watch?from={}", token(5)))
        .await;
    world.fill(1).await;
    assert_eq!(watcher.positions().await, [6]);
}

#[tokio::test(start_paused = true)]
async fn what_is_malformed_is_refused() {
    let world = World::new();
    world.fill(3).await;
    for path in [
        "/v1/events/watch",
        "/v1/streams/order-1/watch",
        "/v1/sagas/watch",
        "/v1/sagas/00000000-0000-0000-0000-000000000007/watch",
    ] {
        for from in ["17", "x", "-1", "", "1-9F3A2C41"] {
            let answer = world.get(&format!("{path}?from={from}"), &[]).await;
            assert_eq!(answer.status, 400, "{path}?from={from}");
            assert_eq!(answer.code().await, "invalid-position");
        }
        for last in ["17", "start", "end", "\u{e9}"] {
            let answer = world.get(path, &[("last-event-id", last)]).await;
            assert_eq!(answer.code().await, "invalid-position", "{last}");
        }
        let answer = world.get(&format!("{path}?frm=start"), &[]).await;
        assert_eq!(answer.code().await, "invalid-query");
    }
    let answer = world.get("/v1/events/watch?types=a,,b", &[]).await;
    assert_eq!(answer.code().await, "invalid-query");
    let answer = world.get("/v1/sagas/watch?types=saga", &[]).await;
    assert_eq!(answer.code().await, "invalid-query");
    let answer = world.get("/v1/streams/nodash/watch", &[]).await;
    assert_eq!(answer.code().await, "not-found");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_there_is_waited_for_and_then_not_found() {
    let world = World::new();
    let begun = tokio::time::Instant::now();
    let answer = world.get("/v1/streams/order-9/watch", &[]).await;
    assert_eq!(answer.code().await, "not-found");
    assert_eq!(begun.elapsed().as_secs(), 2);
    let (mut watcher, ()) =
        tokio::join!(world.watch("/v1/streams/order-9/watch?from=start"), async {
            world
                .append("order-9", "order.placed.v1", Value::Null)
                .await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.store.sync();
        });
    assert_eq!(watcher.positions().await, [1]);
}

#[tokio::test(start_paused = true)]
async fn the_form_of_the_answer_is_agreed_on() {
    let world = World::new();
    for accept in ["application/json", "text/html, image/*;q=0.8", "text/plain"] {
        let answer = world.get("/v1/events/watch", &[("accept", accept)]).await;
        assert_eq!(answer.status, 406);
        assert_eq!(answer.code().await, "not-acceptable");
    }
    for accept in [
        "*/*",
        "text/*",
        "text/html, Text/Event-Stream;q=0.1",
        "text/event-stream",
    ] {
        let answer = world.get("/v1/events/watch", &[("accept", accept)]).await;
        assert_eq!(answer.status, 200, "{accept}");
    }
    let mut head = world.request("HEAD", "/v1/events/watch", &[]).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-type"], "text/event-stream");
    assert_eq!(head.next().await, None, "and no body");
    let answer = world.request("POST", "/v1/events/watch", &[]).await;
    assert_eq!(answer.code().await, "method-not-allowed");
}
