//! Copying a log away while it is written, and making a log of such a copy.
//!
//! ```text
//! log ──▶ each group, checked ──▶ copy, synced ──▶ read back ──▶ its header ──▶ `backup.json`
//! copy ─▶ each group, checked ──▶ log, synced ───▶ read back ──▶ its header, with another name
//! ```
//!
//! A backup is a durable prefix of the log, and a folder counts as one only once `backup.json` is
//! there: what is half made is refused. A restored log has a name of its own from there on, so
//! that nothing that remembers the future that the backup did not have takes it for the same log.
//! Why: `docs/decisions/0032-restore-renames-the-log.md`. Memory is bounded by a group.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Options,
    core::End,
    disk::{Disk, File, SyncPoint},
    files::Folder,
    format::{Parsed, SegmentHeader, parse_checked_event, segment_name},
    header::{Renamed, StoreHeader},
    options::{OpenError, doing},
    recovery,
    scan::{Scan, Seen},
};
use crate::{LogId, Position};

/// In a backup's folder, the copy of the log.
const LOG: &str = "log";
const MANIFEST: &str = "backup.json";
const MANIFEST_NEW: &str = "backup.json.new";
/// The version of what a backup looks like.
const FORMAT: u32 = 1;
/// The most bytes that a manifest has.
const MAX_MANIFEST: usize = 64 * 1024;
const PIECE_BYTES: usize = 1024 * 1024;

/// What a backup holds: its file `backup.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// When it was begun.
    pub taken_at: DateTime<Utc>,
    /// Which log it is of.
    pub log: LogId,
    /// Everything up to here is in it, and nothing behind.
    pub position: Position,
    /// The id of the event there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Uuid>,
    /// Bytes of log.
    pub bytes: u64,
    /// Over the checksums of every event, in order.
    chain: u32,
}

/// A log that was made of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// What it is called from now on.
    pub log: LogId,
    /// What it was called in the backup.
    pub former: LogId,
    /// Where it ends: the next event comes behind.
    pub position: Position,
    /// When the backup was begun.
    pub taken_at: DateTime<Utc>,
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Up to which event.
    pub position: u64,
    /// The last event.
    pub of: u64,
}

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reading, checking, and writing the copy.
    Copying,
    /// Reading the copy back.
    Checking,
}

/// Who is told how far it has come.
pub type Report<'a> = &'a mut dyn FnMut(Progress);

