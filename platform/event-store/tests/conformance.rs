//! The suite on the in-memory adapter, at once durable and durable later, and through the
//! wrapper that behaves as `EventStoreDB` may.

use std::{sync::Arc, time::Duration};

use recourse_event_store::{
    LogId, StoreError,
    conformance::{Subject, eventstoredb_like, run_all},
    memory,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const LOG: LogId = LogId(Uuid::from_u128(7));

/// Durable at once.
async fn memory_subject() -> Subject {
    let store = memory::Store::new(LOG).with_max_append_bytes(1024 * 1024);
    Subject::new(store).with_max_append_bytes(1024 * 1024)
}

/// Durable a moment later, as with a group commit.
async fn lagging_memory_subject() -> Subject {
    let (store, syncer) = lagging_memory();
    Subject::new(store).keeping(syncer)
}

fn lagging_memory() -> (memory::Store, JoinSet<()>) {
    let store = memory::Store::with_manual_sync(LOG);
    let mut syncer = JoinSet::new();
    let synced = store.clone();
    syncer.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            synced.sync();
        }
    });
    (store, syncer)
}

async fn eventstoredb_like_subject() -> Subject {
    let inner = memory::Store::new(LOG);
    Subject::new(eventstoredb_like::Store::new(Arc::new(inner), 1))
}

mod in_memory {
    recourse_event_store::event_store_conformance!(super::memory_subject);
}

mod in_memory_with_a_late_sync {
    recourse_event_store::event_store_conformance!(super::lagging_memory_subject);
}

mod like_eventstoredb {
    recourse_event_store::event_store_conformance!(super::eventstoredb_like_subject);
}

#[tokio::test(start_paused = true)]
async fn the_suite_passes_for_many_seeds_and_each_kind_of_fault_occurs() {
    let made = std::sync::Mutex::new(Vec::new());
    for seed in 100..110 {
        run_all(async || {
            let (inner, syncer) = lagging_memory();
            let store = eventstoredb_like::Store::new(Arc::new(inner), seed);
            made.lock().unwrap().push(store.clone());
            Subject::new(store).keeping(syncer)
        })
        .await;
    }
    let mut total = eventstoredb_like::Counts::default();
    for store in made.into_inner().unwrap() {
        let counts = store.counts();
        total.lost_answers += counts.lost_answers;
        total.lost_appends += counts.lost_appends;
        total.missing_positions += counts.missing_positions;
        total.recognised += counts.recognised;
        total.failed_reads += counts.failed_reads;
        total.cuts += counts.cuts;
    }
    println!("{total:?}");
    assert!(total.lost_answers > 0 && total.lost_appends > 0);
    assert!(total.missing_positions > 0 && total.recognised > 0);
    assert!(total.failed_reads > 0 && total.cuts > 0);
}

#[tokio::test]
async fn a_closed_store_answers_closed() {
    use recourse_event_store::EventStore as _;
    let store = memory::Store::new(LOG);
    store.close();
    assert!(matches!(store.appended().await, Err(StoreError::Closed)));
}
