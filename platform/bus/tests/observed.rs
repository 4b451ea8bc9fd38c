//! What a bus says of those who read it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unimplemented,
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing"
)]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use recourse_bus::{
    Bus as _, BusError, Consumer, Deliveries, Delivery, Membership, Share,
    observed::{Bus, Tell},
};
use recourse_event_store::{Filter, Position, RecordedEvent, StoreError};

/// Longer than nothing has to go wrong for.
const STEADY: Duration = Duration::from_secs(10);

type Next = Result<Deliveries<Delivery>, BusError>;

/// Answers what it is told to, then nothing any more.
#[derive(Default)]
struct Scripted(Mutex<VecDeque<Result<VecDeque<Next>, BusError>>>);

#[async_trait]
impl recourse_bus::Bus for Scripted {
    async fn commands(&self, _: &str, _: &[&str]) -> Result<Box<dyn Consumer<Delivery>>, BusError> {
        let made = self.0.lock().unwrap().pop_front().unwrap();
        made.map(|script| Box::new(Script(script)) as _)
    }

    async fn events(
        &self,
        _: Position,
        _: Filter,
        _: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError> {
        unimplemented!("nobody asks")
    }

    async fn join(&self, _: &str) -> Result<Box<dyn Membership>, BusError> {
        unimplemented!("nobody asks")
    }
}

struct Script(VecDeque<Next>);

#[async_trait]
impl Consumer<Delivery> for Script {
    async fn next(&mut self) -> Next {
        match self.0.pop_front() {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }

    async fn commit(&mut self, _: Position) -> Result<(), BusError> {
        Ok(())
    }
}

fn gap() -> BusError {
    BusError::Gap {
        after: Position::dense(3),
        next: Position::dense(9),
        help: "ask again".to_owned(),
    }
}

fn delivered() -> Next {
    delivered_up_to(1)
}

fn delivered_up_to(position: u64) -> Next {
    Ok(Deliveries {
        messages: vec![],
        considered: Position::dense(position),
        at_end: true,
    })
}

type Told = Arc<Mutex<Option<String>>>;

/// A bus of these consumers, and what it last said.
fn bus(consumers: Vec<Result<Vec<Next>, BusError>>) -> (Bus, Told) {
    let told: Told = Arc::default();
    let said = Arc::clone(&told);
    let script = consumers.into_iter().map(|made| made.map(VecDeque::from));
    let inner = Scripted(Mutex::new(script.collect()));
    let tell: Tell = Arc::new(move |why| *said.lock().unwrap() = why);
    (Bus::new(Arc::new(inner), tell), told)
}

fn says(told: &Told, what: &str) -> bool {
    let told = told.lock().unwrap();
    told.as_ref().is_some_and(|told| told.contains(what))
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_until_something_is_delivered_again() {
    let (bus, told) = bus(vec![Ok(vec![Err(gap())]), Ok(vec![delivered()])]);
    let mut consumer = bus.commands("inventory", &[]).await.unwrap();
    assert_eq!(*told.lock().unwrap(), None);
    consumer.next().await.unwrap_err();
    assert!(says(
        &told,
        "inventory: a record is missing between 3 and 9"
    ));
    let mut consumer = bus.commands("inventory", &[]).await.unwrap();
    assert!(says(&told, "inventory"), "a new consumer proves nothing");
    consumer.next().await.unwrap();
    assert_eq!(*told.lock().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_one_of_several_partitions_is_told_while_the_others_go_on() {
    let before_it = || vec![delivered_up_to(3), Err(gap())];
    let past_it = vec![delivered_up_to(3), delivered_up_to(9)];
    let (bus, told) = bus(vec![Ok(before_it()), Ok(before_it()), Ok(past_it)]);
    for _ in 0..2 {
        let mut consumer = bus.commands("inventory", &[]).await.unwrap();
        consumer.next().await.unwrap();
        consumer.next().await.unwrap_err();
        assert!(says(&told, "missing"));
    }
    let mut consumer = bus.commands("inventory", &[]).await.unwrap();
    consumer.next().await.unwrap();
    assert!(says(&told, "missing"), "it is where it was");
    consumer.next().await.unwrap();
    assert_eq!(*told.lock().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn who_waits_long_enough_without_an_error_reads_again() {
    let (bus, told) = bus(vec![Ok(vec![Err(gap())]), Ok(vec![])]);
    let mut consumer = bus.commands("inventory", &[]).await.unwrap();
    consumer.next().await.unwrap_err();
    let mut consumer = bus.commands("inventory", &[]).await.unwrap();
    let before = tokio::time::timeout(STEADY / 2, consumer.next()).await;
    assert!(before.is_err() && says(&told, "missing"));
    let after = tokio::time::timeout(STEADY, consumer.next()).await;
    assert!(after.is_err() && told.lock().unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_only_away_is_there_with_the_next_consumer() {
    let away = || BusError::Unavailable("no generation yet".to_owned());
    let (bus, told) = bus(vec![Err(away()), Ok(vec![Err(away())]), Ok(vec![])]);
    bus.commands("orders", &[]).await.err().unwrap();
    assert!(says(
        &told,
        "orders: the bus is not available: no generation yet"
    ));
    let mut consumer = bus.commands("orders", &[]).await.unwrap();
    assert_eq!(*told.lock().unwrap(), None);
    consumer.next().await.unwrap_err();
    assert!(says(&told, "no generation yet"));
    bus.commands("orders", &[]).await.unwrap();
    assert_eq!(*told.lock().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn the_cause_is_told_and_one_reader_does_not_speak_for_another() {
    let store = || BusError::Store(StoreError::Unavailable("cut".to_owned()));
    let (bus, told) = bus(vec![Err(store()), Ok(vec![delivered()])]);
    bus.commands("orders", &[]).await.err().unwrap();
    assert!(says(&told, "the bus cannot read the event store: "));
    assert!(says(&told, "cut"));
    let mut other = bus.commands("inventory", &[]).await.unwrap();
    other.next().await.unwrap();
    assert!(says(&told, "orders"));
}
