//! How an event gets a new version: `docs/event-versions.md` tells it by this example.

use recourse_event_store::{
    Append, Direction, EventStore, ExpectedRevision, LogId, Metadata, NewEvent, StreamName,
    Visibility, memory, typed,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the code of today speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
enum Event {
    #[serde(rename = "parcel.sent.v3")]
    Sent(Sent),
    #[serde(rename = "parcel.lost.v1")]
    Lost(Lost),
}

/// What was ever written.
#[derive(Deserialize)]
enum Stored {
    #[serde(rename = "parcel.sent.v1")]
    SentV1(SentV1),
    #[serde(rename = "parcel.sent.v2")]
    SentV2(SentV2),
    #[serde(rename = "parcel.sent.v3")]
    Sent(Sent),
    #[serde(rename = "parcel.lost.v1")]
    Lost(Lost),
}

impl From<Stored> for Event {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::SentV1(old) => Self::Sent(SentV2::from(old).into()),
            Stored::SentV2(old) => Self::Sent(old.into()),
            Stored::Sent(sent) => Self::Sent(sent),
            Stored::Lost(lost) => Self::Lost(lost),
        }
    }
}

/// Whole kilograms.
#[derive(Deserialize)]
struct SentV1 {
    kilograms: u32,
}

/// Grams.
#[derive(Deserialize)]
struct SentV2 {
    grams: u64,
}

/// Grams, and how it goes: by road, as all did before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sent {
    grams: u64,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    Road,
    Rail,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lost {}

impl From<SentV1> for SentV2 {
    fn from(old: SentV1) -> Self {
        Self {
            grams: u64::from(old.kilograms) * 1000,
        }
    }
}

impl From<SentV2> for Sent {
    fn from(old: SentV2) -> Self {
        Self {
            grams: old.grams,
            by: By::Road,
        }
    }
}

/// What each version looks like on disk, as a build of its time wrote it.
const STORED: [(&str, &str); 4] = [
    ("parcel.sent.v1", r#"{"kilograms":2}"#),
    ("parcel.sent.v2", r#"{"grams":1500}"#),
    ("parcel.sent.v3", r#"{"grams":10,"by":"rail"}"#),
    ("parcel.lost.v1", r#"{}"#),
];

fn present() -> Vec<Event> {
    let sent = |grams, by| Event::Sent(Sent { grams, by });
    vec![
        sent(2000, By::Road),
        sent(1500, By::Road),
        sent(10, By::Rail),
        Event::Lost(Lost {}),
    ]
}

#[tokio::test]
async fn stored_bytes_of_every_version_are_read_as_the_present_event() {
    let store = memory::Store::new(LogId(Uuid::nil()));
    let stream = StreamName::new("parcel", "1");
    let events = STORED
        .iter()
        .zip(1..)
        .map(|((event_type, data), id)| {
            NewEvent::raw(Uuid::from_u128(id), *event_type, *data, "{}")
        })
        .collect();
    let append = Append {
        stream: stream.clone(),
        expected: ExpectedRevision::NoStream,
        events,
    };
    for appended in store.append(vec![append]).await {
        appended.unwrap();
    }
    let read = store
        .read_stream(&stream, None, Direction::Forward, Visibility::Appended, 10)
        .await
        .unwrap();
    let decoded: Vec<Event> = read
        .iter()
        .map(|event| (*event.decode::<Event>().unwrap()).clone())
        .collect();
    assert_eq!(decoded, present());
    for (event, (event_type, data)) in read.iter().zip(STORED) {
        assert_eq!(&*event.event.event_type, event_type, "the log keeps it");
        assert_eq!(&event.event.data[..], data.as_bytes());
    }
}

#[test]
fn what_is_written_is_the_present_version() {
    let metadata = Metadata::new(
        Uuid::nil(),
        Uuid::nil(),
        chrono::DateTime::UNIX_EPOCH,
        LogId(Uuid::nil()),
    );
    for (event, expected) in present().into_iter().zip([
        "parcel.sent.v3",
        "parcel.sent.v3",
        "parcel.sent.v3",
        "parcel.lost.v1",
    ]) {
        let stream = StreamName::new("parcel", "1");
        let new = NewEvent::encode(event.clone(), metadata.clone(), &stream, 0).unwrap();
        assert_eq!(&*new.event_type, expected);
        assert_eq!(typed::decode::<Event>(expected, &new.data).unwrap(), event);
    }
}

#[test]
fn an_old_version_is_not_taken_for_a_type_that_nobody_knows() {
    assert!(matches!(
        typed::decode::<Event>("parcel.sent.v1", b"{\"grams\":1}"),
        Err(typed::Error::Malformed { .. })
    ));
    assert!(matches!(
        typed::decode::<Event>("parcel.sent.v4", b"{}"),
        Err(typed::Error::UnknownType(_))
    ));
}
