//! The adapter between processes: Kafka, which a relay fills from the event store.
//!
//! ```text
//! relay ──▶ events.g1            each event,   keyed by its correlation   ──▶ orchestrator
//!       ──▶ commands.stock.g1    each command, keyed by its target        ──▶ group of members
//!       ──▶ relay                which generation is read, and how far the relay has come
//! ```
//!
//! Nothing in Kafka is the truth: it is a copy of the log, in the log's order, and can be made
//! again. Each record names the one before it in its partition, so a consumer that misses one
//! stops instead of letting a mark seal the gap. The repair is a new *generation* of topics, which
//! the relay fills from an older position.
//!
//! Commands come to the members of a group, each its share of the partitions, in log order for
//! each target. Events come to each who asks, whole or of the partitions that are owned, those of
//! one correlation in log order.

mod chain;
mod client;
mod commands;
mod events;
mod membership;
mod place;
mod reader;
mod record;
mod seek;
mod sharing;
mod state;
mod topics;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use async_trait::async_trait;
use recourse_event_store::{EventStore, Filter, Position, RecordedEvent};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::{
    client::{Client, Error, Logged},
    place::Place,
    record::{Body, Encoded, HEADERS, Record, Unreadable},
    state::{Keyed, State},
    topics::{Generation, Topics},
};
pub use crate::hash::{hash, partition};
use crate::{BusError, Consumer, Delivery, Membership, Share};

/// How Kafka is reached and used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The servers to ask first: `host:port`, separated by commas.
    pub brokers: String,
    /// What the names of all topics and groups begin with: several systems may share a cluster.
    pub prefix: String,
    /// How long a call may take that is not repeated by the client itself, in ms.
    pub request_timeout_ms: u64,
    /// How long the broker waits for a silent member of a group before others get its partitions,
    /// in ms. Brokers take no less than their `group.min.session.timeout.ms`.
    pub session_timeout_ms: u64,
    /// How long the broker holds an answer back where there is nothing new, in ms. What is new is
    /// answered at once.
    pub fetch_wait_ms: u64,
    /// What had its effect is committed this long after at the latest, in ms.
    pub commit_interval_ms: u64,
    /// How many records are handed on at once.
    pub max_batch_records: usize,
    /// How many of those are ready to be taken at most.
    pub max_queued_batches: usize,
    /// How many bytes of records may wait beside those before the partitions are paused.
    pub max_waiting_bytes: usize,
    /// The largest record, in bytes.
    pub max_record_bytes: usize,
    /// Further properties of librdkafka, as it names them. What the adapter sets itself stays.
    pub properties: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            prefix: "recourse".to_owned(),
            request_timeout_ms: 10_000,
            session_timeout_ms: 6_000,
            fetch_wait_ms: 100,
            commit_interval_ms: 250,
            max_batch_records: 512,
            max_queued_batches: 16,
            max_waiting_bytes: 8 << 20,
            max_record_bytes: 4 << 20,
            properties: BTreeMap::new(),
        }
    }
}

/// The bus on Kafka. Clones are handles of the same bus.
#[derive(Clone)]
pub struct Bus {
    client: Client,
    store: Arc<dyn EventStore>,
    /// The number of the newest generation that was seen by anybody who uses this bus.
    newest: watch::Sender<u32>,
    /// Set where a shortcut to the middle of the topic met a gap: the next consumer of events
    /// reads from the beginning, which tells whether a record is missing or only out of its turn.
    from_the_beginning: Arc<AtomicBool>,
}

impl Bus {
    /// A bus of what the relay of this store's log writes.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, options: Options) -> Self {
        Self {
            client: Client::new(options),
            store,
            newest: watch::Sender::new(0),
            from_the_beginning: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The generation that is read now, which has to be one of this log.
    async fn generation(&self, who: &str) -> Result<(Generation, State), BusError> {
        let state = State::read(&self.client).await?;
        let Some(current) = state.current().cloned() else {
            return Err(BusError::Unavailable(format!(
                "there is no generation of topics yet in `{}`: the relay has not been started",
                self.client.topics().relay()
            )));
        };
        self.newest.send_if_modified(|newest| {
            let is_newer = current.number > *newest;
            *newest = current.number.max(*newest);
            is_newer
        });
        let log = self.store.log_id();
        if current.log != log {
            return Err(BusError::Checkpoint {
                group: who.to_owned(),
                reason: format!(
                    "the topics of generation {} were made from the log {}, and this is {log}: {}",
                    current.number,
                    current.log,
                    current.repair()
                ),
            });
        }
        Ok((current, state))
    }
}

#[async_trait]
impl crate::Bus for Bus {
    async fn commands(
        &self,
        group: &str,
        categories: &[&str],
    ) -> Result<Box<dyn Consumer<Delivery>>, BusError> {
        let (generation, state) = self.generation(group).await?;
        let head = self.store.appended().await?;
        let consumer = commands::open(
            self.client.clone(),
            generation,
            state,
            group,
            categories,
            head,
        );
        Ok(Box::new(consumer.await?))
    }

    async fn events(
        &self,
        after: Position,
        filter: Filter,
        share: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError> {
        let (generation, state) = self.generation("events").await?;
        let partitions = match share.is_whole() {
            true => (0..generation.event_partitions.get()).collect(),
            false if share.divided_into() == generation.event_partitions => share.owned().collect(),
            false => {
                return Err(BusError::Unavailable(format!(
                    "generation {} has other partitions, which are not shared yet",
                    generation.number
                )));
            }
        };
        let head = self.store.appended().await?;
        let wanted = events::Wanted {
            after,
            filter,
            partitions,
            head,
            from_the_beginning: Arc::clone(&self.from_the_beginning),
        };
        let consumer = events::open(self.client.clone(), generation, &state, wanted);
        Ok(Box::new(consumer.await?))
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Membership>, BusError> {
        // Who cannot know the topics yet is told why.
        self.generation(group).await?;
        Ok(Box::new(sharing::Member::new(self.clone(), group)))
    }
}
