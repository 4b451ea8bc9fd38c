//! The newest events, decoded, in memory.
//!
//! Whoever follows the log live reads here and shares what the appender had already decoded.
//! What is not yet on disk is always here; so is, within a bound, what somebody who follows the log has not had yet.

use std::{collections::VecDeque, sync::Arc};

use super::format::Location;
use crate::RecordedEvent;

#[derive(Clone, Debug)]
pub(super) struct TailEvent {
    pub(super) event: Arc<RecordedEvent>,
    pub(super) location: Location,
    /// Where the stream's event before this one lies.
    pub(super) previous: Location,
    pub(super) bytes: usize,
}

/// What of the tail may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The last position that every follower has had.
    pub(super) passed: u64,
    /// How much stays although every follower has had it.
    pub(super) keep_bytes: usize,
    /// How much stays for a follower that has not.
    pub(super) max_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Tail {
    events: VecDeque<TailEvent>,
    bytes: usize,
    /// The position of the first event here, or of the next to come.
    first: u64,
}

impl Tail {
    pub(super) fn starting_at(first: u64) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            first,
        }
    }

    pub(super) fn push(&mut self, event: TailEvent) {
        self.bytes += event.bytes;
        self.events.push_back(event);
    }

    /// Lets go of the oldest that are `written`: beyond `bounds.keep_bytes` of those that all
    /// followers are past, beyond `bounds.max_bytes` of any.
    pub(super) fn shrink(&mut self, bounds: Bounds, written: u64) {
        while self.first <= written
            && (self.bytes > bounds.max_bytes
                || (self.bytes > bounds.keep_bytes && self.first <= bounds.passed))
        {
            let Some(gone) = self.events.pop_front() else {
                break;
            };
            self.bytes -= gone.bytes;
            self.first += 1;
        }
    }

    /// The position of the first event here, or of the next to come.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// From this position on.
    pub(super) fn from(&self, position: u64) -> impl Iterator<Item = &TailEvent> {
        let skip = usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.events.range(skip.min(self.events.len())..)
    }

    /// Before this position, newest first.
    pub(super) fn before(&self, position: u64) -> impl Iterator<Item = &TailEvent> {
        let count = usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.events.range(..count.min(self.events.len())).rev()
    }

    /// The event that lies at `location`.
    pub(super) fn at(&self, location: Location) -> Option<&TailEvent> {
        let found = self
            .events
            .binary_search_by_key(&location, |event| event.location)
            .ok()?;
        self.events.get(found)
    }
}
