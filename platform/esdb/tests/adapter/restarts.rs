//! What the adapter does while the server goes away and comes back.

use std::time::Duration;

use super::world::{LOG, Serving, memory};
use recourse_esdb::{client::Store, server::name_log};
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
