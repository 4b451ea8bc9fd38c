//! Appends: one session of `BatchAppend` for all of them, as many in flight as may be.
//!
//! ```text
//! append ──queue──▶ session: numbers, sends, keeps ──▶ server
//!        ◀─────────── answer by number, in any order ◀──┘
//! ```
//!
//! Appends are sent in the order in which they came, so that is the order of their positions. When
//! the connection is lost, those that expect a revision are sent again in that order: if the first
//! one took effect, the server recognises the second by its ids, and no third way is open at that
//! revision. Those that expect anything could take effect twice, so they are answered with
//! [`StoreError::Unavailable`]. What the server does not recognise or says unclearly is looked for
//! in the stream.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    time::Duration,
};

use prost::Message as _;
use recourse_event_store::{
    Append, AppendError, Appended, Direction, ExpectedRevision, Position, StoreError,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tonic::{Code, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    Inner,
    connection::{Connection, Link},
    metrics,
    recorded::LAST,
    status,
};
use crate::{
    message::{CONTENT_TYPE, Ids, JSON, TYPE, identifier, read_uuid, uuid},
    wire::{
        MaximumAppendSizeExceeded, WrongExpectedVersion, rpc,
        streams::{
            BatchAppendReq, BatchAppendResp,
            batch_append_req::{
                Options, ProposedMessage,
                options::{DeadlineOption, ExpectedStreamPosition},
            },
            batch_append_resp::{
                Result as Outcome,
                success::{CurrentRevisionOption, PositionOption},
            },
        },
        wrong_expected_version::CurrentStreamRevisionOption,
    },
};

/// How many calls may wait for their turn.
pub(super) const QUEUED_CALLS: usize = 256;
/// How many messages may be between the session and the connection.
const BUFFERED_MESSAGES: usize = 64;

/// What the server said of an append.
#[derive(Debug)]
enum Said {
    /// It is taken.
    Taken {
        revision: Option<u64>,
        position: Option<Position>,
    },
    /// The stream is elsewhere.
    Conflict { actual: Option<u64> },
    /// It is over the server's limit.
    TooLarge { max_bytes: usize },
    /// There is no room.
    Full(String),
    /// It may have taken effect, or may yet.
    Unclear(String),
}

/// An append on its way.
pub(super) struct Item {
    append: Append,
    deadline: Instant,
    answer: oneshot::Sender<Said>,
}

impl Inner {
    pub(super) async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        let begun = Instant::now();
        let deadline = begun + self.options.timeout();
        let mut items = Vec::with_capacity(appends.len());
        let mut waiting = Vec::with_capacity(appends.len());
        for append in appends {
            waiting.push(match self.refused(&append) {
                Some(refusal) => Waiting::Refused(refusal),
                None => {
                    let (answer, said) = oneshot::channel();
                    items.push(Item {
                        append: append.clone(),
                        deadline,
                        answer,
                    });
                    Waiting::Sent(append, said)
                }
            });
        }
        // Where the queue is full for as long, each finds its answer gone.
        let queued = tokio::time::timeout_at(deadline, self.appends.send(items));
        let _ = queued.await;
        let mut answers = Vec::with_capacity(waiting.len());
        for waiting in waiting {
            answers.push(match waiting {
                Waiting::Refused(Refused::Now(error)) => Err(error),
                Waiting::Refused(Refused::Beyond(append)) => self.beyond(&append).await,
                Waiting::Sent(append, said) => {
                    let said = said.await.unwrap_or_else(|_| {
                        Said::Unclear("the append was not sent in time".to_owned())
                    });
                    self.settle(&append, said).await
                }
            });
        }
        metrics::appended(begun.elapsed());
        answers
    }

    /// What need not be sent.
    fn refused(&self, append: &Append) -> Option<Refused> {
        if append.events.is_empty() {
            return Some(Refused::Now(AppendError::Empty));
        }
        let bytes = held(append);
        let max_bytes = self.options.max_append_bytes;
        if bytes > max_bytes {
            let error = AppendError::TooLarge { bytes, max_bytes };
            return Some(Refused::Now(error));
        }
        match append.expected {
            ExpectedRevision::Exact(revision) if revision >= LAST => {
                Some(Refused::Beyond(append.clone()))
            }
            _ => None,
        }
    }

    /// No stream has come to the revision that is expected.
    async fn beyond(&self, append: &Append) -> Result<Appended, AppendError> {
        let newest = self
            .read_stream(&append.stream, None, Direction::Backward, 1)
            .await
            .map_err(AppendError::Store)?;
        Err(AppendError::WrongExpectedRevision {
            actual: newest.first().map(|event| event.revision),
        })
    }

    /// Makes of what the server said what the port says.
    async fn settle(&self, append: &Append, said: Said) -> Result<Appended, AppendError> {
        match said {
            Said::Taken { revision, position } => {
                let expected = last_revision(append);
                if let Some(revision) = revision
                    && expected.is_none_or(|expected| expected == revision)
                {
                    if let Some(position) = position {
                        self.progress.saw(position);
                    }
                    return Ok(Appended { revision, position });
                }
                self.look_for(append, "a success at another revision").await
            }
            Said::Conflict { actual } => {
                // A repeat whose ids the server has forgotten is in the stream all the same.
                let there = last_revision(append).is_some_and(|last| actual >= Some(last));
                let conflict = AppendError::WrongExpectedRevision { actual };
                if !there {
                    return Err(conflict);
                }
                self.find(append).await?.ok_or(conflict)
            }
            Said::TooLarge { max_bytes } => Err(AppendError::TooLarge {
                bytes: held(append),
                max_bytes,
            }),
            Said::Full(why) => Err(AppendError::Store(StoreError::Full(why))),
            Said::Unclear(why) => self.look_for(append, &why).await,
        }
    }

    async fn look_for(&self, append: &Append, why: &str) -> Result<Appended, AppendError> {
        self.find(append)
            .await?
            .ok_or_else(|| AppendError::Store(StoreError::Unavailable(why.to_owned())))
    }

    /// Where the events of an append are, if they are where it expected to put them.
    async fn find(&self, append: &Append) -> Result<Option<Appended>, AppendError> {
        let Some(first) = first_revision(append) else {
            return Ok(None);
        };
        let there = self
            .read_stream(
                &append.stream,
                Some(first),
                Direction::Forward,
                append.events.len(),
            )
            .await
            .map_err(AppendError::Store)?;
        let ids = append.events.iter().map(|event| event.id);
        let same = there.iter().map(|event| event.event.id).eq(ids);
        Ok(there.last().filter(|_| same).map(|last| Appended {
            revision: last.revision,
            position: Some(last.position),
        }))
    }
}

