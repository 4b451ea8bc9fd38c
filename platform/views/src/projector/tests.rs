//! Whatever fails and whenever, a view is the fold of the log (promise 6).

mod generations;

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use recourse_event_store::{
    Append, ExpectedRevision, Filter, LogId, NewEvent, RecordedEvent, StreamName, memory::Store,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;
use crate::{
    documents::{
        Change, Collection, Document, Documents, Index, Kind, Loaded, Page, Query, Scanned, Write,
    },
    fold_in_memory, memory,
    projection::{Projection, ProjectionError},
    verify::{self, Difference, DifferenceKind},
};

const LOG: LogId = LogId(Uuid::from_u128(7));

/// Remembers the names of the events of a stream, and forgets a stream that is closed. Order
/// matters to it, so that a repeat or a gap shows.
pub(crate) struct Names;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    names: Vec<u64>,
    sum: u64,
}

impl Projection for Names {
    const NAME: &'static str = "names";
    const VERSION: u32 = 1;
    const INDEXES: &'static [Index] = &[Index {
        path: "sum",
        kind: Kind::Integer,
    }];
    type Row = Row;

    fn filter() -> Filter {
        Filter::categories(&["a"])
    }

    fn key(event: &RecordedEvent) -> Result<Option<String>, ProjectionError> {
        let ignored = &*event.event.event_type == "a.ignored.v1";
        Ok((!ignored).then(|| event.stream.id().to_owned()))
    }

    fn begins(event: &RecordedEvent) -> bool {
        event.revision == 0
    }

    fn apply(row: Option<Row>, event: &RecordedEvent) -> Result<Option<Row>, ProjectionError> {
        match &*event.event.event_type {
            "a.closed.v1" => Ok(None),
            "a.poison.v1" => Err(ProjectionError::OutOfPlace("poison".into())),
            _ => {
                let mut row = row.unwrap_or(Row {
                    names: vec![],
                    sum: 0,
                });
                row.names.push(event.position.commit);
                row.sum += event.position.commit;
                Ok(Some(row))
            }
        }
    }
}

async fn append(store: &Store, stream: &str, event_type: &str) {
    let id = store.appended().await.unwrap().commit + 100;
    let append = Append {
        stream: StreamName::parse(stream).unwrap(),
        expected: ExpectedRevision::Any,
        events: vec![NewEvent::raw(
            Uuid::from_u128(u128::from(id)),
            event_type,
            "{}",
            "{}",
        )],
    };
    store.append(vec![append]).await.remove(0).unwrap();
}

/// A log in which rows come, change, go and come again, between events of others.
pub(crate) async fn log() -> Store {
    let store = Store::with_manual_sync(LOG);
    for n in 0..40 {
        append(&store, &format!("a-{}", n % 7), "a.happened.v1").await;
        match n % 5 {
            1 => append(&store, "b-1", "b.happened.v1").await,
            2 => append(&store, &format!("a-{}", n % 3), "a.closed.v1").await,
            3 => append(&store, "a-1", "a.ignored.v1").await,
            _ => {}
        }
    }
    store
}

pub(crate) fn projector(store: &Store, documents: &Arc<dyn Documents>) -> Projector<Names> {
    let options = Options {
        cached_rows: 1,
        max_pending: 1,
        ..Options::default()
    };
    Projector::new(Arc::new(store.clone()), Arc::clone(documents), options)
}

/// Steps until the view has considered what is durable. Says how often somebody else was faster.
pub(crate) async fn catch_up(
    projector: &mut Projector<Names>,
    store: &Store,
) -> Result<usize, Error> {
    let mut moved = 0;
    loop {
        // A step waits for news, and after a failure the view may turn out to be there already.
        projector.open().await?;
        if projector.considered().get() >= store.durable() {
            return Ok(moved);
        }
        if projector.step().await? == Step::Moved {
            moved += 1;
        }
    }
}

pub(crate) async fn assert_equals_fold(store: &Store, documents: &dyn Documents) {
    let found = verify::compare::<Names>(store, documents).await.unwrap();
    assert_eq!(found.differences, []);
    let fold = fold_in_memory::<Names>(store).await.unwrap();
    assert_eq!(found.equal_rows, fold.len() as u64);
    assert!(found.equal_rows > 0);
}

#[tokio::test(start_paused = true)]
async fn a_view_is_the_fold_of_what_is_durable() {
    let store = log().await;
    let documents: Arc<dyn Documents> = Arc::new(memory::Documents::default());
    let mut projector = projector(&store, &documents);
    let mut durable = 0;
    while store.sync_up_to(Position::dense(durable + 3)) > Position::dense(durable) {
        durable = store.durable().commit;
        let step = projector.step().await.unwrap();
        assert_eq!(step, Step::Considered(store.durable()));
        let found = verify::compare::<Names>(&store, &*documents).await.unwrap();
        assert_eq!(found.differences, []);
    }
    assert_equals_fold(&store, &*documents).await;
}

