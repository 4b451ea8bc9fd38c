//! Whether a record is missing in a partition, and how far the partition has been seen.
//!
//! ```text
//! place     3      5   5      9          the marks of a partition's records, in order
//! previous  from   3   3      5          each names the one before it
//!                      again             at or below the last: seen already
//! ```
//!
//! The places and what comes before each follow from the log alone, so every relay writes the
//! same: one that starts again, or two at once, repeat records and never contradict each other.

use std::fmt;

use recourse_event_store::{Mark, Position};

use super::{
    Generation,
    record::{parse_place, place_text},
};
use crate::BusError;

/// What comes after one place is not there, and what comes at another is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The last that was seen.
    pub(super) after: Position,
    /// The next that came.
    pub(super) next: Position,
}

impl Missing {
    /// What a consumer of this topic says of it.
    pub(super) fn of(self, topic: &str, generation: &Generation) -> BusError {
        let Self { after, next } = self;
        BusError::Gap {
            after,
            next,
            help: format!("in `{topic}`: {}", generation.repair()),
        }
    }
}

/// A partition as a consumer has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The last place that was seen, or up to which nothing is needed.
    pub(super) last: Mark,
    /// Everything up to here that belongs to this partition has been seen.
    pub(super) considered: Position,
}

impl Chain {
    /// Of who needs what comes after `position`.
    pub(super) fn after(position: Position) -> Self {
        Self {
            last: end_of(position),
            considered: position,
        }
    }

    /// Reads what it writes as text: beside the offset that a group commits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (last, considered) = text.split_once(' ')?;
        Some(Self {
            last: parse_place(last)?,
            considered: considered.parse().ok()?,
        })
    }

    /// Takes the next record. `place` is none where it only says how far the partition has come.
    /// Answers whether it is new.
    ///
    /// # Errors
    /// [`Missing`] where the record before it was never seen.
    pub(super) fn take(
        &mut self,
        previous: Mark,
        place: Option<Mark>,
        considered: Option<Position>,
    ) -> Result<bool, Missing> {
        let is_new = place.is_none_or(|place| place > self.last);
        if is_new && previous > self.last {
            return Err(Missing {
                after: self.last.position,
                next: place.unwrap_or(previous).position,
            });
        }
        if let Some(place) = place {
            self.last = self.last.max(place);
        }
        if let Some(considered) = considered {
            self.considered = self.considered.max(considered);
        }
        Ok(is_new && place.is_some())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", place_text(self.last), self.considered)
    }
}

/// Past all that stands at a position.
fn end_of(position: Position) -> Mark {
    Mark {
        position,
        index: u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u64, index: u32) -> Mark {
        Mark {
            position: Position::dense(position),
            index,
        }
    }

    fn at(position: u64) -> Option<Position> {
        Some(Position::dense(position))
    }

    #[test]
    fn records_that_follow_each_other_are_new_once() {
        let mut chain = Chain::after(Position::START);
        let first = place(0, 0);
        assert!(chain.take(first, Some(place(3, 0)), None).unwrap());
        assert!(chain.take(place(3, 0), Some(place(3, 1)), at(4)).unwrap());
        // A relay that starts again repeats them.
        assert!(!chain.take(first, Some(place(3, 0)), None).unwrap());
        assert!(!chain.take(place(3, 0), Some(place(3, 1)), at(4)).unwrap());
        assert!(chain.take(place(3, 1), Some(place(9, 0)), at(9)).unwrap());
        assert_eq!(chain.considered, Position::dense(9));
    }

    #[test]
    fn a_record_whose_predecessor_was_not_seen_is_a_gap() {
        let mut chain = Chain::after(Position::dense(3));
        let gap = chain.take(place(5, 0), Some(place(9, 0)), at(9));
        let missing = Missing {
            after: Position::dense(3),
            next: Position::dense(9),
        };
        assert_eq!(gap, Err(missing));
        assert_eq!(chain, Chain::after(Position::dense(3)));
    }

    #[test]
    fn a_missing_record_shows_without_one_that_follows_it() {
        let mut chain = Chain::after(Position::dense(3));
        assert!(!chain.take(place(2, 0), None, at(8)).unwrap());
        assert!(chain.take(place(5, 0), None, at(9)).is_err());
        assert_eq!(chain.considered, Position::dense(8));
    }

    #[test]
    fn what_a_group_commits_reads_back() {
        let chain = Chain {
            last: place(3, 2),
            considered: Position {
                commit: 9,
                prepare: 8,
            },
        };
        assert_eq!(Chain::parse(&chain.to_string()), Some(chain));
        assert_eq!(Chain::parse("3:2"), None);
    }

    #[test]
    fn who_begins_in_the_middle_needs_only_what_comes_after() {
        let mut chain = Chain::after(Position::dense(5));
        assert!(!chain.take(place(2, 0), Some(place(4, 1)), None).unwrap());
        assert!(!chain.take(place(4, 1), Some(place(5, 2)), at(5)).unwrap());
        assert!(chain.take(place(5, 2), Some(place(6, 0)), at(6)).unwrap());
    }
}
