//! Reading: the newest events from memory, the rest from the segments.
//!
//! Files are read where the caller runs, not on another thread: a read that the page cache
//! answers takes a microsecond or two, a hop to another thread and back ten or more. Each call
//! reads a bounded amount ([`SCAN_BYTES`]).

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    engine::Engine,
    format::{EventRecord, Location, Parsed, parse, parse_checked_event, segment_name},
};
use crate::{
    Direction, Filter, NewEvent, Position, RecordedEvent, StoreError, StreamName, Visibility,
};

/// How much of a segment is read at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// How much of the log one call looks at, at least one event.
const SCAN_BYTES: usize = 1024 * 1024;
/// How many events in memory one call looks at.
const SCAN_EVENTS: usize = 2048;
/// A guess that holds most events whole.
const EVENT_GUESS_BYTES: usize = 1024;

/// A part of the log as it was looked at.
pub(super) struct Scanned {
    pub(super) events: Vec<Arc<RecordedEvent>>,
    /// Up to here it was considered, inclusive.
    pub(super) considered: u64,
    pub(super) at_end: bool,
    /// Where the event after `considered` lies, if that is known.
    pub(super) next: Option<Location>,
}

impl Engine {
    pub(super) fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let key = self.keys.key(stream.as_str());
        let mut events = Vec::new();
        let mut walk = {
            let core = self.core();
            let limit = self.visible(&core, visibility)?;
            let Some(head) = core.index.head(&key) else {
                return Ok(events);
            };
            let mut at = Walk {
                revision: head.next_revision.saturating_sub(1),
                location: head.last,
                stop: 0,
                newest: 0,
            };
            // What is not visible yet is not on disk either, so it is in memory.
            while let Some(event) = core.tail.at(at.location)
                && event.event.position.commit > limit
            {
                if at.revision == 0 {
                    return Ok(events);
                }
                at.revision -= 1;
                at.location = event.previous;
            }
            let last = at.revision;
            let span = (max_events as u64).saturating_sub(1);
            (at.stop, at.newest) = match direction {
                Direction::Forward => {
                    let first = from.unwrap_or(0);
                    (first, first.saturating_add(span).min(last))
                }
                Direction::Backward => {
                    let newest = from.unwrap_or(last).min(last);
                    (newest.saturating_sub(span), newest)
                }
            };
            if max_events == 0 || at.stop > last {
                return Ok(events);
            }
            if let Some((revision, location)) = core.index.step(&key, at.newest)
                && revision < at.revision
            {
                at.revision = revision;
                at.location = location;
            }
            while let Some(event) = core.tail.at(at.location) {
                if at.revision <= at.newest {
                    events.push(Arc::clone(&event.event));
                }
                at.location = event.previous;
                if at.revision == at.stop {
                    at.location = Location::NONE;
                    break;
                }
                at.revision -= 1;
            }
            at
        };
        let mut buffer = Vec::new();
        while walk.location != Location::NONE {
            let record = self.event_at(walk.location, &mut buffer)?;
            if record.stream != stream.as_str() || record.revision != walk.revision {
                return Err(damaged(
                    walk.location,
                    "another event lies where the stream's next one should",
                ));
            }
            let previous = record.previous;
            if walk.revision <= walk.newest {
                let data = Bytes::copy_from_slice(record.data);
                let metadata = Bytes::copy_from_slice(record.metadata);
                events.push(recorded(&record, stream.clone(), data, metadata));
            }
            if walk.revision == walk.stop {
                break;
            }
            walk.revision -= 1;
            walk.location = previous;
        }
        if direction == Direction::Forward {
            events.reverse();
        }
        Ok(events)
    }

    /// The event at a place in a segment.
    fn event_at<'b>(
        &self,
        location: Location,
        buffer: &'b mut Vec<u8>,
    ) -> Result<EventRecord<'b>, StoreError> {
        let file = self
            .segments
            .get(location.segment())
            .map_err(|error| unreadable(location, &error))?;
        let mut wanted = EVENT_GUESS_BYTES;
        let what = loop {
            buffer.resize(wanted, 0);
            let count = file
                .read_at(u64::from(location.offset()), buffer)
                .map_err(|error| unreadable(location, &error))?;
            buffer.truncate(count);
            break match parse(buffer) {
                Parsed::Short(needed) if count == wanted && needed > wanted => {
                    wanted = needed;
                    continue;
                }
                Parsed::Event(_) => None,
                Parsed::Broken(what) => Some(what),
                _ => Some("there is no event"),
            };
        };
        // Taken apart once more, without its checksum, for the borrow to begin here.
        match (what, parse_checked_event(buffer)) {
            (None, Parsed::Event(record)) => Ok(record),
            (what, _) => Err(damaged(location, what.unwrap_or("there is no event"))),
        }
    }

    /// Reads on after position `after`. `hint` is where the event after it lies.
    pub(super) fn read_forward(
        &self,
        after: u64,
        hint: Option<Location>,
        visibility: Visibility,
        filter: &Filter,
        max_events: usize,
    ) -> Result<Scanned, StoreError> {
        let (start, limit, end) = {
            let core = self.core();
            let end = self.visible(&core, visibility)?;
            if after >= end {
                return Ok(Scanned {
                    events: Vec::new(),
                    considered: after,
                    at_end: true,
                    next: hint,
                });
            }
            if after + 1 >= core.tail.first() {
                let mut scanned = Scanned {
                    events: Vec::new(),
                    considered: after,
                    at_end: false,
                    next: None,
                };
                for event in core.tail.from(after + 1).take(SCAN_EVENTS) {
                    let event = &event.event;
                    if event.position.commit > end || scanned.events.len() >= max_events {
                        break;
                    }
                    scanned.considered = event.position.commit;
                    if filter.wants(event.stream.as_str(), &event.event.event_type) {
                        scanned.events.push(Arc::clone(event));
                    }
                }
                scanned.at_end = scanned.considered == end;
                return Ok(scanned);
            }
            let start = match hint {
                Some(location) => (after + 1, location),
                None => core
                    .marks
                    .at_or_before(after + 1)
                    .ok_or_else(|| damaged(Location::new(1, 0), "the log has no beginning"))?,
            };
            (start, end.min(core.tail.first() - 1), end)
        };
        let mut scanned = self.scan(start, after + 1, limit, filter, max_events)?;
        scanned.at_end = scanned.considered == end;
        Ok(scanned)
    }

    /// Reads the segments from `start`, a position and where it lies, and gives what is from
    /// `from` to `to`, both inclusive.
    fn scan(
        &self,
        start: (u64, Location),
        from: u64,
        to: u64,
        filter: &Filter,
        max_events: usize,
    ) -> Result<Scanned, StoreError> {
        let mut cursor = Frames::new(self, start.0, start.1);
        let mut scanned = Scanned {
            events: Vec::new(),
            considered: from - 1,
            at_end: false,
            next: None,
        };
        while scanned.considered < to
            && scanned.events.len() < max_events
            && (cursor.read_bytes <= SCAN_BYTES || cursor.has_whole())
        {
            let (record, chunk) = cursor.next_record()?;
            if record.position < from {
                continue;
            }
            scanned.considered = record.position;
            if filter.wants(record.stream, record.event_type) {
                let stream = StreamName::parse(record.stream)
                    .map_err(|_| damaged(start.1, "an event has no stream's name"))?;
                let data = chunk.slice_ref(record.data);
                let metadata = chunk.slice_ref(record.metadata);
                let event = recorded(&record, stream, data, metadata);
                scanned.events.push(event);
            }
        }
        scanned.next = Some(cursor.location());
        Ok(scanned)
    }

    /// Reads back from before position `before`; none is the end.
    pub(super) fn read_backward(
        &self,
        before: Option<u64>,
        visibility: Visibility,
        filter: &Filter,
        max_events: usize,
    ) -> Result<Scanned, StoreError> {
        let (start, before) = {
            let core = self.core();
            let end = self.visible(&core, visibility)?;
            let before = before.unwrap_or(u64::MAX).min(end + 1);
            let mut scanned = Scanned {
                events: Vec::new(),
                considered: before,
                at_end: before <= 1,
                next: None,
            };
            if before <= 1 || max_events == 0 {
                return Ok(scanned);
            }
            if before > core.tail.first() {
                for event in core.tail.before(before).take(SCAN_EVENTS) {
                    let event = &event.event;
                    if scanned.events.len() >= max_events {
                        break;
                    }
                    scanned.considered = event.position.commit;
                    if filter.wants(event.stream.as_str(), &event.event.event_type) {
                        scanned.events.push(Arc::clone(event));
                    }
                }
                scanned.at_end = scanned.considered <= 1;
                return Ok(scanned);
            }
            let start = core
                .marks
                .at_or_before(before - 1)
                .ok_or_else(|| damaged(Location::new(1, 0), "the log has no beginning"))?;
            (start, before)
        };
        let mut cursor = Frames::new(self, start.0, start.1);
        let mut events = Vec::new();
        for _ in start.0..before {
            let (record, chunk) = cursor.next_record()?;
            if filter.wants(record.stream, record.event_type) {
                let stream = StreamName::parse(record.stream)
                    .map_err(|_| damaged(start.1, "an event has no stream's name"))?;
                let data = chunk.slice_ref(record.data);
                let metadata = chunk.slice_ref(record.metadata);
                events.push(recorded(&record, stream, data, metadata));
            }
        }
        events.reverse();
        let mut considered = start.0;
        if events.len() > max_events {
            events.truncate(max_events);
            considered = events.last().map_or(before, |event| event.position.commit);
        }
        Ok(Scanned {
            events,
            considered,
            at_end: considered <= 1,
            next: None,
        })
    }
}

