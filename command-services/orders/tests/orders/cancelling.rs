//! `POST /v1/orders/{id}/cancellation`.

use axum::http::StatusCode;
use recourse_domain::order::{Completed, Confirmed, Event, MAX_REASON_CHARS, Reason, Rejected};
use recourse_event_store::{Append, ExpectedRevision, Metadata, NewEvent, StreamName};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{LOG, Told, World, order};

fn changed_my_mind() -> Value {
    json!({"reason": "changed my mind"})
}

async fn placed(world: &World) -> String {
    let told = world.place("k", &order(&[("tea-1", 1)])).await;
    told.ids().0
}

async fn cancel(world: &World, order: &str, key: &str, body: &Value) -> Told {
    let path = format!("/v1/orders/{order}/cancellation");
    world.post(&path, &[("idempotency-key", key)], body).await
}

/// What the order's saga had it do.
async fn done(world: &World, order: &str, event: Event) {
    let stream = StreamName::new("order", order);
    let now = chrono::DateTime::UNIX_EPOCH;
    let metadata = Metadata::new(Uuid::nil(), Uuid::nil(), now, LOG);
    let event = NewEvent::encode(event, metadata, &stream, 0).unwrap();
    world
        .append(Append {
            stream,
            expected: ExpectedRevision::Any,
            events: vec![event],
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_pending_order_is_cancelled_once_however_often_that_is_asked() {
    let world = World::new().await;
    let order = placed(&world).await;
    let told = cancel(&world, &order, "c", &changed_my_mind()).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.body);
    assert_eq!(told.body["status"], "cancelled");
    let events = world.events().await;
    assert_eq!(told.position().commit, events);
    for (key, replayed) in [("c", Some("true")), ("d", None)] {
        let again = cancel(&world, &order, key, &changed_my_mind()).await;
        assert_eq!(again.status, StatusCode::OK);
        assert_eq!(again.header("idempotency-replayed"), replayed, "{key}");
        assert_eq!(again.body, told.body);
    }
    assert_eq!(world.events().await, events);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_cancelled_any_more_says_why() {
    let rejected = Event::Rejected(Rejected {
        reason: Reason {
            code: "out-of-stock".to_owned(),
            detail: "none left".to_owned(),
        },
    });
    let confirmed = || Event::Confirmed(Confirmed {});
    let completed = Event::Completed(Completed::default());
    for (events, code) in [
        (vec![confirmed()], "order-already-confirmed"),
        (vec![confirmed(), completed], "order-already-settled"),
        (vec![rejected], "order-already-settled"),
    ] {
        let world = World::new().await;
        let order = placed(&world).await;
        for event in events {
            done(&world, &order, event).await;
        }
        let before = world.events().await;
        let told = cancel(&world, &order, "c", &changed_my_mind()).await;
        assert_eq!(told.status, StatusCode::CONFLICT);
        assert_eq!(told.body["code"], code);
        assert_eq!(world.events().await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_order_or_no_reason_is_refused() {
    let world = World::new().await;
    let order = placed(&world).await;
    let before = world.events().await;
    let nobody = Uuid::from_u128(404).to_string();
    let told = cancel(&world, &nobody, "c", &changed_my_mind()).await;
    assert_eq!(told.status, StatusCode::NOT_FOUND);
    let long = "x".repeat(MAX_REASON_CHARS + 1);
    for reason in ["", "a\u{7}b", &long] {
        let told = cancel(&world, &order, "c", &json!({"reason": reason})).await;
        assert_eq!(told.status, StatusCode::UNPROCESSABLE_ENTITY, "{reason:?}");
        assert_eq!(told.body["code"], "invalid-body");
        assert_eq!(told.pointers(), ["#/reason"]);
    }
    assert_eq!(world.events().await, before);
}
