//! The port's promises, on every adapter of it: the embedded bus on a friendly store and on a
//! hostile one, and with faults of its own.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing"
)]

mod world;

use std::{collections::BTreeMap, sync::Arc};

use recourse_bus::{Bus, BusError, Delivery, MemoryCheckpoints, faulty};
use recourse_event_store::{
    Direction, EventStore, Filter, Position, Read, RecordedEvent, StoreError, Visibility,
    conformance::eventstoredb_like,
};
use world::{GROUP, Service, bounded, embedded_bus, memory_store, number, sagas, send, to_stock};

/// A store, and a bus on it.
struct Subject {
    store: Arc<dyn EventStore>,
    bus: Arc<dyn Bus>,
}

fn embedded() -> Subject {
    let store = memory_store();
    let bus = Arc::new(embedded_bus(&store, &MemoryCheckpoints::default()));
    Subject { store, bus }
}

fn embedded_on_eventstoredb_like() -> Subject {
    let store: Arc<dyn EventStore> = Arc::new(eventstoredb_like::Store::new(memory_store(), 3));
    let bus = Arc::new(embedded_bus(&store, &MemoryCheckpoints::default()));
    Subject { store, bus }
}

fn faulty() -> Subject {
    let Subject { store, bus } = embedded();
    let rates = faulty::Rates {
        loss_once_in: 5,
        double_once_in: 3,
        delay_once_in: 3,
        cut_once_in: 7,
        ..faulty::Rates::default()
    };
    let bus = Arc::new(faulty::Bus::new(bus, rates, 11));
    Subject { store, bus }
}

/// Follows the events as their consumer does, and keeps its own checkpoint.
async fn events_until(bus: &dyn Bus, filter: Filter, end: Position) -> Vec<Arc<RecordedEvent>> {
    let mut considered = Position::START;
    let mut events = Vec::<Arc<RecordedEvent>>::new();
    'consumer: while considered < end {
        let mut consumer = bounded(bus.events(considered, filter.clone()))
            .await
            .unwrap();
        while considered < end {
            let batch = match bounded(consumer.next()).await {
                Ok(batch) => batch,
                Err(BusError::Gap { .. } | BusError::Store(StoreError::Unavailable(_))) => {
                    continue 'consumer;
                }
                Err(error) => panic!("{error}"),
            };
            for event in batch.messages {
                // At least once, so it may come again; in order, so nothing comes between.
                if event.position > considered {
                    events.push(event);
                }
            }
            considered = considered.max(batch.considered);
            bounded(consumer.commit(batch.considered)).await.unwrap();
        }
    }
    events
}

async fn log(store: &dyn EventStore, filter: Filter) -> Vec<Arc<RecordedEvent>> {
    let mut read = Read {
        from: None,
        direction: Direction::Forward,
        visibility: Visibility::Appended,
        filter,
        max_events: 100,
    };
    let mut events = vec![];
    loop {
        let Ok(batch) = store.read_all(read.clone()).await else {
            continue;
        };
        events.extend(batch.events);
        if batch.at_end {
            return events;
        }
        read.from = Some(batch.considered);
    }
}

async fn every_command_takes_effect_once_and_in_order(Subject { store, bus }: Subject) {
    let mut service = Service::default();
    sagas(&*store, 0..20).await;
    service.run(&*bus, &*store, 40).await;
    for saga in 20..60 {
        sagas(&*store, saga..saga + 1).await;
        let effects = (saga as usize + 1) * 2;
        service.run(&*bus, &*store, effects).await;
    }
    assert_eq!(service.effects, to_stock(0..60));
}

