use std::time::Duration;

use super::*;
use crate::postgres::testing;

/// Longer than anything here takes on a machine that builds beside it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

/// Polls what waits for a lock until the server has refused it once more.
async fn is_refused(waiting: &mut (impl Future<Output = Result<Held, OpenError>> + Unpin)) -> bool {
    tokio::time::timeout(TRY_EVERY * 4, waiting).await.is_err()
}

#[tokio::test]
async fn one_holds_a_lock_and_the_next_one_when_it_lets_go() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let locks = Locks::new(testing::database(engine).await);
    let held = bounded(locks.hold("views")).await.unwrap();
    // Another name is another lock, and another database has locks of its own.
    let other = bounded(locks.hold("sagas")).await.unwrap();
    let elsewhere = Locks::new(testing::database(engine).await);
    let there = bounded(elsewhere.hold("views")).await.unwrap();
    drop((other, there));

    let mut waiting = Box::pin(locks.hold("views"));
    assert!(is_refused(&mut waiting).await);
    held.release().await;
    let held = bounded(waiting).await.unwrap();

    // As where its process is killed: nobody says goodbye.
    let mut waiting = Box::pin(locks.hold("views"));
    assert!(is_refused(&mut waiting).await);
    drop(held);
    bounded(waiting).await.unwrap().release().await;
}

#[tokio::test]
async fn a_holder_learns_that_its_connection_is_gone() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let options = testing::database(engine).await;
    let locks = Locks::new(options.clone());
    let mut held = bounded(locks.hold("views")).await.unwrap();
    let mut past = testing::past(&options).await;
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_locks
                 WHERE locktype = 'advisory' AND database =
                     (SELECT oid FROM pg_database WHERE datname = current_database())";
    sqlx::query(ended).execute(&mut past).await.unwrap();
    let why = bounded(held.lost()).await;
    assert!(!why.is_empty());
    bounded(locks.hold("views")).await.unwrap().release().await;
}

/// When the server last heard from the holder of a lock.
async fn last_heard(options: &Options) -> String {
    let asked = "SELECT state_change::text FROM pg_stat_activity JOIN pg_locks USING (pid)
                 WHERE locktype = 'advisory' AND datname = current_database()";
    let mut past = testing::past(options).await;
    let heard = sqlx::query_scalar(asked).fetch_one(&mut past).await;
    heard.unwrap()
}

#[tokio::test]
async fn a_holder_is_heard_as_long_as_it_does_not_stand_still() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let options = testing::database(engine).await;
    let locks = Locks::new(options.clone());
    let mut held = bounded(locks.hold("views")).await.unwrap();
    let first = last_heard(&options).await;
    let heard_again = async {
        while last_heard(&options).await == first {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        biased;
        why = held.lost() => panic!("{why}"),
        () = bounded(heard_again) => {}
    }
}

#[tokio::test]
async fn a_holder_that_stands_still_loses_the_lock() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let locks = Locks {
        silence: Duration::from_secs(1),
        ..Locks::new(testing::database(engine).await)
    };
    // It never asks.
    let mut still = bounded(locks.hold("views")).await.unwrap();
    bounded(locks.hold("views")).await.unwrap().release().await;
    bounded(still.lost()).await;
}
