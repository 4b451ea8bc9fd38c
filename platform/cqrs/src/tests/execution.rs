//! Batches on a store that behaves.

use super::*;
use crate::{Effect, Error, LoadError};

fn current(tracked: &crate::Tracked<Tally>) -> (u32, Option<u64>, Position) {
    (
        tracked.state().total,
        tracked.revision(),
        tracked.position(),
    )
}

#[tokio::test]
async fn a_hundred_commands_for_one_stream_are_one_append() {
    let store = Watched::new();
    let repository = repository(&store);
    let stream = tally("hot");
    let requests = (1..=100).map(|number| saga(&stream, number, add(1)));
    let results = repository.execute(requests.collect(), at(0)).await;
    assert_eq!(store.take_appends(), [vec![stream.clone()]]);
    assert_eq!(store.events(&stream).await.len(), 100);
    for (number, result) in results.into_iter().enumerate() {
        let outcome = result.unwrap();
        assert_eq!(outcome.effect, Effect::Written);
        assert_eq!(outcome.revision, Some(number as u64));
        assert_eq!(outcome.position, Position::dense(100));
        assert_eq!(
            current(&outcome.tracked),
            (100, Some(99), Position::dense(100))
        );
    }
}

#[tokio::test]
async fn all_streams_of_a_batch_go_in_one_call_in_the_order_they_came() {
    let store = Watched::new();
    let repository = repository(&store);
    let [a, b, c] = ["c", "a", "b"].map(tally);
    let requests = vec![
        saga(&a, 1, add(1)),
        saga(&b, 2, add(1)),
        client(&c, 3, add(1)),
        saga(&a, 4, Command::Take(1)),
        saga(&a, 5, Command::Take(1)),
    ];
    let results = repository.execute(requests, at(0)).await;
    assert_eq!(store.take_appends(), [vec![a.clone(), b, c]]);
    assert_eq!(results[3].as_ref().unwrap().effect, Effect::Written);
    assert!(matches!(
        &results[4].as_ref().unwrap().effect,
        Effect::Refused(refused) if refused.detail == "there is only 0"
    ));
    assert_eq!(store.answered(&a).await, [1, 4, 5]);
}

#[tokio::test]
async fn a_cached_aggregate_is_not_read_again_while_its_commands_write() {
    let store = Watched::new();
    let repository = repository(&store);
    let stream = tally("a");
    repository
        .execute(vec![saga(&stream, 1, add(1))], at(0))
        .await;
    assert_eq!(store.take_reads(), [(0, 0)]);
    repository
        .execute(vec![saga(&stream, 2, add(1))], at(0))
        .await;
    repository
        .execute(vec![client(&stream, 3, add(1))], at(0))
        .await;
    assert_eq!(store.take_reads(), []);
    assert_eq!(store.events(&stream).await.len(), 3);
}

#[tokio::test]
async fn a_conflict_reads_only_what_is_new_and_decides_again() {
    let store = Watched::new();
    let (here, there) = (repository(&store), repository(&store));
    let stream = tally("a");
    let some = (1..=50).map(|number| saga(&stream, number, add(1)));
    here.execute(some.collect(), at(0)).await;
    let taken = saga(&stream, 60, Command::Take(48));
    there.execute(vec![taken], at(0)).await;
    store.take_reads();
    store.take_appends();

    let results = here
        .execute(vec![saga(&stream, 61, Command::Take(3))], at(0))
        .await;
    assert!(matches!(
        &results[0].as_ref().unwrap().effect,
        Effect::Refused(refused) if refused.detail == "there is only 2"
    ));
    assert_eq!(store.take_reads(), [(50, 1)]);
    assert_eq!(store.take_appends().len(), 2);
}

#[tokio::test]
async fn what_writes_nothing_is_not_said_of_an_outdated_cache() {
    let store = Watched::new();
    let (here, there) = (repository(&store), repository(&store));
    let stream = tally("a");
    here.execute(vec![client(&stream, 1, add(1))], at(0)).await;
    there.execute(vec![client(&stream, 2, add(9))], at(0)).await;
    // On what is cached here both would be wrong: refused, and unchanged.
    let results = here
        .execute(vec![client(&stream, 3, Command::Take(10))], at(0))
        .await;
    assert!(results[0].as_ref().unwrap().written());
    there.execute(vec![client(&stream, 4, add(7))], at(0)).await;
    let results = here
        .execute(vec![client(&stream, 5, Command::Keep(0))], at(0))
        .await;
    assert!(results[0].as_ref().unwrap().written());
    // A repeat of what the other one accepted is known here too.
    let results = here
        .execute(vec![client(&stream, 4, Command::Take(99))], at(0))
        .await;
    assert!(results[0].as_ref().unwrap().replayed());
}

#[tokio::test]
async fn a_refusal_says_what_it_was_derived_from_and_writes_nothing() {
    let store = Watched::over(memory::Store::with_manual_sync(LOG));
    let repository = repository(&store);
    let stream = tally("a");
    let requests = vec![
        client(&stream, 1, add(3)),
        client(&stream, 2, Command::Take(4)),
    ];
    let results = repository.execute(requests, at(0)).await;
    let Err(Error::Refused { refusal, seen }) = &results[1] else {
        panic!("not refused")
    };
    assert_eq!(refusal.there, 3);
    assert_eq!(*seen, Position::dense(1));
    assert!(store.durable() < *seen, "it was not waited for");
    assert_eq!(store.events(&stream).await.len(), 1);
}

