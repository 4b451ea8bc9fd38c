//! Snapshots: never ahead of the disk, never believed against the log, never different.

use proptest::prelude::*;

use super::*;
use crate::{MemorySnapshots, Snapshot, Snapshots as _, Tracked};

fn with_snapshots(store: &Arc<Watched>, snapshots: &MemorySnapshots) -> Repository<Tally> {
    repository(store).with_snapshots(Arc::new(snapshots.clone()))
}

fn some(stream: &StreamName, numbers: std::ops::RangeInclusive<u64>) -> Vec<Request<Tally>> {
    numbers.map(|number| saga(stream, number, add(1))).collect()
}

#[tokio::test]
async fn a_snapshot_is_saved_once_it_is_durable_and_then_only_the_tail_is_read() {
    let store = Watched::over(memory::Store::with_manual_sync(LOG));
    let snapshots = MemorySnapshots::default();
    let repository = with_snapshots(&store, &snapshots);
    let stream = tally("a");
    repository.execute(some(&stream, 1..=9), at(0)).await;
    store.inner.sync();
    repository.save_due_snapshots().await;
    assert_eq!(snapshots.load(&stream).await.unwrap(), None, "too early");

    repository.execute(some(&stream, 10..=12), at(0)).await;
    repository.save_due_snapshots().await;
    assert_eq!(snapshots.load(&stream).await.unwrap(), None, "not durable");
    store.inner.sync();
    repository.save_due_snapshots().await;
    let snapshot = snapshots.load(&stream).await.unwrap().unwrap();
    assert_eq!(
        (snapshot.revision, snapshot.position),
        (11, Position::dense(12))
    );

    repository.execute(some(&stream, 13..=14), at(0)).await;
    let restarted = with_snapshots(&store, &snapshots);
    store.take_reads();
    let loaded = restarted.load(&stream).await.unwrap();
    assert_eq!(store.take_reads(), [(11, 3)]);
    assert_eq!(loaded, repository.load(&stream).await.unwrap());
    assert_eq!(loaded.state().total, 14);
}

#[tokio::test]
async fn a_snapshot_of_another_history_is_not_believed() {
    let store = Watched::new();
    let snapshots = MemorySnapshots::default();
    let stream = tally("a");
    let repository = with_snapshots(&store, &snapshots);
    repository.execute(some(&stream, 1..=12), at(0)).await;
    repository.save_due_snapshots().await;
    let good = snapshots.load(&stream).await.unwrap().unwrap();
    let wrong_state = String::from_utf8(good.state.to_vec())
        .unwrap()
        .replace("\"total\":12", "\"total\":99");
    let lying = Snapshot {
        state: wrong_state.into(),
        ..good.clone()
    };
    let total = |snapshot: Snapshot| async {
        let snapshots = MemorySnapshots::default();
        snapshots.save(snapshot).await.unwrap();
        let restarted = with_snapshots(&store, &snapshots);
        restarted.load(&stream).await.unwrap().state().total
    };
    // The lie is there to see who is believed.
    assert_eq!(total(lying.clone()).await, 99);
    let other_event = Snapshot {
        event_id: Uuid::from_u128(1),
        ..lying.clone()
    };
    assert_eq!(total(other_event).await, 12);
    let other_log = Snapshot {
        log: LogId(Uuid::from_u128(1)),
        ..lying.clone()
    };
    assert_eq!(total(other_log).await, 12);
    let ahead = Snapshot {
        revision: 12,
        ..lying.clone()
    };
    assert_eq!(total(ahead).await, 12);
    let of_other_rules = Snapshot {
        state: String::from_utf8(lying.state.to_vec())
            .unwrap()
            .replace("{\"version\":0,", "{\"version\":1,")
            .into(),
        ..lying.clone()
    };
    assert_eq!(total(of_other_rules).await, 12);
    let garbage = Snapshot {
        state: "?".into(),
        ..lying
    };
    assert_eq!(total(garbage).await, 12);
}

#[tokio::test]
async fn snapshots_ahead_of_a_log_that_lost_its_tail_are_not_believed() {
    let store = Watched::over(memory::Store::with_manual_sync(LOG));
    let snapshots = MemorySnapshots::default();
    let stream = tally("a");
    let repository = with_snapshots(&store, &snapshots);
    repository.execute(some(&stream, 1..=5), at(0)).await;
    store.inner.sync();
    repository.execute(some(&stream, 6..=12), at(0)).await;
    let ahead = Snapshot::of(LOG, &stream, &*repository.load(&stream).await.unwrap());
    snapshots.save(ahead.unwrap()).await.unwrap();
    let survived = Watched::over(store.inner.crash());
    let restarted = with_snapshots(&survived, &snapshots);
    assert_eq!(restarted.load(&stream).await.unwrap().state().total, 5);
}

fn request(stream: &StreamName, number: u64, kind: u8) -> Request<Tally> {
    match kind {
        0 => client(stream, u128::from(number), add(2)),
        1 => saga(stream, number, Command::Take(3)),
        2 => saga(stream, number, Command::Emit(vec![Event::Asked(Op::Lift)])),
        3 => saga(stream, number, Command::Emit(vec![Event::Asked(Op::Drop)])),
        4 => client(stream, u128::from(number), Command::Settle(Op::Lift, false)),
        5 => client(stream, u128::from(number), Command::Settle(Op::Drop, true)),
        _ => saga(stream, number, add(1)),
    }
}

proptest! {
    #[test]
    fn a_snapshot_and_the_tail_equal_the_fold_at_any_point(
        kinds in proptest::collection::vec((0_u8..7, 0_i64..3 * 24 * 3600), 1..60),
        cut in any::<proptest::sample::Index>(),
    ) {
        let stream = tally("a");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let events = runtime.block_on(async {
            let store = Watched::new();
            let repository = repository(&store);
            let mut now = 0;
            for (number, (kind, passed)) in kinds.iter().enumerate() {
                now += passed;
                let request = request(&stream, number as u64 + 1, *kind);
                let _ = repository.execute(vec![request], at(now)).await;
            }
            store.events(&stream).await
        });
        prop_assume!(!events.is_empty());
        let fold = |start: Tracked<Tally>, events: &[Arc<RecordedEvent>]| {
            events.iter().fold(start, |tracked, event| tracked.apply(event).unwrap())
        };
        let whole = fold(Tracked::default(), &events);
        let (head, tail) = events.split_at(cut.index(events.len()) + 1);
        let snapshot = Snapshot::of(LOG, &stream, &fold(Tracked::default(), head)).unwrap();
        let restored = snapshot.tracked::<Tally>().unwrap();
        prop_assert_eq!(fold(restored, tail), whole);
    }
}
