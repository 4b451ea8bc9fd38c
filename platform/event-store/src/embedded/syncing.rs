//! Bringing events to disk: one group at a time, one write and one sync each.

use std::{io, sync::Arc};

use super::{
    DURABLE,
    core::{End, Pending},
    disk::{File, SyncPoint},
    engine::{Engine, count, is_full, pause, wait_on},
    format::{DurableMark, GroupHeader, SegmentHeader, segment_name},
    progress::lock,
};
use crate::StoreError;

const WRITING: &str = "write to the log";

/// What only the sync step touches.
pub(super) struct Syncer {
    pub(super) chain: u32,
    pub(super) segment: u32,
    pub(super) file: Option<Arc<dyn File>>,
    pub(super) durable_mark: Option<Arc<dyn File>>,
    /// That the durable position could be published the last time.
    pub(super) is_published: bool,
}

impl Engine {
    /// Writes and syncs the oldest pending group, if there is one. Whether there was.
    pub(super) fn sync_step(&self) -> Result<bool, StoreError> {
        let mut syncer = lock(&self.syncer);
        let mut group = {
            let mut core = self.core();
            if let Some(error) = &core.ended {
                return Err(error.clone());
            }
            match core.pending.pop_front() {
                Some(group) => group,
                None => return Ok(false),
            }
        };
        let last = group.first + u64::from(group.count) - 1;
        let chain = self.seal(&mut group, syncer.chain);
        match self.write(&mut syncer, &group) {
            Ok(()) => {}
            Err((doing, error)) if is_full(&error) && doing == WRITING => {
                // Nothing is lost: the group stays first in line, and readers see it meanwhile.
                let mut core = self.core();
                core.pending.push_front(group);
                let message = format!("cannot {doing}: {error}");
                core.full = Some(message.clone());
                drop(core);
                self.durable.nudge();
                return Err(StoreError::Full(message));
            }
            Err((doing, error)) => return Err(self.fail(&doing, &error)),
        }
        syncer.chain = chain;
        count(&self.counters.groups, 1);
        count(&self.counters.fsyncs, 1);
        count(&self.counters.log_bytes, group.bytes.len());
        count(&self.counters.written_bytes, group.bytes.len());
        {
            let mut core = self.core();
            core.unsynced_bytes = core.unsynced_bytes.saturating_sub(group.bytes.len());
            core.full = None;
            core.durable_end = End {
                position: last,
                location: group.end(),
                chain,
            };
            let bounds = self.tail_bounds(core.tail.first());
            core.tail.shrink(bounds, last);
            if self.checkpoint_due(&core) {
                self.ahead_work.notify_one();
            }
            let mut bytes = group.bytes;
            bytes.clear();
            if core.spare.len() < 2 && bytes.capacity() <= self.options.max_unsynced_bytes {
                core.spare.push(bytes);
            }
        }
        // Before anybody here is told: what another file holds then, a reader in another process
        // finds in the log too.
        self.publish_durable(&mut syncer, last);
        self.durable.advance(last);
        Ok(true)
    }

    /// Fills in the headers; the chain after the group.
    #[expect(clippy::cast_possible_truncation, reason = "a group fits in a segment")]
    fn seal(&self, group: &mut Pending, chain: u32) -> u32 {
        let headers = group.headers();
        let header = GroupHeader {
            chain,
            body_bytes: (group.bytes.len() - headers) as u32,
            count: group.count,
            digest: group.digest,
            first: group.first,
            durable_before: self.durable.get(),
        };
        let mut encoded = Vec::with_capacity(headers);
        if group.opens_segment {
            let segment = SegmentHeader {
                log: self.header.files,
                number: group.location.segment(),
                first: group.first,
                chain,
            };
            encoded.extend_from_slice(&segment.encode());
        }
        encoded.extend_from_slice(&header.encode());
        if let Some(place) = group.bytes.get_mut(..headers) {
            place.copy_from_slice(&encoded);
        }
        header.chained()
    }

    fn write(&self, syncer: &mut Syncer, group: &Pending) -> Result<(), (String, io::Error)> {
        let segment = group.location.segment();
        if syncer.segment != segment || syncer.file.is_none() {
            let file = self
                .disk
                .open(&segment_name(segment), true)
                .map_err(|error| (format!("open {}", segment_name(segment)), error))?;
            syncer.file = Some(file);
            syncer.segment = segment;
        }
        let Some(file) = &syncer.file else {
            return Ok(());
        };
        file.write_at(u64::from(group.location.offset()), &group.bytes)
            .map_err(|error| (WRITING.to_owned(), error))?;
        file.sync(SyncPoint::Group)
            .map_err(|error| (format!("sync {}", segment_name(segment)), error))
    }

    /// Tells a reader in another process. Only ever after the sync, and never synced itself:
    /// what it says is true whenever it was written, so its loss is a reader that sees less.
    fn publish_durable(&self, syncer: &mut Syncer, position: u64) {
        let published = self.write_durable_mark(syncer, position);
        match published {
            Ok(()) if !syncer.is_published => {
                tracing::info!("the durable position is published again");
            }
            // Said once, and not at every sync from there on.
            Err(ref error) if syncer.is_published => tracing::warn!(
                %error,
                "the durable position cannot be published: `verify` and `backup` beside this \
                 process see less of the log than there is"
            ),
            Ok(()) | Err(_) => {}
        }
        syncer.is_published = published.is_ok();
        count(&self.counters.unpublished, published.is_err().into());
    }

    fn write_durable_mark(&self, syncer: &mut Syncer, position: u64) -> io::Result<()> {
        let file = match &syncer.durable_mark {
            Some(file) => file,
            None => {
                let file = self.disk.open(DURABLE, true);
                let file = file.or_else(|_| self.disk.create(DURABLE))?;
                syncer.durable_mark.insert(file)
            }
        };
        let mark = DurableMark {
            position,
            log: self.header.log().0.as_u64_pair().0,
        };
        file.write_at(0, &mark.encode())
    }

    /// Publishes where the log is durable as it was recovered.
    pub(super) fn publish_recovered(&self) {
        let position = self.durable.get();
        self.publish_durable(&mut lock(&self.syncer), position);
    }

    /// For the thread that syncs: until the store stops or fails.
    pub(super) fn run_sync(&self) {
        loop {
            {
                let mut core = self.core();
                while core.pending.is_empty() && !core.stopping && core.ended.is_none() {
                    core.sync_idle = true;
                    core = wait_on(&self.sync_work, core);
                }
                core.sync_idle = false;
                if core.ended.is_some() || (core.stopping && core.pending.is_empty()) {
                    return;
                }
            }
            match self.sync_step() {
                Ok(_) => {}
                Err(StoreError::Full(_)) => {
                    let core = self.core();
                    if core.stopping {
                        return;
                    }
                    pause(&self.sync_work, core);
                }
                Err(_) => return,
            }
        }
    }
}