#[tokio::test]
async fn a_replay_in_the_same_batch_waits_for_the_first_ones_position() {
    let store = Watched::new();
    let repository = repository(&store);
    let stream = tally("a");
    let twice = vec![client(&stream, 1, add(3)), client(&stream, 1, add(3))];
    let results = repository.execute(twice, at(0)).await;
    let (first, second) = (results[0].as_ref().unwrap(), results[1].as_ref().unwrap());
    assert!(first.written() && !first.replayed());
    assert!(second.replayed() && !second.written());
    assert_eq!(second.position, first.position);
    assert_eq!(second.revision, Some(0));
    assert_eq!(second.tracked.state().total, 3);
}

#[tokio::test]
async fn load_always_sees_what_others_wrote_and_reads_only_that() {
    let store = Watched::new();
    let (here, there) = (repository(&store), repository(&store));
    let stream = tally("a");
    assert_eq!(
        current(&here.load(&stream).await.unwrap()),
        (0, None, Position::START)
    );
    there.execute(vec![client(&stream, 1, add(1))], at(0)).await;
    assert_eq!(here.load(&stream).await.unwrap().state().total, 1);
    there.execute(vec![client(&stream, 2, add(1))], at(0)).await;
    store.take_reads();
    let loaded = here.load(&stream).await.unwrap();
    assert_eq!(current(&loaded), (2, Some(1), Position::dense(2)));
    assert_eq!(store.take_reads(), [(1, 1)]);
}

#[tokio::test]
async fn an_aggregate_that_cannot_be_read_is_not_loaded() {
    let store = Watched::new();
    let stream = tally("a");
    let metadata = serde_json::to_vec(&Metadata::new(Uuid::nil(), Uuid::nil(), at(0), LOG));
    let strange = NewEvent::raw(Uuid::nil(), "tally.exploded.v9", "{}", metadata.unwrap());
    let append = Append {
        stream: stream.clone(),
        expected: recourse_event_store::ExpectedRevision::NoStream,
        events: vec![strange],
    };
    store.append(vec![append]).await.remove(0).unwrap();
    let repository = repository(&store);
    let error = repository.load(&stream).await.unwrap_err();
    assert!(matches!(error, LoadError::Unreadable(_)), "{error}");
    let result = repository
        .execute(vec![client(&stream, 1, add(1))], at(0))
        .await;
    assert!(matches!(result[0], Err(Error::Unreadable(_))));
    // A saga gets its answer all the same.
    repository
        .execute(vec![saga(&stream, 1, add(1))], at(0))
        .await;
    assert_eq!(store.answered(&stream).await, [1]);
}

#[tokio::test]
async fn the_cache_keeps_what_was_used_last_within_its_bound() {
    let store = Watched::new();
    let options = RepositoryOptions {
        max_cached_aggregates: 2,
        ..RepositoryOptions::default()
    };
    let repository = Repository::<Tally>::new(Arc::clone(&store) as _, options);
    let [a, b, c] = ["a", "b", "c"].map(tally);
    for stream in [&a, &b, &a, &c] {
        repository.load(stream).await.unwrap();
    }
    assert_eq!(repository.cached(), 2);
    store.take_reads();
    repository
        .execute(vec![saga(&c, 1, add(1)), saga(&a, 2, add(1))], at(0))
        .await;
    assert_eq!(store.take_reads(), [], "b was used before both");
    repository.execute(vec![saga(&b, 3, add(1))], at(0)).await;
    assert_eq!(store.take_reads().len(), 1, "b is still cached");
}

#[tokio::test]
async fn a_batch_over_the_stores_limit_is_split_and_one_command_over_it_is_answered() {
    let store = Watched::over(memory::Store::new(LOG).with_max_append_bytes(4_000));
    let repository = repository(&store);
    let stream = tally("a");
    let long = || Command::Emit(vec![Event::Noted("x".repeat(5_000))]);
    let mut requests: Vec<_> = (1..=40)
        .map(|number| saga(&stream, number, add(1)))
        .collect();
    requests.insert(20, client(&stream, 100, long()));
    requests.push(saga(&stream, 41, long()));
    requests.push(saga(&stream, 42, add(1)));
    let results = repository.execute(requests, at(0)).await;
    assert!(matches!(
        results[20],
        Err(Error::TooLarge {
            max_bytes: 4_000,
            ..
        })
    ));
    assert!(matches!(
        &results[41].as_ref().unwrap().effect,
        Effect::Refused(refused) if refused.code == crate::DECISION_TOO_LARGE
    ));
    let answered: Vec<u128> = (1..=42).collect();
    assert_eq!(store.answered(&stream).await, answered);
    assert_eq!(repository.load(&stream).await.unwrap().state().total, 41);
}

#[tokio::test]
async fn a_stream_longer_than_one_read_is_read_whole() {
    let store = Watched::new();
    let stream = tally("a");
    let some = (1..=25).map(|number| saga(&stream, number, add(1)));
    repository(&store).execute(some.collect(), at(0)).await;
    let options = RepositoryOptions {
        max_read_events: 5,
        ..RepositoryOptions::default()
    };
    let other = Repository::<Tally>::new(Arc::clone(&store) as _, options);
    let loaded = other.load(&stream).await.unwrap();
    assert_eq!(current(&loaded), (25, Some(24), Position::dense(25)));
}
