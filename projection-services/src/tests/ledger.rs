//! What moved, as the ledger shows it.

use std::collections::BTreeMap;

use recourse_domain::{
    RefundId,
    payment::{Applied, Event, RefundRequested, Refunded, Requested},
};

use super::{log::eur, *};

pub(super) fn applied(amount_minor: i64) -> Applied {
    Applied {
        amount: eur(amount_minor),
        reference: "ref".into(),
    }
}

pub(super) fn requested() -> Requested {
    Requested {
        key: Uuid::nil(),
        ordinal: 0,
    }
}

pub(super) async fn refund(log: &mut Log, ids: &log::Ids, number: u128, amount_minor: i64) {
    let refund = RefundId(Uuid::from_u128(number));
    let requested = RefundRequested {
        refund,
        amount: eur(amount_minor),
        key: Uuid::nil(),
        ordinal: 0,
    };
    log.payment(ids, Event::RefundRequested(requested)).await;
    let refunded = Refunded {
        refund,
        amount: eur(amount_minor),
        reference: "back".into(),
    };
    log.payment(ids, Event::Refunded(refunded)).await;
}

/// One order that is paid and partly refunded, and one that was let go.
async fn two_orders() -> (Log, log::Ids, log::Ids) {
    let mut log = Log::new(Store::new(LOG));
    let kept = log.complete(7).await;
    let mut gone = log.place(8, &["tea-1", "cup-1"]).await;
    for step in 0..=6 {
        log.advance(&mut gone, step).await;
    }
    log.payment(&gone, Event::VoidRequested(requested())).await;
    log.payment(&gone, Event::Voided(applied(3998))).await;
    refund(&mut log, &kept, 1, 1999).await;
    (log, kept, gone)
}

