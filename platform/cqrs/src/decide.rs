//! From a request to the events it writes, if any. Pure.
//!
//! Which event answers a saga's command:
//! - Where the decision holds an intent, the first intent *takes* the command and the outcome
//!   of its operation answers it, be it later or further on in the same decision.
//! - Else the last event of role [`Role::Answer`] answers it. The last one, so that whoever
//!   has seen the answer finds all that the command did before it; and not simply the last
//!   event, which may be another operation's outcome with a refusal of its own.
//! - Else the first outcome does, its refusal included.
//! - Else, where all is progress, the last event does: no command stays without an answer.
//!
//! Besides, each outcome answers every open command of its operation, whoever caused it.

use chrono::{DateTime, Utc};
use recourse_event_store::{
    Answered, LogId, Metadata, NewEvent, Refused, StreamName, Taken, typed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Aggregate, ClientCommand, Internal, Origin, Request, Role, SagaCommand, Tracked,
    tracked::with_sources,
};

/// The type of the event that answers a saga's command with no. Belongs to the platform:
/// aggregates never see it.
pub const COMMAND_REFUSED: &str = "command.refused.v1";

/// The refusal of a saga's command that cannot be read, or whose decision cannot be written.
pub const COMMAND_NOT_UNDERSTOOD: &str = "command-not-understood";

/// The refusal of a saga's command that changes nothing.
pub const NOTHING_TO_DO: &str = "nothing-to-do";

/// The refusal of a saga's command to an aggregate with an event that this build cannot read.
pub const AGGREGATE_UNREADABLE: &str = "aggregate-unreadable";

/// The refusal of a saga's command whose events are over the store's limit.
pub const DECISION_TOO_LARGE: &str = "decision-too-large";

/// Events of one decision that keep their ids apart from those of the next command in the
/// same saga event.
const MAX_EVENTS_OF_A_COMMAND: usize = 1 << 20;

/// The events that are the platform's own: any stream of an aggregate may hold one.
#[derive(Serialize, Deserialize, JsonSchema)]
pub enum PlatformEvent {
    /// A saga's command was refused.
    #[serde(rename = "command.refused.v1")]
    Refused(Refused),
}

/// What is to be done about a request.
#[derive(Clone, Debug)]
pub enum Handled<R> {
    /// Append these, at the revision that was decided on.
    Write {
        /// At least one.
        events: Vec<NewEvent>,
        /// What it means once they are there.
        effect: Effect,
    },
    /// Append nothing.
    Nothing(Effect),
    /// Append nothing and say no. Never for a saga.
    Rejected(Rejection<R>),
}

