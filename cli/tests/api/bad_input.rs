//! What no client should send: each is told what is wrong and where, and nothing is written.

use serde_json::{Value, json};

use crate::{
    client::{Answer, exchange},
    server::{Server, Shared, customer, order, product},
};

/// Filled before the first test, and no test of this module writes anything after that.
static SHARED: Shared = Shared::with(|server| {
    server.stocked("b-tea", 1_000);
    for (sku, amount_minor, currency, active) in [
        ("b-usd", 1_000, "USD", true),
        ("b-off", 1_000, "EUR", false),
        ("b-free", 0, "EUR", true),
        ("b-dear", i64::MAX, "EUR", true),
    ] {
        let mut body = product("Tea", amount_minor);
        body["price"]["currency"] = currency.into();
        body["active"] = active.into();
        server.put(sku, &body).send().expect(201);
    }
});

/// Runs what must write nothing.
#[track_caller]
fn nothing_is_written(work: impl FnOnce(&Server)) {
    let server = SHARED.server();
    let head = server.head();
    work(&server);
    assert_eq!(server.head(), head, "something was written");
}

/// A good order, made wrong at a JSON pointer.
fn spoilt(pointer: &str, value: Value) -> Value {
    let mut body = order("b-tea", 1, "tok_visa");
    *body.pointer_mut(pointer).unwrap() = value;
    body
}

fn place(server: &Server, body: impl Into<Vec<u8>>) -> Answer {
    server.request("POST", "/v1/orders").body(body).send()
}

#[test]
fn what_is_not_json_is_refused() {
    nothing_is_written(|server| {
        let good = order("b-tea", 1, "tok_visa").to_string();
        let with_nan = good.replace("\"quantity\":1", "\"quantity\":NaN");
        for body in [
            "",
            " ",
            "{",
            "{}{}",
            "x",
            "'a'",
            "\0",
            "\u{feff}{}",
            "{\"a\":1,}",
            &format!("{good}x"),
            &good[..good.len() - 1],
            &with_nan,
            &"[".repeat(200_000),
            &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        ] {
            let refused = place(server, body);
            let short: String = body.chars().take(30).collect();
            let code = refused.json()["code"].clone();
            // Brackets that match are JSON, and no order.
            assert!(
                code == "malformed-json" || short.starts_with("[["),
                "{short}"
            );
            assert!([400, 422].contains(&refused.status));
        }
        let refused = place(server, b"{\"customer_id\":\"\xff\"}".as_slice());
        refused.expect_problem(400, "malformed-json");
    });
}

#[test]
fn a_field_of_another_type_is_pointed_at() {
    nothing_is_written(|server| {
        for (pointer, values) in [
            (
                "/customer_id",
                vec![json!(5), json!(null), json!("x"), json!(""), json!([])],
            ),
            (
                "/currency",
                vec![
                    json!("eur"),
                    json!("ZZZ"),
                    json!("XAU"),
                    json!(978),
                    json!(""),
                ],
            ),
            ("/lines", vec![json!("x"), json!(null), json!({}), json!(1)]),
            (
                "/lines/0",
                vec![json!(null), json!("x"), json!(["b-tea", 1]), json!([])],
            ),
            (
                "/lines/0/sku",
                vec![json!(1), json!(""), json!("../x"), json!("a".repeat(65))],
            ),
            (
                "/lines/0/quantity",
                vec![
                    json!(0),
                    json!(-1),
                    json!(1.5),
                    json!(1.0),
                    json!("1"),
                    json!(true),
                    json!(null),
                    json!(1_000_000_001),
                    json!(4_294_967_297_u64),
                    json!(u64::MAX),
                    json!(i64::MIN),
                    json!(1e300),
                    json!([1]),
                ],
            ),
            (
                "/payment",
                vec![json!(null), json!("card"), json!(["card", "tok_visa"])],
            ),
            (
                "/payment/method",
                vec![json!("cash"), json!(1), json!(null), json!("Card")],
            ),
            (
                "/payment/token",
                vec![
                    json!(1),
                    json!(""),
                    json!("a b"),
                    json!("é"),
                    json!("x".repeat(201)),
                ],
            ),
        ] {
            for value in values {
                let body = spoilt(pointer, value.clone());
                let refused = place(server, body.to_string());
                let refused = refused.expect_problem(422, "invalid-body");
                assert_eq!(refused.pointers(), [format!("#{pointer}")], "{value}");
            }
        }
        for body in ["[]", "null", "1", "\"x\"", "true"] {
            let refused = place(server, body).expect_problem(422, "invalid-body");
            assert_eq!(refused.pointers(), ["#"]);
        }
        let good = order("b-tea", 1, "tok_visa");
        let array = json!([good["customer_id"], "EUR", good["lines"], good["payment"]]);
        let refused = place(server, array.to_string());
        assert_eq!(
            refused.expect_problem(422, "invalid-body").pointers(),
            ["#"]
        );
    });
}

