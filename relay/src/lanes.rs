//! The partitions that a relay writes, and what goes where.

use std::{num::NonZeroU32, sync::Arc};

use recourse_bus::kafka::{Generation, Topics, hash, partition};
use recourse_event_store::{RecordedEvent, StreamName};

/// A partition.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// The partitions of a generation: those of events first, then those of each category in order.
pub(crate) struct Lanes {
    all: Vec<Lane>,
    events: NonZeroU32,
    /// Of each category: the first of its partitions, and how many there are.
    commands: Vec<(String, usize, NonZeroU32)>,
}

impl Lanes {
    pub(crate) fn of(generation: &Generation, topics: &Topics) -> Self {
        let mut all = Vec::new();
        let mut add = |topic: String, partitions: NonZeroU32| {
            let first = all.len();
            let topic: Arc<str> = topic.into();
            for partition in 0..i32::try_from(partitions.get()).unwrap_or(i32::MAX) {
                let topic = Arc::clone(&topic);
                all.push(Lane { topic, partition });
            }
            first
        };
        let events = generation.event_partitions;
        add(topics.events(generation.number), events);
        let mut commands = Vec::new();
        for (category, partitions) in &generation.command_partitions {
            let first = add(topics.commands(generation.number, category), *partitions);
            commands.push((category.clone(), first, *partitions));
        }
        Self {
            all,
            events,
            commands,
        }
    }

    pub(crate) fn all(&self) -> &[Lane] {
        &self.all
    }

    /// The key of an event: its correlation. A guest's metadata may have none.
    pub(crate) fn event_key(event: &RecordedEvent) -> String {
        event.metadata().map_or_else(
            |_| event.stream.as_str().to_owned(),
            |metadata| metadata.correlation_id.to_string(),
        )
    }

    /// Where an event of this key goes.
    pub(crate) fn of_event(&self, key: &str) -> usize {
        partition(hash(key.as_bytes()), self.events) as usize
    }

    /// Where a command for this aggregate goes; none where its category has no topic.
    pub(crate) fn of_command(&self, target: &StreamName) -> Option<usize> {
        let category = target.category();
        let (_, first, partitions) = self.commands.iter().find(|(name, ..)| name == category)?;
        let partition = partition(hash(target.as_str().as_bytes()), *partitions);
        Some(first + partition as usize)
    }
}

#[cfg(test)]
mod tests {
    use recourse_event_store::{LogId, Position};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_commands_for_one_aggregate_have_one_partition_of_its_category() {
        let three = NonZeroU32::new(3).unwrap();
        let generation = Generation {
            number: 2,
            log: LogId(Uuid::nil()),
            from: Position::START,
            event_partitions: NonZeroU32::new(2).unwrap(),
            command_partitions: [("order".into(), three), ("stock".into(), three)].into(),
        };
        let lanes = Lanes::of(&generation, &Topics::new("shop"));
        assert_eq!(lanes.all().len(), 8);
        for number in 0..50 {
            let target = StreamName::new("stock", number);
            let lane = lanes.of_command(&target).unwrap();
            assert_eq!(&*lanes.all()[lane].topic, "shop.commands.stock.g2");
            assert_eq!(lanes.of_command(&target), Some(lane));
            assert!(lanes.of_event(target.as_str()) < 2);
        }
        assert_eq!(lanes.of_command(&StreamName::new("mail", 1)), None);
    }
}
