//! How the log lies in its segment files.
//!
//! ```text
//! segment:  segment header │ group │ group │ … │ zeros, written ahead
//! group:    group header │ event │ event │ …
//! ```
//!
//! A *group* is what one write and one sync bring to disk: all of it is recovered or nothing,
//! so an append is never torn. Its header says how far the log was durable when it was
//! written, which is what tells a torn tail (a group that nobody was promised) from a damaged
//! log (something that a later group knows to have been durable). Headers are chained: each
//! carries a checksum over all before it, so what an earlier crash left behind can never
//! follow a newer group. Everything is little-endian and padded to 8 bytes.

use crate::{LogId, NewEvent};

pub(super) const SEGMENT_HEADER: usize = 64;
pub(super) const GROUP_HEADER: usize = 64;
const EVENT_HEADER: usize = 56;
/// Types are short names.
pub(super) const MAX_TYPE_BYTES: usize = 255;

pub(super) const GROUP_MAGIC: u64 = u64::from_le_bytes(*b"\xf1RECgrp\x01");
const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"\xf2RECseg\x01");
const DURABLE_MAGIC: u64 = u64::from_le_bytes(*b"\xf4RECdur\x01");

/// Where a record begins: which segment, from 1, and which byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location(pub(super) u64);

impl Location {
    /// Before every segment.
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn new(segment: u32, offset: u32) -> Self {
        Self((segment as u64) << 32 | offset as u64)
    }

    pub(super) const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is the offset"
    )]
    pub(super) const fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// The name of a segment's file.
pub(super) fn segment_name(number: u32) -> String {
    format!("segment-{number:08}.log")
}

/// The number in the name of a segment's file.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    name.strip_prefix("segment-")?
        .strip_suffix(".log")?
        .parse()
        .ok()
}

/// Takes fields off the front.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Opens a segment; written together with its first group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log: LogId,
    pub(super) number: u32,
    /// Of the first event in it.
    pub(super) first: u64,
    /// The chain before its first group.
    pub(super) chain: u32,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.chain.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(self.log.0.as_bytes());
        sealed(&out)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(unsealed::<SEGMENT_HEADER>(bytes, SEGMENT_MAGIC)?);
        let chain = fields.u32()?;
        let number = fields.u32()?;
        fields.u32()?;
        Some(Self {
            chain,
            number,
            first: fields.u64()?,
            log: LogId(uuid::Uuid::from_bytes(fields.array()?)),
        })
    }
}

/// Opens a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Over every group header before this one.
    pub(super) chain: u32,
    /// Of the events after it.
    pub(super) body_bytes: u32,
    /// How many events.
    pub(super) count: u32,
    /// Over the checksums of the events, in order.
    pub(super) digest: u32,
    /// The position of the first event.
    pub(super) first: u64,
    /// Everything up to this position was durable when the group was written.
    pub(super) durable_before: u64,
}

impl GroupHeader {
    pub(super) fn encode(&self) -> [u8; GROUP_HEADER] {
        let mut out = Vec::with_capacity(GROUP_HEADER);
        out.extend_from_slice(&GROUP_MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.chain.to_le_bytes());
        out.extend_from_slice(&self.body_bytes.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.durable_before.to_le_bytes());
        out.extend_from_slice(&self.digest.to_le_bytes());
        sealed(&out)
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(unsealed::<GROUP_HEADER>(bytes, GROUP_MAGIC)?);
        Some(Self {
            chain: fields.u32()?,
            body_bytes: fields.u32()?,
            count: fields.u32()?,
            first: fields.u64()?,
            durable_before: fields.u64()?,
            digest: fields.u32()?,
        })
    }

    /// The chain after this group.
    pub(super) fn chained(&self) -> u32 {
        crc32c::crc32c(&self.encode())
    }
}

/// The chain before the first group of a log.
pub(super) fn first_chain(log: LogId) -> u32 {
    crc32c::crc32c(log.0.as_bytes())
}

/// Pads to `N` and puts the checksum of what follows it at byte 8.
fn sealed<const N: usize>(fields: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(fields) {
        *to = *from;
    }
    let crc = crc32c::crc32c(out.get(12..).unwrap_or_default());
    if let Some(place) = out.get_mut(8..12) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    out
}

/// What follows the checksum, where it is right.
fn unsealed<const N: usize>(bytes: &[u8], magic: u64) -> Option<&[u8]> {
    let mut fields = Fields(bytes.get(..N)?);
    let found = fields.u64()?;
    let crc = fields.u32()?;
    (found == magic && crc == crc32c::crc32c(fields.0)).then_some(fields.0)
}

/// An event as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventRecord<'a> {
    pub(super) position: u64,
    pub(super) revision: u64,
    /// Where the stream's event before this one lies.
    pub(super) previous: Location,
    pub(super) id: uuid::Uuid,
    pub(super) stream: &'a str,
    pub(super) event_type: &'a str,
    pub(super) data: &'a [u8],
    pub(super) metadata: &'a [u8],
    /// Its own checksum.
    pub(super) crc: u32,
    /// Of the whole record.
    pub(super) bytes: usize,
}

/// How many bytes an event takes in the log.
pub(super) fn event_bytes(stream: &str, event: &NewEvent) -> usize {
    (EVENT_HEADER + stream.len() + event.event_type.len() + event.data.len() + event.metadata.len())
        .next_multiple_of(8)
}

