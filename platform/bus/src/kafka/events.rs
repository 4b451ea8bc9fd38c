//! Events in log order: what the partitions hold, all of them or those that are owned, merged.
//!
//! ```text
//! partition 0   3 . . 9 . 12          considered 12 ─┐
//! partition 1   4 5 . . .             considered  8 ─┴▶ 3 4 5, considered 8; 9 and 12 wait
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use recourse_event_store::{Filter, Position, RecordedEvent};

use super::{
    Body, Client, Generation, State,
    chain::Chain,
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
    check(&state.topics, &topic, partitions)?;
    if generation.from > wanted.after {
        return Err(BusError::Gap {
            after: wanted.after,
            next: generation.from,
        });
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
    let max_waiting = client.options().max_waiting_events;
    let reading = Reading {
        // No member of it: a client needs the name of some group to read at all.
        group: client.topics().group(generation.number, "events"),
        client,
        log: generation.log,
    };
    let is_shortcut = !wanted.from_the_beginning.swap(false, Relaxed);
    let (after, to_seek) = (wanted.after, lanes.clone());
    let timeout = reading.client.timeout();
    let reader = Reader::start(reading, move |consumer| {
        seek::begin(consumer, &to_seek, after, is_shortcut, timeout)
    });
    let partition = || Partition {
        chain: Chain::after(after),
        waiting: VecDeque::new(),
        is_ended: None,
    };
    Ok(Events {
        reader,
        partitions: lanes.into_iter().map(|lane| (lane, partition())).collect(),
        held: BTreeSet::new(),
        considered: after,
        is_shortcut,
        max_waiting,
        wanted,
    })
}

pub(super) struct Events {
    reader: Reader,
    partitions: BTreeMap<Lane, Partition>,
    /// The partitions that are paused until the others have come as far.
    held: BTreeSet<Lane>,
    considered: Position,
    /// That not everything before `wanted.after` is read.
    is_shortcut: bool,
    max_waiting: usize,
    wanted: Wanted,
}

struct Partition {
    chain: Chain,
    /// What the filter wants, in order.
    waiting: VecDeque<Arc<RecordedEvent>>,
    /// The generation that goes on where this one ends.
    is_ended: Option<u32>,
}

impl Events {
    fn take(&mut self, item: Item) -> Result<(), BusError> {
        match item {
            Item::Records(records) => {
                for received in records {
                    self.receive(received)?;
                }
                Ok(())
            }
            Item::Failed(error) => Err(error),
            // They are the same from the beginning on.
            Item::Assigned(_) | Item::Revoked(_) => Ok(()),
        }
    }

    fn receive(&mut self, received: Received) -> Result<(), BusError> {
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
            partition.waiting.push_back(Arc::new(event));
        }
        Ok(())
    }

    /// What is in order up to where all partitions have come; none where nothing moved.
    fn merged(&mut self) -> Option<Deliveries<Arc<RecordedEvent>>> {
        let considered = self
            .partitions
            .values()
            .map(|partition| partition.chain.considered)
            .min()?;
        if considered <= self.considered {
            return None;
        }
        let mut messages = Vec::new();
        for partition in self.partitions.values_mut() {
            while let Some(event) = partition
                .waiting
                .pop_front_if(|event| event.position <= considered)
            {
                messages.push(event);
            }
        }
        messages.sort_by_key(|event| event.position);
        self.considered = considered;
        Some(Deliveries {
            messages,
            considered,
            at_end: considered >= self.wanted.head,
        })
    }

    /// Pauses the partitions that are far ahead, and lets go of those that are not any more.
    fn balance(&mut self) {
        let held: BTreeSet<Lane> = self
            .partitions
            .iter()
            .filter(|(lane, partition)| {
                let waiting = partition.waiting.len();
                let is_held = self.held.contains(*lane);
                waiting > self.max_waiting || (is_held && waiting > self.max_waiting / 2)
            })
            .map(|(lane, _)| lane.clone())
            .collect();
        if held != self.held {
            self.reader.hold(held.clone());
            self.held = held;
        }
    }
}

#[async_trait]
impl Consumer<Arc<RecordedEvent>> for Events {
    async fn next(&mut self) -> Result<Deliveries<Arc<RecordedEvent>>, BusError> {
        loop {
            let item = self.reader.next().await;
            self.take(item)?;
            self.balance();
            if let Some(deliveries) = self.merged() {
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
