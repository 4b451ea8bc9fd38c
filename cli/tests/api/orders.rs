//! Orders, from placing to their end, by every path that the provider's tokens lead to.

use std::thread;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    client::Answer,
    server::{Server, Shared, customer, order, product},
};

static SHARED: Shared = Shared::new();

/// The order and its saga, as new as an answer.
#[track_caller]
fn read(server: &Server, answer: &Answer) -> (Value, Value) {
    let order = server.get(answer.location()).after(answer).send();
    let saga_id = answer.json()["saga_id"].as_str().unwrap().to_owned();
    let saga = server.get(&format!("/v1/sagas/{saga_id}")).after(answer);
    (order.expect(200).json(), saga.send().expect(200).json())
}

fn steps(saga: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = saga["steps"].as_array().unwrap();
    let step = |step: &Value| (text(&step["name"]), text(&step["status"]));
    steps.iter().map(step).collect()
}

/// Waits until the saga of an order has ended, by repeating its request.
#[track_caller]
fn settle(server: &Server, sku: &str, token: &str, key: &str) -> Answer {
    let repeat = server.order(sku, 1, token).key(key).wait(30).send();
    let repeat = repeat.expect(201);
    assert!(repeat.is_replayed());
    repeat
}

#[test]
fn an_order_that_goes_well_is_shown_whole() {
    let server = SHARED.server();
    server.stocked("o-well", 100);
    let placed = server.order("o-well", 2, "tok_visa").wait(20).send();
    let placed = placed.expect(201);
    assert_eq!(placed.header("preference-applied"), Some("wait=20"));
    let body = placed.json();
    assert_eq!(body["status"], "completed");
    let total = json!({"amount_minor": 2_000, "currency": "EUR"});
    assert_eq!(body["total"], total);

    let (order, saga) = read(&server, &placed);
    assert_eq!(order["order_id"], body["order_id"]);
    assert_eq!(
        placed.location(),
        format!("/v1/orders/{}", body["order_id"].as_str().unwrap())
    );
    assert_eq!(order["customer_id"], customer("o-well").to_string());
    assert_eq!(order["status"], "completed");
    assert_eq!(order["total"], total);
    assert_eq!(
        order["lines"],
        json!([{"sku": "o-well", "quantity": 2,
                "unit_price": {"amount_minor": 1_000, "currency": "EUR"}}])
    );
    assert_eq!(order["payment"]["status"], "captured");
    assert_eq!(order["saga_id"], body["saga_id"]);
    assert_eq!(order["saga"]["status"], "completed");
    assert!(order["saga"]["deadline_at"].is_string());
    assert!(order.get("reason").is_none(), "absent, not null");
    let timeline = order["timeline"].as_array().unwrap();
    assert_eq!(timeline[0]["type"], "order.placed.v1");
    assert_eq!(timeline.last().unwrap()["type"], "saga.completed.v1");
    assert_eq!(
        timeline.last().unwrap()["position"],
        placed.position(),
        "after waiting, the position is that of the saga's last event"
    );
    let time = |entry: &Value| -> DateTime<Utc> { entry["at"].as_str().unwrap().parse().unwrap() };
    let times: Vec<_> = timeline.iter().map(time).collect();
    assert!(times.is_sorted(), "{times:?}");

    let target = format!("/v1/sagas/{}", body["saga_id"].as_str().unwrap());
    let tag = server.get(&target).send();
    assert!(tag.header("etag").is_some_and(|tag| tag.starts_with('"')));
    assert_eq!(saga["definition"], "fulfilment");
    assert_eq!(saga["status"], "completed");
    assert!(saga["started_at"].is_string() && saga["ended_at"].is_string());
    assert_eq!(
        (&saga["remaining"], &saga["undo_plan"]),
        (&json!([]), &json!([]))
    );
    for step in saga["steps"].as_array().unwrap() {
        assert_eq!(
            (&step["status"], &step["attempts"]),
            (&json!("done"), &json!(1))
        );
    }
    let stock = server.stock("o-well", &placed);
    assert_eq!(
        (&stock["on_hand"], &stock["committed"]),
        (&json!(98), &json!(2))
    );
}

