//! An aggregate's state together with everything that makes a redelivery harmless.

use std::{fmt, hash::Hash, sync::Arc};

use chrono::{DateTime, Utc};
use recourse_event_store::{
    ExpectedRevision, Mark, Metadata, NewEvent, Position, RecordedEvent, StreamName, Taken, typed,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Aggregate, COMMAND_REFUSED, Remembered, clients::Clients};

/// The last event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Its place in the stream.
    pub revision: u64,
    /// Its place in the log.
    pub position: Position,
    /// Its id.
    pub event_id: Uuid,
}

/// What the metadata of a stream's events add up to. Knows nothing of the rules, so any
/// stream that a saga's commands go to can be looked up with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tracking {
    head: Option<Head>,
    mark: Option<Mark>,
    open: Vec<Taken>,
    // Shared until it changes: saga commands, which are most, never copy it.
    clients: Arc<Clients>,
    latest: Option<DateTime<Utc>>,
}

impl Tracking {
    /// The stream's last event; none where it has none.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// The highest saga command that was taken: at or below it a delivery changes nothing.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Whether a saga command at `mark` has been taken, or can never be any more.
    #[must_use]
    pub fn is_past(&self, mark: Mark) -> bool {
        self.mark.is_some_and(|highest| mark <= highest)
    }

    /// The saga commands that are taken and not yet answered, oldest first.
    #[must_use]
    pub fn open(&self) -> &[Taken] {
        &self.open
    }

    /// The client's command of this id, if it was accepted and is still remembered at `now`.
    #[must_use]
    pub fn client_command(&self, id: Uuid, now: DateTime<Utc>) -> Option<&Remembered> {
        self.clients.find(id, now)
    }

    /// How many clients' commands are kept.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.clients.len()
    }

    /// Goes on with the next event.
    ///
    /// # Errors
    /// Where the metadata cannot be read, or the event is not the next one.
    pub fn apply(mut self, event: &RecordedEvent) -> Result<Self, ApplyError> {
        let metadata = event.metadata().map_err(|source| ApplyError::Metadata {
            stream: event.stream.clone(),
            revision: event.revision,
            source,
        })?;
        let expected = self.next_revision();
        if event.revision != expected {
            return Err(ApplyError::OutOfOrder {
                stream: event.stream.clone(),
                expected,
                found: event.revision,
            });
        }
        self.note(metadata, event.revision);
        self.head = Some(Head {
            revision: event.revision,
            position: event.position,
            event_id: event.event.id,
        });
        Ok(self)
    }

    fn note(&mut self, metadata: &Metadata, revision: u64) {
        self.mark = self.mark.max(metadata.mark);
        if let Some(taken) = &metadata.takes {
            self.open.push(taken.clone());
        }
        if !metadata.answers.is_empty() {
            self.open
                .retain(|taken| !metadata.answers.contains(&taken.answered));
        }
        if let Some(id) = metadata.command_id {
            Arc::make_mut(&mut self.clients).remember(
                id,
                metadata.body_hash.unwrap_or_default(),
                metadata.recorded_at,
                revision,
            );
        }
        let latest = self
            .latest
            .map_or(metadata.recorded_at, |at| at.max(metadata.recorded_at));
        self.latest = Some(latest);
        if self.clients.has_past(latest) {
            Arc::make_mut(&mut self.clients).forget(latest);
        }
    }

    pub(crate) fn next_revision(&self) -> u64 {
        self.head.map_or(0, |head| head.revision.saturating_add(1))
    }
}

/// The state of one aggregate and the [`Tracking`] of its stream: a fold of the stream's
/// events, nothing else.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
pub struct Tracked<A: Aggregate> {
    state: A::State,
    tracking: Tracking,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

impl<A: Aggregate> Tracked<A> {
    /// What the rules know.
    #[must_use]
    pub fn state(&self) -> &A::State {
        &self.state
    }

    /// What the metadata add up to.
    #[must_use]
    pub fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// The revision of the stream's last event; none where it has none.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.tracking.head.map(|head| head.revision)
    }

