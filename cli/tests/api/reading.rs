//! Queries: how new they are, and how they come in pages.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::server::{Shared, customer, product};

static SHARED: Shared = Shared::new();

const VIEWS: [&str; 6] = [
    "/v1/products",
    "/v1/stock",
    "/v1/orders",
    "/v1/sagas",
    "/v1/events",
    "/v1/streams/product-q-any",
];

#[test]
fn a_client_reads_its_own_writes() {
    let server = SHARED.server();
    for round in 0..20_u32 {
        let sku = format!("q-own-{round}");
        let put = server.put(&sku, &product("Tea", 1)).send().expect(201);
        let newest = server.get("/v1/products?limit=200").after(&put).send();
        assert!(newest.expect(200).text.contains(&format!("\"{sku}\"")));
        let again = server.put(&sku, &product("Green", 2)).send().expect(200);
        let read = server.get(&format!("/v1/products/{sku}")).after(&again);
        assert_eq!(read.send().expect(200).json()["name"], "Green");
        let log = server.get("/v1/events?direction=backward&limit=200");
        let log = log.after(&again).send().expect(200);
        assert!(log.text.contains(&format!("product-{sku}")));
    }
}

#[test]
fn a_view_that_has_not_come_so_far_says_when_to_ask_again() {
    let server = SHARED.server();
    let behind = (0..1_000).find_map(|price| {
        let put = server.put("q-behind", &product("Tea", price)).send();
        let read = server.get("/v1/products/q-behind").after(&put).wait(0);
        let read = read.send();
        (read.status != 200).then_some((put, read))
    });
    // A view is a disk's write behind the log at the least, so one of so many is too early.
    let (put, behind) = behind.unwrap();
    let behind = behind.expect_problem(503, "view-behind");
    assert_eq!(behind.json()["retryable"], true);
    assert!(behind.header("retry-after").is_some());
    let read = server.get("/v1/products/q-behind").after(&put).send();
    read.expect(200);
}

#[test]
fn what_was_written_is_found_by_its_id_without_a_position() {
    let server = SHARED.server();
    server.put("q-id", &product("Tea", 1)).send().expect(201);
    for round in 0..20 {
        let sku = format!("q-id-{round}");
        server.put(&sku, &product("Tea", 1)).send().expect(201);
        server
            .get(&format!("/v1/products/{sku}"))
            .send()
            .expect(200);
        server.receive(&sku, 1, "note").send().expect(201);
        server.get(&format!("/v1/stock/{sku}")).send().expect(200);
        let placed = server.order(&sku, 1, "tok_visa").send().expect(202);
        server.get(placed.location()).send().expect(200);
    }
}

#[test]
fn a_position_that_is_not_one_of_this_log_is_refused_by_every_query() {
    let server = SHARED.server();
    let put = server.put("q-any", &product("Tea", 1)).send();
    let token = put.position().to_owned();
    let (number, tag) = token.split_once('-').unwrap();
    let ahead = format!("999999999-{tag}");
    let other = format!("{number}-00000000");
    for target in VIEWS.iter().chain(&["/v1/products/q-any"]) {
        for bad in ["", "x", number, "-1", &format!("0x1-{tag}"), &ahead, &other] {
            let request = server.get(target).header("recourse-min-position", bad);
            let refused = request.send();
            refused.expect_problem(400, "invalid-position");
        }
        let request = server.get(target).header("recourse-min-position", &token);
        request.send().expect(200);
    }
    for bad in ["x", &ahead, &other] {
        let refused = server.get(&format!("/v1/events?from={bad}")).send();
        refused.expect_problem(400, "invalid-position");
    }
}

