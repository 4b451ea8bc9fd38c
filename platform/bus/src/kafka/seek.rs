//! Where in a topic to begin reading, for who knows a position of the log and no offset.
//!
//! ```text
//! offset   0 ────────────────── high−1024 ── high−64 ── high
//!                                 at or before? no: further back
//! ```
//!
//! A partition holds its records in log order, and some of them twice. So whoever begins at a
//! record at or before their position, and reads on, has everything after it: what comes between
//! is only skipped. One probe finds it for who was away for a moment, a few for who was for long.
//! Whether nothing is missing the records' links say, wherever the reading begins.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    message::Message as _,
    topic_partition_list::Offset,
};
use recourse_event_store::Position;
use tokio::time::Instant;

use super::{
    Record,
    client::{self, Error},
    reader::{Assigned, Lane},
};
use crate::BusError;

/// How far before the end the first probe is, in records.
const FIRST_STEP: i64 = 64;
/// How much further each next one is.
const FACTOR: i64 = 16;

/// A partition whose beginning is looked for.
struct Search {
    low: i64,
    high: i64,
    at: i64,
    is_found: bool,
}

/// Has the consumer read these partitions from a record at or before `after`, or from their
/// beginning. Where it is no shortcut, from their beginning anyway.
pub(super) fn begin<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    lanes: &[Lane],
    after: Position,
    is_shortcut: bool,
    timeout: Duration,
) -> Result<Vec<Assigned>, BusError> {
    let is_shortcut = is_shortcut && after > Position::START;
    let mut searches = BTreeMap::new();
    for lane in lanes {
        let (low, high) = consumer
            .fetch_watermarks(&lane.topic, lane.partition, timeout)
            .map_err(Error::from)?;
        let search = Search {
            low,
            high,
            at: low,
            is_found: !is_shortcut,
        };
        searches.insert(lane.clone(), search);
    }
    let mut step = FIRST_STEP;
    loop {
        for search in searches.values_mut().filter(|search| !search.is_found) {
            search.at = search.high.saturating_sub(step).max(search.low);
            // There is nothing before it, or nothing at all.
            search.is_found = search.at == search.low;
        }
        let open: Vec<Lane> = searches
            .iter()
            .filter(|(_, search)| !search.is_found)
            .map(|(lane, _)| lane.clone())
            .collect();
        if open.is_empty() {
            break;
        }
        for (lane, found) in probe(consumer, &searches, &open, after, timeout)? {
            if let Some(search) = searches.get_mut(&lane) {
                search.is_found = found;
            }
        }
        step = step.saturating_mul(FACTOR);
    }
    let mut from = TopicPartitionList::new();
    for (lane, search) in &searches {
        from.add_partition_offset(&lane.topic, lane.partition, Offset::Offset(search.at))
            .map_err(Error::from)?;
    }
    consumer.assign(&from).map_err(Error::from)?;
    let assigned = lanes.iter().map(|lane| Assigned {
        lane: lane.clone(),
        chain: None,
    });
    Ok(assigned.collect())
}

/// Whether the record at each open place is at or before the position.
fn probe<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    searches: &BTreeMap<Lane, Search>,
    open: &[Lane],
    after: Position,
    timeout: Duration,
) -> Result<BTreeMap<Lane, bool>, BusError> {
    let mut places = TopicPartitionList::new();
    for (lane, search) in searches.iter().filter(|(lane, _)| open.contains(lane)) {
        places
            .add_partition_offset(&lane.topic, lane.partition, Offset::Offset(search.at))
            .map_err(Error::from)?;
    }
    consumer.assign(&places).map_err(Error::from)?;
    let deadline = Instant::now() + timeout;
    let mut found = BTreeMap::new();
    while found.len() < open.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let silent = "a topic cannot be read in time";
            return Err(BusError::Unavailable(silent.to_owned()));
        }
        match consumer.poll(left) {
            Some(Ok(message)) => {
                let record = Record::decode(&message).map_err(|source| BusError::Malformed {
                    position: after,
                    source: source.into(),
                })?;
                // Where it has no place it says at least what comes before it.
                let place = record.body.place().unwrap_or(record.previous);
                let lane = open.iter().find(|lane| {
                    &*lane.topic == message.topic() && lane.partition == message.partition()
                });
                if let Some(lane) = lane {
                    found.entry(lane.clone()).or_insert(place.position <= after);
                }
            }
            Some(Err(KafkaError::MessageConsumption(code))) if !client::is_passing(code) => {
                return Err(Error::from(KafkaError::MessageConsumption(code)).into());
            }
            Some(Err(_)) | None => {}
        }
    }
    Ok(found)
}
