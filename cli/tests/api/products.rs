//! Products and the preconditions of changing them.

use crate::server::{Shared, product};

static SHARED: Shared = Shared::new();

#[test]
fn a_product_is_created_changed_and_read() {
    let server = SHARED.server();
    let created = server.put("p-life", &product("Tea", 1_999)).send();
    let created = created.expect(201);
    assert_eq!(created.location(), "/v1/products/p-life");
    assert_eq!(created.header("etag"), Some("\"0\""));
    let changed = server.put("p-life", &product("Green tea", 2_099)).send();
    let changed = changed.expect(200);
    assert_eq!(changed.header("etag"), Some("\"1\""));
    assert_ne!(changed.position(), created.position());

    let read = server.get("/v1/products/p-life").after(&changed).send();
    let read = read.expect(200);
    assert_eq!(read.header("etag"), Some("\"1\""));
    let mut expected = product("Green tea", 2_099);
    expected["sku"] = "p-life".into();
    assert_eq!(read.json(), expected);
    assert_eq!(changed.json(), expected);
}

#[test]
fn a_put_that_changes_nothing_writes_nothing() {
    let server = SHARED.server();
    let created = server.put("p-same", &product("Tea", 1)).send().expect(201);
    let again = server.put("p-same", &product("Tea", 1)).send().expect(200);
    assert_eq!(again.position(), created.position());
    assert_eq!(again.header("etag"), Some("\"0\""));
    let stream = server.get("/v1/streams/product-p-same").send().expect(200);
    assert_eq!(stream.json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn without_a_precondition_the_last_write_wins() {
    let server = SHARED.server();
    for (name, status) in [("One", 201), ("Two", 200), ("Three", 200)] {
        server
            .put("p-last", &product(name, 1))
            .send()
            .expect(status);
    }
    let stream = server.get("/v1/streams/product-p-last").send().json();
    assert_eq!(stream["items"][2]["data"]["name"], "Three");
}

#[test]
fn a_stale_or_false_precondition_is_412_with_the_current_tag_and_changes_nothing() {
    let server = SHARED.server();
    let put = |name: &str| server.put("p-held", &product(name, 1));
    put("One").header("if-none-match", "*").send().expect(201);
    put("Two").header("if-match", "\"0\"").send().expect(200);
    put("Three")
        .header("if-match", "\"0\", \"1\"")
        .send()
        .expect(200);
    for (name, header, tag) in [
        ("Four", "if-match", "\"1\""),
        ("Four", "if-match", "W/\"2\""),
        ("Four", "if-match", "\"02\""),
        ("Three", "if-match", "\"0\""),
        ("Four", "if-none-match", "*"),
        ("Four", "if-none-match", "\"2\""),
    ] {
        let refused = put(name).header(header, tag).send();
        let refused = refused.expect_problem(412, "precondition-failed");
        assert_eq!(refused.header("etag"), Some("\"2\""), "{header}: {tag}");
    }
    let missing = server.put("p-missing", &product("One", 1));
    let missing = missing.header("if-match", "*").send();
    missing.expect_problem(412, "precondition-failed");
    put("Four").header("if-match", "*").send().expect(200);
    server.get("/v1/products/p-missing").send().expect(404);
}

#[test]
fn a_malformed_tag_is_refused() {
    let server = SHARED.server();
    for tag in ["0", "\"0", "\"0\" \"1\"", "*, \"0\""] {
        let refused = server
            .put("p-tag", &product("One", 1))
            .header("if-match", tag);
        refused.send().expect_problem(400, "invalid-header");
    }
}

#[test]
fn a_repeat_finds_the_first_put_though_its_precondition_would_now_fail() {
    let server = SHARED.server();
    let put = || {
        server
            .put("p-again", &product("Tea", 1))
            .header("if-none-match", "*")
            .key("once")
    };
    let first = put().send().expect(201);
    let again = put().send().expect(201);
    assert!(again.is_replayed() && !first.is_replayed());
    assert_eq!(again.json(), first.json());
}