    /// The position of the stream's last event: whoever tells what is in here to anybody
    /// outside the process first waits until the log is durable up to it.
    #[must_use]
    pub fn position(&self) -> Position {
        self.tracking
            .head
            .map_or(Position::START, |head| head.position)
    }

    /// Why the rules cannot be asked: an event that this build cannot read, from which on the
    /// state stands still. The tracking goes on, so every command still gets its answer.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// What an append that follows from this expects.
    #[must_use]
    pub fn expected(&self) -> ExpectedRevision {
        ExpectedRevision::after(self.revision())
    }

    /// Goes on with the next event. A [`COMMAND_REFUSED`] changes the tracking alone.
    ///
    /// # Errors
    /// Where the metadata cannot be read, or the event is not the next one: then nothing can
    /// be said about the stream at all.
    pub fn apply(self, event: &RecordedEvent) -> Result<Self, ApplyError> {
        let Self {
            state,
            tracking,
            unreadable,
        } = self;
        let tracking = tracking.apply(event)?;
        if unreadable.is_some() || &*event.event.event_type == COMMAND_REFUSED {
            return Ok(Self {
                state,
                tracking,
                unreadable,
            });
        }
        Ok(match event.decode::<A::Event>() {
            Ok(decoded) => Self {
                state: A::evolve(state, &decoded),
                tracking,
                unreadable: None,
            },
            Err(error) => Self {
                state,
                tracking,
                unreadable: Some(format!(
                    "revision {}: {}",
                    event.revision,
                    with_sources(&error)
                )),
            },
        })
    }

    /// Goes on with an event that is about to be appended, as if it stood at `position`; for
    /// whoever has no store, such as an exhaustive search. Gives the event in its place too.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_new(
        self,
        stream: &StreamName,
        event: NewEvent,
        position: Position,
    ) -> Result<(Self, RecordedEvent), ApplyError> {
        let recorded = event.record(position, stream.clone(), self.tracking.next_revision());
        Ok((self.apply(&recorded)?, recorded))
    }

    /// Corrects the position of the last event, once the store has said where it is.
    pub(crate) fn settle(&mut self, position: Position) {
        if let Some(head) = &mut self.tracking.head {
            head.position = position;
        }
    }
}

/// Why an event does not fit on what is there.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Its metadata are not ours.
    #[error("the metadata of {stream} at revision {revision} cannot be read")]
    Metadata {
        /// The stream.
        stream: StreamName,
        /// Where in it.
        revision: u64,
        /// What is wrong.
        source: typed::Error,
    },
    /// It is not the next one.
    #[error("{stream} goes on with revision {found} where {expected} is next")]
    OutOfOrder {
        /// The stream.
        stream: StreamName,
        /// The next revision.
        expected: u64,
        /// The one that came.
        found: u64,
    },
}

/// An error and what caused it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

// Derives would ask the same of the marker `A`, which has nothing.
impl<A: Aggregate> Default for Tracked<A> {
    fn default() -> Self {
        Self {
            state: A::State::default(),
            tracking: Tracking::default(),
            unreadable: None,
        }
    }
}

impl<A: Aggregate> Clone for Tracked<A> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            tracking: self.tracking.clone(),
            unreadable: self.unreadable.clone(),
        }
    }
}

impl<A: Aggregate<State: PartialEq>> PartialEq for Tracked<A> {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
            && self.tracking == other.tracking
            && self.unreadable == other.unreadable
    }
}

impl<A: Aggregate<State: Eq>> Eq for Tracked<A> {}

impl<A: Aggregate<State: Hash>> Hash for Tracked<A> {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.state.hash(hasher);
        self.tracking.hash(hasher);
        self.unreadable.hash(hasher);
    }
}

impl<A: Aggregate<State: fmt::Debug>> fmt::Debug for Tracked<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked")
            .field("state", &self.state)
            .field("tracking", &self.tracking)
            .field("unreadable", &self.unreadable)
            .finish()
    }
}
