//! What may go wrong between the log and those who act on it. Afterwards every command has had its
//! effect once, and in order.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use recourse_bus::{
    Bus, BusError, Consumer, Delivery, Share,
    conformance::world::{GROUP, Service, sagas, to_each_stock},
    kafka,
};
use recourse_event_store::{
    Direction, EventStore, Filter, Position, Read, RecordedEvent, Visibility,
};
use recourse_relay::{Error, Options};
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    broken,
    world::{Running, World, generation, memory, options},
};

/// A wait that only something that hangs does not survive.
async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("this hangs")
}

async fn last_event(store: &dyn EventStore) -> Arc<RecordedEvent> {
    let read = Read {
        from: None,
        direction: Direction::Backward,
        visibility: Visibility::Durable,
        filter: Filter::All,
        max_events: 1,
    };
    store.read_all(read).await.unwrap().events.remove(0)
}

async fn member(bus: &kafka::Bus) -> Box<dyn Consumer<Delivery>> {
    bus.commands(GROUP, &["stock"]).await.unwrap()
}

/// Asks until an answer is an error that is not only that something is away.
async fn failure(bus: &kafka::Bus) -> BusError {
    loop {
        let error = match bus.commands(GROUP, &["stock"]).await {
            Err(error) => error,
            Ok(mut consumer) => loop {
                if let Err(error) = consumer.next().await {
                    break error;
                }
            },
        };
        if !matches!(error, BusError::Unavailable(_)) {
            return error;
        }
    }
}

