//! What an event carries: its data, and the metadata that says why it is there.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha1::{Digest, Sha1};
use uuid::{Builder, Uuid};

use crate::{LogId, Mark, Position, StreamName, typed};

/// Why an event is there: on whose behalf, caused by what, answering which command.
///
/// Written once by whoever appends; the keys that start with `$` are `EventStoreDB`'s own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The unit of order and ownership: the order's id, elsewhere the aggregate's.
    #[serde(rename = "$correlationId")]
    pub correlation_id: Uuid,
    /// The event or client command that this one follows from.
    #[serde(rename = "$causationId")]
    pub causation_id: Uuid,
    /// When the service decided it, by its own clock.
    pub recorded_at: DateTime<Utc>,
    /// The log it was written for.
    pub log: LogId,
    /// Who asked, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The client's `Correlation-Id`, for logs and search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The W3C trace context of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The client command that wrote this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<Uuid>,
    /// A digest of the client command's body: another body under the same id is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<Uuid>,
    /// The saga command that this event takes: from here on its stream's mark is past it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The saga command that is recorded as an intent here and will be answered later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<Taken>,
    /// The saga commands that this event answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answered>,
    /// That the answer is no, and why; absent where it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

impl Metadata {
    /// Metadata that answers nothing.
    #[must_use]
    pub fn new(
        correlation_id: Uuid,
        causation_id: Uuid,
        recorded_at: DateTime<Utc>,
        log: LogId,
    ) -> Self {
        Self {
            correlation_id,
            causation_id,
            recorded_at,
            log,
            actor: None,
            request_id: None,
            traceparent: None,
            command_id: None,
            body_hash: None,
            mark: None,
            takes: None,
            answers: Vec::new(),
            refused: None,
        }
    }
}

/// A saga command that an event answers, and the saga that waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answered {
    /// The command's id.
    pub command: Uuid,
    /// The stream of the saga that sent it.
    pub saga: StreamName,
}

/// A saga command that was taken and whose answer is still to come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Taken {
    /// The command and who waits for it.
    #[serde(flatten)]
    pub answered: Answered,
    /// The operation whose outcome will be the answer: `authorize`, `capture`, `void`.
    pub operation: String,
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// A stable, kebab-case code: `out-of-stock`.
    pub code: String,
    /// What is wrong, for a person.
    pub detail: String,
    /// That asking again cannot help.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_final: bool,
}

impl Refused {
    /// Why asking again cannot help. `code` is stable, kebab-case.
    #[must_use]
    pub fn for_good(code: &str, why: impl fmt::Display) -> Self {
        Self {
            code: code.to_owned(),
            detail: why.to_string(),
            is_final: true,
        }
    }