#[test]
fn every_token_of_the_provider_ends_as_it_says() {
    let server = SHARED.server();
    let ends = [
        ("tok_visa", 201, "completed", "captured", None),
        (
            "tok_declined",
            201,
            "rejected",
            "declined",
            Some("payment-declined"),
        ),
        (
            "tok_insufficient_funds",
            201,
            "rejected",
            "declined",
            Some("insufficient-funds"),
        ),
        ("tok_lost_reply", 201, "completed", "captured", None),
        ("tok_never_arrived", 201, "completed", "captured", None),
        ("tok_late_arrival", 201, "completed", "captured", None),
        ("tok_flaky_1", 201, "completed", "captured", None),
        ("tok_flaky_3", 201, "completed", "captured", None),
        ("tok_slow_100", 201, "completed", "captured", None),
        ("tok_capture_refused", 202, "confirmed", "authorized", None),
        (
            "tok_unheard_of",
            201,
            "rejected",
            "declined",
            Some("invalid-card"),
        ),
    ];
    thread::scope(|scope| {
        for (token, status, end, payment, reason) in ends {
            let server = &server;
            scope.spawn(move || {
                let sku = format!("o-{token}");
                server.stocked(&sku, 10);
                let placed = server.order(&sku, 1, token).wait(30).send();
                let placed = placed.expect(status);
                assert_eq!(placed.json()["status"], end, "{token}");
                let (order, saga) = read(server, &placed);
                assert_eq!(order["payment"]["status"], payment, "{token}");
                assert_eq!(order["reason"]["code"].as_str(), reason, "{token}");
                let stock = server.stock(&sku, &placed);
                let left = (&stock["on_hand"], &stock["reserved"]);
                let (expected, saga_status) = match end {
                    "completed" => ((&json!(9), &json!(0)), "completed"),
                    "rejected" => ((&json!(10), &json!(0)), "compensated"),
                    _ => ((&json!(10), &json!(1)), "needs_attention"),
                };
                assert_eq!(left, expected, "{token}");
                assert_eq!(saga["status"], saga_status, "{token}");
                assert_eq!(order["saga"]["status"], saga_status, "{token}");
            });
        }
    });
}

#[test]
fn a_saga_that_needs_attention_says_why_and_what_is_left() {
    let server = SHARED.server();
    server.stocked("o-stuck", 10);
    let placed = server.order("o-stuck", 1, "tok_capture_refused").wait(20);
    let placed = placed.send().expect(202);
    let (_, saga) = read(&server, &placed);
    assert!(saga["trouble"].as_str().unwrap().contains("capture"));
    let names = |parts: &Value| -> Vec<Value> {
        let parts = parts.as_array().unwrap().iter();
        parts.map(|part| part["step"].clone()).collect()
    };
    assert_eq!(
        names(&saga["remaining"]),
        ["capture-payment", "commit-stock", "complete-order"]
    );
    assert_eq!(
        names(&saga["undo_plan"]),
        ["confirm-order", "authorize-payment", "reserve-stock"]
    );
    let found = server.get("/v1/sagas?status=needs_attention&limit=200");
    let found = found.after(&placed).send().expect(200);
    assert!(found.text.contains(saga["saga_id"].as_str().unwrap()));
    // Who waits for it later is told at once too.
    let cancel = format!("{}/cancellation", placed.location());
    let cancel = server.post(&cancel, &json!({"reason": "too late"})).send();
    cancel.expect_problem(409, "order-already-confirmed");
}

#[test]
fn an_order_for_more_than_there_is_is_rejected_and_undone() {
    let server = SHARED.server();
    server.stocked("o-few", 3);
    server.stocked("o-many", 100);
    let mut body = order("o-many", 5, "tok_visa");
    body["lines"] = json!([{"sku": "o-many", "quantity": 5}, {"sku": "o-few", "quantity": 4}]);
    let placed = server.post("/v1/orders", &body).wait(20).send().expect(201);
    let (order, saga) = read(&server, &placed);
    assert_eq!(order["reason"]["code"], "out-of-stock");
    assert_eq!(saga["status"], "compensated");
    assert!(order.get("payment").is_none() || order["payment"]["status"] != "captured");
    assert_eq!(server.stock("o-many", &placed)["available"], 100);
    assert_eq!(server.stock("o-few", &placed)["available"], 3);
}

