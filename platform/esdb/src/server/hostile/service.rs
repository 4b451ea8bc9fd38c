//! The service `Streams`, with what the seed has in store for each call.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use prost::Message as _;
use recourse_event_store::{Direction, Position, StreamName, Visibility};
use tonic::{Code, Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{Fate, Hostility};
use crate::{
    message::{CONTENT_TYPE, CREATED, Ids, JSON, TYPE, identifier, uuid},
    server::{
        Shared,
        refusal::{Expected, Refusal},
        streams::{self, Answers},
    },
    wire::{
        rpc,
        streams::{
            AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, ReadReq, ReadResp, append_resp,
            batch_append_resp::{self, success::PositionOption},
            read_req::{
                self,
                options::{
                    CountOption, FilterOption, Position as AskedPosition, ReadDirection,
                    StreamOption, all_options::AllOption,
                },
            },
            read_resp::{Content, ReadEvent, read_event},
            streams_server::Streams,
        },
    },
};

/// How long an answer is held back for the next one to go before it.
const HOLD: Duration = Duration::from_millis(2);

pub(crate) struct Service {
    inner: streams::Service,
    shared: Arc<Shared>,
    hostility: Hostility,
    answered: Arc<Answered>,
}

/// The positions of appends that were answered before: the next answer is a repeat's.
#[derive(Default)]
struct Answered(Mutex<BTreeSet<u64>>);

impl Answered {
    /// Whether an append at this position was answered before; from now on it was.
    fn is_repeat(&self, position: u64) -> bool {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !answered.insert(position)
    }
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>, hostility: Hostility) -> Self {
        Self {
            inner: streams::Service(Arc::clone(&shared)),
            shared,
            hostility,
            answered: Arc::default(),
        }
    }

    fn fate(&self) -> &Arc<Fate> {
        &self.hostility.0
    }
}