#[test]
fn pages_cover_everything_once_and_in_order() {
    let server = SHARED.server();
    for number in 0..7 {
        let sku = format!("q-page-{number}");
        server.stocked(&sku, 5);
        let placed = server.order(&sku, 1, "tok_visa").wait(20).send();
        placed.expect(201);
    }
    let distinct = |pages: &[Vec<Value>], id: &str| {
        let all: Vec<_> = pages
            .concat()
            .iter()
            .map(|item| item[id].to_string())
            .collect();
        let set: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!(set.len(), all.len(), "{id}");
        set.len()
    };
    for (target, id) in [
        ("/v1/orders?limit=3", "order_id"),
        ("/v1/sagas?limit=3", "saga_id"),
        ("/v1/products?limit=3", "sku"),
        ("/v1/stock?limit=3", "sku"),
        ("/v1/events?limit=23", "position"),
        ("/v1/events?limit=23&direction=backward", "position"),
        (
            "/v1/events?limit=3&types=order.placed,saga.started",
            "position",
        ),
        ("/v1/streams/product-q-page-0?limit=1", "position"),
    ] {
        let pages = server.pages(target);
        assert!(distinct(&pages, id) >= pages.len());
        for page in pages.iter().rev().skip(1) {
            assert!(!page.is_empty(), "{target}");
        }
    }
    let orders = server.pages("/v1/orders?limit=3").concat();
    let times: Vec<_> = orders
        .iter()
        .map(|order| order["placed_at"].as_str())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    let one = format!("/v1/orders?customer_id={}&limit=1", customer("q-page-3"));
    let one = server.pages(&one).concat();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["lines"][0]["sku"], "q-page-3");
}

#[test]
fn a_cursor_holds_for_its_own_filters_only() {
    let server = SHARED.server();
    for sku in ["q-cursor-1", "q-cursor-2", "q-cursor-3"] {
        server.stocked(sku, 5);
        server.order(sku, 1, "tok_visa").wait(20).send().expect(201);
    }
    let cursor = |target: &str| {
        let page = server.get(target).send().expect(200).json();
        page["next_cursor"].as_str().unwrap().to_owned()
    };
    let orders = cursor("/v1/orders?limit=1&status=completed");
    let events = cursor("/v1/events?limit=1&types=order");
    for target in [
        "/v1/orders?status=rejected".to_owned(),
        "/v1/orders?limit=1".to_owned(),
        format!("/v1/orders?status=completed&customer_id={}", customer("x")),
        "/v1/sagas?status=completed".to_owned(),
        "/v1/products?limit=1".to_owned(),
    ] {
        let joined = format!("{target}&cursor={orders}");
        let refused = server.get(&joined).send();
        refused.expect_problem(400, "cursor-mismatch");
    }
    for target in ["/v1/events?", "/v1/events?types=order&direction=backward&"] {
        let refused = server.get(&format!("{target}cursor={events}")).send();
        refused.expect_problem(400, "cursor-mismatch");
    }
    // Another size of page is no other filter.
    let more = format!("/v1/orders?limit=2&status=completed&cursor={orders}");
    server.get(&more).send().expect(200);
    for bad in ["", "x", "e30", "%C3%A9", &orders[1..], &"a".repeat(4_000)] {
        let refused = server.get(&format!("/v1/orders?cursor={bad}")).send();
        refused.expect_problem(400, "invalid-cursor");
    }
}

#[test]
fn a_query_that_cannot_be_used_is_refused_by_its_parameter() {
    let server = SHARED.server();
    server.put("q-any", &product("Tea", 1)).send();
    for target in VIEWS {
        for limit in ["0", "201", "-1", "+1", "1.5", "x", "", "1&limit=2"] {
            let refused = server.get(&format!("{target}?limit={limit}")).send();
            let refused = refused.expect_problem(400, "invalid-query");
            assert_eq!(refused.pointers(), ["?limit"], "{target} {limit}");
        }
        for limit in [1, 200] {
            server
                .get(&format!("{target}?limit={limit}"))
                .send()
                .expect(200);
        }
        let unknown = server.get(&format!("{target}?colour=red")).send();
        let unknown = unknown.expect_problem(400, "invalid-query");
        assert_eq!(unknown.pointers(), ["?colour"]);
    }
    for (query, pointer) in [
        ("orders?status=lost", "?status"),
        ("orders?customer_id=x", "?customer_id"),
        ("sagas?status=lost", "?status"),
        ("sagas?older_than_ms=-1", "?older_than_ms"),
        ("sagas?older_than_ms=9223372036854775807", "?older_than_ms"),
        ("stock?available_below=x", "?available_below"),
        ("events?direction=up", "?direction"),
        ("events?types=", "?types"),
        ("events?types=a,,b", "?types"),
        ("streams/product-q-any?from=-1", "?from"),
        ("streams/product-q-any?from=18446744073709551616", "?from"),
    ] {
        let refused = server.get(&format!("/v1/{query}")).send();
        let refused = refused.expect_problem(400, "invalid-query");
        assert_eq!(refused.pointers(), [pointer], "{query}");
    }
}

