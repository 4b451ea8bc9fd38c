//! The newest events, decoded, in memory.
//!
//! Whoever follows the log live reads here and shares what the appender had already decoded.
//! What is not yet on disk is always here; the rest goes once there is more than the bound.

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

    /// Lets go of the oldest beyond `max_bytes`, but of none after `written`.
    pub(super) fn shrink(&mut self, max_bytes: usize, written: u64) {
        while self.bytes > max_bytes && self.first <= written {
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
