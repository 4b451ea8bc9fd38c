//! The loop: what it batches, when it answers, and when it tells the bus.

use std::{fmt::Debug, time::Duration};

use recourse_bus::{
    Bus, BusError, Command as SagaCommand, Consumer, Deliveries, Delivery, Membership,
    MemoryCheckpoints, Share, embedded,
};
use recourse_event_store::{ExpectedRevision, typed};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{Clock, Effect, Handle, SendError, Source, Step, Worker, WorkerError, WorkerOptions};

#[derive(Serialize, Deserialize)]
enum SagaEvent {
    #[serde(rename = "saga.sent.v1")]
    Sent(Vec<SagaCommand>),
}

fn outgoing(event: &RecordedEvent) -> Result<Vec<SagaCommand>, typed::Error> {
    let SagaEvent::Sent(commands) = &*event.decode::<SagaEvent>()?;
    Ok(commands.clone())
}

/// A saga sends commands to one stream, in one event.
async fn send(store: &memory::Store, saga: u128, numbers: impl IntoIterator<Item = u64>) {
    let stream = StreamName::new("saga", Uuid::from_u128(saga));
    let commands = numbers.into_iter().map(|number| {
        let Request::Saga(saga) = super::saga(&tally("a"), number, add(1)) else {
            unreachable!()
        };
        saga.command
    });
    let sent = SagaEvent::Sent(commands.collect());
    let metadata = Metadata::new(Uuid::from_u128(saga), Uuid::nil(), at(0), LOG);
    let events = vec![NewEvent::encode(sent, metadata, &stream, 0).unwrap()];
    let append = Append {
        stream,
        expected: ExpectedRevision::NoStream,
        events,
    };
    store.append(vec![append]).await.remove(0).unwrap();
}

struct World {
    store: Arc<Watched>,
    checkpoints: MemoryCheckpoints,
}

impl World {
    fn new() -> Self {
        Self {
            store: Watched::over(memory::Store::with_manual_sync(LOG)),
            checkpoints: MemoryCheckpoints::default(),
        }
    }

    fn bus(&self) -> Arc<dyn Bus> {
        let checkpoints = Arc::new(self.checkpoints.clone());
        let store = Arc::clone(&self.store) as Arc<dyn EventStore>;
        let bus = embedded::Bus::new(store, outgoing, checkpoints);
        Arc::new(bus.with_options(embedded::Options {
            checkpoint_every_commits: 1,
            ..embedded::Options::default()
        }))
    }

    fn worker(&self, source: Option<Source>) -> (Worker<Tally>, Handle<Tally>) {
        self.worker_with(source, WorkerOptions::default())
    }

    fn worker_with(
        &self,
        source: Option<Source>,
        options: WorkerOptions,
    ) -> (Worker<Tally>, Handle<Tally>) {
        let clock: Clock = Arc::new(|| at(7));
        Worker::new(Arc::new(repository(&self.store)), source, clock, options)
    }

    fn source(&self) -> Option<Source> {
        Some(Source {
            bus: self.bus(),
            group: "tallies".into(),
        })
    }
}

async fn step(worker: &mut Worker<Tally>) -> Step {
    worker.step().await.unwrap()
}

/// That nothing is to be done.
async fn rests<T: Debug>(what: impl Future<Output = T>) {
    let done = timeout(Duration::from_secs(3600), what).await;
    assert!(done.is_err(), "{done:?}");
}

/// That the bus is not told anything, however long it takes.
async fn commits_nothing(worker: &mut Worker<Tally>) {
    while let Ok(step) = timeout(Duration::from_secs(3600), worker.step()).await {
        assert_eq!(step.unwrap(), Step::default());
    }
}

