//! A bounded cache of aggregates, the least recently used of which goes first.
//!
//! Written out rather than taken from a crate, because what is evicted decides what is read
//! from the store, and a seed must replay that too.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use recourse_event_store::StreamName;

use crate::{Aggregate, Tracked};

/// An aggregate as it is cached.
pub(crate) struct Slot<A: Aggregate> {
    pub(crate) tracked: Arc<Tracked<A>>,
    /// The stream's length when its last snapshot was taken.
    pub(crate) snapshot_at: u64,
}

impl<A: Aggregate> Clone for Slot<A> {
    fn clone(&self) -> Self {
        Self {
            tracked: Arc::clone(&self.tracked),
            snapshot_at: self.snapshot_at,
        }
    }
}

pub(crate) struct Cache<A: Aggregate> {
    max_entries: usize,
    // Only ever looked up by key.
    entries: HashMap<StreamName, (Slot<A>, u64)>,
    by_use: BTreeMap<u64, StreamName>,
    uses: u64,
}

impl<A: Aggregate> Cache<A> {
    pub(crate) fn new(max_entries: usize) -> Self {
        Self {
            max_entries,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Out of the cache, so that its owner may change it without a copy.
    pub(crate) fn take(&mut self, stream: &StreamName) -> Option<Slot<A>> {
        let (slot, used) = self.entries.remove(stream)?;
        self.by_use.remove(&used);
        Some(slot)
    }

    pub(crate) fn get(&mut self, stream: &StreamName) -> Option<Slot<A>> {
        let slot = self.take(stream)?;
        self.put(stream.clone(), slot.clone());
        Some(slot)
    }

    /// Keeps it, unless something newer is there.
    pub(crate) fn put(&mut self, stream: StreamName, slot: Slot<A>) {
        if self.max_entries == 0 {
            return;
        }
        let slot = match self.take(&stream) {
            Some(there) if there.tracked.revision() > slot.tracked.revision() => there,
            _ => slot,
        };
        self.uses = self.uses.saturating_add(1);
        self.by_use.insert(self.uses, stream.clone());
        self.entries.insert(stream, (slot, self.uses));
        while self.entries.len() > self.max_entries {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                return;
            };
            self.entries.remove(&oldest);
        }
    }
}
