//! Events, as their partitions bring them, all of these or those that are owned: the events of one
//! correlation come in log order.
//!
//! ```text
//! partition 0   3 . . 9 . 12          considered 12 ─┐
//! partition 1   4 5 . . .             considered  8 ─┴▶ all of them at once, considered 8
//! ```
//!
//! No event waits for what other partitions hold, so how far everything was considered may be a
//! while behind what was handed over.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use recourse_event_store::{Filter, Position, RecordedEvent};

use super::{
    Body, Client, Generation, State,
    chain::{Chain, Missing},
    commands::check,
    reader::{Item, Lane, Reader, Reading, Received},
    seek,
};
use crate::{BusError, Consumer, Deliveries};

/// What is asked for.
pub(super) struct Wanted {
    pub(super) after: Position,
    pub(super) filter: Filter,
    /// Of which partitions.
    pub(super) partitions: Vec<u32>,
    /// The log's head when this was asked for.
    pub(super) head: Position,
    /// Set where a gap was met by who began in the middle: then the next begins at the beginning.
    pub(super) from_the_beginning: Arc<AtomicBool>,
}

/// The events of a generation.
pub(super) async fn open(
    client: Client,
    generation: Generation,
    state: &State,
    wanted: Wanted,
) -> Result<Events, BusError> {
    let topic = client.topics().events(generation.number);
    let partitions = generation.event_partitions.get();
    check(&state.topics, &topic, partitions, &generation)?;
    if generation.from > wanted.after {
        let missing = Missing {
            after: wanted.after,
            next: generation.from,
        };
        return Err(missing.of(&topic, &generation));
    }
    let topic: Arc<str> = topic.into();
    let lanes: Vec<Lane> = wanted
        .partitions
        .iter()
        .map(|partition| Lane {
            topic: Arc::clone(&topic),
            partition: i32::try_from(*partition).unwrap_or(i32::MAX),
        })
        .collect();
    let reading = Reading {
        // No member of it: a client needs the name of some group to read at all.
        group: client.topics().group(generation.number, "events"),
        client,
        generation: generation.clone(),
    };
    let is_shortcut = !wanted.from_the_beginning.swap(false, Relaxed);
    let (after, to_seek) = (wanted.after, lanes.clone());
    let timeout = reading.client.timeout();
    let reader = Reader::start(reading, move |consumer| {
        seek::begin(consumer, &to_seek, after, is_shortcut, timeout)
    });
    let partition = || Partition {
        chain: Chain::after(after),
        is_ended: None,
    };
    Ok(Events {
        reader,
        generation,
        partitions: lanes.into_iter().map(|lane| (lane, partition())).collect(),
        considered: after,
        is_shortcut,
        wanted,
    })
}

pub(super) struct Events {
    reader: Reader,
    generation: Generation,
    partitions: BTreeMap<Lane, Partition>,
    considered: Position,
    /// That not everything before `wanted.after` is read.
    is_shortcut: bool,
    wanted: Wanted,
}

struct Partition {
    chain: Chain,
    /// The generation that goes on where this one ends.
    is_ended: Option<u32>,
}

impl Events {
    fn take(&mut self, item: Item) -> Result<Vec<Arc<RecordedEvent>>, BusError> {
        let mut events = Vec::new();
        match item {
            Item::Records(records) => {
                for received in records {
                    self.receive(received, &mut events)?;
                }
            }
            Item::Failed(error) => return Err(error),
            // They are the same from the beginning on.
            Item::Assigned(_) | Item::Revoked(_) => {}
        }
        Ok(events)
    }

    fn receive(
        &mut self,
        received: Received,
        events: &mut Vec<Arc<RecordedEvent>>,
    ) -> Result<(), BusError> {
        let record = received.record;
        let Some(partition) = self.partitions.get_mut(&received.lane) else {
            return Ok(());
        };
        let place = record.body.place();
        let taken = partition
            .chain
            .take(record.previous, place, record.considered);
        if taken.is_err() && self.is_shortcut {
            self.wanted.from_the_beginning.store(true, Relaxed);
        }
        let taken = taken.map_err(|missing| missing.of(&received.lane.topic, &self.generation));
        if !taken? {
            if let Body::Ended(next) = record.body {
                partition.is_ended = Some(next);
            }
            return Ok(());
        }
        if let Body::Event(event) = record.body
            && self
                .wanted
                .filter
                .wants(event.stream.as_str(), &event.event.event_type)
        {
            events.push(Arc::new(event));
        }
        Ok(())
    }

    /// What came, and how far all partitions have come; none where nothing did.
    fn deliver(
        &mut self,
        mut messages: Vec<Arc<RecordedEvent>>,
    ) -> Option<Deliveries<Arc<RecordedEvent>>> {
        let least = self.partitions.values();
        let least = least.map(|partition| partition.chain.considered).min();
        let considered = least.map_or(self.considered, |least| least.max(self.considered));
        if messages.is_empty() && considered == self.considered {
            return None;
        }
        messages.sort_by_key(|event| event.position);
        self.considered = considered;
        Some(Deliveries {
            messages,
            considered,
            at_end: considered >= self.wanted.head,
        })
    }
}

#[async_trait]
impl Consumer<Arc<RecordedEvent>> for Events {
    async fn next(&mut self) -> Result<Deliveries<Arc<RecordedEvent>>, BusError> {
        loop {
            let item = self.reader.next().await;
            let events = self.take(item)?;
            if let Some(deliveries) = self.deliver(events) {
                return Ok(deliveries);
            }
            let mut ends = self.partitions.values().map(|partition| partition.is_ended);
            if let Some(next) = ends.next().flatten()
                && ends.all(|end| end.is_some())
            {
                return Err(BusError::Unavailable(format!(
                    "generation {next} of the topics goes on where this one ends"
                )));
            }
        }
    }

    async fn commit(&mut self, _: Position) -> Result<(), BusError> {
        Ok(())
    }
}
