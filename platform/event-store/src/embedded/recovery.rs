//! Opening: what the log holds after however it ended.
//!
//! The log is read from the last checkpoint to where it no longer continues. There, either
//! nothing was written, or a group was torn, which nobody was promised and which is wiped; or
//! something later in the log knows that more had been durable here. Then the log is damaged,
//! and the store does not open, for going on would silently lose what was acknowledged.

use std::{io, sync::Arc};

use super::{
    DURABLE, HEADER, HEADER_NEW, LOCK, Options,
    disk::{Disk, SyncPoint},
    engine::Opened,
    format::{DURABLE_MARK, DurableMark, SEGMENT_HEADER, segment_number},
    header::{FORMAT, MAX_STORE_HEADER, ParsedStoreHeader, StoreHeader},
    options::{OpenError, RESTORE, doing},
    scan::Scan,
};
use crate::LogId;

/// The lock of a folder, held as long as it lives.
pub(super) type Lock = Box<dyn std::any::Any + Send + std::marker::Sync>;

/// Opens the log to write, creating it where there is none.
pub(super) fn open(disk: &Arc<dyn Disk>, options: &Options) -> Result<(Opened, Lock), OpenError> {
    options.check()?;
    disk.create_folder().map_err(doing("create the folder"))?;
    let lock = lock(disk, options)?.ok_or_else(|| OpenError::Locked {
        folder: options.directory.clone(),
    })?;
    let mut names = disk.list().map_err(doing("list the folder"))?;
    names.sort();
    let header = match read_header(&**disk)? {
        Some(header) => header,
        None => create(&**disk, options, &names)?,
    };
    let log = header.log();
    let mut scan = Scan::start(&**disk, header, true);
    scan.run(None)?;
    scan.check_what_follows(&names)?;
    let published = published(&**disk, log);
    scan.check_reaches(published.unwrap_or(0), PUBLISHED)?;
    scan.settle(&names)?;
    disk.sync_names(SyncPoint::RecoveredNames)
        .map_err(doing("sync the folder"))?;
    disk.sync_folder(SyncPoint::Folder)
        .map_err(doing("sync the folder above"))?;
    Ok((scan.opened(published, false), lock))
}

/// Opens the log to read it as it is now: beside the process that writes it, up to what that
/// one says is durable; without one, everything, synced first. Nobody is kept from writing
/// meanwhile.
pub(super) fn open_read_only(disk: &Arc<dyn Disk>, options: &Options) -> Result<Opened, OpenError> {
    let Some(header) = read_header(&**disk)? else {
        return Err(OpenError::Missing {
            folder: options.directory.clone(),
        });
    };
    let written = || {
        disk.is_locked(LOCK)
            .map_err(doing("see whether another process writes it"))
    };
    if !written()? {
        match read_alone(&**disk, header.clone()) {
            // A process that began to write meanwhile may have changed the end while it was
            // read. Damage is still there when looked at again.
            Err(OpenError::Corrupt { .. }) if !written()? => return read_alone(&**disk, header),
            Err(OpenError::Corrupt { .. }) => {}
            opened => return opened,
        }
    }
    read_beside_writer(&**disk, header, options)
}

/// The log's header, and up to where it is durable now: beside the process that writes it, what
/// that one says; without one, everything, synced first.
pub(super) fn durable_end(
    disk: &Arc<dyn Disk>,
    options: &Options,
) -> Result<(StoreHeader, u64), OpenError> {
    let folder = || options.directory.clone();
    let Some(header) = read_header(&**disk)? else {
        return Err(OpenError::Missing { folder: folder() });
    };
    let written = || {
        disk.is_locked(LOCK)
            .map_err(doing("see whether another process writes it"))
    };
    let alone = || {
        let mut scan = Scan::whole(&**disk, header.clone());
        read_to_end(&**disk, &mut scan, published(&**disk, header.log()))?;
        Ok(scan.end().position)
    };
    if !written()? {
        match alone() {
            Err(OpenError::Corrupt { .. }) if !written()? => {
                let end = alone()?;
                return Ok((header, end));
            }
            Err(OpenError::Corrupt { .. }) => {}
            end => {
                let end = end?;
                return Ok((header, end));
            }
        }
    }
    let end = published(&**disk, header.log());
    let end = end.ok_or_else(|| OpenError::NotPublished { folder: folder() })?;
    Ok((header, end))
}

