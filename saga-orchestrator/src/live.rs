//! One saga in flight, in memory: where it stands and who drives it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use recourse_event_store::{
    Append, Direction, EventStore, ExpectedRevision, LogId, Metadata, NewEvent, Position,
    RecordedEvent, StoreError, StreamName, Visibility, typed,
};
use recourse_saga::{Definition, Event, Input, Parked, ReactError, State, react};
use uuid::Uuid;

/// How many events of a saga's stream are read at a time: more than nearly every saga has.
const PAGE: usize = 256;

/// An operator's command, and the request that it came by.
#[derive(Clone, Debug)]
pub(crate) struct ClientCommand {
    pub(crate) id: Uuid,
    pub(crate) body_hash: Uuid,
    pub(crate) actor: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) traceparent: Option<String>,
}

/// Why a saga cannot be loaded or moved on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveError {
    /// The store cannot be read.
    #[error("the saga's stream cannot be read")]
    Store(#[from] StoreError),
    /// An event of its stream is not what it must be.
    #[error("an event of the saga's stream cannot be read")]
    Event(#[from] typed::Error),
    /// There is no reaction.
    #[error(transparent)]
    React(#[from] ReactError),
}

/// What caused an input, and so what it writes.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    /// The event that came in; for time, the saga's last event.
    pub(crate) event: Uuid,
    /// The correlation that a saga which begins with it inherits.
    pub(crate) correlation: Uuid,
    request_id: Option<String>,
    traceparent: Option<String>,
}

impl Cause {
    pub(crate) fn of(event: &RecordedEvent) -> Result<Self, typed::Error> {
        let metadata = event.metadata()?;
        Ok(Self {
            event: event.event.id,
            correlation: metadata.correlation_id,
            request_id: metadata.request_id.clone(),
            traceparent: metadata.traceparent.clone(),
        })
    }
}

/// A saga in flight.
pub(crate) struct Live {
    pub(crate) stream: StreamName,
    pub(crate) state: State,
    /// None where no definition here has the hash that it began with: left alone.
    pub(crate) definition: Option<Arc<Definition>>,
    /// Where the last event that was loaded stands; the start for one that begins now.
    pub(crate) position: Position,
    /// When its next timer is set for.
    pub(crate) timer: Option<DateTime<Utc>>,
    /// The unit of order, the trace and the last event, which what it writes inherits.
    origin: Cause,
    /// Folded into `state` and not appended yet.
    pending: Vec<NewEvent>,
    /// What the stream was before those.
    expected: ExpectedRevision,
}

impl Live {
    /// A saga of which nothing is written yet.
    pub(crate) fn new(saga: Uuid, definition: Arc<Definition>, cause: &Cause) -> Self {
        Self {
            stream: Definition::stream(saga),
            state: State::new(saga),
            definition: Some(definition),
            position: Position::START,
            timer: None,
            origin: cause.clone(),
            pending: Vec::new(),
            expected: ExpectedRevision::NoStream,
        }
    }

    /// Folds a saga's stream; none where it has no events. `definition` finds the one with
    /// a hash.
    pub(crate) async fn load(
        store: &dyn EventStore,
        saga: Uuid,
        definition: impl Fn(&str) -> Option<Arc<Definition>>,
    ) -> Result<Option<Self>, LiveError> {
        let stream = Definition::stream(saga);
        let mut state = State::new(saga);
        let mut origin = None;
        let (mut from, mut position) = (0, Position::START);
        loop {
            let page = store
                .read_stream(
                    &stream,
                    Some(from),
                    Direction::Forward,
                    Visibility::Appended,
                    PAGE,
                )
                .await?;
            for event in &page {
                state.apply(&*event.decode::<Event>()?, event.metadata()?.recorded_at);
                let origin = match &mut origin {
                    Some(origin) => origin,
                    None => origin.insert(Cause::of(event)?),
                };
                origin.event = event.event.id;
                (from, position) = (event.revision + 1, event.position);
            }
            if page.len() < PAGE {
                break;
            }
        }
        Ok(origin.map(|origin| Self {
            stream,
            definition: definition(state.definition_hash()),
            expected: ExpectedRevision::after(state.revision()),
            state,
            position,
            timer: None,
            origin,
            pending: Vec::new(),
        }))
    }

    /// The unit of order and ownership that it belongs to.
    pub(crate) fn correlation(&self) -> Uuid {
        self.origin.correlation
    }

    /// What time causes: it follows from the saga's last event.
    pub(crate) fn time(&self) -> Cause {
        self.origin.clone()
    }

    /// Reacts to an input and keeps the events to append.
    pub(crate) fn feed(
        &mut self,
        input: Input,
        cause: &Cause,
        now: DateTime<Utc>,
        log: LogId,
    ) -> Result<(), LiveError> {
        let Some(definition) = &self.definition else {
            return Ok(());
        };
        let events = react(definition, &self.state, input, now)?;
        self.write(events, cause, None, now, log)
    }

    /// Keeps what an operator did.
    pub(crate) fn write_action(
        &mut self,
        events: Vec<Event>,
        command: &ClientCommand,
        now: DateTime<Utc>,
        log: LogId,
    ) -> Result<(), LiveError> {
        let cause = Cause {
            event: command.id,
            ..self.time()
        };
        self.write(events, &cause, Some(command), now, log)
    }

    /// Parks it: an input could not be handled, and it stands still until somebody acts.
    pub(crate) fn park(
        &mut self,
        position: Position,
        error: String,
        cause: &Cause,
        now: DateTime<Utc>,
        log: LogId,
    ) -> Result<(), LiveError> {
        if self.state.is_ended() || self.state.is_parked() {
            return Ok(());
        }
        let parked = Event::Parked(Parked { position, error });
        self.write(vec![parked], cause, None, now, log)
    }

    fn write(
        &mut self,
        events: Vec<Event>,
        cause: &Cause,
        operator: Option<&ClientCommand>,
        now: DateTime<Utc>,
        log: LogId,
    ) -> Result<(), LiveError> {
        for (index, event) in events.into_iter().enumerate() {
            let mut metadata = Metadata::new(self.origin.correlation, cause.event, now, log);
            metadata.request_id.clone_from(&self.origin.request_id);
            metadata.traceparent.clone_from(&self.origin.traceparent);
            if let Some(operator) = operator {
                metadata.actor.clone_from(&operator.actor);
                metadata.request_id.clone_from(&operator.request_id);
                metadata.traceparent.clone_from(&operator.traceparent);
                metadata.command_id = Some(operator.id);
                metadata.body_hash = Some(operator.body_hash);
            }
            self.state.apply(&event, now);
            let event = NewEvent::encode(event, metadata, &self.stream, index)?;
            self.origin.event = event.id;
            self.pending.push(event);
        }
        Ok(())
    }

    /// Takes what is to be appended; none where nothing is.
    pub(crate) fn take_append(&mut self) -> Option<Append> {
        if self.pending.is_empty() {
            return None;
        }
        let append = Append {
            stream: self.stream.clone(),
            expected: self.expected,
            events: std::mem::take(&mut self.pending),
        };
        // True once it is taken; where it is not, the saga is loaded anew.
        self.expected = ExpectedRevision::after(self.state.revision());
        Some(append)
    }
}