#[tokio::test(start_paused = true)]
async fn the_accounts_say_what_became_of_every_authorization_and_sum_to_zero() {
    let (log, ..) = two_orders().await;
    let body = shown(&log, "/v1/ledger/accounts").await;
    let items = body["items"].as_array().unwrap();
    let balances: BTreeMap<&str, i64> = items
        .iter()
        .map(|item| {
            assert_eq!(item["balance"]["currency"], "EUR");
            let amount = item["balance"]["amount_minor"].as_i64().unwrap();
            (item["account"].as_str().unwrap(), amount)
        })
        .collect();
    let expected = [
        ("authorizations", -7996),
        ("holds-captured", 3998),
        ("holds-open", 0),
        ("holds-voided", 3998),
        ("provider-clearing", 1999),
        ("refunds", 1999),
        ("revenue", -3998),
    ];
    assert_eq!(balances, expected.into());
    assert_eq!(balances.values().sum::<i64>(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_entry_shows_what_it_moved_and_which_event_made_it() {
    let (log, kept, gone) = two_orders().await;
    let router = filled(&log.store, &documents()).await;
    let entries = ask(&router, "/v1/ledger/entries", &[]).await;
    let types: Vec<_> = entries.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["cause"]["type"].as_str().unwrap())
        .collect();
    let expected = ["refunded", "voided", "authorized", "captured", "authorized"];
    assert_eq!(types, expected.map(|name| format!("payment.{name}.v1")));
    let captured = &entries.body["items"][3];
    assert_eq!(captured["number"], 2);
    assert_eq!(captured["order_id"], kept.order.to_string());
    assert_eq!(captured["payment_id"], kept.payment.to_string());
    assert_eq!(captured["cause"]["event_id"], captured["entry_id"]);
    assert_eq!(
        captured["cause"]["stream"],
        format!("payment-{}", kept.payment)
    );
    assert!(captured["at"].is_string() && captured["position"].is_string());
    let posting = |account: &str, amount_minor: i64| json!({"account": account, "amount": {"amount_minor": amount_minor, "currency": "EUR"}});
    assert_eq!(
        captured["postings"],
        json!([
            posting("holds-captured", 3998),
            posting("holds-open", -3998),
            posting("provider-clearing", 3998),
            posting("revenue", -3998),
        ])
    );
    for entry in entries.body["items"].as_array().unwrap() {
        let sum: i64 = entry["postings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|posting| posting["amount"]["amount_minor"].as_i64().unwrap())
            .sum();
        assert_eq!(sum, 0);
    }
    let numbers = |answered: &Answered| -> Vec<u64> {
        let items = answered.body["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["number"].as_u64().unwrap())
            .collect()
    };
    for (filter, expected) in [
        (format!("order_id={}", kept.order), vec![5, 2, 1]),
        (format!("payment_id={}", gone.payment), vec![4, 3]),
        (
            format!("payment_id={}&order_id={}", gone.payment, kept.order),
            vec![],
        ),
        (format!("payment_id={}", kept.order), vec![]),
        ("account=refunds".into(), vec![5]),
        (
            format!("account=holds-open&order_id={}", kept.order),
            vec![2, 1],
        ),
    ] {
        let found = ask(&router, &format!("/v1/ledger/entries?{filter}"), &[]).await;
        assert_eq!(found.status, 200, "{}", found.body);
        assert_eq!(numbers(&found), expected, "{filter}");
        // Page by page it is the same.
        let mut seen = vec![];
        let mut path = format!("/v1/ledger/entries?{filter}&limit=1");
        loop {
            let page = ask(&router, &path, &[]).await;
            seen.extend(numbers(&page));
            let Some(cursor) = page.body["next_cursor"].as_str() else {
                break;
            };
            path = format!("/v1/ledger/entries?{filter}&limit=1&cursor={cursor}");
        }
        assert_eq!(seen, expected, "{filter}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_the_ledger_does_not_know_is_refused() {
    let (log, ..) = two_orders().await;
    let router = filled(&log.store, &documents()).await;
    let page = ask(&router, "/v1/ledger/entries?limit=1", &[]).await;
    let cursor = page.body["next_cursor"].as_str().unwrap();
    for (path, code) in [
        ("entries?account=nothing".to_owned(), "invalid-query"),
        ("entries?order_id=7".to_owned(), "invalid-query"),
        ("entries?limit=0".to_owned(), "invalid-query"),
        ("entries?older=1".to_owned(), "invalid-query"),
        ("accounts?limit=1".to_owned(), "invalid-query"),
        ("entries?cursor=x".to_owned(), "invalid-cursor"),
        (
            format!("entries?account=revenue&cursor={cursor}"),
            "cursor-mismatch",
        ),
    ] {
        let refused = ask(&router, &format!("/v1/ledger/{path}"), &[]).await;
        assert_eq!(refused.status, 400, "{path}");
        assert_eq!(refused.body["code"], code, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_is_not_as_new_as_asked_says_so() {
    let (log, ..) = two_orders().await;
    let projections = open(&log.store, &documents()).await;
    let router = projections.routes().into_router();
    let head = position::write(log.store.durable(), LOG);
    for path in ["/v1/ledger/accounts", "/v1/ledger/entries"] {
        let behind = ask(&router, path, &[("recourse-min-position", &head)]).await;
        assert_eq!(behind.status, 503);
        assert_eq!(behind.body["code"], "view-behind");
        let now = ask(&router, path, &[]).await;
        assert_eq!(now.body["items"], json!([]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_views_say_how_far_they_are_behind() {
    let (log, ..) = two_orders().await;
    let list = |body: &Value| -> Vec<(String, u64)> {
        let items = body["items"].as_array().unwrap();
        let item = |item: &Value| {
            (
                item["name"].as_str().unwrap().to_owned(),
                item["lag_events"].as_u64().unwrap(),
            )
        };
        items.iter().map(item).collect()
    };
    let names = ["orders", "sagas", "stock", "products", "ledger"];
    let head = log.store.durable().commit;
    let router = open(&log.store, &documents()).await.routes().into_router();
    let behind = ask(&router, "/v1/projections", &[]).await;
    assert_eq!(
        list(&behind.body),
        names.map(|name| (name.to_owned(), head))
    );
    let first = &behind.body["items"][0];
    assert!(first["version"].is_u64());
    assert_eq!(first["status"], "starting");
    // The clock of these tests stands a day after the log's first event.
    assert_eq!(first["lag_ms"], 86_399_000);
    let router = filled(&log.store, &documents()).await;
    let there = ask(&router, "/v1/projections", &[]).await;
    assert_eq!(list(&there.body), names.map(|name| (name.to_owned(), 0)));
    let first = &there.body["items"][0];
    assert_eq!(
        (&first["lag_ms"], &first["status"], &first["position"]),
        (
            &json!(0),
            &json!("up"),
            &json!(position::write(log.store.durable(), LOG))
        )
    );
    assert!(first.get("rebuild").is_none() && first.get("detail").is_none());
}
