//! The two positions that move through a log.

use tokio::task::JoinSet;

use super::{
    Subject,
    client::{bounded, event, numbers, stream},
};
use crate::{
    Direction::Forward, ExpectedRevision::Any, ExpectedRevision::NoStream, Filter, Position,
    Visibility::Durable,
};

pub async fn what_was_waited_for_is_durable(subject: Subject) {
    let client = subject.client();
    client.wait_durable(Position::START).await;
    for number in 0..20 {
        let own = stream(number);
        let appended = client.append(&own, NoStream, vec![event(number)]).await;
        let position = appended.unwrap().position.unwrap();
        client.wait_durable(position).await;
        assert!(client.store.durable() >= position);
        let there = client.read_stream(&own, None, Forward, Durable, 1).await;
        assert_eq!(numbers(&there), [number]);
        // What is durable stays so, and waiting for it again answers at once.
        client.wait_durable(position).await;
    }
}

pub async fn durable_only_grows_and_never_passes_appended(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    // A new log may hold events of the store's own.
    let mut last = client.store.durable();
    assert!(last <= client.appended().await);
    for number in 0..100 {
        let answer = client.append(&a, Any, vec![event(number)]).await;
        let position = answer.unwrap().position.unwrap();
        let durable = client.store.durable();
        let appended = client.appended().await;
        assert!(last <= durable && durable <= appended && position <= appended);
        last = durable;
        if number % 10 == 0 {
            client.wait_durable(position).await;
        }
    }
    client.wait_durable(client.appended().await).await;
    assert_eq!(client.store.durable(), client.appended().await);
    assert_eq!(client.log(Filter::All).await.len(), 100);
}

pub async fn everybody_who_waits_is_woken(subject: Subject) {
    let client = subject.client();
    let mut waiters = JoinSet::new();
    for waiter in 0..64 {
        let client = client.clone();
        waiters.spawn(async move {
            let own = stream(waiter);
            let answer = client.append(&own, NoStream, vec![event(waiter)]).await;
            let position = answer.unwrap().position.unwrap();
            client.wait_durable(position).await;
            assert!(client.store.durable() >= position);
        });
    }
    assert_eq!(bounded(waiters.join_all()).await.len(), 64);
}
