//! What happens to engines behind the backs of those who use them.

use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::Consumer as _,
    producer::{BaseProducer, BaseRecord, Producer as _},
    topic_partition_list::Offset,
};
use recourse_bus::kafka::{self, Keyed, Logged, State};
use recourse_engines::Engine;
use recourse_esdb::client;
use recourse_event_store::{Direction, EventStore as _, Filter, LogId, Position, Read, Visibility};
use serde_json::{Value, json};

use crate::PATIENCE;

/// How many partitions each topic has.
const PARTITIONS: i32 = 4;

/// The topics.
pub(crate) struct Topics(kafka::Client);

impl Topics {
    pub(crate) fn of(kafka: &Engine) -> Self {
        Self(kafka::Client::new(kafka::Options {
            brokers: kafka.address().to_owned(),
            ..kafka::Options::default()
        }))
    }

    /// The commands for a category.
    pub(crate) fn commands(&self, generation: u32, category: &str) -> String {
        self.0.topics().commands(generation, category)
    }

    /// Has whoever relays next take for relayed all that is in the log: the records of what was not are
    /// missing in the middle of their partitions from there on. Only events may be among that.
    pub(crate) async fn skip_to_the_end(&self, generation: u32, event_store: &str) {
        let state = State::read(&self.0).await.unwrap();
        let checkpoint = state.checkpoint(generation).unwrap();
        let mut checkpoint: Value = serde_json::from_slice(checkpoint).unwrap();
        let relayed: Position = checkpoint["position"].as_str().unwrap().parse().unwrap();
        let options = client::Options::new(event_store.parse().unwrap());
        let name = LogId(uuid::Uuid::nil());
        let store = client::Store::connect(options, name).await.unwrap();
        let read = Read {
            from: Some(relayed),
            direction: Direction::Forward,
            visibility: Visibility::Durable,
            filter: Filter::All,
            max_events: 100,
        };
        let events = store.read_all(read).await.unwrap().events;
        let skipped: Vec<_> = events.iter().filter(|its| its.position > relayed).collect();
        for event in &skipped {
            assert_ne!(event.stream.category(), "saga", "it sends commands");
            let correlation = event.metadata().unwrap().correlation_id.to_string();
            // The partitions of events come first.
            let lane = kafka::partition(
                kafka::hash(correlation.as_bytes()),
                PARTITIONS.unsigned_abs().try_into().unwrap(),
            );
            let position = event.position.to_string();
            checkpoint["lanes"][lane as usize]["last"] = json!({ "p": position });
        }
        let last = skipped.last().expect("something is skipped");
        checkpoint["position"] = json!(last.position.to_string());
        checkpoint["eventId"] = json!(last.event.id);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.0.options().brokers);
        let producer: BaseProducer = config.create().unwrap();
        let (topic, key) = (self.0.topics().relay(), Keyed::Checkpoint(generation).key());
        let value = checkpoint.to_string();
        let record = BaseRecord::to(&topic).partition(0).key(&key);
        producer.send(record.payload(&value)).unwrap();
        producer.flush(PATIENCE).unwrap();
    }

    /// How many records were ever written to a topic.
    pub(crate) async fn written(&self, topic: &str) -> i64 {
        let (client, topic) = (self.0.clone(), topic.to_owned());
        let asking = tokio::task::spawn_blocking(move || {
            let consumer = client.consumer("ends", Logged).unwrap();
            let end = |partition| {
                let marks = consumer.fetch_watermarks(&topic, partition, client.timeout());
                marks.unwrap().1
            };
            (0..PARTITIONS).map(end).sum()
        });
        asking.await.unwrap()
    }

    /// Waits until so many were written to it.
    pub(crate) async fn until_written(&self, topic: &str, wanted: i64) {
        let waiting = async {
            while self.written(topic).await < wanted {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("{topic} has not {wanted} records"));
    }

    /// Deletes all records that are in it.
    pub(crate) async fn empty(&self, topic: &str) {
        let mut ends = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            ends.add_partition_offset(topic, partition, Offset::End)
                .unwrap();
        }
        let (admin, options) = self.0.admin().unwrap();
        let deleted = admin.delete_records(&ends, &options).await.unwrap();
        for partition in deleted.elements() {
            partition.error().unwrap();
        }
    }

    /// Deletes it.
    pub(crate) async fn delete(&self, topic: &str) {
        let (admin, options) = self.0.admin().unwrap();
        let deleted = admin.delete_topics(&[topic], &options).await.unwrap();
        assert!(deleted.iter().all(Result::is_ok));
    }
}

/// A copy of all collections of a database.
pub(crate) struct Copied {
    url: String,
    collections: Vec<(String, Vec<Document>)>,
}

impl Copied {
    /// Copies each in the order of ids, as tools do.
    pub(crate) async fn of(url: &str) -> Self {
        let database = database(url).await;
        let mut collections = Vec::new();
        for name in database.list_collection_names().await.unwrap() {
            let collection = database.collection(&name);
            let all = collection.find(doc! {}).sort(doc! { "_id": 1 });
            let all = all.await.unwrap();
            collections.push((name, all.try_collect().await.unwrap()));
        }
        Self {
            url: url.to_owned(),
            collections,
        }
    }

    /// How many documents it has.
    pub(crate) fn len(&self) -> usize {
        self.collections.iter().map(|(_, all)| all.len()).sum()
    }

    /// Has the collections be as they were.
    pub(crate) async fn restore(&self) {
        let database = database(&self.url).await;
        for (name, documents) in &self.collections {
            let collection = database.collection::<Document>(name);
            collection.delete_many(doc! {}).await.unwrap();
            if !documents.is_empty() {
                collection.insert_many(documents).await.unwrap();
            }
        }
    }
}

async fn database(url: &str) -> mongodb::Database {
    let client = mongodb::Client::with_uri_str(url).await.unwrap();
    client.default_database().unwrap()
}
