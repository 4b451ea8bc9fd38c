//! Reading the log from the last checkpoint to its end, and judging that end.

use std::{io, sync::Arc};

use super::{
    checkpoint::Snapshot,
    core::End,
    disk::{Disk, File, SyncPoint},
    engine::Opened,
    format::{
        GROUP_HEADER, GROUP_MAGIC, GroupHeader, Location, Parsed, SEGMENT_HEADER, first_chain,
        parse, parse_checked_event, segment_name, segment_number,
    },
    header::StoreHeader,
    index::{Index, Keys, Marks},
    options::{OpenError, RESTORE, doing},
    window::{Window, each_word, rewrite, wipe},
};

const CHECKPOINTED: &str = "the file `index` says that the log had been durable further";
const LATER: &str = "a later group of the log knows that it had been durable here";

/// Where the log stopped continuing, and why.
struct Stop {
    location: Location,
    what: String,
}

pub(super) struct Scan<'a> {
    disk: &'a dyn Disk,
    header: StoreHeader,
    keys: Keys,
    index: Index,
    marks: Marks,
    checkpointed: End,
    reaches: u64,
    end: End,
    /// Where the last group begins, if one was read.
    last_group: Option<Location>,
    stop: Option<Stop>,
    write: bool,
    /// That the index is made on the way.
    indexes: bool,
}

/// A group that was read and is right.
pub(super) struct Seen<'a> {
    pub(super) at: Location,
    pub(super) header: &'a GroupHeader,
    /// Its events.
    pub(super) body: &'a [u8],
}

impl<'a> Scan<'a> {
    /// From the last checkpoint on, to make the index whole.
    pub(super) fn start(disk: &'a dyn Disk, header: StoreHeader, write: bool) -> Self {
        let mut scan = Self::whole(disk, header);
        scan.write = write;
        scan.indexes = true;
        if let Some(snapshot) = Snapshot::load(disk, scan.header.files) {
            scan.index = snapshot.index;
            scan.marks = snapshot.marks;
            scan.checkpointed = snapshot.start;
            scan.end = snapshot.start;
            scan.reaches = snapshot.reaches;
        }
        scan
    }

    /// From the beginning on, to look at every byte and keep nothing.
    pub(super) fn whole(disk: &'a dyn Disk, header: StoreHeader) -> Self {
        let nothing = End {
            position: 0,
            location: Location::new(0, header.segment_bytes),
            chain: first_chain(header.files),
        };
        Self {
            disk,
            keys: Keys::new(header.files),
            header,
            index: Index::new(),
            marks: Marks::default(),
            checkpointed: nothing,
            reaches: 0,
            end: nothing,
            last_group: None,
            stop: None,
            write: false,
            indexes: false,
        }
    }

    /// How far it has come.
    pub(super) const fn end(&self) -> End {
        self.end
    }

    pub(super) fn opened(self, published: Option<u64>, read_only: bool) -> Opened {
        Opened {
            header: self.header,
            index: self.index,
            marks: self.marks,
            end: self.end,
            checkpointed: self.checkpointed,
            published,
            read_only,
        }
    }

    /// Reads groups until the log no longer continues, or `limit` is reached.
    pub(super) fn run(&mut self, limit: Option<u64>) -> Result<(), OpenError> {
        self.run_seeing(limit, &mut |_| Ok(true))
    }

