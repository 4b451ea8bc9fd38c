//! Goods in, and corrections.

use serde_json::json;

use crate::{
    client::Request,
    server::{Server, Shared, product},
};

static SHARED: Shared = Shared::new();

fn adjust(server: &Server, sku: &str, delta: i64) -> Request {
    let body = json!({"delta": delta, "reason": "counted"});
    server.post(&format!("/v1/stock/{sku}/adjustments"), &body)
}

#[test]
fn a_reference_counts_once_whoever_brings_it_again() {
    let server = SHARED.server();
    server.put("s-ref", &product("Tea", 1)).send().expect(201);
    let first = server.receive("s-ref", 10, "note-1").send().expect(201);
    assert_eq!(first.location(), "/v1/stock/s-ref");
    let again = server.receive("s-ref", 10, "note-1").send().expect(200);
    assert_eq!(again.position(), first.position());
    let other = server.receive("s-ref", 11, "note-1").send();
    other.expect_problem(409, "reference-reused");
    let second = server.receive("s-ref", 5, "note-2").send().expect(201);
    assert_eq!(
        second.json(),
        json!({"sku": "s-ref", "on_hand": 15, "reserved": 0, "available": 15})
    );
    assert_eq!(
        server.stock("s-ref", &second),
        json!({"sku": "s-ref", "on_hand": 15, "reserved": 0, "available": 15,
               "committed": 0, "received": 15, "adjusted": 0, "restocked": 0})
    );
}

#[test]
fn stock_of_what_is_no_product_is_refused() {
    let server = SHARED.server();
    let receipt = server.receive("s-none", 1, "note").send();
    receipt.expect_problem(404, "unknown-sku");
    let adjustment = adjust(&server, "s-none", 1).send();
    adjustment.expect_problem(404, "unknown-sku");
    server.put("s-empty", &product("Tea", 1)).send().expect(201);
    let stock = server.get("/v1/stock/s-empty").send();
    stock.expect_problem(404, "not-found");
}

#[test]
fn a_correction_never_goes_below_what_is_reserved() {
    let server = SHARED.server();
    server.stocked("s-adjust", 10);
    let down = adjust(&server, "s-adjust", -3).send().expect(201);
    assert_eq!(down.json()["on_hand"], 7);
    let refused = adjust(&server, "s-adjust", -8).send();
    refused.expect_problem(409, "stock-would-be-negative");
    // What needs attention keeps its hold.
    let held = server.order("s-adjust", 5, "tok_capture_refused").wait(20);
    let held = held.send().expect(202);
    let refused = adjust(&server, "s-adjust", -3).send();
    refused.expect_problem(409, "stock-would-be-negative");
    adjust(&server, "s-adjust", -2).send().expect(201);
    let up = adjust(&server, "s-adjust", 1).send().expect(201);
    let stock = server.stock("s-adjust", &up);
    assert_eq!(
        (&stock["on_hand"], &stock["reserved"], &stock["adjusted"]),
        (&json!(6), &json!(5), &json!(-4)),
        "{held:?}"
    );
}

#[test]
fn stock_is_found_by_what_is_available() {
    let server = SHARED.server();
    server.stocked("s-low", 2);
    server.stocked("s-high", 900_000);
    let last = server.receive("s-high", 1, "more").send().expect(201);
    let found = |below: u32| {
        let target = format!("/v1/stock?limit=200&available_below={below}");
        let page = server.get(&target).after(&last).send().expect(200);
        page.text
    };
    assert!(found(3).contains("s-low") && !found(2).contains("s-low"));
    assert!(!found(900_001).contains("s-high") && found(900_002).contains("s-high"));
}