/// One partition a topic: whoever changes the checkpoint by hand knows which is which.
fn narrow(options: Options) -> Options {
    let one = NonZeroU32::new(1).unwrap();
    Options {
        event_partitions: one,
        command_partitions: one,
        ..options
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_under_flow_costs_nothing() {
    let Some(engine) = tokio::task::spawn_blocking(recourse_engines::kafka)
        .await
        .unwrap()
    else {
        return;
    };
    let store = memory();
    let world = World::on(store, options(engine.address())).await;
    let bus = world.bus();
    let flow = Arc::clone(&world.store);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for saga in 0..200 {
            sagas(&*flow, saga..saga + 1).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut service = Service::default();
    service.run(&bus, &*world.store, 40).await;
    let engine = tokio::task::spawn_blocking(move || {
        let mut engine = engine;
        engine.kill().unwrap();
        engine.restart().unwrap();
        engine
    });
    let _engine = engine.await.unwrap();
    bounded(service.run(&bus, &*world.store, 400)).await;
    assert_eq!(service.by_target, to_each_stock(0..200));
    world.relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_at_once_repeat_records_and_harm_nobody() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    let bus = world.bus();
    let other = Options {
        lease_group: Some("of-another-mind".to_owned()),
        ..world.options.clone()
    };
    let mut service = Service::default();
    sagas(&*world.store, 0..10).await;
    let other = Running::new(&world.store, &other);
    for saga in 10..60 {
        sagas(&*world.store, saga..saga + 1).await;
    }
    bounded(service.run(&bus, &*world.store, 120)).await;
    // Whichever goes, the other goes on; and one that comes back begins at a checkpoint of either.
    world.relay.stop().await.unwrap();
    sagas(&*world.store, 60..70).await;
    bounded(service.run(&bus, &*world.store, 140)).await;
    let again = Running::new(&world.store, &world.options);
    other.stop().await.unwrap();
    sagas(&*world.store, 70..80).await;
    bounded(service.run(&bus, &*world.store, 160)).await;
    assert_eq!(service.by_target, to_each_stock(0..80));
    again.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_waits_goes_on_where_the_active_one_ends() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    let bus = world.bus();
    let waiting = Running::new(&world.store, &world.options);
    let mut service = Service::default();
    sagas(&*world.store, 0..5).await;
    bounded(service.run(&bus, &*world.store, 10)).await;
    world.relay.stop().await.unwrap();
    sagas(&*world.store, 5..10).await;
    bounded(service.run(&bus, &*world.store, 20)).await;
    assert_eq!(service.by_target, to_each_stock(0..10));
    waiting.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_record_stops_who_reads_it_until_a_new_generation_brings_it() {
    let Some(broker) = World::broker().await else {
        return;
    };
    let world = World::on(memory(), narrow(options(broker))).await;
    let bus = world.bus();
    let mut service = Service::default();
    sagas(&*world.store, 0..3).await;
    bounded(service.run(&bus, &*world.store, 6)).await;
    world.relay.stop().await.unwrap();
    // What comes now is taken for relayed by the next relay, and was not.
    sagas(&*world.store, 3..4).await;
    broken::skip_to_the_end(&world.options, &*world.store).await;
    let relay = Running::new(&world.store, &world.options);
    sagas(&*world.store, 4..6).await;
    let gap = bounded(failure(&bus)).await;
    assert!(matches!(gap, BusError::Gap { .. }), "{gap}");
    assert!(gap.to_string().contains("`--generation 2`"), "{gap}");
    let mut events = bus
        .events(Position::START, Filter::All, &Share::whole())
        .await
        .unwrap();
    let gap = bounded(async {
        loop {
            if let Err(error) = events.next().await {
                return error;
            }
        }
    });
    assert!(matches!(gap.await, BusError::Gap { .. }));
    assert_eq!(service.by_target, to_each_stock(0..3), "nothing was sealed");
    relay.stop().await.unwrap();
    let repaired = Options {
        generation: 2,
        ..world.options.clone()
    };
    let relay = Running::new(&world.store, &repaired);
    generation(&world.options, 2).await;
    bounded(service.run(&bus, &*world.store, 12)).await;
    assert_eq!(service.by_target, to_each_stock(0..6));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_stops_the_relay_until_a_new_generation() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    let bus = world.bus();
    let mut service = Service::default();
    sagas(&*world.store, 0..3).await;
    bounded(service.run(&bus, &*world.store, 6)).await;
    broken::delete(&world.options, "stock").await;
    sagas(&*world.store, 3..6).await;
    let ended = bounded(world.relay.ended()).await.unwrap_err();
    assert!(
        matches!(&ended, Error::Kafka(kafka::Error::Topic { topic, .. }) if topic.contains("stock")),
        "{ended}"
    );
    assert!(ended.to_string().contains("`--generation 2`"), "{ended}");
    let error = bounded(failure(&bus)).await;
    assert!(matches!(&error, BusError::Topic { .. }), "{error}");
    let repaired = Options {
        generation: 2,
        ..world.options.clone()
    };
    let relay = Running::new(&world.store, &repaired);
    generation(&world.options, 2).await;
    bounded(service.run(&bus, &*world.store, 12)).await;
    assert_eq!(service.by_target, to_each_stock(0..6));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_its_effect_and_was_not_committed_comes_again_and_changes_nothing() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    let bus = world.bus();
    let mut service = Service::default();
    sagas(&*world.store, 0..5).await;
    // Killed after the effects, before a commit.
    let mut consumer = member(&bus).await;
    while service.effects.len() < 10 {
        for delivery in &bounded(consumer.next()).await.unwrap().messages {
            service.take(delivery);
        }
    }
    drop(consumer);
    let mut again = Service::default();
    bounded(again.run(&bus, &*world.store, 10)).await;
    assert_eq!(service.by_target, to_each_stock(0..5));
    assert_eq!(again.by_target, to_each_stock(0..5));
    // This one committed: the next one gets only what is new.
    sagas(&*world.store, 5..6).await;
    let mut next = Service::default();
    bounded(next.run(&bus, &*world.store, 2)).await;
    assert_eq!(next.by_target, to_each_stock(5..6));
    world.relay.stop().await.unwrap();
}

/// A member of the group that takes what it gets and commits it, until it is aborted.
async fn work(
    bus: kafka::Bus,
    store: Arc<dyn EventStore>,
    service: Arc<Mutex<Service>>,
    name: &'static str,
    taken: Arc<Mutex<BTreeMap<&'static str, usize>>>,
) {
    let mut consumer = member(&bus).await;
    loop {
        let deliveries = consumer.next().await.unwrap();
        let mut service = service.lock().await;
        for delivery in &deliveries.messages {
            service.take(delivery);
        }
        *taken.lock().await.entry(name).or_default() += deliveries.messages.len();
        drop(service);
        store.wait_durable(deliveries.considered).await.unwrap();
        consumer.commit(deliveries.considered).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_share_the_partitions_and_lose_nothing_when_one_comes_and_goes() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    // The state of the aggregates, which both have: each would read it from the log.
    let service = Arc::new(Mutex::new(Service::default()));
    let taken = Arc::new(Mutex::new(BTreeMap::new()));
    let start = |name: &'static str| {
        let mut member = JoinSet::new();
        member.spawn(work(
            world.bus(),
            Arc::clone(&world.store),
            Arc::clone(&service),
            name,
            Arc::clone(&taken),
        ));
        member
    };
    let reached = async |effects: usize| {
        while service.lock().await.effects.len() < effects {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let first = start("first");
    sagas(&*world.store, 0..20).await;
    bounded(reached(40)).await;
    let second = start("second");
    let mut saga = 20;
    // Until both have had their share.
    bounded(async {
        while taken.lock().await.len() < 2 {
            sagas(&*world.store, saga..saga + 1).await;
            saga += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    sagas(&*world.store, saga..saga + 20).await;
    saga += 20;
    drop(first);
    sagas(&*world.store, saga..saga + 20).await;
    saga += 20;
    bounded(reached(usize::try_from(saga).unwrap() * 2)).await;
    let service = service.lock().await;
    assert_eq!(service.by_target, to_each_stock(0..saga));
    drop(second);
    world.relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_without_a_first_start_refuses_what_is_not_there() {
    let Some(broker) = World::broker().await else {
        return;
    };
    let refused = Options {
        first_start: false,
        ..options(broker)
    };
    let store = memory();
    let ended = Running::new(&store, &refused).ended().await;
    assert!(matches!(ended, Err(Error::NotStarted { .. })), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_partitions_want_a_new_generation_and_work_goes_on_in_it() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    let bus = world.bus();
    let mut service = Service::default();
    sagas(&*world.store, 0..5).await;
    bounded(service.run(&bus, &*world.store, 10)).await;
    let from = last_event(&*world.store).await.position;
    world.relay.stop().await.unwrap();
    let wider = Options {
        event_partitions: NonZeroU32::new(5).unwrap(),
        command_partitions: NonZeroU32::new(4).unwrap(),
        ..world.options.clone()
    };
    let refused = Running::new(&world.store, &wider).ended().await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("`--generation 2`"), "{refused}");
    let wider = Options {
        generation: 2,
        ..wider
    };
    let relay = Running::new(&world.store, &wider);
    sagas(&*world.store, 5..10).await;
    bounded(service.run(&bus, &*world.store, 20)).await;
    assert_eq!(service.by_target, to_each_stock(0..10));
    relay.stop().await.unwrap();
    // One that begins after what a group has seen is for it; who has seen less is told.
    let later = Options {
        generation: 3,
        from,
        ..wider
    };
    let relay = Running::new(&world.store, &later);
    sagas(&*world.store, 10..15).await;
    bounded(service.run(&bus, &*world.store, 30)).await;
    assert_eq!(service.by_target, to_each_stock(0..15));
    let late = bus.commands("a-group-that-comes-late", &["stock"]).await;
    assert!(
        matches!(late, Err(BusError::Gap { after: Position::START, next, .. }) if next == from),
        "it would miss what is before"
    );
    let late = bus
        .events(Position::START, Filter::All, &Share::whole())
        .await;
    assert!(matches!(late, Err(BusError::Gap { .. })));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_log_is_not_relayed_into_the_topics_of_another() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    sagas(&*world.store, 0..3).await;
    let mut service = Service::default();
    bounded(service.run(&world.bus(), &*world.store, 6)).await;
    world.relay.stop().await.unwrap();
    // The same id, and fewer events: a backup that kept its name.
    let shorter = memory();
    sagas(&*shorter, 0..1).await;
    let ended = Running::new(&shorter, &world.options).ended().await;
    assert!(matches!(ended, Err(Error::OtherLog { .. })), "{ended:?}");
    let id = recourse_event_store::LogId(uuid::Uuid::from_u128(99));
    let other: Arc<dyn EventStore> = Arc::new(recourse_event_store::memory::Store::new(id));
    let ended = Running::new(&other, &world.options).ended().await;
    assert!(matches!(ended, Err(Error::OtherLog { .. })), "{ended:?}");
    let bus = kafka::Bus::new(other, world.options.kafka.clone());
    let refused = bus
        .events(Position::START, Filter::All, &Share::whole())
        .await;
    assert!(matches!(refused, Err(BusError::Checkpoint { .. })));
}

#[test]
fn who_ends_while_the_broker_is_away_does_not_wait_for_it() {
    let Some(mut engine) = recourse_engines::kafka() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let options = options(engine.address());
    runtime.block_on(async {
        let world = World::on(memory(), options).await;
        sagas(&*world.store, 0..5).await;
        let bus = world.bus();
        let mut consumer = member(&bus).await;
        let mut deliveries = bounded(consumer.next()).await.unwrap();
        while deliveries.considered == Position::START {
            deliveries = bounded(consumer.next()).await.unwrap();
        }
        engine.kill().unwrap();
        consumer.commit(deliveries.considered).await.unwrap();
        sagas(&*world.store, 5..6).await;
        world.relay.stop().await.unwrap();
    });
    // What blocks is waited for, as at the end of a process.
    let begun = tokio::time::Instant::now();
    drop(runtime);
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}