/// An append whose answer is still to come, or not needed.
enum Waiting {
    Refused(Refused),
    Sent(Append, oneshot::Receiver<Said>),
}

enum Refused {
    Now(AppendError),
    Beyond(Append),
}

/// How much an append holds, as servers count it.
fn held(append: &Append) -> usize {
    append.events.iter().fold(0_usize, |bytes, event| {
        bytes
            .saturating_add(event.event_type.len())
            .saturating_add(event.data.len())
            .saturating_add(event.metadata.len())
    })
}

/// Where the first of its events goes; none where it expects anything.
fn first_revision(append: &Append) -> Option<u64> {
    match append.expected {
        ExpectedRevision::Any => None,
        ExpectedRevision::NoStream => Some(0),
        ExpectedRevision::Exact(revision) => revision.checked_add(1),
    }
}

/// Where the last of its events goes.
fn last_revision(append: &Append) -> Option<u64> {
    let more = u64::try_from(append.events.len()).ok()?.checked_sub(1)?;
    first_revision(append)?.checked_add(more)
}

/// Sends what is queued and answers it, over one connection after the other, until nobody queues
/// anything any more.
pub(super) async fn run(
    mut queue: mpsc::Receiver<Vec<Item>>,
    connection: Connection,
    max_in_flight: usize,
) {
    let mut open = Open::default();
    while open.wait_for_work(&mut queue).await {
        let link = match open.link(&connection).await {
            Some(link) => link,
            None => continue,
        };
        let status = Session::begin(&link)
            .drive(&mut open, &mut queue, max_in_flight)
            .await;
        match status {
            Some(status) => {
                connection.lost(link.number, &status);
                open.session_lost(&status::told(&status));
            }
            None => return,
        }
    }
}

/// The appends that have no answer yet.
#[derive(Default)]
struct Open {
    next: u64,
    items: BTreeMap<u64, Item>,
    /// Those of them that this session has not sent, in order.
    unsent: VecDeque<u64>,
}

impl Open {
    /// Waits until there is something to send. False: nothing comes any more.
    async fn wait_for_work(&mut self, queue: &mut mpsc::Receiver<Vec<Item>>) -> bool {
        while self.items.is_empty() {
            match queue.recv().await {
                Some(items) => self.take(items),
                None => return false,
            }
        }
        true
    }

