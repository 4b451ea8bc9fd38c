//! The adapter on a server that misbehaves as EventStoreDB may.

use std::sync::Arc;

use recourse_esdb::{client::Store, server::hostile::Hostility};
use recourse_event_store::{
    Append, AppendError, EventStore, ExpectedRevision, Filter, NewEvent, Position, StreamName,
    Visibility::Durable,
    conformance::{Client, event, run_all, stream},
};

use super::{
    conformance::hostile,
    world::{LOG, Serving, memory},
};

#[tokio::test]
async fn the_suite_passes_and_each_kind_of_misbehaviour_occurs() {
    let hostility = Hostility::new(12);
    run_all(async || hostile(Serving::start_as(memory(), Some(hostility.clone())).await).await)
        .await;
    let total = hostility.counts();
    println!("{total:?}");
    assert!(total.system_events > 0 && total.prepare_0 > 0);
    assert!(total.missing_positions > 0 && total.forgotten_ids > 0);
    assert!(total.deadlines > 0 && total.not_handled > 0);
    assert!(total.out_of_order > 0 && total.lost_sessions > 0);
    assert!(total.failed_reads > 0 && total.ended_subscriptions > 0);
    assert!(total.not_leader > 0);
}

async fn put(store: &Store, events: Vec<NewEvent>) -> Result<u64, AppendError> {
    let append = Append {
        stream: stream("a"),
        expected: ExpectedRevision::NoStream,
        events,
    };
    let answer = store.append(vec![append]).await.pop().unwrap();
    answer.map(|appended| appended.revision)
}

#[tokio::test]
async fn a_node_that_does_not_lead_sends_us_to_the_one_that_does() {
    let leader = Serving::start(memory()).await;
    let follower = Hostility::follower_of(leader.address);
    let follower = Serving::start_as(memory(), Some(follower)).await;
    // Its own word for it, and the nodes' that are asked who leads.
    let trailers = follower.options();
    let mut gossip = follower.options();
    let address = format!("esdb+discover://{}?tls=false", follower.address);
    gossip.address = address.parse().unwrap();
    for options in [trailers, gossip] {
        let store = Store::connect(options, LOG).await.unwrap();
        put(&store, vec![event(1)]).await.unwrap();
    }
    let log = leader.connect().await;
    assert!(log.appended().await.unwrap().commit > 0);
    assert_eq!(follower.store.appended().await.unwrap().commit, 0);
}

#[tokio::test]
async fn what_is_over_the_servers_limit_is_refused_by_it() {
    let serving = Serving::start(memory()).await;
    let mut options = serving.options();
    options.max_append_bytes = 2 * 1024 * 1024;
    let store = Store::connect(options, LOG).await.unwrap();
    let data = " ".repeat(1024 * 1024) + "1";
    let large = NewEvent::raw(event(1).id, "thing.happened.v1", data, &b"{}"[..]);
    match put(&store, vec![large]).await {
        Err(AppendError::TooLarge { bytes, max_bytes }) => {
            assert_eq!(max_bytes, 1024 * 1024);
            assert!(bytes > max_bytes);
        }
        other => panic!("too large, not {other:?}"),
    }
    assert_eq!(put(&store, vec![event(1)]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_checkpoint_between_events_passes_over_none() {
    // Every event of this seed has a commit of its own, so every checkpoint lies after it.
    let serving = Serving::start_as(memory(), Some(Hostility::new(3))).await;
    let subject = hostile(serving).await;
    let client = Client::new(Arc::clone(&subject.store));
    let wanted = StreamName::new("wanted", "a");
    let mut follower = client.follow(Position::START, Filter::categories(&["wanted"]), Durable);
    for number in 0..20 {
        client.put(&stream("a"), [100 + number]).await;
        follower.until(client.appended().await).await;
        assert_eq!(follower.considered.prepare, 0);
        if number % 2 == 0 {
            follower.cut();
        }
        client.put(&wanted, [number]).await;
        follower.until_events(number as usize + 1).await;
    }
}