/// Fails at one call, before or after it takes effect, and forgets what it read.
struct Failing {
    inner: memory::Documents,
    calls: AtomicUsize,
    fails_at: usize,
    takes_effect: bool,
}

impl Failing {
    fn before(&self) -> Result<(), documents::Error> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call == self.fails_at && !self.takes_effect {
            return Err(lost());
        }
        Ok(())
    }

    fn after(&self) -> Result<(), documents::Error> {
        let call = self.calls.load(Ordering::Relaxed) - 1;
        if call == self.fails_at && self.takes_effect {
            return Err(lost());
        }
        Ok(())
    }
}

fn lost() -> documents::Error {
    documents::Error::Unavailable("lost".into())
}

#[async_trait]
impl Documents for Failing {
    async fn checkpoint(&self, c: &Collection) -> Result<Option<Checkpoint>, documents::Error> {
        self.before()?;
        let found = self.inner.checkpoint(c).await?;
        self.after().map(|()| found)
    }

    async fn load(&self, c: &Collection, ids: &[String]) -> Result<Loaded, documents::Error> {
        self.before()?;
        let found = self.inner.load(c, ids).await?;
        self.after().map(|()| found)
    }

    async fn commit(
        &self,
        c: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), documents::Error> {
        self.before()?;
        self.inner.commit(c, expected, next, writes).await?;
        self.after()
    }

    async fn query(&self, c: &Collection, query: &Query) -> Result<Page, documents::Error> {
        self.inner.query(c, query).await
    }