    fn take(&mut self, items: Vec<Item>) {
        for item in items {
            let number = self.next;
            self.next = self.next.wrapping_add(1);
            self.items.insert(number, item);
            self.unsent.push_back(number);
        }
    }

    /// A connection; none where everything that waits for it ran out of time first.
    async fn link(&mut self, connection: &Connection) -> Option<Link> {
        loop {
            let deadline = self.first_deadline()?;
            match connection.link(deadline).await {
                Ok(link) => return Some(link),
                Err(error) => self.expire(&error.to_string()),
            }
        }
    }

    fn first_deadline(&self) -> Option<Instant> {
        // They all have the same time, so the oldest is the first to run out of it.
        self.items.values().next().map(|item| item.deadline)
    }

    /// Answers those whose time is over.
    fn expire(&mut self, why: &str) {
        let now = Instant::now();
        while let Some(first) = self.items.first_entry() {
            if first.get().deadline > now {
                return;
            }
            let (number, item) = first.remove_entry();
            self.unsent.retain(|unsent| *unsent != number);
            let _ = item.answer.send(Said::Unclear(why.to_owned()));
        }
    }

    /// What was sent may have taken effect. Those that do no harm twice are sent again.
    fn session_lost(&mut self, why: &str) {
        let unsent = std::mem::take(&mut self.unsent);
        let first_unsent = unsent.front().copied();
        let items = std::mem::take(&mut self.items);
        for (number, item) in items {
            let was_sent = first_unsent.is_none_or(|first| number < first);
            if was_sent && item.append.expected == ExpectedRevision::Any {
                let _ = item.answer.send(Said::Unclear(why.to_owned()));
            } else {
                self.items.insert(number, item);
                self.unsent.push_back(number);
            }
        }
    }

    /// The next message for the server. Whoever has stopped waiting for one that was never sent
    /// does not get it sent.
    fn next_message(&mut self) -> Option<BatchAppendReq> {
        while let Some(number) = self.unsent.pop_front() {
            if let Some(item) = self.items.get(&number) {
                return Some(message(number, item));
            }
        }
        None
    }

    fn answer(&mut self, answer: BatchAppendResp) -> Result<(), Status> {
        let number = read_uuid(answer.correlation_id).map(|id| id.as_u64_pair().1);
        let Some(number) = number.filter(|number| self.items.contains_key(number)) else {
            // It came too late.
            return Ok(());
        };
        let said = match answer.result {
            Some(Outcome::Success(success)) => Said::Taken {
                revision: match success.current_revision_option {
                    Some(CurrentRevisionOption::CurrentRevision(revision)) => Some(revision),
                    Some(CurrentRevisionOption::NoStream(())) | None => None,
                },
                position: match success.position_option {
                    Some(PositionOption::Position(position))
                        if position.commit_position <= LAST =>
                    {
                        Some(Position {
                            commit: position.commit_position,
                            prepare: position.prepare_position,
                        })
                    }
                    _ => None,
                },
            },
            Some(Outcome::Error(error)) => refusal(error)?,
            None => Said::Unclear("an answer that says nothing".to_owned()),
        };
        if let Some(item) = self.items.remove(&number) {
            let _ = item.answer.send(said);
        }
        Ok(())
    }
}

/// What a refused append is told. An error is about the node, not the append.
fn refusal(error: rpc::Status) -> Result<Said, Status> {
    let details = error.details.unwrap_or_default();
    let name = details.type_url.rsplit('.').next().unwrap_or_default();
    let unclear = || Said::Unclear(format!("{name}: {}", error.message));
    Ok(match name {
        "WrongExpectedVersion" => match WrongExpectedVersion::decode(&*details.value) {
            Ok(conflict) => Said::Conflict {
                actual: match conflict.current_stream_revision_option {
                    Some(CurrentStreamRevisionOption::CurrentStreamRevision(revision)) => {
                        Some(revision)
                    }
                    Some(CurrentStreamRevisionOption::CurrentNoStream(())) | None => None,
                },
            },
            Err(_) => unclear(),
        },
        "MaximumAppendSizeExceeded" => match MaximumAppendSizeExceeded::decode(&*details.value) {
            Ok(exceeded) => Said::TooLarge {
                max_bytes: usize::try_from(exceeded.max_append_size).unwrap_or(usize::MAX),
            },
            Err(_) => unclear(),
        },
        "Timeout" | "AccessDenied" | "BadRequest" | "StreamDeleted" => unclear(),
        _ => match Code::from_i32(error.code) {
            Code::ResourceExhausted => Said::Full(error.message),
            // It does not lead, is not ready, or stops.
            code @ (Code::Unavailable | Code::NotFound | Code::Aborted) => {
                return Err(Status::new(code, error.message));
            }
            _ => unclear(),
        },
    })
}