#[test]
fn a_field_that_is_missing_unknown_or_there_twice_is_pointed_at() {
    nothing_is_written(|server| {
        let good = order("b-tea", 1, "tok_visa");
        for pointer in [
            "/customer_id",
            "/currency",
            "/lines",
            "/payment",
            "/lines/0/sku",
            "/lines/0/quantity",
            "/payment/method",
            "/payment/token",
        ] {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            let mut missing = good.clone();
            let object = missing.pointer_mut(parent).unwrap().as_object_mut();
            let value = object.unwrap().remove(field).unwrap();
            let refused = place(server, missing.to_string());
            let refused = refused.expect_problem(422, "invalid-body");
            assert_eq!(refused.pointers(), [format!("#{pointer}")], "missing");

            let once = format!("\"{field}\":{value}");
            let text = good.to_string();
            assert_eq!(text.matches(&once).count(), 1);
            let twice = text.replace(&once, &format!("{once},{once}"));
            let refused = place(server, twice).expect_problem(422, "invalid-body");
            assert_eq!(refused.pointers(), [format!("#{pointer}")], "twice");
        }
        for parent in ["", "/lines/0", "/payment"] {
            let mut unknown = good.clone();
            let object = unknown.pointer_mut(parent).unwrap().as_object_mut();
            object.unwrap().insert("a/b".to_owned(), json!(1));
            let refused = place(server, unknown.to_string());
            let refused = refused.expect_problem(422, "invalid-body");
            assert_eq!(refused.pointers(), [format!("#{parent}/a~1b")]);
        }
    });
}

#[test]
fn an_order_that_makes_no_sense_is_refused() {
    nothing_is_written(|server| {
        let line = |sku: &str, quantity: u32| json!({"sku": sku, "quantity": quantity});
        let many: Vec<_> = (0..101)
            .map(|number| line(&format!("n{number}"), 1))
            .collect();
        for (lines, code, pointers) in [
            (json!([]), "invalid-body", vec!["#/lines"]),
            (json!(many), "invalid-body", vec!["#/lines"]),
            (
                json!([line("b-none", 1)]),
                "unknown-product",
                vec!["#/lines/0/sku"],
            ),
            (
                json!([line("n1", 1), line("b-off", 1), line("n2", 1)]),
                "unknown-product",
                vec!["#/lines/0/sku", "#/lines/2/sku"],
            ),
            (
                json!([line("b-tea", 1), line("b-off", 1)]),
                "product-inactive",
                vec!["#/lines/1/sku"],
            ),
            (
                json!([line("b-tea", 1), line("b-tea", 2)]),
                "duplicate-line",
                vec!["#/lines/1/sku"],
            ),
            (
                json!([line("b-tea", 1), line("b-usd", 1)]),
                "currency-mismatch",
                vec!["#/lines/1/sku"],
            ),
            (json!([line("b-free", 3)]), "nothing-to-pay", vec![]),
            (json!([line("b-dear", 2)]), "total-overflow", vec![]),
            (
                json!([line("b-dear", 1), line("b-tea", 1)]),
                "total-overflow",
                vec![],
            ),
        ] {
            let body = spoilt("/lines", lines);
            let refused = server.post("/v1/orders", &body).wait(5).send();
            let refused = refused.expect_problem(422, code);
            assert_eq!(refused.pointers(), pointers, "{code}");
        }
        let other = server.post("/v1/orders", &spoilt("/currency", json!("USD")));
        other.send().expect_problem(422, "currency-mismatch");
    });
}

#[test]
fn a_product_that_makes_no_sense_is_refused() {
    nothing_is_written(|server| {
        let good = product("Tea", 1);
        for (pointer, values) in [
            (
                "/name",
                vec![
                    json!(""),
                    json!(" "),
                    json!(1),
                    json!("a\nb"),
                    json!("x".repeat(201)),
                ],
            ),
            ("/price", vec![json!(1), json!(null), json!([1, "EUR"])]),
            (
                "/price/amount_minor",
                vec![
                    json!(-1),
                    json!(1.5),
                    json!("1"),
                    json!(u64::MAX),
                    json!(1e300),
                ],
            ),
            ("/price/currency", vec![json!("eur"), json!(1)]),
            ("/active", vec![json!("yes"), json!(1), json!(null)]),
        ] {
            for value in values {
                let mut body = good.clone();
                *body.pointer_mut(pointer).unwrap() = value.clone();
                let refused = server.put("b-tea", &body).send();
                let refused = refused.expect_problem(422, "invalid-body");
                assert_eq!(refused.pointers(), [format!("#{pointer}")], "{value}");
            }
        }
        let long = "a".repeat(65);
        for sku in [
            "-x", ".a", "a%20b", "a%2Fb", "%00", "a%0d%0ab", "%C3%A9", "%2e%2e", &long,
        ] {
            server
                .put(sku, &good)
                .send()
                .expect_problem(400, "invalid-id");
        }
    });
}