    /// The same, and shows each group, until `see` wants no more.
    pub(super) fn run_seeing(
        &mut self,
        limit: Option<u64>,
        see: &mut dyn FnMut(&Seen<'_>) -> Result<bool, OpenError>,
    ) -> Result<(), OpenError> {
        if !self.run_segment(self.end.location.segment(), limit, see)? {
            return Ok(());
        }
        loop {
            let number = self.end.location.segment();
            if self.stop.is_some() || limit.is_some_and(|limit| self.end.position >= limit) {
                break;
            }
            let before = self.end;
            if !self.enter(number + 1)? {
                break;
            }
            if !self.run_segment(number + 1, limit, see)? {
                return Ok(());
            }
            if self.end.position == before.position {
                // Only its first group makes a segment part of the log.
                self.end = before;
                break;
            }
        }
        self.check_reaches(if limit.is_some() { 0 } else { self.reaches }, CHECKPOINTED)
    }

    /// Goes on to the next segment, if that is where the log continues.
    fn enter(&mut self, number: u32) -> Result<bool, OpenError> {
        let name = segment_name(number);
        let file = match self.disk.open(&name, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(doing(format!("open {name}"))(error)),
        };
        let mut bytes = [0; SEGMENT_HEADER];
        file.read_at(0, &mut bytes)
            .map_err(doing(format!("read {name}")))?;
        let continues = matches!(parse(&bytes), Parsed::Segment(header)
            if header.log == self.header.files
                && header.number == number
                && header.first == self.end.position + 1
                && header.chain == self.end.chain);
        if continues {
            self.end.location = Location::new(number, SEGMENT_HEADER_U32);
            return Ok(true);
        } else if bytes.iter().any(|byte| *byte != 0) {
            self.stop_at(
                Location::new(number, 0),
                "the segment's header is not the next one",
            );
        }
        Ok(false)
    }

    /// Whether more is wanted.
    fn run_segment(
        &mut self,
        number: u32,
        limit: Option<u64>,
        see: &mut dyn FnMut(&Seen<'_>) -> Result<bool, OpenError>,
    ) -> Result<bool, OpenError> {
        if number == 0 {
            return Ok(true);
        }
        let name = segment_name(number);
        let file = match self.disk.open(&name, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.corrupt(self.end.location, "the file is missing"));
            }
            Err(error) => return Err(doing(format!("open {name}"))(error)),
        };
        let mut window = Window::new(&*file, self.header.segment_bytes);
        while limit.is_none_or(|limit| self.end.position < limit) {
            let at = self.end.location;
            let header = match parse(
                window
                    .at(at.offset() as usize, GROUP_HEADER)
                    .map_err(doing(format!("read {name}")))?,
            ) {
                Parsed::Group(header) => header,
                // Zeros, or too little room for another group.
                Parsed::Nothing | Parsed::Short(_) => return Ok(true),
                Parsed::Broken(what) => {
                    self.stop_at(at, what);
                    return Ok(true);
                }
                Parsed::Segment(_) | Parsed::Event(_) => {
                    self.stop_at(at, "a group should begin here");
                    return Ok(true);
                }
            };
            if header.chain != self.end.chain || header.first != self.end.position + 1 {
                self.stop_at(at, "the group does not follow the one before it");
                return Ok(true);
            }
            let body_at = at.offset() as usize + GROUP_HEADER;
            let body = window
                .at(body_at, header.body_bytes as usize)
                .map_err(doing(format!("read {name}")))?;
            if let Err((offset, what)) = check_group(&header, body) {
                self.stop_at(Location(at.0 + GROUP_HEADER as u64 + offset as u64), what);
                return Ok(true);
            }
            self.take_group(&header, at);
            let seen = Seen {
                at,
                header: &header,
                body,
            };
            if !see(&seen)? {
                return Ok(false);
            }
            if !self.indexes {
                continue;
            }
            let mut offset = 0;
            while let Some(rest) = body.get(offset..)
                && let Parsed::Event(event) = parse_checked_event(rest)
            {
                let location = Location(at.0 + GROUP_HEADER as u64 + offset as u64);
                self.index
                    .apply(self.keys.key(event.stream), event.revision, location);
                self.marks.note(event.position, location);
                offset += event.bytes;
            }
        }
        Ok(true)
    }

    fn take_group(&mut self, header: &GroupHeader, at: Location) {
        self.last_group = Some(at);
        self.end = End {
            position: self.end.position + u64::from(header.count),
            location: Location(at.0 + GROUP_HEADER as u64 + u64::from(header.body_bytes)),
            chain: header.chained(),
        };
    }

    fn stop_at(&mut self, location: Location, what: impl Into<String>) {
        self.stop = Some(Stop {
            location,
            what: what.into(),
        });
    }

    fn corrupt(&self, at: Location, what: impl Into<String>) -> OpenError {
        OpenError::Corrupt {
            segment: segment_name(at.segment().max(1)),
            offset: u64::from(at.offset()),
            position: self.end.position + 1,
            what: what.into(),
            remedy: RESTORE,
        }
    }

    /// Refuses a log that ends before `position`, which is known to have been durable.
    pub(super) fn check_reaches(&self, position: u64, why: &str) -> Result<(), OpenError> {
        if self.end.position >= position {
            return Ok(());
        }
        Err(self.lost(&format!("{why} (event {position})")))
    }

    fn lost(&self, why: &str) -> OpenError {
        let (at, what) = match &self.stop {
            Some(stop) => (stop.location, stop.what.as_str()),
            None => (self.end.location, "the log ends"),
        };
        self.corrupt(at, format!("{what}, and {why}"))
    }

