//! What the adapter does while the server goes away and comes back.

use std::{sync::Arc, time::Duration};

use super::{
    link::Link,
    world::{LOG, Serving, memory},
};
use recourse_esdb::{
    client::{self, Store},
    server::name_log,
};
use recourse_event_store::{
    Append, AppendError, Direction, EventStore, ExpectedRevision, Filter, NewEvent, Position, Read,
    StoreError, StreamName, Visibility,
    conformance::{event, stream},
};
use tokio::{task::JoinSet, time::Instant};

async fn append(
    store: &Store,
    expected: ExpectedRevision,
    number: u64,
) -> Result<u64, AppendError> {
    let append = Append {
        stream: stream("a"),
        expected,
        events: vec![event(number)],
    };
    let answer = store.append(vec![append]).await.pop().unwrap();
    answer.map(|appended| appended.revision)
}

#[tokio::test]
async fn the_log_keeps_the_name_that_the_first_one_gave_it() {
    let mut serving = Serving::start(memory()).await;
    let first = serving.connect().await;
    assert_eq!(first.log_id(), LOG);
    let other = recourse_event_store::LogId(uuid::Uuid::from_u128(8));
    let second = Store::connect(serving.options(), other).await.unwrap();
    assert_eq!(second.log_id(), LOG);
    serving.kill().await;
    serving.begin().await;
    let third = Store::connect(serving.options(), other).await.unwrap();
    assert_eq!(third.log_id(), LOG);
    assert!(third.former_names().is_empty());
}

#[tokio::test]
async fn of_several_that_name_the_log_at_once_one_does() {
    let serving = Serving::start(memory()).await;
    let mut connecting = JoinSet::new();
    for number in 0..8 {
        let options = serving.options();
        connecting.spawn(async move {
            let name = recourse_event_store::LogId(uuid::Uuid::from_u128(number));
            Store::connect(options, name).await.unwrap().log_id()
        });
    }
    let names = connecting.join_all().await;
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
}

#[tokio::test]
async fn work_resumes_soon_after_the_server_is_back() {
    let mut serving = Serving::start(memory()).await;
    let store = serving.connect().await;
    let mut follower = store
        .subscribe(Position::START, Filter::All, Visibility::Durable)
        .await
        .unwrap();
    let mut expected = ExpectedRevision::NoStream;
    let mut followed = 0;
    for number in 0..8 {
        let revision = append(&store, expected, number).await.unwrap();
        expected = ExpectedRevision::Exact(revision);
        while followed < 2 * number + 1 {
            followed += follower.next().await.unwrap().events.len() as u64;
        }
        serving.kill().await;
        let store = store.clone();
        let mut appending = JoinSet::new();
        // Asked for while there is no server, and not answered before there is one.
        appending.spawn(async move { append(&store, expected, 100 + number).await });
        let away = Duration::from_millis(if number % 2 == 0 { 0 } else { 300 });
        tokio::time::sleep(away).await;
        serving.begin().await;
        let back = Instant::now();
        let answers = appending.join_all().await;
        let revision = answers.into_iter().next().unwrap().unwrap();
        assert!(back.elapsed() < Duration::from_secs(2));
        expected = ExpectedRevision::Exact(revision);
    }
}

#[tokio::test]
async fn calls_are_not_kept_waiting_for_ever() {
    let mut serving = Serving::start(memory()).await;
    let mut options = serving.options();
    options.timeout_ms = 200;
    let store = Store::connect(options, LOG).await.unwrap();
    append(&store, ExpectedRevision::Any, 1).await.unwrap();
    let end = store.appended().await.unwrap();
    serving.kill().await;
    let begun = Instant::now();
    let answer = append(&store, ExpectedRevision::Any, 2).await;
    let unavailable = |error: StoreError| matches!(error, StoreError::Unavailable(_));
    assert!(matches!(
        answer,
        Err(AppendError::Store(StoreError::Unavailable(_)))
    ));
    assert!(unavailable(store.appended().await.unwrap_err()));
    assert!(begun.elapsed() < Duration::from_secs(2));
    // What is known to be durable is, and nothing more is waited for.
    assert_eq!(store.wait_durable(end).await.ok(), Some(()));
    let beyond = Position::dense(u64::MAX);
    assert!(unavailable(store.wait_durable(beyond).await.unwrap_err()));
}

