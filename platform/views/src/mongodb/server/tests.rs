use std::sync::Arc;

use super::*;
use crate::{
    Checkpoint,
    conformance::{checkpoint, documents::SAMPLE},
    documents::{Documents as Port, Error as PortError},
    mongodb::{Documents, testing},
    projection::Projection,
    projector::tests::{Names, assert_equals_fold, catch_up, log, projector},
    verify,
};

#[test]
fn an_address_shows_no_password() {
    let address: Address = "mongodb://recourse:s3cret@db.example:27018,other.example/views?w=1"
        .parse()
        .unwrap();
    assert_eq!(
        address.to_string(),
        "db.example:27018,other.example:27017/views"
    );
    assert!(!format!("{address:?}").contains("s3cret"));
    for text in [
        "",
        "db.example/views",
        "postgres://db.example/views",
        "mongodb://db.example",
    ] {
        assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
    }
}

#[tokio::test]
async fn while_the_server_is_away_calls_fail_in_time_and_after_it_they_work_by_themselves() {
    let Some(mut engine) = recourse_engines::ferretdb() else {
        return;
    };
    let options = Options {
        connect_timeout_ms: 500,
        call_timeout_ms: 1_000,
        ..testing::database(&engine)
    };
    let documents = Documents::connect(&options, &[SAMPLE]).await.unwrap();
    let one = checkpoint(1);
    documents.commit(&SAMPLE, None, &one, vec![]).await.unwrap();

    engine.kill().unwrap();
    for _ in 0..2 {
        let found = documents.checkpoint(&SAMPLE).await;
        assert!(matches!(found, Err(PortError::Unavailable(_))), "{found:?}");
    }
    let again = Documents::connect(&options, &[SAMPLE]).await.unwrap_err();
    assert!(again.is_transient(), "{again:?}");
    engine.restart().unwrap();
    while documents.checkpoint(&SAMPLE).await.is_err() {}
    let two = checkpoint(2);
    documents
        .commit(&SAMPLE, Some(&one), &two, vec![])
        .await
        .unwrap();

    // One that does not answer, and does not say that it will not.
    engine.pause().unwrap();
    let found = loop {
        // What it was at when it was stopped may still come.
        match documents.checkpoint(&SAMPLE).await {
            Ok(found) => assert_eq!(found, Some(two)),
            Err(error) => break error,
        }
    };
    assert!(matches!(found, PortError::Unavailable(_)), "{found:?}");
    engine.resume().unwrap();
    while documents.checkpoint(&SAMPLE).await.is_err() {}
    assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), Some(two));
}

#[tokio::test]
async fn a_view_whose_projector_and_server_die_at_any_moment_is_the_fold_of_the_log() {
    let Some(mut engine) = recourse_engines::ferretdb() else {
        return;
    };
    let options = Options {
        connect_timeout_ms: 500,
        call_timeout_ms: 2_000,
        ..testing::database(&engine)
    };
    let collection = Names::collection();
    let connected = Documents::connect(&options, &[collection]).await.unwrap();
    let documents: Arc<dyn Port> = Arc::new(connected);
    let store = log().await;
    store.sync();
    let mut further = 0;
    for round in 0_u64..60 {
        let mut projector = projector(&store, &documents);
        let time = Duration::from_millis(round % 20);
        // What is dropped there is dropped for good, as by a crash.
        let ended = tokio::time::timeout(time, catch_up(&mut projector, &store)).await;
        if round % 15 == 14 {
            engine.restart().unwrap();
        }
        let at = loop {
            match documents.checkpoint(&collection).await {
                Ok(at) => break at,
                Err(error) => assert!(matches!(error, PortError::Unavailable(_)), "{error}"),
            }
        };
        if let Ok(Ok(_)) = ended {
            // It came to the end: again from the beginning.
            assert_equals_fold(&store, &*documents).await;
            documents.discard(&collection).await.unwrap();
            continue;
        }
        let furthest = documents.furthest(&collection).await.unwrap();
        let position = |at: Option<Checkpoint>| at.map(|at| at.position);
        further += usize::from(position(furthest) > position(at));
        // What a reader sees meanwhile.
        let found = verify::compare::<Names>(&store, &*documents).await.unwrap();
        assert_eq!(found.differences, [], "{round}");
    }
    assert!(further > 0, "no commit was torn");
    let mut projector = projector(&store, &documents);
    while catch_up(&mut projector, &store).await.is_err() {}
    assert_equals_fold(&store, &*documents).await;
}
