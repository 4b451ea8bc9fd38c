//! Several orchestrators share the sagas, whoever of them comes, goes or stands still.

use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc, time::Duration};

use recourse_bus::members::Group;
use recourse_saga::{Answer, Definition, Status};
use recourse_saga_orchestrator::IN_FLIGHT;
use recourse_views::documents::Documents;
use uuid::Uuid;

use crate::{
    engines::{Held, Rows},
    versions::older,
    world::{Running, SAVED, World, elsewhere, quiet, rows},
};

const PARTITIONS: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// The first of the collections of four partitions.
const FIRST: u32 = 6;

/// Long enough for each partition to be saved in its turn.
const ALL_SAVED: Duration = SAVED.saturating_mul(PARTITIONS.get() * 3);

fn group() -> Group {
    Group::new(PARTITIONS)
}

impl World {
    async fn join(&self, group: &Group, kept: &Rows) -> Running {
        self.join_with(group, kept, vec![self.current()]).await
    }

    async fn join_with(
        &self,
        group: &Group,
        kept: &Rows,
        definitions: Vec<Arc<Definition>>,
    ) -> Running {
        let bus = Held::new(Arc::new(group.over(self.new_bus())), false);
        self.start_with(kept, bus, definitions).await
    }

    async fn place_many(&self, numbers: impl Iterator<Item = u128>) -> Vec<Uuid> {
        let mut sagas = Vec::new();
        for number in numbers {
            sagas.push(self.place(number).await);
        }
        quiet().await;
        sagas
    }

    /// Answers once what is open in each.
    async fn play_all(&self, sagas: &[Uuid]) {
        for saga in sagas {
            self.play(*saga).await;
        }
        quiet().await;
    }

    /// Plays all to their ends, and holds that nothing happened to any of them twice.
    async fn all_complete(&self, sagas: &[Uuid]) {
        for saga in sagas {
            self.play_to_the_end(*saga).await;
            assert_eq!(self.state(*saga).await.status(), Status::Completed);
            assert_eq!(self.story(*saga).await, STORY);
        }
    }
}

/// A saga to which nothing else happens.
const STORY: [&str; 8] = [
    "started",
    "answered",
    "answered",
    "answered",
    "answered",
    "answered",
    "answered",
    "completed",
];

/// The sagas that have a row in each partition.
async fn rows_by_partition(kept: &Rows) -> Vec<BTreeSet<Uuid>> {
    let mut all = Vec::new();
    for partition in 0..PARTITIONS.get() {
        let mut ids = BTreeSet::new();
        let collection = IN_FLIGHT.in_generation(FIRST + partition);
        kept.inner
            .scan(&collection, &mut |document| {
                ids.insert(document.id.parse().unwrap());
            })
            .await
            .unwrap();
        all.push(ids);
    }
    all
}

fn nobody_was_refused(world: &World) -> bool {
    world.store.refused.lock().unwrap().is_empty()
}

