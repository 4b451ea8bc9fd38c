//! Subscriptions: from the past into the present, without a gap and without a repeat.

use tokio::task::JoinSet;

use super::{
    Client, Subject,
    client::{bounded, event, numbers, stream},
};
use crate::{
    AppendError, ExpectedRevision::Any, Filter, Position, StoreError, StreamName,
    Visibility::Appended, Visibility::Durable,
};

/// Writers that append `each` events to a stream of their own, one at a time.
fn writers(client: &Client, count: u64, each: u64) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for writer in 0..count {
        let client = client.clone();
        writers.spawn(async move {
            for round in 0..each {
                client.put(&stream(writer), [writer * each + round]).await;
                tokio::task::yield_now().await;
            }
        });
    }
    writers
}

async fn assert_is_the_log(client: &Client, filter: Filter, numbers_seen: &[u64]) {
    assert_eq!(numbers_seen, numbers(&client.log(filter).await));
}

pub async fn a_subscription_catches_up_and_goes_on(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    client.put(&a, 0..5).await;
    let mut follower = client.follow(Position::START, Filter::All, Appended);
    follower.until_events(5).await;
    for number in 5..10 {
        client.put(&a, [number]).await;
        follower.until_events(number as usize + 1).await;
    }
    assert!(numbers(&follower.events).into_iter().eq(0..10));
}

pub async fn a_subscription_misses_and_repeats_nothing_beside_writers(subject: Subject) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 60;
    let client = subject.client();
    let writers = writers(&client, WRITERS, EACH);
    for visibility in [Appended, Durable] {
        let mut follower = client.follow(Position::START, Filter::All, visibility);
        follower.until_events((WRITERS * EACH) as usize).await;
        assert_is_the_log(&client, Filter::All, &numbers(&follower.events)).await;
    }
    writers.join_all().await;
    assert_eq!(
        client.log(Filter::All).await.len() as u64,
        WRITERS * EACH,
        "each append took effect once"
    );
}

pub async fn a_subscription_begins_after_its_position(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    client.put(&a, 0..10).await;
    let log = client.log(Filter::All).await;
    for (index, from) in log.iter().enumerate() {
        let mut follower = client.follow(from.position, Filter::All, Appended);
        follower.until_events(log.len() - index - 1).await;
        let expected = index as u64 + 1..10;
        assert!(numbers(&follower.events).into_iter().eq(expected));
    }
    let mut follower = client.follow(client.appended().await, Filter::All, Appended);
    client.put(&a, [10]).await;
    follower.until_events(1).await;
    assert_eq!(numbers(&follower.events), [10], "only what is new");
}

pub async fn a_subscription_gets_what_its_filter_wants(subject: Subject) {
    let client = subject.client();
    let other = StreamName::new("other", "a");
    let filter = Filter::categories(&["other"]);
    let mut follower = client.follow(Position::START, filter.clone(), Appended);
    for round in 0..20 {
        client.put(&stream("a"), [round]).await;
        if round % 4 == 0 {
            client.put(&other, [100 + round]).await;
        }
        if round == 10 {
            follower.until_events(3).await;
        }
    }
    follower.until(client.appended().await).await;
    assert_eq!(numbers(&follower.events), [100, 104, 108, 112, 116]);
    assert_is_the_log(&client, filter, &numbers(&follower.events)).await;
}

pub async fn a_quiet_filter_still_moves_considered(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    let quiet = Filter::categories(&["quiet"]);
    client.put(&a, 0..100).await;
    for visibility in [Appended, Durable] {
        let mut follower = client.follow(Position::START, quiet.clone(), visibility);
        follower.until(client.appended().await).await;
        for number in 100..103 {
            client.put(&a, [number]).await;
            follower.until(client.appended().await).await;
        }
        assert!(follower.events.is_empty());
    }
}

pub async fn a_caught_up_subscription_says_so(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    client.put(&a, 0..100).await;
    let mut follower = client.follow(Position::START, Filter::All, Appended);
    while !follower.at_end {
        follower.next().await;
    }
    assert_eq!(follower.considered, client.appended().await);
    assert_eq!(follower.events.len(), 100);
}

/// [`super::Follower::next`] holds every batch against what is durable when it comes.
pub async fn a_durable_subscription_is_never_ahead_of_durable(subject: Subject) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 50;
    let client = subject.client();
    let writers = writers(&client, WRITERS, EACH);
    let mut follower = client.follow(Position::START, Filter::All, Durable);
    follower.until_events((WRITERS * EACH) as usize).await;
    assert_is_the_log(&client, Filter::All, &numbers(&follower.events)).await;
    writers.join_all().await;
}

pub async fn a_subscription_may_be_dropped_while_it_waits(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    let mut considered = Position::START;
    let mut seen = Vec::new();
    // The raw subscription, for the follower never drops a wait; resumed as the follower does.
    let mut subscription = None;
    for number in 0..50 {
        if number % 2 == 0 {
            client.put(&a, [number, number + 1]).await;
        }
        for patience in [0, 1, 3] {
            let subscription = match &mut subscription {
                Some(subscription) => subscription,
                none => match client
                    .store
                    .subscribe(considered, Filter::All, Appended)
                    .await
                {
                    Ok(subscription) => none.insert(subscription),
                    Err(StoreError::Unavailable(_)) => continue,
                    Err(error) => panic!("{error}"),
                },
            };
            let answer = tokio::select! {
                biased;
                answer = subscription.next() => answer,
                () = yields(patience) => continue,
            };
            match answer {
                Ok(batch) => {
                    considered = batch.considered;
                    seen.extend(numbers(&batch.events));
                }
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        if number % 7 == 0 {
            subscription = None;
        }
    }
    drop(subscription);
    let mut rest = client.follow(considered, Filter::All, Appended);
    rest.until_events(50 - seen.len()).await;
    seen.extend(numbers(&rest.events));
    assert!(seen.into_iter().eq(0..50));
}

async fn yields(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

pub async fn a_subscription_resumes_after_any_batch(subject: Subject) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 40;
    let client = subject.client();
    let writers = writers(&client, WRITERS, EACH);
    let filter = Filter::categories(&["thing"]);
    let mut follower = client.follow(Position::START, filter.clone(), Appended);
    while follower.events.len() < (WRITERS * EACH) as usize {
        follower.next().await;
        follower.cut();
    }
    assert_is_the_log(&client, filter, &numbers(&follower.events)).await;
    writers.join_all().await;
}

pub async fn every_subscriber_gets_everything(subject: Subject) {
    const SUBSCRIBERS: usize = 16;
    let (client, a) = (subject.client(), stream("a"));
    let mut followers = JoinSet::new();
    for number in 0..SUBSCRIBERS {
        let visibility = if number % 2 == 0 { Appended } else { Durable };
        let mut follower = client.follow(Position::START, Filter::All, visibility);
        followers.spawn(async move {
            follower.until_events(100).await;
            numbers(&follower.events)
        });
    }
    for number in 0..100 {
        let answer = client.append(&a, Any, vec![event(number)]).await;
        assert!(!matches!(answer, Err(AppendError::Store(_))), "{answer:?}");
        tokio::task::yield_now().await;
    }
    for seen in bounded(followers.join_all()).await {
        assert!(seen.into_iter().eq(0..100));
    }
}