    async fn scan(
        &self,
        c: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, documents::Error> {
        self.inner.scan(c, visit).await
    }

    async fn discard(&self, c: &Collection) -> Result<(), documents::Error> {
        self.inner.discard(c).await
    }
}

/// Drives a view to the end of the log, three events at a time, and says whether it failed on
/// the way. After a failure the same projector goes on, or a new one as after a crash.
async fn drive(documents: &Arc<dyn Documents>, crash: bool) -> (Store, bool) {
    let store = log().await;
    let mut projector = projector(&store, documents);
    let mut failed = false;
    loop {
        let durable = store.durable();
        store.sync_up_to(Position::dense(durable.commit + 3));
        if store.durable() == durable {
            return (store, failed);
        }
        while let Err(error) = catch_up(&mut projector, &store).await {
            assert!(error.is_transient(), "{error}");
            failed = true;
            if crash {
                projector = self::projector(&store, documents);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_or_crash_at_any_call_leaves_the_fold() {
    for (takes_effect, crash) in [(false, false), (false, true), (true, false), (true, true)] {
        for fails_at in 0.. {
            let documents: Arc<dyn Documents> = Arc::new(Failing {
                inner: memory::Documents::default(),
                calls: AtomicUsize::new(0),
                fails_at,
                takes_effect,
            });
            let (store, failed) = drive(&documents, crash).await;
            assert_equals_fold(&store, &*documents).await;
            if !failed {
                assert!(fails_at > 40, "few calls: {fails_at}");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_projectors_on_one_view_do_no_harm() {
    let documents: Arc<dyn Documents> = Arc::new(memory::Documents::default());
    let store = log().await;
    let mut one = projector(&store, &documents);
    let mut two = projector(&store, &documents);
    one.open().await.unwrap();
    two.open().await.unwrap();
    let mut moved = 0;
    for durable in (0..=store.appended().await.unwrap().commit).step_by(2) {
        store.sync_up_to(Position::dense(durable));
        for projector in [&mut one, &mut two] {
            moved += catch_up(projector, &store).await.unwrap();
        }
    }
    store.sync();
    catch_up(&mut one, &store).await.unwrap();
    assert!(moved > 5, "they never met: {moved}");
    assert_equals_fold(&store, &*documents).await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_view_moves_for_those_who_wait_and_writes_now_and_then() {
    let documents: Arc<dyn Documents> = Arc::new(memory::Documents::default());
    let store = Store::new(LOG);
    let mut projector = projector(&store, &documents);
    projector.open().await.unwrap();
    let saved = || async {
        let checkpoint = documents.checkpoint(&Names::collection()).await.unwrap();
        checkpoint.map(|checkpoint| checkpoint.position.commit)
    };
    for n in 1..=3 {
        append(&store, "b-1", "b.happened.v1").await;
        projector.step().await.unwrap();
        assert_eq!(projector.considered().get(), Position::dense(n));
        assert_eq!(saved().await, None);
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    append(&store, "b-1", "b.happened.v1").await;
    projector.step().await.unwrap();
    assert_eq!(saved().await, Some(4));

    // And once more where nothing follows: a quiet log leaves no checkpoint behind.
    append(&store, "b-1", "b.happened.v1").await;
    projector.step().await.unwrap();
    assert_eq!(saved().await, Some(4));
    projector.step().await.unwrap();
    assert_eq!(saved().await, Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_view_that_does_not_belong_to_the_log_is_refused() {
    let documents: Arc<dyn Documents> = Arc::new(memory::Documents::default());
    let store = log().await;
    store.sync();
    projector(&store, &documents).step().await.unwrap();
    // A backup of the log, restored: shorter, and then other events.
    let restored = Store::new(LOG);
    append(&restored, "a-1", "a.happened.v1").await;
    let error = projector(&restored, &documents).open().await.unwrap_err();
    assert!(matches!(
        error,
        Error::Checkpoint(CheckpointError::Refused { .. })
    ));
    assert!(!error.is_transient());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_taken_in_stops_the_view_and_is_named() {
    let documents: Arc<dyn Documents> = Arc::new(memory::Documents::default());
    let store = Store::new(LOG);
    append(&store, "a-1", "a.happened.v1").await;
    append(&store, "a-1", "a.poison.v1").await;
    let projector = projector(&store, &documents);
    let error = projector.run(CancellationToken::new()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the view `names` cannot take in the `a.poison.v1` at 2"
    );
    assert_eq!(
        documents.checkpoint(&Names::collection()).await.unwrap(),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn it_runs_through_failures_until_it_is_cancelled() {
    let documents: Arc<dyn Documents> = Arc::new(Failing {
        inner: memory::Documents::default(),
        calls: AtomicUsize::new(0),
        fails_at: 2,
        takes_effect: true,
    });
    let store = log().await;
    let projector = projector(&store, &documents);
    let considered = projector.considered();
    let cancelled = CancellationToken::new();
    let head = store.appended().await.unwrap();
    let (ran, ()) = tokio::join!(projector.run(cancelled.clone()), async {
        store.sync_up_to(Position::dense(9));
        assert!(
            considered
                .wait(Position::dense(9), Duration::from_secs(9))
                .await
        );
        store.sync();
        assert!(considered.wait(head, Duration::from_secs(9)).await);
        cancelled.cancel();
    });
    ran.unwrap();
    assert_equals_fold(&store, &*documents).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_not_what_the_log_makes_it_is_named() {
    let documents: Arc<dyn Documents> = Arc::new(memory::Documents::default());
    let store = log().await;
    store.sync();
    let mut projector = projector(&store, &documents);
    catch_up(&mut projector, &store).await.unwrap();
    let collection = Names::collection();
    let at = documents.checkpoint(&collection).await.unwrap().unwrap();
    let write = |id: &str, change| Write {
        id: id.into(),
        change,
    };
    let writes = vec![
        write("6", Change::Delete),
        write("5", Change::Put(r#"{"names":[],"sum":0}"#.into())),
        write("x", Change::Put(r#"{"names":[],"sum":0}"#.into())),
    ];
    documents
        .commit(&collection, Some(&at), &at, writes)
        .await
        .unwrap();
    let found = verify::compare::<Names>(&store, &*documents).await.unwrap();
    let difference = |id: &str, kind| Difference {
        id: id.into(),
        kind,
    };
    assert_eq!(
        found.differences,
        [
            difference("5", DifferenceKind::Changed),
            difference("6", DifferenceKind::Missing),
            difference("x", DifferenceKind::Surplus),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_busy_view_lingers_unless_somebody_waits_for_it() {
    let documents: Arc<dyn Documents> = Arc::new(memory::Documents::default());
    let store = log().await;
    let options = Options {
        linger_ms: 50,
        min_linger_events: 4,
        ..Options::default()
    };
    let shared = Arc::new(store.clone());
    let mut projector = Projector::<Names>::new(shared, Arc::clone(&documents), options);
    let considered = projector.considered();
    let begun = Instant::now();
    store.sync_up_to(Position::dense(20));
    projector.step().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // After many events it lingers,
    store.sync_up_to(Position::dense(40));
    projector.step().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(50));
    // but not for long where somebody waits.
    let (step, reached) = tokio::join!(projector.step(), async {
        tokio::time::sleep(Duration::from_millis(7)).await;
        let head = store.sync();
        considered.wait(head, Duration::from_secs(1)).await
    });
    step.unwrap();
    assert!(reached);
    assert_eq!(begun.elapsed(), Duration::from_millis(57));
}

#[tokio::test(start_paused = true)]
async fn a_busy_view_that_is_behind_does_not_linger() {
    let documents: Arc<dyn Documents> = Arc::new(memory::Documents::default());
    let store = log().await;
    store.sync();
    let options = Options {
        linger_ms: 50,
        min_linger_events: 1,
        max_pending: 1,
        ..Options::default()
    };
    let head = store.durable();
    let mut projector = Projector::<Names>::new(Arc::new(store), documents, options);
    let begun = Instant::now();
    while projector.considered().get() < head {
        projector.step().await.unwrap();
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// How often each call was made.
#[derive(Default)]
struct Counting {
    inner: memory::Documents,
    commit_takes: Duration,
    loads: AtomicUsize,
    commits: AtomicUsize,
    writes: AtomicUsize,
}

#[async_trait]
impl Documents for Counting {
    async fn checkpoint(&self, c: &Collection) -> Result<Option<Checkpoint>, documents::Error> {
        self.inner.checkpoint(c).await
    }

    async fn load(&self, c: &Collection, ids: &[String]) -> Result<Loaded, documents::Error> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.inner.load(c, ids).await
    }

    async fn commit(
        &self,
        c: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), documents::Error> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(writes.len(), Ordering::Relaxed);
        tokio::time::sleep(self.commit_takes).await;
        self.inner.commit(c, expected, next, writes).await
    }

    async fn query(&self, c: &Collection, query: &Query) -> Result<Page, documents::Error> {
        self.inner.query(c, query).await
    }

    async fn scan(
        &self,
        c: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, documents::Error> {
        self.inner.scan(c, visit).await
    }

    async fn discard(&self, c: &Collection) -> Result<(), documents::Error> {
        self.inner.discard(c).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_changes_while_the_view_lingers_is_written_once_and_a_new_one_not_looked_for() {
    let counting = Arc::new(Counting::default());
    let documents: Arc<dyn Documents> = counting.clone();
    let store = Store::with_manual_sync(LOG);
    let options = Options {
        linger_ms: 50,
        min_linger_events: 1,
        ..Options::default()
    };
    let shared = Arc::new(store.clone());
    let mut projector = Projector::<Names>::new(shared, Arc::clone(&documents), options);
    append(&store, "a-1", "a.happened.v1").await;
    store.sync();
    projector.step().await.unwrap();
    let (step, ()) = tokio::join!(projector.step(), async {
        for _ in 0..9 {
            append(&store, "a-1", "a.happened.v1").await;
            append(&store, "a-2", "a.happened.v1").await;
            store.sync();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(step.unwrap(), Step::Considered(store.durable()));
    assert_equals_fold(&store, &*documents).await;
    assert_eq!(counting.commits.load(Ordering::Relaxed), 2);
    assert_eq!(counting.writes.load(Ordering::Relaxed), 1 + 2);
    assert_eq!(counting.loads.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_database_is_let_rest_between_the_writes_of_a_busy_view() {
    for (takes_ms, rests_ms) in [(5, 50), (30, 120), (900, 2_000)] {
        let counting = Arc::new(Counting {
            commit_takes: Duration::from_millis(takes_ms),
            ..Counting::default()
        });
        let store = Store::with_manual_sync(LOG);
        let options = Options {
            linger_ms: 50,
            min_linger_events: 0,
            ..Options::default()
        };
        let shared = Arc::new(store.clone());
        let mut projector = Projector::<Names>::new(shared, counting, options);
        let begun = Instant::now();
        for _ in 0..2 {
            append(&store, "a-1", "a.happened.v1").await;
            store.sync();
            projector.step().await.unwrap();
        }
        let took = Duration::from_millis(takes_ms + rests_ms + takes_ms);
        assert_eq!(begun.elapsed(), took);
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_folded_while_what_came_before_is_written() {
    let counting = Arc::new(Counting {
        commit_takes: Duration::from_millis(50),
        ..Counting::default()
    });
    let documents: Arc<dyn Documents> = counting.clone();
    let store = Store::with_manual_sync(LOG);
    let shared = Arc::new(store.clone());
    let mut projector = Projector::<Names>::new(shared, Arc::clone(&documents), Options::default());
    append(&store, "a-1", "a.happened.v1").await;
    append(&store, "a-2", "a.happened.v1").await;
    let written = store.sync();
    let (step, ()) = tokio::join!(projector.step(), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        append(&store, "a-1", "a.happened.v1").await;
        append(&store, "a-2", "a.closed.v1").await;
        append(&store, "a-2", "a.happened.v1").await;
        store.sync();
    });
    assert_eq!(step.unwrap(), Step::Considered(written));
    assert_eq!(projector.target.pending(), 2);
    let begun = Instant::now();
    let step = projector.step().await;
    assert_eq!(step.unwrap(), Step::Considered(store.durable()));
    assert_eq!(begun.elapsed(), counting.commit_takes);
    assert_equals_fold(&store, &*documents).await;
    // What is being written is known, though the database cannot say yet.
    assert_eq!(counting.loads.load(Ordering::Relaxed), 0);
}

mod piecemeal;
