//! A client's command, from its request to an answer that may be told.

use std::sync::Arc;

use recourse_cqrs::{
    Aggregate, ClientCommand, Error, Handle, Origin, Outcome, Precondition, SendError,
};
use recourse_event_store::{EventStore, StreamName};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Problem, errors,
    http::{self, Preconditions, RequestContext},
};

/// Of every correlation that is an aggregate's own.
const CORRELATIONS: Uuid = Uuid::from_u128(0x7d2b_90c4_5e18_5f6a_8b03_c9d1_46fe_a27b);

/// The correlation of what happens to an aggregate on nobody else's behalf.
#[must_use]
pub fn own_correlation(stream: &StreamName) -> Uuid {
    Uuid::new_v5(&CORRELATIONS, stream.as_str().as_bytes())
}

/// A client's command with what its request says about it.
#[must_use]
pub fn client<B: Serialize>(
    command: &http::ClientCommand,
    body: &B,
    context: &RequestContext,
    correlation_id: Uuid,
) -> ClientCommand {
    ClientCommand {
        id: command.id,
        body_hash: command.body_hash(body),
        correlation_id,
        precondition: Precondition::None,
        // Until there is identity everybody is anonymous, which no event needs to say.
        actor: None,
        request_id: Some(context.request_id().to_owned()),
        traceparent: Some(context.traceparent().to_owned()),
    }
}

/// Sends clients' commands to the aggregates of one kind.
pub struct Commands<A: Aggregate> {
    handle: Handle<A>,
    store: Arc<dyn EventStore>,
    refused: fn(&A::Refusal) -> Problem,
}

impl<A: Aggregate> Clone for Commands<A> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            store: Arc::clone(&self.store),
            refused: self.refused,
        }
    }
}

impl<A: Aggregate> Commands<A> {
    /// `refused` says how a refusal of the rules is told to a client.
    #[must_use]
    pub fn new(
        handle: Handle<A>,
        store: Arc<dyn EventStore>,
        refused: fn(&A::Refusal) -> Problem,
    ) -> Self {
        Self {
            handle,
            store,
            refused,
        }
    }

    /// The store that the aggregates are in.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// The handle of their worker.
    #[must_use]
    pub fn handle(&self) -> &Handle<A> {
        &self.handle
    }

    /// Executes a command. Answers once everything that the answer was derived from is
    /// durable, so that it may be told.
    ///
    /// # Errors
    /// What to tell the client.
    pub async fn execute(
        &self,
        stream: StreamName,
        command: A::Command,
        client: ClientCommand,
    ) -> Result<Outcome<A>, Problem> {
        let sent = self.send(stream, command, client).await;
        sent.map_err(|error| self.problem(error))
    }

    /// The same under `If-Match` and `If-None-Match`, which are held against the aggregate as
    /// one with the decision.
    ///
    /// # Errors
    /// As [`Self::execute`], and `precondition-failed`.
    pub async fn execute_if(
        &self,
        stream: StreamName,
        command: A::Command,
        mut client: ClientCommand,
        preconditions: &Preconditions,
    ) -> Result<Outcome<A>, Problem> {
        if preconditions.is_empty() {
            return self.execute(stream, command, client).await;
        }
        let loaded = self.handle.repository().load(&stream).await;
        let mut revision = loaded.map_err(|error| unreadable(&error))?.revision();
        loop {
            client.precondition = match (preconditions.check(revision), revision) {
                // Sent all the same: whoever repeats an accepted command finds it, whatever
                // came after it.
                (Err(_), _) => Precondition::Revision(u64::MAX),
                (Ok(()), None) => Precondition::Absent,
                (Ok(()), Some(revision)) => Precondition::Revision(revision),
            };
            let sent = self.send(stream.clone(), command.clone(), client.clone());
            match sent.await {
                Err(SendError::Failed(Error::PreconditionFailed { actual, .. })) => {
                    preconditions.check(actual)?;
                    if actual == revision {
                        return Err(Problem::new(errors::CONFLICT));
                    }
                    revision = actual;
                }
                sent => return sent.map_err(|error| self.problem(error)),
            }
        }
    }

    async fn send(
        &self,
        stream: StreamName,
        command: A::Command,
        client: ClientCommand,
    ) -> Result<Outcome<A>, SendError<A::Refusal>> {
        let origin = Origin::Client(client);
        let outcome = self.handle.send_durably(stream, command, origin).await?;
        // Others of the same batch may have moved the aggregate on, and it is what is shown.
        let shown = self.store.wait_durable(outcome.tracked.position()).await;
        shown.map_err(Error::Store)?;
        Ok(outcome)
    }

    fn problem(&self, error: SendError<A::Refusal>) -> Problem {
        match error {
            SendError::Overloaded { retry_after } => {
                Problem::new(errors::OVERLOADED).retry_after(retry_after)
            }
            SendError::ShuttingDown => Problem::new(errors::SHUTTING_DOWN),
            SendError::Failed(Error::Refused { refusal, .. }) => (self.refused)(&refusal),
            SendError::Failed(Error::IdempotencyKeyReused { .. }) => {
                Problem::new(errors::IDEMPOTENCY_KEY_REUSED)
            }
            SendError::Failed(Error::PreconditionFailed { .. }) => {
                Problem::new(errors::PRECONDITION_FAILED)
            }
            SendError::Failed(Error::TooLarge { max_bytes, .. }) => {
                Problem::new(errors::BODY_TOO_LARGE)
                    .detail(format!("the store takes at most {max_bytes} bytes at once"))
            }
            SendError::Failed(Error::Contended) => Problem::new(errors::CONFLICT),
            SendError::Failed(Error::Store(error)) => error.into(),
            SendError::Failed(error @ (Error::Unreadable(_) | Error::Unwritable(_))) => {
                tracing::error!(%error, "a command could not be executed");
                Problem::new(errors::INTERNAL)
            }
        }
    }
}

/// What an aggregate that cannot be loaded looks like to a client.
#[must_use]
pub fn unreadable(error: &recourse_cqrs::LoadError) -> Problem {
    match error {
        recourse_cqrs::LoadError::Store(error) => error.clone().into(),
        recourse_cqrs::LoadError::Unreadable(_) => {
            tracing::error!(%error, "an aggregate could not be loaded");
            Problem::new(errors::INTERNAL)
        }
    }
}