async fn a_command_has_the_mark_of_its_place(Subject { store, bus }: Subject) {
    let targets = ["order", "stock", "payment", "stock"]
        .map(|category| recourse_event_store::StreamName::new(category, "a"));
    send(&*store, 0, 0, &targets).await;
    send(&*store, 1, 4, &targets).await;
    let sagas = log(&*store, Filter::categories(&["saga"])).await;
    let mut marks = BTreeMap::new();
    while marks.len() < 6 {
        let Ok(mut consumer) = bounded(bus.commands(GROUP, &["stock", "payment"])).await else {
            continue;
        };
        while let Ok(batch) = bounded(consumer.next()).await {
            for delivery in batch.messages {
                assert!(delivery.mark.position <= batch.considered);
                assert_eq!(delivery.event.position, delivery.mark.position);
                marks.insert(number(&delivery), delivery.mark);
            }
            if marks.len() == 6 {
                break;
            }
        }
    }
    let marks: Vec<_> = marks
        .into_iter()
        .map(|(number, mark)| (number, mark.position, mark.index))
        .collect();
    let [one, two] = [sagas[0].position, sagas[1].position];
    let expected = [
        (1, one, 1),
        (2, one, 2),
        (3, one, 3),
        (5, two, 1),
        (6, two, 2),
        (7, two, 3),
    ];
    assert_eq!(marks, expected);
}

async fn groups_and_categories_are_independent(Subject { store, bus }: Subject) {
    sagas(&*store, 0..10).await;
    for (group, category, expected) in [
        ("inventory", "stock", to_stock(0..10)),
        (
            "orders",
            "order",
            (0..10).map(|saga| saga * 3 + 1).collect(),
        ),
        ("audit", "stock", to_stock(0..10)),
        ("payments", "payment", vec![]),
    ] {
        let mut last = BTreeMap::<u64, Delivery>::new();
        let end = log(&*store, Filter::All).await.last().unwrap().position;
        let mut considered = Position::START;
        while considered < end {
            let Ok(mut consumer) = bounded(bus.commands(group, &[category])).await else {
                continue;
            };
            while considered < end
                && let Ok(batch) = bounded(consumer.next()).await
            {
                considered = considered.max(batch.considered);
                last.extend(batch.messages.into_iter().map(|delivery| {
                    assert_eq!(delivery.command.target.category(), category);
                    (number(&delivery), delivery)
                }));
            }
        }
        assert_eq!(last.into_keys().collect::<Vec<_>>(), expected, "{group}");
    }
}

async fn events_come_in_order_as_the_filter_wants_them(Subject { store, bus }: Subject) {
    sagas(&*store, 0..30).await;
    for filter in [
        Filter::All,
        Filter::categories(&["order"]),
        Filter::TypePrefixes(vec!["saga.noted.".to_owned()]),
        Filter::categories(&["absent"]),
    ] {
        let whole = log(&*store, filter.clone()).await;
        let end = store.appended().await.unwrap();
        let events = events_until(&*bus, filter, end).await;
        let ids = |events: &[Arc<RecordedEvent>]| -> Vec<_> {
            events.iter().map(|event| event.event.id).collect()
        };
        assert_eq!(ids(&events), ids(&whole));
    }
}

async fn a_group_goes_on_after_what_it_committed(Subject { store, bus }: Subject) {
    let mut service = Service::default();
    sagas(&*store, 0..10).await;
    service.run(&*bus, &*store, 20).await;
    // The service forgets nothing, the consumer is new: what comes again changes nothing.
    sagas(&*store, 10..12).await;
    service.run(&*bus, &*store, 24).await;
    assert_eq!(service.effects, to_stock(0..12));
}

macro_rules! conformance {
    ($($name:ident)*) => {
        mod on_embedded {
            $(#[tokio::test(start_paused = true)]
            async fn $name() { super::$name(super::embedded()).await })*
        }
        mod on_embedded_on_eventstoredb_like {
            $(#[tokio::test(start_paused = true)]
            async fn $name() { super::$name(super::embedded_on_eventstoredb_like()).await })*
        }
        mod on_faulty {
            $(#[tokio::test(start_paused = true)]
            async fn $name() { super::$name(super::faulty()).await })*
        }
    };
}

conformance! {
    every_command_takes_effect_once_and_in_order
    a_command_has_the_mark_of_its_place
    groups_and_categories_are_independent
    events_come_in_order_as_the_filter_wants_them
    a_group_goes_on_after_what_it_committed
}