#[test]
fn goods_that_make_no_sense_are_refused() {
    nothing_is_written(|server| {
        let receipts = "/v1/stock/b-tea/receipts";
        let adjustments = "/v1/stock/b-tea/adjustments";
        for (target, body, pointer) in [
            (
                receipts,
                json!({"quantity": 0, "reference": "r"}),
                "#/quantity",
            ),
            (
                receipts,
                json!({"quantity": -1, "reference": "r"}),
                "#/quantity",
            ),
            (
                receipts,
                json!({"quantity": 1.5, "reference": "r"}),
                "#/quantity",
            ),
            (
                receipts,
                json!({"quantity": 1_000_000_001, "reference": "r"}),
                "#/quantity",
            ),
            (receipts, json!({"reference": "r"}), "#/quantity"),
            (receipts, json!({"quantity": 1}), "#/reference"),
            (
                receipts,
                json!({"quantity": 1, "reference": ""}),
                "#/reference",
            ),
            (
                receipts,
                json!({"quantity": 1, "reference": "a b"}),
                "#/reference",
            ),
            (
                receipts,
                json!({"quantity": 1, "reference": "x".repeat(129)}),
                "#/reference",
            ),
            (
                receipts,
                json!({"quantity": 1, "reference": "r", "x": 1}),
                "#/x",
            ),
            (adjustments, json!({"delta": 0, "reason": "r"}), "#/delta"),
            (adjustments, json!({"delta": 1.5, "reason": "r"}), "#/delta"),
            (
                adjustments,
                json!({"delta": u64::MAX, "reason": "r"}),
                "#/delta",
            ),
            (adjustments, json!({"delta": 1, "reason": ""}), "#/reason"),
            (
                adjustments,
                json!({"delta": 1, "reason": "a\u{7}b"}),
                "#/reason",
            ),
        ] {
            let refused = server.post(target, &body).send();
            let refused = refused.expect_problem(422, "invalid-body");
            assert_eq!(refused.pointers(), [pointer], "{body}");
        }
        for (delta, code) in [
            (i64::MAX, "quantity-overflow"),
            (i64::MIN, "stock-would-be-negative"),
        ] {
            let body = json!({"delta": delta, "reason": "r"});
            server
                .post(adjustments, &body)
                .send()
                .expect_problem(409, code);
        }
        let body = json!({"quantity": 1, "reference": "r"});
        let absurd = server.post("/v1/stock/-x/receipts", &body).send();
        absurd.expect_problem(400, "invalid-id");
    });
}

#[test]
fn a_body_of_another_kind_is_refused() {
    nothing_is_written(|server| {
        let good = order("b-tea", 1, "tok_visa");
        for media_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "",
            "json",
        ] {
            let request = server.post("/v1/orders", &good);
            let refused = request.header("content-type", media_type).send();
            refused.expect_problem(415, "unsupported-media-type");
        }
        let request = server.post("/v1/orders", &good);
        let refused = request.header("content-encoding", "gzip").send();
        refused.expect_problem(415, "unsupported-media-type");
        let bare = server.request("POST", "/v1/orders").send();
        bare.expect_problem(415, "unsupported-media-type");
    });
}

#[test]
fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_read() {
    nothing_is_written(|server| {
        let limit = 256 * 1024;
        let spaces = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
        let read = place(server, spaces(limit));
        read.expect_problem(422, "invalid-body");
        for bytes in [limit + 1, 2 * limit, 4 * limit] {
            let refused = place(server, spaces(bytes));
            refused.expect_problem(413, "body-too-large");
        }
        // Far too much is refused before it is sent, and where its length is not said too.
        let host = server.address();
        let head = format!(
            "POST /v1/orders HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-type: application/json\r\n"
        );
        let declared = format!("{head}content-length: 50000000\r\n\r\n");
        let refused = exchange(host, declared.as_bytes());
        refused.expect_problem(413, "body-too-large");
        let body = spaces(limit + 1);
        let length = body.len();
        let chunked =
            format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
        let refused = exchange(host, chunked.as_bytes());
        refused.expect_problem(413, "body-too-large");
    });
}

#[test]
fn a_malformed_key_is_refused_before_anything_happens() {
    nothing_is_written(|server| {
        let good = order("b-tea", 1, "tok_visa");
        for key in ["", "\"\"", "\"a", "a\"", "a b", "é", &"x".repeat(129)] {
            let refused = server.post("/v1/orders", &good).key(key).send();
            refused.expect_problem(400, "invalid-idempotency-key");
        }
    });
}

#[test]
fn a_cancellation_that_makes_no_sense_is_refused() {
    nothing_is_written(|server| {
        let target = format!("/v1/orders/{}/cancellation", customer("nobody"));
        for (body, pointer) in [
            (json!({}), "#/reason"),
            (json!({"reason": 1}), "#/reason"),
            (json!({"reason": "x", "force": true}), "#/force"),
            (json!(["x"]), "#"),
        ] {
            let refused = server.post(&target, &body).send();
            let refused = refused.expect_problem(422, "invalid-body");
            assert_eq!(refused.pointers(), [pointer]);
        }
    });
}
