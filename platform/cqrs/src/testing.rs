//! Given, when, then: an aggregate's rules through [`handle`], as the repository uses them.
//!
//! ```ignore
//! given::<Stock>([received(10)])
//!     .when_saga(reserve(4))
//!     .then([reserved(4)])
//!     .then_answered();
//! ```
//!
//! A `when` leaves its events in place, so the next one goes on from there. Each `then`
//! panics with what came instead: this is for tests only.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Debug;

use chrono::{DateTime, TimeDelta, Utc};
use recourse_bus::{Command, Json};
use recourse_event_store::{
    LogId, Mark, Metadata, NewEvent, Position, RecordedEvent, StreamName, typed,
};
use uuid::Uuid;

use crate::{
    Aggregate, ClientCommand, Effect, Handled, Internal, Origin, Precondition, Rejection, Request,
    SagaCommand, Tracked, handle,
};

/// Any log.
const LOG: LogId = LogId(Uuid::from_u128(0x106));

/// An aggregate to which some things have happened.
#[must_use]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut given = Given {
        tracked: Tracked::default(),
        stream: StreamName::new(A::CATEGORY, "test"),
        now: DateTime::UNIX_EPOCH,
        commands: 0,
    };
    for event in events {
        let metadata = Metadata::new(Uuid::nil(), Uuid::nil(), given.now, LOG);
        let index = given.commands_and_one();
        let stream = given.stream.clone();
        match NewEvent::encode(event, metadata, &stream, index) {
            Ok(event) => drop(given.append(event)),
            Err(error) => panic!("an event that is given cannot be written: {error}"),
        }
    }
    given
}

/// An aggregate in the middle of a test.
pub struct Given<A: Aggregate> {
    tracked: Tracked<A>,
    stream: StreamName,
    now: DateTime<Utc>,
    commands: u32,
}

impl<A: Aggregate> Given<A> {
    /// Time passes.
    #[must_use]
    pub fn after(mut self, passed: TimeDelta) -> Self {
        self.now += passed;
        self
    }

    /// What the events have made.
    #[must_use]
    pub fn tracked(&self) -> &Tracked<A> {
        &self.tracked
    }

    /// A client asks for something that no client asked before.
    #[must_use]
    pub fn when(mut self, command: A::Command) -> Then<A> {
        let id = Uuid::from_u128(self.commands_and_one() as u128);
        let client = ClientCommand {
            id,
            body_hash: id,
            correlation_id: Uuid::nil(),
            precondition: Precondition::None,
            actor: None,
            request_id: None,
            traceparent: None,
        };
        let request = Request::Direct {
            stream: self.stream.clone(),
            command,
            origin: Origin::Client(client),
        };
        self.when_requested(&request)
    }

    /// The service itself asks for something.
    #[must_use]
    pub fn when_internal(mut self, command: A::Command) -> Then<A> {
        let internal = Internal {
            causation_id: Uuid::from_u128(self.commands_and_one() as u128),
            correlation_id: Uuid::nil(),
            actor: None,
            request_id: None,
            traceparent: None,
        };
        let request = Request::Direct {
            stream: self.stream.clone(),
            command,
            origin: Origin::Internal(internal),
        };
        self.when_requested(&request)
    }

    /// A saga asks for something, with a command that comes after all before.
    #[must_use]
    pub fn when_saga(mut self, command: A::Command) -> Then<A> {
        let number = self.commands_and_one() as u64;
        let request = saga_request::<A>(&self.stream, &command, number);
        self.when_requested(&request)
    }

    /// Anything at all.
    #[must_use]
    pub fn when_requested(mut self, request: &Request<A>) -> Then<A> {
        let handled = handle(&self.tracked, request, self.now, LOG);
        let events = handled
            .events()
            .iter()
            .map(|event| self.append(event.clone()))
            .collect();
        let command = match request {
            Request::Saga(saga) => Some(saga.command.id),
            Request::Direct { .. } => None,
        };
        Then {
            given: self,
            handled,
            events,
            command,
        }
    }

    fn append(&mut self, event: NewEvent) -> RecordedEvent {
        let position = Position::dense(self.tracked.position().commit.saturating_add(1));
        let tracked = std::mem::take(&mut self.tracked);
        match tracked.apply_new(&self.stream, event, position) {
            Ok((tracked, recorded)) => {
                self.tracked = tracked;
                recorded
            }
            Err(error) => panic!("an event does not fit: {error}"),
        }
    }