#[tokio::test]
async fn a_log_that_is_renamed_keeps_its_former_names() {
    let mut serving = Serving::start(memory()).await;
    // As `recourse serve store` does before it serves.
    name_log(&*serving.store).await.unwrap();
    let first = serving.connect().await;
    assert_eq!(first.log_id(), serving.store.log_id());
    append(&first, ExpectedRevision::Any, 1).await.unwrap();
    let renamed = Append {
        stream: StreamName::parse("recourse-log").unwrap(),
        expected: ExpectedRevision::Exact(0),
        events: vec![NewEvent::raw(
            LOG.0,
            "log.named.v1",
            format!(r#"{{"id":"{LOG}"}}"#),
            &b"{}"[..],
        )],
    };
    let answer = serving.store.append(vec![renamed]).await.pop().unwrap();
    let second = serving.connect().await;
    assert_eq!(second.log_id(), LOG);
    let former = (serving.store.log_id(), answer.unwrap().position.unwrap());
    assert_eq!(second.former_names(), [former]);
    // Nobody is shown it, and who knew the log under its former name does not go on with it.
    let log = second.read_all(all()).await.unwrap();
    assert_eq!(log.events.len(), 1);
    serving.kill().await;
    serving.begin().await;
    let answer = first.appended().await.unwrap_err();
    assert!(
        matches!(&answer, StoreError::Unavailable(why) if why.contains("it was")),
        "{answer}"
    );
}

fn all() -> Read {
    Read {
        from: None,
        direction: Direction::Forward,
        visibility: Visibility::Durable,
        filter: Filter::All,
        max_events: 100,
    }
}

#[tokio::test]
async fn a_log_that_has_lost_its_end_is_not_gone_on_with() {
    let mut serving = Serving::start(memory()).await;
    let mut options = serving.options();
    options.timeout_ms = 500;
    let store = Store::connect(options, LOG).await.unwrap();
    for number in 0..3 {
        append(&store, ExpectedRevision::Any, number).await.unwrap();
    }
    let copy = memory();
    let old = store.read_all(all()).await.unwrap().events;
    serving.kill().await;
    // As from a backup: the name, and the first event only.
    serving.store = copy;
    serving.begin().await;
    let restored = Store::connect(serving.options(), LOG).await.unwrap();
    append(&restored, ExpectedRevision::Any, 0).await.unwrap();
    let answer = append(&store, ExpectedRevision::Exact(2), 3).await;
    let Err(AppendError::Store(StoreError::Unavailable(why))) = answer else {
        panic!("{answer:?}");
    };
    assert!(why.contains("lost its end"), "{why}");
    // Nor is anything after it passed over once the log has grown past it.
    let mut follower = restored
        .subscribe(old[2].position, Filter::All, Visibility::Durable)
        .await
        .unwrap();
    let error = follower.next().await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)), "{error}");
}