/// Why there is no backup, or no log of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder to be filled has something in it already.
    #[error("{folder} is not empty: name a folder that is empty or not there yet")]
    NotEmpty {
        /// Which folder.
        folder: PathBuf,
    },
    /// The folder is not a whole backup.
    #[error(
        "{folder} is not a finished backup: it has no whole file backup.json. Take another one"
    )]
    NotWhole {
        /// Which folder.
        folder: PathBuf,
    },
    /// A newer version of this program made it.
    #[error(
        "the backup is of format {found}, this program knows up to {FORMAT}: use the newer one"
    )]
    Newer {
        /// The format of the backup.
        found: u32,
    },
    /// What was read is not what was written.
    #[error("{folder} does not hold what it should: {what}. Use another backup")]
    Differs {
        /// Which folder.
        folder: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The log cannot be read, or its copy not written.
    #[error(transparent)]
    Log(#[from] OpenError),
}

/// Copies the log in the folder `log` into the folder `to`, which is not there yet or empty: up
/// to what is durable now, beside a process that writes it or without one. Blocks.
///
/// # Errors
/// [`Error`] says which. Where it was begun, `to` is left as it is and is no backup.
pub fn take(
    log: &Path,
    to: &Path,
    taken_at: DateTime<Utc>,
    report: Report<'_>,
) -> Result<Manifest, Error> {
    let source: Arc<dyn Disk> = Arc::new(Folder::new(log));
    let (header, end) = recovery::durable_end(&source, &Options::new(log))?;
    let folder = Folder::new(to);
    fill(&folder, to)?;
    let target = Folder::new(to.join(LOG));
    fill(&target, &to.join(LOG))?;
    let copied = copy(&*source, &header, &target, end, report)?;
    if copied.end.position != end {
        return Err(Error::Differs {
            folder: log.to_owned(),
            what: format!(
                "event {end} is durable, and it can be read to {}",
                copied.end.position
            ),
        });
    }
    read_back(&target, &header, &copied, &to.join(LOG), report)?;
    name(&target, &header)?;
    let manifest = Manifest {
        format: FORMAT,
        taken_at,
        log: header.log(),
        position: Position::dense(copied.end.position),
        event_id: copied.event_id,
        bytes: copied.bytes,
        chain: copied.end.chain,
    };
    write_manifest(&folder, &manifest)?;
    Ok(manifest)
}

/// What the backup in a folder holds, by its own word.
///
/// # Errors
/// [`Error::NotWhole`] where it is none.
pub fn manifest(folder: &Path) -> Result<Manifest, Error> {
    let not_whole = || Error::NotWhole {
        folder: folder.to_owned(),
    };
    let file = Folder::new(folder)
        .open(MANIFEST, false)
        .map_err(|_| not_whole())?;
    let mut bytes = vec![0; MAX_MANIFEST];
    let count = file
        .read_at(0, &mut bytes)
        .map_err(doing("read backup.json"))?;
    bytes.truncate(count);
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Version { format } = serde_json::from_slice(&bytes).map_err(|_| not_whole())?;
    if format > FORMAT {
        return Err(Error::Newer { found: format });
    }
    serde_json::from_slice(&bytes).map_err(|_| not_whole())
}

/// Makes a log in the folder `log`, which is not there yet or empty, of the backup in the folder
/// `from`. It gets another name. Blocks.
///
/// # Errors
/// [`Error`] says which. Where it was begun, what is in `log` is no log.
pub fn restore(from: &Path, log: &Path, report: Report<'_>) -> Result<Restored, Error> {
    let manifest = manifest(from)?;
    let source = Folder::new(from.join(LOG));
    let differs = |what: String| Error::Differs {
        folder: from.to_owned(),
        what,
    };
    let Some(header) = recovery::read_header(&source)? else {
        return Err(differs("the header of its log is missing".to_owned()));
    };
    let end = manifest.position.commit;
    let target = Folder::new(log);
    fill(&target, log)?;
    let copied = copy(&source, &header, &target, end, report)?;
    let found = Manifest {
        log: header.log(),
        position: Position::dense(copied.end.position),
        event_id: copied.event_id,
        bytes: copied.bytes,
        chain: copied.end.chain,
        ..manifest.clone()
    };
    if found != manifest {
        return Err(differs(format!(
            "backup.json says that it goes up to event {end}, and what can be read, up to {}, is \
             not that",
            copied.end.position
        )));
    }
    read_back(&target, &header, &copied, log, report)?;
    let former = header.log();
    let mut header = header;
    header.renamed.push(Renamed {
        after: end,
        name: fresh_name(&target, &header)?,
    });
    name(&target, &header)?;
    Ok(Restored {
        log: header.log(),
        former,
        position: manifest.position,
        taken_at: manifest.taken_at,
    })
}

/// Makes sure that the folder is there and has nothing in it.
fn fill(disk: &Folder, folder: &Path) -> Result<(), Error> {
    disk.create_folder()
        .map_err(doing(format!("create {}", folder.display())))?;
    let names = disk
        .list()
        .map_err(doing(format!("list {}", folder.display())))?;
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::NotEmpty {
        folder: folder.to_owned(),
    })
}

struct Copied {
    end: End,
    event_id: Option<Uuid>,
    bytes: u64,
}

/// Copies the groups up to the event `until`, each checked on its way.
fn copy(
    source: &dyn Disk,
    header: &StoreHeader,
    target: &dyn Disk,
    until: u64,
    report: Report<'_>,
) -> Result<Copied, Error> {
    let mut copier = Copier {
        target,
        files: header.files,
        segment: 0,
        file: None,
        at: 0,
        buffer: Vec::new(),
        bytes: 0,
        event_id: None,
    };
    let mut scan = Scan::whole(source, header.clone());
    scan.run_seeing(Some(until), &mut |seen| {
        copier.take(seen)?;
        report(Progress {
            step: Step::Copying,
            position: last(seen),
            of: until,
        });
        Ok(true)
    })?;
    scan.check_reaches(until, "it is known to have been durable further")?;
    copier.finish()?;
    target
        .sync_names(SyncPoint::SegmentName)
        .map_err(doing("sync the copy's folder"))?;
    Ok(Copied {
        end: scan.end(),
        event_id: copier.event_id,
        bytes: copier.bytes,
    })
}

