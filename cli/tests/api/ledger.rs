//! What money moved: payments in every status, and a ledger that sums to zero.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    client::Answer,
    server::{Server, Shared, customer, recourse},
};

static SHARED: Shared = Shared::with(|server| server.stocked("l-tea", 1_000));

/// The payment of an order, as new as an answer.
#[track_caller]
fn payment(server: &Server, placed: &Answer) -> Value {
    let order = server.get(placed.location()).after(placed).send();
    let order = order.expect(200).json();
    let id = order["payment"]["payment_id"].as_str().unwrap();
    let payment = server.get(&format!("/v1/payments/{id}")).after(placed);
    payment.send().expect(200).json()
}

/// Asks until a payment has a status: what is under way takes its time.
fn until(server: &Server, placed: &Answer, status: &str) -> Value {
    let mut payment = None;
    loop {
        let order = server.get(placed.location()).send().expect(200).json();
        if let Some(id) = order["payment"]["payment_id"].as_str() {
            let found = server.get(&format!("/v1/payments/{id}")).send();
            payment = Some(found.expect(200).json());
        }
        if payment
            .as_ref()
            .is_some_and(|payment| payment["status"] == status)
        {
            return payment.unwrap();
        }
        std::thread::yield_now();
    }
}

/// What the entries of an order moved, by event; every one of them sums to zero.
#[track_caller]
fn moved(server: &Server, placed: &Answer) -> Vec<(String, Vec<(String, i64)>)> {
    let order = placed.json()["order_id"].as_str().unwrap().to_owned();
    let target = format!("/v1/ledger/entries?order_id={order}");
    let body = server.get(&target).after(placed).send().expect(200).json();
    let mut moved = Vec::new();
    for entry in body["items"].as_array().unwrap().iter().rev() {
        assert_eq!(entry["order_id"], *order);
        let postings: Vec<(String, i64)> = entry["postings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|posting| {
                assert_eq!(posting["amount"]["currency"], "EUR");
                let amount = posting["amount"]["amount_minor"].as_i64().unwrap();
                (posting["account"].as_str().unwrap().to_owned(), amount)
            })
            .collect();
        assert_eq!(postings.iter().map(|(_, amount)| amount).sum::<i64>(), 0);
        moved.push((
            entry["cause"]["type"].as_str().unwrap().to_owned(),
            postings,
        ));
    }
    moved
}

#[track_caller]
fn balances(server: &Server, after: &Answer) -> BTreeMap<String, i64> {
    let answer = server.get("/v1/ledger/accounts").after(after).send();
    let body = answer.expect(200).json();
    let items = body["items"].as_array().unwrap();
    let balance = |item: &Value| {
        assert_eq!(item["balance"]["currency"], "EUR");
        let amount = item["balance"]["amount_minor"].as_i64().unwrap();
        (item["account"].as_str().unwrap().to_owned(), amount)
    };
    let balances: BTreeMap<_, _> = items.iter().map(balance).collect();
    assert_eq!(balances.values().sum::<i64>(), 0, "{balances:?}");
    balances
}

fn entry(event: &str, postings: &[(&str, i64)]) -> (String, Vec<(String, i64)>) {
    let postings = postings.iter();
    let postings = postings.map(|(account, amount)| ((*account).to_owned(), *amount));
    (format!("payment.{event}.v1"), postings.collect())
}