#[tokio::test(start_paused = true)]
async fn two_owners_drive_all_sagas_and_each_of_them_one() {
    let (world, kept, group) = (World::new(), Rows::default(), group());
    let first = world.join(&group, &kept).await;
    let second = world.join(&group, &kept).await;
    let sagas = world.place_many(0..40).await;
    tokio::time::sleep(ALL_SAVED).await;
    let saved = rows_by_partition(&kept).await;
    assert!(saved.iter().all(|rows| !rows.is_empty()), "{saved:?}");
    assert_eq!(saved.iter().map(BTreeSet::len).sum::<usize>(), sagas.len());
    assert!(rows(&kept).await.is_empty());
    world.all_complete(&sagas).await;
    tokio::time::sleep(ALL_SAVED).await;
    assert!(
        rows_by_partition(&kept)
            .await
            .iter()
            .all(BTreeSet::is_empty)
    );
    assert!(nobody_was_refused(&world), "both drove the same saga");
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sagas_change_hands_in_the_middle() {
    let (world, kept, group) = (World::new(), Rows::default(), group());
    let first = world.join(&group, &kept).await;
    let mut sagas = world.place_many(0..20).await;
    world.play_all(&sagas).await;

    // Another one comes, and gets some of them.
    let second = world.join(&group, &kept).await;
    world.play_all(&sagas).await;
    sagas.extend(world.place_many(20..40).await);
    world.play_all(&sagas).await;
    // The first one dies without a word, and what comes meanwhile is not lost.
    first.kill().await;
    world.play_all(&sagas).await;
    // A third one comes as the second one ends in good order.
    let third = world.join(&group, &kept).await;
    second.stop().await.unwrap();
    quiet().await;
    world.all_complete(&sagas).await;
    assert!(nobody_was_refused(&world), "both drove the same saga");
    third.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_stood_still_and_acts_on_does_no_harm() {
    let (world, kept, group) = (World::new(), Rows::default(), group());
    // Else both would write the same, and none would be refused.
    let mut first = elsewhere(&world).join(&group, &kept).await;
    let mut second = world.join(&group, &kept).await;
    let mut sagas = world.place_many(0..20).await;
    let still = group.members()[0];
    // It is not told that others have its sagas; both drive them, and save their rows.
    group.set_still(still, true);
    quiet().await;
    sagas.extend(world.place_many(20..40).await);
    world.play_all(&sagas).await;
    assert!(!nobody_was_refused(&world), "nothing was driven by both");
    tokio::time::sleep(ALL_SAVED).await;
    world.play_all(&sagas).await;
    group.set_still(still, false);
    quiet().await;
    world.all_complete(&sagas).await;
    tokio::time::sleep(ALL_SAVED).await;
    assert!(
        rows_by_partition(&kept)
            .await
            .iter()
            .all(BTreeSet::is_empty)
    );
    assert!(first.is_running() && second.is_running());

    // Both have their part again.
    world.store.refused.lock().unwrap().clear();
    let sagas = world.place_many(40..60).await;
    world.all_complete(&sagas).await;
    assert!(nobody_was_refused(&world), "both drove the same saga");
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_ask_an_orchestrator_that_does_not_own_the_saga() {
    let (world, kept, group) = (World::new(), Rows::default(), group());
    let owners = [
        world.join(&group, &kept).await,
        world.join(&group, &kept).await,
    ];
    let sagas = world.place_many(0..20).await;
    for saga in &sagas {
        // An answer to what it never sent parks it; the right one comes while it is parked.
        let mut never_sent = world.open(*saga).await.remove(0);
        never_sent.id = Uuid::from_u128(404);
        world.answer(*saga, &never_sent, &Answer::Done).await;
        quiet().await;
        world.play(*saga).await;
        quiet().await;
    }
    // One of the two does not own it, whichever that is.
    for (number, saga) in sagas.iter().enumerate() {
        assert_eq!(owners[number % 2].act(*saga, "resume").await, 200);
        quiet().await;
        let story = world.story(*saga).await;
        assert_eq!(story, ["started", "parked", "resumed", "answered"]);
    }
    assert!(nobody_was_refused(&world), "both drove the same saga");
    for owner in owners {
        owner.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_shares_for_the_first_time_goes_on_with_the_rows_of_who_was_alone() {
    let (world, kept, group) = (World::new(), Rows::default(), group());
    let alone = world.start(&kept).await;
    let ended = world.place_many(0..20).await;
    world.all_complete(&ended).await;
    let mut sagas = world.place_many(20..40).await;
    alone.stop().await.unwrap();
    let read_before = reads(&world, &ended);

    let first = world.join(&group, &kept).await;
    let second = world.join(&group, &kept).await;
    assert_eq!(reads(&world, &ended), read_before, "ended sagas were read");
    sagas.extend(world.place_many(40..60).await);
    world.all_complete(&sagas).await;
    tokio::time::sleep(ALL_SAVED).await;
    assert!(
        rows_by_partition(&kept)
            .await
            .iter()
            .all(BTreeSet::is_empty)
    );
    first.stop().await.unwrap();
    second.stop().await.unwrap();

    // Alone again: its own rows are older, and true.
    let alone = world.start(&kept).await;
    let sagas = world.place_many(60..70).await;
    world.all_complete(&sagas).await;
    tokio::time::sleep(ALL_SAVED).await;
    assert!(rows(&kept).await.is_empty());
    alone.stop().await.unwrap();
}

fn reads(world: &World, sagas: &[Uuid]) -> usize {
    let streams = sagas.iter().map(|saga| Definition::stream(*saga));
    streams.map(|stream| world.store.reads_of(&stream)).sum()
}

#[tokio::test(start_paused = true)]
async fn what_an_owner_without_the_definition_passed_over_the_next_one_looks_up() {
    let (world, kept, group) = (World::new(), Rows::default(), group());
    let knows = |newest| vec![newest, older()];
    let newer = world.join_with(&group, &kept, knows(older())).await;
    let sagas = world.place_many(0..12).await;
    newer.stop().await.unwrap();

    // During a rolling restart the sagas of one build may belong to the other for a while.
    let other = world.join(&group, &kept).await;
    world.play_all(&sagas).await;
    tokio::time::sleep(ALL_SAVED).await;
    for saga in &sagas {
        assert_eq!(world.story(*saga).await, ["started"]);
    }
    other.stop().await.unwrap();

    // At once, and not when something of it is overdue.
    let newer = world.join_with(&group, &kept, knows(world.current())).await;
    for saga in &sagas {
        assert_eq!(
            world.story(*saga).await,
            ["started", "answered", "completed"]
        );
    }
    tokio::time::sleep(ALL_SAVED).await;
    assert!(
        rows_by_partition(&kept)
            .await
            .iter()
            .all(BTreeSet::is_empty)
    );
    newer.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn in_a_rolling_restart_every_saga_settles_whichever_build_owns_it() {
    let (world, kept, group) = (World::new(), Rows::default(), group());
    let old_build = || vec![older()];
    let new_build = || vec![world.current(), older()];
    let [first, second] = [
        world.join_with(&group, &kept, old_build()).await,
        world.join_with(&group, &kept, old_build()).await,
    ];
    let mut sagas = world.place_many(0..10).await;
    first.stop().await.unwrap();
    let first = world.join_with(&group, &kept, new_build()).await;
    sagas.extend(world.place_many(10..20).await);
    world.play_all(&sagas[5..]).await;
    // The new one dies for a moment, and the old one owns sagas that it does not know.
    first.kill().await;
    quiet().await;
    sagas.extend(world.place_many(20..30).await);
    world.play_all(&sagas).await;
    tokio::time::sleep(ALL_SAVED).await;
    let first = world.join_with(&group, &kept, new_build()).await;
    world.play_all(&sagas).await;
    second.stop().await.unwrap();
    let second = world.join_with(&group, &kept, new_build()).await;
    quiet().await;
    let hashes: BTreeSet<String> = sagas_hashes(&world, &sagas).await;
    assert_eq!(hashes.len(), 2, "both builds started sagas");
    for saga in &sagas {
        world.play_to_the_end(*saga).await;
        assert_eq!(world.state(*saga).await.status(), Status::Completed);
    }
    tokio::time::sleep(ALL_SAVED).await;
    assert!(
        rows_by_partition(&kept)
            .await
            .iter()
            .all(BTreeSet::is_empty)
    );
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

async fn sagas_hashes(world: &World, sagas: &[Uuid]) -> BTreeSet<String> {
    let mut hashes = BTreeSet::new();
    for saga in sagas {
        hashes.insert(world.state(*saga).await.definition_hash().to_owned());
    }
    hashes
}
