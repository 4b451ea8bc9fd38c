//! What cannot be read stops the saga it is for, and no other.

use std::time::Duration;

use recourse_event_store::{NewEvent, StreamName};
use recourse_saga::{Answer, Definition, Status};
use recourse_saga_orchestrator::Error;
use uuid::Uuid;

use crate::{
    engines::Rows,
    world::{SAVED, World, append, quiet, rows},
};

/// An order that says nothing that a saga could work on.
fn malformed(world: &World, number: u128) -> recourse_event_store::Append {
    let mut placing = world.placing(number);
    let event = placing.events.remove(0);
    let (id, metadata) = (event.id, event.metadata.clone());
    placing
        .events
        .push(NewEvent::raw(id, "order.placed.v1", "{}", metadata));
    placing
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_read_is_parked_and_the_others_go_on() {
    let world = World::new();
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let malformed = malformed(&world, 1);
    world
        .append_all(vec![world.placing(0), malformed, world.placing(2)])
        .await;
    quiet().await;
    let parked = world.saga_of(1).await;
    assert_eq!(world.story(parked).await, ["parked"]);
    for number in [0, 2] {
        let saga = world.saga_of(number).await;
        world.play_to_the_end(saga).await;
        assert_eq!(world.state(saga).await.status(), Status::Completed);
    }
    tokio::time::sleep(SAVED * 2).await;
    assert_eq!(rows(&kept).await.into_iter().collect::<Vec<_>>(), [parked]);
    running.stop().await.unwrap();

    // It stays so, is counted, and is written down once.
    let loaded = world
        .load(&kept, world.new_bus(), vec![world.current()])
        .await
        .unwrap();
    assert_eq!((loaded.counts().in_flight, loaded.counts().parked), (1, 1));
    let running = world.start(&Rows::default()).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.story(parked).await, ["parked"]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_saga_cannot_place_parks_it_with_the_position_of_the_answer() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let [parked, other] = [world.place(1).await, world.place(2).await];
    quiet().await;
    let mut never_sent = world.open(parked).await.remove(0);
    never_sent.id = Uuid::from_u128(404);
    world.answer(parked, &never_sent, &Answer::Done).await;
    let at = world.head().await;
    quiet().await;
    assert_eq!(world.story(parked).await, ["started", "parked"]);
    let events = world.read(&Definition::stream(parked)).await;
    let recourse_saga::Event::Parked(said) = &*events[1].decode().unwrap() else {
        panic!("{:?}", events[1]);
    };
    assert_eq!(said.position, at);
    // Nothing moves it any more: neither an answer nor time.
    world.play(parked).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.story(parked).await.len(), 2);
    let mut running = running;
    assert!(running.is_running());
    let other = world.state(other).await;
    assert!(
        other.turned_back().is_some(),
        "the other one heard no timer"
    );
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn metadata_that_cannot_be_read_end_it_with_the_position_named() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    quiet().await;
    let event = NewEvent::raw(Uuid::from_u128(6), "stock.counted.v1", "{}", "{}");
    let unreadable = append(StreamName::new("stock", "tea-1"), vec![event]);
    world.append_all(vec![unreadable, world.placing(2)]).await;
    let at = world.read(&StreamName::new("stock", "tea-1")).await[0].position;
    let ended = running.ended().await;
    assert!(
        matches!(ended, Err(Error::Unreadable { position, .. }) if position == at),
        "{ended:?}"
    );
    assert!(ended.unwrap_err().to_string().contains(&at.to_string()));
    // What came before it was driven, and what came with it was too.
    assert_eq!(world.story(saga).await, ["started"]);
    let with_it = world.saga_of(2).await;
    assert_eq!(world.story(with_it).await, ["started"]);
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_own_stream_cannot_be_read_ends_it_with_the_saga_named() {
    let world = World::new();
    let saga = world.place(1).await;
    let mut metadata = world.events().await[0].metadata().unwrap().clone();
    metadata.causation_id = saga;
    let metadata = serde_json::to_vec(&metadata).unwrap();
    let event = NewEvent::raw(Uuid::from_u128(7), "saga.never-heard-of.v1", "{}", metadata);
    world
        .append(append(Definition::stream(saga), vec![event]))
        .await;
    let ended = world.start(&Rows::default()).await.ended().await;
    assert!(
        matches!(&ended, Err(Error::Stuck { saga: its, .. }) if *its == saga),
        "{ended:?}"
    );
}
