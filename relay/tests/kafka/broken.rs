//! Kafka as an accident leaves it.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use recourse_bus::kafka::{Client, Generation, Keyed, State};
use recourse_event_store::{Direction, EventStore, Filter, Read, Visibility};
use recourse_relay::Options;
use serde_json::{Value, json};

fn config(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.kafka.brokers);
    config
}

/// Has the checkpoint of generation 1 say that everything in the log is relayed, all of it in each
/// partition: what was not is missing from there on.
pub(crate) async fn skip_to_the_end(options: &Options, store: &dyn EventStore) {
    let client = Client::new(options.kafka.clone());
    let state = State::read(&client).await.unwrap();
    let mut checkpoint: Value = serde_json::from_slice(state.checkpoint(1).unwrap()).unwrap();
    let read = Read {
        from: None,
        direction: Direction::Backward,
        visibility: Visibility::Durable,
        filter: Filter::All,
        max_events: 1,
    };
    let last = store.read_all(read).await.unwrap().events.remove(0);
    let position = last.position.to_string();
    checkpoint["position"] = json!(position);
    checkpoint["eventId"] = json!(last.event.id);
    for lane in checkpoint["lanes"].as_array_mut().unwrap() {
        lane["last"] = json!({ "p": position });
    }
    let producer: BaseProducer = config(options).create().unwrap();
    let (topic, key) = (client.topics().relay(), Keyed::Checkpoint(1).key());
    let value = checkpoint.to_string();
    let record = BaseRecord::to(&topic)
        .partition(0)
        .key(&key)
        .payload(&value);
    producer.send(record).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
}

/// Deletes the topic of the commands of a category of generation 1.
pub(crate) async fn delete(options: &Options, category: &str) {
    let client = Client::new(options.kafka.clone());
    let topic = client.topics().commands(1, category);
    let admin: AdminClient<DefaultClientContext> = config(options).create().unwrap();
    let deleted = admin.delete_topics(&[&topic], &AdminOptions::new()).await;
    assert!(deleted.unwrap().iter().all(Result::is_ok));
}

/// Makes the topics of a generation and says that it is current, and nothing else.
pub(crate) async fn record_generation(options: &Options, number: u32) {
    let client = Client::new(options.kafka.clone());
    let state = State::read(&client).await.unwrap();
    let generation = Generation {
        number,
        ..state.current().unwrap().clone()
    };
    let admin: AdminClient<DefaultClientContext> = config(options).create().unwrap();
    let largest = options.kafka.max_record_bytes.to_string();
    let topics = generation.topics(client.topics());
    let topics = topics.iter().map(|(topic, partitions)| {
        let partitions = i32::try_from(partitions.get()).unwrap();
        NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
            .set("max.message.bytes", &largest)
    });
    let topics: Vec<_> = topics.collect();
    let made = admin.create_topics(&topics, &AdminOptions::new()).await;
    assert!(made.unwrap().iter().all(Result::is_ok));
    let producer: BaseProducer = config(options).create().unwrap();
    let (topic, key) = (client.topics().relay(), Keyed::Generation(number).key());
    let value = serde_json::to_vec(&generation).unwrap();
    let record = BaseRecord::to(&topic)
        .partition(0)
        .key(&key)
        .payload(&value);
    producer.send(record).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
}

/// Changes a setting of a topic, and waits until the broker says so.
pub(crate) async fn set(options: &Options, topic: &str, name: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> = config(options).create().unwrap();
    let resource = ResourceSpecifier::Topic(topic);
    let settings = AlterConfig::new(resource).set(name, value);
    let altered = admin.alter_configs([&settings], &AdminOptions::new()).await;
    assert!(altered.unwrap().iter().all(Result::is_ok));
    loop {
        let described = admin.describe_configs([&resource], &AdminOptions::new());
        let described = described.await.unwrap().remove(0).unwrap();
        if described.get(name).unwrap().value.as_deref() == Some(value) {
            return;
        }
    }
}
