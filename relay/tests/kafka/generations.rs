//! A generation that goes on where another ends, begun by a relay that did not get to its end.

use std::{sync::Arc, time::Duration};

use recourse_bus::{
    Bus, BusError, Consumer, Share,
    conformance::world::{GROUP, Service, sagas, to_each_stock},
    kafka::{self, Client},
};
use recourse_event_store::{Filter, Position};

use crate::{
    broken,
    world::{Running, World, generation, memory},
};

/// A wait that only something that hangs does not survive.
async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("this hangs")
}

/// Reads until an error.
async fn ended<T>(mut consumer: Box<dyn Consumer<T>>) -> BusError {
    loop {
        if let Err(error) = consumer.next().await {
            return error;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_a_generation_is_told_of_the_next_though_its_start_was_cut_short() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    let bus = world.bus();
    let mut service = Service::default();
    sagas(&*world.store, 0..3).await;
    bounded(service.run(&bus, &*world.store, 6)).await;
    let commands = bus.commands(GROUP, &["stock"]).await.unwrap();
    let events = bus
        .events(Position::START, Filter::All, &Share::whole())
        .await
        .unwrap();
    world.relay.stop().await.unwrap();
    // As a relay leaves it that dies before it has said in the old topics that they end.
    broken::record_generation(&world.options, 2).await;
    generation(&world.options, 2).await;
    let relay = Running::new(&world.store, &world.options);
    for error in [bounded(ended(commands)).await, bounded(ended(events)).await] {
        assert!(error.to_string().contains("generation 2"), "{error}");
    }
    sagas(&*world.store, 3..6).await;
    bounded(service.run(&bus, &*world.store, 12)).await;
    assert_eq!(service.by_target, to_each_stock(0..6));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_would_lose_records_are_refused() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    world.relay.stop().await.unwrap();
    let client = Client::new(world.options.kafka.clone());
    let (events, relay) = (client.topics().events(1), client.topics().relay());
    for (topic, name, bad, good) in [
        (&relay, "cleanup.policy", "delete", "compact"),
        (&relay, "cleanup.policy", "compact,delete", "compact"),
        (&events, "cleanup.policy", "compact", "delete"),
        (&events, "retention.bytes", "1048576", "-1"),
        (&events, "retention.ms", "1000", "-1"),
        (&events, "max.message.bytes", "1048576", "4194304"),
    ] {
        broken::set(&world.options, topic, name, bad).await;
        let refused = bounded(Running::new(&world.store, &world.options).ended()).await;
        let why = refused.unwrap_err().to_string();
        assert!(
            why.contains(&format!("`{name}`")) && why.contains(topic.as_str()),
            "{why}"
        );
        broken::set(&world.options, topic, name, good).await;
    }
    let relay = Running::new(&world.store, &world.options);
    sagas(&*world.store, 0..1).await;
    let mut service = Service::default();
    let bus = kafka::Bus::new(Arc::clone(&world.store), world.options.kafka.clone());
    bounded(service.run(&bus, &*world.store, 2)).await;
    relay.stop().await.unwrap();
}
