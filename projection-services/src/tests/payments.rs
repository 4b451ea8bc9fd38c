//! A payment, as it is folded when somebody asks.

use recourse_domain::payment::{Declined, Event, Operation, Unknown};

use super::{
    ledger::{applied, refund, requested},
    *,
};

fn declined() -> Declined {
    Declined {
        code: "payment-declined".into(),
        detail: "the card says no".into(),
        is_final: true,
    }
}

fn unknown(operation: Operation) -> Event {
    Event::Unknown(Unknown {
        operation,
        detail: "no answer".into(),
        given_up: false,
    })
}

/// Places an order and brings it up to where its authorization is requested.
async fn asked_for(log: &mut Log, number: u128) -> log::Ids {
    let mut ids = log.place(number, &["tea-1", "cup-1"]).await;
    for step in 0..=5 {
        log.advance(&mut ids, step).await;
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn a_payment_has_every_status_that_its_events_make() {
    let mut log = Log::new(Store::new(LOG));
    let authorized = || Event::Authorized(applied(3998));
    let capture = || Event::CaptureRequested(requested());
    let void = || Event::VoidRequested(requested());
    let stories = [
        ("requested", vec![]),
        ("declined", vec![Event::Declined(declined())]),
        ("unknown", vec![unknown(Operation::Authorize)]),
        ("authorized", vec![authorized()]),
        (
            "authorized",
            vec![unknown(Operation::Authorize), authorized()],
        ),
        ("authorized", vec![authorized(), capture()]),
        (
            "unknown",
            vec![authorized(), capture(), unknown(Operation::Capture)],
        ),
        (
            "authorized",
            vec![authorized(), capture(), Event::CaptureRefused(declined())],
        ),
        (
            "captured",
            vec![authorized(), capture(), Event::Captured(applied(3998))],
        ),
        (
            "voided",
            vec![authorized(), void(), Event::Voided(applied(3998))],
        ),
        // Its order was cancelled before the provider had answered.
        (
            "declined",
            vec![
                void(),
                Event::Declined(declined()),
                Event::VoidRefused(declined()),
            ],
        ),
    ];
    for (number, (status, events)) in (1..).zip(stories) {
        let ids = asked_for(&mut log, number).await;
        for event in events {
            log.payment(&ids, event).await;
        }
        let body = shown(&log, &format!("/v1/payments/{}", ids.payment)).await;
        assert_eq!(body["status"], status, "{body:#}");
        assert_eq!(body["order_id"], ids.order.to_string());
        assert!(!body.to_string().contains(TOKEN));
    }
}

#[tokio::test(start_paused = true)]
async fn a_payment_shows_what_was_asked_of_the_provider_and_what_came_of_it() {
    let mut log = Log::new(Store::new(LOG));
    let ids = log.complete(7).await;
    let path = format!("/v1/payments/{}", ids.payment);
    refund(&mut log, &ids, 1, 1000).await;
    let body = shown(&log, &path).await;
    let money = |amount_minor: i64| json!({"amount_minor": amount_minor, "currency": "EUR"});
    assert_eq!(body["status"], "partially_refunded");
    for (field, amount) in [
        ("amount", 3998),
        ("authorized", 3998),
        ("captured", 3998),
        ("voided", 0),
        ("refunded", 1000),
    ] {
        assert_eq!(body[field], money(amount), "{field}");
    }
    let operations = body["operations"].as_array().unwrap();
    let summary: Vec<_> = operations
        .iter()
        .map(|operation| {
            (
                operation["operation"].as_str().unwrap(),
                operation["status"].as_str().unwrap(),
                operation["reference"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        summary,
        [
            ("authorize", "applied", "ref"),
            ("capture", "applied", "ref"),
            ("refund", "applied", "back")
        ]
    );
    assert_eq!(operations[2]["refund_id"], Uuid::from_u128(1).to_string());
    assert_eq!(operations[2]["amount"], money(1000));
    assert!(operations[0]["requested_at"].as_str() < operations[0]["ended_at"].as_str());
    refund(&mut log, &ids, 2, 2998).await;
    assert_eq!(shown(&log, &path).await["status"], "refunded");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_shows_why_and_an_unknown_payment_is_not_found() {
    let mut log = Log::new(Store::new(LOG));
    let ids = asked_for(&mut log, 7).await;
    log.payment(&ids, Event::Declined(declined())).await;
    let router = open(&log.store, &documents()).await.routes().into_router();
    // No view stands between: it is there at once.
    let found = ask(&router, &format!("/v1/payments/{}", ids.payment), &[]).await;
    let operation = &found.body["operations"][0];
    assert_eq!(operation["status"], "refused");
    assert_eq!(
        operation["reason"],
        json!({"code": "payment-declined", "detail": "the card says no"})
    );
    assert!(operation.get("reference").is_none());
    let head = position::write(log.store.durable(), LOG);
    assert_eq!(found.headers["recourse-position"], head.as_str());
    let missing = ask(&router, &format!("/v1/payments/{}", ids.order), &[]).await;
    assert_eq!(
        (missing.status.as_u16(), &missing.body["code"]),
        (404, &json!("not-found"))
    );
    let malformed = ask(&router, "/v1/payments/7", &[]).await;
    assert_eq!(malformed.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_payment_is_shown_once_it_is_durable_and_not_before() {
    let mut log = Log::new(Store::with_manual_sync(LOG));
    let ids = asked_for(&mut log, 7).await;
    let router = open(&log.store, &documents()).await.routes().into_router();
    let path = format!("/v1/payments/{}", ids.payment);
    let waits = ask(&router, &path, &[]).await;
    assert_eq!(
        (waits.status.as_u16(), &waits.body["code"]),
        (503, &json!("view-behind"))
    );
    let (answered, ()) = tokio::join!(ask(&router, &path, &[]), async {
        tokio::task::yield_now().await;
        log.store.sync_up_to(Position::dense(1_000));
    });
    assert_eq!(answered.body["status"], "requested");
}
