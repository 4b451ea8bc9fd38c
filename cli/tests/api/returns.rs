//! Returns: some of an order or all of it, at once or in turn, refunded or refused.

use std::thread;

use serde_json::{Value, json};

use crate::{
    client::{Answer, Request},
    server::{Server, Shared, customer, order, product},
};

static SHARED: Shared = Shared::new();

/// A completed order of so many at 10 euros each.
#[track_caller]
fn bought(server: &Server, sku: &str, quantity: u32, token: &str) -> Answer {
    server.stocked(sku, 100);
    let placed = server.order(sku, quantity, token).wait(20).send();
    let placed = placed.expect(201);
    assert_eq!(placed.json()["status"], "completed");
    placed
}

fn body(lines: &[(&str, u32)]) -> Value {
    let line = |(sku, quantity): &(&str, u32)| json!({"sku": sku, "quantity": quantity});
    json!({"lines": lines.iter().map(line).collect::<Vec<_>>(), "reason": "too bitter"})
}

fn give_back(server: &Server, order: &Answer, lines: &[(&str, u32)]) -> Request {
    let target = format!("{}/returns", order.location());
    server.post(&target, &body(lines))
}

/// The order, as new as an answer.
#[track_caller]
fn read(server: &Server, answer: &Answer) -> Value {
    let order = server.get(answer.location()).after(answer).send();
    order.expect(200).json()
}

fn euros(amount_minor: i64) -> Value {
    json!({"amount_minor": amount_minor, "currency": "EUR"})
}

#[test]
fn some_of_an_order_goes_back_and_then_the_rest() {
    let server = SHARED.server();
    let placed = bought(&server, "r-part", 3, "tok_visa");
    let part = give_back(&server, &placed, &[("r-part", 1)])
        .wait(20)
        .send();
    let part = part.expect(201);
    assert_eq!(part.header("preference-applied"), Some("wait=20"));
    assert_eq!(part.location(), placed.location());
    let told = part.json();
    assert_eq!(told["order_id"], placed.json()["order_id"]);
    assert_eq!(
        (&told["status"], &told["refund"]),
        (&json!("closed"), &euros(1_000))
    );

    let order = read(&server, &part);
    assert_eq!(order["status"], "partially_returned");
    assert_eq!(order["lines"][0]["returned"], 1);
    assert_eq!(order["payment"]["status"], "partially_refunded");
    assert_eq!(order["payment"]["refunded"], euros(1_000));
    let its = &order["returns"][0];
    assert_eq!(its["return_id"], told["return_id"]);
    assert_eq!(
        (&its["status"], &its["reason"]),
        (&json!("closed"), &json!("too bitter"))
    );
    assert_eq!(its["lines"], json!([{"sku": "r-part", "quantity": 1}]));
    assert_eq!(
        order["saga"]["status"], "completed",
        "that of the order itself"
    );
    let target = format!("/v1/sagas/{}", told["saga_id"].as_str().unwrap());
    let saga = server.get(&target).after(&part).send().expect(200).json();
    assert_eq!(
        (&saga["definition"], &saga["status"]),
        (&json!("return"), &json!("completed"))
    );
    let stock = server.stock("r-part", &part);
    assert_eq!(
        (&stock["on_hand"], &stock["committed"], &stock["restocked"]),
        (&json!(98), &json!(3), &json!(1))
    );

    let rest = give_back(&server, &placed, &[("r-part", 2)])
        .wait(20)
        .send();
    let order = read(&server, &rest.expect(201));
    assert_eq!(order["status"], "returned");
    assert_eq!(order["lines"][0]["returned"], 3);
    assert_eq!(order["payment"]["status"], "refunded");
    let found = server
        .get("/v1/orders?status=returned&limit=200")
        .after(&part);
    assert!(
        found
            .send()
            .text
            .contains(order["order_id"].as_str().unwrap())
    );
    give_back(&server, &placed, &[("r-part", 1)])
        .send()
        .expect_problem(409, "not-returnable");
}

