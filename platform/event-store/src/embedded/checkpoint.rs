//! The index written out, so that a start need not read the whole log.
//!
//! It is copied one small shard at a time while appends go on, so it is not of one moment: it
//! holds everything up to where it began, and some of what came while it was made. Reading the
//! log again from where it began makes it whole, for the index passes over what it knows. It
//! gets its name only once all it may hold is durable.

use std::{io, sync::Arc};

use super::{
    core::End,
    disk::{Disk, File, SyncPoint},
    engine::Engine,
    format::{Fields, Location},
    index::{Head, Index, Marks, SHARDS, StreamKey},
    progress::lock,
};
use crate::{LogId, StoreError};

const NAME: &str = "index";
const NEW_NAME: &str = "index.new";
const MAGIC: u64 = u64::from_le_bytes(*b"\xf5RECidx\x01");
const FOOTER: usize = 72;
const PIECE_BYTES: usize = 1024 * 1024;

/// An index read back.
pub(super) struct Snapshot {
    pub(super) index: Index,
    pub(super) marks: Marks,
    /// From where the log is to be read again.
    pub(super) start: End,
    /// It may hold events up to here; all of them were durable when it was made.
    pub(super) reaches: u64,
}

pub(super) struct Written {
    pub(super) bytes: usize,
    pub(super) fsyncs: usize,
}

pub(super) enum WriteError {
    Io(io::Error),
    /// The store itself failed meanwhile.
    Ended(StoreError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes on, with a checksum over all of it.
struct Out {
    file: Arc<dyn File>,
    at: u64,
    crc: u32,
    buffer: Vec<u8>,
    fsyncs: usize,
}

impl Out {
    fn flush(&mut self) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        self.file.write_at(self.at, &self.buffer)?;
        // Piece by piece, so that the one sync at the end does not hold up the log's.
        self.file.write_back()?;
        self.fsyncs += 1;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Snapshot {
    /// Writes the engine's index out, as of `start` at least.
    pub(super) fn write(engine: &Engine, start: End, marks: &Marks) -> Result<Written, WriteError> {
        let mut out = Out {
            file: engine.disk.create(NEW_NAME)?,
            at: 0,
            crc: 0,
            buffer: Vec::new(),
            fsyncs: 0,
        };
        let mut reaches = start.position;
        for number in 0..SHARDS {
            {
                let core = engine.core();
                let shard = core.index.shard(number);
                out.buffer
                    .extend_from_slice(&(shard.heads.len() as u64).to_le_bytes());
                out.buffer
                    .extend_from_slice(&(shard.steps.len() as u64).to_le_bytes());
                for head in &shard.heads {
                    push(&mut out.buffer, head.key);
                    out.buffer.extend_from_slice(&head.last.0.to_le_bytes());
                    out.buffer
                        .extend_from_slice(&head.next_revision.to_le_bytes());
                }
                for (key, steps) in &shard.steps {
                    push(&mut out.buffer, *key);
                    out.buffer
                        .extend_from_slice(&(steps.len() as u64).to_le_bytes());
                    for step in steps {
                        out.buffer.extend_from_slice(&step.0.to_le_bytes());
                    }
                }
                reaches = reaches.max(core.next_position - 1);
            }
            if out.buffer.len() >= PIECE_BYTES {
                out.flush()?;
            }
        }
        let count = marks
            .0
            .partition_point(|(position, _)| *position <= start.position);
        out.buffer.extend_from_slice(&(count as u64).to_le_bytes());
        for (position, location) in marks.0.iter().take(count) {
            out.buffer.extend_from_slice(&position.to_le_bytes());
            out.buffer.extend_from_slice(&location.0.to_le_bytes());
        }
        out.flush()?;
        while engine.durable.get() < reaches {
            engine.sync_step().map_err(WriteError::Ended)?;
        }
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(&MAGIC.to_le_bytes());
        footer.extend_from_slice(engine.header.files.0.as_bytes());
        footer.extend_from_slice(&start.position.to_le_bytes());
        footer.extend_from_slice(&start.location.0.to_le_bytes());
        footer.extend_from_slice(&u64::from(start.chain).to_le_bytes());
        footer.extend_from_slice(&reaches.to_le_bytes());
        footer.extend_from_slice(&out.at.to_le_bytes());
        footer.extend_from_slice(&out.crc.to_le_bytes());
        let crc = crc32c::crc32c(&footer);
        footer.extend_from_slice(&crc.to_le_bytes());
        out.file.write_at(out.at, &footer)?;
        out.file.sync(SyncPoint::Checkpoint)?;
        {
            let disowned = lock(&engine.disowned);
            if *disowned {
                return Err(io::Error::other("the log is damaged").into());
            }
            engine.disk.rename(NEW_NAME, NAME)?;
        }
        engine.disk.sync_names(SyncPoint::CheckpointName)?;
        Ok(Written {
            bytes: usize::try_from(out.at)
                .unwrap_or(usize::MAX)
                .saturating_add(FOOTER),
            fsyncs: out.fsyncs + 2,
        })
    }

    /// The last checkpoint, where there is one that can be believed. Without, the whole log
    /// is read.
    pub(super) fn load(disk: &dyn Disk, log: LogId) -> Option<Self> {
        let file = match disk.open(NAME, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "the index's checkpoint cannot be opened: the whole log is read");
                return None;
            }
        };
        let loaded = Self::read(&*file, log);
        if loaded.is_none() {
            tracing::warn!("the index's checkpoint is not whole: the whole log is read");
        }
        loaded
    }

    fn read(file: &dyn File, log: LogId) -> Option<Self> {
        let size = file.size().ok()?;
        let body = size.checked_sub(FOOTER as u64)?;
        let mut footer = [0; FOOTER];
        (file.read_at(body, &mut footer).ok()? == FOOTER).then_some(())?;
        let (fields, crc) = footer.split_last_chunk::<4>()?;
        (u32::from_le_bytes(*crc) == crc32c::crc32c(fields)).then_some(())?;
        let mut fields = Fields(fields);
        (fields.u64()? == MAGIC).then_some(())?;
        (fields.array()? == *log.0.as_bytes()).then_some(())?;
        let start = End {
            position: fields.u64()?,
            location: Location(fields.u64()?),
            chain: u32::try_from(fields.u64()?).ok()?,
        };
        let reaches = fields.u64()?;
        (fields.u64()? == body).then_some(())?;
        let crc = fields.u32()?;

        let mut input = In {
            file,
            at: 0,
            end: body,
            crc: 0,
            buffer: Vec::new(),
            used: 0,
        };
        let mut index = Index::new();
        for number in 0..SHARDS {
            let heads = usize::try_from(input.u64()?).ok()?;
            let steps = input.u64()?;
            // A count that the file has no room for is not one.
            (heads as u64 <= size / 32).then_some(())?;
            index.reserve(number, heads);
            for _ in 0..heads {
                let mut head = Fields(input.take(32)?);
                index.restore(Head {
                    key: key(&mut head)?,
                    last: Location(head.u64()?),
                    next_revision: head.u64()?,
                });
            }
            for _ in 0..steps {
                let key = key(&mut Fields(input.take(16)?))?;
                let count = usize::try_from(input.u64()?).ok()?;
                (count as u64 <= size / 8).then_some(())?;
                let mut locations = Vec::with_capacity(count);
                for _ in 0..count {
                    locations.push(Location(input.u64()?));
                }
                index.restore_steps(key, locations);
            }
        }
        let count = usize::try_from(input.u64()?).ok()?;
        (count as u64 <= size / 16).then_some(())?;
        let mut marks = Vec::with_capacity(count);
        for _ in 0..count {
            marks.push((input.u64()?, Location(input.u64()?)));
        }
        (input.at == body && input.used == input.buffer.len() && input.crc == crc).then_some(Self {
            index,
            marks: Marks(marks),
            start,
            reaches,
        })
    }
}

/// Takes the checkpoint away for good, so that the next start reads the whole log.
pub(super) fn disown(engine: &Engine) -> io::Result<()> {
    let mut disowned = lock(&engine.disowned);
    *disowned = true;
    match engine.disk.rename(NAME, NEW_NAME) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => engine.disk.sync_names(SyncPoint::CheckpointName),
    }
}

