//! The aggregates, and how each takes what it is asked.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use recourse_cqrs::{Aggregate, Effect, Handled, Origin, Request, SagaCommand, Tracked, handle};
use recourse_event_store::{Metadata, NewEvent, Position, StreamName};
use recourse_saga::Answer;
use uuid::Uuid;

use crate::world::{LOG, NOW, Target};

/// Something with its hash, which is made once however many states share it.
pub struct Shared<T> {
    value: T,
    hash: u64,
}

impl<T> Shared<T> {
    pub fn new(value: T, what_matters: impl Hash) -> Arc<Self> {
        let mut hasher = DefaultHasher::new();
        what_matters.hash(&mut hasher);
        Arc::new(Self {
            value,
            hash: hasher.finish(),
        })
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.hash.hash(hasher);
    }
}

/// An answer as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoggedAnswer {
    pub command: Uuid,
    pub answer: Answer,
}

pub fn shared<A: Aggregate<State: Hash>>(tracked: Tracked<A>) -> Arc<Shared<Tracked<A>>> {
    let mut hasher = DefaultHasher::new();
    tracked.state().hash(&mut hasher);
    tracked.tracking().mark().hash(&mut hasher);
    tracked.tracking().open().hash(&mut hasher);
    let hash = hasher.finish();
    Shared::new(tracked, hash)
}

/// Applies what was decided, from its bytes, as whoever comes after a crash would.
fn write<A: Aggregate>(
    tracked: &Tracked<A>,
    stream: &StreamName,
    events: Vec<NewEvent>,
) -> (Tracked<A>, Vec<LoggedAnswer>) {
    let mut tracked = tracked.clone();
    let mut answers = Vec::new();
    for event in events {
        let event = NewEvent::raw(event.id, event.event_type, event.data, event.metadata);
        let metadata: Metadata = serde_json::from_slice(&event.metadata).unwrap();
        let answer = Answer::from(metadata.refused.as_ref());
        answers.extend(metadata.answers.iter().map(|answered| LoggedAnswer {
            command: answered.command,
            answer: answer.clone(),
        }));
        tracked = tracked
            .apply_new(stream, event, Position::dense(1))
            .expect("what was decided can be applied")
            .0;
        assert_eq!(tracked.unreadable(), None);
    }
    (tracked, answers)
}

/// A command of a client or of a service; `None` where it changes nothing.
pub fn direct<A: Aggregate>(
    tracked: &Tracked<A>,
    target: Target,
    command: A::Command,
    origin: Origin,
) -> Option<(Tracked<A>, Vec<LoggedAnswer>)> {
    let stream = target.stream();
    let request = Request::Direct {
        stream: stream.clone(),
        command,
        origin,
    };
    match handle(tracked, &request, NOW, LOG) {
        Handled::Write { events, .. } => Some(write(tracked, &stream, events)),
        Handled::Nothing(_) | Handled::Rejected(_) => None,
    }
}

/// A saga's command; `None` where it changes nothing.
pub fn take<A: Aggregate<State: Hash>>(
    tracked: &mut Arc<Shared<Tracked<A>>>,
    command: &SagaCommand,
) -> Result<Option<Vec<LoggedAnswer>>, String> {
    match handle(tracked, &Request::Saga(command.clone()), NOW, LOG) {
        Handled::Write { events, .. } => {
            let (next, answers) = write(tracked, &command.command.target, events);
            *tracked = shared(next);
            Ok(Some(answers))
        }
        Handled::Nothing(Effect::AlreadyTaken) => Ok(None),
        Handled::Nothing(_) | Handled::Rejected(_) => {
            Err("a saga's command was not answered".to_owned())
        }
    }
}
