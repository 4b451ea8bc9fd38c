//! What the protocol adds to an append.

use std::time::Duration;

use recourse_event_store::{
    Append, EventStore, ExpectedRevision,
    conformance::{event, stream},
};
use tokio::time::Instant;

use super::world::{Serving, embedded};

/// How long an append of one event takes, in the middle of many one after the other.
async fn lone_append(store: &dyn EventStore, own: &str) -> Duration {
    let mut taken = Vec::new();
    for number in 0..200 {
        let append = Append {
            stream: stream(own),
            expected: ExpectedRevision::after(u64::checked_sub(number, 1)),
            events: vec![event(number)],
        };
        let begun = Instant::now();
        let answer = store.append(vec![append]).await.pop().unwrap().unwrap();
        store.wait_durable(answer.position.unwrap()).await.unwrap();
        taken.push(begun.elapsed());
    }
    taken.sort();
    taken[taken.len() / 2]
}

/// What is allowed for is a busy machine. A segment that waits for a delayed acknowledgement
/// costs 40 ms.
#[tokio::test]
async fn a_lone_append_takes_little_longer_than_the_disk() {
    let (store, folder) = embedded();
    let serving = Serving::start(store).await.keeping(folder);
    let adapter = serving.connect().await;
    lone_append(&adapter, "warm").await;
    let own = lone_append(&*serving.store, "own").await;
    let over = lone_append(&adapter, "over").await;
    println!("own {own:?}, over the protocol {over:?}");
    assert!(over < own + Duration::from_millis(10), "{own:?} {over:?}");
}
