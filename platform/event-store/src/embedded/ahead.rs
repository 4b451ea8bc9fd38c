//! What is done before it is needed: the next segment, and checkpoints of the index.

use std::io;

use super::{
    checkpoint::{Snapshot, WriteError},
    core::{Core, End},
    disk::SyncPoint,
    engine::{Engine, count, is_full, pause, wait_on},
    format::segment_name,
};
use crate::StoreError;

/// How much is zeroed or checkpointed between two looks at the disk.
const AHEAD_WRITE_BYTES: usize = 1024 * 1024;

impl Engine {
    /// Makes the next segment ready, or a checkpoint where one is due. Whether it did anything.
    pub(super) fn ahead_step(&self) -> Result<bool, StoreError> {
        let next = {
            let core = self.core();
            if let Some(error) = &core.ended {
                return Err(error.clone());
            }
            core.needs_segment().then_some(core.ready + 1)
        };
        if let Some(number) = next {
            return match self.prepare(number) {
                Ok(false) => Ok(false),
                Ok(true) => {
                    let mut core = self.core();
                    core.ready = number;
                    core.full = None;
                    drop(core);
                    self.ready.advance(u64::from(number));
                    Ok(true)
                }
                Err(error) if is_full(&error) => {
                    let message = format!("cannot make {}: {error}", segment_name(number));
                    self.core().full = Some(message.clone());
                    // Whoever waits for the segment is told, and may come again.
                    self.ready.nudge();
                    Err(StoreError::Full(message))
                }
                Err(error) => Err(self.fail(&format!("make {}", segment_name(number)), &error)),
            };
        }
        let due = self.checkpoint_due(&self.core());
        if due { self.checkpoint() } else { Ok(false) }
    }

    /// Creates a segment and writes zeros all over it, so that a group later overwrites blocks
    /// that are there: a third of the cost of a first write. Whether it came to the end: a store
    /// that stops has no use for it, and is not kept waiting.
    fn prepare(&self, number: u32) -> io::Result<bool> {
        let name = segment_name(number);
        let file = match self.disk.open(&name, true) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk.create(&name)?,
            Err(error) => return Err(error),
        };
        // What is there already was found to be zeros when the log was opened.
        let mut at = file.size()?.min(u64::from(self.segment_bytes));
        file.allocate(u64::from(self.segment_bytes))?;
        let zeros = vec![0; AHEAD_WRITE_BYTES.min(self.segment_bytes as usize)];
        while at < u64::from(self.segment_bytes) {
            if self.core().is_ending() {
                return Ok(false);
            }
            let left = u64::from(self.segment_bytes) - at;
            let piece = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
            file.write_at(at, zeros.get(..piece).unwrap_or_default())?;
            file.write_back()?;
            count(&self.counters.written_bytes, piece);
            count(&self.counters.fsyncs, 1);
            at += piece as u64;
        }
        count(&self.counters.fsyncs, 1);
        self.disk.sync_names(SyncPoint::SegmentName)?;
        Ok(true)
    }

    pub(super) fn checkpoint_due(&self, core: &Core) -> bool {
        let distance = self.distance(core.checkpoint_begun, core.durable_end);
        // Four times its own size: it never makes up more than a fifth of what is written.
        let index_bytes = core.index.streams() as u64 * 32;
        distance >= self.options.checkpoint_bytes.max(index_bytes * 4)
    }

    fn distance(&self, from: End, to: End) -> u64 {
        let at = |end: End| {
            u64::from(end.location.segment()) * u64::from(self.segment_bytes)
                + u64::from(end.location.offset())
        };
        at(to).saturating_sub(at(from))
    }

    /// Writes out the index as of what is durable, if the log went on since the last time.
    pub(super) fn checkpoint(&self) -> Result<bool, StoreError> {
        let (start, marks) = {
            let mut core = self.core();
            core.checkpoint_begun = core.durable_end;
            if core.durable_end == core.checkpointed {
                return Ok(false);
            }
            (core.durable_end, core.marks.clone())
        };
        let made = Snapshot::write(self, start, &marks);
        match made {
            Ok(written) => {
                self.core().checkpointed = start;
                count(&self.counters.checkpoints, 1);
                count(&self.counters.written_bytes, written.bytes);
                count(&self.counters.fsyncs, written.fsyncs);
                Ok(true)
            }
            Err(WriteError::Ended(error)) => Err(error),
            Err(WriteError::Io(error)) => {
                // The log does not need it: a start only reads more. Tried again when as much
                // log again is written.
                tracing::warn!(%error, "the checkpoint of the event store's index is not written");
                Ok(false)
            }
        }
    }

    /// For the thread that works ahead: until the store stops or fails.
    pub(super) fn run_ahead(&self) {
        loop {
            {
                if self.core().is_ending() {
                    return;
                }
            }
            match self.ahead_step() {
                Ok(true) => {}
                Ok(false) => {
                    let core = self.core();
                    let idle = !core.needs_segment() && !self.checkpoint_due(&core);
                    if idle && !core.is_ending() {
                        drop(wait_on(&self.ahead_work, core));
                    }
                }
                Err(StoreError::Full(_)) => {
                    let core = self.core();
                    if !core.stopping {
                        pause(&self.ahead_work, core);
                    }
                }
                Err(_) => return,
            }
        }
    }
}
