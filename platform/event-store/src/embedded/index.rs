//! Where each stream ends, and where in the files a position is.
//!
//! The log is the truth; this is what is kept in memory to find things in it. A stream costs
//! 32 bytes: a keyed 128-bit hash of its name, where its last event lies and its next revision.
//! From there the events point back at each other; a long stream also has a step every
//! [`STEP_REVISIONS`] revisions, so that no read walks further than that.

use std::{collections::BTreeMap, hash::Hasher};

use hashbrown::HashTable;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::format::Location;
use crate::LogId;

/// Revisions from one step of a long stream to the next.
pub(super) const STEP_REVISIONS: u64 = 64;
/// Bytes of log from one mark to the next.
const MARK_BYTES: u32 = 64 * 1024;
/// A table grows by itself while nobody else is served, so there are many small ones.
pub(super) const SHARDS: usize = 256;

/// What stands for a stream's name. The hash is keyed by the log's id: whoever may choose
/// names cannot make two of them meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamKey {
    pub(super) shard_half: u64,
    pub(super) table_half: u64,
}

/// Makes keys for one log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys(u64, u64);

impl Keys {
    pub(super) fn new(log: LogId) -> Self {
        let (high, low) = log.0.as_u64_pair();
        Self(high, low)
    }

    pub(super) fn key(self, stream: &str) -> StreamKey {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(stream.as_bytes());
        let hash = hasher.finish128();
        StreamKey {
            shard_half: hash.h1,
            table_half: hash.h2,
        }
    }
}

/// Where a stream ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) key: StreamKey,
    pub(super) last: Location,
    pub(super) next_revision: u64,
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) heads: HashTable<Head>,
    /// Of long streams: where the last event before each multiple of [`STEP_REVISIONS`] lies.
    pub(super) steps: BTreeMap<StreamKey, Vec<Location>>,
}

#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<Shard>,
    empty: Shard,
}

impl Index {
    pub(super) fn new() -> Self {
        let mut shards = Vec::with_capacity(SHARDS);
        shards.resize_with(SHARDS, Shard::default);
        Self {
            shards,
            empty: Shard::default(),
        }
    }

    pub(super) fn shard(&self, number: usize) -> &Shard {
        self.shards.get(number).unwrap_or(&self.empty)
    }

    fn shard_of(&self, key: &StreamKey) -> &Shard {
        self.shard((key.shard_half >> 56) as usize)
    }

    fn shard_of_mut(&mut self, key: &StreamKey) -> &mut Shard {
        self.shards
            .get_mut((key.shard_half >> 56) as usize)
            .unwrap_or(&mut self.empty)
    }

    pub(super) fn head(&self, key: &StreamKey) -> Option<Head> {
        self.shard_of(key)
            .heads
            .find(key.table_half, |head| head.key == *key)
            .copied()
    }

    pub(super) fn streams(&self) -> usize {
        self.shards.iter().map(|shard| shard.heads.len()).sum()
    }

    /// Takes in an event. What it knows already it passes over, so a log may be read again
    /// from any earlier place.
    pub(super) fn apply(&mut self, key: StreamKey, revision: u64, location: Location) {
        let shard = self.shard_of_mut(&key);
        let head = shard
            .heads
            .entry(
                key.table_half,
                |head| head.key == key,
                |head| head.key.table_half,
            )
            .or_insert(Head {
                key,
                last: Location::NONE,
                next_revision: 0,
            })
            .into_mut();
        if head.next_revision != revision {
            return;
        }
        head.last = location;
        head.next_revision = revision + 1;
        if (revision + 1).is_multiple_of(STEP_REVISIONS) {
            shard.steps.entry(key).or_default().push(location);
        }
    }

    /// Room for so many streams in one shard.
    pub(super) fn reserve(&mut self, shard: usize, heads: usize) {
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.heads.reserve(heads, |head| head.key.table_half);
        }
    }

    /// Puts back a stream from a checkpoint.
    pub(super) fn restore(&mut self, head: Head) {
        self.shard_of_mut(&head.key)
            .heads
            .insert_unique(head.key.table_half, head, |head| head.key.table_half);
    }

    /// Puts back the steps of a long stream from a checkpoint.
    pub(super) fn restore_steps(&mut self, key: StreamKey, steps: Vec<Location>) {
        self.shard_of_mut(&key).steps.insert(key, steps);
    }

    /// From where to walk back to `revision`: the nearest event at or after it that is known,
    /// and its revision; none where that is the stream's end.
    pub(super) fn step(&self, key: &StreamKey, revision: u64) -> Option<(u64, Location)> {
        let number = usize::try_from(revision / STEP_REVISIONS).ok()?;
        let location = *self.shard_of(key).steps.get(key)?.get(number)?;
        let at = (revision / STEP_REVISIONS + 1) * STEP_REVISIONS - 1;
        Some((at, location))
    }
}

/// Every so many bytes of the log, which event begins there.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(pub(super) Vec<(u64, Location)>);

impl Marks {
    /// Takes note of an event where the last mark is far enough behind.
    pub(super) fn note(&mut self, position: u64, location: Location) {
        let due = self.0.last().is_none_or(|(last_position, last)| {
            *last_position < position
                && (last.segment() != location.segment()
                    || location.offset() >= last.offset().saturating_add(MARK_BYTES))
        });
        if due {
            self.0.push((position, location));
        }
    }

    /// The last mark at or before `position`.
    pub(super) fn at_or_before(&self, position: u64) -> Option<(u64, Location)> {
        let count = self.0.partition_point(|(at, _)| *at <= position);
        self.0.get(count.checked_sub(1)?).copied()
    }
}