/// As with SIGSTOP: connections stand, and nothing passes.
#[tokio::test]
async fn work_resumes_soon_after_a_server_stood_still_or_connections_were_lost() {
    let serving = Serving::start(memory()).await;
    let link = Link::to(serving.address).await;
    let mut options = serving.options();
    let address = format!("esdb://{}?tls=false", link.address);
    options.address = address.parse().unwrap();
    options.keepalive_ms = 200;
    options.connect_timeout_ms = 300;
    let store = Store::connect(options, LOG).await.unwrap();
    let mut follower = store
        .subscribe(Position::START, Filter::All, Visibility::Durable)
        .await
        .unwrap();
    for round in 0..3 {
        append(&store, ExpectedRevision::Any, 2 * round)
            .await
            .unwrap();
        follower.next().await.unwrap();
        match round {
            // The server stands still, for long and for a moment; connections are lost and nobody
            // says so.
            0 | 1 => link.stall(true),
            _ => link.lose(),
        }
        let mut appending = JoinSet::new();
        let stalled = store.clone();
        appending.spawn(async move {
            let expected = ExpectedRevision::Exact(2 * round);
            append(&stalled, expected, 2 * round + 1).await
        });
        // Long enough for the connection to be given up, the first time.
        let still = if round == 0 { 1_000 } else { 100 };
        tokio::time::sleep(Duration::from_millis(still)).await;
        link.stall(false);
        let back = Instant::now();
        for answer in appending.join_all().await {
            assert_eq!(answer.unwrap(), 2 * round + 1);
        }
        follower.next().await.unwrap();
        assert!(back.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn an_append_that_is_not_durable_in_time_is_not_said_to_be() {
    // Nobody ever syncs.
    let never = recourse_event_store::memory::Store::with_manual_sync(LOG);
    let serving = Serving::start(Arc::new(never.clone())).await;
    let mut connecting = Box::pin(serving.connect());
    // But for the log's name.
    let store = loop {
        never.sync();
        let soon = Duration::from_millis(10);
        if let Ok(store) = tokio::time::timeout(soon, &mut connecting).await {
            break store;
        }
    };
    drop(connecting);
    let mut options = serving.options();
    options.timeout_ms = 300;
    let impatient = Store::connect(options, LOG).await.unwrap();
    let answer = append(&impatient, ExpectedRevision::NoStream, 1).await;
    let Err(AppendError::Store(StoreError::Unavailable(why))) = answer else {
        panic!("{answer:?}");
    };
    assert!(
        why.contains("Timeout"),
        "the server knows the deadline: {why}"
    );
    // It took effect all the same, and a repeat finds it.
    never.sync();
    assert_eq!(
        append(&store, ExpectedRevision::NoStream, 1).await.unwrap(),
        0
    );
}

#[tokio::test]
async fn what_may_have_taken_effect_at_any_revision_is_not_sent_twice() {
    let never = recourse_event_store::memory::Store::with_manual_sync(LOG);
    let mut serving = Serving::start(Arc::new(never.clone())).await;
    let mut syncer = JoinSet::new();
    let synced = never.clone();
    syncer.spawn(async move {
        loop {
            synced.sync();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let store = serving.connect().await;
    append(&store, ExpectedRevision::Any, 0).await.unwrap();
    // From here on nothing is answered.
    syncer.shutdown().await;
    let (any, exact) = (store.clone(), store.clone());
    let mut at_any = JoinSet::new();
    at_any.spawn(async move { append(&any, ExpectedRevision::Any, 1).await });
    while never.appended().await.unwrap() == never.durable() {
        tokio::task::yield_now().await;
    }
    let mut at_exact = JoinSet::new();
    at_exact.spawn(async move { append(&exact, ExpectedRevision::Exact(1), 2).await });
    serving.kill().await;
    serving.begin().await;
    // At once: its time is not over yet.
    let answer = tokio::time::timeout(Duration::from_secs(2), at_any.join_next()).await;
    let answer = answer.unwrap().unwrap().unwrap();
    let lost = matches!(answer, Err(AppendError::Store(StoreError::Unavailable(_))));
    assert!(lost, "{answer:?}");
    never.sync();
    let synced = never.clone();
    syncer.spawn(async move {
        loop {
            synced.sync();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let answer = at_exact.join_next().await.unwrap().unwrap();
    assert_eq!(answer.unwrap(), 2, "what expects a revision is");
}

#[tokio::test]
async fn who_cannot_connect_at_first_learns_why() {
    let mut serving = Serving::start(memory()).await;
    // It speaks in the clear.
    let wrong = format!("esdb://{}?tls=true", serving.address);
    let wrong = client::Options::new(wrong.parse().unwrap());
    let address = serving.address.to_string();
    why(wrong, &address).await;
    let right = serving.options();
    serving.kill().await;
    why(right, "refused").await;
}

/// Tries until it is told why there is no connection, in these words.
async fn why(options: client::Options, says: &str) {
    for patience_ms in [100, 1_000, 30_000] {
        let patience = Duration::from_millis(patience_ms);
        let connected = Store::connect_within(options.clone(), LOG, patience).await;
        let Err(client::Error::Unreachable(why)) = connected else {
            panic!("it is connected");
        };
        if why.contains(says) && !why.contains("not asked") {
            return;
        }
    }
    panic!("it does not say `{says}`");
}
