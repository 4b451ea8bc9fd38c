//! The suite that every adapter of the port passes.
//!
//! It talks to a bus as services do: asks for a new consumer after each end, commits what had its
//! effect, keeps a mark for each aggregate. Commands are held to their order for each target, which
//! is all that the port promises.
#![expect(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code that the tests of several crates share: each name is a sentence"
)]

pub mod world;

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use recourse_event_store::{
    Direction, EventStore, Filter, Position, Read, RecordedEvent, StoreError, Visibility,
};

use crate::{Bus, BusError, Delivery, Share};
use world::{GROUP, Service, bounded, number, sagas, send, to_each_stock};

/// A store, and a bus on it.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn EventStore>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    keep: Option<Box<dyn Any>>,
}

impl Subject {
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, bus: Arc<dyn Bus>) -> Self {
        Self {
            store,
            bus,
            keep: None,
        }
    }

    /// With something that lives as long: what carries the log to the bus.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any) -> Self {
        self.keep = Some(Box::new(keep));
        self
    }
}

/// A test for each promise, on what the asynchronous `$make` answers.
#[macro_export]
macro_rules! bus_conformance {
    (#[$test:meta] $make:path) => {
        $crate::bus_conformance! { #[$test] $make:
            every_command_takes_effect_once_and_in_order
            a_command_has_the_mark_of_its_place
            groups_and_categories_are_independent
            events_of_a_correlation_come_in_order_as_the_filter_wants_them
            a_group_goes_on_after_what_it_committed
        }
    };
    (#[$test:meta] $make:path: $($name:ident)*) => {
        $(#[$test]
        async fn $name() { $crate::conformance::$name($make().await).await })*
    };
}

/// Follows the events as their consumer does, and keeps its own checkpoint.
async fn events_until(
    bus: &dyn Bus,
    filter: Filter,
    share: &Share,
    end: Position,
) -> Vec<Arc<RecordedEvent>> {
    let mut considered = Position::START;
    let mut events = Vec::<Arc<RecordedEvent>>::new();
    let mut seen = BTreeSet::new();
    'consumer: while considered < end {
        let mut consumer = bounded(bus.events(considered, filter.clone(), share))
            .await
            .unwrap();
        let mut last = BTreeMap::new();
        while considered < end {
            let batch = match bounded(consumer.next()).await {
                Ok(batch) => batch,
                Err(
                    BusError::Gap { .. }
                    | BusError::Store(StoreError::Unavailable(_))
                    | BusError::Unavailable(_),
                ) => continue 'consumer,
                Err(error) => panic!("{error}"),
            };
            for event in batch.messages {
                let correlation = event.metadata().unwrap().correlation_id;
                let before = last.insert(correlation, event.position);
                assert!(before <= Some(event.position), "{correlation}");
                // At least once, so it may come again.
                if seen.insert(event.position) {
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

pub async fn every_command_takes_effect_once_and_in_order(subject: Subject) {
    let Subject { store, bus, .. } = &subject;
    let mut service = Service::default();
    sagas(&**store, 0..20).await;
    service.run(&**bus, &**store, 40).await;
    for saga in 20..60 {
        sagas(&**store, saga..saga + 1).await;
        let effects = (saga as usize + 1) * 2;
        service.run(&**bus, &**store, effects).await;
    }
    assert_eq!(service.by_target, to_each_stock(0..60));
}

pub async fn a_command_has_the_mark_of_its_place(subject: Subject) {
    let Subject { store, bus, .. } = &subject;
    let targets = ["order", "stock", "payment", "stock"]
        .map(|category| recourse_event_store::StreamName::new(category, "a"));
    send(&**store, 0, 0, &targets).await;
    send(&**store, 1, 4, &targets).await;
    let sagas = log(&**store, Filter::categories(&["saga"])).await;
    let mut marks = BTreeMap::new();
    while marks.len() < 6 {
        let Ok(mut consumer) = bounded(bus.commands(GROUP, &["stock", "payment"])).await else {
            continue;
        };
        while let Ok(batch) = bounded(consumer.next()).await {
            for delivery in batch.messages {
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

pub async fn groups_and_categories_are_independent(subject: Subject) {
    let Subject { store, bus, .. } = &subject;
    sagas(&**store, 0..10).await;
    for (group, category, expected) in [
        ("inventory", "stock", world::to_stock(0..10)),
        (
            "orders",
            "order",
            (0..10).map(|saga| saga * 3 + 1).collect(),
        ),
        ("audit", "stock", world::to_stock(0..10)),
        ("payments", "payment", vec![]),
    ] {
        let mut last = BTreeMap::<u64, Delivery>::new();
        let end = log(&**store, Filter::All).await.last().unwrap().position;
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

pub async fn events_of_a_correlation_come_in_order_as_the_filter_wants_them(subject: Subject) {
    let Subject { store, bus, .. } = &subject;
    sagas(&**store, 0..30).await;
    for filter in [
        Filter::All,
        Filter::categories(&["order"]),
        Filter::TypePrefixes(vec!["saga.noted.".to_owned()]),
        Filter::categories(&["absent"]),
    ] {
        let whole = log(&**store, filter.clone()).await;
        let end = store.appended().await.unwrap();
        let mut events = events_until(&**bus, filter, &Share::whole(), end).await;
        events.sort_by_key(|event| event.position);
        let ids = |events: &[Arc<RecordedEvent>]| -> Vec<_> {
            events.iter().map(|event| event.event.id).collect()
        };
        assert_eq!(ids(&events), ids(&whole));
    }
}

pub async fn a_group_goes_on_after_what_it_committed(subject: Subject) {
    let Subject { store, bus, .. } = &subject;
    let mut service = Service::default();
    sagas(&**store, 0..10).await;
    service.run(&**bus, &**store, 20).await;
    // The service forgets nothing, the consumer is new: what comes again changes nothing.
    sagas(&**store, 10..12).await;
    service.run(&**bus, &**store, 24).await;
    assert_eq!(service.by_target, to_each_stock(0..12));
}
