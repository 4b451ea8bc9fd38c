//! Views that are rebuilt while they are asked, and promoted, rolled back and dropped.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::{Context, Poll},
};

use async_trait::async_trait;
use axum::Router;
use recourse_event_store::{
    Append, Direction, ExpectedRevision, LogId, Metadata, NewEvent, StreamName, Visibility,
};
use recourse_views::{
    Checkpoint, Projection as _,
    documents::{self, Change, Collection, Document, Page, Query, Write},
    rebuild,
};

use tokio::sync::Notify;

use super::*;

/// Documents whose generations are written at different speeds, or under which the process dies.
#[derive(Default)]
struct Slow {
    inner: memory::Documents,
    /// How many calls there were, and at which one the process dies: before it takes effect, or
    /// after.
    calls: AtomicUsize,
    dies_at: Option<(usize, bool)>,
    died: Notify,
    /// Whether every other generation than the first waits before it is written.
    is_stuck: AtomicBool,
    /// Whether the first generation of the stock cannot be read from end to end.
    is_unreadable: bool,
    /// How many of the next scans of the stock the database does not answer.
    failing_scans: AtomicUsize,
    /// How many of the next times that something is discarded it is not.
    failing_discards: AtomicUsize,
    /// The generation that nobody can tell anything of.
    lost: Option<u32>,
    /// How long the odd generations take for a transaction.
    odd_take: Duration,
}