#[test]
fn every_end_of_an_order_is_in_the_ledger_as_it_was() {
    // Of its own: the balances are held to the unit.
    let server = Server::start();
    server.stocked("l-tea", 100);
    let authorized = || {
        entry(
            "authorized",
            &[("authorizations", -2_000), ("holds-open", 2_000)],
        )
    };
    let place = |token: &str| server.order("l-tea", 2, token);

    let paid = place("tok_visa").wait(20).send().expect(201);
    let captured = entry(
        "captured",
        &[
            ("holds-captured", 2_000),
            ("holds-open", -2_000),
            ("provider-clearing", 2_000),
            ("revenue", -2_000),
        ],
    );
    assert_eq!(moved(&server, &paid), [authorized(), captured]);
    let shown = payment(&server, &paid);
    assert_eq!(shown["status"], "captured");
    assert_eq!(shown["order_id"], paid.json()["order_id"]);
    let amount = json!({"amount_minor": 2_000, "currency": "EUR"});
    assert_eq!((&shown["amount"], &shown["captured"]), (&amount, &amount));
    let operations = shown["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 2);
    for operation in operations {
        assert_eq!(operation["status"], "applied");
        assert!(operation["reference"].is_string() && operation["ended_at"].is_string());
    }
    assert!(!shown.to_string().contains("tok_"), "no secret is shown");

    let declined = place("tok_declined").wait(20).send().expect(201);
    assert_eq!(moved(&server, &declined), []);
    let shown = payment(&server, &declined);
    assert_eq!(shown["status"], "declined");
    assert_eq!(shown["operations"][0]["reason"]["code"], "payment-declined");

    let refused = place("tok_capture_refused").wait(20).send().expect(202);
    assert_eq!(moved(&server, &refused), [authorized()]);
    let shown = payment(&server, &refused);
    assert_eq!(shown["status"], "authorized");
    assert_eq!(shown["operations"][1]["status"], "refused");

    let cancelled = place("tok_slow_300").key("k").send().expect(202);
    until(&server, &cancelled, "requested");
    let cancel = format!("{}/cancellation", cancelled.location());
    let reason = json!({"reason": "changed my mind"});
    server.post(&cancel, &reason).send().expect(200);
    let cancelled = place("tok_slow_300").key("k").wait(20).send().expect(201);
    let voided = entry("voided", &[("holds-open", -2_000), ("holds-voided", 2_000)]);
    assert_eq!(moved(&server, &cancelled), [authorized(), voided]);
    assert_eq!(payment(&server, &cancelled)["status"], "voided");

    let expected = [
        ("authorizations", -6_000),
        ("holds-captured", 2_000),
        ("holds-open", 2_000),
        ("holds-voided", 2_000),
        ("provider-clearing", 2_000),
        ("revenue", -2_000),
    ];
    let expected = expected.map(|(account, amount)| (account.to_owned(), amount));
    assert_eq!(balances(&server, &cancelled), expected.into());

    let ready = server.get("/readyz").send().expect(200).text;
    assert!(ready.contains("view-ledger"), "{ready}");

    // It is the same after the server was killed.
    let server = server.restart();
    let again = server.get("/v1/ledger/accounts").after(&cancelled).send();
    let again = again.expect(200).json();
    assert_eq!(again["items"].as_array().unwrap().len(), 6);
}

#[test]
fn a_payment_whose_provider_does_not_answer_is_unknown_and_then_is_not() {
    let server = SHARED.server();
    let placed = server.order("l-tea", 1, "tok_late_arrival").key("late");
    let placed = placed.send().expect(202);
    let unknown = until(&server, &placed, "unknown");
    assert_eq!(unknown["operations"][0]["status"], "unknown");
    let settled = server.order("l-tea", 1, "tok_late_arrival").key("late");
    let settled = settled.wait(30).send().expect(201);
    assert_eq!(payment(&server, &settled)["status"], "captured");
    assert_eq!(moved(&server, &settled).len(), 2);
}

#[test]
fn entries_come_in_pages_newest_first_and_are_found_by_what_they_are_about() {
    let server = SHARED.server();
    let first = server.order("l-tea", 1, "tok_visa").wait(20).send();
    let first = first.expect(201);
    let last = server.order("l-tea", 1, "tok_visa").wait(20).send();
    let last = last.expect(201);
    let id = |placed: &Answer| placed.json()["order_id"].as_str().unwrap().to_owned();
    let payment_id = payment(&server, &first)["payment_id"]
        .as_str()
        .unwrap()
        .to_owned();
    balances(&server, &last);
    for (filter, count) in [
        (format!("order_id={}", id(&first)), 2),
        (format!("payment_id={payment_id}"), 2),
        (format!("payment_id={payment_id}&order_id={}", id(&last)), 0),
        (format!("order_id={}&account=revenue", id(&last)), 1),
        (format!("order_id={}", customer("nobody")), 0),
    ] {
        let pages = server.pages(&format!("/v1/ledger/entries?limit=1&{filter}"));
        let entries: Vec<_> = pages.concat();
        assert_eq!(entries.len(), count, "{filter}");
        assert!(pages.iter().all(|page| page.len() <= 1));
        let numbers: Vec<_> = entries
            .iter()
            .map(|entry| entry["number"].as_u64())
            .collect();
        assert!(
            numbers.is_sorted_by(|newer, older| newer > older),
            "{numbers:?}"
        );
    }
}

#[test]
fn a_question_about_money_that_makes_no_sense_is_refused() {
    let server = SHARED.server();
    for target in [
        "/v1/ledger/accounts?limit=1",
        "/v1/ledger/entries?account=nothing",
        "/v1/ledger/entries?account=",
        "/v1/ledger/entries?order_id=7",
        "/v1/ledger/entries?payment_id=x",
        "/v1/ledger/entries?limit=201",
        "/v1/ledger/entries?unknown=1",
        "/v1/projections?limit=1",
    ] {
        server
            .get(target)
            .send()
            .expect_problem(400, "invalid-query");
    }
    let get = |target: &str| server.get(target).send();
    get("/v1/ledger/entries?cursor=x").expect_problem(400, "invalid-cursor");
    for id in [&customer("nobody").to_string(), "absurd", "%00"] {
        get(&format!("/v1/payments/{id}")).expect_problem(404, "not-found");
    }
    for target in ["/v1/ledger/accounts", "/v1/ledger/entries"] {
        let request = server.get(target).header("recourse-min-position", "x");
        request.send().expect_problem(400, "invalid-position");
        server.post(target, &json!({})).send().expect(405);
    }
}

#[test]
fn the_views_are_listed_over_http_and_by_the_command() {
    let server = SHARED.server();
    let placed = server.order("l-tea", 1, "tok_visa").wait(20).send();
    let placed = placed.expect(201);
    // Once a query at its position is answered, that view has come so far.
    for target in [
        "/v1/orders",
        "/v1/sagas",
        "/v1/stock",
        "/v1/products",
        "/v1/ledger/accounts",
    ] {
        server.get(target).after(&placed).send().expect(200);
    }
    let names = |listing: &Value| -> Vec<String> {
        let items = listing["items"].as_array().unwrap();
        for item in items {
            assert!(item["version"].is_u64());
            assert_eq!(item["status"], "up");
            assert!(item["position"].is_string() && item.get("rebuild").is_none());
            assert!(item["lag_events"].is_u64() && item["lag_ms"].is_u64());
        }
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let expected = ["orders", "sagas", "stock", "products", "ledger"];
    let listing = server.get("/v1/projections").send().expect(200).json();
    assert_eq!(names(&listing), expected);
    let list = |args: &[&str]| {
        let url = format!("http://{}", server.address());
        let mut command = recourse();
        command
            .args(["projections", "list", "--url", &url])
            .args(args)
            .output()
            .unwrap()
    };
    let printed = list(&["--json"]);
    assert!(printed.status.success(), "{printed:?}");
    assert_eq!(
        names(&serde_json::from_slice(&printed.stdout).unwrap()),
        expected
    );
    let text = String::from_utf8(list(&[]).stdout).unwrap();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.contains("\nledger "), "{text}");
    let mut nobody = recourse();
    let nobody = nobody
        .args(["projections", "list", "--url", "http://127.0.0.1:1"])
        .output();
    assert_eq!(nobody.unwrap().status.code(), Some(1));
}
