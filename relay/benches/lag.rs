//! How long an event takes from its append to those who act on it, through a relay and a Kafka of
//! this machine:
//!
//! ```text
//! cargo bench -p recourse-relay --bench lag -- [EVENTS A SECOND] [SECONDS] [FETCH WAIT IN MS]
//! ```
//!
//! Every third event is a saga's and carries a command. The store is in memory, so what is measured
//! is the relay, Kafka and the consumers.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement says what is wrong by failing"
)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use recourse_bus::{
    Bus, Share,
    conformance::world::{SENT, command, memory_store, outgoing},
    kafka,
};
use recourse_event_store::{
    Append, EventStore, ExpectedRevision, Filter, NewEvent, Position, StreamName,
};
use recourse_relay::{Options, Relay};
use recourse_service::clock::SystemClock;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// When each event was appended, and how long after that it was there.
#[derive(Default)]
struct Times {
    appended: BTreeMap<Position, Instant>,
    took: BTreeMap<&'static str, Vec<Duration>>,
}

fn report(what: &str, took: &mut [Duration]) {
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    println!(
        "{what:>18}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms, of {}",
        at(50),
        at(90),
        at(99),
        at(100),
        took.len()
    );
}

fn main() {
    let mut numbers = std::env::args().filter_map(|word| word.parse::<u64>().ok());
    let rate = numbers.next().unwrap_or(2_000);
    let seconds = numbers.next().unwrap_or(10);
    let fetch_wait_ms = numbers.next();
    let Some(engine) = recourse_engines::kafka() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(engine.address(), rate, seconds, fetch_wait_ms));
}

async fn run(broker: &str, rate: u64, seconds: u64, fetch_wait_ms: Option<u64>) {
    let store: Arc<dyn EventStore> = memory_store();
    let mut kafka = kafka::Options {
        brokers: broker.to_owned(),
        ..kafka::Options::default()
    };
    kafka.fetch_wait_ms = fetch_wait_ms.unwrap_or(kafka.fetch_wait_ms);
    let options = Options {
        kafka: kafka.clone(),
        first_start: true,
        ..Options::default()
    };
    let shutdown = CancellationToken::new();
    let relay = Relay::new(Arc::clone(&store), outgoing, Arc::new(SystemClock), options);
    let mut tasks = JoinSet::new();
    let token = shutdown.clone();
    tasks.spawn(async move { relay.run(token).await.unwrap() });
    let client = kafka::Client::new(kafka.clone());
    while kafka::State::read(&client)
        .await
        .unwrap()
        .current()
        .is_none()
    {}
    let bus = kafka::Bus::new(Arc::clone(&store), kafka);
    let times = Arc::new(Mutex::new(Times::default()));
    let note = |what: &'static str| {
        let times = Arc::clone(&times);
        move |position: Position| {
            let mut times = times.lock().unwrap();
            let now = Instant::now();
            let took = times.appended.get(&position).map(|at| now - *at);
            times.took.entry(what).or_default().extend(took);
        }
    };
    let mut events = bus
        .events(Position::START, Filter::All, &Share::whole())
        .await
        .unwrap();
    let seen = note("append → event");
    tasks.spawn(async move {
        while let Ok(batch) = events.next().await {
            batch.messages.iter().for_each(|event| seen(event.position));
        }
    });
    let mut commands = bus.commands("inventory", &["stock"]).await.unwrap();
    let seen = note("append → command");
    tasks.spawn(async move {
        while let Ok(batch) = commands.next().await {
            batch.messages.iter().for_each(|it| seen(it.mark.position));
            commands.commit(batch.considered).await.unwrap();
        }
    });
    // Until all have begun.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    for number in 0..rate * seconds {
        tokio::time::sleep_until(start + Duration::from_micros(number * 1_000_000 / rate)).await;
        append(&*store, number, &times).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("{rate} events/s for {seconds} s, every third with a command");
    for (what, took) in &mut times.lock().unwrap().took {
        report(what, took);
    }
    shutdown.cancel();
    tasks.join_next().await;
    tasks.abort_all();
}

async fn append(store: &dyn EventStore, number: u64, times: &Mutex<Times>) {
    let (stream, event_type, data) = if number.is_multiple_of(3) {
        let target = StreamName::new("stock", number % 97);
        let commands = serde_json::to_string(&[command(number, &target)]).unwrap();
        (StreamName::new("saga", number), SENT, commands)
    } else {
        let data = format!("{{\"lines\":\"{}\"}}", "x".repeat(200));
        (StreamName::new("order", number), "order.placed.v1", data)
    };
    let metadata = recourse_event_store::Metadata::new(
        Uuid::from_u64_pair(2, number / 20),
        Uuid::nil(),
        chrono::DateTime::UNIX_EPOCH,
        store.log_id(),
    );
    let metadata = serde_json::to_vec(&metadata).unwrap();
    let id = Uuid::from_u64_pair(3, number);
    let begun = Instant::now();
    let appended = store
        .append(vec![Append {
            stream,
            expected: ExpectedRevision::NoStream,
            events: vec![NewEvent::raw(id, event_type, data, metadata)],
        }])
        .await;
    let position = appended[0].as_ref().unwrap().position.unwrap();
    times.lock().unwrap().appended.insert(position, begun);
}
