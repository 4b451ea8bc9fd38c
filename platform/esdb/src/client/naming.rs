//! What the log is called: kept in a stream of the log itself, so that it goes where the log goes.
//!
//! The first that connects writes it; of several, the expected revision lets one win. Who restores
//! a log from a backup may write another name after it, as `recourse restore` does with a log of
//! its own kind: the names before it are then the former ones.

use futures::stream;
use recourse_event_store::{LogId, Position};
use serde::{Deserialize, Serialize};
use tonic::Status;
use uuid::Uuid;

use super::{connection::Link, reading};
use crate::{
    message::{CONTENT_TYPE, Ids, JSON, TYPE, identifier, uuid},
    wire::streams::{
        AppendReq,
        append_req::{Content, Options, ProposedMessage, options::ExpectedStreamRevision},
        append_resp,
        read_req::options::{
            ReadDirection, StreamOption, StreamOptions, stream_options::RevisionOption,
        },
        read_resp,
    },
};

/// The stream that the names are kept in. It is the store's own: no reader of the log sees it.
pub(crate) const STREAM: &str = "recourse-log";
/// The type of its events.
pub(crate) const EVENT_TYPE: &str = "log.named.v1";
/// How often a log is renamed at most.
const MAX_NAMES: u64 = 4_096;

/// The names of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Its name now.
    pub(super) id: LogId,
    /// Those before, oldest first, each with the last position under it.
    pub(super) former: Vec<(LogId, Position)>,
}

/// The data of an event that names the log.
#[derive(Deserialize, Serialize)]
pub(crate) struct Named {
    /// What it is called from here on.
    pub(crate) id: Uuid,
}

/// The names of the log that is there; `name` where it has none yet.
pub(super) async fn names(link: &Link, name: LogId) -> Result<Names, Status> {
    if let Some(names) = read(link).await? {
        return Ok(names);
    }
    write(link, name).await?;
    read(link)
        .await?
        .ok_or_else(|| Status::unavailable("the log's name was written and is not there"))
}

async fn read(link: &Link) -> Result<Option<Names>, Status> {
    let options = reading::options(
        StreamOption::Stream(StreamOptions {
            stream_identifier: Some(identifier(STREAM)),
            revision_option: Some(RevisionOption::Start(())),
        }),
        ReadDirection::Forwards,
        MAX_NAMES,
    );
    let mut names: Option<Names> = None;
    for content in reading::collect(link, options).await? {
        let read_resp::Content::Event(event) = content else {
            continue;
        };
        let Some(event) = event.event else {
            continue;
        };
        let named: Named = serde_json::from_slice(&event.data).map_err(|error| {
            Status::data_loss(format!(
                "{STREAM} does not say what the log is called: {error}"
            ))
        })?;
        let id = LogId(named.id);
        let position = Position {
            commit: event.commit_position,
            prepare: event.prepare_position,
        };
        names = Some(match names {
            None => Names {
                id,
                former: Vec::new(),
            },
            Some(mut names) => {
                names.former.push((names.id, position));
                names.id = id;
                names
            }
        });
    }
    Ok(names)
}

/// Another one may be faster, and then it is that one's.
async fn write(link: &Link, name: LogId) -> Result<(), Status> {
    let data = serde_json::to_vec(&Named { id: name.0 })
        .map_err(|error| Status::internal(error.to_string()))?;
    let options = AppendReq {
        content: Some(Content::Options(Options {
            stream_identifier: Some(identifier(STREAM)),
            expected_stream_revision: Some(ExpectedStreamRevision::NoStream(())),
        })),
    };
    let event = AppendReq {
        content: Some(Content::ProposedMessage(ProposedMessage {
            id: Some(uuid(name.0, Ids::Structured)),
            metadata: [(TYPE, EVENT_TYPE), (CONTENT_TYPE, JSON)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            custom_metadata: b"{}".as_slice().into(),
            data: data.into(),
        })),
    };
    let request = link.request(stream::iter([options, event]));
    let answer = link.appends.clone().append(request).await?.into_inner();
    match answer.result {
        Some(append_resp::Result::Success(_) | append_resp::Result::WrongExpectedVersion(_)) => {
            Ok(())
        }
        None => Err(Status::unavailable("an append without an answer")),
    }
}
