//! The store on the real disk, from day to day.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    super::{OpenError, Store},
    world::{all, append_one, event, small, stream, to},
};
use crate::{
    Direction, EventStore, ExpectedRevision, Filter, Position, Read, StreamName, Visibility,
};

#[tokio::test]
async fn what_was_appended_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = None;
    for round in 0..3_u64 {
        let store = Store::open(small(folder.path())).unwrap();
        assert_eq!(store.log_id(), *log.get_or_insert(store.log_id()));
        assert_eq!(store.durable(), Position::dense(round * 100));
        for number in 0..100 {
            let number = round * 100 + number;
            let name = format!("order-{}", number % 7);
            let appended = append_one(
                &store,
                to(&name, ExpectedRevision::Any, vec![event(number, 300)]),
            )
            .await
            .unwrap();
            assert_eq!(appended.position, Some(Position::dense(number + 1)));
        }
        let end = store.appended().await.unwrap();
        store.wait_durable(end).await.unwrap();
        let events = all(&store, Visibility::Durable).await;
        assert_eq!(events.len() as u64, (round + 1) * 100);
        for (number, read) in (0..).zip(&events) {
            assert_eq!(read.position, Position::dense(number + 1));
            assert_eq!(read.event.id, event(number, 300).id);
            assert_eq!(read.event.data, event(number, 300).data);
            assert_eq!(read.event.metadata, event(number, 300).metadata);
            assert_eq!(read.revision, number / 7);
            assert_eq!(read.stream.as_str(), format!("order-{}", number % 7));
        }
        for name in 0..7 {
            let events = stream(&store, &format!("order-{name}")).await;
            let revisions: Vec<_> = events.iter().map(|event| event.revision).collect();
            assert_eq!(revisions, (0..events.len() as u64).collect::<Vec<_>>());
        }
        // With and without a checkpoint, and with the threads simply let go.
        if round == 1 {
            store.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_a_reader_is_not() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Store::open_read_only(folder.path()),
        Err(OpenError::Missing { .. })
    ));
    let store = Store::open(small(folder.path())).unwrap();
    assert!(matches!(
        Store::open(small(folder.path())),
        Err(OpenError::Locked { .. })
    ));
    let appended = append_one(
        &store,
        to("order-1", ExpectedRevision::NoStream, vec![event(1, 10)]),
    )
    .await
    .unwrap();
    let end = appended.position.unwrap();
    store.wait_durable(end).await.unwrap();
    // The position is published before those who wait are woken.
    let reader = Store::open_read_only(folder.path()).unwrap();
    assert_eq!(reader.durable(), end);
    assert_eq!(all(&reader, Visibility::Durable).await.len(), 1);
    assert!(
        append_one(
            &reader,
            to("order-2", ExpectedRevision::NoStream, vec![event(2, 10)])
        )
        .await
        .is_err()
    );
    store.close().await.unwrap();
    let reader = Store::open_read_only(folder.path()).unwrap();
    assert_eq!(stream(&reader, "order-1").await.len(), 1);
    drop(Store::open(small(folder.path())).unwrap());
}

#[test]
fn readers_never_keep_a_writer_out() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(small(folder.path())).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut opened = 0;
                    while !done.load(Ordering::SeqCst) {
                        match Store::open_read_only(folder.path()) {
                            Ok(_) => opened += 1,
                            Err(OpenError::NotPublished { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    opened
                })
            })
            .collect();
        let written: Result<Vec<_>, _> = (0..60)
            .map(|number| {
                let store = Store::open(small(folder.path()))?;
                let append = to("order-1", ExpectedRevision::Any, vec![event(number, 10)]);
                Ok::<_, OpenError>(runtime.block_on(append_one(&store, append)))
            })
            .collect();
        done.store(true, Ordering::SeqCst);
        let opened: usize = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        assert!(opened > 0);
        assert!(written.unwrap().iter().all(Result::is_ok));
    });
    let reader = Store::open_read_only(folder.path()).unwrap();
    assert_eq!(runtime.block_on(stream(&reader, "order-1")).len(), 60);
}