impl<R> Handled<R> {
    /// What to append.
    #[must_use]
    pub fn events(&self) -> &[NewEvent] {
        match self {
            Self::Write { events, .. } => events,
            Self::Nothing(_) | Self::Rejected(_) => &[],
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Events were written.
    Written,
    /// The durable refusal of a saga's command was written.
    Refused(Refused),
    /// Nothing to change: nothing was written.
    Unchanged,
    /// A client's command that was accepted before.
    Replayed {
        /// The revision of the last event that it wrote then.
        revision: u64,
    },
    /// A saga's command at or below the mark.
    AlreadyTaken,
}

/// Why a request that no saga sent is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection<R> {
    /// The rules say no.
    Refused(R),
    /// The id was used before, for another body.
    IdempotencyKeyReused,
    /// The stream is not what the client says.
    PreconditionFailed {
        /// Its last revision.
        actual: Option<u64>,
    },
    /// The stream holds an event that this build cannot read.
    Unreadable(String),
    /// The decision holds an event that has no form.
    Unwritable(String),
}

/// Decides on one request. Changes nothing: append the events and
/// [`apply`](Tracked::apply) them.
#[must_use]
pub fn handle<A: Aggregate>(
    tracked: &Tracked<A>,
    request: &Request<A>,
    now: DateTime<Utc>,
    log: LogId,
) -> Handled<A::Refusal> {
    match request {
        Request::Saga(saga) => for_saga(tracked, saga, now, log),
        Request::Direct {
            stream,
            command,
            origin: Origin::Client(client),
        } => for_client(tracked, stream, command, client, now, log),
        Request::Direct {
            stream,
            command,
            origin: Origin::Internal(internal),
        } => {
            let metadata = internal_metadata(internal, now, log);
            // The same event can ask for the same more than once, as each time that an
            // outcome is still unknown; the revision tells those apart.
            let first = usize::try_from(tracked.tracking().next_revision()).unwrap_or(usize::MAX);
            directly(tracked, stream, command, &metadata, first)
        }
    }
}

fn for_saga<A: Aggregate>(
    tracked: &Tracked<A>,
    saga: &SagaCommand,
    now: DateTime<Utc>,
    log: LogId,
) -> Handled<A::Refusal> {
    if tracked.tracking().is_past(saga.mark) {
        return Handled::Nothing(Effect::AlreadyTaken);
    }
    let refuse = |code: &str, detail: String, is_final| {
        refuse_saga(
            saga,
            Refused {
                code: code.to_owned(),
                detail,
                is_final,
            },
            now,
            log,
        )
    };
    if let Some(why) = tracked.unreadable() {
        // Not final: a build that reads the event can obey.
        return refuse(AGGREGATE_UNREADABLE, why.to_owned(), false);
    }
    let command = match typed::decode::<A::Command>(
        &saga.command.command_type,
        saga.command.data.as_str().as_bytes(),
    ) {
        Ok(command) => command,
        Err(error) => return refuse(COMMAND_NOT_UNDERSTOOD, with_sources(&error), true),
    };
    let events = match A::decide(tracked.state(), &command) {
        Ok(events) => events,
        Err(refusal) => return refuse_saga(saga, A::refused(&refusal), now, log),
    };
    if events.is_empty() {
        return refuse(
            NOTHING_TO_DO,
            "the command changes nothing".to_owned(),
            true,
        );
    }
    let metadata = saga_metadata(saga, now, log);
    let first = (saga.mark.index as usize).saturating_mul(MAX_EVENTS_OF_A_COMMAND);
    let answered = answered(saga);
    match write(
        tracked,
        &saga.command.target,
        events,
        &metadata,
        first,
        Some(&answered),
    ) {
        Ok(events) => Handled::Write {
            events,
            effect: Effect::Written,
        },
        Err(error) => refuse(COMMAND_NOT_UNDERSTOOD, with_sources(&error), true),
    }
}

/// The durable refusal of a saga's command.
pub(crate) fn refuse_saga<R>(
    saga: &SagaCommand,
    refused: Refused,
    now: DateTime<Utc>,
    log: LogId,
) -> Handled<R> {
    let mut metadata = saga_metadata(saga, now, log);
    metadata.answers = vec![answered(saga)];
    metadata.refused = Some(refused.clone());
    let first = (saga.mark.index as usize).saturating_mul(MAX_EVENTS_OF_A_COMMAND);
    match NewEvent::encode(
        PlatformEvent::Refused(refused.clone()),
        metadata,
        &saga.command.target,
        first,
    ) {
        Ok(event) => Handled::Write {
            events: vec![event],
            effect: Effect::Refused(refused),
        },
        // Two strings and a flag always have a form in JSON.
        Err(error) => Handled::Rejected(Rejection::Unwritable(with_sources(&error))),
    }
}

fn for_client<A: Aggregate>(
    tracked: &Tracked<A>,
    stream: &StreamName,
    command: &A::Command,
    client: &ClientCommand,
    now: DateTime<Utc>,
    log: LogId,
) -> Handled<A::Refusal> {
    if let Some(known) = tracked.tracking().client_command(client.id, now) {
        return if known.body_hash == client.body_hash {
            Handled::Nothing(Effect::Replayed {
                revision: known.revision,
            })
        } else {
            Handled::Rejected(Rejection::IdempotencyKeyReused)
        };
    }
    if !client.precondition.holds(tracked.revision()) {
        return Handled::Rejected(Rejection::PreconditionFailed {
            actual: tracked.revision(),
        });
    }
    let mut metadata = Metadata::new(client.correlation_id, client.id, now, log);
    metadata.command_id = Some(client.id);
    metadata.body_hash = Some(client.body_hash);
    metadata.actor.clone_from(&client.actor);
    metadata.request_id.clone_from(&client.request_id);
    metadata.traceparent.clone_from(&client.traceparent);
    directly(tracked, stream, command, &metadata, 0)
}

fn directly<A: Aggregate>(
    tracked: &Tracked<A>,
    stream: &StreamName,
    command: &A::Command,
    metadata: &Metadata,
    first: usize,
) -> Handled<A::Refusal> {
    if let Some(why) = tracked.unreadable() {
        return Handled::Rejected(Rejection::Unreadable(why.to_owned()));
    }
    let events = match A::decide(tracked.state(), command) {
        Ok(events) => events,
        Err(refusal) => return Handled::Rejected(Rejection::Refused(refusal)),
    };
    if events.is_empty() {
        return Handled::Nothing(Effect::Unchanged);
    }
    match write(tracked, stream, events, metadata, first, None) {
        Ok(events) => Handled::Write {
            events,
            effect: Effect::Written,
        },
        Err(error) => Handled::Rejected(Rejection::Unwritable(with_sources(&error))),
    }
}

/// Gives each event of a decision its metadata. `first` is the index of the first of them
/// within their cause; `own` is the saga command that they are written for.
fn write<A: Aggregate>(
    tracked: &Tracked<A>,
    stream: &StreamName,
    events: Vec<A::Event>,
    metadata: &Metadata,
    first: usize,
    own: Option<&Answered>,
) -> Result<Vec<NewEvent>, typed::Error> {
    let roles: Vec<Role> = events.iter().map(A::role).collect();
    let is_outcome = |role: &Role| matches!(role, Role::Outcome { .. });
    let intent = roles
        .iter()
        .position(|role| matches!(role, Role::Intent { .. }));
    let answer = match intent {
        Some(_) => None,
        None => roles
            .iter()
            .rposition(|role| *role == Role::Answer)
            .or_else(|| roles.iter().position(is_outcome))
            .or(roles.len().checked_sub(1)),
    };
    let mut open = if roles.iter().any(is_outcome) {
        tracked.tracking().open().to_vec()
    } else {
        Vec::new()
    };
    let mut written = Vec::with_capacity(events.len());
    for (at, (event, role)) in events.into_iter().zip(roles).enumerate() {
        let mut metadata = metadata.clone();
        if let Role::Outcome { operation, refused } = &role {
            metadata.refused.clone_from(refused);
            metadata.answers = open
                .extract_if(.., |taken| taken.operation == *operation)
                .map(|taken| taken.answered)
                .collect();
        }
        if let Some(own) = own {
            if answer == Some(at) {
                metadata.answers.push(own.clone());
            }
            if intent == Some(at)
                && let Role::Intent { operation } = role
            {
                let taken = Taken {
                    answered: own.clone(),
                    operation: operation.into_owned(),
                };
                open.push(taken.clone());
                metadata.takes = Some(taken);
            }
        }
        written.push(NewEvent::encode(
            event,
            metadata,
            stream,
            first.saturating_add(at),
        )?);
    }
    Ok(written)
}

fn answered(saga: &SagaCommand) -> Answered {
    Answered {
        command: saga.command.id,
        saga: saga.saga.clone(),
    }
}

fn saga_metadata(saga: &SagaCommand, now: DateTime<Utc>, log: LogId) -> Metadata {
    let mut metadata = Metadata::new(saga.correlation_id, saga.cause, now, log);
    metadata.mark = Some(saga.mark);
    metadata.request_id.clone_from(&saga.request_id);
    metadata.traceparent.clone_from(&saga.traceparent);
    metadata
}

fn internal_metadata(internal: &Internal, now: DateTime<Utc>, log: LogId) -> Metadata {
    let mut metadata = Metadata::new(internal.correlation_id, internal.causation_id, now, log);
    metadata.actor.clone_from(&internal.actor);
    metadata.request_id.clone_from(&internal.request_id);
    metadata.traceparent.clone_from(&internal.traceparent);
    metadata
}
