//! The names of topics and groups, and what a generation of topics is.

use std::{collections::BTreeMap, num::NonZeroU32};

use recourse_event_store::{LogId, Position};
use serde::{Deserialize, Serialize};

/// How topics and groups are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    /// The names that begin with this.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Which generation is current, and how far the relay has come: compacted, one partition.
    #[must_use]
    pub fn relay(&self) -> String {
        format!("{}.relay", self.prefix)
    }

    /// All events of a generation.
    #[must_use]
    pub fn events(&self, generation: u32) -> String {
        format!("{}.events.g{generation}", self.prefix)
    }

    /// The commands of a generation for aggregates of one category.
    #[must_use]
    pub fn commands(&self, generation: u32, category: &str) -> String {
        format!("{}.commands.{category}.g{generation}", self.prefix)
    }

    /// The members that share the commands of a generation.
    #[must_use]
    pub fn group(&self, generation: u32, group: &str) -> String {
        format!("{}.{group}.g{generation}", self.prefix)
    }

    /// The generation that a topic's name says, where it is one of ours.
    #[must_use]
    pub fn generation_of(&self, topic: &str) -> Option<u32> {
        let rest = topic.strip_prefix(&self.prefix)?;
        if !rest.starts_with(".events.g") && !rest.starts_with(".commands.") {
            return None;
        }
        rest.rsplit_once(".g")?.1.parse().ok()
    }
}

/// Topics that belong together: made at once, filled from one position on, read by everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// From 1; part of the topics' names.
    pub number: u32,
    /// The log that is relayed.
    pub log: LogId,
    /// What comes after this position is there.
    pub from: Position,
    /// How many partitions the topic of events has.
    pub event_partitions: NonZeroU32,
    /// How many partitions each topic of commands has, by category.
    pub command_partitions: BTreeMap<String, NonZeroU32>,
}

#[cfg(test)]
impl Generation {
    pub(super) fn first(log: LogId) -> Self {
        Self {
            number: 1,
            log,
            from: Position::START,
            event_partitions: NonZeroU32::MIN,
            command_partitions: BTreeMap::new(),
        }
    }
}

impl Generation {
    /// What somebody has to do where its records are gone.
    #[must_use]
    pub fn repair(&self) -> String {
        let next = self.number.saturating_add(1);
        format!("start the relay with `--generation {next}`")
    }

    /// The topics and how many partitions each has: events first, then commands by category.
    pub fn topics(&self, topics: &Topics) -> Vec<(String, NonZeroU32)> {
        let mut all = vec![(topics.events(self.number), self.event_partitions)];
        for (category, partitions) in &self.command_partitions {
            all.push((topics.commands(self.number, category), *partitions));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_says_of_which_generation_it_is() {
        let topics = Topics::new("shop.recourse");
        assert_eq!(topics.generation_of(&topics.events(7)), Some(7));
        assert_eq!(
            topics.generation_of(&topics.commands(12, "stock")),
            Some(12)
        );
        for other in [topics.relay(), "shop.recourse.eventsource.g2".to_owned()] {
            assert_eq!(topics.generation_of(&other), None, "{other}");
        }
    }
}
