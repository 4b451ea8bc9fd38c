//! Appends: what a client proposes is checked, appended, and answered once it is durable.
//!
//! A repeat is recognised as EventStoreDB does: at an expected revision by the ids from there
//! on, and where any revision will do by the ids of the newest events of the stream.

pub(crate) mod batch;
mod proposal;

use recourse_event_store::{
    Append, AppendError, Direction, EventStore, ExpectedRevision, NewEvent, Position, StoreError,
    StreamName, Visibility,
};
use tonic::{Status, Streaming};

use crate::server::{
    Shared, message,
    refusal::{Expected, Refusal},
    wire::streams::{
        AppendReq, AppendResp,
        append_req::{Content, options::ExpectedStreamRevision},
        append_resp::{self, Success, WrongExpectedVersion, success, wrong_expected_version},
    },
};
use proposal::Proposal;

/// How many events of a stream are looked at for a repeat where any revision will do.
const RECALLED_EVENTS: usize = 64;
/// How often an append that will do at any revision is tried at the one that was found.
const MAX_ATTEMPTS: usize = 16;

/// Where the events of an append are.
#[derive(Clone, Copy, Debug)]
struct Placed {
    revision: u64,
    position: Position,
}

/// What became of an append, and what must be durable before that may be said.
struct Outcome {
    answer: Result<Placed, Refusal>,
    seen: Position,
}

impl Outcome {
    fn refused(refusal: Refusal) -> Self {
        Self {
            answer: Err(refusal),
            seen: Position::START,
        }
    }

    /// Waits until it may be said.
    async fn durable(self, store: &dyn EventStore) -> Result<Placed, Refusal> {
        store
            .wait_durable(self.seen)
            .await
            .map_err(Refusal::Store)?;
        self.answer
    }
}

/// `Append`: one append, its events one a message.
pub(crate) async fn append(
    shared: &Shared,
    mut messages: Streaming<AppendReq>,
) -> Result<AppendResp, Status> {
    let options = match messages.message().await?.and_then(|first| first.content) {
        Some(Content::Options(options)) => options,
        _ => {
            return Err(Status::invalid_argument(
                "an append begins with its options",
            ));
        }
    };
    let stream = message::read_identifier(options.stream_identifier)?;
    let expected = match options.expected_stream_revision {
        Some(ExpectedStreamRevision::Revision(revision)) => Expected::Revision(revision),
        Some(ExpectedStreamRevision::NoStream(())) => Expected::NoStream,
        Some(ExpectedStreamRevision::Any(())) => Expected::Any,
        Some(ExpectedStreamRevision::StreamExists(())) => Expected::Exists,
        None => return Err(Status::invalid_argument("an append expects a revision")),
    };
    let mut proposal =
        Proposal::begin(shared, &stream, expected).map_err(|refusal| refusal.status())?;
    while let Some(next) = messages.message().await? {
        let Some(Content::ProposedMessage(event)) = next.content else {
            return Err(Status::invalid_argument(
                "after its options an append has events",
            ));
        };
        proposal
            .add(event.id, event.metadata, event.custom_metadata, event.data)
            .map_err(|refusal| refusal.status())?;
    }
    let store = &*shared.store;
    let placed = place(store, proposal).await.durable(store).await;
    let result = match placed {
        Ok(placed) => append_resp::Result::Success(success(placed)),
        Err(Refusal::Conflict { expected, actual }) => {
            append_resp::Result::WrongExpectedVersion(conflict(expected, actual))
        }
        Err(refusal) => return Err(refusal.status()),
    };
    Ok(AppendResp {
        result: Some(result),
    })
}

fn success(placed: Placed) -> Success {
    Success {
        current_revision_option: Some(success::CurrentRevisionOption::CurrentRevision(
            placed.revision,
        )),
        position_option: Some(success::PositionOption::Position(append_resp::Position {
            commit_position: placed.position.commit,
            prepare_position: placed.position.prepare,
        })),
    }
}

/// Old clients read the first two, newer ones the others.
fn conflict(expected: Expected, actual: Option<u64>) -> WrongExpectedVersion {
    use wrong_expected_version::{
        CurrentRevisionOption as Current, CurrentRevisionOption2060 as OldCurrent,
        ExpectedRevisionOption as Wanted, ExpectedRevisionOption2060 as OldWanted,
    };
    WrongExpectedVersion {
        current_revision_option_20_6_0: Some(actual.map_or(
            OldCurrent::NoStream2060(()),
            OldCurrent::CurrentRevision2060,
        )),
        expected_revision_option_20_6_0: match expected {
            Expected::Any => Some(OldWanted::Any2060(())),
            Expected::Exists => Some(OldWanted::StreamExists2060(())),
            Expected::Revision(revision) => Some(OldWanted::ExpectedRevision2060(revision)),
            Expected::NoStream => None,
        },
        current_revision_option: Some(
            actual.map_or(Current::CurrentNoStream(()), Current::CurrentRevision),
        ),
        expected_revision_option: Some(match expected {
            Expected::Any => Wanted::ExpectedAny(()),
            Expected::Exists => Wanted::ExpectedStreamExists(()),
            Expected::Revision(revision) => Wanted::ExpectedRevision(revision),
            Expected::NoStream => Wanted::ExpectedNoStream(()),
        }),
    }
}

