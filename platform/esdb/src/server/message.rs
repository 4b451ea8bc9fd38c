//! What clients are shown, as the protocol has it.

use std::{collections::BTreeMap, sync::Arc};

use recourse_event_store::{Position, RecordedEvent, StreamName};
use tonic::Status;
use uuid::Uuid;

pub(crate) use crate::message::{CONTENT_TYPE, Ids, JSON, TYPE, identifier, read_uuid, uuid};
use crate::{
    message::CREATED,
    server::Policy,
    wire::{
        StreamIdentifier,
        streams::{
            ReadResp,
            read_req::options::{UuidOption, uuid_option},
            read_resp::{
                CaughtUp, Checkpoint, Content, FellBehind, Position as WirePosition, ReadEvent,
                StreamNotFound, SubscriptionConfirmation, read_event,
            },
        },
    },
};

/// How a client wants ids.
pub(crate) fn ids_asked(option: Option<UuidOption>) -> Ids {
    match option.and_then(|option| option.content) {
        Some(uuid_option::Content::String(())) => Ids::Text,
        Some(uuid_option::Content::Structured(())) | None => Ids::Structured,
    }
}

/// The text of a stream's name.
pub(crate) fn read_identifier(identifier: Option<StreamIdentifier>) -> Result<String, Status> {
    let name = identifier.ok_or_else(|| Status::invalid_argument("a stream has a name"))?;
    String::from_utf8(name.stream_name.into())
        .map_err(|_| Status::invalid_argument("a stream's name is UTF-8"))
}

/// How events are shown to one reader.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) ids: Ids,
    pub(crate) policy: Arc<dyn Policy>,
}

impl Shape {
    pub(crate) fn event(&self, event: &RecordedEvent) -> ReadResp {
        let metadata = BTreeMap::from([
            (TYPE.to_owned(), event.event.event_type.to_string()),
            (CONTENT_TYPE.to_owned(), JSON.to_owned()),
            (CREATED.to_owned(), created(event).to_string()),
        ]);
        let recorded = read_event::RecordedEvent {
            id: Some(uuid(event.event.id, self.ids)),
            stream_identifier: Some(identifier(event.stream.as_str().to_owned())),
            stream_revision: event.revision,
            prepare_position: event.position.prepare,
            commit_position: event.position.commit,
            metadata,
            custom_metadata: event.event.metadata.clone(),
            data: self.policy.show(event),
        };
        response(Content::Event(ReadEvent {
            event: Some(recorded),
            link: None,
            position: Some(read_event::Position::CommitPosition(event.position.commit)),
        }))
    }
}

/// When it was decided, in the protocol's unit of 100 ns since 1970; 0 where that is not known.
fn created(event: &RecordedEvent) -> u64 {
    event
        .metadata()
        .ok()
        .and_then(|metadata| u64::try_from(metadata.recorded_at.timestamp_micros()).ok())
        .map_or(0, |micros| micros.saturating_mul(10))
}

fn response(content: Content) -> ReadResp {
    ReadResp {
        content: Some(content),
    }
}

pub(crate) fn not_found(stream: String) -> ReadResp {
    response(Content::StreamNotFound(StreamNotFound {
        stream_identifier: Some(identifier(stream)),
    }))
}

pub(crate) fn confirmation(subscription: Uuid) -> ReadResp {
    response(Content::Confirmation(SubscriptionConfirmation {
        subscription_id: subscription.to_string(),
    }))
}

pub(crate) fn checkpoint(considered: Position) -> ReadResp {
    response(Content::Checkpoint(Checkpoint {
        commit_position: considered.commit,
        prepare_position: considered.prepare,
        timestamp: None,
    }))
}

/// How far a follower has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reached {
    All(Position),
    Stream(Option<u64>),
}

impl Reached {
    fn parts(self) -> (Option<i64>, Option<WirePosition>) {
        match self {
            Self::All(position) => {
                let position = WirePosition {
                    commit_position: position.commit,
                    prepare_position: position.prepare,
                };
                (None, Some(position))
            }
            Self::Stream(revision) => {
                (revision.and_then(|revision| revision.try_into().ok()), None)
            }
        }
    }
}

pub(crate) fn caught_up(reached: Reached) -> ReadResp {
    let (stream_revision, position) = reached.parts();
    response(Content::CaughtUp(CaughtUp {
        timestamp: None,
        stream_revision,
        position,
    }))
}

pub(crate) fn fell_behind(reached: Reached) -> ReadResp {
    let (stream_revision, position) = reached.parts();
    response(Content::FellBehind(FellBehind {
        timestamp: None,
        stream_revision,
        position,
    }))
}

/// A stream that can be there: others have no events.
pub(crate) fn possible(name: &str) -> Option<StreamName> {
    StreamName::parse(name).ok()
}
