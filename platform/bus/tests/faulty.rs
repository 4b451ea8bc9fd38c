//! The bus with faults: each kind occurs, none is unnoticed, and a seed replays them.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing"
)]

use std::{sync::Arc, time::Duration};

use recourse_bus::conformance::world::{
    GROUP, Service, bounded, embedded_bus, memory_store, numbers, sagas, to_stock,
};
use recourse_bus::{Bus, BusError, MemoryCheckpoints, Share, faulty};
use recourse_event_store::{EventStore, Filter, Position, StoreError};
use tokio::{task::JoinSet, time::Instant};

const NEVER: faulty::Rates = faulty::Rates {
    loss_once_in: 0,
    double_once_in: 0,
    delay_once_in: 0,
    ahead_once_in: 0,
    cut_once_in: 0,
    max_delay_ms: 2_000,
    heartbeat_ms: 1_000,
};

async fn bus(rates: faulty::Rates, seed: u64) -> (Arc<dyn EventStore>, faulty::Bus) {
    let store = memory_store();
    let inner = Arc::new(embedded_bus(&store, &MemoryCheckpoints::default()));
    (store, faulty::Bus::new(inner, rates, seed))
}

/// A whole run: what the service saw, how long it took, what went wrong.
async fn run(seed: u64) -> (Vec<u64>, usize, usize, usize, Duration, faulty::Counts) {
    let rates = faulty::Rates {
        loss_once_in: 8,
        double_once_in: 4,
        delay_once_in: 4,
        cut_once_in: 12,
        ..NEVER
    };
    let before = Instant::now();
    let (store, bus) = bus(rates, seed).await;
    let mut service = Service::default();
    for saga in 0..100 {
        sagas(&*store, saga..saga + 1).await;
        service.run(&bus, &*store, (saga as usize + 1) * 2).await;
    }
    assert_eq!(service.effects, to_stock(0..100));
    (
        service.effects,
        service.redelivered,
        service.gaps,
        service.cuts,
        before.elapsed(),
        bus.counts(),
    )
}

