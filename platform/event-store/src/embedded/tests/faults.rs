//! Disks that fail, and disks that are full.

use std::{
    io,
    pin::pin,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::{
    super::{DURABLE, Options, Store, disk::SyncPoint, engine::Engine},
    crash_disk::{CrashDisk, Loss},
    spied_disk::SpiedDisk,
    world::{all, append_one, event, settle, small, stream, to},
};
use crate::{AppendError, EventStore, ExpectedRevision, Position, StoreError, Visibility};

fn open(disk: &CrashDisk) -> Store {
    Store::open_by_hand(Arc::new(disk.clone()), small("faults")).unwrap()
}

fn poll<T>(call: impl Future<Output = T>) -> Poll<T> {
    pin!(call).poll(&mut Context::from_waker(Waker::noop()))
}

async fn add(store: &Store, number: u64, bytes: usize) -> Result<crate::Appended, AppendError> {
    append_one(
        store,
        to("order-1", ExpectedRevision::Any, vec![event(number, bytes)]),
    )
    .await
}

#[tokio::test]
async fn after_a_failed_sync_readers_see_what_is_durable_and_nothing_more_is_taken() {
    let disk = CrashDisk::default();
    let store = open(&disk);
    settle(&store);
    add(&store, 0, 10).await.unwrap();
    settle(&store);
    add(&store, 1, 10).await.unwrap();
    let mut follower = store
        .subscribe(Position::START, crate::Filter::All, Visibility::Appended)
        .await
        .unwrap();
    assert_eq!(
        follower.next().await.unwrap().considered,
        Position::dense(2)
    );
    assert_eq!(all(&store, Visibility::Appended).await.len(), 2);
    assert!(poll(store.failed()).is_pending());
    disk.fail(Some(SyncPoint::Group));
    assert!(matches!(store.step(), Err(StoreError::Failed(_))));
    // Another sync would succeed, and prove nothing.
    disk.fail(None);
    assert!(matches!(store.step(), Err(StoreError::Failed(_))));

    assert!(matches!(
        poll(store.failed()),
        Poll::Ready(StoreError::Failed(_))
    ));
    assert!(matches!(follower.next().await, Err(StoreError::Failed(_))));
    let waited = store.wait_durable(Position::dense(2)).await;
    assert!(matches!(waited, Err(StoreError::Failed(_))));
    store.wait_durable(Position::dense(1)).await.unwrap();
    let refused = add(&store, 2, 10).await;
    assert!(matches!(
        refused,
        Err(AppendError::Store(StoreError::Failed(_)))
    ));
    assert_eq!(store.appended().await.unwrap(), Position::dense(1));
    assert_eq!(all(&store, Visibility::Appended).await.len(), 1);
    assert_eq!(stream(&store, "order-1").await.len(), 1);

    // The next process finds the event in the page cache, marked as clean. If it says that it
    // is durable, it has to be.
    let killed = disk.kill();
    let store = open(&killed);
    let there = all(&store, Visibility::Durable).await.len();
    drop(store);
    let store = open(&killed.lose_power(Loss::Everything));
    assert_eq!(all(&store, Visibility::Durable).await.len(), there);
}

#[tokio::test]
async fn a_full_disk_refuses_what_has_no_place_and_goes_on_when_there_is_room() {
    let disk = CrashDisk::default();
    let store = open(&disk);
    settle(&store);
    disk.set_full(true);
    let mut taken = 0;
    // Segments that are there are written to their end: that room was taken before.
    let refused = loop {
        let answer = match poll(add(&store, taken, 500)) {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                assert!(matches!(store.step(), Err(StoreError::Full(_))));
                continue;
            }
        };
        match answer {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        while let Ok(true) = store.step() {}
        assert!(taken < 100);
    };
    assert!(
        matches!(refused, AppendError::Store(StoreError::Full(_))),
        "{refused}"
    );
    assert!(refused.to_string().contains("does not take appends"));
    // What was taken is there and safe, or still waits for a place to be written to.
    assert_eq!(all(&store, Visibility::Appended).await.len() as u64, taken);
    assert_eq!(stream(&store, "order-1").await.len() as u64, taken);
    disk.set_full(false);
    settle(&store);
    assert_eq!(store.durable(), Position::dense(taken));
    add(&store, taken, 500).await.unwrap();
    settle(&store);
    let store = open(&disk.lose_power(Loss::Everything));
    assert_eq!(
        all(&store, Visibility::Durable).await.len() as u64,
        taken + 1
    );
}

#[tokio::test]
async fn whoever_waits_for_room_is_told_that_there_is_none() {
    let disk = CrashDisk::default();
    let store = open(&disk);
    // No segment is there yet, so the first append waits for it.
    let mut waiting = pin!(add(&store, 0, 10));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    disk.set_full(true);
    assert!(matches!(store.step(), Err(StoreError::Full(_))));
    match waiting.as_mut().poll(&mut context) {
        Poll::Ready(Err(AppendError::Store(StoreError::Full(_)))) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn appends_wait_while_too_much_is_not_yet_synced() {
    let disk = CrashDisk::default();
    let options = Options {
        max_unsynced_bytes: 1000,
        ..small("faults")
    };
    let store = Store::open_by_hand(Arc::new(disk.clone()), options).unwrap();
    settle(&store);
    add(&store, 0, 600).await.unwrap();
    add(&store, 1, 600).await.unwrap();
    let mut waiting = pin!(add(&store, 2, 600));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert_eq!(store.appended().await.unwrap(), Position::dense(2));
    settle(&store);
    assert!(waiting.as_mut().poll(&mut context).is_ready());
    assert_eq!(store.appended().await.unwrap(), Position::dense(3));
}

#[tokio::test]
async fn what_a_reader_alone_shows_as_durable_survives_the_loss_of_power() {
    let disk = CrashDisk::default();
    let store = open(&disk);
    settle(&store);
    add(&store, 0, 10).await.unwrap();
    disk.fail(None);
    // Written, and killed before the sync.
    let mut writing = None;
    for stop in disk.operations() + 1.. {
        let copy = CrashDisk::stopping_at(Some(stop), None);
        let store = open(&copy);
        let _ = (store.step(), store.step());
        if poll(add(&store, 0, 10)).is_pending() {
            continue;
        }
        let _ = store.step();
        let killed = copy.kill();
        let reader = Store::open_read_only_on(Arc::new(killed.clone()), small("faults")).unwrap();
        let shown = all(&reader, Visibility::Durable).await.len();
        let store = open(&killed.lose_power(Loss::Everything));
        assert_eq!(all(&store, Visibility::Durable).await.len(), shown);
        if shown == 1 && store.stats().groups == 0 {
            writing = Some(stop);
            break;
        }
    }
    assert!(writing.is_some());
}

#[tokio::test]
async fn a_closed_store_has_everything_on_disk_and_takes_nothing_more() {
    let disk = CrashDisk::default();
    let store = open(&disk);
    settle(&store);
    for number in 0..20 {
        add(&store, number, 100).await.unwrap();
    }
    store.close().await.unwrap();
    let refused = add(&store, 20, 10).await;
    assert!(matches!(
        refused,
        Err(AppendError::Store(StoreError::Closed))
    ));
    assert!(matches!(store.appended().await, Err(StoreError::Closed)));
    let next = open(&disk.lose_power(Loss::Everything));
    assert_eq!(all(&next, Visibility::Durable).await.len(), 20);
    assert_eq!(next.checkpointed(), Position::dense(20));
}

#[tokio::test]
async fn a_thread_that_panics_fails_the_store_for_all_who_wait_for_it() {
    // The first segment is there by then; it is written, and the next one is made.
    for (thread, file) in [
        ("event-store-sync", "segment-00000001.log"),
        ("event-store-ahead", "segment-00000002.log"),
    ] {
        let armed = Arc::new(AtomicBool::new(false));
        let is_armed = Arc::clone(&armed);
        let disk = SpiedDisk::new(move |name| {
            let breaks = is_armed.load(Ordering::SeqCst) && name == file;
            assert!(!breaks, "a bug in whoever writes {name}");
            Ok(())
        });
        let store = Store::open_by_hand(disk, small("faults")).unwrap();
        settle(&store);
        store.start_threads().unwrap();
        armed.store(true, Ordering::SeqCst);
        add(&store, 0, 10).await.unwrap();
        let failed = store.failed().await.to_string();
        assert!(failed.contains(&format!("{thread} panicked")), "{failed}");
        let waited = store.wait_durable(Position::dense(2)).await;
        assert!(matches!(waited, Err(StoreError::Failed(_))), "{waited:?}");
        let refused = add(&store, 1, 10).await;
        assert!(refused.is_err(), "{refused:?}");
        let closed = store.close().await;
        assert!(matches!(closed, Err(StoreError::Failed(_))), "{closed:?}");
    }
}

#[tokio::test]
async fn a_durable_position_that_cannot_be_published_is_counted_and_holds_nobody_up() {
    let refused = Arc::new(AtomicBool::new(true));
    let is_refused = Arc::clone(&refused);
    let disk = SpiedDisk::new(move |name| {
        if name == DURABLE && is_refused.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    });
    let store = Store::open_by_hand(disk, small("faults")).unwrap();
    settle(&store);
    add(&store, 0, 10).await.unwrap();
    settle(&store);
    assert_eq!(store.durable(), Position::dense(1));
    assert_eq!(store.stats().unpublished, 2, "when it was opened, and then");
    refused.store(false, Ordering::SeqCst);
    add(&store, 1, 10).await.unwrap();
    settle(&store);
    assert_eq!(store.stats().unpublished, 2);
}

#[test]
fn a_segment_that_is_being_made_does_not_keep_a_store_from_stopping() {
    let engine: Arc<OnceLock<Weak<Engine>>> = Arc::default();
    let writes = Arc::new(AtomicUsize::new(0));
    let (stopping, count) = (Arc::clone(&engine), Arc::clone(&writes));
    let disk = SpiedDisk::new(move |name| {
        if name.starts_with("segment")
            && let Some(engine) = stopping.get().and_then(Weak::upgrade)
        {
            count.fetch_add(1, Ordering::SeqCst);
            engine.stop();
        }
        Ok(())
    });
    let options = Options {
        segment_bytes: 8 * 1024 * 1024,
        ..small("faults")
    };
    let store = Store::open_by_hand(disk, options).unwrap();
    engine.set(Arc::downgrade(&store.engine)).unwrap();
    assert!(!store.step().unwrap(), "nothing was made");
    assert_eq!(writes.load(Ordering::SeqCst), 1, "of eight");
}
