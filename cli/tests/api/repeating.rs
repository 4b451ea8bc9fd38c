//! A command that comes again, by whatever way.

use std::thread;

use serde_json::json;

use crate::server::{Server, Shared, product};

static SHARED: Shared = Shared::new();

#[test]
fn a_repeat_finds_the_first_order_under_either_form_of_its_key() {
    let server = SHARED.server();
    server.stocked("r-order", 10);
    let place = |key: &str| {
        server
            .order("r-order", 1, "tok_visa")
            .key(key)
            .wait(20)
            .send()
    };
    let first = place("r-first").expect(201);
    assert!(!first.is_replayed());
    for key in ["r-first", "\"r-first\""] {
        let repeat = place(key).expect(201);
        assert!(repeat.is_replayed());
        assert_eq!(repeat.json(), first.json());
        assert_eq!(repeat.location(), first.location());
    }
    assert_ne!(place("r-second").expect(201).location(), first.location());
    assert_eq!(server.stock("r-order", &place("r-second"))["committed"], 2);
}

#[test]
fn a_body_is_the_same_however_it_is_written() {
    let server = SHARED.server();
    server.put("r-form", &product("Tea", 1)).send().expect(201);
    let target = "/v1/stock/r-form/receipts";
    let send = |body: &str| server.request("POST", target).key("f").body(body).send();
    let first = send(r#"{"quantity": 3, "reference": "note"}"#).expect(201);
    let repeat = send("{\"reference\":\"n\\u006fte\",\n\"quantity\":3}").expect(201);
    assert!(repeat.is_replayed());
    assert_eq!(repeat.json(), first.json());
}

#[test]
fn another_body_under_a_used_key_is_refused_everywhere() {
    let server = SHARED.server();
    let put = |name: &str| server.put("r-other", &product(name, 1_000)).key("k");
    put("Tea").send().expect(201);
    put("Other")
        .send()
        .expect_problem(422, "idempotency-key-reused");

    let receive = |quantity| server.receive("r-other", quantity, "note").key("k");
    receive(5).send().expect(201);
    receive(6)
        .send()
        .expect_problem(422, "idempotency-key-reused");

    let adjust = |delta: i64| {
        let body = json!({"delta": delta, "reason": "counted"});
        server.post("/v1/stock/r-other/adjustments", &body).key("k")
    };
    let adjusted = adjust(1).send().expect(201);
    assert!(adjust(1).send().expect(201).is_replayed());
    adjust(2)
        .send()
        .expect_problem(422, "idempotency-key-reused");

    let order = |quantity| server.order("r-other", quantity, "tok_visa").key("r-other");
    order(1).send().expect(202);
    order(2)
        .send()
        .expect_problem(422, "idempotency-key-reused");
    assert_eq!(server.stock("r-other", &adjusted)["received"], 5);
}

#[test]
fn a_refused_command_is_not_remembered() {
    let server = SHARED.server();
    let receive = || server.receive("r-refused", 1, "note").key("k");
    receive().send().expect_problem(404, "unknown-sku");
    server
        .put("r-refused", &product("Tea", 1))
        .send()
        .expect(201);
    assert!(!receive().send().expect(201).is_replayed());
}

#[test]
fn a_concurrent_repeat_joins_the_first() {
    let server = SHARED.server();
    server.stocked("r-race", 100);
    let answers: Vec<_> = thread::scope(|scope| {
        let place = |wait: bool| {
            let request = server.order("r-race", 1, "tok_slow_200").key("r-race");
            scope.spawn(move || if wait { request.wait(20) } else { request }.send())
        };
        let sent: Vec<_> = (0..24).map(|number| place(number % 2 == 0)).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    let firsts = answers.iter().filter(|answer| !answer.is_replayed());
    assert_eq!(firsts.count(), 1);
    for answer in &answers {
        assert!([201, 202].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.location(), answers[0].location());
    }
    let last = server
        .order("r-race", 1, "tok_slow_200")
        .key("r-race")
        .wait(20);
    assert_eq!(server.stock("r-race", &last.send())["committed"], 1);
}

#[test]
fn concurrent_repeats_of_a_receipt_count_once() {
    let server = SHARED.server();
    server.put("r-goods", &product("Tea", 1)).send().expect(201);
    let answers: Vec<_> = thread::scope(|scope| {
        let receive = |_| {
            let request = server.receive("r-goods", 7, "note").key("k");
            scope.spawn(|| request.send())
        };
        let sent: Vec<_> = (0..16).map(receive).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    assert_eq!(
        answers
            .iter()
            .filter(|answer| !answer.is_replayed())
            .count(),
        1
    );
    for answer in answers {
        assert_eq!(answer.expect(201).json()["on_hand"], 7);
    }
}

#[test]
fn what_was_answered_before_a_kill_is_found_after_it() {
    let server = Server::start();
    server.stocked("r-kill", 10);
    let place = |server: &Server, quantity| {
        let request = server.order("r-kill", quantity, "tok_slow_300");
        request.key("order").wait(20)
    };
    let put = |server: &Server| server.put("r-put", &product("Tea", 1)).key("put").send();
    let receive = |server: &Server| server.receive("r-kill", 5, "second").key("note").send();
    put(&server).expect(201);
    let received = receive(&server).expect(201);
    let placed = server.order("r-kill", 1, "tok_slow_300").key("order");
    let placed = placed.send().expect(202);

    let server = server.restart();
    let found = place(&server, 1).send().expect(201);
    assert!(found.is_replayed());
    assert_eq!(found.location(), placed.location());
    assert_eq!(found.json()["status"], "completed");
    place(&server, 2)
        .send()
        .expect_problem(422, "idempotency-key-reused");
    assert!(put(&server).expect(201).is_replayed());
    let repeat = receive(&server).expect(201);
    assert!(repeat.is_replayed());
    assert_eq!(repeat.json()["on_hand"], 14, "15 came in and 1 went out");

    // A position outlives its process too.
    let stock = server.get("/v1/stock/r-kill").after(&received).send();
    assert_eq!(stock.expect(200).json()["received"], 15);
}