#[test]
fn what_does_not_exist_is_404_however_absurd_its_name() {
    let server = SHARED.server();
    let nobody = customer("nobody").to_string();
    for target in [
        format!("/v1/orders/{nobody}"),
        format!("/v1/sagas/{nobody}"),
        format!("/v1/streams/order-{nobody}"),
        "/v1/orders/x".to_owned(),
        "/v1/sagas/x".to_owned(),
        "/v1/products/q-nothing".to_owned(),
        "/v1/stock/q-nothing".to_owned(),
        "/v1/products/%2e%2e%2fx".to_owned(),
        "/v1/products/%00".to_owned(),
        "/v1/products/%ff".to_owned(),
        format!("/v1/products/{}", "a".repeat(2_000)),
        "/v1/streams/x".to_owned(),
        "/v1/streams/order-".to_owned(),
        "/v1/streams/$all".to_owned(),
        format!("/v1/streams/order-{}", "a".repeat(2_000)),
    ] {
        let missing = server.get(&target).send();
        missing.expect_problem(404, "not-found");
    }
}

#[test]
fn a_stream_is_read_from_any_revision_both_ways() {
    let server = SHARED.server();
    for name in ["Zero", "One", "Two", "Three"] {
        server.put("q-ways", &product(name, 1)).send();
    }
    let names = |query: &str| -> Vec<String> {
        let target = format!("/v1/streams/product-q-ways?{query}");
        let items = server.get(&target).send().expect(200).json();
        let items = items["items"].as_array().unwrap().clone();
        let name = |item: &Value| item["data"]["name"].as_str().unwrap().to_owned();
        items.iter().map(name).collect()
    };
    assert_eq!(names(""), ["Zero", "One", "Two", "Three"]);
    assert_eq!(names("from=2"), ["Two", "Three"]);
    assert_eq!(names("from=1&direction=backward"), ["One", "Zero"]);
    assert_eq!(names("direction=backward&limit=1"), ["Three"]);
    assert_eq!(names("types=product.created"), ["Zero"]);
    assert!(names("from=end").is_empty() && names("from=4").is_empty());
}

#[test]
fn an_event_is_shown_with_its_place_its_cause_and_no_secret() {
    let server = SHARED.server();
    server.stocked("q-event", 5);
    let placed = server
        .order("q-event", 1, "tok_visa")
        .header("correlation-id", "mine-7")
        .wait(20)
        .send()
        .expect(201);
    let id = placed.json()["order_id"].as_str().unwrap().to_owned();
    let events = server.get(&format!("/v1/streams/order-{id}")).send().json();
    let event = &events["items"][0];
    assert_eq!(event["stream"], format!("order-{id}"));
    assert_eq!(
        (&event["revision"], &event["type"]),
        (&0.into(), &"order.placed.v1".into())
    );
    assert!(event["id"].is_string() && event["recorded_at"].is_string());
    assert!(event["position"].is_string());
    assert_eq!(event["metadata"]["requestId"], "mine-7");
    assert_eq!(event["metadata"]["$correlationId"], id.as_str());
    assert_eq!(event["data"]["lines"][0]["sku"], "q-event");
    for item in server.pages("/v1/events?limit=200").concat() {
        assert!(!item.to_string().contains("tok_visa"), "{item:#}");
    }
}
