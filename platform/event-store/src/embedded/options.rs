//! How to open a store, and why it may not open.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The longest a segment can be: an offset in it takes less than 32 bits.
pub const MAX_SEGMENT_BYTES: u32 = 1 << 30;

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder of the log. Created where it is not there.
    pub directory: PathBuf,
    /// How long a file of the log is, in bytes. Fixed when the log is made; one file is zeroed
    /// ahead of the one that is written.
    #[serde(default = "Options::default_segment_bytes")]
    pub segment_bytes: u32,
    /// The most that one append may hold: type, data and metadata of its events, in bytes.
    #[serde(default = "Options::default_max_append_bytes")]
    pub max_append_bytes: usize,
    /// From how many bytes on that are appended but not yet synced an append waits.
    #[serde(default = "Options::default_max_unsynced_bytes")]
    pub max_unsynced_bytes: usize,
    /// How many bytes of the newest events stay decoded in memory.
    #[serde(default = "Options::default_tail_bytes")]
    pub tail_bytes: usize,
    /// How many bytes of events stay decoded in memory for somebody who follows the log and is
    /// behind; who is further behind reads from the files.
    #[serde(default = "Options::default_max_tail_bytes")]
    pub max_tail_bytes: usize,
    /// After how many bytes of log the index is written out, at the least: what a start reads
    /// again. With many streams it is written less often.
    #[serde(default = "Options::default_checkpoint_bytes")]
    pub checkpoint_bytes: u64,
    /// How many files of the log stay open for readers.
    #[serde(default = "Options::default_max_open_segments")]
    pub max_open_segments: usize,
    /// After a start the whole log is read once to look for damage, so many MiB a second; 0 does
    /// not.
    #[serde(default = "Options::default_scrub_mib_per_s")]
    pub scrub_mib_per_s: u32,
}

impl Options {
    /// The defaults, for a log in this folder.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_bytes: Self::default_segment_bytes(),
            max_append_bytes: Self::default_max_append_bytes(),
            max_unsynced_bytes: Self::default_max_unsynced_bytes(),
            tail_bytes: Self::default_tail_bytes(),
            max_tail_bytes: Self::default_max_tail_bytes(),
            checkpoint_bytes: Self::default_checkpoint_bytes(),
            max_open_segments: Self::default_max_open_segments(),
            scrub_mib_per_s: Self::default_scrub_mib_per_s(),
        }
    }

    const fn default_segment_bytes() -> u32 {
        64 * 1024 * 1024
    }

    const fn default_max_append_bytes() -> usize {
        16 * 1024 * 1024
    }

    const fn default_max_unsynced_bytes() -> usize {
        16 * 1024 * 1024
    }

    const fn default_tail_bytes() -> usize {
        2 * 1024 * 1024
    }

    const fn default_max_tail_bytes() -> usize {
        12 * 1024 * 1024
    }

    const fn default_checkpoint_bytes() -> u64 {
        256 * 1024 * 1024
    }

    const fn default_max_open_segments() -> usize {
        256
    }

    /// 32 MiB a second.
    #[must_use]
    pub const fn default_scrub_mib_per_s() -> u32 {
        32
    }

    /// Whether the numbers fit each other.
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let wrong = |why| Err(OpenError::Options(why));
        if !self.segment_bytes.is_multiple_of(4096) || self.segment_bytes > MAX_SEGMENT_BYTES {
            return wrong("segment_bytes is a multiple of 4096, at most 1 GiB");
        }
        if self.max_append_bytes == 0 || self.max_append_bytes > self.segment_bytes as usize / 2 {
            return wrong("max_append_bytes is at least 1, at most half of segment_bytes");
        }
        if self.max_unsynced_bytes == 0 {
            return wrong("max_unsynced_bytes is at least 1");
        }
        Ok(())
    }
}

/// Why a store does not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another process has the event store in {folder} open: stop it first")]
    Locked {
        /// Which folder.
        folder: PathBuf,
    },
    /// It is to be read beside the process that writes it, which has only just begun to open it
    /// and has not said yet how far it is durable.
    #[error(
        "another process is opening the event store in {folder} and has not said yet how far it \
         is durable: try again"
    )]
    NotPublished {
        /// Which folder.
        folder: PathBuf,
    },
    /// A newer version of this program made it.
    #[error(
        "the event store was written in format {found}, this program knows up to {known}: \
         start the newer version again"
    )]
    NewerFormat {
        /// The format of the folder.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// Something that was durable is not there as it was written.
    #[error(
        "the event store is damaged in {segment} at byte {offset}, where event {position} \
         should be: {what}. Nothing was changed. {remedy}"
    )]
    Corrupt {
        /// Which file.
        segment: String,
        /// Which byte of it.
        offset: u64,
        /// The position of the first event that cannot be read.
        position: u64,
        /// What is wrong there.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// There is no store to read.
    #[error("there is no event store in {folder}")]
    Missing {
        /// Which folder.
        folder: PathBuf,
    },
    /// The options contradict each other.
    #[error("the options of the event store do not fit: {0}")]
    Options(&'static str),
    /// The disk does not answer as it should.
    #[error("the event store cannot {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the disk said.
        source: io::Error,
    },
}

pub(super) const RESTORE: &str = "Restore the folder from a backup, or move it away to start \
     with an empty log; views and checkpoints of the old log are then refused";

/// Names what was being done when the disk refused.
pub(super) fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let doing = what.into();
    |source| OpenError::Io { doing, source }
}
