//! Members of a group share the events by partition, as orchestrators do.

use std::{collections::BTreeSet, num::NonZeroU32};

use recourse_bus::{
    Bus as _, Membership, Share,
    conformance::world::{bounded, sagas},
    kafka,
};
use recourse_event_store::{Filter, Position};
use recourse_relay::Options;
use uuid::Uuid;

use crate::world::{Running, World, memory};

fn owned(share: &Share) -> BTreeSet<u32> {
    share.owned().collect()
}

/// Waits until two members have everything between them, and some each.
async fn both(members: &mut [Box<dyn Membership>; 2], partitions: u32) -> [Share; 2] {
    let [first, second] = members;
    let mut shares = [first.share().await.unwrap(), second.share().await.unwrap()];
    loop {
        let [one, other] = shares.each_ref().map(owned);
        if one.is_disjoint(&other) && one.union(&other).count() == partitions as usize {
            return shares;
        }
        tokio::select! {
            biased;
            () = first.changed() => shares[0] = first.share().await.unwrap(),
            () = second.changed() => shares[1] = second.share().await.unwrap(),
        }
    }
}

/// The ids of the events that a member reads up to a position.
async fn read(bus: &kafka::Bus, share: &Share, end: Position) -> BTreeSet<Uuid> {
    let mut ids = BTreeSet::new();
    let mut events = bus
        .events(Position::START, Filter::All, share)
        .await
        .unwrap();
    loop {
        let deliveries = events.next().await.unwrap();
        ids.extend(deliveries.messages.iter().map(|event| event.event.id));
        if deliveries.considered >= end {
            return ids;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_the_events_and_get_what_is_left_when_one_goes() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    sagas(&*world.store, 0..20).await;
    let end = world.store.appended().await.unwrap();
    // Each a process of its own.
    let buses = [world.bus(), world.bus()];
    let mut alone = buses[0].join("sagas").await.unwrap();
    let all = BTreeSet::from([0, 1, 2]);
    assert_eq!(owned(&bounded(alone.share()).await.unwrap()), all);
    assert!(bounded(alone.share()).await.unwrap().is_among_others());

    let second = buses[1].join("sagas").await.unwrap();
    let mut members = [alone, second];
    let shares = bounded(both(&mut members, 3)).await;
    let [one, other] = [
        bounded(read(&buses[0], &shares[0], end)).await,
        bounded(read(&buses[1], &shares[1], end)).await,
    ];
    assert!(one.is_disjoint(&other) && !one.is_empty() && !other.is_empty());
    let whole = bounded(read(&buses[0], &Share::whole(), end)).await;
    assert_eq!(one.union(&other).count(), whole.len());

    let [mut first, second] = members;
    drop(second);
    bounded(first.changed()).await;
    assert_eq!(owned(&bounded(first.share()).await.unwrap()), all);
    world.relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_partitions_are_shared_anew() {
    let Some(world) = World::new(memory()).await else {
        return;
    };
    sagas(&*world.store, 0..5).await;
    let bus = world.bus();
    let mut member = bus.join("sagas").await.unwrap();
    let before = bounded(member.share()).await.unwrap();
    assert_eq!(before.divided_into().get(), 3);
    world.relay.stop().await.unwrap();

    let wider = Options {
        generation: 2,
        event_partitions: NonZeroU32::new(5).unwrap(),
        ..world.options.clone()
    };
    let relay = Running::new(&world.store, &wider);
    crate::world::generation(&wider, 2).await;
    // Whoever reads on finds that there are others.
    let refused = async {
        let part = Share::of(before.divided_into(), BTreeSet::from([0]));
        while bus
            .events(Position::START, Filter::All, &part)
            .await
            .is_ok()
        {}
    };
    bounded(refused).await;
    bounded(member.changed()).await;
    let after = bounded(member.share()).await.unwrap();
    assert_eq!(owned(&after), (0..5).collect());
    assert_eq!(after.before().collect::<Vec<_>>(), [before.divided_into()]);
    relay.stop().await.unwrap();
}