    /// Refuses a log where something after its end knows that more had been durable.
    pub(super) fn check_what_follows(&self, names: &[String]) -> Result<(), OpenError> {
        let Self { end, .. } = self;
        for number in later_segments(names, end.location.segment()) {
            let file = self.open_segment(number, false)?;
            let from = if number == end.location.segment() {
                end.location.offset() as usize
            } else {
                0
            };
            let mut found = false;
            each_word(
                &*file,
                self.header.segment_bytes,
                from,
                |window, word, offset| {
                    if word == GROUP_MAGIC && !found {
                        let bytes = window.at(offset, GROUP_HEADER)?;
                        found = matches!(parse(bytes), Parsed::Group(group)
                        if group.first > end.position && group.durable_before > end.position);
                    }
                    Ok(!found)
                },
            )
            .map_err(doing(format!("read {}", segment_name(number))))?;
            if found {
                return Err(self.lost(LATER));
            }
        }
        Ok(())
    }

    fn open_segment(&self, number: u32, write: bool) -> Result<Arc<dyn File>, OpenError> {
        let name = segment_name(number);
        self.disk
            .open(&name, write)
            .map_err(doing(format!("open {name}")))
    }

    /// Wipes what a torn write left, writes the last group once more and syncs: from here on
    /// the log as it was read is durable.
    ///
    /// The last group is written again because an fsync that failed may have left it in the
    /// page cache only, marked as clean: then another fsync would succeed and write nothing.
    /// Earlier groups were followed by a group, so their sync succeeded.
    pub(super) fn settle(&mut self, names: &[String]) -> Result<(), OpenError> {
        debug_assert!(
            self.write,
            "a log that is open to be read only is left as it is"
        );
        for number in later_segments(names, self.end.location.segment()) {
            let file = self.open_segment(number, true)?;
            let name = segment_name(number);
            let current = number == self.end.location.segment();
            let from = if current {
                self.end.location.offset() as usize
            } else {
                0
            };
            let mut last_word = None;
            each_word(
                &*file,
                self.header.segment_bytes,
                from,
                |_, word, offset| {
                    if word != 0 {
                        last_word = Some(offset);
                    }
                    Ok(true)
                },
            )
            .map_err(doing(format!("read {name}")))?;
            let mut changed = false;
            if let Some(last) = last_word {
                tracing::warn!(
                    segment = name,
                    offset = from,
                    bytes = last + 8 - from,
                    "a write that was cut short is wiped"
                );
                wipe(&*file, from, last + 8).map_err(doing(format!("wipe the end of {name}")))?;
                changed = true;
            }
            if current {
                if let Some(group) = self.last_group {
                    rewrite(&*file, group, self.end.location)
                        .map_err(doing(format!("write {name}")))?;
                }
                changed = true;
            }
            if changed {
                file.sync(SyncPoint::RecoveredTail)
                    .map_err(doing(format!("sync {name}")))?;
            }
        }
        Ok(())
    }

    /// Syncs the end of a log that nobody has open, before it is read as durable.
    pub(super) fn sync_end(&self) -> Result<(), OpenError> {
        let number = self.end.location.segment();
        if number == 0 {
            return Ok(());
        }
        let file = self.open_segment(number, false)?;
        file.sync(SyncPoint::RecoveredTail)
            .and_then(|()| self.disk.sync_names(SyncPoint::RecoveredNames))
            .map_err(doing(format!("sync {}", segment_name(number))))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is 64")]
const SEGMENT_HEADER_U32: u32 = SEGMENT_HEADER as u32;

/// The segments from `first` on.
fn later_segments(names: &[String], first: u32) -> impl Iterator<Item = u32> {
    names
        .iter()
        .filter_map(|name| segment_number(name))
        .filter(move |number| *number >= first)
}

/// Whether a group is whole: every event there and right, in order.
fn check_group(header: &GroupHeader, body: &[u8]) -> Result<(), (usize, String)> {
    let mut offset = 0;
    let mut digest = 0;
    let mut count = 0;
    while offset < header.body_bytes as usize {
        let wrong = |what: &str| Err((offset, what.to_owned()));
        match parse(body.get(offset..).unwrap_or_default()) {
            Parsed::Event(event) if event.position == header.first + u64::from(count) => {
                digest = crc32c::crc32c_append(digest, &event.crc.to_le_bytes());
                count += 1;
                offset += event.bytes;
            }
            Parsed::Event(_) => return wrong("an event has the wrong position"),
            Parsed::Broken(what) => return wrong(what),
            Parsed::Nothing => return wrong("there are zeros where an event should be"),
            Parsed::Short(_) => return wrong("an event is cut short"),
            Parsed::Group(_) | Parsed::Segment(_) => return wrong("an event should begin here"),
        }
    }
    if digest != header.digest || count != header.count {
        return Err((
            0,
            "the group's events are not those it was written with".to_owned(),
        ));
    }
    Ok(())
}