fn last(seen: &Seen<'_>) -> u64 {
    seen.header.first + u64::from(seen.header.count) - 1
}

/// Reads a copy again, from the disk where the disk lets us.
fn read_back(
    target: &dyn Disk,
    header: &StoreHeader,
    copied: &Copied,
    folder: &Path,
    report: Report<'_>,
) -> Result<(), Error> {
    let mut scan = Scan::whole(target, header.clone());
    scan.run_seeing(None, &mut |seen| {
        report(Progress {
            step: Step::Checking,
            position: last(seen),
            of: copied.end.position,
        });
        Ok(true)
    })?;
    if scan.end() == copied.end {
        return Ok(());
    }
    Err(Error::Differs {
        folder: folder.to_owned(),
        what: format!(
            "the copy was written to event {} and reads back to {}",
            copied.end.position,
            scan.end().position
        ),
    })
}

/// Makes a log of the copy.
fn name(target: &Folder, header: &StoreHeader) -> Result<(), OpenError> {
    recovery::write_header(target, header)
        .and_then(|()| target.sync_names(SyncPoint::Header))
        .and_then(|()| target.sync_folder(SyncPoint::Folder))
        .map_err(doing("write the copy's header"))
}

fn write_manifest(folder: &Folder, manifest: &Manifest) -> Result<(), OpenError> {
    let write = || {
        let mut text = serde_json::to_vec_pretty(manifest)?;
        text.push(b'\n');
        let file = folder.create(MANIFEST_NEW)?;
        file.write_at(0, &text)?;
        file.sync(SyncPoint::Header)?;
        folder.rename(MANIFEST_NEW, MANIFEST)?;
        folder.sync_names(SyncPoint::Header)?;
        folder.sync_folder(SyncPoint::Folder)
    };
    write().map_err(doing("write backup.json"))
}

/// A name whose last eight digits no earlier one has: positions on the wire are marked with them.
fn fresh_name(disk: &dyn Disk, header: &StoreHeader) -> Result<LogId, OpenError> {
    const TAG: u128 = 0xffff_ffff;
    let tag = |name: LogId| name.0.as_u128() & TAG;
    loop {
        let name = LogId(disk.fresh_id().map_err(doing("make an id"))?);
        let taken = tag(name) == tag(header.files)
            || header.renamed.iter().any(|old| tag(old.name) == tag(name));
        if !taken {
            return Ok(name);
        }
    }
}

/// Writes segments as they are read, without the zeros that they were made ahead with.
struct Copier<'a> {
    target: &'a dyn Disk,
    files: LogId,
    segment: u32,
    file: Option<Arc<dyn File>>,
    /// Where `buffer` goes.
    at: u64,
    buffer: Vec<u8>,
    bytes: u64,
    event_id: Option<Uuid>,
}

impl Copier<'_> {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), OpenError> {
        let segment = seen.at.segment();
        if segment != self.segment {
            self.finish()?;
            let name = segment_name(segment);
            self.file = Some(
                self.target
                    .create(&name)
                    .map_err(doing(format!("create {name}")))?,
            );
            self.segment = segment;
            let header = SegmentHeader {
                log: self.files,
                number: segment,
                first: seen.header.first,
                chain: seen.header.chain,
            };
            self.buffer.extend_from_slice(&header.encode());
        }
        self.buffer.extend_from_slice(&seen.header.encode());
        self.buffer.extend_from_slice(seen.body);
        let mut rest = seen.body;
        while let Parsed::Event(event) = parse_checked_event(rest) {
            self.event_id = Some(event.id);
            rest = rest.get(event.bytes..).unwrap_or_default();
        }
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OpenError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        // Piece by piece, so that the sync at the end holds up nobody else's for long.
        file.write_at(self.at, &self.buffer)
            .and_then(|()| file.write_back())
            .map_err(doing(format!("write {}", segment_name(self.segment))))?;
        self.at += self.buffer.len() as u64;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Brings the segment to disk.
    fn finish(&mut self) -> Result<(), OpenError> {
        self.flush()?;
        if let Some(file) = self.file.take() {
            file.sync(SyncPoint::Group)
                .map_err(doing(format!("sync {}", segment_name(self.segment))))?;
            file.forget();
        }
        self.at = 0;
        Ok(())
    }
}
