//! The form of the records: `CloudEvents` 1.0 in Kafka's binary mode.
//!
//! What is in the log is the value, byte for byte; all that is known of it is in headers. Our own
//! attributes stand beside those of the specification, under the same `ce_`.

use std::str::FromStr;

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use recourse_event_store::{LogId, Mark, NewEvent, Position, RecordedEvent, StreamName};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{Command, Delivery, Json};

/// The headers, and what each holds.
pub const HEADERS: &[(&str, &str)] = &[
    (SPECVERSION, "`1.0`"),
    (ID, "the id of the event or command"),
    (SOURCE, "`urn:recourse:log:<id of the log>`"),
    (TYPE, "the type of the event or command"),
    (
        TIME,
        "when the event was recorded, or the one that carries the command",
    ),
    (SUBJECT, "the event's stream, or the command's target"),
    (CONTENT_TYPE, "`application/json` where there is a value"),
    (
        TRACEPARENT,
        "the W3C trace context of the request, where there was one",
    ),
    (LOG, "the id of the log"),
    (
        POSITION,
        "the place of the event in the log, or of the one that carries the command",
    ),
    (INDEX, "which command of that event it is, from 0"),
    (
        PREVIOUS,
        "`<position>:<index>` of the record before it in its partition",
    ),
    (
        CONSIDERED,
        "the partition holds all that belongs to it up to this position",
    ),
    (
        REVISION,
        "the place of the event in its stream, or of the one that carries the command",
    ),
    (METADATA, "the metadata of that event, JSON"),
    (
        UNDOES,
        "the ids of the commands that this command undoes, separated by commas",
    ),
    (CAUSE, "the id of the event that carries the command"),
    (CAUSE_TYPE, "the type of the event that carries the command"),
    (SAGA, "the stream of the saga that sent the command"),
    (NEXT, "the generation that goes on where this one ends"),
];

const SPECVERSION: &str = "ce_specversion";
const ID: &str = "ce_id";
const SOURCE: &str = "ce_source";
const TYPE: &str = "ce_type";
const TIME: &str = "ce_time";
const SUBJECT: &str = "ce_subject";
const CONTENT_TYPE: &str = "content-type";
const TRACEPARENT: &str = "traceparent";
const LOG: &str = "ce_log";
const POSITION: &str = "ce_position";
const INDEX: &str = "ce_index";
const PREVIOUS: &str = "ce_previous";
const CONSIDERED: &str = "ce_considered";
const REVISION: &str = "ce_revision";
const METADATA: &str = "ce_metadata";
const UNDOES: &str = "ce_undoes";
const CAUSE: &str = "ce_cause";
const CAUSE_TYPE: &str = "ce_causetype";
const SAGA: &str = "ce_saga";
const NEXT: &str = "ce_next";

/// The type of a record that only says how far its partition has come.
const CONSIDERED_TYPE: &str = "recourse.considered.v1";
/// The type of the last record of a partition.
const ENDED_TYPE: &str = "recourse.generation-ended.v1";

/// A record.
#[derive(Clone, Debug)]
pub struct Record {
    /// The log that it comes from.
    pub log: LogId,
    /// The place of the record before it in its partition; where there is none, the position that
    /// its generation begins after.
    pub previous: Mark,
    /// The partition holds all that belongs to it up to here.
    pub considered: Option<Position>,
    /// What it is.
    pub body: Body,
}

/// What a record is.
#[derive(Clone, Debug)]
pub enum Body {
    /// An event.
    Event(RecordedEvent),
    /// A command. The event that carries it comes without its data, of which the command is all
    /// that concerns its target.
    Command(Delivery),
    /// Nothing but how far the partition has come.
    Considered,
    /// That nothing follows: the generation that goes on.
    Ended(u32),
}

/// A record as Kafka takes it.
#[derive(Debug)]
pub struct Encoded {
    /// What is of one order.
    pub key: Option<String>,
    /// The data of the event or command.
    pub value: Option<Bytes>,
    /// Everything else.
    pub headers: OwnedHeaders,
}

/// What in a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record at offset {offset} of partition {partition} of `{topic}`: its `{part}` cannot be read"
)]
pub struct Unreadable {
    /// Which topic.
    pub topic: String,
    /// Which partition of it.
    pub partition: i32,
    /// Where in that.
    pub offset: i64,
    /// The header, or the value.
    pub part: &'static str,
    /// The place in the log, where its header can be read.
    pub position: Option<Position>,
}

