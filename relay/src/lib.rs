//! The relay: carries the event store's log to Kafka, in log order.
//!
//! ```text
//!                        ┌─▶ events      keyed by correlation ─┐
//! $all, durable ─▶ round ┤                                     ├─▶ acknowledged ─▶ checkpoint
//!                        └─▶ commands    keyed by target      ─┘
//! ```
//!
//! The event store is the outbox; this is what empties it. A *round* is what is durable and not
//! sent yet. Each record of it names the one before in its partition, and the last one in a
//! partition says how far that has come, as do records of their own where there is nothing else to
//! say. What the records are follows from the log alone, so whoever relays a part of the log again
//! writes the same again, and consumers skip it.
//!
//! Any number of relays may run: the one that holds the lease works, which is a partition of a
//! consumer group. Where two do for a moment, records come twice.

mod acks;
mod checkpoint;
mod error;
mod lanes;
mod lease;
pub mod metrics;
mod options;
mod rounds;
mod setup;
mod tail;
mod topics;

use std::{sync::Arc, time::Duration};

use recourse_bus::{embedded::Outgoing, kafka::Client};
use recourse_event_store::EventStore;
use recourse_service::{
    Clock,
    readiness::{Dependency, Health},
};
use tokio_util::sync::CancellationToken;

pub use self::{error::Error, options::Options};
use self::{
    lease::Lease,
    rounds::{End, Rounds},
};

/// Who has waited for the lease for so long waits for another relay, and is well.
const STEADY: Duration = Duration::from_secs(10);

/// Relays a log.
pub struct Relay {
    store: Arc<dyn EventStore>,
    outgoing: Outgoing,
    clock: Arc<dyn Clock>,
    client: Client,
    options: Options,
    health: Dependency,
}

impl Relay {
    /// A relay of this store's log. `outgoing` lists the commands of a saga's event.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        outgoing: Outgoing,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        Self {
            store,
            outgoing,
            clock,
            client: Client::new(options.kafka.clone()),
            options,
            health: Dependency::starting(),
        }
    }

    /// Has it say how it is: up where it relays, or waits for the lease of another, and down with
    /// the reason while it cannot go on.
    #[must_use]
    pub fn telling(mut self, health: Dependency) -> Self {
        self.health = health;
        self
    }

    /// Relays until `shutdown`, whenever it holds the lease. While Kafka or the store cannot be
    /// reached it waits for them.
    ///
    /// # Errors
    /// Where it cannot go on without somebody doing something about it, which the error says.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        metrics::describe();
        let mut failures = 0;
        let mut lease = None;
        loop {
            let worked = shutdown
                .run_until_cancelled(self.prepare_and_wait(&mut lease))
                .await;
            let ended = match worked {
                None => break,
                Some(Err(error)) => {
                    if error.is_passing() {
                        self.health.set(Health::Starting(error.told()));
                    }
                    Err(error)
                }
                Some(Ok(())) => match &mut lease {
                    Some(lease) => {
                        let led = self.lead(lease, &shutdown, &mut failures).await;
                        led.inspect_err(|error| self.health.down(error.told()))
                    }
                    None => Ok(End::Shutdown),
                },
            };
            metrics::active(false);
            match ended {
                Ok(End::Shutdown) => break,
                Ok(End::LeaseLost) => tracing::info!("another relay holds the lease"),
                Err(error) if error.is_passing() => {
                    metrics::restarted();
                    let pause = self.backoff(failures);
                    failures = failures.saturating_add(1);
                    let wait_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        wait_ms,
                        "the relay begins again at its checkpoint"
                    );
                    let waited = shutdown.run_until_cancelled(tokio::time::sleep(pause));
                    if waited.await.is_none() {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sees to the topic that the lease is on, and waits for the lease.
    async fn prepare_and_wait(&self, place: &mut Option<Lease>) -> Result<(), Error> {
        if place.is_none() {
            setup::make_room(&self.client, &self.options).await?;
            // Kafka is there, and the group says who relays. What kept this one from relaying still may.
            if matches!(self.health.get(), Health::Starting(_)) {
                self.health.up();
            }
        }
        let lease = place.get_or_insert_with(|| Lease::ask(self.client.clone(), &self.options));
        let held = match tokio::time::timeout(STEADY, lease.held()).await {
            Ok(held) => held,
            Err(_) => {
                self.health.up();
                lease.held().await
            }
        };
        if held.is_err() {
            *place = None;
        }
        held
    }

    async fn lead(
        &self,
        lease: &mut Lease,
        shutdown: &CancellationToken,
        failures: &mut u32,
    ) -> Result<End, Error> {
        let setup = setup::take(&*self.store, &self.client, &self.options);
        let Some(place) = shutdown.run_until_cancelled(setup).await else {
            return Ok(End::Shutdown);
        };
        let mut rounds = Rounds::begin(
            Arc::clone(&self.store),
            self.outgoing,
            Arc::clone(&self.clock),
            self.client.clone(),
            self.options.clone(),
            place?,
        )?;
        metrics::active(true);
        self.health.up();
        let ended = rounds.run(lease, shutdown, failures).await;
        rounds.close().await;
        ended
    }

    fn backoff(&self, failures: u32) -> Duration {
        let factor = 1_u64.checked_shl(failures).unwrap_or(u64::MAX);
        Duration::from_millis(
            self.options
                .first_backoff_ms
                .saturating_mul(factor)
                .min(self.options.max_backoff_ms),
        )
    }
}
