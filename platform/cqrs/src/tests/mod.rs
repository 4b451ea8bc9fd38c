//! A small aggregate, and a store that watches what it is asked and misbehaves on demand.

mod clients;
mod decisions;
mod execution;
mod hostile;
mod inbox;
mod races;
mod snapshots;
mod worker;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use recourse_event_store::{
    Append, AppendError, Appended, Direction, EventStore, Filter, LogId, Metadata, NewEvent,
    Position, RecordedEvent, Refused, StoreError, StreamName, Visibility, memory, testing,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Aggregate, ClientCommand, Origin, Precondition, Repository, RepositoryOptions, Request, Role,
    testing::saga_request,
};

pub(crate) const LOG: LogId = LogId(Uuid::from_u128(0x70));

/// A number that goes up and down, and questions about it that are answered later.
#[derive(Debug)]
pub(crate) struct Tally;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Op {
    Lift,
    Drop,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::Lift => "lift",
            Self::Drop => "drop",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) total: u32,
    pub(crate) asked: Vec<Op>,
    pub(crate) changes: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Exactly these events.
    #[serde(rename = "tally.emit")]
    Emit(Vec<Event>),
    /// Refused where there is too little.
    #[serde(rename = "tally.take")]
    Take(u32),
    /// Nothing where it is so already.
    #[serde(rename = "tally.keep")]
    Keep(u32),
    /// Nothing where it is not asked.
    #[serde(rename = "tally.settle")]
    Settle(Op, bool),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    #[serde(rename = "tally.added.v1")]
    Added(u32),
    #[serde(rename = "tally.taken.v1")]
    Taken(u32),
    #[serde(rename = "tally.asked.v1")]
    Asked(Op),
    #[serde(rename = "tally.settled.v1")]
    Settled((Op, bool)),
    #[serde(rename = "tally.noted.v1")]
    Noted(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is only {there}")]
pub(crate) struct TooLittle {
    pub(crate) there: u32,
}

impl Aggregate for Tally {
    const CATEGORY: &'static str = "tally";
    const SNAPSHOT_EVERY: Option<u64> = Some(10);
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = TooLittle;

    fn decide(state: &State, command: &Command) -> Result<Vec<Event>, TooLittle> {
        Ok(match command {
            Command::Emit(events) => events.clone(),
            Command::Take(number) if *number > state.total => {
                return Err(TooLittle { there: state.total });
            }
            Command::Take(number) => vec![Event::Taken(*number)],
            Command::Keep(number) if *number == state.total => vec![],
            Command::Keep(number) => vec![Event::Taken(state.total), Event::Added(*number)],
            Command::Settle(op, yes) if state.asked.contains(op) => {
                vec![Event::Settled((*op, *yes))]
            }
            Command::Settle(..) => vec![],
        })
    }

    fn evolve(mut state: State, event: &Event) -> State {
        state.changes += 1;
        match event {
            Event::Added(number) => state.total += number,
            Event::Taken(number) => state.total -= number,
            Event::Asked(op) => state.asked.push(*op),
            Event::Settled((op, _)) => state.asked.retain(|asked| asked != op),
            Event::Noted(_) => {}
        }
        state
    }

    fn refused(refusal: &TooLittle) -> Refused {
        Refused {
            code: "too-little".into(),
            detail: refusal.to_string(),
            is_final: false,
        }
    }

    fn role(event: &Event) -> Role {
        match event {
            Event::Added(_) | Event::Taken(_) => Role::Answer,
            Event::Asked(op) => Role::Intent {
                operation: op.name().into(),
            },
            Event::Settled((op, yes)) => Role::Outcome {
                operation: op.name().into(),
                refused: (!yes).then(|| refused("not-so")),
            },
            Event::Noted(_) => Role::Progress,
        }
    }
}

pub(crate) fn refused(code: &str) -> Refused {
    Refused {
        code: code.into(),
        detail: "no".into(),
        is_final: true,
    }
}

pub(crate) fn tally(name: &str) -> StreamName {
    StreamName::new("tally", name)
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

pub(crate) fn add(number: u32) -> Command {
    Command::Emit(vec![Event::Added(number)])
}

/// A saga's command: `number` is its id and its place.
pub(crate) fn saga(stream: &StreamName, number: u64, command: Command) -> Request<Tally> {
    saga_request(stream, &command, number)
}

pub(crate) fn origin(id: u128, body: u128) -> Origin {
    Origin::Client(ClientCommand {
        id: Uuid::from_u128(id),
        body_hash: Uuid::from_u128(body),
        correlation_id: Uuid::from_u128(1),
        precondition: Precondition::None,
        actor: Some("somebody".into()),
        request_id: Some("a request".into()),
        traceparent: None,
    })
}

/// A client's command whose id is also its body.
pub(crate) fn client(stream: &StreamName, id: u128, command: Command) -> Request<Tally> {
    Request::Direct {
        stream: stream.clone(),
        command,
        origin: origin(id, id),
    }
}

pub(crate) fn metadata(event: &NewEvent) -> Metadata {
    serde_json::from_slice(&event.metadata).unwrap()
}

pub(crate) fn repository(store: &Arc<Watched>) -> Repository<Tally> {
    Repository::new(
        Arc::clone(store) as Arc<dyn EventStore>,
        RepositoryOptions::default(),
    )
}

/// What goes wrong with one call of append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It takes effect and nobody says so.
    LostAnswer,
    /// It takes effect and nobody says where.
    NoPosition,
    /// It has no effect.
    NoEffect,
    /// It takes effect just before the next call.
    Late,
    /// There is no room.
    Full,
}

/// A memory store that counts, lets others run before each call, and goes wrong by script.
pub(crate) struct Watched {
    pub(crate) inner: memory::Store,
    /// The streams of each call of append.
    pub(crate) appends: Mutex<Vec<Vec<StreamName>>>,
    /// The first revision and the number of events of each read of a stream.
    pub(crate) reads: Mutex<Vec<(u64, usize)>>,
    faults: Mutex<VecDeque<Fault>>,
    late: Mutex<Vec<Vec<Append>>>,
}

impl Watched {
    pub(crate) fn new() -> Arc<Self> {
        Self::over(memory::Store::new(LOG))
    }

    pub(crate) fn over(inner: memory::Store) -> Arc<Self> {
        Arc::new(Self {
            inner,
            appends: Mutex::default(),
            reads: Mutex::default(),
            faults: Mutex::default(),
            late: Mutex::default(),
        })
    }

    pub(crate) fn then(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub(crate) fn take_appends(&self) -> Vec<Vec<StreamName>> {
        std::mem::take(&mut self.appends.lock().unwrap())
    }

    pub(crate) fn take_reads(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }

    /// Everything in a stream, uncounted.
    pub(crate) async fn events(&self, stream: &StreamName) -> Vec<Arc<RecordedEvent>> {
        self.inner
            .read_stream(
                stream,
                None,
                Direction::Forward,
                Visibility::Appended,
                1_000_000,
            )
            .await
            .unwrap()
    }

    /// The commands that are answered in a stream, in order.
    pub(crate) async fn answered(&self, stream: &StreamName) -> Vec<u128> {
        self.events(stream)
            .await
            .iter()
            .flat_map(|event| event.metadata().unwrap().answers.clone())
            .map(|answered| answered.command.as_u128())
            .collect()
    }
}

#[async_trait]
impl testing::Layer for Watched {
    fn beneath(&self) -> &dyn EventStore {
        &self.inner
    }

    async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        tokio::task::yield_now().await;
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        for late in late {
            self.inner.append(late).await;
        }
        let streams = appends.iter().map(|append| append.stream.clone());
        self.appends.lock().unwrap().push(streams.collect());
        let fault = self.faults.lock().unwrap().pop_front();
        let count = appends.len();
        let unavailable = || Err(AppendError::Store(StoreError::Unavailable("lost".into())));
        match fault.unwrap_or(Fault::None) {
            Fault::None => self.inner.append(appends).await,
            Fault::LostAnswer => {
                let answers = self.inner.append(appends).await;
                answers.into_iter().map(|_| unavailable()).collect()
            }
            Fault::NoPosition => {
                let mut answers = self.inner.append(appends).await;
                for answer in answers.iter_mut().flatten() {
                    answer.position = None;
                }
                answers
            }
            Fault::NoEffect => (0..count).map(|_| unavailable()).collect(),
            Fault::Late => {
                self.late.lock().unwrap().push(appends);
                (0..count).map(|_| unavailable()).collect()
            }
            Fault::Full => (0..count)
                .map(|_| Err(AppendError::Store(StoreError::Full("no room".into()))))
                .collect(),
        }
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        tokio::task::yield_now().await;
        let events = self
            .inner
            .read_stream(stream, from, direction, visibility, max_events)
            .await?;
        let mut reads = self.reads.lock().unwrap();
        reads.push((from.unwrap_or(0), events.len()));
        Ok(events)
    }
}
