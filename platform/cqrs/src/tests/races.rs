//! Two repositories, or two workers, on the same streams at once.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::*;
use crate::{Effect, Tracked};

#[tokio::test]
async fn two_repositories_racing_answer_each_command_once_and_converge() {
    let store = Watched::new();
    let streams = ["a", "b", "c"].map(tally);
    let requests: Vec<Request<Tally>> = (1..=300_u64)
        .map(|number| {
            let stream = &streams[number as usize % 3];
            match number % 5 {
                0 => client(stream, u128::from(number), add(1)),
                1 => saga(stream, number, Command::Take(1)),
                _ => saga(stream, number, add(1)),
            }
        })
        .collect();
    let repositories: Vec<_> = (0..3).map(|_| Arc::new(repository(&store))).collect();
    let mut racers = JoinSet::new();
    // Each gets everything in order, in batches of its own size and at another time.
    for (racer, repository) in repositories.iter().enumerate() {
        let (repository, requests) = (Arc::clone(repository), requests.clone());
        racers.spawn(async move {
            let mut effects = Vec::new();
            for batch in requests.chunks(7 + 5 * racer) {
                let now = at(racer as i64);
                for result in repository.execute(batch.to_vec(), now).await {
                    effects.push(result.unwrap().effect);
                }
            }
            effects
        });
    }
    let effects = racers.join_all().await;
    for (at, request) in requests.iter().enumerate() {
        let of_racers: Vec<_> = effects.iter().map(|effects| &effects[at]).collect();
        let known = |effect: &&Effect| match request {
            Request::Saga(_) => !matches!(effect, Effect::Replayed { .. } | Effect::Unchanged),
            Request::Direct { .. } => matches!(effect, Effect::Written | Effect::Replayed { .. }),
        };
        assert!(of_racers.iter().all(known), "{of_racers:?}");
    }
    for stream in &streams {
        let mut answers = BTreeMap::<u128, u32>::new();
        for id in store.answered(stream).await {
            *answers.entry(id).or_default() += 1;
        }
        let sent = requests.iter().filter(|request| request.stream() == stream);
        let sagas = sent
            .clone()
            .filter(|request| matches!(request, Request::Saga(_)));
        assert_eq!(answers.len(), sagas.count());
        assert!(answers.values().all(|times| *times == 1), "{answers:?}");
        assert_eq!(store.events(stream).await.len(), sent.count());

        let loaded = [
            repositories[0].load(stream).await.unwrap(),
            repositories[1].load(stream).await.unwrap(),
            repositories[2].load(stream).await.unwrap(),
        ];
        let mut folded = Tracked::<Tally>::default();
        for event in store.events(stream).await {
            folded = folded.apply(&event).unwrap();
        }
        for loaded in loaded {
            assert_eq!(loaded.state(), folded.state());
            assert_eq!(loaded.revision(), folded.revision());
            assert_eq!(loaded.tracking().mark(), folded.tracking().mark());
        }
    }
    assert!(store.take_appends().len() > 60, "they never met");
}

#[tokio::test]
async fn redelivery_of_everything_changes_nothing() {
    let store = Watched::new();
    let stream = tally("a");
    let requests: Vec<_> = (1..=50)
        .map(|number| saga(&stream, number, Command::Take((number % 2) as u32)))
        .collect();
    repository(&store).execute(requests.clone(), at(0)).await;
    let log = store.inner.dump();
    let restarted = repository(&store);
    for result in restarted.execute(requests.clone(), at(9)).await {
        let outcome = result.unwrap();
        assert_eq!(outcome.effect, Effect::AlreadyTaken);
        assert_eq!(
            outcome.position,
            Position::dense(50),
            "what must be durable first"
        );
    }
    for request in requests {
        restarted.execute(vec![request], at(9)).await;
    }
    assert_eq!(store.inner.dump(), log);
}

#[tokio::test]
async fn a_stream_that_others_never_leave_alone_is_given_up() {
    let store = Watched::new();
    let stream = tally("a");
    let options = RepositoryOptions {
        max_conflicts: 0,
        ..RepositoryOptions::default()
    };
    let here = Repository::<Tally>::new(Arc::clone(&store) as _, options);
    here.load(&stream).await.unwrap();
    repository(&store)
        .execute(vec![client(&stream, 1, add(1))], at(0))
        .await;
    let results = here.execute(vec![client(&stream, 2, add(1))], at(0)).await;
    assert!(matches!(&results[0], Err(crate::Error::Contended)));
    // The next one begins with what is new.
    let results = here
        .execute(vec![client(&stream, 2, Command::Take(9))], at(0))
        .await;
    assert!(
        matches!(&results[0], Err(crate::Error::Refused { refusal, .. }) if refusal.there == 1)
    );
}
