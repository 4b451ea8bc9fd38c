//! What an aggregate is asked, and on whose behalf.

use recourse_bus::{Command, Delivery};
use recourse_event_store::{Mark, StreamName, typed};
use uuid::Uuid;

use crate::Aggregate;

/// A command for one aggregate.
pub enum Request<A: Aggregate> {
    /// From a saga, over the bus. Always answered in the aggregate's stream.
    Saga(SagaCommand),
    /// From a client or from the service itself: answered to whoever sent it.
    Direct {
        /// The aggregate's stream.
        stream: StreamName,
        /// What it is asked.
        command: A::Command,
        /// On whose behalf.
        origin: Origin,
    },
}

impl<A: Aggregate> Request<A> {
    /// The stream of the aggregate that it is for.
    #[must_use]
    pub fn stream(&self) -> &StreamName {
        match self {
            Self::Saga(saga) => &saga.command.target,
            Self::Direct { stream, .. } => stream,
        }
    }
}

// A derive would ask the same of the marker `A`.
impl<A: Aggregate> Clone for Request<A> {
    fn clone(&self) -> Self {
        match self {
            Self::Saga(saga) => Self::Saga(saga.clone()),
            Self::Direct {
                stream,
                command,
                origin,
            } => Self::Direct {
                stream: stream.clone(),
                command: command.clone(),
                origin: origin.clone(),
            },
        }
    }
}

/// A saga's command with what its event says about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SagaCommand {
    /// The command.
    pub command: Command,
    /// Where it stands in the order of all commands.
    pub mark: Mark,
    /// The stream of the saga that sent it and waits for the answer.
    pub saga: StreamName,
    /// The id of the event that carries it.
    pub cause: Uuid,
    /// The correlation of that event, inherited.
    pub correlation_id: Uuid,
    /// The client's `Correlation-Id`, inherited.
    pub request_id: Option<String>,
    /// The trace context, inherited.
    pub traceparent: Option<String>,
}

impl TryFrom<Delivery> for SagaCommand {
    type Error = typed::Error;

    /// # Errors
    /// Where the metadata of the saga's event cannot be read.
    fn try_from(delivery: Delivery) -> Result<Self, typed::Error> {
        let metadata = delivery.event.metadata()?;
        Ok(Self {
            mark: delivery.mark,
            saga: delivery.event.stream.clone(),
            cause: delivery.event.event.id,
            correlation_id: metadata.correlation_id,
            request_id: metadata.request_id.clone(),
            traceparent: metadata.traceparent.clone(),
            command: delivery.command,
        })
    }
}

/// On whose behalf a command comes that no saga sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's.
    Client(ClientCommand),
    /// The service's own, following from an event.
    Internal(Internal),
}

/// Who sent a client's command, and how to know it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCommand {
    /// UUIDv5(principal, method, path, idempotency key).
    pub id: Uuid,
    /// A digest of its body: another body under the same id is refused.
    pub body_hash: Uuid,
    /// The unit of order that its events belong to: the aggregate's id, or the order's.
    pub correlation_id: Uuid,
    /// What the stream must look like; checked with the decision, as one.
    pub precondition: Precondition,
    /// Who asks.
    pub actor: Option<String>,
    /// The client's `Correlation-Id`.
    pub request_id: Option<String>,
    /// The trace context of the request.
    pub traceparent: Option<String>,
}

/// What a client says its command is based on: `If-Match` and `If-None-Match`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing: the last write wins.
    #[default]
    None,
    /// The aggregate has no events yet.
    Absent,
    /// The last event has this revision.
    Revision(u64),
}

impl Precondition {
    pub(crate) fn holds(self, revision: Option<u64>) -> bool {
        match self {
            Self::None => true,
            Self::Absent => revision.is_none(),
            Self::Revision(expected) => revision == Some(expected),
        }
    }
}

/// What the service itself asks, such as to record what somebody outside answered. Not
/// remembered: the rules themselves must take a repeat as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Internal {
    /// The id of the event that it follows from.
    pub causation_id: Uuid,
    /// The correlation of that event, inherited.
    pub correlation_id: Uuid,
    /// Who asked, where somebody did.
    pub actor: Option<String>,
    /// The client's `Correlation-Id`, inherited.
    pub request_id: Option<String>,
    /// The trace context, inherited.
    pub traceparent: Option<String>,
}

impl Internal {
    /// What follows from an event, with its correlation and trace.
    ///
    /// # Errors
    /// Where the event's metadata cannot be read.
    pub fn following(event: &recourse_event_store::RecordedEvent) -> Result<Self, typed::Error> {
        let metadata = event.metadata()?;
        Ok(Self {
            causation_id: event.event.id,
            correlation_id: metadata.correlation_id,
            actor: None,
            request_id: metadata.request_id.clone(),
            traceparent: metadata.traceparent.clone(),
        })
    }
}
