//! A saga that is talked to: what it says to what it hears.

use chrono::DateTime;
use recourse_domain::{OrderId, order};
use recourse_event_store::{LogId, Metadata, NewEvent, Position, RecordedEvent, StreamName};
use recourse_saga::{Action, Answer, By, Definition, Event, Input, SentCommand, State, act, react};
use uuid::Uuid;

/// An event as the order's stream has it.
pub(crate) fn recorded(order: OrderId, event: order::Event) -> RecordedEvent {
    let stream = StreamName::new("order", order);
    let log = LogId(Uuid::nil());
    let metadata = Metadata::new(order.0, Uuid::nil(), DateTime::UNIX_EPOCH, log);
    NewEvent::encode(event, metadata, &stream, 0)
        .unwrap()
        .record(Position::dense(1), stream, 0)
}

/// A saga, and what it said last.
pub(crate) struct Talk {
    pub(crate) definition: Definition,
    pub(crate) state: State,
    pub(crate) sent: Vec<SentCommand>,
}

impl Talk {
    /// The saga that this event starts.
    pub(crate) fn started(definition: Definition, event: &RecordedEvent) -> Self {
        let start = definition.starts(event).unwrap().unwrap();
        assert_eq!(
            start.correlation,
            event.metadata().unwrap().correlation_id,
            "the order's id"
        );
        let saga = definition.saga_id(event.event.id);
        let mut talk = Self {
            definition,
            state: State::new(saga),
            sent: Vec::new(),
        };
        talk.hear(Input::Start { input: start.input });
        talk
    }

    pub(crate) fn hear(&mut self, input: Input) {
        let now = DateTime::UNIX_EPOCH;
        let events = react(&self.definition, &self.state, input, now).unwrap();
        self.write(&events);
    }

    pub(crate) fn act(&mut self, action: &Action) {
        let by = By {
            actor: "anonymous".to_owned(),
            reason: "the bank says so".to_owned(),
        };
        let now = DateTime::UNIX_EPOCH;
        let events = act(&self.definition, &self.state, action, &by, now).unwrap();
        self.write(&events);
    }

    fn write(&mut self, events: &[Event]) {
        for event in events {
            self.state.apply(event, DateTime::UNIX_EPOCH);
        }
        self.sent = events.iter().flat_map(Event::commands).cloned().collect();
    }

    /// Every open command gets this answer, in the order in which they were sent; what is sent
    /// then.
    pub(crate) fn all(&mut self, answer: &Answer) -> Vec<(String, String)> {
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
    pub(crate) fn commands(&self) -> Vec<(String, String)> {
        let words = |sent: &SentCommand| {
            let target = sent.command.target.to_string();
            (sent.command.command_type.clone(), target)
        };
        self.sent.iter().map(words).collect()
    }
}

/// One command to each of these streams.
pub(crate) fn sent(command: &str, targets: &[&str]) -> Vec<(String, String)> {
    targets
        .iter()
        .map(|target| (command.to_owned(), (*target).to_owned()))
        .collect()
}

/// A refusal for good.
pub(crate) fn refused(code: &str) -> Answer {
    Answer::Refused {
        code: code.to_owned(),
        detail: "no".to_owned(),
        is_final: true,
    }
}