fn message(number: u64, item: &Item) -> BatchAppendReq {
    let append = &item.append;
    // A little less than there is: the server's word then comes before we stop waiting.
    let left = item.deadline.saturating_duration_since(Instant::now()) / 10 * 9;
    let proposed_messages = append.events.iter().map(|event| ProposedMessage {
        id: Some(uuid(event.id, Ids::Structured)),
        metadata: [(TYPE, &*event.event_type), (CONTENT_TYPE, JSON)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        custom_metadata: event.metadata.clone(),
        data: event.data.clone(),
    });
    BatchAppendReq {
        correlation_id: Some(uuid(Uuid::from_u64_pair(0, number), Ids::Structured)),
        options: Some(Options {
            stream_identifier: Some(identifier(append.stream.as_str().to_owned())),
            expected_stream_position: Some(match append.expected {
                ExpectedRevision::Any => ExpectedStreamPosition::Any(()),
                ExpectedRevision::NoStream => ExpectedStreamPosition::NoStream(()),
                ExpectedRevision::Exact(revision) => {
                    ExpectedStreamPosition::StreamPosition(revision)
                }
            }),
            deadline_option: Some(DeadlineOption::Deadline(wire_duration(left))),
        }),
        proposed_messages: proposed_messages.collect(),
        is_final: true,
    }
}

fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

type Opening = dyn Future<Output = Result<Response<Streaming<BatchAppendResp>>, Status>> + Send;

/// The server's side of a session. It may say nothing, not even that there is one, before its
/// first answer.
enum Answers {
    Opening(Pin<Box<Opening>>),
    Open(Box<Streaming<BatchAppendResp>>),
}

impl Answers {
    /// The next answer. May be dropped while it waits.
    async fn next(&mut self) -> Result<BatchAppendResp, Status> {
        loop {
            match self {
                Self::Opening(opening) => {
                    let opened = opening.await?;
                    *self = Self::Open(Box::new(opened.into_inner()));
                }
                Self::Open(answers) => {
                    let answer = answers.message().await?;
                    return answer.ok_or_else(|| Status::unavailable("the session was ended"));
                }
            }
        }
    }
}

struct Session {
    messages: mpsc::Sender<BatchAppendReq>,
    answers: Answers,
}

impl Session {
    fn begin(link: &Link) -> Self {
        let (messages, taken) = mpsc::channel(BUFFERED_MESSAGES);
        let taken = futures::stream::unfold(taken, |mut taken| async move {
            let message = taken.recv().await?;
            Some((message, taken))
        });
        let request = link.request(taken);
        let mut client = link.appends.clone();
        let opening = async move { client.batch_append(request).await };
        Self {
            messages,
            answers: Answers::Opening(Box::pin(opening)),
        }
    }

    /// Until the connection is lost, or nobody queues anything any more: then it is none.
    async fn drive(
        mut self,
        open: &mut Open,
        queue: &mut mpsc::Receiver<Vec<Item>>,
        max_in_flight: usize,
    ) -> Option<Status> {
        let mut queue_ended = false;
        while !(queue_ended && open.items.is_empty()) {
            while !open.unsent.is_empty()
                && let Ok(place) = self.messages.try_reserve()
            {
                match open.next_message() {
                    Some(message) => place.send(message),
                    None => break,
                }
            }
            let deadline = open.first_deadline();
            let overdue = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let has_room = open.items.len() < max_in_flight;
            tokio::select! {
                biased;
                answer = self.answers.next() => {
                    if let Err(status) = answer.and_then(|answer| open.answer(answer)) {
                        return Some(status);
                    }
                }
                // The place is taken in the next round.
                place = self.messages.reserve(), if !open.unsent.is_empty() => {
                    if place.is_err() {
                        return Some(Status::unavailable("the session takes nothing more"));
                    }
                }
                items = queue.recv(), if has_room && !queue_ended => match items {
                    Some(items) => open.take(items),
                    None => queue_ended = true,
                },
                () = overdue => open.expire("the event store did not answer in time"),
            }
        }
        None
    }
}
