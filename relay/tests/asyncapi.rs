//! `schemas/asyncapi.yaml` says what is written to Kafka, and nothing else is.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing"
)]

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use rdkafka::message::Headers as _;
use recourse_bus::{
    Command, Delivery, Json,
    kafka::{Body, HEADERS, Keyed, Record, Topics},
};
use recourse_event_store::{LogId, Mark, Metadata, NewEvent, Position, RecordedEvent, StreamName};
use recourse_relay::Options;
use serde_json::Value;
use uuid::Uuid;

fn schemas() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

fn description() -> Value {
    let text = fs::read_to_string(schemas().join("asyncapi.yaml")).unwrap();
    serde_yaml_ng::from_str(&text).unwrap()
}

fn words(value: &Value) -> BTreeSet<String> {
    let words = value.as_array().unwrap().iter();
    words
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

const LOG: LogId = LogId(Uuid::from_u128(7));

fn event(traceparent: Option<&str>, position: u64) -> RecordedEvent {
    let mut metadata = Metadata::new(Uuid::nil(), Uuid::nil(), chrono::DateTime::UNIX_EPOCH, LOG);
    metadata.traceparent = traceparent.map(str::to_owned);
    let metadata = serde_json::to_vec(&metadata).unwrap();
    NewEvent::raw(Uuid::nil(), "order.placed.v1", "{}", metadata).record(
        Position::dense(position),
        StreamName::new("order", "a"),
        0,
    )
}

fn command(traceparent: Option<&str>, undoes: Vec<Uuid>) -> Delivery {
    let command = Command {
        id: Uuid::nil(),
        target: StreamName::new("stock", "tea-1"),
        command_type: "stock.reserve".to_owned(),
        data: Json::write(&1).unwrap(),
        undoes,
    };
    let event = Arc::new(event(traceparent, 3));
    let mark = Mark {
        position: event.position,
        index: 0,
    };
    Delivery {
        command,
        mark,
        event,
    }
}

/// The names of the headers that a record of this body has.
fn headers(considered: Option<Position>, body: Body) -> BTreeSet<String> {
    let record = Record {
        log: LOG,
        previous: Mark::default(),
        considered,
        body,
    };
    let encoded = record.encode(None);
    let headers = encoded.headers.as_borrowed().iter();
    headers.map(|header| header.key.to_owned()).collect()
}

#[test]
fn every_header_is_described_and_no_other() {
    let description = description();
    let at = Some(Position::dense(9));
    let trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let mut guest = event(None, 3);
    guest.event = NewEvent::raw(Uuid::nil(), "thing.happened", "{}", "no metadata of ours");
    let full_and_least = [
        (
            "event",
            headers(at, Body::Event(event(trace, 3))),
            headers(None, Body::Event(guest)),
        ),
        (
            "command",
            headers(at, Body::Command(command(trace, vec![Uuid::nil()]))),
            headers(None, Body::Command(command(None, vec![]))),
        ),
        (
            "considered",
            headers(at, Body::Considered),
            headers(at, Body::Considered),
        ),
        (
            "ended",
            headers(None, Body::Ended(2)),
            headers(None, Body::Ended(2)),
        ),
    ];
    let mut all = BTreeSet::new();
    for (message, full, least) in full_and_least {
        let said = &description["components"]["messages"][message]["headers"];
        let described: BTreeSet<_> = said["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(described, full, "{message}");
        let required = words(&said["required"]);
        assert!(
            required.is_subset(&least),
            "{message}: {required:?} {least:?}"
        );
        all.extend(full);
    }
    let listed: BTreeSet<_> = HEADERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(all, listed);
}

#[test]
fn topics_are_described_as_the_relay_makes_them() {
    let description = description();
    let options = Options::default();
    let topics = Topics::new(&options.kafka.prefix);
    let channels = &description["channels"];
    let generic = |name: String| name.replace("g7", "g{generation}");
    for (channel, address, partitions) in [
        (
            "events",
            generic(topics.events(7)),
            options.event_partitions,
        ),
        (
            "commands",
            generic(topics.commands(7, "{category}")),
            options.command_partitions,
        ),
    ] {
        let said = &channels[channel];
        assert_eq!(said["address"], address);
        let kafka = &said["bindings"]["kafka"];
        assert_eq!(kafka["partitions"], partitions.get());
        let topic = &kafka["topicConfiguration"];
        assert_eq!(topic["retention.ms"], options.retention_ms);
        assert_eq!(topic["retention.bytes"], -1);
        assert_eq!(topic["max.message.bytes"], options.kafka.max_record_bytes);
        assert_eq!(
            words(&topic["cleanup.policy"]),
            ["delete".to_owned()].into()
        );
    }
    assert_eq!(channels["relay"]["address"], topics.relay());
    assert_eq!(channels.as_object().unwrap().len(), 3);
    let categories = words(&channels["commands"]["parameters"]["category"]["enum"]);
    assert_eq!(categories, options.command_categories.into_iter().collect());
    for (message, key) in [
        ("generation", Keyed::Generation(7).key()),
        ("checkpoint", Keyed::Checkpoint(7).key()),
    ] {
        let said = &description["components"]["messages"][message]["bindings"]["kafka"]["key"];
        let pattern = said["pattern"].as_str().unwrap();
        assert_eq!(pattern, format!("^{}$", key.replace(".7", "\\.[0-9]+")));
    }
}

#[test]
fn payloads_are_the_published_schemas() {
    let description = description();
    let payload = &description["components"]["messages"]["event"]["payload"]["anyOf"];
    let referred: BTreeSet<String> = payload
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|schema| schema["$ref"].as_str())
        .map(|file| file.strip_prefix("./").unwrap().to_owned())
        .collect();
    let published: BTreeSet<String> = fs::read_dir(schemas())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    assert_eq!(referred, published);
}

#[test]
fn what_is_referred_to_is_there() {
    fn check(root: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref")
                    && let Some(pointer) = target.strip_prefix('#')
                {
                    assert!(root.pointer(pointer).is_some(), "{target}");
                }
                fields.values().for_each(|value| check(root, value));
            }
            Value::Array(values) => values.iter().for_each(|value| check(root, value)),
            _ => {}
        }
    }
    let description = description();
    check(&description, &description);
}