impl Slow {
    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let dies = self.dies_at.filter(|(at, _)| *at == number);
        if dies.is_some_and(|(_, takes_effect)| !takes_effect) {
            self.die().await;
        }
        let done = call.await;
        if dies.is_some() {
            self.die().await;
        }
        done
    }

    fn fails(left: &AtomicUsize) -> Result<(), documents::Error> {
        let left = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        });
        match left {
            Ok(_) => Err(documents::Error::Unavailable("away".into())),
            Err(_) => Ok(()),
        }
    }

    async fn die(&self) {
        self.died.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Documents for Slow {
    async fn checkpoint(&self, c: &Collection) -> Result<Option<Checkpoint>, documents::Error> {
        if self.lost == Some(c.generation) {
            return Err(documents::Error::Unavailable("it is damaged".into()));
        }
        self.call(self.inner.checkpoint(c)).await
    }

    async fn load(
        &self,
        c: &Collection,
        ids: &[String],
    ) -> Result<documents::Loaded, documents::Error> {
        self.call(self.inner.load(c, ids)).await
    }

    async fn commit(
        &self,
        c: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), documents::Error> {
        if c.generation % 2 == 1 {
            tokio::time::sleep(self.odd_take).await;
        }
        while c.generation > 0 && self.is_stuck.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.call(self.inner.commit(c, expected, next, writes))
            .await
    }

    async fn query(&self, c: &Collection, query: &Query) -> Result<Page, documents::Error> {
        self.call(self.inner.query(c, query)).await
    }

    async fn scan(
        &self,
        c: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<documents::Scanned, documents::Error> {
        if self.is_unreadable && *c == Stocks::collection() {
            return Err(documents::Error::Unavailable("a page is damaged".into()));
        }
        if c.name == Stocks::NAME {
            Self::fails(&self.failing_scans)?;
        }
        self.call(self.inner.scan(c, visit)).await
    }

    async fn discard(&self, c: &Collection) -> Result<(), documents::Error> {
        Self::fails(&self.failing_discards)?;
        self.call(self.inner.discard(c)).await
    }
}

async fn post(router: &Router, path: &str, key: &str) -> Answered {
    post_with(router, path, &[("idempotency-key", key)], None).await
}

async fn post_with(
    router: &Router,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answered {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = match body {
        Some(body) => {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    let response = router
        .clone()
        .oneshot(request.body(body).unwrap())
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answered {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

/// Asks until it stands so.
async fn until(router: &Router, location: &str, status: &str) -> Value {
    for _ in 0..1_000 {
        let answered = ask(router, location, &[]).await;
        assert_eq!(answered.status, 200, "{}", answered.body);
        if answered.body["status"] == status {
            return answered.body;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{location} is not {status}");
}

/// Runs the views while `operator` does something, then lets them end.
async fn running<T>(
    projections: Projections,
    operator: impl Future<Output = T>,
) -> (Result<(), recourse_views::projector::Error>, T) {
    let shutdown = CancellationToken::new();
    tokio::join!(projections.run(shutdown.clone()), async {
        let done = operator.await;
        shutdown.cancel();
        done
    })
}

/// Two SKUs, and an order that is done.
async fn shop() -> Log {
    let mut log = Log::new(Store::new(LOG));
    for sku in ["tea-1", "cup-1"] {
        log.product(sku, product::Event::Created).await;
        log.received(sku, 5).await;
    }
    log.complete(7).await;
    log
}

/// Writes to a view what no event says.
async fn damage(documents: &dyn Documents, collection: &Collection, id: &str, json: &str) {
    let at = documents.checkpoint(collection).await.unwrap();
    let write = Write {
        id: id.into(),
        change: Change::Put(json.into()),
    };
    documents
        .commit(collection, at.as_ref(), &at.unwrap(), vec![write])
        .await
        .unwrap();
}

/// The row as it is, with more on hand than there is.
async fn with_more(documents: &dyn Documents, collection: &Collection, id: &str) -> String {
    let found = documents.load(collection, &[id.into()]).await.unwrap();
    let mut row: Value = serde_json::from_str(&found.documents[0].json).unwrap();
    let received = row["received"].as_i64().unwrap();
    row["received"] = json!(received + 100);
    row.to_string()
}

const START: &str = "/v1/projections/stock/rebuilds";

#[tokio::test(start_paused = true)]
async fn a_damaged_row_is_found_by_the_comparison_and_mended_by_promoting_what_was_rebuilt() {
    let log = shop().await;
    let documents = documents();
    let whole = shown_by(&filled(&log.store, &documents).await, "/v1/stock/tea-1").await;
    let live = Stocks::collection();
    let row = with_more(&*documents, &live, "tea-1").await;
    damage(&*documents, &live, "tea-1", &row).await;
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let progress = projections.progress();
    let (ran, ()) = running(projections, async {
        let damaged = shown_by(&router, "/v1/stock/tea-1").await;
        assert_ne!(damaged, whole);
        let started = post(&router, START, "a").await;
        assert_eq!(started.status, 202);
        let location = started.headers["location"].to_str().unwrap().to_owned();
        let id = started.body["rebuild_id"].as_str().unwrap();
        assert_eq!(location, format!("{START}/{id}"));
        let ready = until(&router, &location, "ready").await;
        assert_eq!(
            ready["comparison"]["differences"],
            json!([{"id": "tea-1", "kind": "changed"}])
        );
        assert_eq!(ready["comparison"]["equal_rows"], 1);
        assert_eq!(
            (&ready["share"], &ready["lag_events"]),
            (&json!(1.0), &json!(0))
        );
        // Nothing has changed for those who ask.
        assert_eq!(shown_by(&router, "/v1/stock/tea-1").await, damaged);
        let promoted = post(&router, &format!("{location}/promote"), "b").await;
        assert_eq!(
            (promoted.status.as_u16(), &promoted.body["live"]),
            (200, &json!(1))
        );
        assert_eq!(shown_by(&router, "/v1/stock/tea-1").await, whole);
        // Back and forth: both are fed.
        let back = post(&router, &format!("{location}/rollback"), "c").await;
        assert_eq!(back.body["status"], "rolled_back", "{}", back.body);
        assert_eq!(shown_by(&router, "/v1/stock/tea-1").await, damaged);
        let again = post(&router, &format!("{location}/promote"), "d").await;
        assert_eq!(again.body["status"], "promoted");
        assert_eq!(shown_by(&router, "/v1/stock/tea-1").await, whole);
        let listing = shown_by(&router, "/v1/projections").await;
        let stock = &listing["items"][2];
        assert_eq!(
            (&stock["name"], &stock["generation"]),
            (&json!("stock"), &json!(1))
        );
        assert_eq!(stock["rebuild"]["rebuild_id"], id);
        // Then the damaged one is dropped, and nothing of it is left.
        let dropped = post(&router, &format!("{location}/drop"), "e").await;
        assert_eq!(dropped.body["status"], "promoted");
        let late = post(&router, &format!("{location}/rollback"), "f").await;
        assert_eq!(late.body["code"], "rebuild-not-possible");
        while documents.checkpoint(&live).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(shown_by(&router, "/v1/stock/tea-1").await, whole);
        for view in &progress {
            assert_eq!(view.health(), Health::Up);
        }
        let types: Vec<_> = dropped.body["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .collect();
        let types: Vec<_> = types.iter().map(|entry| &entry["type"]).collect();
        assert_eq!(
            json!(types),
            json!([
                "projection.rebuild-started.v1",
                "projection.rebuild-compared.v1",
                "projection.promoted.v1",
                "projection.rolled-back.v1",
                "projection.promoted.v1",
                "projection.generation-dropped.v1"
            ])
        );
    })
    .await;
    ran.unwrap();
}

async fn shown_by(router: &Router, path: &str) -> Value {
    let answered = ask(router, path, &[]).await;
    assert_eq!(answered.status, 200, "{path}: {}", answered.body);
    answered.body
}

#[tokio::test(start_paused = true)]
async fn a_view_that_stands_still_over_a_damaged_row_goes_on_once_it_is_rebuilt() {
    let mut log = shop().await;
    let documents = documents();
    let _ = filled(&log.store, &documents).await;
    damage(&*documents, &Stocks::collection(), "tea-1", "{}").await;
    log.received("tea-1", 2).await;
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let stock = projections.progress().remove(2);
    let (ran, ()) = running(projections, async {
        while stock.health() == Health::Up || matches!(stock.health(), Health::Starting(_)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(matches!(stock.health(), Health::Down(_)));
        let started = post(&router, START, "a").await;
        let location = started.headers["location"].to_str().unwrap().to_owned();
        let ready = until(&router, &location, "ready").await;
        assert_eq!(ready["comparison"]["differences"][0]["id"], "tea-1");
        let promoted = post(&router, &format!("{location}/promote"), "b").await;
        assert_eq!(promoted.status, 200);
        assert_eq!(stock.health(), Health::Up);
        let row = shown_by(&router, "/v1/stock/tea-1").await;
        assert_eq!(row["received"], 7);
        // It cannot go back to one that is behind.
        let back = post(&router, &format!("{location}/rollback"), "c").await;
        assert_eq!(back.body["code"], "rebuild-not-ready", "{}", back.body);
    })
    .await;
    // What stopped nobody reads any more.
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_fills_keeps_nobody_from_asking_and_is_not_promoted_before_it_is_level() {
    let log = shop().await;
    let slow = Arc::new(Slow::default());
    slow.is_stuck.store(true, Ordering::Relaxed);
    let documents: Arc<dyn Documents> = slow.clone();
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let stock = projections.progress().remove(2);
    let (ran, ()) = running(projections, async {
        let head = log.store.durable();
        assert!(stock.considered().wait(head, Duration::from_secs(9)).await);
        let started = post(&router, START, "a").await;
        let location = started.headers["location"].to_str().unwrap().to_owned();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let filling = ask(&router, &location, &[]).await.body;
        assert_eq!(
            (&filling["status"], &filling["share"]),
            (&json!("filling"), &json!(0.0))
        );
        assert_eq!(stock.health(), Health::Up);
        assert_eq!(shown_by(&router, "/v1/stock/tea-1").await["received"], 5);
        let promoted = post(&router, &format!("{location}/promote"), "b").await;
        assert_eq!(promoted.status, 409);
        assert_eq!(promoted.body["code"], "rebuild-not-ready");
        assert_eq!(promoted.body["retryable"], true);
        let other = post(&router, START, "c").await;
        assert_eq!(other.body["code"], "rebuild-open");
        slow.is_stuck.store(false, Ordering::Relaxed);
        until(&router, &location, "ready").await;
        // The same request under the same key succeeds now.
        let promoted = post(&router, &format!("{location}/promote"), "b").await;
        assert_eq!(promoted.status, 200);
    })
    .await;
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn repeats_preconditions_and_unknown_names_are_told_apart() {
    let log = shop().await;
    let documents = documents();
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let (ran, ()) = running(projections, async {
        let nobody = post(&router, "/v1/projections/nobody/rebuilds", "a").await;
        assert_eq!(nobody.body["code"], "not-found");
        let missing = format!("{START}/{}", Uuid::nil());
        for path in [&missing, &format!("{START}/7")] {
            assert_eq!(ask(&router, path, &[]).await.body["code"], "not-found");
        }
        for action in ["promote", "rollback", "drop"] {
            let refused = post(&router, &format!("{missing}/{action}"), "a").await;
            assert_eq!(refused.body["code"], "not-found", "{action}");
        }
        let key = [("idempotency-key", "k")];
        let reason = || Some(json!({"reason": "a row is damaged"}));
        let first = post_with(&router, START, &key, reason()).await;
        let again = post_with(&router, START, &key, reason()).await;
        assert_eq!((first.status.as_u16(), again.status.as_u16()), (202, 202));
        assert_eq!(first.body["rebuild_id"], again.body["rebuild_id"]);
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(first.body["timeline"][0]["reason"], "a row is damaged");
        assert_eq!(first.body["timeline"][0]["actor"], "anonymous");
        let other = post_with(&router, START, &key, None).await;
        assert_eq!(other.body["code"], "idempotency-key-reused");
        let blank = post_with(
            &router,
            START,
            &[("idempotency-key", "z")],
            Some(json!({"reason": " "})),
        );
        assert_eq!(blank.await.body["code"], "invalid-body");
        let location = first.headers["location"].to_str().unwrap().to_owned();
        until(&router, &location, "ready").await;
        let tag = ask(&router, &location, &[]).await.headers["etag"].clone();
        let promote = format!("{location}/promote");
        let stale = [("idempotency-key", "p"), ("if-match", "\"0\"")];
        let stale = post_with(&router, &promote, &stale, None).await;
        assert_eq!(stale.status, 412);
        let held = [
            ("idempotency-key", "p"),
            ("if-match", tag.to_str().unwrap()),
        ];
        let done = post_with(&router, &promote, &held, None).await;
        assert_eq!(done.status, 200, "{}", done.body);
        assert_ne!(done.headers["etag"], tag);
        // A repeat finds it, whatever came after; another request finds that it is so already.
        let repeat = post_with(&router, &promote, &held, None).await;
        assert_eq!(repeat.headers["idempotency-replayed"], "true");
        let so = post(&router, &promote, "q").await;
        assert_eq!(
            (so.status.as_u16(), &so.headers["etag"]),
            (200, &done.headers["etag"])
        );
        // The next rebuild drops what this one left.
        let next = post(&router, START, "n").await;
        assert_eq!(
            (&next.body["generation"], &next.body["replaces"]),
            (&json!(2), &json!(1))
        );
        let late = post(&router, &format!("{location}/rollback"), "r").await;
        assert_eq!(late.body["code"], "rebuild-not-possible");
        let given_up = format!("{}/drop", next.headers["location"].to_str().unwrap());
        let dropped = post(&router, &given_up, "d").await;
        assert_eq!(
            (&dropped.body["status"], &dropped.body["live"]),
            (&json!("dropped"), &json!(1))
        );
    })
    .await;
    ran.unwrap();
}

/// Reads, over and over, while the log grows and another generation is promoted and rolled back
/// again and again: no reader sees less than before, or is told a position before the last one.
#[tokio::test(start_paused = true)]
async fn no_reader_goes_back_in_time_however_often_queries_are_switched() {
    let mut log = shop().await;
    let documents: Arc<dyn Documents> = Arc::new(Slow {
        odd_take: Duration::from_millis(40),
        ..Slow::default()
    });
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let stock = projections.progress().remove(2);
    let is_over = AtomicBool::new(false);
    let writing = async {
        while !is_over.load(Ordering::Relaxed) {
            log.received("tea-1", 1).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let reading = async {
        let mut seen = (Position::START, 0);
        let mut generations = BTreeSet::new();
        let mut reads = 0;
        while !is_over.load(Ordering::Relaxed) {
            // Whoever has seen a position may ask for it again, and gets it.
            let token = position::write(seen.0, LOG);
            let min = [("recourse-min-position", token.as_str())];
            let headers = if reads % 3 == 0 { &min[..] } else { &[] };
            let answered = ask(&router, "/v1/stock/tea-1", headers).await;
            assert_eq!(answered.status, 200, "{}", answered.body);
            let token = answered.headers["recourse-position"].to_str().unwrap();
            let at = position::read(token, LOG).unwrap();
            let received = answered.body["received"].as_i64().unwrap();
            assert!(
                at >= seen.0 && received >= seen.1,
                "{at} {received} after {seen:?}"
            );
            seen = (at, received);
            generations.insert(stock.generation());
            reads += 1;
            tokio::time::sleep(Duration::from_micros(700)).await;
        }
        assert_eq!(generations, BTreeSet::from([0, 1]));
        assert!(reads > 200, "{reads}");
    };
    let operating = async {
        let head = stock.considered();
        while head.get() == Position::START {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let started = post(&router, START, "a").await;
        let location = started.headers["location"].to_str().unwrap().to_owned();
        until(&router, &location, "ready").await;
        for round in 0..12 {
            for action in ["promote", "rollback"] {
                let done = post(
                    &router,
                    &format!("{location}/{action}"),
                    &format!("{round}"),
                )
                .await;
                assert_eq!(done.status, 200, "{}", done.body);
                tokio::time::sleep(Duration::from_millis(17)).await;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (ran, _) = running(projections, async {
        tokio::join!(writing, reading, operating);
    })
    .await;
    ran.unwrap();
}

/// Is gone after so many polls: its tasks end where they are, as in a crash.
struct Crashing<F> {
    run: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for Crashing<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.polls == 0 {
            return Poll::Ready(());
        }
        self.polls -= 1;
        self.run.as_mut().poll(context).map(|_| ())
    }
}

/// What an operator does, however far it has come: rebuild, promote, roll back, promote, drop.
async fn operate(router: &Router) -> bool {
    let started = post(router, START, "a").await;
    if started.status != 202 {
        return false;
    }
    let location = started.headers["location"].to_str().unwrap().to_owned();
    for _ in 0..1_000 {
        if ask(router, &location, &[]).await.body["comparison"].is_object() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for (action, key) in [
        ("promote", "b"),
        ("rollback", "c"),
        ("promote", "d"),
        ("drop", "e"),
    ] {
        if post(router, &format!("{location}/{action}"), key)
            .await
            .status
            != 200
        {
            return false;
        }
    }
    true
}

/// Another process finds what the log says, whatever the one before was about to do, and the
/// operator comes to the end.
async fn goes_on(log: &Log, documents: &Arc<dyn Documents>, crash: &str) -> u32 {
    let live = crate::live_generations(&log.store).await.unwrap()["stock"];
    let projections = open(&log.store, documents).await;
    let stock = projections.progress().remove(2);
    assert_eq!(stock.generation(), live, "{crash}");
    let router = projections.routes().into_router();
    let first = Stocks::collection();
    let (ran, ()) = running(projections, async {
        assert!(operate(&router).await, "{crash}");
        assert_eq!(stock.generation(), 1);
        while documents.checkpoint(&first).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    ran.unwrap();
    let store: &dyn EventStore = &log.store;
    let scanned = verify::Scanned::<Stocks>::of(&**documents, 1)
        .await
        .unwrap();
    let compared = scanned.compare(store).await.unwrap();
    assert_eq!((compared.differences, compared.equal_rows), (vec![], 2));
    // Each thing happened once, however often it was asked for.
    let stream = StreamName::new("projection", "stock");
    let events = store
        .read_stream(&stream, None, Direction::Forward, Visibility::Durable, 100)
        .await
        .unwrap();
    assert_eq!(events.len(), 6, "{crash}");
    live
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_anywhere_the_log_says_what_is_live_and_the_operator_goes_on() {
    let mut crashed = 0;
    let mut lives = BTreeSet::new();
    for polls in 1.. {
        let log = shop().await;
        let documents = documents();
        let projections = open(&log.store, &documents).await;
        let router = projections.routes().into_router();
        let is_done = {
            let crashing = Crashing {
                run: Box::pin(projections.run(CancellationToken::new())),
                polls,
            };
            tokio::select! {
                biased;
                () = crashing => false,
                done = operate(&router) => done,
            }
        };
        let crash = format!("after {polls} polls");
        lives.insert(goes_on(&log, &documents, &crash).await);
        if is_done {
            break;
        }
        crashed += 1;
    }
    assert!(crashed > 10, "{crashed}");
    assert_eq!(lives, BTreeSet::from([0, 1]));
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_at_any_call_of_the_database_before_or_after_it_takes_effect_too() {
    for takes_effect in [false, true] {
        for call in 0.. {
            let log = shop().await;
            let slow = Arc::new(Slow {
                dies_at: Some((call, takes_effect)),
                ..Slow::default()
            });
            let dying: Arc<dyn Documents> = slow.clone();
            let process = async {
                let projections = open(&log.store, &dying).await;
                let router = projections.routes().into_router();
                let first = Stocks::collection();
                let operated = running(projections, async {
                    let done = operate(&router).await;
                    while slow.inner.checkpoint(&first).await.unwrap().is_some() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    done
                });
                operated.await.1
            };
            let is_done = tokio::select! {
                biased;
                () = slow.died.notified() => false,
                done = process => done,
            };
            let left: Arc<dyn Documents> = Arc::new(slow.inner.clone());
            goes_on(&log, &left, &format!("at call {call}")).await;
            if is_done {
                assert!(call > 12, "{call}");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_generation_that_cannot_be_read_can_be_replaced() {
    let log = shop().await;
    let documents: Arc<dyn Documents> = Arc::new(Slow {
        is_unreadable: true,
        ..Slow::default()
    });
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let (ran, ()) = running(projections, async {
        let started = post(&router, START, "a").await;
        let location = started.headers["location"].to_str().unwrap().to_owned();
        let ready = until(&router, &location, "ready").await;
        let compared = &ready["comparison"];
        assert!(
            compared["unreadable"]
                .as_str()
                .unwrap()
                .contains("a page is damaged")
        );
        let rows = (&compared["equal_rows"], &compared["different_rows"]);
        assert_eq!(rows, (&json!(0), &json!(2)));
        let promoted = post(&router, &format!("{location}/promote"), "b").await;
        assert_eq!(promoted.status, 200, "{}", promoted.body);
    })
    .await;
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_database_that_was_away_for_a_while_is_not_said_to_be_unreadable() {
    let log = shop().await;
    let documents: Arc<dyn Documents> = Arc::new(Slow {
        failing_scans: AtomicUsize::new(3),
        ..Slow::default()
    });
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let (ran, ()) = running(projections, async {
        let started = post(&router, START, "a").await;
        let location = started.headers["location"].to_str().unwrap().to_owned();
        let ready = until(&router, &location, "ready").await;
        let compared = &ready["comparison"];
        assert_eq!(compared.get("unreadable"), None, "{compared}");
        let rows = (&compared["equal_rows"], &compared["different_rows"]);
        assert_eq!(rows, (&json!(2), &json!(0)));
    })
    .await;
    ran.unwrap();
}

/// Appends what happened to the generations of the stock, all at once.
async fn happened(log: &Log, events: Vec<rebuild::Event>) {
    let stream = StreamName::new("projection", Stocks::NAME);
    let encode = |(place, event)| {
        let (cause, at) = (Uuid::from_u128(place), chrono::DateTime::UNIX_EPOCH);
        let metadata = Metadata::new(Uuid::from_u128(5), cause, at, LOG);
        NewEvent::encode(event, metadata, &stream, 0).unwrap()
    };
    let append = Append {
        events: (0..).zip(events).map(encode).collect(),
        stream: stream.clone(),
        expected: ExpectedRevision::Any,
    };
    log.store.append(vec![append]).await.remove(0).unwrap();
}

fn by() -> rebuild::By {
    rebuild::By {
        actor: "somebody".into(),
        reason: None,
    }
}

fn started(id: Uuid, version: u32, generation: u32) -> rebuild::Event {
    rebuild::Event::RebuildStarted(rebuild::RebuildStarted {
        rebuild_id: id,
        version,
        generation,
        replaces: 0,
        by: by(),
    })
}

fn dropped(id: Uuid, version: u32, generation: u32) -> rebuild::Event {
    rebuild::Event::GenerationDropped(rebuild::GenerationDropped {
        rebuild_id: id,
        version,
        generation,
        by: by(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_follows_at_once_on_one_that_was_dropped_is_compared() {
    let log = shop().await;
    let slow = Arc::new(Slow::default());
    slow.is_stuck.store(true, Ordering::Relaxed);
    let documents: Arc<dyn Documents> = slow.clone();
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let stock = projections.progress().remove(2);
    let (ran, ()) = running(projections, async {
        let head = log.store.durable();
        assert!(stock.considered().wait(head, Duration::from_secs(9)).await);
        let first = post(&router, START, "a").await;
        let first: Uuid = first.body["rebuild_id"].as_str().unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let next = Uuid::from_u128(77);
        let version = Stocks::VERSION;
        let events = vec![dropped(first, version, 1), started(next, version, 2)];
        happened(&log, events).await;
        slow.is_stuck.store(false, Ordering::Relaxed);
        until(&router, &format!("{START}/{next}"), "ready").await;
    })
    .await;
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_there_of_another_log_is_removed_though_the_database_fails_meanwhile() {
    let log = shop().await;
    let slow = Arc::new(Slow {
        failing_discards: AtomicUsize::new(2),
        ..Slow::default()
    });
    let documents: Arc<dyn Documents> = slow.clone();
    let foreign = Checkpoint {
        log: LogId(Uuid::from_u128(99)),
        position: Position::dense(3),
        event_id: None,
    };
    let collection = Stocks::collection().in_generation(1);
    let commit = documents.commit(&collection, None, &foreign, Vec::new());
    commit.await.unwrap();
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let (ran, ()) = running(projections, async {
        let started = post(&router, START, "a").await;
        let location = started.headers["location"].to_str().unwrap().to_owned();
        until(&router, &location, "ready").await;
    })
    .await;
    ran.unwrap();
    assert_eq!(slow.failing_discards.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_another_version_of_the_program_left_is_removed() {
    let log = shop().await;
    let documents = documents();
    let left = Collection {
        version: Stocks::VERSION + 1,
        ..Stocks::collection().in_generation(1)
    };
    let at = Checkpoint {
        log: LOG,
        position: Position::dense(1),
        event_id: None,
    };
    let commit = documents.commit(&left, None, &at, Vec::new());
    commit.await.unwrap();
    let id = Uuid::from_u128(77);
    let events = vec![started(id, left.version, 1), dropped(id, left.version, 1)];
    happened(&log, events).await;
    let projections = open(&log.store, &documents).await;
    let (ran, ()) = running(projections, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(documents.checkpoint(&left).await.unwrap(), None);
    })
    .await;
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_folder_is_read_though_a_generation_that_nobody_asks_cannot_be() {
    let log = shop().await;
    let slow = Slow::default();
    let inner: Arc<dyn Documents> = Arc::new(slow.inner.clone());
    let projections = open(&log.store, &inner).await;
    let router = projections.routes().into_router();
    let (ran, ()) = running(projections, async {
        let started = post(&router, START, "a").await;
        let location = started.headers["location"].to_str().unwrap().to_owned();
        until(&router, &location, "ready").await;
    })
    .await;
    ran.unwrap();
    let reading = |lost| {
        let documents: Arc<dyn Documents> = Arc::new(Slow {
            inner: slow.inner.clone(),
            lost: Some(lost),
            ..Slow::default()
        });
        let books: Arc<dyn recourse_views::books::Books> = Arc::new(memory::Books::default());
        let clock = TokioClock::new("2024-10-05T00:00:00Z".parse().unwrap());
        let store = Arc::new(log.store.clone());
        crate::reading(store, documents, books, Arc::new(clock))
    };
    let router = reading(1).await.unwrap().into_router();
    let listing = shown_by(&router, "/v1/projections").await;
    assert_eq!(listing["items"][2]["rebuild"]["position"], Value::Null);
    assert_eq!(shown_by(&router, "/v1/stock/tea-1").await["received"], 5);
    assert!(reading(0).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_ledger_is_rebuilt_as_a_book() {
    let log = shop().await;
    let documents = documents();
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let (ran, ()) = running(projections, async {
        let head = position::write(log.store.durable(), LOG);
        let min = [("recourse-min-position", head.as_str())];
        let before = ask(&router, "/v1/ledger/accounts", &min).await.body;
        assert_eq!(before["items"].as_array().map(Vec::len), Some(5));
        let started = post(&router, "/v1/projections/ledger/rebuilds", "a").await;
        let location = started.headers["location"].to_str().unwrap().to_owned();
        let ready = until(&router, &location, "ready").await;
        assert_eq!(ready["comparison"]["different_rows"], 0);
        assert!(ready["comparison"]["equal_rows"].as_u64().unwrap() > 2);
        let promoted = post(&router, &format!("{location}/promote"), "b").await;
        assert_eq!(promoted.status, 200);
        let head = position::write(log.store.durable(), LOG);
        let min = [("recourse-min-position", head.as_str())];
        let after = ask(&router, "/v1/ledger/accounts", &min).await;
        assert_eq!(after.body, before);
        let entries = ask(&router, "/v1/ledger/entries", &[]).await;
        assert!(!entries.ids("entry_id").is_empty());
    })
    .await;
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn views_that_others_fill_are_read_in_the_generation_that_is_live() {
    let log = shop().await;
    let documents = documents();
    let books: Arc<dyn recourse_views::books::Books> = Arc::new(memory::Books::default());
    let projections = open(&log.store, &documents).await;
    let router = projections.routes().into_router();
    let (ran, ()) = running(projections, async { assert!(operate(&router).await) }).await;
    ran.unwrap();
    let clock = TokioClock::new("2024-10-05T00:00:00Z".parse().unwrap());
    let store = Arc::new(log.store.clone());
    let routes = crate::reading(store, Arc::clone(&documents), books, Arc::new(clock));
    let router = routes.await.unwrap().into_router();
    let listing = shown_by(&router, "/v1/projections").await;
    assert_eq!(listing["items"][2]["generation"], 1);
    assert_eq!(shown_by(&router, "/v1/stock/tea-1").await["received"], 5);
}