/// On the way back through a stream.
struct Walk {
    /// Of the event at `location`.
    revision: u64,
    location: Location,
    /// The oldest revision that is wanted.
    stop: u64,
    /// The newest revision that is wanted.
    newest: u64,
}

fn recorded(
    record: &EventRecord<'_>,
    stream: StreamName,
    data: Bytes,
    metadata: Bytes,
) -> Arc<RecordedEvent> {
    let event = NewEvent::raw(record.id, record.event_type, data, metadata);
    Arc::new(event.record(Position::dense(record.position), stream, record.revision))
}

/// Goes through the events of the segments in order, a chunk at a time.
pub(super) struct Frames<'a> {
    engine: &'a Engine,
    /// The position of the next event.
    position: u64,
    /// Where `chunk` begins.
    at: Location,
    chunk: Bytes,
    /// How much of `chunk` has been gone through.
    used: usize,
    pub(super) read_bytes: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(engine: &'a Engine, position: u64, location: Location) -> Self {
        Self {
            engine,
            position,
            at: location,
            chunk: Bytes::new(),
            used: 0,
            read_bytes: 0,
        }
    }

    /// Where the next record lies.
    pub(super) fn location(&self) -> Location {
        Location(self.at.0 + self.used as u64)
    }

    /// Whether the next event is in memory whole.
    fn has_whole(&self) -> bool {
        let rest = self.chunk.get(self.used..).unwrap_or_default();
        rest.first_chunk::<4>()
            .is_some_and(|length| u32::from_le_bytes(*length) as usize <= rest.len())
    }

    fn fill(&mut self, bytes: usize) -> Result<(), StoreError> {
        let location = self.location();
        let file = self
            .engine
            .segments
            .get(location.segment())
            .map_err(|error| unreadable(location, &error))?;
        let room = self.engine.segment_bytes.saturating_sub(location.offset()) as usize;
        // The room of the last chunk, unless somebody still holds a slice of it: fresh memory
        // costs more than the read.
        let last = std::mem::take(&mut self.chunk);
        let mut chunk = last.try_into_mut().unwrap_or_default();
        chunk.resize(bytes.min(room), 0);
        let count = file
            .read_at(u64::from(location.offset()), &mut chunk)
            .map_err(|error| unreadable(location, &error))?;
        chunk.truncate(count);
        self.read_bytes += count;
        self.at = location;
        self.chunk = chunk.freeze();
        self.used = 0;
        Ok(())
    }

    fn next_segment(&mut self) {
        self.at = Location::new(self.at.segment() + 1, 0);
        self.chunk = Bytes::new();
        self.used = 0;
    }

    /// The next event, which must be there. Borrows the chunk that it lies in, for slices.
    pub(super) fn next_record(&mut self) -> Result<(EventRecord<'_>, &Bytes), StoreError> {
        // Of the event that ends the loop; parsed once more below, for the borrow to begin there.
        let (start, bytes) = loop {
            let location = self.location();
            let rest = self.chunk.get(self.used..).unwrap_or_default();
            match parse(rest) {
                Parsed::Event(record) if record.position == self.position => {
                    break (self.used, record.bytes);
                }
                Parsed::Event(_) => return Err(damaged(location, "an event is missing")),
                Parsed::Group(_) => self.used += super::format::GROUP_HEADER,
                Parsed::Segment(header) => {
                    if header.first != self.position || header.log != self.engine.header.files {
                        return Err(damaged(location, "the segment is not the next one"));
                    }
                    self.used += super::format::SEGMENT_HEADER;
                }
                Parsed::Nothing => self.next_segment(),
                Parsed::Short(needed) => {
                    let room = self.engine.segment_bytes.saturating_sub(location.offset());
                    if room == 0 {
                        self.next_segment();
                    } else if needed > room as usize
                        || (self.used == 0 && rest.len() >= CHUNK_BYTES.max(needed))
                    {
                        return Err(damaged(location, "an event is cut short"));
                    } else {
                        let before = rest.len();
                        self.fill(CHUNK_BYTES.max(needed))?;
                        if self.chunk.is_empty() {
                            // After a crash a segment may be shorter than it was to become.
                            self.next_segment();
                        } else if self.chunk.len() <= before && self.chunk.len() < needed {
                            return Err(damaged(location, "the file is cut short"));
                        }
                    }
                }
                Parsed::Broken(what) => return Err(damaged(location, what)),
            }
        };
        self.used = start + bytes;
        self.position += 1;
        let rest = self.chunk.get(start..).unwrap_or_default();
        match parse_checked_event(rest) {
            Parsed::Event(record) => Ok((record, &self.chunk)),
            _ => Err(damaged(self.at, "an event changed while it was read")),
        }
    }
}

fn damaged(location: Location, what: &str) -> StoreError {
    StoreError::Corrupt {
        at: format!(
            "{}, byte {}",
            segment_name(location.segment()),
            location.offset()
        ),
        what: what.to_owned(),
    }
}

fn unreadable(location: Location, error: &io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::NotFound {
        return damaged(location, "the file is missing");
    }
    StoreError::Unavailable(format!(
        "cannot read {}: {error}",
        segment_name(location.segment())
    ))
}
