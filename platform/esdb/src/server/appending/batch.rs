//! `BatchAppend`: many appends over one call, answered in the order in which they were complete.
//!
//! They are appended one after the other and wait for the disk together. One that is refused
//! does not end the session.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{Outcome, Placed, place, proposal::Proposal};
use crate::server::{
    Shared,
    message::{self, Ids},
    refusal::{Expected, Refusal},
    streams::Answers,
    wire::{
        AllStreamPosition, StreamIdentifier,
        streams::{
            BatchAppendReq, BatchAppendResp,
            batch_append_req::options::{DeadlineOption, ExpectedStreamPosition},
            batch_append_resp::{
                self, ExpectedStreamPosition as Echo, Success,
                success::{CurrentRevisionOption, PositionOption},
            },
        },
    },
};

/// How many appends of a session may have come in part.
const MAX_OPEN_APPENDS: usize = 64;

/// An append of which parts have come.
struct Open {
    stream: StreamIdentifier,
    expected: Expected,
    /// When its answer is of no use any more.
    deadline: Option<Instant>,
    /// None once it is refused; what still comes of it is passed over.
    proposal: Result<Proposal, Refusal>,
}

struct Session {
    shared: Arc<Shared>,
    messages: Streaming<BatchAppendReq>,
    open: BTreeMap<Uuid, Open>,
}

/// An append that has its place, or none.
struct Settled {
    correlation: Uuid,
    stream: StreamIdentifier,
    expected: Expected,
    deadline: Option<Instant>,
    outcome: Outcome,
}

pub(crate) fn session(
    shared: Arc<Shared>,
    messages: Streaming<BatchAppendReq>,
) -> Answers<BatchAppendResp> {
    let in_flight = shared.options.max_batch_appends_in_flight;
    let stop = shared.stop.clone();
    let store = Arc::clone(&shared.store);
    let session = Session {
        shared,
        messages,
        open: BTreeMap::new(),
    };
    let settled = stream::try_unfold(session, |mut session| async move {
        let settled = session.next().await?;
        Ok::<_, Status>(settled.map(|settled| (settled, session)))
    });
    let answers = settled
        .map(move |settled| {
            let store = Arc::clone(&store);
            async move {
                let Settled {
                    correlation,
                    stream,
                    expected,
                    deadline,
                    outcome,
                } = settled?;
                let placed = match deadline {
                    None => outcome.durable(&*store).await,
                    Some(deadline) => timeout_at(deadline, outcome.durable(&*store))
                        .await
                        .unwrap_or(Err(Refusal::Late)),
                };
                Ok(answer(correlation, stream, expected, placed))
            }
        })
        .buffered(in_flight)
        .take_until(stop.cancelled_owned());
    Box::pin(answers)
}

impl Session {
    /// The next append that is complete; none when the client has no more.
    async fn next(&mut self) -> Result<Option<Settled>, Status> {
        while let Some(part) = self.messages.message().await? {
            let correlation = message::read_uuid(part.correlation_id.clone())
                .ok_or_else(|| Status::invalid_argument("a batch has a correlation id"))?;
            let is_final = part.is_final;
            let mut open = match self.open.remove(&correlation) {
                Some(open) => open,
                None => self.begin(&part)?,
            };
            open.take(part);
            if !is_final {
                self.open.insert(correlation, open);
                continue;
            }
            let outcome = match open.proposal {
                Ok(proposal) => place(&*self.shared.store, proposal).await,
                Err(refusal) => Outcome::refused(refusal),
            };
            return Ok(Some(Settled {
                correlation,
                stream: open.stream,
                expected: open.expected,
                deadline: open.deadline,
                outcome,
            }));
        }
        Ok(None)
    }

    fn begin(&self, part: &BatchAppendReq) -> Result<Open, Status> {
        if self.open.len() >= MAX_OPEN_APPENDS {
            return Err(Status::resource_exhausted(format!(
                "at most {MAX_OPEN_APPENDS} appends of a session may be incomplete"
            )));
        }
        let options = part
            .options
            .as_ref()
            .ok_or_else(|| Status::invalid_argument("a batch begins with its options"))?;
        let name = message::read_identifier(options.stream_identifier.clone())?;
        let expected = match options.expected_stream_position {
            Some(ExpectedStreamPosition::StreamPosition(revision)) => Expected::Revision(revision),
            Some(ExpectedStreamPosition::NoStream(())) => Expected::NoStream,
            Some(ExpectedStreamPosition::Any(())) => Expected::Any,
            Some(ExpectedStreamPosition::StreamExists(())) => Expected::Exists,
            None => return Err(Status::invalid_argument("a batch expects a revision")),
        };
        Ok(Open {
            proposal: Proposal::begin(&self.shared, &name, expected),
            stream: message::identifier(name),
            expected,
            deadline: options.deadline_option.and_then(deadline),
        })
    }
}

/// Old clients give a time by their own clock, which says nothing here.
fn deadline(option: DeadlineOption) -> Option<Instant> {
    let DeadlineOption::Deadline(left) = option else {
        return None;
    };
    Instant::now().checked_add(Duration::try_from(left).ok()?)
}

impl Open {
    fn take(&mut self, part: BatchAppendReq) {
        for event in part.proposed_messages {
            let Ok(proposal) = &mut self.proposal else {
                return;
            };
            let added = proposal.add(event.id, event.metadata, event.custom_metadata, event.data);
            if let Err(refusal) = added {
                self.proposal = Err(refusal);
            }
        }
    }
}

fn answer(
    correlation: Uuid,
    stream: StreamIdentifier,
    expected: Expected,
    placed: Result<Placed, Refusal>,
) -> BatchAppendResp {
    let result = match placed {
        Ok(placed) => batch_append_resp::Result::Success(Success {
            current_revision_option: Some(CurrentRevisionOption::CurrentRevision(placed.revision)),
            position_option: Some(PositionOption::Position(AllStreamPosition {
                commit_position: placed.position.commit,
                prepare_position: placed.position.prepare,
            })),
        }),
        Err(refusal) => batch_append_resp::Result::Error(refusal.detailed()),
    };
    BatchAppendResp {
        correlation_id: Some(message::uuid(correlation, Ids::Structured)),
        stream_identifier: Some(stream),
        expected_stream_position: Some(match expected {
            Expected::Any => Echo::Any(()),
            Expected::NoStream => Echo::NoStream(()),
            Expected::Exists => Echo::StreamExists(()),
            Expected::Revision(revision) => Echo::StreamPosition(revision),
        }),
        result: Some(result),
    }
}