impl Body {
    /// Its place in the order of its partition; none where it has none.
    #[must_use]
    pub fn place(&self) -> Option<Mark> {
        match self {
            Self::Event(event) => Some(Mark {
                position: event.position,
                index: 0,
            }),
            Self::Command(delivery) => Some(delivery.mark),
            Self::Considered | Self::Ended(_) => None,
        }
    }
}

impl Record {
    /// As Kafka takes it, under this key.
    #[must_use]
    pub fn encode(&self, key: Option<String>) -> Encoded {
        let mut headers = Written(OwnedHeaders::new_with_capacity(16));
        headers.put(SPECVERSION, "1.0");
        headers.put(SOURCE, format!("urn:recourse:log:{}", self.log));
        headers.put(LOG, self.log.to_string());
        headers.put(PREVIOUS, place_text(self.previous));
        if let Some(considered) = self.considered {
            headers.put(CONSIDERED, considered.to_string());
        }
        let value = match &self.body {
            Body::Event(event) => {
                headers.put(ID, event.event.id.to_string());
                headers.put(TYPE, &*event.event.event_type);
                headers.put(SUBJECT, event.stream.as_str());
                headers.put(POSITION, event.position.to_string());
                headers.of(event);
                Some(event.event.data.clone())
            }
            Body::Command(Delivery {
                command,
                mark,
                event,
            }) => {
                headers.put(ID, command.id.to_string());
                headers.put(TYPE, &*command.command_type);
                headers.put(SUBJECT, command.target.as_str());
                headers.put(POSITION, mark.position.to_string());
                headers.put(INDEX, mark.index.to_string());
                if !command.undoes.is_empty() {
                    let ids: Vec<_> = command.undoes.iter().map(Uuid::to_string).collect();
                    headers.put(UNDOES, ids.join(","));
                }
                headers.put(CAUSE, event.event.id.to_string());
                headers.put(CAUSE_TYPE, &*event.event.event_type);
                headers.put(SAGA, event.stream.as_str());
                headers.of(event);
                Some(Bytes::copy_from_slice(command.data.as_str().as_bytes()))
            }
            Body::Considered => {
                let at = self.considered.unwrap_or_default();
                headers.put(ID, format!("considered-{at}"));
                headers.put(TYPE, CONSIDERED_TYPE);
                None
            }
            Body::Ended(next) => {
                headers.put(ID, format!("ended-before-{next}"));
                headers.put(TYPE, ENDED_TYPE);
                headers.put(NEXT, next.to_string());
                None
            }
        };
        if value.is_some() {
            headers.put(CONTENT_TYPE, "application/json");
        }
        Encoded {
            key,
            value,
            headers: headers.0,
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Where it did not.
    pub fn decode(message: &BorrowedMessage<'_>) -> Result<Self, Unreadable> {
        Read::new(message)
            .and_then(|read| read.record())
            .map_err(|part| Unreadable {
                topic: message.topic().to_owned(),
                partition: message.partition(),
                offset: message.offset(),
                part,
                position: Read::new(message).and_then(|it| it.parsed(POSITION)).ok(),
            })
    }
}

/// `<position>:<index>`.
pub(super) fn place_text(place: Mark) -> String {
    format!("{}:{}", place.position, place.index)
}

/// Reads what [`place_text`] wrote.
pub(super) fn parse_place(text: &str) -> Option<Mark> {
    let (position, index) = text.split_once(':')?;
    Some(Mark {
        position: position.parse().ok()?,
        index: index.parse().ok()?,
    })
}

/// Headers on their way out.
struct Written(OwnedHeaders);

impl Written {
    fn put(&mut self, key: &str, value: impl AsRef<[u8]>) {
        let headers = std::mem::take(&mut self.0);
        self.0 = headers.insert(Header {
            key,
            value: Some(value.as_ref()),
        });
    }

    /// What is said of the event that a record is or comes from.
    fn of(&mut self, event: &RecordedEvent) {
        self.put(REVISION, event.revision.to_string());
        // A guest's event may have metadata of its own form.
        if let Ok(metadata) = event.metadata() {
            let time = metadata.recorded_at;
            self.put(
                TIME,
                time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            );
            if let Some(traceparent) = &metadata.traceparent {
                self.put(TRACEPARENT, traceparent);
            }
        }
        self.put(METADATA, &event.event.metadata);
    }
}

/// Headers and value of a record, each read when it is asked for.
struct Read<'a> {
    headers: Vec<(&'a str, &'a [u8])>,
    value: Option<&'a [u8]>,
}

impl<'a> Read<'a> {
    fn new(message: &'a BorrowedMessage<'_>) -> Result<Self, &'static str> {
        let headers = message.headers().ok_or("headers")?;
        let headers = headers
            .iter()
            .map(|header| (header.key, header.value.unwrap_or_default()))
            .collect();
        Ok(Self {
            headers,
            value: message.payload(),
        })
    }

