//! Conversations: a saga that is talked to, and what it says to what it hears.
//!
//! ```ignore
//! let mut talk = Talk::started(definition, &recorded("member-ann", Event::Offered(gift)));
//! assert_eq!(talk.commands(), sent("member.hold", &["member-ann"]));
//! assert_eq!(talk.all(&Answer::Done), sent("member.receive", &["member-bob"]));
//! ```
//!
//! What cannot be in a test panics: this is for tests only.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use chrono::DateTime;
use recourse_event_store::{LogId, Metadata, NewEvent, Position, RecordedEvent, StreamName};
use serde::Serialize;
use uuid::Uuid;

use crate::{Action, Answer, By, Definition, Event, Input, SentCommand, State, act, react};

/// An event as its stream has it, the first of all. Its correlation is nil.
#[must_use]
pub fn recorded<E: Serialize + Send + Sync + 'static>(stream: &str, event: E) -> RecordedEvent {
    recorded_of(stream, event, Uuid::nil())
}

/// The same under a correlation.
#[must_use]
pub fn recorded_of<E>(stream: &str, event: E, correlation: Uuid) -> RecordedEvent
where
    E: Serialize + Send + Sync + 'static,
{
    let log = LogId(Uuid::nil());
    let metadata = Metadata::new(correlation, Uuid::nil(), DateTime::UNIX_EPOCH, log);
    let event = StreamName::parse(stream)
        .map_err(|error| error.to_string())
        .and_then(|stream| {
            let event = NewEvent::encode(event, metadata, &stream, 0);
            let event = event.map_err(|error| error.to_string())?;
            Ok(event.record(Position::dense(1), stream, 0))
        });
    event.unwrap_or_else(|error| panic!("an event of {stream} cannot be written: {error}"))
}

/// A saga, and what it said last.
pub struct Talk {
    /// Its definition.
    pub definition: Definition,
    /// The fold of what it wrote.
    pub state: State,
    /// The commands of the last thing that it wrote.
    pub sent: Vec<SentCommand>,
}

impl Talk {
    /// The saga that this event starts.
    #[must_use]
    pub fn started(definition: Definition, event: &RecordedEvent) -> Self {
        let start = match definition.starts(event) {
            Ok(Some(start)) => start,
            other => panic!("the event starts no saga: {other:?}"),
        };
        let correlation = event.metadata().ok().map(|found| found.correlation_id);
        assert_eq!(Some(start.correlation), correlation, "a saga inherits it");
        let saga = definition.saga_id(event.event.id);
        let mut talk = Self {
            definition,
            state: State::new(saga),
            sent: Vec::new(),
        };
        talk.hear(Input::Start { input: start.input });
        talk
    }

    /// Something happens to it.
    pub fn hear(&mut self, input: Input) {
        match react(&self.definition, &self.state, input, DateTime::UNIX_EPOCH) {
            Ok(events) => self.write(&events),
            Err(error) => panic!("it has no answer: {error}"),
        }
    }

    /// An operator does something to it.
    pub fn act(&mut self, action: &Action) {
        let by = By {
            actor: "anonymous".to_owned(),
            reason: "the bank says so".to_owned(),
        };
        let now = DateTime::UNIX_EPOCH;
        match act(&self.definition, &self.state, action, &by, now) {
            Ok(events) => self.write(&events),
            Err(error) => panic!("that is not possible: {error}"),
        }
    }

    fn write(&mut self, events: &[Event]) {
        for event in events {
            self.state.apply(event, DateTime::UNIX_EPOCH);
        }
        self.sent = events.iter().flat_map(Event::commands).cloned().collect();
    }

    /// Every open command gets this answer, in the order in which they were sent; what is sent
    /// then.
    pub fn all(&mut self, answer: &Answer) -> Vec<(String, String)> {
        let open: Vec<Uuid> = self.state.open_commands().map(|sent| sent.id).collect();
        for command in open {
            self.hear(Input::Answer {
                command,
                answer: answer.clone(),
                position: Position::dense(9),
            });
        }
        self.commands()
    }

    /// What it said last: each command with the stream that it goes to.
    #[must_use]
    pub fn commands(&self) -> Vec<(String, String)> {
        let words = |sent: &SentCommand| {
            let target = sent.command.target.to_string();
            (sent.command.command_type.clone(), target)
        };
        self.sent.iter().map(words).collect()
    }
}

/// One command to each of these streams.
#[must_use]
pub fn sent(command: &str, targets: &[&str]) -> Vec<(String, String)> {
    let to = |target: &&str| (command.to_owned(), (*target).to_owned());
    targets.iter().map(to).collect()
}

/// A refusal for good.
#[must_use]
pub fn refused(code: &str) -> Answer {
    Answer::Refused {
        code: code.to_owned(),
        detail: "no".to_owned(),
        is_final: true,
    }
}