#[test]
fn more_than_was_bought_never_goes_back_however_many_ask_at_once() {
    let server = SHARED.server();
    let placed = bought(&server, "r-race", 5, "tok_slow_20");
    let told = give_back(&server, &placed, &[("r-race", 6)]).send();
    let told = told.expect_problem(409, "not-returnable");
    assert_eq!(told.pointers(), ["#/lines/0/quantity"]);
    assert_eq!(
        told.json()["detail"],
        "5 of r-race can be returned and 6 are wanted"
    );
    let answers: Vec<Answer> = thread::scope(|scope| {
        let ask = |_| {
            scope.spawn(|| {
                give_back(&server, &placed, &[("r-race", 2)])
                    .wait(20)
                    .send()
            })
        };
        let asked: Vec<_> = (0..6).map(ask).collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    let accepted = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(accepted, 2, "two of two pieces each, of five");
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.clone().expect_problem(409, "not-returnable");
    }
    let last = give_back(&server, &placed, &[("r-race", 1)])
        .wait(20)
        .send();
    let last = last.expect(201);
    assert_eq!(read(&server, &last)["status"], "returned");
    let stock = server.stock("r-race", &last);
    assert_eq!(
        (&stock["on_hand"], &stock["restocked"]),
        (&json!(100), &json!(5))
    );
}

#[test]
fn a_repeated_return_is_the_first_one_and_another_under_its_key_is_refused() {
    let server = SHARED.server();
    let placed = bought(&server, "r-repeat", 3, "tok_slow_300");
    let ask = |quantity| give_back(&server, &placed, &[("r-repeat", quantity)]).key("k");
    let first = ask(1).send().expect(202);
    assert_eq!(first.header("preference-applied"), None);
    assert_eq!(first.json()["status"], "requested");
    let briefly = ask(1).wait(0).send().expect(202);
    assert!(briefly.is_replayed());
    let again = ask(1).wait(20).send().expect(201);
    assert!(again.is_replayed());
    for key in ["return_id", "saga_id", "refund", "order_id"] {
        assert_eq!(again.json()[key], first.json()[key]);
    }
    assert_eq!(again.json()["status"], "closed");
    ask(2).send().expect_problem(422, "idempotency-key-reused");
    let another = give_back(&server, &placed, &[("r-repeat", 1)]).key("other");
    let another = another.wait(20).send().expect(201);
    assert_ne!(another.json()["return_id"], first.json()["return_id"]);
    assert_eq!(server.stock("r-repeat", &another)["restocked"], 2);
}

#[test]
fn a_refund_that_is_refused_for_good_rejects_the_return_and_frees_its_pieces() {
    let server = SHARED.server();
    let placed = bought(&server, "r-refused", 1, "tok_refund_refused");
    for _ in 0..2 {
        let asked = give_back(&server, &placed, &[("r-refused", 1)])
            .wait(20)
            .send();
        let asked = asked.expect(201);
        assert_eq!(asked.json()["status"], "rejected");
        let order = read(&server, &asked);
        assert_eq!(order["status"], "completed");
        assert_eq!(order["payment"]["status"], "captured");
        let its = order["returns"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(its["rejection"]["code"], "refund-refused");
        assert!(order["lines"][0].get("returned").is_none(), "absent, not 0");
        let stock = server.stock("r-refused", &asked);
        assert_eq!(
            (&stock["on_hand"], &stock["restocked"]),
            (&json!(99), &json!(0))
        );
    }
}

#[test]
fn a_return_survives_whatever_becomes_of_the_providers_answers() {
    let server = SHARED.server();
    thread::scope(|scope| {
        for token in ["tok_lost_reply", "tok_never_arrived", "tok_flaky_2"] {
            let server = &server;
            scope.spawn(move || {
                let sku = format!("r-{token}");
                let placed = bought(server, &sku, 2, token);
                let back = give_back(server, &placed, &[(&sku, 2)]).wait(20).send();
                let order = read(server, &back.expect(201));
                assert_eq!(order["status"], "returned", "{token}");
                assert_eq!(order["payment"]["refunded"], euros(2_000), "{token}");
            });
        }
    });
}

#[test]
fn a_return_that_was_answered_before_a_kill_is_done_after_it() {
    let server = Server::start();
    let placed = bought(&server, "r-kill", 2, "tok_slow_300");
    let ask = |server: &Server| give_back(server, &placed, &[("r-kill", 1)]).key("k");
    let first = ask(&server).send().expect(202);
    let server = server.restart();
    let found = ask(&server).wait(20).send().expect(201);
    assert!(found.is_replayed());
    assert_eq!(found.json()["return_id"], first.json()["return_id"]);
    assert_eq!(server.stock("r-kill", &found)["restocked"], 1);
}

#[test]
fn only_a_completed_order_is_returned() {
    let server = SHARED.server();
    server.stocked("r-not", 10);
    let slow = server.order("r-not", 1, "tok_slow_2000").send().expect(202);
    let early = give_back(&server, &slow, &[("r-not", 1)]).send();
    early.expect_problem(409, "not-returnable");
    let declined = server.order("r-not", 1, "tok_declined").wait(20).send();
    let declined = declined.expect(201);
    let never = give_back(&server, &declined, &[("r-not", 1)]).send();
    let never = never.expect_problem(409, "not-returnable");
    assert_eq!(
        never.json()["detail"],
        "nothing of an order that is rejected can be returned"
    );
    for id in [&customer("nobody").to_string(), "absurd", "%00"] {
        let target = format!("/v1/orders/{id}/returns");
        let refused = server.post(&target, &body(&[("r-not", 1)])).send();
        refused.expect_problem(404, "not-found");
    }
}

#[test]
fn what_is_wrong_with_a_return_is_pointed_at_and_nothing_is_written() {
    let server = Server::start();
    server
        .put("r-free", &product("Sample", 0))
        .send()
        .expect(201);
    server.receive("r-free", 10, "first").send().expect(201);
    server.stocked("r-bad", 10);
    let mut wanted = order("r-bad", 2, "tok_visa");
    wanted["lines"] = json!([{"sku": "r-bad", "quantity": 2}, {"sku": "r-free", "quantity": 1}]);
    let placed = server
        .post("/v1/orders", &wanted)
        .wait(20)
        .send()
        .expect(201);
    let head = server.head();
    let target = format!("{}/returns", placed.location());
    let long = "é".repeat(501);
    let line =
        |quantity: Value| json!({"lines": [{"sku": "r-bad", "quantity": quantity}], "reason": "x"});
    let because =
        |reason: &str| json!({"lines": [{"sku": "r-bad", "quantity": 1}], "reason": reason});
    for (sent, status, code, pointers) in [
        (body(&[]), 422, "invalid-body", vec!["#/lines"]),
        (
            body(&[("r-bad", 1); 101]),
            422,
            "invalid-body",
            vec!["#/lines"],
        ),
        (
            body(&[("r-bad", 1), ("r-bad", 1)]),
            422,
            "duplicate-line",
            vec!["#/lines/1/sku"],
        ),
        (
            body(&[("r-bad", 1), ("r-other", 1)]),
            422,
            "not-ordered",
            vec!["#/lines/1/sku"],
        ),
        (
            body(&[("r-bad", 3)]),
            409,
            "not-returnable",
            vec!["#/lines/0/quantity"],
        ),
        (body(&[("r-free", 1)]), 409, "not-returnable", vec![]),
        (
            line(json!(0)),
            422,
            "invalid-body",
            vec!["#/lines/0/quantity"],
        ),
        (
            line(json!(-1)),
            422,
            "invalid-body",
            vec!["#/lines/0/quantity"],
        ),
        (
            line(json!(1.5)),
            422,
            "invalid-body",
            vec!["#/lines/0/quantity"],
        ),
        (
            line(json!("1")),
            422,
            "invalid-body",
            vec!["#/lines/0/quantity"],
        ),
        (because(""), 422, "invalid-body", vec!["#/reason"]),
        (because(&long), 422, "invalid-body", vec!["#/reason"]),
        (json!({"lines": []}), 422, "invalid-body", vec!["#/reason"]),
        (
            json!({"lines": [], "reason": "x", "refund": 1}),
            422,
            "invalid-body",
            vec!["#/refund"],
        ),
        (json!([]), 422, "invalid-body", vec!["#"]),
    ] {
        let refused = server.post(&target, &sent).send();
        let refused = refused.expect_problem(status, code);
        assert_eq!(refused.pointers(), pointers, "{sent}");
    }
    assert_eq!(server.head(), head, "something was written");
}
