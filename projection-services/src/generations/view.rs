//! One view of this process: which of its generations are fed, how far they are, which is read.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use recourse_cqrs::Aggregate as _;
use recourse_event_store::{
    Direction, EventStore, Position, RecordedEvent, StoreError, StreamName, Visibility,
};
use recourse_service::readiness::Health;
use recourse_views::{
    Considered, ProjectionError,
    projection::FoldError,
    projector::Error,
    rebuild::{Event, Generations, State},
};

use super::{kind::Kind, serving::Serving};

/// How many events of a view's stream are read at once.
const READ_EVENTS: usize = 256;

/// One view of this process.
pub(crate) struct View {
    pub(crate) kind: Box<dyn Kind>,
    pub(crate) stream: StreamName,
    pub(crate) serving: Serving,
    inner: Mutex<Inner>,
}

struct Inner {
    /// As far as this process has followed the log.
    state: State,
    /// The revision of the next event of the stream.
    next_revision: u64,
    /// The generations that are fed, or were until they could not go on.
    fed: BTreeMap<u32, Fed>,
}

/// A generation that is fed.
#[derive(Clone, Debug)]
pub(crate) struct Fed {
    pub(crate) considered: Considered,
    /// Where the log was when it began to be fed by this process.
    pub(crate) head_then: Position,
    /// What it could not take in.
    pub(crate) failure: Option<String>,
}

impl Fed {
    /// Whether it can be asked: not before it has come to where the log was when it was opened,
    /// nor after an event that it cannot take in.
    pub(crate) fn health(&self) -> Health {
        if let Some(why) = &self.failure {
            return Health::Down(why.clone());
        }
        let considered = self.considered.get();
        if considered < self.head_then {
            let head = self.head_then;
            return Health::Starting(format!("at {considered} on the way to {head}"));
        }
        Health::Up
    }
}

impl View {
    pub(crate) fn new(kind: Box<dyn Kind>, serving: Serving, history: Followed) -> Self {
        let stream = Generations::stream(kind.name());
        Self {
            kind,
            stream,
            serving,
            inner: Mutex::new(Inner {
                state: history.state,
                next_revision: history.next_revision,
                fed: BTreeMap::new(),
            }),
        }
    }

    /// No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generations, as far as this process has followed the log.
    pub(crate) fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// Goes on with an event of the view's stream. One that was taken already is passed over.
    pub(crate) fn follow(&self, event: &RecordedEvent) -> Result<(), Error> {
        let mut inner = self.lock();
        if event.revision < inner.next_revision {
            return Ok(());
        }
        let state = std::mem::take(&mut inner.state);
        inner.state = evolved(state, event, self.kind.name())?;
        inner.next_revision = event.revision.saturating_add(1);
        Ok(())
    }

    /// A generation, where it is fed.
    pub(crate) fn fed(&self, generation: u32) -> Option<Fed> {
        self.lock().fed.get(&generation).cloned()
    }

    /// A generation is fed from here on.
    pub(crate) fn feeds(&self, generation: u32, considered: Considered, head_then: Position) {
        let fed = Fed {
            considered,
            head_then,
            failure: None,
        };
        self.lock().fed.insert(generation, fed);
    }

    /// A generation is not fed any more.
    pub(crate) fn let_go(&self, generation: u32) {
        self.lock().fed.remove(&generation);
    }

    /// A generation cannot go on.
    pub(crate) fn failed(&self, generation: u32, error: &Error) {
        tracing::error!(
            view = self.kind.name(),
            generation,
            error = error as &dyn std::error::Error,
            "the view stands still"
        );
        if let Some(fed) = self.lock().fed.get_mut(&generation) {
            fed.failure = Some(with_sources(error));
        }
    }

    /// Whether the view can be asked: that is whether the generation can that is read.
    pub(crate) fn health(&self) -> Health {
        match self.fed(self.serving.now().generation) {
            Some(fed) => fed.health(),
            None => Health::Up,
        }
    }
}

/// A view's stream, read to its end.
#[derive(Default)]
pub(crate) struct Followed {
    pub(crate) state: State,
    next_revision: u64,
}

impl Followed {
    /// Reads what is durable of a view's stream.
    pub(crate) async fn read(store: &dyn EventStore, view: &'static str) -> Result<Self, Error> {
        let mut followed = Self::default();
        let stream = Generations::stream(view);
        let events = read(store, &stream)
            .await
            .map_err(|source| Error::Store { view, source })?;
        for event in &events {
            followed.state = evolved(followed.state, event, view)?;
            followed.next_revision = event.revision.saturating_add(1);
        }
        Ok(followed)
    }
}

/// What is durable of a stream: those of views are short.
pub(crate) async fn read(
    store: &dyn EventStore,
    stream: &StreamName,
) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
    let mut events: Vec<Arc<RecordedEvent>> = Vec::new();
    loop {
        let from = events
            .last()
            .map_or(0, |last| last.revision.saturating_add(1));
        let read = store
            .read_stream(
                stream,
                Some(from),
                Direction::Forward,
                Visibility::Durable,
                READ_EVENTS,
            )
            .await?;
        let is_end = read.len() < READ_EVENTS;
        events.extend(read);
        if is_end {
            return Ok(events);
        }
    }
}

fn evolved(state: State, event: &RecordedEvent, view: &'static str) -> Result<State, Error> {
    let decoded = event.decode::<Event>().map_err(|error| FoldError::Event {
        view,
        position: event.position,
        event_type: Arc::clone(&event.event.event_type),
        source: ProjectionError::from(error),
    })?;
    Ok(Generations::evolve(state, &decoded))
}

/// An error and what caused it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
