//! The suite on the in-memory adapter, at once durable and durable later, on the embedded
//! one, and on either through the wrapper that behaves as `EventStoreDB` may.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing"
)]

use std::{sync::Arc, time::Duration};

use recourse_event_store::{
    LogId,
    conformance::{Subject, eventstoredb_like, run_all},
    embedded, memory,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const LOG: LogId = LogId(Uuid::from_u128(7));

/// Durable at once.
async fn memory_subject() -> Subject {
    let store = memory::Store::new(LOG).with_max_append_bytes(MIB);
    Subject::new(store).with_max_append_bytes(MIB)
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

const MIB: usize = 1024 * 1024;

/// In a folder of its own, with everything small, so that the suite goes over the ends of
/// files and of what is in memory.
fn small_embedded() -> (embedded::Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let options = embedded::Options {
        segment_bytes: 2 * MIB as u32,
        max_append_bytes: MIB,
        tail_bytes: 4 * 1024,
        checkpoint_bytes: MIB as u64,
        max_open_segments: 2,
        ..embedded::Options::new(folder.path())
    };
    (embedded::Store::open(options).unwrap(), folder)
}

async fn small_embedded_subject() -> Subject {
    let (store, folder) = small_embedded();
    Subject::new(store)
        .with_max_append_bytes(MIB)
        .keeping(folder)
}

/// With everything in memory that is in memory by default; only the files are shorter, for
/// each test zeroes two of them.
async fn embedded_subject() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let options = embedded::Options {
        segment_bytes: 4 * MIB as u32,
        max_append_bytes: 2 * MIB,
        ..embedded::Options::new(folder.path())
    };
    let store = embedded::Store::open(options).unwrap();
    Subject::new(store).keeping(folder)
}

async fn eventstoredb_like_embedded_subject() -> Subject {
    let (inner, folder) = small_embedded();
    let store = eventstoredb_like::Store::new(Arc::new(inner), 2);
    Subject::new(store).keeping(folder)
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

mod on_embedded {
    recourse_event_store::event_store_conformance!(super::embedded_subject);
}

mod on_small_embedded {
    recourse_event_store::event_store_conformance!(super::small_embedded_subject);
}

mod like_eventstoredb_on_embedded {
    recourse_event_store::event_store_conformance!(super::eventstoredb_like_embedded_subject);
}

/// Appenders and readers that truly run at once; what hangs fails after a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_passes_on_several_threads() {
    for _ in 0..5 {
        run_all(memory_subject).await;
        run_all(lagging_memory_subject).await;
    }
    run_all(small_embedded_subject).await;
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
