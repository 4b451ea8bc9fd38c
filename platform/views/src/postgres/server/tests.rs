use super::*;
use crate::{
    conformance::{checkpoint, documents::SAMPLE},
    documents::{Documents as _, Error},
    postgres::{AddressError, Documents, State, testing},
};

#[test]
fn an_address_shows_no_password() {
    let address: Address = "postgres://recourse:s3cret@db.example:5433/views"
        .parse()
        .unwrap();
    assert_eq!(address.to_string(), "db.example:5433/views");
    assert_eq!(format!("{address:?}"), "Address(db.example:5433/views)");
    for text in [
        "",
        "db.example",
        "mongodb://db.example/views",
        "postgres://[",
    ] {
        assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_used_says_why_and_whether_to_wait() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let nowhere = testing::options(engine, "nowhere");
    let refused = State::connect(&nowhere).await.unwrap_err();
    assert!(matches!(refused, OpenError::Refused { .. }), "{refused:?}");
    assert!(!refused.is_transient());

    let options = testing::database(engine).await;
    let mut past = testing::past(&options).await;
    sqlx::raw_sql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        .execute(&mut past)
        .await
        .unwrap();
    let latin = State::connect(&testing::options(engine, "latin")).await;
    assert!(matches!(latin, Err(OpenError::Encoding { found, .. }) if found == "LATIN1"),);

    // One whose schema a newer program has brought further.
    State::connect(&options).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO recourse._sqlx_migrations (version, description, success, checksum,
             execution_time) VALUES (99, 'later', TRUE, '', 0)",
    )
    .execute(&mut past)
    .await
    .unwrap();
    let newer = State::connect(&options).await.unwrap_err();
    assert!(matches!(newer, OpenError::Migration { .. }), "{newer:?}");
    assert!(!newer.is_transient());

    // Nobody listens there.
    let away = Options::new("postgres://postgres@127.0.0.1:1/x".parse().unwrap());
    let away = State::connect(&away).await.unwrap_err();
    assert!(away.is_transient(), "{away:?}");
}

#[tokio::test]
async fn while_the_server_is_away_calls_fail_in_time_and_after_it_they_work_by_themselves() {
    let Some(mut engine) = recourse_engines::postgres() else {
        return;
    };
    let options = Options {
        connect_timeout_ms: 500,
        call_timeout_ms: 500,
        // One that has a commit on the disk before it says so.
        ..testing::options(&engine, "postgres")
    };
    let documents = Documents::connect(&options, &[SAMPLE]).await.unwrap();
    let one = checkpoint(1);
    documents.commit(&SAMPLE, None, &one, vec![]).await.unwrap();

    engine.kill().unwrap();
    for _ in 0..3 {
        let found = documents.checkpoint(&SAMPLE).await;
        assert!(matches!(found, Err(Error::Unavailable(_))), "{found:?}");
    }
    let again = State::connect(&options).await.unwrap_err();
    assert!(again.is_transient(), "{again:?}");
    engine.restart().unwrap();
    while documents.checkpoint(&SAMPLE).await.is_err() {}
    let two = checkpoint(2);
    documents
        .commit(&SAMPLE, Some(&one), &two, vec![])
        .await
        .unwrap();

    // One that takes no new connections, and does not say so.
    engine.pause().unwrap();
    let new = State::connect(&options).await.unwrap_err();
    assert!(new.is_transient(), "{new:?}");
    engine.resume().unwrap();

    // One that is at it for too long.
    let mut past = testing::past(&options).await;
    let lock = "BEGIN; LOCK TABLE sample_v1.checkpoint";
    sqlx::raw_sql(lock).execute(&mut past).await.unwrap();
    for _ in 0..3 {
        let found = documents.checkpoint(&SAMPLE).await;
        assert!(matches!(found, Err(Error::Unavailable(_))), "{found:?}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut past).await.unwrap();
    assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), Some(two));
}