    fn record(self) -> Result<Record, &'static str> {
        let considered = self.parsed_if_any(CONSIDERED)?;
        let event_type = self.text(TYPE)?;
        // A guest may call an event of theirs as we call our own records, which have no place.
        let has_place = self.bytes(POSITION).is_some();
        let body = match event_type {
            _ if self.bytes(SAGA).is_some() => Body::Command(self.delivery()?),
            _ if has_place => {
                let event = self.event(self.parsed(ID)?, event_type, self.value()?)?;
                let stream = self.stream(SUBJECT)?;
                Body::Event(event.record(self.parsed(POSITION)?, stream, self.parsed(REVISION)?))
            }
            CONSIDERED_TYPE => Body::Considered,
            ENDED_TYPE => Body::Ended(self.parsed(NEXT)?),
            _ => return Err(POSITION),
        };
        Ok(Record {
            log: LogId(self.parsed(LOG)?),
            previous: parse_place(self.text(PREVIOUS)?).ok_or(PREVIOUS)?,
            considered,
            body,
        })
    }

    fn delivery(&self) -> Result<Delivery, &'static str> {
        let data = std::str::from_utf8(self.value()?)
            .ok()
            .and_then(|text| RawValue::from_string(text.to_owned()).ok())
            .ok_or("value")?;
        let undoes = match self.bytes(UNDOES) {
            None => Ok(vec![]),
            Some(_) => self.text(UNDOES)?.split(',').map(Uuid::from_str).collect(),
        };
        let command = Command {
            id: self.parsed(ID)?,
            target: self.stream(SUBJECT)?,
            command_type: self.text(TYPE)?.to_owned(),
            data: Json::from(data),
            undoes: undoes.map_err(|_| UNDOES)?,
        };
        let mark = Mark {
            position: self.parsed(POSITION)?,
            index: self.parsed(INDEX)?,
        };
        let event = self.event(self.parsed(CAUSE)?, self.text(CAUSE_TYPE)?, &[])?;
        let event = event.record(mark.position, self.stream(SAGA)?, self.parsed(REVISION)?);
        Ok(Delivery {
            command,
            mark,
            event: event.into(),
        })
    }

    fn event(&self, id: Uuid, event_type: &str, data: &[u8]) -> Result<NewEvent, &'static str> {
        let metadata = self.bytes(METADATA).ok_or(METADATA)?;
        Ok(NewEvent::raw(
            id,
            event_type,
            Bytes::copy_from_slice(data),
            Bytes::copy_from_slice(metadata),
        ))
    }

    fn value(&self) -> Result<&'a [u8], &'static str> {
        self.value.ok_or("value")
    }

    fn bytes(&self, key: &str) -> Option<&'a [u8]> {
        let (_, value) = self.headers.iter().find(|(name, _)| *name == key)?;
        Some(value)
    }

    fn text(&self, key: &'static str) -> Result<&'a str, &'static str> {
        let bytes = self.bytes(key).ok_or(key)?;
        std::str::from_utf8(bytes).map_err(|_| key)
    }

    fn stream(&self, key: &'static str) -> Result<StreamName, &'static str> {
        StreamName::parse(self.text(key)?).map_err(|_| key)
    }

    fn parsed<T: FromStr>(&self, key: &'static str) -> Result<T, &'static str> {
        self.text(key)?.parse().map_err(|_| key)
    }

    fn parsed_if_any<T: FromStr>(&self, key: &'static str) -> Result<Option<T>, &'static str> {
        match self.bytes(key) {
            Some(_) => Ok(Some(self.parsed(key)?)),
            None => Ok(None),
        }
    }
}
