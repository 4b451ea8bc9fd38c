//! Payments: intents first, then the provider, then the outcome.
//!
//! ```text
//! payment.authorize, .capture, .void, .refund (sagas)
//!                   └────▶ worker ──▶ payment-<id>: an intent
//!                            ▲              │ durable
//!             record-outcome └── calls ◀────┘
//!                                 │ same request, same key,
//!                                 ▼ until the answer is definite
//!                              provider
//! ```
//!
//! A command counts as taken once its intent is in the log, so a slow provider blocks nobody
//! else; and the provider is called only once the intent is durable, so that no effect out
//! there is ever unknown here.

mod calls;
pub mod provider;
mod room;
mod shift;
pub mod simulator;

use std::sync::Arc;

use recourse_aggregates::Payment;
use recourse_bus::{Bus, BusError, Checkpoints, Turns};
use recourse_cqrs::{
    Clock, Repository, RepositoryOptions, Source, Worker, WorkerError, WorkerOptions,
};
use recourse_event_store::EventStore;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use calls::{Calls, Outside};
pub use provider::Provider;

/// The limits of the calls to the provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How many calls are under way at once, from the sending to the recorded outcome; further
    /// ones wait for their turn. A call that waits to be repeated takes nobody's, and a quarter of
    /// these calls, one at least where there are two, is kept for calls that were not sent before.
    pub max_calls: usize,
    /// How long a call may take, in ms; past that its outcome is unknown.
    pub call_timeout_ms: u64,
    /// The wait before a call is repeated, in ms; it doubles with each unknown outcome.
    pub first_backoff_ms: u64,
    /// The longest of these waits, in ms.
    pub max_backoff_ms: u64,
    /// How long the provider knows a key again, in ms from the recording of its intent. Past
    /// that a further request could take effect a second time, so none is sent: the intent
    /// stays open, and the saga that waits for it needs attention by its deadline.
    pub key_life_ms: u64,
    /// How often the set of open intents is saved, in ms, while it changes.
    pub save_interval_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_calls: 1_024,
            call_timeout_ms: 30_000,
            first_backoff_ms: 100,
            max_backoff_ms: 5_000,
            key_life_ms: 24 * 60 * 60 * 1_000,
            save_interval_ms: 250,
        }
    }
}

/// Why the service ended: the process must.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Commands cannot be executed any more.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The intents cannot be followed any more.
    #[error("the payments cannot be followed")]
    Store(#[from] recourse_event_store::StoreError),
    /// The set of open intents cannot be kept or believed.
    #[error("the open intents cannot be kept")]
    Checkpoint(#[from] BusError),
    /// The same, where it is read.
    #[error("the open intents cannot be read")]
    Checkpoints(#[from] recourse_bus::CheckpointsError),
    /// What is kept is not the set of open intents.
    #[error("the set of open intents is damaged: restore it with the log from the same backup")]
    Damaged(#[from] serde_json::Error),
    /// A payment's stream is not what it must be.
    #[error("a payment's event cannot be read")]
    Event(#[from] recourse_event_store::typed::Error),
}

/// The payments' command service.
pub struct Service {
    worker: Worker<Payment>,
    calls: Calls,
}

impl Service {
    /// A service on this store, which takes saga commands from this bus and calls this provider.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        bus: Arc<dyn Bus>,
        checkpoints: Arc<dyn Checkpoints>,
        provider: Arc<dyn Provider>,
        clock: Clock,
        worker: WorkerOptions,
        options: Options,
    ) -> Self {
        let repository = Arc::new(Repository::new(
            Arc::clone(&store),
            RepositoryOptions::default(),
        ));
        let source = Source {
            bus,
            group: "payments".to_owned(),
        };
        let (worker, handle) = Worker::new(repository, Some(source), Arc::clone(&clock), worker);
        let outside = Outside {
            provider,
            handle,
            clock,
            options,
        };
        Self {
            worker,
            calls: Calls::new(store, checkpoints, outside),
        }
    }

    /// The same, where other processes have the service too: all of them take commands, and one at
    /// a time calls the provider. The others go on where it ends.
    #[must_use]
    pub fn sharing(mut self, turns: Arc<dyn Turns>) -> Self {
        self.calls = self.calls.sharing(turns);
        self
    }

    /// Executes commands and calls the provider until `shutdown`, then executes what was
    /// accepted. Calls under way are let go: their intents are open and are resumed.
    ///
    /// # Errors
    /// Where the store, the bus or the checkpoints are broken: the process must end.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { worker, mut calls } = self;
        let commands = async { worker.run(shutdown.clone()).await.map_err(Error::Worker) };
        tokio::try_join!(commands, calls.run(shutdown.clone()))?;
        Ok(())
    }
}