    /// Why not now, though asking again may help. `code` is stable, kebab-case.
    #[must_use]
    pub fn for_now(code: &str, why: impl fmt::Display) -> Self {
        Self {
            is_final: false,
            ..Self::for_good(code, why)
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// So that the rules of an aggregate may refuse with it where no type of their own says more.
impl std::error::Error for Refused {}

/// An event about to be appended. Encoded once, here; whoever reads it in the same process
/// gets the decoded value along with the bytes.
#[derive(Clone)]
pub struct NewEvent {
    /// Its id: a repeated append is recognised by it.
    pub id: Uuid,
    /// `<noun>.<past-participle>.v<n>`.
    pub event_type: Arc<str>,
    /// JSON.
    pub data: Bytes,
    /// JSON of a [`Metadata`].
    pub metadata: Bytes,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
    parsed: OnceLock<Arc<Metadata>>,
}

/// Of every id of an event of ours.
const EVENT_IDS: Uuid = Uuid::from_u128(0x8f1e_51c4_3a77_5d0f_9b64_0d9e_7a41_c5e2);

impl NewEvent {
    /// Encodes a typed event. `index` tells apart the events that one cause writes into one
    /// stream; the id follows from cause, stream, index and content.
    ///
    /// # Errors
    /// [`typed::Error::NotTyped`] where the value is not a newtype variant of an enum.
    pub fn encode<E>(
        event: E,
        metadata: Metadata,
        stream: &StreamName,
        index: usize,
    ) -> Result<Self, typed::Error>
    where
        E: Serialize + Send + Sync + 'static,
    {
        let (event_type, data) = typed::encode(&event)?;
        let id = name_based(
            &EVENT_IDS,
            &[
                metadata.causation_id.as_bytes(),
                stream.as_str().as_bytes(),
                &(index as u64).to_be_bytes(),
                event_type.as_bytes(),
                &data,
            ],
        );
        let new = Self::raw(
            id,
            event_type,
            data,
            serde_json::to_vec(&metadata).map_err(|_| typed::Error::NotTyped)?,
        );
        // Both cells are empty: the value was made on the line above.
        let _ = new.decoded.set(Arc::new(event));
        let _ = new.parsed.set(Arc::new(metadata));
        Ok(new)
    }

    /// An event as bytes.
    #[must_use]
    pub fn raw(
        id: Uuid,
        event_type: impl Into<Arc<str>>,
        data: impl Into<Bytes>,
        metadata: impl Into<Bytes>,
    ) -> Self {
        Self {
            id,
            event_type: event_type.into(),
            data: data.into(),
            metadata: metadata.into(),
            decoded: OnceLock::new(),
            parsed: OnceLock::new(),
        }
    }

    /// The event with its place in the log: what an adapter does when it appends.
    #[must_use]
    pub fn record(self, position: Position, stream: StreamName, revision: u64) -> RecordedEvent {
        RecordedEvent {
            position,
            stream,
            revision,
            event: self,
        }
    }
}

/// A UUIDv5 of a name in parts. The crate `uuid` makes the same, at a quarter of the speed: it
/// does not use the processor's instructions for SHA-1, and an event's content is a long name.
fn name_based(namespace: &Uuid, parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha1::new_with_prefix(namespace.as_bytes());
    for part in parts {
        hash.update(part);
    }
    let mut bytes = [0; 16];
    for (byte, hashed) in bytes.iter_mut().zip(hash.finalize()) {
        *byte = hashed;
    }
    Builder::from_sha1_bytes(bytes).into_uuid()
}

impl std::fmt::Debug for NewEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewEvent")
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            // What the data says may be secret.
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// An event in its place in the log.
#[derive(Clone, Debug)]
pub struct RecordedEvent {
    /// Its place in the log.
    pub position: Position,
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its place in that stream, from 0.
    pub revision: u64,
    /// What was appended.
    pub event: NewEvent,
}

impl RecordedEvent {
    /// The event as one of `E`, decoded at most once however many read it.
    ///
    /// # Errors
    /// [`typed::Error::UnknownType`] and [`typed::Error::Malformed`], as [`typed::decode`].
    pub fn decode<E: DeserializeOwned + Send + Sync + 'static>(
        &self,
    ) -> Result<Arc<E>, typed::Error> {
        if let Some(shared) = self.event.decoded.get()
            && let Ok(event) = Arc::clone(shared).downcast::<E>()
        {
            return Ok(event);
        }
        let event = Arc::new(typed::decode::<E>(
            &self.event.event_type,
            &self.event.data,
        )?);
        // A second type for the same event is decoded again by each who wants it.
        let _ = self
            .event
            .decoded
            .set(Arc::clone(&event) as Arc<dyn Any + Send + Sync>);
        Ok(event)
    }

    /// Why the event is there, parsed at most once.
    ///
    /// # Errors
    /// [`typed::Error::Malformed`] where the metadata is not ours.
    pub fn metadata(&self) -> Result<&Metadata, typed::Error> {
        if let Some(metadata) = self.event.parsed.get() {
            return Ok(metadata);
        }
        let metadata = serde_json::from_slice(&self.event.metadata).map_err(|source| {
            typed::Error::Malformed {
                event_type: self.event.event_type.to_string(),
                source,
            }
        })?;
        Ok(self.event.parsed.get_or_init(|| Arc::new(metadata)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_parts_is_the_uuid_of_the_whole_name() {
        let whole = Uuid::new_v5(&EVENT_IDS, b"order-1 placed");
        let parts: [&[u8]; 3] = [b"order-1", b" ", b"placed"];
        assert_eq!(name_based(&EVENT_IDS, &parts), whole);
    }
}
