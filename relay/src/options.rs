//! How a relay behaves.

use std::num::NonZeroU32;

use recourse_bus::kafka;
use recourse_event_store::Position;
use serde::{Deserialize, Serialize};

/// How a relay behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How Kafka is reached, and what topics are called.
    pub kafka: kafka::Options,
    /// That there may be nothing yet: topics are made and the log is relayed from its beginning.
    /// Without it, topics that are gone are an error. Where there is something it changes nothing.
    pub first_start: bool,
    /// Which generation of topics there is to be at least. One more than there is starts a new one,
    /// which is how topics are repaired and partitions are changed.
    pub generation: u32,
    /// After which position of the log a new generation begins: at or before what each of its
    /// consumers has seen.
    pub from: Position,
    /// How many partitions the topic of events has.
    pub event_partitions: NonZeroU32,
    /// How many partitions each topic of commands has: at most so many members of a group work.
    pub command_partitions: NonZeroU32,
    /// The categories of streams that sagas send commands to: a topic each.
    pub command_categories: Vec<String>,
    /// How many brokers have each record; none for what the brokers do by themselves.
    pub replication_factor: Option<NonZeroU32>,
    /// How long records are kept, in ms: the longest that a consumer may be away.
    pub retention_ms: u64,
    /// How many events one round takes.
    pub max_round_events: usize,
    /// How many rounds may be unacknowledged at once.
    pub max_rounds: usize,
    /// How many bytes of events may be unacknowledged before no further round is begun.
    pub max_unacknowledged_bytes: usize,
    /// How long after something is acknowledged the checkpoint is written at the latest, in ms.
    pub checkpoint_interval_ms: u64,
    /// How long a partition without news waits to be told how far it has come, in ms.
    pub considered_interval_ms: u64,
    /// The first wait before it begins again after an error, in ms; it doubles.
    pub first_backoff_ms: u64,
    /// The longest of these waits, in ms.
    pub max_backoff_ms: u64,
    /// The group whose one member works; none for that of the prefix. Relays of different groups work
    /// at once, which harms nobody and is for tests.
    #[serde(skip)]
    pub lease_group: Option<String>,
    /// How long the end waits for acknowledgements, in ms. What has none by then is sent again by
    /// whoever relays next.
    pub max_drain_ms: u64,
}

/// What topics have unless something else is asked for.
const PARTITIONS: NonZeroU32 = NonZeroU32::new(4).unwrap();

impl Default for Options {
    fn default() -> Self {
        Self {
            kafka: kafka::Options::default(),
            first_start: false,
            generation: 1,
            from: Position::START,
            event_partitions: PARTITIONS,
            command_partitions: PARTITIONS,
            command_categories: ["order", "payment", "stock"].map(str::to_owned).to_vec(),
            replication_factor: None,
            retention_ms: 7 * 24 * 60 * 60 * 1_000,
            max_round_events: 512,
            max_rounds: 4,
            max_unacknowledged_bytes: 64 << 20,
            checkpoint_interval_ms: 250,
            considered_interval_ms: 100,
            first_backoff_ms: 50,
            max_backoff_ms: 2_000,
            lease_group: None,
            max_drain_ms: 5_000,
        }
    }
}