fn read_to_end(
    disk: &dyn Disk,
    scan: &mut Scan<'_>,
    published: Option<u64>,
) -> Result<(), OpenError> {
    let mut names = disk.list().map_err(doing("list the folder"))?;
    names.sort();
    scan.run(None)?;
    scan.check_what_follows(&names)?;
    scan.check_reaches(published.unwrap_or(0), PUBLISHED)?;
    scan.sync_end()
}

/// Reads all there is, and syncs it before it counts as durable. What a process that begins to
/// write meanwhile appends may be read or not.
fn read_alone(disk: &dyn Disk, header: StoreHeader) -> Result<Opened, OpenError> {
    let published = published(disk, header.log());
    let mut scan = Scan::start(disk, header, false);
    read_to_end(disk, &mut scan, published)?;
    Ok(scan.opened(published, true))
}

/// Reads up to what the process that has the log open says is durable.
fn read_beside_writer(
    disk: &dyn Disk,
    header: StoreHeader,
    options: &Options,
) -> Result<Opened, OpenError> {
    // The index first: what it reaches was published before it got its name.
    let log = header.log();
    let mut scan = Scan::start(disk, header, false);
    let limit = published(disk, log).ok_or_else(|| OpenError::NotPublished {
        folder: options.directory.clone(),
    })?;
    scan.run(Some(limit))?;
    scan.check_reaches(limit, PUBLISHED)?;
    Ok(scan.opened(Some(limit), true))
}

const PUBLISHED: &str = "the file `durable` says that the log had been durable further";

fn lock(disk: &Arc<dyn Disk>, options: &Options) -> Result<Option<Lock>, OpenError> {
    disk.lock(LOCK).map_err(doing(format!(
        "lock the folder {}",
        options.directory.display()
    )))
}

pub(super) fn read_header(disk: &dyn Disk) -> Result<Option<StoreHeader>, OpenError> {
    let file = match disk.open(HEADER, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(doing("open its header")(error)),
    };
    let mut bytes = vec![0; MAX_STORE_HEADER];
    let count = file
        .read_at(0, &mut bytes)
        .map_err(doing("read its header"))?;
    bytes.truncate(count);
    match StoreHeader::parse(&bytes) {
        ParsedStoreHeader::Whole(header) => Ok(Some(header)),
        ParsedStoreHeader::Newer(found) => Err(OpenError::NewerFormat {
            found,
            known: FORMAT,
        }),
        ParsedStoreHeader::Broken => Err(OpenError::Corrupt {
            segment: HEADER.to_owned(),
            offset: 0,
            position: 1,
            what: "the header of the store cannot be read".to_owned(),
            remedy: RESTORE,
        }),
    }
}

/// Makes a new log. Its header gets its name when it is whole, so there is one or there is none.
fn create(disk: &dyn Disk, options: &Options, names: &[String]) -> Result<StoreHeader, OpenError> {
    for name in names {
        if segment_number(name).is_some() {
            let file = disk
                .open(name, false)
                .map_err(doing(format!("open {name}")))?;
            let mut header = [0; SEGMENT_HEADER];
            file.read_at(0, &mut header)
                .map_err(doing(format!("read {name}")))?;
            // A crash may have kept the name of an empty first segment and lost the header's.
            if header.iter().any(|byte| *byte != 0) {
                return Err(OpenError::Corrupt {
                    segment: HEADER.to_owned(),
                    offset: 0,
                    position: 1,
                    what: "there is a log but no header".to_owned(),
                    remedy: RESTORE,
                });
            }
        }
    }
    let header = StoreHeader {
        files: LogId(disk.fresh_id().map_err(doing("make an id"))?),
        segment_bytes: options.segment_bytes,
        renamed: Vec::new(),
    };
    write_header(disk, &header).map_err(doing("write its header"))?;
    Ok(header)
}

/// Gives the header its name once it is whole.
pub(super) fn write_header(disk: &dyn Disk, header: &StoreHeader) -> io::Result<()> {
    let file = disk.create(HEADER_NEW)?;
    file.write_at(0, &header.encode())?;
    file.sync(SyncPoint::Header)?;
    disk.rename(HEADER_NEW, HEADER)
}

fn published(disk: &dyn Disk, log: LogId) -> Option<u64> {
    let file = disk.open(DURABLE, false).ok()?;
    // Beside a writer a read may fall into a write: look again.
    for _ in 0..100 {
        let mut bytes = [0; DURABLE_MARK];
        file.read_at(0, &mut bytes).ok()?;
        if let Some(mark) = DurableMark::parse(&bytes) {
            return (mark.log == log.0.as_u64_pair().0).then_some(mark.position);
        }
    }
    None
}
