//! Two processes that have the same views.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use recourse_bus::{MemoryTurns, Turn, Turns, TurnsError};
use recourse_views::{
    Checkpoint, Considered,
    documents::{self, Collection, Document, Page, Query, Write},
};
use tokio::{sync::Notify, task::JoinSet};

use super::*;

/// Documents that count what one process writes there.
#[derive(Clone)]
struct Counted {
    inner: Arc<memory::Documents>,
    commits: Arc<AtomicUsize>,
}

#[async_trait]
impl Documents for Counted {
    async fn checkpoint(&self, c: &Collection) -> Result<Option<Checkpoint>, documents::Error> {
        self.inner.checkpoint(c).await
    }

    async fn load(
        &self,
        c: &Collection,
        ids: &[String],
    ) -> Result<documents::Loaded, documents::Error> {
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
        self.inner.commit(c, expected, next, writes).await
    }

    async fn query(&self, c: &Collection, query: &Query) -> Result<Page, documents::Error> {
        self.inner.query(c, query).await
    }

    async fn scan(
        &self,
        c: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<documents::Scanned, documents::Error> {
        self.inner.scan(c, visit).await
    }

    async fn discard(&self, c: &Collection) -> Result<(), documents::Error> {
        self.inner.discard(c).await
    }
}

/// Turns that a process may lose.
struct Lent {
    turns: MemoryTurns,
    lost: Arc<Notify>,
}

struct LentTurn {
    _turn: Box<dyn Turn>,
    lost: Arc<Notify>,
}

#[async_trait]
impl Turns for Lent {
    async fn take(&self, name: &str) -> Result<Box<dyn Turn>, TurnsError> {
        Ok(Box::new(LentTurn {
            _turn: self.turns.take(name).await?,
            lost: Arc::clone(&self.lost),
        }))
    }
}

#[async_trait]
impl Turn for LentTurn {
    async fn lost(&mut self) -> String {
        self.lost.notified().await;
        "it was taken away".to_owned()
    }

    async fn release(self: Box<Self>) {}
}

/// What the processes share.
struct World {
    log: Log,
    documents: Arc<memory::Documents>,
    books: Arc<memory::Books>,
    turns: MemoryTurns,
}

struct Process {
    router: axum::Router,
    considered: Vec<Considered>,
    commits: Arc<AtomicUsize>,
    lost: Arc<Notify>,
    shutdown: CancellationToken,
    running: JoinSet<Result<(), recourse_views::projector::Error>>,
}

impl World {
    fn new() -> Self {
        Self {
            log: Log::new(Store::new(LOG)),
            documents: Arc::default(),
            books: Arc::default(),
            turns: MemoryTurns::default(),
        }
    }

    async fn process(&self) -> Process {
        let documents = Counted {
            inner: Arc::clone(&self.documents),
            commits: Arc::default(),
        };
        let (commits, lost) = (Arc::clone(&documents.commits), Arc::<Notify>::default());
        let turns: Arc<dyn Turns> = Arc::new(Lent {
            turns: self.turns.clone(),
            lost: Arc::clone(&lost),
        });
        let clock = TokioClock::new("2024-10-05T00:00:00Z".parse().unwrap());
        let options = Options::default();
        let projections = Projections::open(
            Arc::new(self.log.store.clone()),
            Arc::new(documents),
            Arc::clone(&self.books) as _,
            Arc::new(clock),
            &options,
        );
        let projections = projections.await.unwrap().sharing(&turns);
        let progress = projections.progress();
        let router = projections.routes().into_router();
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(projections.run(shutdown.clone()));
        Process {
            router,
            considered: progress
                .iter()
                .map(crate::projections::Progress::considered)
                .collect(),
            commits,
            lost,
            shutdown,
            running,
        }
    }

    /// Waits until the queries of this process are at the head of the log.
    async fn until_level(&self, process: &Process) {
        let head = self.log.store.durable();
        for considered in &process.considered {
            assert!(considered.wait(head, Duration::from_secs(9)).await);
        }
    }
}

impl Process {
    fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_one_fills_the_views_and_both_answer() {
    let mut world = World::new();
    let filling = world.process().await;
    world.until_level(&filling).await;
    let mut other = world.process().await;
    let ids = world.log.complete(7).await;
    for process in [&filling, &other] {
        world.until_level(process).await;
        let answered = ask(&process.router, &format!("/v1/orders/{}", ids.order), &[]).await;
        assert_eq!(answered.body["status"], "completed");
    }
    assert!(filling.commits() > 0);
    assert_eq!(other.commits(), 0, "one of them fills");

    // Killed: the other one goes on where the rows are.
    drop(filling);
    let ids = world.log.complete(8).await;
    world.until_level(&other).await;
    let answered = ask(&other.router, &format!("/v1/orders/{}", ids.order), &[]).await;
    assert_eq!(answered.body["status"], "completed");
    assert!(other.commits() > 0);
    other.shutdown.cancel();
    other.running.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_turn_fills_no_more_and_still_answers() {
    let mut world = World::new();
    let first = world.process().await;
    world.until_level(&first).await;
    let other = world.process().await;
    world.log.complete(7).await;
    world.until_level(&first).await;
    first.lost.notify_waiters();
    // The rows are the other's now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = first.commits();
    let ids = world.log.complete(8).await;
    for process in [&other, &first] {
        world.until_level(process).await;
        let answered = ask(&process.router, &format!("/v1/orders/{}", ids.order), &[]).await;
        assert_eq!(answered.body["status"], "completed");
    }
    assert_eq!(first.commits(), before);
    assert!(other.commits() > 0);
}
