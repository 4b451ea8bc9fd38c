//! Gifts that are given: the aggregate in its repository, the saga in its orchestrator, on a log.

use std::sync::Arc;

use recourse_bus::{MemoryCheckpoints, embedded};
use recourse_cqrs::{
    ClientCommand, Handle, Origin, Precondition, Repository, RepositoryOptions, Source, Worker,
    WorkerOptions,
};
use recourse_event_store::{
    EventStore, Filter, LogId, Position, StreamName, Visibility, embedded as disk, memory,
};
use recourse_saga_orchestrator::{Options, Orchestrator};
use recourse_service::{Clock, clock::SystemClock};
use recourse_views::memory::Documents;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use write_a_saga::{
    gift,
    member::{Command, Gift, Member},
};

#[tokio::test]
async fn gifts_are_given_or_stay_on_a_log_in_memory() {
    give(Arc::new(memory::Store::new(LogId(Uuid::from_u128(1))))).await;
}

#[tokio::test]
async fn gifts_are_given_or_stay_on_a_log_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(disk::Store::open(disk::Options::new(folder.path())).unwrap());
    give(store.clone()).await;
    store.close().await.unwrap();
}

async fn give(store: Arc<dyn EventStore>) {
    // Saga commands ride in the log; the bus hands them to whom they are for.
    let checkpoints = Arc::new(MemoryCheckpoints::default());
    let commands = recourse_saga::commands_of;
    let bus = Arc::new(embedded::Bus::new(store.clone(), commands, checkpoints));
    let repository = Repository::<Member>::new(store.clone(), RepositoryOptions::default());
    let source = Source { bus: bus.clone(), group: "members".into() };
    let now = Arc::new(|| SystemClock.now());
    let options = WorkerOptions::default();
    let (worker, members) = Worker::new(Arc::new(repository), Some(source), now, options);
    let sagas = Orchestrator::load(
        store.clone(),
        bus,
        Arc::new(Documents::default()),
        Arc::new(SystemClock),
        vec![Arc::new(gift::definition().unwrap())],
        Options { categories: vec!["member".into()], ..Options::default() },
    );
    let sagas = sagas.await.unwrap();
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    let token = stop.clone();
    running.spawn(async move { worker.run(token).await.unwrap() });
    let token = stop.clone();
    running.spawn(async move { sagas.run(token).await.unwrap() });

    let points = |number: u128, from: &str, to: &str, points| {
        let id = Uuid::from_u128(number);
        Gift { id, from: from.into(), to: to.into(), points }
    };
    ask(&members, "ann", Command::Receive(points(1, "shop", "ann", 5))).await;
    ask(&members, "ann", Command::Offer(points(2, "ann", "bob", 4))).await;
    assert_eq!(ended(&*store, 1).await, ["saga.completed.v1"]);
    // The rest is less than that, and so the second one stays.
    ask(&members, "ann", Command::Offer(points(3, "ann", "bob", 2))).await;
    assert_eq!(ended(&*store, 2).await[1], "saga.compensated.v1");
    let repository = members.repository();
    let mut left = Vec::new();
    for name in ["ann", "bob"] {
        let member = repository.load(&StreamName::new("member", name)).await.unwrap();
        left.push(member.state().points);
    }
    assert_eq!(left, [1, 4]);
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

/// What a service's handler does: the id makes a repeat of the same request find the first.
async fn ask(members: &Handle<Member>, name: &str, command: Command) {
    let (Command::Offer(gift) | Command::Receive(gift)) = &command else {
        panic!("no client asks that");
    };
    let origin = Origin::Client(ClientCommand {
        id: gift.id,
        body_hash: gift.id,
        correlation_id: gift.id,
        precondition: Precondition::None,
        actor: None,
        request_id: None,
        traceparent: None,
    });
    let stream = StreamName::new("member", name);
    members.send_durably(stream, command, origin).await.unwrap();
}

/// How the first so many sagas ended, once they have.
async fn ended(store: &dyn EventStore, count: usize) -> Vec<String> {
    let sagas = Filter::TypePrefixes(vec!["saga.completed.".into(), "saga.compensated.".into()]);
    let log = store.subscribe(Position::START, sagas, Visibility::Durable).await;
    let (mut log, mut ends) = (log.unwrap(), Vec::new());
    while ends.len() < count {
        let batch = log.next().await.unwrap();
        ends.extend(batch.events.iter().map(|event| event.event.event_type.to_string()));
    }
    ends
}
