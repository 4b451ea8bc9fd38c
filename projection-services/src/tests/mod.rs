//! Given events in a log, then this is what a client sees.

mod generations;
mod ledger;
mod log;
mod payments;
mod throughput;
mod turns;
mod write_offs;

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt;
use recourse_domain::{order, payment, product, stock};
use recourse_event_store::{EventStore, Position, memory::Store};
use recourse_saga::{Answer, AttentionNeeded, Compensated, Direction, Event as Saga, TimedOut};
use recourse_service::{clock::TokioClock, position, readiness::Health};
use recourse_views::{documents::Documents, fold_in_memory, memory, verify};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

use self::log::{LOG, Log, TOKEN};
use crate::{
    Options, Projections, orders::Orders, products::Products, sagas::Sagas, stock::Stocks,
};

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answered {
    fn ids(&self, name: &str) -> Vec<&str> {
        let items = self.body["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item[name].as_str().unwrap())
            .collect()
    }
}

async fn ask(router: &axum::Router, path: &str, headers: &[(&str, &str)]) -> Answered {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answered {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

fn documents() -> Arc<dyn Documents> {
    Arc::new(memory::Documents::default())
}

async fn open(store: &Store, documents: &Arc<dyn Documents>) -> Projections {
    let clock = TokioClock::new("2024-10-05T00:00:00Z".parse().unwrap());
    Projections::open(
        Arc::new(store.clone()),
        Arc::clone(documents),
        Arc::new(memory::Books::default()),
        Arc::new(clock),
        &Options::default(),
    )
    .await
    .unwrap()
}

/// Fills the views up to the end of the log, and gives what answers from them then.
async fn filled(store: &Store, documents: &Arc<dyn Documents>) -> axum::Router {
    let projections = open(store, documents).await;
    let router = projections.routes().into_router();
    let progress = projections.progress();
    let shutdown = CancellationToken::new();
    let head = store.durable();
    let (ran, ()) = tokio::join!(projections.run(shutdown.clone()), async {
        for view in &progress {
            assert!(view.considered().wait(head, Duration::from_secs(9)).await);
            assert_eq!(view.health(), Health::Up);
        }
        shutdown.cancel();
    });
    ran.unwrap();
    router
}

async fn shown(log: &Log, path: &str) -> Value {
    let router = filled(&log.store, &documents()).await;
    let answered = ask(&router, path, &[]).await;
    assert_eq!(answered.status, 200, "{}", answered.body);
    answered.body
}

fn refused(code: &str) -> Answer {
    Answer::Refused {
        code: code.into(),
        detail: "for a reason".into(),
        is_final: true,
    }
}

#[tokio::test(start_paused = true)]
async fn a_completed_order_shows_lines_money_payment_saga_and_what_happened() {
    let mut log = Log::new(Store::new(LOG));
    let ids = log.complete(7).await;
    let mut body = shown(&log, &format!("/v1/orders/{}", ids.order)).await;
    let timeline = body["timeline"].take();
    let price = json!({"amount_minor": 1999, "currency": "EUR"});
    assert_eq!(
        body,
        json!({
            "order_id": ids.order, "customer_id": ids.customer, "status": "completed",
            "total": {"amount_minor": 3998, "currency": "EUR"},
            "lines": [{"sku": "tea-1", "quantity": 2, "unit_price": price},
                      {"sku": "cup-1", "quantity": 2, "unit_price": price}],
            "placed_at": "2024-10-04T00:00:01Z",
            "payment": {"payment_id": ids.payment, "status": "captured"},
            "saga_id": ids.saga,
            "saga": {"status": "completed", "deadline_at": "2024-10-04T00:10:01Z"},
            "timeline": null,
        })
    );
    let timeline = timeline.as_array().unwrap();
    assert_eq!(
        timeline[0],
        json!({"at": "2024-10-04T00:00:01Z", "type": "order.placed.v1",
               "position": position::write(Position::dense(1), LOG)})
    );
    // Everything but what happened to the stock of two lines, twice.
    assert_eq!(timeline.len(), Log::EVENTS_AFTER_PLACED + 1 - 4);
    assert_eq!(timeline.last().unwrap()["type"], "saga.completed.v1");
}

#[tokio::test(start_paused = true)]
async fn an_order_shows_how_far_it_is_at_every_event() {
    let mut log = Log::new(Store::new(LOG));
    let mut ids = log.place(7, &["tea-1", "cup-1"]).await;
    let path = format!("/v1/orders/{}", ids.order);
    let body = shown(&log, &path).await;
    assert_eq!(
        (&body["saga"], &body["payment"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(body["saga_id"], json!(ids.saga));
    let mut seen = Vec::new();
    for step in 0..Log::EVENTS_AFTER_PLACED {
        log.advance(&mut ids, step).await;
        let body = shown(&log, &path).await;
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let now = format!(
            "{} {} {}",
            text(&body["status"]),
            text(&body["payment"]["status"]),
            text(&body["saga"]["status"])
        );
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(
        seen,
        [
            "pending - running",
            "pending requested running",
            "pending authorized running",
            "confirmed authorized running",
            "confirmed captured running",
            "completed captured running",
            "completed captured completed",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_declined_payment_ends_in_a_rejected_order_with_its_reason() {
    let mut log = Log::new(Store::new(LOG));
    let mut ids = log.place(7, &["tea-1", "cup-1"]).await;
    for step in 0..6 {
        log.advance(&mut ids, step).await;
    }
    let declined = payment::Declined {
        code: "payment-declined".into(),
        detail: "no".into(),
        is_final: true,
    };
    log.payment(&ids, payment::Event::Declined(declined)).await;
    let undo = Some(("reserve-stock", Direction::Undo));
    log.answer(&mut ids, refused("payment-declined"), Direction::Do, undo)
        .await;
    let path = format!("/v1/orders/{}", ids.order);
    let body = shown(&log, &path).await;
    assert_eq!(body["saga"]["status"], "compensating");
    assert_eq!(body["payment"]["status"], "declined");
    assert_eq!(body["status"], "pending");
    let saga = shown(&log, &format!("/v1/sagas/{}", ids.saga)).await;
    assert_eq!(saga["status"], "compensating");
    assert_eq!(saga["reason"]["code"], "payment-declined");
    let undone = |item: &str| json!({"step": "reserve-stock", "item": item});
    assert_eq!(saga["undo_plan"], json!([undone("0"), undone("1")]));
    log.answer(&mut ids, Answer::Done, Direction::Undo, None)
        .await;
    let reject = Some(("reject-order", Direction::Do));
    log.answer(&mut ids, Answer::Done, Direction::Undo, reject)
        .await;
    let reason = order::Reason {
        code: "payment-declined".into(),
        detail: "no".into(),
    };
    log.order(&ids, order::Event::Rejected(order::Rejected { reason }))
        .await;
    log.answer(&mut ids, Answer::Done, Direction::Do, None)
        .await;
    log.saga(&ids, Saga::Compensated(Compensated {})).await;
    let body = shown(&log, &path).await;
    assert_eq!(body["status"], "rejected");
    assert_eq!(
        body["reason"],
        json!({"code": "payment-declined", "detail": "no"})
    );
    assert_eq!(body["saga"]["status"], "compensated");
    let saga = shown(&log, &format!("/v1/sagas/{}", ids.saga)).await;
    assert_eq!(saga["steps"][0]["status"], "undone");
    assert_eq!(saga["steps"][1]["status"], "refused");
    assert_eq!(
        (&saga["remaining"], &saga["undo_plan"]),
        (&json!([]), &json!([]))
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_shown_until_it_is_known() {
    let mut log = Log::new(Store::new(LOG));
    let mut ids = log.place(7, &["tea-1", "cup-1"]).await;
    for step in 0..11 {
        log.advance(&mut ids, step).await;
    }
    let path = format!("/v1/orders/{}", ids.order);
    let unknown = || {
        payment::Event::Unknown(payment::Unknown {
            operation: payment::Operation::Capture,
            detail: "no answer".into(),
            given_up: false,
        })
    };
    log.payment(&ids, unknown()).await;
    log.payment(&ids, unknown()).await;
    let body = shown(&log, &path).await;
    let is = |status: &str| json!({"payment_id": ids.payment, "status": status});
    assert_eq!(body["payment"], is("unknown"));
    let refused = payment::Declined {
        code: "capture-refused".into(),
        detail: "no".into(),
        is_final: true,
    };
    log.payment(&ids, payment::Event::CaptureRefused(refused))
        .await;
    assert_eq!(shown(&log, &path).await["payment"], is("authorized"));
}

#[tokio::test(start_paused = true)]
async fn what_came_of_one_refund_says_nothing_of_another_that_is_unknown() {
    let mut log = Log::new(Store::new(LOG));
    let ids = log.complete(7).await;
    let path = format!("/v1/orders/{}", ids.order);
    let [one, other] = [1, 2].map(|id| recourse_domain::RefundId(Uuid::from_u128(id)));
    for refund in [one, other] {
        let requested = payment::RefundRequested {
            refund,
            amount: log::eur(1000),
            key: refund.0,
            ordinal: 0,
        };
        log.payment(&ids, payment::Event::RefundRequested(requested))
            .await;
    }
    let unknown = payment::Unknown {
        operation: payment::Operation::Refund(one),
        detail: "no answer".into(),
        given_up: false,
    };
    log.payment(&ids, payment::Event::Unknown(unknown)).await;
    let refunded = |refund| payment::Refunded {
        refund,
        amount: log::eur(1000),
        reference: "back".into(),
    };
    log.payment(&ids, payment::Event::Refunded(refunded(other)))
        .await;
    let body = shown(&log, &path).await;
    let sum = json!({"amount_minor": 1000, "currency": "EUR"});
    assert_eq!(
        body["payment"],
        json!({"payment_id": ids.payment, "status": "unknown", "refunded": sum})
    );
    let alone = shown(&log, &format!("/v1/payments/{}", ids.payment)).await;
    assert_eq!(alone["status"], "unknown");
    log.payment(&ids, payment::Event::Refunded(refunded(one)))
        .await;
    let body = shown(&log, &path).await;
    assert_eq!(body["payment"]["status"], "partially_refunded");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_order_and_a_saga_in_trouble_say_so() {
    let mut log = Log::new(Store::new(LOG));
    let mut ids = log.place(7, &["tea-1", "cup-1"]).await;
    log.start_saga(&mut ids).await;
    let cancelled = order::Cancelled {
        reason: "changed my mind".into(),
    };
    log.order(&ids, order::Event::Cancelled(cancelled)).await;
    let late = TimedOut {
        command: Uuid::nil(),
        step: "reserve-stock".into(),
        item: "0".into(),
        commands: vec![],
    };
    log.saga(&ids, Saga::TimedOut(late)).await;
    let why = "its deadline has passed".to_owned();
    log.saga(
        &ids,
        Saga::AttentionNeeded(AttentionNeeded { why: why.clone() }),
    )
    .await;
    let body = shown(&log, &format!("/v1/orders/{}", ids.order)).await;
    assert_eq!(body["status"], "cancelled");
    assert_eq!(
        body["reason"],
        json!({"code": "cancelled", "detail": "changed my mind"})
    );
    assert_eq!(body["saga"]["status"], "needs_attention");
    let saga = shown(&log, &format!("/v1/sagas/{}", ids.saga)).await;
    assert_eq!(saga["status"], "needs_attention");
    assert_eq!(saga["trouble"], json!(why));
    let found = shown(
        &log,
        "/v1/sagas?status=needs_attention&definition=fulfilment",
    )
    .await;
    assert_eq!(found["items"][0]["saga_id"], json!(ids.saga));
}

#[tokio::test(start_paused = true)]
async fn a_saga_shows_its_steps_and_the_revision_it_was_read_at() {
    let mut log = Log::new(Store::new(LOG));
    let ids = log.complete(7).await;
    let router = filled(&log.store, &documents()).await;
    let answered = ask(&router, &format!("/v1/sagas/{}", ids.saga), &[]).await;
    assert_eq!(answered.headers["etag"], "\"9\"");
    let body = answered.body;
    let step = &body["steps"][4];
    assert_eq!(
        (&step["name"], &step["kind"]),
        (&json!("commit-stock"), &json!("retriable"))
    );
    assert_eq!(
        (&step["status"], &step["attempts"]),
        (&json!("done"), &json!(1))
    );
    assert_eq!(body["steps"].as_array().unwrap().len(), 6);
    assert_eq!(body["started_at"], "2024-10-04T00:00:02Z");
    assert_eq!(body["ended_at"], "2024-10-04T00:00:21Z");
    assert_eq!(body["definition"], "fulfilment");
}

#[tokio::test(start_paused = true)]
async fn stock_counts_what_came_what_is_held_and_what_went() {
    let mut log = Log::new(Store::new(LOG));
    log.received("tea-1", 100).await;
    log.received("cup-1", 3).await;
    let adjusted = stock::Adjusted {
        sku: recourse_domain::Sku::parse("tea-1").unwrap(),
        delta: -5,
        reason: "broken".into(),
    };
    log.stock("tea-1", stock::Event::Adjusted(adjusted)).await;
    log.complete(1).await;
    let mut ids = log.place(2, &["tea-1", "cup-1"]).await;
    log.advance(&mut ids, 0).await;
    log.advance(&mut ids, 1).await;
    assert_eq!(
        shown(&log, "/v1/stock/tea-1").await,
        json!({"sku": "tea-1", "on_hand": 93, "reserved": 2, "available": 91, "committed": 2,
               "received": 100, "adjusted": -5, "restocked": 0})
    );
    let below = shown(&log, "/v1/stock?available_below=91").await;
    assert_eq!(below["items"].as_array().unwrap().len(), 1);
    assert_eq!(below["items"][0]["sku"], "cup-1");
}

#[tokio::test(start_paused = true)]
async fn a_product_carries_the_revision_of_its_stream() {
    let mut log = Log::new(Store::new(LOG));
    log.product("tea-1", product::Event::Created).await;
    log.product("cup-1", product::Event::Created).await;
    log.product("tea-1", product::Event::Changed).await;
    let router = filled(&log.store, &documents()).await;
    let answered = ask(&router, "/v1/products/tea-1", &[]).await;
    assert_eq!(answered.headers["etag"], "\"1\"");
    assert_eq!(
        answered.body,
        json!({"sku": "tea-1", "name": "The tea-1", "active": true,
               "price": {"amount_minor": 1999, "currency": "EUR"}})
    );
    let answered = ask(&router, "/v1/products", &[]).await;
    assert_eq!(answered.ids("sku"), ["cup-1", "tea-1"]);
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_in_any_row() {
    let mut log = Log::new(Store::new(LOG));
    log.complete(7).await;
    let documents = documents();
    let _ = filled(&log.store, &documents).await;
    let mut rows = String::new();
    for collection in crate::collections() {
        documents
            .scan(&collection, &mut |document| rows.push_str(&document.json))
            .await
            .unwrap();
    }
    assert!(rows.contains("fulfilment") && rows.contains("captured"));
    assert!(!rows.contains(TOKEN));
}

#[tokio::test(start_paused = true)]
async fn every_view_is_the_fold_of_the_log() {
    let mut log = Log::new(Store::new(LOG));
    log.product("tea-1", product::Event::Created).await;
    log.received("tea-1", 1000).await;
    log.received("cup-1", 1000).await;
    let documents = documents();
    for number in 0..20 {
        log.complete(number).await;
        let _ = filled(&log.store, &documents).await;
    }
    let store: &dyn EventStore = &log.store;
    for compared in [
        verify::compare::<Orders>(store, &*documents).await.unwrap(),
        verify::compare::<Sagas>(store, &*documents).await.unwrap(),
        verify::compare::<Stocks>(store, &*documents).await.unwrap(),
        verify::compare::<Products>(store, &*documents)
            .await
            .unwrap(),
    ] {
        assert_eq!(compared.differences, []);
        assert!(compared.equal_rows > 0);
        assert!(compared.position > Position::START);
    }
    assert_eq!(fold_in_memory::<Orders>(store).await.unwrap().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn pages_go_from_the_newest_and_know_their_filters() {
    let mut log = Log::new(Store::new(LOG));
    let mut placed = Vec::new();
    for number in 0..5 {
        placed.push(log.place(number, &["tea-1"]).await.order.to_string());
    }
    let customer = Uuid::from_u128((2 << 64) | 3);
    placed.reverse();
    let router = filled(&log.store, &documents()).await;
    let mut path = "/v1/orders?limit=2&status=pending".to_owned();
    let mut seen = Vec::new();
    loop {
        let answered = ask(&router, &path, &[]).await;
        seen.extend(answered.ids("order_id").into_iter().map(str::to_owned));
        let Some(cursor) = answered.body["next_cursor"].as_str() else {
            assert!(!answered.headers.contains_key("link"));
            break;
        };
        path = format!("/v1/orders?limit=2&status=pending&cursor={cursor}");
        assert_eq!(answered.headers["link"], format!("<{path}>; rel=\"next\""));
        let other = format!("/v1/orders?limit=2&cursor={cursor}");
        let answered = ask(&router, &other, &[]).await;
        assert_eq!(answered.body["code"], "cursor-mismatch");
    }
    assert_eq!(seen, placed);
    let answered = ask(&router, &format!("/v1/orders?customer_id={customer}"), &[]).await;
    assert_eq!(answered.ids("order_id"), [&placed[1]]);
    for wrong in [
        "/v1/orders?status=lost",
        "/v1/orders?limit=0",
        "/v1/orders?customer_id=me",
        "/v1/orders?colour=red",
        "/v1/sagas?older_than_ms=-1",
        "/v1/sagas?older_than_ms=18446744073709551615",
        "/v1/stock?available_below=few",
    ] {
        let answered = ask(&router, wrong, &[]).await;
        assert_eq!(answered.body["code"], "invalid-query", "{wrong}");
    }
    for nothing in ["/v1/orders/7", "/v1/stock/-", "/v1/products/cup-1"] {
        let answered = ask(&router, nothing, &[]).await;
        assert_eq!(answered.body["code"], "not-found", "{nothing}");
    }
}

#[tokio::test(start_paused = true)]
async fn sagas_are_found_by_their_age() {
    let mut log = Log::new(Store::new(LOG));
    let mut older = log.place(1, &["tea-1"]).await;
    log.start_saga(&mut older).await;
    let mut newer = log.place(2, &["tea-1"]).await;
    log.start_saga(&mut newer).await;
    // They began 2 and 4 seconds after midnight, and it is midnight again.
    let day = 24 * 3_600_000;
    for (age, found) in [
        (day - 2_000, vec![]),
        (day - 3_000, vec![older.saga]),
        (day - 5_000, vec![newer.saga, older.saga]),
    ] {
        let body = shown(&log, &format!("/v1/sagas?older_than_ms={age}")).await;
        let ids = body["items"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|item| item["saga_id"].clone()).collect();
        assert_eq!(json!(ids), json!(found), "{age}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_with_the_position_of_a_write_sees_it() {
    let mut log = Log::new(Store::with_manual_sync(LOG));
    let documents = documents();
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let shutdown = CancellationToken::new();
    let ids = log.place(7, &["tea-1"]).await;
    let token = position::write(Position::dense(1), LOG);
    let min = [("recourse-min-position", token.as_str())];
    let asking = async {
        // Not yet durable: the view does not have it, and says so once the time is over.
        let path = format!("/v1/orders/{}", ids.order);
        let before = tokio::time::Instant::now();
        let behind = ask(&router, &path, &[min[0], ("prefer", "wait=7")]).await;
        assert_eq!(
            (behind.status.as_u16(), &behind.body["code"]),
            (503, &json!("view-behind"))
        );
        assert!(behind.headers.contains_key("retry-after"));
        assert_eq!(before.elapsed().as_secs(), 7);
        // Nobody named a position, and still it is not 404: it may come.
        let behind = ask(&router, &path, &[]).await;
        assert_eq!(behind.body["code"], "view-behind");
        let (found, listed, _) = tokio::join!(
            ask(&router, &path, &min),
            ask(&router, "/v1/orders", &min),
            async {
                tokio::task::yield_now().await;
                log.store.sync()
            }
        );
        assert_eq!(found.status, 200);
        assert_eq!(found.headers["recourse-position"], token);
        assert_eq!(listed.ids("order_id"), [ids.order.to_string()]);
        let waited = ask(&router, &path, &[min[0], ("prefer", "wait=99")]).await;
        assert_eq!(waited.headers["preference-applied"], "wait=30");
        // What is not in the log up to its head is not there.
        let nothing = ask(&router, &format!("/v1/orders/{}", Uuid::nil()), &[]).await;
        assert_eq!(nothing.status, 404);
        for wrong in ["2-00000001", "1", &position::write(Position::dense(2), LOG)] {
            let refused = ask(&router, &path, &[("recourse-min-position", wrong)]).await;
            assert_eq!(refused.body["code"], "invalid-position", "{wrong}");
        }
        shutdown.cancel();
    };
    let (ran, ()) = tokio::join!(projections.run(shutdown.clone()), asking);
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_view_that_cannot_go_on_is_down_and_the_others_go_on() {
    let mut log = Log::new(Store::new(LOG));
    log.received("tea-1", 5).await;
    log.product("tea-1", product::Event::Created).await;
    let id = Uuid::from_u128(9);
    // A stranger in the stream of a stock.
    let event = order::Event::Confirmed(order::Confirmed {});
    log.add("stock", "tea-1", id, event).await;
    let projections = open(&log.store, &documents()).await;
    let progress = projections.progress();
    let router = projections.routes().into_router();
    let shutdown = CancellationToken::new();
    let (ran, ()) = tokio::join!(projections.run(shutdown.clone()), async {
        let head = log.store.durable();
        for view in &progress {
            let reached = view.considered().wait(head, Duration::from_secs(9)).await;
            assert_eq!(reached, view.name != "stock", "{}", view.name);
            let down =
                matches!(view.health(), Health::Down(why) if why.contains("order.confirmed.v1"));
            assert_eq!(down, view.name == "stock", "{}", view.name);
        }
        let answered = ask(&router, "/v1/products/tea-1", &[]).await;
        assert_eq!(answered.status, 200);
        shutdown.cancel();
    });
    assert!(ran.is_err());
}