#[tonic::async_trait]
impl Streams for Service {
    type ReadStream = Answers<ReadResp>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        let fate = self.fate();
        fate.greet(self.shared.address)?;
        let mut request = request;
        let asked = request
            .get_mut()
            .options
            .as_mut()
            .ok_or_else(|| Status::invalid_argument("a read has options"))?;
        let reading = Reading::of(fate, asked);
        let answers = self.inner.read(request).await?.into_inner();
        Ok(Response::new(reading.show(Arc::clone(fate), answers)))
    }

    async fn append(
        &self,
        request: Request<Streaming<AppendReq>>,
    ) -> Result<Response<AppendResp>, Status> {
        let fate = self.fate();
        fate.greet(self.shared.address)?;
        let mut response = self.inner.append(request).await?;
        if let Some(append_resp::Result::Success(success)) = &mut response.get_mut().result
            && let Some(append_resp::success::PositionOption::Position(position)) =
                &mut success.position_option
        {
            let place = fate.places.event(position.commit_position);
            position.commit_position = place.commit;
            position.prepare_position = place.prepare;
        }
        Ok(response)
    }

    type BatchAppendStream = Answers<BatchAppendResp>;

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let fate = self.fate();
        fate.greet(self.shared.address)?;
        let answers = self.inner.batch_append(request).await?.into_inner();
        let session = Session {
            answers,
            fate: Arc::clone(fate),
            shared: Arc::clone(&self.shared),
            answered: Arc::clone(&self.answered),
            held: None,
            ended: false,
        };
        let answers = stream::unfold(session, |mut session| async move {
            Some((session.next().await?, session))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// How the answers of one read are changed.
struct Reading {
    is_subscription: bool,
    is_backward: bool,
    /// `$` events are shown.
    with_system: bool,
    /// A `$` event that comes before everything else.
    first: Option<Position>,
    /// Backward, none from here on is shown.
    end: Option<Position>,
    count: usize,
}

impl Reading {
    /// Changes what is asked for into what the server proper knows.
    fn of(fate: &Fate, asked: &mut read_req::Options) -> Self {
        let places = &fate.places;
        let is_backward = asked.read_direction == i32::from(ReadDirection::Backwards);
        let mut reading = Self {
            is_subscription: !matches!(asked.count_option, Some(CountOption::Count(_))),
            is_backward,
            with_system: matches!(asked.stream_option, Some(StreamOption::All(_)))
                && !matches!(asked.filter_option, Some(FilterOption::Filter(_))),
            first: None,
            end: None,
            count: match asked.count_option {
                Some(CountOption::Count(count)) => usize::try_from(count).unwrap_or(usize::MAX),
                _ => usize::MAX,
            },
        };
        let Some(StreamOption::All(all)) = &mut asked.stream_option else {
            return reading;
        };
        let Some(AllOption::Position(asked)) = &mut all.all_option else {
            return reading;
        };
        let from = Position {
            commit: asked.commit_position,
            prepare: asked.prepare_position,
        };
        let before = places.at_or_before(from);
        let is_there = before > 0 && places.event(before) == from;
        let system = places.system(before);
        // A subscription begins after the position, a read forward with it, one backward before.
        let number = if is_backward {
            reading.end = Some(from);
            if is_there {
                before
            } else {
                before.saturating_add(1)
            }
        } else if reading.is_subscription {
            reading.first = system.filter(|system| *system > from);
            before
        } else {
            reading.first = system.filter(|system| *system >= from && !is_there);
            if is_there {
                before
            } else {
                before.saturating_add(1)
            }
        };
        *asked = AskedPosition {
            commit_position: number,
            prepare_position: number,
        };
        reading
    }

    fn show(self, fate: Arc<Fate>, answers: Answers<ReadResp>) -> Answers<ReadResp> {
        let Self {
            is_subscription,
            is_backward,
            with_system,
            first,
            end,
            count,
        } = self;
        let first = first.filter(|_| with_system);
        let shown_first = stream::iter(first.map(|place| Ok(system_event(place))));
        let changed = {
            let fate = Arc::clone(&fate);
            answers.flat_map(move |answer| {
                stream::iter(match answer {
                    Ok(answer) => {
                        let (answer, system) = change(&fate, answer);
                        let system = system
                            .filter(|place| with_system && end.is_none_or(|end| *place < end))
                            .map(|place| {
                                fate.counters.system_events.fetch_add(1, Relaxed);
                                Ok(system_event(place))
                            });
                        let mut shown = vec![Ok(answer)];
                        shown.extend(system);
                        if is_backward {
                            shown.reverse();
                        }
                        shown
                    }
                    Err(status) => vec![Err(status)],
                })
            })
        };
        let all = shown_first.chain(changed).take(count);
        if is_subscription {
            ending(fate, Box::pin(all))
        } else {
            failing(fate, Box::pin(all))
        }
    }
}

type Changed = Pin<Box<dyn Stream<Item = Result<ReadResp, Status>> + Send>>;

/// A subscription that the server may end, with an error or as if there were no more.
fn ending(fate: Arc<Fate>, answers: Changed) -> Answers<ReadResp> {
    Box::pin(stream::unfold(Some((answers, fate)), |state| async move {
        let (mut answers, fate) = state?;
        let answer = answers.next().await?;
        let counters = &fate.counters;
        if fate.strikes(48, &counters.ended_subscriptions) {
            return None;
        }
        if fate.strikes(48, &counters.ended_subscriptions) {
            return Some((Err(Status::aborted("too slow (by the seed)")), None));
        }
        Some((answer, Some((answers, fate))))
    }))
}

/// A read that may fail half-way.
fn failing(fate: Arc<Fate>, answers: Changed) -> Answers<ReadResp> {
    Box::pin(stream::unfold(Some((answers, fate)), |state| async move {
        let (mut answers, fate) = state?;
        let answer = answers.next().await?;
        if fate.strikes(256, &fate.counters.failed_reads) {
            return Some((Err(Status::unavailable("cut (by the seed)")), None));
        }
        Some((answer, Some((answers, fate))))
    }))
}

/// What is shown instead of an answer, and the place of the `$` event after it.
fn change(fate: &Fate, mut answer: ReadResp) -> (ReadResp, Option<Position>) {
    let mut system = None;
    match &mut answer.content {
        Some(Content::Event(ReadEvent {
            event: Some(event),
            position,
            ..
        })) => {
            let number = event.commit_position;
            let place = fate.places.event(number);
            event.commit_position = place.commit;
            event.prepare_position = place.prepare;
            *position = Some(read_event::Position::CommitPosition(place.commit));
            system = fate.places.system(number);
        }
        Some(Content::Checkpoint(checkpoint)) => {
            let place = fate.places.checkpoint(checkpoint.commit_position);
            checkpoint.commit_position = place.commit;
            checkpoint.prepare_position = place.prepare;
            if place.prepare == 0 {
                fate.counters.prepare_0.fetch_add(1, Relaxed);
            }
        }
        Some(Content::CaughtUp(caught_up)) => caught_up.position = None,
        Some(Content::FellBehind(fell_behind)) => fell_behind.position = None,
        _ => {}
    }
    (answer, system)
}

/// An event of the store's own: of a stream of its own, or a link of a projection's.
fn system_event(place: Position) -> ReadResp {
    let (stream, event_type) = if place.prepare.is_multiple_of(2) {
        ("$ce-thing", "$>")
    } else {
        ("links-1", "$>")
    };
    let metadata = BTreeMap::from([
        (TYPE.to_owned(), event_type.to_owned()),
        (CONTENT_TYPE.to_owned(), JSON.to_owned()),
        (CREATED.to_owned(), "0".to_owned()),
    ]);
    ReadResp {
        content: Some(Content::Event(ReadEvent {
            event: Some(read_event::RecordedEvent {
                id: Some(uuid(
                    Uuid::from_u64_pair(place.commit, place.prepare),
                    Ids::Structured,
                )),
                stream_identifier: Some(identifier(stream)),
                stream_revision: 0,
                prepare_position: place.prepare,
                commit_position: place.commit,
                metadata,
                custom_metadata: "{}".into(),
                data: "0@thing-a".into(),
            }),
            link: None,
            position: Some(read_event::Position::CommitPosition(place.commit)),
        })),
    }
}

/// The answers of one session of appends.
struct Session {
    answers: Answers<BatchAppendResp>,
    fate: Arc<Fate>,
    shared: Arc<Shared>,
    answered: Arc<Answered>,
    /// One that waits for the next to go before it.
    held: Option<BatchAppendResp>,
    ended: bool,
}

impl Session {
    async fn next(&mut self) -> Option<Result<BatchAppendResp, Status>> {
        if self.ended {
            return None;
        }
        let fate = Arc::clone(&self.fate);
        let counters = &fate.counters;
        loop {
            let answer = match self.held.take() {
                None => self.answers.next().await,
                Some(held) => match tokio::time::timeout(HOLD, self.answers.next()).await {
                    Ok(Some(answer)) => {
                        self.held = Some(held);
                        Some(answer)
                    }
                    Ok(None) | Err(_) => return Some(Ok(held)),
                },
            };
            let mut answer = match answer? {
                Ok(answer) => answer,
                Err(status) => return Some(Err(status)),
            };
            if fate.strikes(64, &counters.lost_sessions) {
                self.ended = true;
                return Some(Err(Status::unavailable("lost (by the seed)")));
            }
            self.change(&mut answer).await;
            if self.held.is_none() && fate.strikes(4, &counters.out_of_order) {
                self.held = Some(answer);
                continue;
            }
            return Some(Ok(answer));
        }
    }

    async fn change(&mut self, answer: &mut BatchAppendResp) {
        let counters = &self.fate.counters;
        let Some(batch_append_resp::Result::Success(success)) = &mut answer.result else {
            return;
        };
        let Some(PositionOption::Position(position)) = &mut success.position_option else {
            return;
        };
        let is_repeat = self.answered.is_repeat(position.commit_position);
        let place = self.fate.places.event(position.commit_position);
        position.commit_position = place.commit;
        position.prepare_position = place.prepare;
        if is_repeat && self.fate.strikes(2, &counters.missing_positions) {
            success.position_option = Some(PositionOption::NoPosition(()));
        }
        let error = if is_repeat && self.fate.strikes(4, &counters.forgotten_ids) {
            self.conflict(answer).await
        } else if self.fate.strikes(16, &counters.deadlines) {
            Some(Refusal::Late.detailed())
        } else if self.fate.strikes(64, &counters.not_handled) {
            Some(rpc::Status {
                code: Code::Unavailable as i32,
                message: "Leader Info Available".to_owned(),
                details: Some(prost_types::Any {
                    type_url: "type.googleapis.com/google.protobuf.Empty".to_owned(),
                    value: ().encode_to_vec(),
                }),
            })
        } else {
            None
        };
        if let Some(error) = error {
            answer.result = Some(batch_append_resp::Result::Error(error));
        }
    }

    /// What a conflict there would say. None where any revision was expected: there is none then.
    async fn conflict(&mut self, answer: &BatchAppendResp) -> Option<rpc::Status> {
        use batch_append_resp::ExpectedStreamPosition as Echo;

        let expected = match answer.expected_stream_position? {
            Echo::StreamPosition(revision) => Expected::Revision(revision),
            Echo::NoStream(()) => Expected::NoStream,
            Echo::Any(()) | Echo::StreamExists(()) => return None,
        };
        let name = answer.stream_identifier.clone()?.stream_name;
        let name = StreamName::parse(std::str::from_utf8(&name).ok()?).ok()?;
        let newest = self
            .shared
            .store
            .read_stream(&name, None, Direction::Backward, Visibility::Durable, 1)
            .await
            .ok()?;
        let conflict = Refusal::Conflict {
            expected,
            actual: newest.first().map(|event| event.revision),
        };
        Some(conflict.detailed())
    }
}
