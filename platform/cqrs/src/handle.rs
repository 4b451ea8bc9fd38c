//! The way in for whoever is in the same process.

use std::{sync::Arc, time::Duration};

use recourse_event_store::{Position, StreamName};
use tokio::sync::{mpsc, oneshot};

use crate::{Aggregate, Error, Origin, Outcome, Repository, Request};

/// Why a request was not executed, or what came of it.
#[derive(Debug, thiserror::Error)]
pub enum SendError<R: std::error::Error + 'static> {
    /// Too many wait already: nothing happened.
    #[error("too many commands wait already")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The worker takes nothing more. Where it ended in the middle, the command may still
    /// have taken effect.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// It was executed.
    #[error(transparent)]
    Failed(#[from] Error<R>),
}

/// A request on its way to the worker.
pub(crate) struct Job<A: Aggregate> {
    pub(crate) request: Request<A>,
    pub(crate) reply: oneshot::Sender<Result<Outcome<A>, Error<A::Refusal>>>,
}

/// Sends requests to a [`Worker`]. Cheap to clone.
pub struct Handle<A: Aggregate> {
    pub(crate) jobs: mpsc::Sender<Job<A>>,
    pub(crate) repository: Arc<Repository<A>>,
    pub(crate) retry_after: Duration,
}

impl<A: Aggregate> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
            repository: Arc::clone(&self.repository),
            retry_after: self.retry_after,
        }
    }
}

impl<A: Aggregate> Handle<A> {
    /// Has a command executed. The answer comes when its events are appended: **wait until
    /// the log is durable up to [`Outcome::position`], or `seen` of the error, before telling
    /// anybody.** Where the caller goes away the command is executed all the same.
    ///
    /// # Errors
    /// [`SendError::Overloaded`] at once where too many wait; else as
    /// [`Repository::execute`].
    pub async fn send(
        &self,
        stream: StreamName,
        command: A::Command,
        origin: Origin,
    ) -> Result<Outcome<A>, SendError<A::Refusal>> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            request: Request::Direct {
                stream,
                command,
                origin,
            },
            reply,
        };
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Overloaded {
                retry_after: self.retry_after,
            },
            mpsc::error::TrySendError::Closed(_) => SendError::ShuttingDown,
        })?;
        match answer.await {
            Ok(result) => result.map_err(SendError::Failed),
            Err(_) => Err(SendError::ShuttingDown),
        }
    }

    /// [`Self::send`], and then waits until what came of it may be told.
    ///
    /// # Errors
    /// As [`Self::send`]; [`Error::Store`] where the log will not become durable.
    pub async fn send_durably(
        &self,
        stream: StreamName,
        command: A::Command,
        origin: Origin,
    ) -> Result<Outcome<A>, SendError<A::Refusal>> {
        let result = self.send(stream, command, origin).await;
        let position = match &result {
            Ok(outcome) => outcome.position,
            Err(SendError::Failed(error)) => error.seen(),
            Err(SendError::Overloaded { .. } | SendError::ShuttingDown) => Position::START,
        };
        let store = self.repository.store();
        store.wait_durable(position).await.map_err(Error::Store)?;
        result
    }

    /// The repository behind it, to load aggregates from.
    #[must_use]
    pub fn repository(&self) -> &Arc<Repository<A>> {
        &self.repository
    }
}
