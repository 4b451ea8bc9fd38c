//! Stores that do not say what they did.

use proptest::prelude::*;

use super::*;
use crate::{Effect, Error};

#[tokio::test(start_paused = true)]
async fn an_append_that_took_effect_unsaid_is_found_and_not_repeated() {
    for fault in [Fault::LostAnswer, Fault::NoPosition] {
        let store = Watched::new();
        let repository = repository(&store);
        let stream = tally("a");
        store.then([fault]);
        let requests = vec![
            saga(&stream, 1, add(1)),
            client(
                &stream,
                2,
                Command::Emit(vec![Event::Added(1), Event::Added(1)]),
            ),
            client(&stream, 3, Command::Take(9)),
        ];
        let results = repository.execute(requests, at(0)).await;
        assert_eq!(store.take_appends().len(), 1, "{fault:?}");
        assert_eq!(store.events(&stream).await.len(), 3);
        let outcome = |at: usize| results[at].as_ref().unwrap();
        assert_eq!(outcome(0).effect, Effect::Written);
        assert_eq!(outcome(0).revision, Some(0));
        assert_eq!(outcome(1).effect, Effect::Written);
        assert_eq!(outcome(1).revision, Some(2));
        assert_eq!(outcome(1).position, Position::dense(3));
        assert!(matches!(&results[2], Err(Error::Refused { refusal, .. }) if refusal.there == 3));
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_had_no_effect_is_made_again() {
    let store = Watched::new();
    let repository = repository(&store);
    let stream = tally("a");
    store.then([Fault::NoEffect, Fault::NoEffect]);
    let results = repository
        .execute(vec![client(&stream, 1, add(1))], at(0))
        .await;
    assert!(results[0].as_ref().unwrap().written());
    assert_eq!(store.events(&stream).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_comes_late_has_its_effect_once() {
    let store = Watched::new();
    let repository = repository(&store);
    let stream = tally("a");
    store.then([Fault::Late]);
    let requests = vec![saga(&stream, 1, add(1)), client(&stream, 2, add(1))];
    let results = repository.execute(requests, at(0)).await;
    assert_eq!(store.events(&stream).await.len(), 2);
    assert!(
        results
            .iter()
            .all(|result| result.as_ref().unwrap().written())
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_given_up_after_a_bounded_time() {
    let store = Watched::new();
    let repository = repository(&store);
    let stream = tally("a");
    store.then([Fault::NoEffect; 6]);
    let before = tokio::time::Instant::now();
    let requests = vec![saga(&stream, 1, add(1)), saga(&stream, 2, add(1))];
    let results = repository.execute(requests, at(0)).await;
    for result in &results {
        let error = result.as_ref().unwrap_err();
        assert!(matches!(error, Error::Store(StoreError::Unavailable(_))));
        assert!(error.is_retryable());
    }
    assert_eq!(store.take_appends().len(), 6);
    let waited = before.elapsed().as_millis();
    assert!((310..320).contains(&waited), "{waited} ms");
}

#[tokio::test]
async fn a_full_store_is_said_at_once() {
    let store = Watched::new();
    let repository = repository(&store);
    store.then([Fault::Full]);
    let results = repository
        .execute(vec![client(&tally("a"), 1, add(1))], at(0))
        .await;
    assert!(matches!(
        &results[0],
        Err(Error::Store(StoreError::Full(_)))
    ));
    assert_eq!(store.take_appends().len(), 1);
}

#[tokio::test]
async fn a_store_that_ended_fails_every_request() {
    let store = Watched::new();
    let repository = repository(&store);
    store.inner.fail("the disk is gone");
    let results = repository
        .execute(vec![saga(&tally("a"), 1, add(1))], at(0))
        .await;
    assert!(matches!(
        &results[0],
        Err(Error::Store(StoreError::Failed(_)))
    ));
    assert!(!results[0].as_ref().unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_store_that_takes_not_even_a_refusal_is_given_up() {
    let store = Watched::over(memory::Store::new(LOG).with_max_append_bytes(10));
    let repository = repository(&store);
    let results = repository
        .execute(vec![saga(&tally("a"), 1, add(1))], at(0))
        .await;
    assert!(matches!(
        &results[0],
        Err(Error::TooLarge { max_bytes: 10, .. })
    ));
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::LostAnswer),
        1 => Just(Fault::NoPosition),
        1 => Just(Fault::NoEffect),
        1 => Just(Fault::Late),
        1 => Just(Fault::Full),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Sagas' and clients' commands for two streams, in batches of any size, each batch
    /// delivered again until it has gone through and then once more, from one of two
    /// repositories, on a store that goes wrong as it likes.
    #[test]
    fn whatever_the_store_does_and_however_often_it_is_delivered_each_effect_is_there_once(
        batches in proptest::collection::vec(1_usize..8, 1..10),
        faults in proptest::collection::vec(fault(), 0..30),
        turns in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = Watched::new();
            store.then(faults);
            let repositories = [repository(&store), repository(&store)];
            let streams = ["a", "b"].map(tally);
            let mut turns = turns.into_iter();
            let mut number = 0_u64;
            let mut sent = [0_u32; 2];
            for size in batches {
                let mut batch = Vec::new();
                for _ in 0..size {
                    number += 1;
                    let to = usize::from(number.is_multiple_of(3));
                    sent[to] += 1;
                    batch.push(if number.is_multiple_of(4) {
                        client(&streams[to], u128::from(number) + 1_000, add(1))
                    } else {
                        saga(&streams[to], number, add(1))
                    });
                }
                let mut through = 0;
                while through < 2 {
                    let repository = &repositories[usize::from(turns.next().unwrap_or(false))];
                    let results = repository.execute(batch.clone(), at(0)).await;
                    if results.iter().all(Result::is_ok) {
                        through += 1;
                    }
                }
            }
            for (stream, sent) in streams.iter().zip(sent) {
                let events = store.events(stream).await;
                assert_eq!(events.len(), sent as usize);
                let mut answered = store.answered(stream).await;
                let sagas = answered.len();
                assert!(answered.is_sorted(), "{answered:?}");
                answered.dedup();
                assert_eq!(answered.len(), sagas);
                for repository in &repositories {
                    assert_eq!(repository.load(stream).await.unwrap().state().total, sent);
                }
            }
        });
    }
}
