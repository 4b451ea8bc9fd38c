//! `POST /v1/orders`.

use std::time::Duration;

use axum::http::StatusCode;
use recourse_event_store::{Direction, EventStore as _, StreamName, Visibility, memory};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::world::{LOG, Told, World, attention, completed, order, parked, quiet, started};

fn tea() -> Value {
    order(&[("tea-1", 2), ("cup-7", 1)])
}

/// The types of the events of an order.
async fn story(world: &World, order: &str) -> Vec<String> {
    let stream = StreamName::new("order", order);
    let (forward, seen) = (Direction::Forward, Visibility::Appended);
    let store = &world.store.inner;
    let events = store.read_stream(&stream, None, forward, seen, 100).await;
    let events = events.unwrap();
    events
        .iter()
        .map(|event| event.event.event_type.to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_order_is_accepted_at_once_with_its_address_and_position() {
    let world = World::new().await;
    let told = world.place("k", &tea()).await;
    assert_eq!(told.status, StatusCode::ACCEPTED, "{}", told.body);
    let (order, _) = told.ids();
    assert_eq!(
        told.header("location"),
        Some(&*format!("/v1/orders/{order}"))
    );
    assert_eq!(told.position(), world.store.inner.appended().await.unwrap());
    assert_eq!(told.header("idempotency-replayed"), None);
    assert_eq!(told.header("preference-applied"), None);
    assert_eq!(told.body["status"], "pending");
    assert_eq!(
        told.body["total"],
        json!({"amount_minor": 1_900, "currency": "EUR"})
    );
    assert_eq!(story(&world, &order).await, ["order.placed.v1"]);
}

/// Nothing is told for a minute, then everything becomes durable.
async fn told_once_durable(world: &World, mut placing: JoinSet<Told>) -> Vec<Told> {
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(placing.try_join_next().is_none(), "told what may be lost");
    world.store.inner.sync();
    placing.join_all().await
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_what_it_was_derived_from_is_durable() {
    let world = World::on(memory::Store::with_manual_sync(LOG)).await;
    world.product("tea-1", 500, "EUR", true).await;
    world.product("cup-7", 500, "EUR", true).await;
    world.store.inner.sync();
    let mut placing = JoinSet::new();
    let place =
        |key: &str, body: &Value| world.post("/v1/orders", &[("idempotency-key", key)], body);
    // An order, its repeat, and the refusal of another one under its key.
    placing.spawn(place("k", &tea()));
    placing.spawn(place("k", &tea()));
    placing.spawn(place("k", &order(&[("tea-1", 1)])));
    let told = told_once_durable(&world, placing).await;
    let mut statuses: Vec<u16> = told.iter().map(|told| told.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 202, 422]);
    // A refusal by what the catalogue says now.
    world.product("tea-1", 500, "EUR", false).await;
    let mut placing = JoinSet::new();
    placing.spawn(place("l", &tea()));
    let told = told_once_durable(&world, placing).await;
    assert_eq!(told[0].body["code"], "product-inactive");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_when_the_saga_has_ended_and_at_which_position() {
    let world = World::new().await;
    let mut waiting = world.place_and_wait("k", 10, &tea());
    quiet().await;
    assert!(waiting.try_join_next().is_none());
    // The same command finds the same order.
    let (_, saga) = world.place("k", &tea()).await.ids();
    world.happens(&saga, started()).await;
    quiet().await;
    assert!(waiting.try_join_next().is_none());
    let end = world.happens(&saga, completed()).await;
    let told = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(told.status, StatusCode::CREATED);
    assert_eq!(told.position(), end);
    assert_eq!(told.header("preference-applied"), Some("wait=10"));
    assert_eq!(told.header("idempotency-replayed"), None);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_at_once_that_it_may_take_longer() {
    for trouble in [attention(), parked()] {
        let world = World::new().await;
        let mut waiting = world.place_and_wait("k", 10, &tea());
        quiet().await;
        let (_, saga) = world.place("k", &tea()).await.ids();
        let start = Instant::now();
        let at = world.happens(&saga, trouble).await;
        let told = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(told.status, StatusCode::ACCEPTED);
        assert_eq!(told.position(), at);
        assert!(start.elapsed() < Duration::from_millis(10));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_when_the_time_is_over_and_no_later_than_the_cap() {
    for (asked, granted) in [(3, 3), (600, 30)] {
        let world = World::new().await;
        let start = Instant::now();
        let mut waiting = world.place_and_wait("k", asked, &tea());
        let told = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(told.status, StatusCode::ACCEPTED);
        let applied = format!("wait={granted}");
        assert_eq!(told.header("preference-applied"), Some(&*applied));
        let took = start.elapsed();
        let granted = Duration::from_secs(granted);
        assert!(took >= granted && took < granted + Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_finds_the_first_whatever_became_of_its_products() {
    let world = World::new().await;
    let first = world.place("k", &tea()).await;
    world.product("tea-1", 700, "EUR", false).await;
    let events = world.events().await;
    let repeat = world.place("\"k\"", &tea()).await;
    assert_eq!(repeat.status, StatusCode::ACCEPTED);
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeat.body, first.body);
    assert_eq!(repeat.position(), first.position());
    assert_eq!(repeat.header("location"), first.header("location"));
    assert_eq!(world.events().await, events);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_after_the_saga_has_ended_says_so_when_it_waits() {
    let world = World::new().await;
    let (_, saga) = world.place("k", &tea()).await.ids();
    world.happens(&saga, started()).await;
    let end = world.happens(&saga, completed()).await;
    let told = world.place_and_wait("k", 10, &tea());
    let told = told.join_all().await.remove(0);
    assert_eq!(told.status, StatusCode::CREATED);
    assert_eq!(told.header("idempotency-replayed"), Some("true"));
    assert_eq!(told.position(), end);
}

#[tokio::test(start_paused = true)]
async fn repeats_at_the_same_time_place_one_order() {
    let world = World::new().await;
    let before = world.events().await;
    let mut placing = JoinSet::new();
    for _ in 0..20 {
        placing.spawn(world.post("/v1/orders", &[("idempotency-key", "k")], &tea()));
    }
    let told: Vec<Told> = placing.join_all().await;
    assert_eq!(world.events().await, before + 1);
    let firsts = told
        .iter()
        .filter(|told| told.header("idempotency-replayed").is_none());
    assert_eq!(firsts.count(), 1);
    assert!(told.iter().all(|its| its.body == told[0].body));
}

#[tokio::test(start_paused = true)]
async fn a_key_for_another_body_is_refused_and_another_key_is_another_order() {
    let world = World::new().await;
    let first = world.place("k", &tea()).await;
    let events = world.events().await;
    let reused = world.place("k", &order(&[("tea-1", 3)])).await;
    assert_eq!(reused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(reused.body["code"], "idempotency-key-reused");
    assert_eq!(world.events().await, events);
    let other = world.place("l", &tea()).await;
    assert_ne!(other.ids(), first.ids());
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_is_refused_with_the_code_and_the_lines_and_leaves_no_event() {
    let world = World::new().await;
    let many: Vec<String> = (0..101).map(|number| format!("sku-{number}")).collect();
    let many: Vec<(&str, u32)> = many.iter().map(|sku| (&**sku, 1)).collect();
    let with_token = |token: &str| {
        let mut body = tea();
        body["payment"]["token"] = json!(token);
        body
    };
    let too_long = "x".repeat(201);
    for (body, status, code, pointers) in [
        (
            order(&[("tea-1", 1), ("no-such", 1), ("nor-such", 1)]),
            422,
            "unknown-product",
            &["#/lines/1/sku", "#/lines/2/sku"][..],
        ),
        (
            order(&[("tea-1", 1), ("fax", 1)]),
            422,
            "product-inactive",
            &["#/lines/1/sku"],
        ),
        (
            order(&[("tea-1", 1), ("cup-7", 1), ("tea-1", 2)]),
            422,
            "duplicate-line",
            &["#/lines/2/sku"],
        ),
        (
            order(&[("tea-1", 1), ("bagel", 1)]),
            422,
            "currency-mismatch",
            &["#/lines/1/sku"],
        ),
        (order(&[("gift", 3)]), 422, "nothing-to-pay", &[]),
        (order(&[]), 422, "invalid-body", &["#/lines"]),
        (order(&many), 422, "invalid-body", &["#/lines"]),
        (with_token(""), 422, "invalid-body", &["#/payment/token"]),
        (
            with_token("tok visa"),
            422,
            "invalid-body",
            &["#/payment/token"],
        ),
        (
            with_token(&too_long),
            422,
            "invalid-body",
            &["#/payment/token"],
        ),
    ] {
        let events = world.events().await;
        let told = world.place("k", &body).await;
        let (its_code, its_pointers) = (told.body["code"].clone(), told.pointers());
        assert_eq!(
            (told.status.as_u16(), its_code, &*its_pointers),
            (status, json!(code), pointers),
            "{}",
            told.body
        );
        assert_eq!(world.events().await, events, "{code} wrote something");
        if code == "invalid-body" && pointers[0].ends_with("token") {
            let text = told.body.to_string();
            assert!(!text.contains("tok visa"), "the token is shown: {text}");
        }
    }
    // The key of what was refused is free.
    let told = world.place("k", &tea()).await;
    assert_eq!(told.status, StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_lines_are_not_too_many() {
    let world = World::new().await;
    let skus: Vec<String> = (0..100).map(|number| format!("sku-{number}")).collect();
    for sku in &skus {
        world.product(sku, 1, "EUR", true).await;
    }
    let lines: Vec<(&str, u32)> = skus.iter().map(|sku| (&**sku, 1)).collect();
    let told = world.place("k", &order(&lines)).await;
    assert_eq!(told.status, StatusCode::ACCEPTED, "{}", told.body);
    assert_eq!(told.body["total"]["amount_minor"], 100);
}

#[tokio::test(start_paused = true)]
async fn a_total_that_no_number_holds_is_refused() {
    let world = World::new().await;
    world.product("moon", i64::MAX, "EUR", true).await;
    let told = world.place("k", &order(&[("moon", 2)])).await;
    assert_eq!(told.body["code"], "total-overflow", "{}", told.body);
}