#[tokio::test(start_paused = true)]
async fn the_bus_is_told_only_when_everything_is_durable() {
    let world = World::new();
    send(&world.store.inner, 1, [1, 2]).await;
    let (mut worker, _handle) = world.worker(world.source());
    let done = step(&mut worker).await;
    assert_eq!((done.deliveries, done.committed), (2, None));
    assert_eq!(world.store.answered(&tally("a")).await, [1, 2]);
    // The command is durable, its answers are not.
    world.store.inner.sync_up_to(Position::dense(1));
    commits_nothing(&mut worker).await;
    world.store.inner.sync();
    let done = step(&mut worker).await;
    assert_eq!(done.deliveries, 0);
    assert!(done.committed >= Some(Position::dense(1)), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_durable_comes_again_after_a_crash_and_counts_once() {
    let world = World::new();
    send(&world.store.inner, 1, [1, 2, 3]).await;
    world.store.inner.sync();
    let (mut worker, _handle) = world.worker(world.source());
    assert_eq!(step(&mut worker).await.deliveries, 3);
    drop(worker);
    let world = World {
        store: Watched::over(world.store.inner.crash()),
        checkpoints: world.checkpoints.clone(),
    };
    assert!(world.store.answered(&tally("a")).await.is_empty());
    for _ in 0..2 {
        let (mut worker, _handle) = world.worker(world.source());
        assert_eq!(step(&mut worker).await.deliveries, 3);
        world.store.inner.sync();
    }
    assert_eq!(world.store.answered(&tally("a")).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_command_is_not_committed_before_its_old_answer_is_durable() {
    let world = World::new();
    send(&world.store.inner, 1, [1]).await;
    world.store.inner.sync();
    let (mut first, _handle) = world.worker(world.source());
    step(&mut first).await;
    let (mut second, _handle) = world.worker(world.source());
    let done = step(&mut second).await;
    assert_eq!((done.deliveries, done.committed), (1, None));
    assert_eq!(world.store.answered(&tally("a")).await, [1]);
    commits_nothing(&mut second).await;
    world.store.inner.sync();
    assert!(step(&mut second).await.committed.is_some());
}

#[tokio::test(start_paused = true)]
async fn commands_of_the_bus_and_requests_that_wait_are_one_batch() {
    let world = World::new();
    send(&world.store.inner, 1, 1..=50).await;
    let (mut worker, handle) = world.worker(world.source());
    let mut senders = tokio::task::JoinSet::new();
    for id in 1..=50 {
        let handle = handle.clone();
        senders.spawn(async move { handle.send(tally("a"), add(1), origin(id, id)).await });
    }
    tokio::task::yield_now().await;
    let done = step(&mut worker).await;
    assert_eq!((done.deliveries, done.requests), (50, 50));
    assert_eq!(world.store.take_appends(), [vec![tally("a")]]);
    for outcome in senders.join_all().await {
        let outcome = outcome.unwrap();
        assert_eq!(outcome.effect, Effect::Written);
        assert_eq!(outcome.tracked.state().total, 100);
        assert!(world.store.durable() < outcome.position);
    }
}

#[tokio::test(start_paused = true)]
async fn neither_side_starves_the_other_and_a_batch_has_its_bound() {
    let world = World::new();
    send(&world.store.inner, 1, 1..=50).await;
    let options = WorkerOptions {
        max_batch_commands: 10,
        ..WorkerOptions::default()
    };
    let (mut worker, handle) = world.worker_with(world.source(), options);
    let mut senders = tokio::task::JoinSet::new();
    for id in 1..=20 {
        let handle = handle.clone();
        senders.spawn(async move { handle.send(tally("a"), add(1), origin(id, id)).await });
    }
    tokio::task::yield_now().await;
    let mut steps = Vec::new();
    for _ in 0..8 {
        let done = step(&mut worker).await;
        steps.push((done.deliveries, done.requests));
    }
    let expected = [
        (5, 5),
        (5, 5),
        (5, 5),
        (5, 5),
        (10, 0),
        (10, 0),
        (10, 0),
        (0, 0),
    ];
    assert_eq!(steps[..7], expected[..7]);
    assert_eq!(senders.join_all().await.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_are_refused_at_once() {
    let world = World::new();
    let options = WorkerOptions {
        max_queued_requests: 1,
        retry_after_ms: 250,
        ..WorkerOptions::default()
    };
    let (mut worker, handle) = world.worker_with(None, options);
    let mut first = std::pin::pin!(handle.send(tally("a"), add(1), origin(1, 1)));
    rests(&mut first).await;
    let second = handle.send(tally("a"), add(1), origin(2, 2)).await;
    assert!(matches!(
        second,
        Err(SendError::Overloaded { retry_after }) if retry_after.as_millis() == 250
    ));
    assert_eq!(step(&mut worker).await.requests, 1);
    assert!(first.await.unwrap().written());
}

#[tokio::test(start_paused = true)]
async fn a_durable_send_answers_only_what_may_be_told() {
    let world = World::new();
    let (mut worker, handle) = world.worker(None);
    let mut yes = std::pin::pin!(handle.send_durably(tally("a"), add(1), origin(1, 1)));
    rests(&mut yes).await;
    assert_eq!(step(&mut worker).await.requests, 1);
    rests(&mut yes).await;
    let mut no = std::pin::pin!(handle.send_durably(tally("a"), Command::Take(9), origin(2, 2)));
    rests(&mut no).await;
    assert_eq!(step(&mut worker).await.requests, 1);
    rests(&mut no).await;
    world.store.inner.sync();
    assert!(yes.await.unwrap().written());
    assert!(matches!(
        no.await,
        Err(SendError::Failed(crate::Error::Refused { .. }))
    ));
}

#[tokio::test(start_paused = true)]
async fn the_end_executes_what_was_accepted_and_takes_no_more() {
    let world = World::new();
    send(&world.store.inner, 1, 1..=3).await;
    world.store.inner.sync();
    let (worker, handle) = world.worker(None);
    let shutdown = CancellationToken::new();
    let mut accepted = tokio::task::JoinSet::new();
    for id in 1..=5 {
        let handle = handle.clone();
        accepted.spawn(async move { handle.send(tally("b"), add(1), origin(id, id)).await });
    }
    tokio::task::yield_now().await;
    shutdown.cancel();
    worker.run(shutdown).await.unwrap();
    for outcome in accepted.join_all().await {
        assert!(outcome.unwrap().written());
    }
    let late = handle.send(tally("b"), add(1), origin(9, 9)).await;
    assert!(matches!(late, Err(SendError::ShuttingDown)));
    assert_eq!(world.store.events(&tally("b")).await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_running_worker_answers_and_commits_until_it_is_told_to_end() {
    let world = World::new();
    let (worker, handle) = world.worker(world.source());
    let shutdown = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(worker.run(shutdown.clone()));
    send(&world.store.inner, 1, 1..=3).await;
    let outcome = handle.send(tally("a"), add(1), origin(1, 1)).await.unwrap();
    assert!(outcome.written());
    while world.store.answered(&tally("a")).await.len() < 3 {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    world.store.inner.sync();
    running.join_next().await.unwrap().unwrap().unwrap();
    // A new worker has nothing left to do.
    let (mut next, _handle) = world.worker(world.source());
    let again = timeout(Duration::from_secs(60), next.step()).await;
    assert!(again.is_err() || again.unwrap().unwrap().deliveries == 0);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_delays_saga_commands_and_keeps_their_order() {
    let world = World::new();
    send(&world.store.inner, 1, 1..=3).await;
    send(&world.store.inner, 2, 4..=6).await;
    world.store.then([Fault::NoEffect; 20]);
    let (mut worker, handle) = world.worker(world.source());
    let mut done = 0;
    for _ in 0..20 {
        let step = timeout(Duration::from_secs(60), worker.step()).await;
        let Ok(step) = step else { break };
        assert_eq!(step.unwrap().committed, None);
        done = world.store.answered(&tally("a")).await.len();
        if done == 6 {
            break;
        }
    }
    assert_eq!(done, 6);
    assert_eq!(world.store.answered(&tally("a")).await, [1, 2, 3, 4, 5, 6]);
    world.store.inner.sync();
    assert!(step(&mut worker).await.committed.is_some());
    drop(handle);
}

#[tokio::test(start_paused = true)]
async fn a_broken_store_ends_the_worker() {
    let world = World::new();
    let (worker, handle) = world.worker(None);
    world.store.inner.fail("the disk is gone");
    let asked = async {
        let answer = handle.send(tally("a"), add(1), origin(1, 1)).await;
        assert!(matches!(
            answer,
            Err(SendError::Failed(crate::Error::Store(_)))
        ));
    };
    let (ended, ()) = tokio::join!(worker.run(CancellationToken::new()), asked);
    assert!(matches!(
        ended,
        Err(WorkerError::Store(StoreError::Failed(_)))
    ));
}

/// A bus that answers by script, and counts who asks.
struct Scripted {
    inner: Arc<dyn Bus>,
    failures: Mutex<VecDeque<fn() -> BusError>>,
    asked: Mutex<u32>,
}

struct Cut;

#[async_trait]
impl Consumer<Delivery> for Cut {
    async fn next(&mut self) -> Result<Deliveries<Delivery>, BusError> {
        Err(BusError::Gap {
            after: Position::dense(1),
            next: Position::dense(3),
            help: "ask again".to_owned(),
        })
    }

    async fn commit(&mut self, _: Position) -> Result<(), BusError> {
        Ok(())
    }
}

#[async_trait]
impl Bus for Scripted {
    async fn commands(
        &self,
        group: &str,
        categories: &[&str],
    ) -> Result<Box<dyn Consumer<Delivery>>, BusError> {
        *self.asked.lock().unwrap() += 1;
        let failure = self.failures.lock().unwrap().pop_front();
        match failure.map(|failure| failure()) {
            Some(BusError::Gap { .. }) => Ok(Box::new(Cut)),
            Some(error) => Err(error),
            None => self.inner.commands(group, categories).await,
        }
    }

    async fn events(
        &self,
        after: Position,
        filter: Filter,
        share: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError> {
        self.inner.events(after, filter, share).await
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Membership>, BusError> {
        self.inner.join(group).await
    }
}

fn gap() -> BusError {
    BusError::Gap {
        after: Position::dense(1),
        next: Position::dense(3),
        help: "ask again".to_owned(),
    }
}

fn away() -> BusError {
    BusError::Store(StoreError::Unavailable("away".into()))
}

fn not_believed() -> BusError {
    BusError::Checkpoint {
        group: "tallies".into(),
        reason: "of another log".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_bus_is_asked_again_after_a_growing_wait() {
    let world = World::new();
    send(&world.store.inner, 1, [1]).await;
    let bus = Arc::new(Scripted {
        inner: world.bus(),
        failures: Mutex::new(VecDeque::from([gap as fn() -> _, away, gap])),
        asked: Mutex::default(),
    });
    let source = Source {
        bus: Arc::clone(&bus) as _,
        group: "tallies".into(),
    };
    let (mut worker, _handle) = world.worker(Some(source));
    let start = tokio::time::Instant::now();
    while world.store.answered(&tally("a")).await.is_empty() {
        step(&mut worker).await;
    }
    assert_eq!(*bus.asked.lock().unwrap(), 4);
    let waited = start.elapsed().as_millis();
    assert!((350..360).contains(&waited), "{waited} ms");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_is_not_believed_ends_the_worker() {
    let world = World::new();
    let bus = Scripted {
        inner: world.bus(),
        failures: Mutex::new(VecDeque::from([not_believed as fn() -> _])),
        asked: Mutex::default(),
    };
    let source = Source {
        bus: Arc::new(bus),
        group: "tallies".into(),
    };
    let (worker, _handle) = world.worker(Some(source));
    let ended = worker.run(CancellationToken::new()).await;
    assert!(matches!(
        ended,
        Err(WorkerError::Bus(BusError::Checkpoint { .. }))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_worker_saves_snapshots_beside_its_batches() {
    let world = World::new();
    let snapshots = crate::MemorySnapshots::default();
    let repository = repository(&world.store).with_snapshots(Arc::new(snapshots.clone()));
    let clock: Clock = Arc::new(|| at(7));
    let (mut worker, handle) =
        Worker::new(Arc::new(repository), None, clock, WorkerOptions::default());
    let many = Command::Emit((0..12).map(Event::Added).collect());
    for (id, command) in [(1, many), (2, add(1))] {
        let sent = handle.send(tally("a"), command, origin(id, id));
        let (sent, _) = tokio::join!(sent, worker.step());
        sent.unwrap();
        world.store.inner.sync();
    }
    // The save itself.
    step(&mut worker).await;
    let saved = crate::Snapshots::load(&snapshots, &tally("a"))
        .await
        .unwrap();
    assert_eq!(saved.unwrap().revision, 11);
}