    fn commands_and_one(&mut self) -> usize {
        self.commands += 1;
        self.commands as usize
    }
}

/// A saga's command for an aggregate, as the `number`th of all: number, id and mark go
/// together.
#[must_use]
pub fn saga_request<A: Aggregate>(
    stream: &StreamName,
    command: &A::Command,
    number: u64,
) -> Request<A> {
    let written = typed::encode(command).and_then(|(command_type, data)| {
        let data = serde_json::from_slice::<Json>(&data).map_err(|_| typed::Error::NotTyped)?;
        Ok((command_type, data))
    });
    match written {
        Ok((command_type, data)) => Request::Saga(SagaCommand {
            command: Command {
                id: Uuid::from_u128(u128::from(number)),
                target: stream.clone(),
                command_type,
                data,
                undoes: Vec::new(),
            },
            mark: Mark {
                position: Position::dense(number),
                index: 0,
            },
            saga: StreamName::new("saga", "test"),
            cause: Uuid::from_u128(u128::from(number)),
            correlation_id: Uuid::nil(),
            request_id: None,
            traceparent: None,
        }),
        Err(error) => panic!("a command cannot be written: {error}"),
    }
}

/// What came of a `when`.
pub struct Then<A: Aggregate> {
    given: Given<A>,
    handled: Handled<A::Refusal>,
    events: Vec<RecordedEvent>,
    command: Option<Uuid>,
}

impl<A: Aggregate> Then<A> {
    /// These events and no others were written, as a decision of the rules.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) -> Self
    where
        A::Event: PartialEq + Debug,
        A::Refusal: Debug,
    {
        let expected: Vec<A::Event> = expected.into_iter().collect();
        let decoded: Vec<_> = self
            .events
            .iter()
            .map(|event| event.decode::<A::Event>())
            .collect();
        let as_expected = decoded.len() == expected.len()
            && decoded
                .iter()
                .zip(&expected)
                .all(|(event, expected)| event.as_ref().is_ok_and(|event| **event == *expected));
        if !as_expected {
            panic!(
                "expected {expected:#?}, and this came of it: {:#?}",
                self.handled
            );
        }
        self
    }

    /// The rules said no, to whoever it was, with this code.
    #[track_caller]
    pub fn then_refused(self, code: &str) -> Self
    where
        A::Refusal: Debug,
    {
        let found = match &self.handled {
            Handled::Rejected(Rejection::Refused(refusal)) => Some(A::refused(refusal).code),
            Handled::Write {
                effect: Effect::Refused(refused),
                ..
            } => Some(refused.code.clone()),
            _ => None,
        };
        if found.as_deref() != Some(code) {
            panic!(
                "expected the refusal `{code}`, and this came of it: {:#?}",
                self.handled
            );
        }
        self
    }

    /// Nothing was written, and nobody was told no.
    #[track_caller]
    pub fn then_nothing(self) -> Self
    where
        A::Refusal: Debug,
    {
        if !matches!(self.handled, Handled::Nothing(_)) {
            panic!("expected nothing, and this came of it: {:#?}", self.handled);
        }
        self
    }

    /// The saga's command is answered, once, by what was written.
    #[track_caller]
    pub fn then_answered(self) -> Self {
        let answers = self.answers().len();
        if answers != 1 {
            panic!(
                "expected one answer, and there are {answers}: {:#?}",
                self.events
            );
        }
        self
    }

    /// The saga's command is taken and still to be answered.
    #[track_caller]
    pub fn then_open(self) -> Self {
        let open = self.given.tracked.tracking().open();
        let is_open = open
            .iter()
            .any(|taken| Some(taken.answered.command) == self.command);
        if !is_open || !self.answers().is_empty() {
            panic!(
                "expected an open command, and this was written: {:#?}",
                self.events
            );
        }
        self
    }

    /// The events in their place, to look at what their metadata say.
    #[must_use]
    pub fn events(&self) -> &[RecordedEvent] {
        &self.events
    }

    /// What came of it.
    #[must_use]
    pub fn handled(&self) -> &Handled<A::Refusal> {
        &self.handled
    }

    /// Goes on from here.
    #[must_use]
    pub fn and(self) -> Given<A> {
        self.given
    }

    fn answers(&self) -> Vec<&RecordedEvent> {
        self.events
            .iter()
            .filter(|event| {
                event.metadata().is_ok_and(|metadata| {
                    metadata
                        .answers
                        .iter()
                        .any(|answered| Some(answered.command) == self.command)
                })
            })
            .collect()
    }
}