/// Appends it, and says what must be durable before the answer is given.
async fn place(store: &dyn EventStore, proposal: Proposal) -> Outcome {
    let Proposal {
        stream,
        expected,
        events,
        ..
    } = proposal;
    if events.is_empty() {
        return Outcome::refused(Refusal::Bad(
            "an append holds at least one event".to_owned(),
        ));
    }
    let placed = match expected {
        Expected::NoStream => {
            put(store, &stream, ExpectedRevision::NoStream, events, expected).await
        }
        Expected::Revision(revision) => {
            let at = ExpectedRevision::Exact(revision);
            put(store, &stream, at, events, expected).await
        }
        Expected::Any | Expected::Exists => put_at_end(store, &stream, events, expected).await,
    };
    match placed {
        Ok(placed) => Outcome {
            seen: placed.position,
            answer: Ok(placed),
        },
        // The refusal tells of a revision that may not be durable yet.
        Err(refusal @ Refusal::Conflict { .. }) => match store.appended().await {
            Ok(seen) => Outcome {
                answer: Err(refusal),
                seen,
            },
            Err(error) => Outcome::refused(Refusal::Store(error)),
        },
        Err(refusal) => Outcome::refused(refusal),
    }
}

/// Appends after whatever is there, unless that is already these events.
async fn put_at_end(
    store: &dyn EventStore,
    stream: &StreamName,
    events: Vec<NewEvent>,
    expected: Expected,
) -> Result<Placed, Refusal> {
    for _ in 0..MAX_ATTEMPTS {
        let newest = store
            .read_stream(
                stream,
                None,
                Direction::Backward,
                Visibility::Appended,
                RECALLED_EVENTS.saturating_add(events.len()),
            )
            .await
            .map_err(Refusal::Store)?;
        let there: Vec<_> = newest.iter().rev().collect();
        let repeated = there.windows(events.len()).rfind(|window| {
            window
                .iter()
                .zip(&events)
                .all(|(there, new)| there.event.id == new.id)
        });
        if let Some(last) = repeated.and_then(<[_]>::last) {
            return Ok(Placed {
                revision: last.revision,
                position: last.position,
            });
        }
        let last = newest.first().map(|event| event.revision);
        if expected == Expected::Exists && last.is_none() {
            return Err(Refusal::Conflict {
                expected,
                actual: None,
            });
        }
        let at = ExpectedRevision::after(last);
        match put(store, stream, at, events.clone(), expected).await {
            // Somebody was faster: it may have been a repeat of this very append.
            Err(Refusal::Conflict { .. }) => {}
            settled => return settled,
        }
    }
    put(store, stream, ExpectedRevision::Any, events, expected).await
}

async fn put(
    store: &dyn EventStore,
    stream: &StreamName,
    at: ExpectedRevision,
    events: Vec<NewEvent>,
    expected: Expected,
) -> Result<Placed, Refusal> {
    let append = Append {
        stream: stream.clone(),
        expected: at,
        events,
    };
    let answer = store.append(vec![append]).await.pop();
    let appended = match answer {
        Some(Ok(appended)) => appended,
        Some(Err(error)) => return Err(refused(error, expected)),
        None => {
            let error = StoreError::Unavailable("it gave no answer".to_owned());
            return Err(Refusal::Store(error));
        }
    };
    let position = match appended.position {
        Some(position) => position,
        None => position_of(store, stream, appended.revision).await?,
    };
    Ok(Placed {
        revision: appended.revision,
        position,
    })
}

/// Where a repeat's first one went.
async fn position_of(
    store: &dyn EventStore,
    stream: &StreamName,
    revision: u64,
) -> Result<Position, Refusal> {
    let events = store
        .read_stream(
            stream,
            Some(revision),
            Direction::Forward,
            Visibility::Appended,
            1,
        )
        .await
        .map_err(Refusal::Store)?;
    events.first().map(|event| event.position).ok_or_else(|| {
        let error = StoreError::Unavailable("an event that is there is not shown".to_owned());
        Refusal::Store(error)
    })
}

fn refused(error: AppendError, expected: Expected) -> Refusal {
    match error {
        AppendError::WrongExpectedRevision { actual } => Refusal::Conflict { expected, actual },
        AppendError::TooLarge { max_bytes, .. } => Refusal::TooLarge { max_bytes },
        AppendError::Empty => Refusal::Bad(error.to_string()),
        AppendError::Store(error) => Refusal::Store(error),
    }
}