/// Adds an event to `out`; its checksum. The caller has checked the lengths.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the store's limit on an append is far below 4 GiB, on a name and a type below 256 bytes"
)]
pub(super) fn encode_event(
    out: &mut Vec<u8>,
    position: u64,
    revision: u64,
    previous: Location,
    stream: &str,
    event: &NewEvent,
) -> u32 {
    let start = out.len();
    let bytes = event_bytes(stream, event);
    let content = EVENT_HEADER
        + stream.len()
        + event.event_type.len()
        + event.data.len()
        + event.metadata.len();
    out.reserve(bytes);
    let length = (bytes as u32).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[
        (bytes - content) as u8,
        event.event_type.len() as u8,
        stream.len() as u8,
        0,
    ]);
    out.extend_from_slice(&(event.data.len() as u32).to_le_bytes());
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&revision.to_le_bytes());
    out.extend_from_slice(&previous.0.to_le_bytes());
    out.extend_from_slice(event.id.as_bytes());
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(event.event_type.as_bytes());
    out.extend_from_slice(&event.data);
    out.extend_from_slice(&event.metadata);
    out.resize(start + bytes, 0);
    let crc = event_crc(length, out.get(start + 8..).unwrap_or_default());
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    crc
}

fn event_crc(length: [u8; 4], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), rest)
}

/// What begins at some place in a segment.
pub(super) enum Parsed<'a> {
    /// Zeros: nothing was written here.
    Nothing,
    Segment(SegmentHeader),
    Group(GroupHeader),
    Event(EventRecord<'a>),
    /// At least so many bytes are needed to say.
    Short(usize),
    Broken(&'static str),
}

/// Reads what begins here.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(first) = bytes.first_chunk::<8>() else {
        return Parsed::Short(8);
    };
    match u64::from_le_bytes(*first) {
        0 => Parsed::Nothing,
        GROUP_MAGIC if bytes.len() < GROUP_HEADER => Parsed::Short(GROUP_HEADER),
        GROUP_MAGIC => GroupHeader::parse(bytes).map_or(
            Parsed::Broken("the checksum of a group does not match"),
            Parsed::Group,
        ),
        SEGMENT_MAGIC if bytes.len() < SEGMENT_HEADER => Parsed::Short(SEGMENT_HEADER),
        SEGMENT_MAGIC => SegmentHeader::parse(bytes).map_or(
            Parsed::Broken("the checksum of the segment's header does not match"),
            Parsed::Segment,
        ),
        _ => parse_event(bytes),
    }
}

fn parse_event(bytes: &[u8]) -> Parsed<'_> {
    let mut fields = Fields(bytes);
    let (Some(length), Some(crc)) = (fields.array::<4>(), fields.u32()) else {
        return Parsed::Short(8);
    };
    let total = u32::from_le_bytes(length) as usize;
    // No record comes near this: what claims to is not one, and must not make us allocate.
    if total < EVENT_HEADER || total > super::MAX_SEGMENT_BYTES as usize || !total.is_multiple_of(8)
    {
        return Parsed::Broken("the length of an event is impossible");
    }
    let Some(record) = bytes.get(..total) else {
        return Parsed::Short(total);
    };
    if crc != event_crc(length, record.get(8..).unwrap_or_default()) {
        return Parsed::Broken("the checksum of an event does not match");
    }
    event_fields(record, crc).map_or(
        Parsed::Broken("an event is not made as this version makes them"),
        Parsed::Event,
    )
}

/// As [`parse`] of an event whose checksum was right a moment ago.
pub(super) fn parse_checked_event(bytes: &[u8]) -> Parsed<'_> {
    let mut fields = Fields(bytes);
    let (Some(total), Some(crc)) = (fields.u32(), fields.u32()) else {
        return Parsed::Short(8);
    };
    bytes
        .get(..total as usize)
        .and_then(|record| event_fields(record, crc))
        .map_or(Parsed::Nothing, Parsed::Event)
}

fn event_fields(record: &[u8], crc: u32) -> Option<EventRecord<'_>> {
    let mut fields = Fields(record);
    fields.u64()?;
    let padding = usize::from(fields.u8()?);
    let type_bytes = usize::from(fields.u8()?);
    let name_bytes = usize::from(fields.u8()?);
    fields.u8()?;
    let data_bytes = fields.u32()? as usize;
    let position = fields.u64()?;
    let revision = fields.u64()?;
    let previous = Location(fields.u64()?);
    let id = uuid::Uuid::from_bytes(fields.array()?);
    let stream = std::str::from_utf8(fields.bytes(name_bytes)?).ok()?;
    let event_type = std::str::from_utf8(fields.bytes(type_bytes)?).ok()?;
    let data = fields.bytes(data_bytes)?;
    let metadata = fields.bytes(fields.0.len().checked_sub(padding)?)?;
    Some(EventRecord {
        position,
        revision,
        previous,
        id,
        stream,
        event_type,
        data,
        metadata,
        crc,
        bytes: record.len(),
    })
}

/// How far the log is durable, published in the folder for a reader in another process. Always
/// true where it can be read, for it is written after the sync; often a little behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DurableMark {
    pub(super) position: u64,
    /// The first half of the log's id: a mark of another log says nothing.
    pub(super) log: u64,
}

pub(super) const DURABLE_MARK: usize = 32;

impl DurableMark {
    pub(super) fn encode(&self) -> [u8; DURABLE_MARK] {
        let mut out = Vec::with_capacity(DURABLE_MARK);
        out.extend_from_slice(&DURABLE_MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.log.to_le_bytes());
        sealed(&out)
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(unsealed::<DURABLE_MARK>(bytes, DURABLE_MAGIC)?);
        Some(Self {
            position: fields.u64()?,
            log: fields.u64()?,
        })
    }
}
