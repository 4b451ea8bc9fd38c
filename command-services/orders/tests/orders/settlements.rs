//! Whoever waits is told once it is durable, not before, and leaves nothing behind.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use recourse_event_store::{StoreError, StreamName, memory};
use recourse_orders::{Settled, Settlements};
use recourse_saga::{Event, Overdue};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{LOG, World, attention, completed, parked, quiet, started};

const HOUR: Duration = Duration::from_secs(3_600);

fn saga(number: u128) -> StreamName {
    StreamName::new("saga", Uuid::from_u128(number))
}

struct Followed {
    /// What appends for the sagas.
    world: World,
    settlements: Settlements,
    stop: CancellationToken,
    run: JoinSet<Result<(), StoreError>>,
}

async fn followed(store: memory::Store) -> Followed {
    let world = World::on(store).await;
    let settlements = Settlements::new(world.store.clone());
    let mut followed = Followed {
        world,
        settlements,
        stop: CancellationToken::new(),
        run: JoinSet::new(),
    };
    followed.run();
    quiet().await;
    followed
}

impl Followed {
    fn run(&mut self) {
        let (settlements, stop) = (self.settlements.clone(), self.stop.clone());
        self.run.spawn(async move { settlements.run(stop).await });
    }

    fn wait(&self, number: u128) -> JoinSet<Result<Settled, StoreError>> {
        wait(&self.settlements, number)
    }
}

fn wait(settlements: &Settlements, number: u128) -> JoinSet<Result<Settled, StoreError>> {
    let settlements = settlements.clone();
    let mut task = JoinSet::new();
    task.spawn(async move { settlements.wait(&saga(number)).await });
    task
}

async fn told(mut waiting: JoinSet<Result<Settled, StoreError>>) -> Settled {
    let told = tokio::time::timeout(HOUR, waiting.join_next()).await;
    let told = told.expect("nobody told it").unwrap();
    told.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_told_once_the_end_is_durable_and_not_before() {
    let followed = followed(memory::Store::with_manual_sync(LOG)).await;
    let mut waiting = followed.wait(1);
    quiet().await;
    let end = followed.world.happens(&saga(1), completed()).await;
    tokio::time::sleep(HOUR).await;
    assert!(waiting.try_join_next().is_none());
    // Nor is one who comes later.
    let mut late = followed.wait(1);
    tokio::time::sleep(HOUR).await;
    assert!(late.try_join_next().is_none());
    followed.world.store.inner.sync();
    assert_eq!(told(waiting).await, Settled::Ended(end));
    assert_eq!(told(late).await, Settled::Ended(end));
}

#[tokio::test(start_paused = true)]
async fn what_settled_before_the_wait_is_found() {
    let followed = followed(memory::Store::new(LOG)).await;
    let (ends, needs, parks) = (saga(1), saga(2), saga(3));
    followed.world.happens(&ends, started()).await;
    let end = followed.world.happens(&ends, completed()).await;
    followed.world.happens(&needs, started()).await;
    let stuck = followed.world.happens(&needs, attention()).await;
    let parked = followed.world.happens(&parks, parked()).await;
    assert_eq!(told(followed.wait(1)).await, Settled::Ended(end));
    assert_eq!(told(followed.wait(2)).await, Settled::Stuck(stuck));
    assert_eq!(told(followed.wait(3)).await, Settled::Stuck(parked));
}

#[tokio::test(start_paused = true)]
async fn what_needs_attention_is_found_behind_later_events_that_do_not_clear_it() {
    let followed = followed(memory::Store::new(LOG)).await;
    let saga = saga(1);
    followed.world.happens(&saga, started()).await;
    followed.world.happens(&saga, attention()).await;
    let later = Event::Overdue(Overdue {
        command: Uuid::nil(),
        step: "capture-payment".into(),
        item: "".into(),
        look_again_at: None,
    });
    let at = followed.world.happens(&saga, later).await;
    assert_eq!(told(followed.wait(1)).await, Settled::Stuck(at));
}

#[tokio::test(start_paused = true)]
async fn what_settles_while_a_waiter_looks_is_told() {
    let followed = followed(memory::Store::new(LOG)).await;
    let end = followed.world.happening(&saga(1), completed());
    *followed.world.store.after_look.lock().unwrap() = Some(end);
    assert!(matches!(told(followed.wait(1)).await, Settled::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn what_settles_before_anybody_follows_the_log_is_told() {
    let store = memory::Store::new(LOG);
    let world = World::on(store).await;
    let settlements = Settlements::new(world.store.clone());
    let waiting = wait(&settlements, 1);
    quiet().await;
    let end = world.happens(&saga(1), completed()).await;
    let mut run = JoinSet::new();
    let running = settlements.clone();
    run.spawn(async move { running.run(CancellationToken::new()).await });
    assert_eq!(told(waiting).await, Settled::Ended(end));
}

#[tokio::test(start_paused = true)]
async fn everybody_who_waits_is_told_of_their_own_saga() {
    let followed = followed(memory::Store::new(LOG)).await;
    let waiting: Vec<_> = (0..300).map(|n| (n % 3, followed.wait(n % 3))).collect();
    quiet().await;
    let one = followed.world.happens(&saga(1), attention()).await;
    let zero = followed.world.happens(&saga(0), completed()).await;
    for (number, mut waiting) in waiting {
        match number {
            0 => assert_eq!(told(waiting).await, Settled::Ended(zero)),
            1 => assert_eq!(told(waiting).await, Settled::Stuck(one)),
            _ => {
                quiet().await;
                assert!(waiting.try_join_next().is_none());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_leaves_nothing_behind_and_the_others_wait_on() {
    let followed = followed(memory::Store::new(LOG)).await;
    let stays = followed.wait(1);
    for number in [1, 1, 2] {
        let mut gives_up = followed.wait(number);
        quiet().await;
        gives_up.shutdown().await;
    }
    assert_eq!(followed.settlements.waiting(), 1);
    followed.world.happens(&saga(1), completed()).await;
    told(stays).await;
    assert_eq!(followed.settlements.waiting(), 0);
    // Nor does who is told by looking.
    told(followed.wait(1)).await;
    assert_eq!(followed.settlements.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cut_subscription_is_made_again_and_misses_nothing() {
    let mut followed = followed(memory::Store::new(LOG)).await;
    for number in 0..5 {
        let waiting = followed.wait(number);
        quiet().await;
        followed.world.store.cuts.store(1, Relaxed);
        followed.world.store.failing_subscriptions.store(3, Relaxed);
        let end = followed.world.happens(&saga(number), completed()).await;
        assert_eq!(told(waiting).await, Settled::Ended(end));
    }
    assert!(followed.run.try_join_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_shutdown_lets_go_of_everybody_and_a_broken_store_ends_it() {
    let mut stopped = followed(memory::Store::new(LOG)).await;
    let mut waiting = stopped.wait(1);
    quiet().await;
    stopped.stop.cancel();
    let ended = waiting.join_next().await.unwrap().unwrap();
    assert!(matches!(ended, Err(StoreError::Closed)), "{ended:?}");
    assert!(stopped.run.join_next().await.unwrap().unwrap().is_ok());

    let mut broken = followed(memory::Store::new(LOG)).await;
    let mut waiting = broken.wait(1);
    quiet().await;
    broken.world.store.inner.fail("the disk is gone");
    let ended = broken.run.join_next().await.unwrap().unwrap();
    assert!(matches!(ended, Err(StoreError::Failed(_))), "{ended:?}");
    assert!(waiting.join_next().await.unwrap().unwrap().is_err());
}