#[test]
fn an_order_is_placed_at_the_prices_of_its_moment() {
    let server = SHARED.server();
    server.stocked("o-price", 100);
    let cheap = server.order("o-price", 1, "tok_visa").wait(20).send();
    let dear = product("Tea", 9_000);
    server.put("o-price", &dear).send().expect(200);
    let expensive = server.order("o-price", 1, "tok_visa").wait(20).send();
    assert_eq!(cheap.expect(201).json()["total"]["amount_minor"], 1_000);
    assert_eq!(expensive.expect(201).json()["total"]["amount_minor"], 9_000);
}

#[test]
fn who_does_not_wait_has_202_at_once_and_who_waits_too_briefly_later() {
    let server = SHARED.server();
    server.stocked("o-wait", 10);
    let place = || server.order("o-wait", 1, "tok_slow_1200").key("o-wait");
    let at_once = place().send().expect(202);
    assert_eq!(at_once.json()["status"], "pending");
    assert_eq!(at_once.header("preference-applied"), None);
    let briefly = place().wait(0).send().expect(202);
    assert_eq!(briefly.header("preference-applied"), Some("wait=0"));
    let capped = place().wait(100_000).send().expect(201);
    assert_eq!(capped.header("preference-applied"), Some("wait=30"));
    let ignored = place().header("prefer", "wait=soon").send();
    assert_eq!(ignored.header("preference-applied"), None);
    // It has ended by now, so nobody is told to come back.
    assert_eq!(ignored.expect(201).json()["status"], "completed");
}

#[test]
fn a_cancellation_before_the_pivot_undoes_the_order() {
    let server = SHARED.server();
    server.stocked("o-cancel", 10);
    let placed = server.order("o-cancel", 1, "tok_slow_700").key("o-cancel");
    let placed = placed.send().expect(202);
    let cancel = |reason: &str, key: &str| {
        let target = format!("{}/cancellation", placed.location());
        let request = server.post(&target, &json!({"reason": reason}));
        request.key(key).send()
    };
    let first = cancel("changed my mind", "a").expect(200);
    assert_eq!(first.json()["status"], "cancelled");
    let repeat = cancel("changed my mind", "a").expect(200);
    assert!(repeat.is_replayed());
    let again = cancel("once more", "b").expect(200);
    assert!(!again.is_replayed());
    assert_eq!(again.position(), first.position(), "no new event");
    cancel("other", "a").expect_problem(422, "idempotency-key-reused");

    let settled = settle(&server, "o-cancel", "tok_slow_700", "o-cancel");
    assert_eq!(settled.json()["status"], "cancelled");
    let (order, saga) = read(&server, &settled);
    assert_eq!(order["status"], "cancelled");
    assert_eq!(order["reason"]["detail"], "changed my mind");
    assert_eq!(order["payment"]["status"], "voided");
    assert_eq!(saga["status"], "compensated");
    let undone = |name: &str| (name.to_owned(), "undone".to_owned());
    assert!(steps(&saga).contains(&undone("reserve-stock")));
    assert!(steps(&saga).contains(&undone("authorize-payment")));
    let stock = server.stock("o-cancel", &settled);
    assert_eq!(
        (&stock["on_hand"], &stock["reserved"]),
        (&json!(10), &json!(0))
    );
    // Still the same answer.
    cancel("once more", "b").expect(200);
}

#[test]
fn what_has_ended_or_never_was_cannot_be_cancelled() {
    let server = SHARED.server();
    server.stocked("o-late", 10);
    let reason = json!({"reason": "too late"});
    for token in ["tok_visa", "tok_declined"] {
        let placed = server.order("o-late", 1, token).wait(20).send();
        let target = format!("{}/cancellation", placed.expect(201).location());
        let refused = server.post(&target, &reason).send();
        refused.expect_problem(409, "order-already-settled");
    }
    for id in [&customer("nobody").to_string(), "absurd", "%00"] {
        let target = format!("/v1/orders/{id}/cancellation");
        let refused = server.post(&target, &reason).send();
        refused.expect_problem(404, "not-found");
    }
}
