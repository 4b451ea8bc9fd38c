//! The aggregates that a saga talks to, each through its own rules.

use std::{
    any::Any,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use recourse_cqrs::{
    Aggregate, ClientCommand, Effect, Handled, Origin, Precondition, Request, SagaCommand, Tracked,
    Tracking, handle,
};
use recourse_event_store::{LogId, Metadata, NewEvent, Position, RecordedEvent, StreamName};
use uuid::Uuid;

use crate::Answer;

pub(super) const LOG: LogId = LogId(Uuid::from_u128(1));

/// All happens at one moment: what time does is a step of a walk, not a number.
pub(super) const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// An answer as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LoggedAnswer {
    pub(super) command: Uuid,
    pub(super) answer: Answer,
}

/// What came of asking somebody.
pub(super) struct Took {
    pub(super) party: Arc<dyn Party>,
    pub(super) events: Vec<RecordedEvent>,
    pub(super) answers: Vec<LoggedAnswer>,
}

/// One aggregate as it stands. What it is asked makes another.
pub(super) trait Party: Send + Sync {
    /// A saga's command; `None` where it changes nothing.
    fn take(&self, command: &SagaCommand) -> Result<Option<Took>, String>;

    /// A client's command, of the aggregate's own type; `None` where it is refused or changes
    /// nothing.
    fn ask(&self, command: &(dyn Any + Send + Sync), id: Uuid) -> Result<Option<Took>, String>;

    fn tracking(&self) -> &Tracking;

    /// The aggregate's `State`.
    fn state(&self) -> &dyn Any;

    /// Of all that matters for what it will say.
    fn hash(&self) -> u64;
}

struct Of<A: Aggregate> {
    stream: StreamName,
    tracked: Tracked<A>,
    hash: u64,
}

/// An aggregate to which these things have happened.
pub(super) fn party<A: Aggregate>(
    stream: &StreamName,
    events: impl IntoIterator<Item = A::Event>,
) -> Result<Arc<dyn Party>, String> {
    let mut given = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        let metadata = Metadata::new(Uuid::nil(), Uuid::nil(), NOW, LOG);
        let event = NewEvent::encode(event, metadata, stream, index);
        given.push(event.map_err(|error| error.to_string())?);
    }
    let nothing = Of::<A>::new(stream.clone(), Tracked::default())?;
    Ok(nothing.write(given)?.party)
}

impl<A: Aggregate> Of<A> {
    fn new(stream: StreamName, tracked: Tracked<A>) -> Result<Self, String> {
        let mut hasher = DefaultHasher::new();
        // As a snapshot would keep it.
        let state = serde_json::to_vec(tracked.state());
        state.map_err(|error| error.to_string())?.hash(&mut hasher);
        tracked.tracking().mark().hash(&mut hasher);
        tracked.tracking().open().hash(&mut hasher);
        Ok(Self {
            stream,
            tracked,
            hash: hasher.finish(),
        })
    }

    /// Applies what was decided, from its bytes, as whoever comes after a crash would.
    fn write(&self, events: Vec<NewEvent>) -> Result<Took, String> {
        let mut tracked = self.tracked.clone();
        let (mut recorded, mut answers) = (Vec::new(), Vec::new());
        for event in events {
            let event = NewEvent::raw(event.id, event.event_type, event.data, event.metadata);
            let applied = tracked.apply_new(&self.stream, event, Position::dense(1));
            let (next, event) = applied.map_err(|error| error.to_string())?;
            if let Some(unreadable) = next.unreadable() {
                return Err(format!(
                    "{} writes what it cannot read: {unreadable}",
                    self.stream
                ));
            }
            let metadata = event.metadata().map_err(|error| error.to_string())?;
            let answer = Answer::from(metadata.refused.as_ref());
            answers.extend(metadata.answers.iter().map(|answered| LoggedAnswer {
                command: answered.command,
                answer: answer.clone(),
            }));
            recorded.push(event);
            tracked = next;
        }
        Ok(Took {
            party: Arc::new(Self::new(self.stream.clone(), tracked)?),
            events: recorded,
            answers,
        })
    }
}

impl<A: Aggregate> Party for Of<A> {
    fn take(&self, command: &SagaCommand) -> Result<Option<Took>, String> {
        match handle(&self.tracked, &Request::Saga(command.clone()), NOW, LOG) {
            Handled::Write { events, .. } => self.write(events).map(Some),
            Handled::Nothing(Effect::AlreadyTaken) => Ok(None),
            Handled::Nothing(_) | Handled::Rejected(_) => {
                Err("a saga's command was not answered".to_owned())
            }
        }
    }

    fn ask(&self, command: &(dyn Any + Send + Sync), id: Uuid) -> Result<Option<Took>, String> {
        let Some(command) = command.downcast_ref::<A::Command>() else {
            return Err(format!("the client's command is none of {}", self.stream));
        };
        let request = Request::<A>::Direct {
            stream: self.stream.clone(),
            command: command.clone(),
            origin: Origin::Client(ClientCommand {
                id,
                body_hash: id,
                correlation_id: id,
                precondition: Precondition::None,
                actor: None,
                request_id: None,
                traceparent: None,
            }),
        };
        match handle(&self.tracked, &request, NOW, LOG) {
            Handled::Write { events, .. } => self.write(events).map(Some),
            Handled::Nothing(_) | Handled::Rejected(_) => Ok(None),
        }
    }

    fn tracking(&self) -> &Tracking {
        self.tracked.tracking()
    }

    fn state(&self) -> &dyn Any {
        self.tracked.state()
    }

    fn hash(&self) -> u64 {
        self.hash
    }
}
