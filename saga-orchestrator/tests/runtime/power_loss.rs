//! Power is lost after any step: the rows say nothing that the log does not hold any more, and
//! every saga is driven on from what is left.

use std::{sync::Arc, time::Duration};

use recourse_event_store::{EventStore, memory};
use recourse_saga::Status;
use uuid::Uuid;

use crate::{
    engines::{Rows, Watched},
    world::{LOG, Running, World, elsewhere, quiet, rows, rows_position},
};

const ORDERS: u128 = 3;

/// Two orchestrators, one of them often behind, lose power after so many milliseconds.
async fn lose_power_after(steps: u64, sync_every: u64) {
    let mut world = World::on(memory::Store::with_manual_sync(LOG));
    world.options.save_interval_ms = 2;
    let kept = [Rows::default(), Rows::default()];
    let other = elsewhere(&world);
    // Who is started first reads first, and is late to say what it has read.
    let second = other.start(&kept[1]).await;
    let first = world.start(&kept[0]).await;
    for step in 0..steps {
        if step % 4 == 0 && step / 4 < u64::try_from(ORDERS).unwrap() {
            world.place(u128::from(step / 4)).await;
        }
        // The one that is behind finds what the other has written.
        if step % 5 == 0 {
            second.bus.hold();
        } else if step % 5 == 3 {
            second.bus.release();
        }
        for number in 0..placed(&world).await {
            world.play(world.saga_of(number).await).await;
        }
        if step % sync_every == sync_every - 1 {
            // Not all of it: the durable prefix ends anywhere.
            let durable = world.store.durable().commit;
            let appended = world.store.inner.appended().await.unwrap().commit;
            let to = durable + (appended - durable) * (1 + step % 3) / 3;
            world.store.sync_up_to(to);
        }
        quiet().await;
    }
    let left = world.store.inner.crash();
    first.kill().await;
    second.kill().await;
    world.store = Watched::new(left);
    check(&world, &kept, steps).await;
    // Each of them could go on alone.
    for kept in &kept {
        let running = world.start(kept).await;
        for _ in 0..40 {
            for number in 0..placed(&world).await {
                world.play(world.saga_of(number).await).await;
            }
            world.store.inner.sync();
            quiet().await;
        }
        for number in 0..placed(&world).await {
            let saga = world.saga_of(number).await;
            let status = world.state(saga).await.status();
            assert_eq!(status, Status::Completed, "after {steps} ms");
        }
        running.stop().await.unwrap();
        assert!(rows(kept).await.is_empty(), "after {steps} ms");
    }
}

async fn placed(world: &World) -> u128 {
    let events = world.events().await;
    let placed = |event: &&Arc<recourse_event_store::RecordedEvent>| {
        &*event.event.event_type == "order.placed.v1"
    };
    u128::try_from(events.iter().filter(placed).count()).unwrap()
}

/// Whoever starts from these rows finds every saga that is in flight.
async fn check(world: &World, kept: &[Rows; 2], steps: u64) {
    let durable = world.store.durable();
    for kept in kept {
        let position = rows_position(kept).await;
        assert!(position <= durable, "after {steps} ms the rows are ahead");
        let rows = rows(kept).await;
        for number in 0..placed(world).await {
            let saga = world.saga_of(number).await;
            let ended = world.state(saga).await.is_ended();
            let stream =
                recourse_event_store::StreamName::new("order", crate::world::order_id(number));
            let at = world.read(&stream).await[0].position;
            assert!(
                at > position || ended || rows.contains(&saga),
                "after {steps} ms nobody would find the saga of the order at {at}: the rows \
                 stand at {position}, the log at {durable}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn power_lost_after_any_step_leaves_rows_that_find_every_saga() {
    for sync_every in [1, 3, 7] {
        for steps in 1..40 {
            lose_power_after(steps, sync_every).await;
        }
    }
}

/// A world whose saga waits for its last answer only, all of it durable and in the rows.
async fn at_the_last_answer(kept: &Rows) -> (World, Uuid, Running, Running) {
    let mut world = World::on(memory::Store::with_manual_sync(LOG));
    world.options.save_interval_ms = 5;
    let slow = elsewhere(&world).start(kept).await;
    let quick = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        world.store.inner.sync();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let open = world.open(saga).await;
        if &*open[0].step == "complete-order" {
            break;
        }
        world.play(saga).await;
    }
    assert!(rows(kept).await.contains(&saga));
    (world, saga, quick, slow)
}

/// The end of a saga is found and not durable: should power be lost, nothing but its row leads
/// back to it, for the rows stand past its last answer.
async fn assert_the_row_waits(world: &World, kept: &Rows, saga: Uuid, last_answer: u64) {
    assert!(world.state(saga).await.is_ended());
    world.store.sync_up_to(last_answer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let has_row = rows(kept).await.contains(&saga);
    assert!(has_row, "the row went before the end was durable");
    world.store.inner.sync();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(rows(kept).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn rows_wait_for_what_another_orchestrator_wrote_and_is_not_durable() {
    let kept = Rows::default();
    let (world, saga, quick, slow) = at_the_last_answer(&kept).await;
    let last_answer = world.head().await.commit + 1;
    slow.bus.hold();
    world.play(saga).await;
    quiet().await;
    slow.bus.let_through(1);
    assert_the_row_waits(&world, &kept, saga, last_answer).await;
    quick.kill().await;
    slow.kill().await;
}

#[tokio::test(start_paused = true)]
async fn rows_wait_for_what_the_orchestrator_itself_wrote_and_is_not_durable() {
    let kept = Rows::default();
    let (world, saga, quick, only) = at_the_last_answer(&kept).await;
    quick.kill().await;
    let last_answer = world.head().await.commit + 1;
    only.bus.let_through(1);
    world.play(saga).await;
    quiet().await;
    assert_the_row_waits(&world, &kept, saga, last_answer).await;
    only.kill().await;
}

#[tokio::test(start_paused = true)]
async fn rows_wait_for_the_stream_of_a_saga_that_was_loaded_and_is_not_durable() {
    let mut world = World::on(memory::Store::with_manual_sync(LOG));
    world.options.save_interval_ms = 5;
    let kept = Rows::default();
    let slow = elsewhere(&world).start(&kept).await;
    slow.bus.hold();
    let quick = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    let placed = world.head().await;
    loop {
        quiet().await;
        world.store.inner.sync();
        quiet().await;
        let open = world.open(saga).await;
        world.play(saga).await;
        if &*open[0].step == "complete-order" {
            break;
        }
    }
    quiet().await;
    // It reads that the order was placed, finds that the saga has ended, and keeps no row.
    slow.bus.let_through(1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(world.state(saga).await.is_ended());
    let position = rows_position(&kept).await;
    assert!(position < placed, "the rows say {position} and have no row");
    world.store.inner.sync();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(rows_position(&kept).await >= placed);
    quick.kill().await;
    slow.kill().await;
}
