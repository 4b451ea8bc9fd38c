//! A saga is driven by the definition that it began with, and by no other.

use std::{sync::Arc, time::Duration};

use recourse_domain::order;
use recourse_event_store::{RecordedEvent, StreamName, typed};
use recourse_saga::{Definition, Ids, Outgoing, Status, pivot};
use recourse_saga_orchestrator::fulfilment::{self, Input};
use uuid::Uuid;

use crate::{
    engines::Rows,
    world::{SAVED, World, quiet, rows},
};

fn starts(event: &RecordedEvent) -> Result<Option<(Input, Uuid)>, typed::Error> {
    if &*event.event.event_type != "order.placed.v1" {
        return Ok(None);
    }
    let order::Event::Placed(placed) = &*event.decode::<order::Event>()? else {
        return Ok(None);
    };
    Ok(Some((Input::from(placed), placed.order_id.0)))
}

fn confirm(input: &Input, _: &Ids) -> Result<Vec<Outgoing>, typed::Error> {
    let target = StreamName::new("order", input.order_id);
    let command = order::Command::Confirm(order::Confirm {});
    Ok(vec![Outgoing::new(target, &command)?])
}

/// The saga as it was before anything had to be reserved or paid.
pub fn older() -> Arc<Definition> {
    let definition = Definition::builder::<Input>(fulfilment::NAME, 0)
        .starts(starts)
        .step(
            pivot("confirm-order", confirm)
                .irreversible()
                .timeout(Duration::from_secs(10)),
        )
        .build();
    Arc::new(definition.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_saga_of_an_unknown_definition_is_counted_left_alone_and_driven_by_who_knows_it() {
    let world = World::new();
    let kept = Rows::default();
    let running = world
        .start_with(&kept, world.new_bus(), vec![older()])
        .await;
    let saga = world.place(1).await;
    quiet().await;
    running.stop().await.unwrap();

    let only_current = || vec![world.current()];
    let loaded = world
        .load(&kept, world.new_bus(), only_current())
        .await
        .unwrap();
    assert_eq!(loaded.counts().unknown_definition, 1);
    assert_eq!(loaded.counts().in_flight, 1);
    let running = world
        .start_with(&kept, world.new_bus(), only_current())
        .await;
    let other = world.place(2).await;
    quiet().await;
    world.play(saga).await;
    world.append(world.cancelling(1)).await;
    world.play_to_the_end(other).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.story(saga).await, ["started"]);
    assert_eq!(world.state(other).await.status(), Status::Completed);
    assert!(rows(&kept).await.contains(&saga));
    running.stop().await.unwrap();

    // It has heard the answer that nobody took for it: it looks.
    let both = vec![world.current(), older()];
    let running = world.start_with(&kept, world.new_bus(), both).await;
    assert_eq!(world.state(saga).await.status(), Status::Completed);
    tokio::time::sleep(SAVED * 2).await;
    assert!(rows(&kept).await.is_empty());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_definition_of_a_name_starts_what_is_new() {
    let world = World::new();
    let both = vec![world.current(), older()];
    let running = world
        .start_with(&Rows::default(), world.new_bus(), both)
        .await;
    let saga = world.place(1).await;
    quiet().await;
    let state = world.state(saga).await;
    assert_eq!(state.definition_hash(), world.current().hash());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_saga_of_an_unknown_definition_that_ended_elsewhere_leaves_no_row() {
    let world = World::new();
    let kept = Rows::default();
    let knows = world
        .start_with(&Rows::default(), world.new_bus(), vec![older()])
        .await;
    let saga = world.place(1).await;
    quiet().await;
    let counts = world.start(&kept).await;
    tokio::time::sleep(SAVED * 2).await;
    assert!(rows(&kept).await.contains(&saga));
    world.play_to_the_end(saga).await;
    assert_eq!(world.state(saga).await.status(), Status::Completed);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(rows(&kept).await.is_empty());
    counts.stop().await.unwrap();
    knows.stop().await.unwrap();
}