#[tokio::test(start_paused = true)]
async fn every_effect_is_there_once_whatever_goes_wrong() {
    for seed in 0..10 {
        let (_, redelivered, gaps, cuts, _, counts) = run(seed).await;
        assert!(
            counts.losses > 0 && counts.doubles > 0 && counts.delays > 0 && counts.cuts > 0,
            "{counts:?}"
        );
        assert_eq!(gaps as u64, counts.losses, "every loss was noticed");
        assert_eq!(cuts as u64, counts.cuts);
        assert!(redelivered as u64 >= counts.doubles);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_does_the_same_and_another_does_not() {
    let first = run(1).await;
    assert_eq!(first, run(1).await);
    assert_ne!(first.5, run(2).await.5);
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_nothing_follows_shows_after_the_heartbeat() {
    let rates = faulty::Rates {
        loss_once_in: 1,
        ..NEVER
    };
    let (store, bus) = bus(rates, 1).await;
    sagas(&*store, 0..3).await;
    let mut consumer = bus.commands(GROUP, &["stock"]).await.unwrap();
    let before = Instant::now();
    let Err(BusError::Gap { after, next, .. }) = bounded(consumer.next()).await else {
        panic!("a gap");
    };
    assert_eq!(before.elapsed(), Duration::from_secs(1));
    assert_eq!(after, Position::START);
    assert_eq!(next, store.appended().await.unwrap());
    // It is done: it never goes on past what it missed.
    sagas(&*store, 3..4).await;
    for _ in 0..3 {
        assert!(matches!(
            bounded(consumer.next()).await,
            Err(BusError::Gap { .. })
        ));
    }
    bus.heal();
    let mut consumer = bus.commands(GROUP, &["stock"]).await.unwrap();
    let batch = bounded(consumer.next()).await.unwrap();
    assert_eq!(numbers(&batch.messages), to_stock(0..4));
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_something_follows_shows_at_once() {
    let rates = faulty::Rates {
        loss_once_in: 1,
        ..NEVER
    };
    let (store, bus) = bus(rates, 1).await;
    sagas(&*store, 0..1).await;
    let mut consumer = bus
        .events(Position::START, Filter::All, &Share::whole())
        .await
        .unwrap();
    let before = Instant::now();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { bounded(consumer.next()).await.is_err() });
    tokio::task::yield_now().await;
    sagas(&*store, 1..2).await;
    assert_eq!(tasks.join_all().await, [true]);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_delay_lets_others_overtake_and_keeps_its_own_order() {
    let rates = faulty::Rates {
        delay_once_in: 2,
        ..NEVER
    };
    let (store, bus) = bus(rates, 4).await;
    let mut consumers = JoinSet::new();
    for consumer in 0..6 {
        let bus = bus.clone();
        consumers.spawn(async move {
            let mut events = bus
                .events(Position::START, Filter::All, &Share::whole())
                .await
                .unwrap();
            let mut last = Position::START;
            while last < Position::dense(90) {
                let batch = bounded(events.next()).await.unwrap();
                for event in batch.messages {
                    assert!(event.position > last, "order within a consumer");
                    last = event.position;
                }
            }
            (Instant::now(), consumer)
        });
    }
    for saga in 0..30 {
        sagas(&*store, saga..saga + 1).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut ended = consumers.join_all().await;
    ended.sort();
    assert!(bus.counts().delays > 0);
    assert!(
        !ended.is_sorted_by_key(|(_, consumer)| *consumer),
        "each was delayed by itself: {ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waited_does_not_claim_to_be_the_end() {
    for rates in [
        faulty::Rates {
            delay_once_in: 1,
            ..NEVER
        },
        faulty::Rates {
            double_once_in: 1,
            ..NEVER
        },
    ] {
        let (store, bus) = bus(rates, 1).await;
        sagas(&*store, 0..1).await;
        let mut consumer = bus
            .events(Position::START, Filter::All, &Share::whole())
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut said = vec![];
            while said.last().is_none_or(|(_, at_end)| !at_end) {
                let batch = bounded(consumer.next()).await.unwrap();
                said.push((batch.considered, batch.at_end));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            said
        });
        tokio::task::yield_now().await;
        // Appended while the first batch waits to be handed over.
        sagas(&*store, 1..2).await;
        let end = store.appended().await.unwrap();
        let said = tasks.join_all().await.remove(0);
        assert!(said.len() > 1);
        for (considered, at_end) in said {
            assert!(!at_end || considered == end, "too early");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_come_before_it_is_said_how_far_they_are() {
    let rates = faulty::Rates {
        ahead_once_in: 1,
        ..NEVER
    };
    let (store, bus) = bus(rates, 1).await;
    sagas(&*store, 0..1).await;
    let end = store.appended().await.unwrap();
    let whole = Share::whole();
    let mut consumer = bus
        .events(Position::START, Filter::All, &whole)
        .await
        .unwrap();
    let ahead = bounded(consumer.next()).await.unwrap();
    assert!(!ahead.messages.is_empty() && !ahead.at_end);
    assert_eq!(ahead.considered, Position::START);
    let mut considered = ahead.considered;
    while considered < end {
        considered = bounded(consumer.next()).await.unwrap().considered;
    }
    assert!(bus.counts().aheads > 0);
}

#[tokio::test(start_paused = true)]
async fn a_cut_consumer_is_done() {
    let rates = faulty::Rates {
        cut_once_in: 1,
        ..NEVER
    };
    let (store, bus) = bus(rates, 1).await;
    sagas(&*store, 0..1).await;
    let mut consumer = bus.commands(GROUP, &["stock"]).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(
            bounded(consumer.next()).await,
            Err(BusError::Store(StoreError::Unavailable(_)))
        ));
    }
    assert_eq!(bus.counts().cuts, 1);
}