fn push(out: &mut Vec<u8>, key: StreamKey) {
    out.extend_from_slice(&key.shard_half.to_le_bytes());
    out.extend_from_slice(&key.table_half.to_le_bytes());
}

fn key(fields: &mut Fields<'_>) -> Option<StreamKey> {
    Some(StreamKey {
        shard_half: fields.u64()?,
        table_half: fields.u64()?,
    })
}

/// Reads on, with a checksum over all of it.
struct In<'a> {
    file: &'a dyn File,
    at: u64,
    end: u64,
    crc: u32,
    buffer: Vec<u8>,
    used: usize,
}

impl In<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        if self.buffer.len() - self.used < count {
            self.buffer.drain(..self.used);
            self.used = 0;
            let kept = self.buffer.len();
            let more = usize::try_from(self.end - self.at).ok()?.min(PIECE_BYTES);
            self.buffer.resize(kept + more, 0);
            let fresh = self.buffer.get_mut(kept..)?;
            (self.file.read_at(self.at, fresh).ok()? == more).then_some(())?;
            self.crc = crc32c::crc32c_append(self.crc, fresh);
            self.at += more as u64;
        }
        let taken = self.buffer.get(self.used..self.used + count)?;
        self.used += count;
        Some(taken)
    }

    fn u64(&mut self) -> Option<u64> {
        Fields(self.take(8)?).u64()
    }
}