#[tokio::test]
async fn a_long_stream_is_read_from_any_revision_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(small(folder.path())).unwrap();
    let name = StreamName::new("stock", "tea");
    for number in 0..1000 {
        let events = vec![
            to("stock-tea", ExpectedRevision::Any, vec![event(number, 20)]),
            to(
                "stock-mug",
                ExpectedRevision::Any,
                vec![event(5000 + number, 20)],
            ),
        ];
        store.append(events).await;
    }
    for from in [0, 1, 62, 63, 64, 65, 127, 500, 998, 999] {
        for count in [1, 2, 64, 200, 2000] {
            let forward = store
                .read_stream(
                    &name,
                    Some(from),
                    Direction::Forward,
                    Visibility::Appended,
                    count,
                )
                .await
                .unwrap();
            let revisions: Vec<_> = forward.iter().map(|event| event.revision).collect();
            let expected: Vec<_> = (from..1000).take(count).collect();
            assert_eq!(revisions, expected);
            let backward = store
                .read_stream(
                    &name,
                    Some(from),
                    Direction::Backward,
                    Visibility::Appended,
                    count,
                )
                .await
                .unwrap();
            let revisions: Vec<_> = backward.iter().map(|event| event.revision).collect();
            let expected: Vec<_> = (0..=from).rev().take(count).collect();
            assert_eq!(revisions, expected);
        }
    }
    let end = store
        .read_stream(&name, None, Direction::Backward, Visibility::Appended, 2)
        .await
        .unwrap();
    assert_eq!(
        end.iter().map(|event| event.revision).collect::<Vec<_>>(),
        [999, 998]
    );
}

#[tokio::test]
async fn the_whole_log_is_read_backward_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(small(folder.path())).unwrap();
    for number in 0..500 {
        let name = if number % 3 == 0 {
            "order-1"
        } else {
            "stock-1"
        };
        append_one(
            &store,
            to(name, ExpectedRevision::Any, vec![event(number, 100)]),
        )
        .await
        .unwrap();
    }
    let mut from = None;
    let mut positions = Vec::new();
    loop {
        let batch = store
            .read_all(Read {
                from,
                direction: Direction::Backward,
                visibility: Visibility::Appended,
                filter: Filter::categories(&["order"]),
                max_events: 9,
            })
            .await
            .unwrap();
        positions.extend(batch.events.iter().map(|event| event.position.commit));
        from = Some(batch.considered);
        if batch.at_end {
            break;
        }
    }
    let expected: Vec<_> = (0..500)
        .filter(|n| n % 3 == 0)
        .map(|n| n + 1)
        .rev()
        .collect();
    assert_eq!(positions, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_every_event_once_in_order_while_appenders_race() {
    const EACH: u64 = 400;
    let folder = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(Store::open(small(folder.path())).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for appender in 0..8_u64 {
        let store = std::sync::Arc::clone(&store);
        tasks.spawn(async move {
            for number in 0..EACH {
                let name = format!("order-{appender}");
                let expected = ExpectedRevision::after(number.checked_sub(1));
                let event = event(appender * 1000 + number, 100);
                let appended = append_one(&store, to(&name, expected, vec![event]))
                    .await
                    .unwrap();
                assert_eq!(appended.revision, number);
                if number % 10 == 0 {
                    store
                        .wait_durable(appended.position.unwrap())
                        .await
                        .unwrap();
                }
            }
        });
    }
    for visibility in [Visibility::Appended, Visibility::Durable] {
        for filter in [Filter::All, Filter::StreamPrefixes(vec!["order-3".into()])] {
            let store = std::sync::Arc::clone(&store);
            tasks.spawn(async move {
                let wanted = if filter == Filter::All {
                    8 * EACH
                } else {
                    EACH
                };
                let mut follower = store
                    .subscribe(Position::START, filter.clone(), visibility)
                    .await
                    .unwrap();
                let (mut seen, mut last) = (0, 0);
                while seen < wanted {
                    // A follower that is dropped while it waits loses nothing.
                    let Ok(batch) =
                        tokio::time::timeout(Duration::from_micros(300), follower.next()).await
                    else {
                        continue;
                    };
                    let batch = batch.unwrap();
                    if visibility == Visibility::Durable {
                        assert!(store.durable() >= batch.considered);
                    }
                    for event in batch.events {
                        assert!(event.position.commit > last);
                        if filter == Filter::All {
                            assert_eq!(event.position.commit, last + 1);
                        } else {
                            assert_eq!(event.revision, seen);
                        }
                        last = event.position.commit;
                        seen += 1;
                    }
                    assert!(batch.considered.commit >= last);
                }
            });
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    store.close().await.unwrap();
}
