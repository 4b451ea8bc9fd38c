//! The header of the store: which log this is, and what it was called before.
//!
//! A log is named when it is made. One that is restored from a backup gets another name, for what
//! it holds from there on is not what those remember who knew its abandoned future. Its files keep
//! the first name, which their checksums and the index are keyed by; the header lists the later
//! ones, each with the last position under the name before it.
//!
//! Format 1 has one name and 64 bytes, format 2 any number of names. A header is written in the
//! oldest format that can say it, so that a log that was never restored can be opened by the
//! version of this program that made it.

use super::format::Fields;
use crate::LogId;

/// The newest format that is known.
pub(super) const FORMAT: u32 = 2;
/// The most bytes a header has.
pub(super) const MAX_STORE_HEADER: usize = 64 * 1024;
const SINGLE: u32 = 1;
const SINGLE_BYTES: usize = 64;
const RENAMED_BYTES: usize = 24;
const STORE_MAGIC: u64 = u64::from_le_bytes(*b"\xf3REClog\x00");

/// Says which log this is and how it is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreHeader {
    /// The first name of the log, which its files bear.
    pub(super) files: LogId,
    pub(super) segment_bytes: u32,
    /// The names after the first, oldest first.
    pub(super) renamed: Vec<Renamed>,
}

/// A log that goes on under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Renamed {
    /// The last position under the name before.
    pub(super) after: u64,
    pub(super) name: LogId,
}

/// What a store's header turned out to be.
pub(super) enum ParsedStoreHeader {
    Whole(StoreHeader),
    Newer(u32),
    Broken,
}

impl StoreHeader {
    /// What the log is called now.
    pub(super) fn log(&self) -> LogId {
        self.renamed.last().map_or(self.files, |last| last.name)
    }

    /// What it was called before, oldest first, each with the last position under that name.
    pub(super) fn former_names(&self) -> Vec<(LogId, u64)> {
        let names = std::iter::once(self.files).chain(self.renamed.iter().map(|next| next.name));
        let ends = self.renamed.iter().map(|next| next.after);
        names.zip(ends).collect()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SINGLE_BYTES);
        let format = if self.renamed.is_empty() {
            SINGLE
        } else {
            FORMAT
        };
        out.extend_from_slice(&STORE_MAGIC.to_le_bytes());
        out.extend_from_slice(&format.to_le_bytes());
        out.extend_from_slice(&self.segment_bytes.to_le_bytes());
        out.extend_from_slice(self.files.0.as_bytes());
        if self.renamed.is_empty() {
            out.resize(SINGLE_BYTES - 4, 0);
        } else {
            out.extend_from_slice(&(self.renamed.len() as u64).to_le_bytes());
            for renamed in &self.renamed {
                out.extend_from_slice(&renamed.after.to_le_bytes());
                out.extend_from_slice(renamed.name.0.as_bytes());
            }
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The magic and the number after it stay where they are in every later format.
    pub(super) fn parse(bytes: &[u8]) -> ParsedStoreHeader {
        let mut fields = Fields(bytes);
        if fields.u64() != Some(STORE_MAGIC) {
            return ParsedStoreHeader::Broken;
        }
        let header = match fields.u32() {
            Some(format) if format > FORMAT => return ParsedStoreHeader::Newer(format),
            Some(SINGLE) => Self::single(fields, bytes),
            Some(FORMAT) => Self::renamed(fields, bytes),
            _ => None,
        };
        header.map_or(ParsedStoreHeader::Broken, ParsedStoreHeader::Whole)
    }

    fn single(mut fields: Fields<'_>, bytes: &[u8]) -> Option<Self> {
        let segment_bytes = fields.u32()?;
        let files = LogId(uuid::Uuid::from_bytes(fields.array()?));
        sealed(bytes.get(..SINGLE_BYTES)?).then_some(Self {
            files,
            segment_bytes,
            renamed: Vec::new(),
        })
    }

    fn renamed(mut fields: Fields<'_>, bytes: &[u8]) -> Option<Self> {
        let segment_bytes = fields.u32()?;
        let files = LogId(uuid::Uuid::from_bytes(fields.array()?));
        let count = usize::try_from(fields.u64()?).ok()?;
        // A count that there is no room for is not one.
        (count <= MAX_STORE_HEADER / RENAMED_BYTES).then_some(())?;
        let mut renamed = Vec::with_capacity(count);
        for _ in 0..count {
            renamed.push(Renamed {
                after: fields.u64()?,
                name: LogId(uuid::Uuid::from_bytes(fields.array()?)),
            });
        }
        let length = bytes.len().checked_sub(fields.0.len())?.checked_add(4)?;
        sealed(bytes.get(..length)?).then_some(Self {
            files,
            segment_bytes,
            renamed,
        })
    }
}

/// Whether the last four bytes are the checksum of those before.
fn sealed(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<4>()
        .is_some_and(|(body, crc)| u32::from_le_bytes(*crc) == crc32c::crc32c(body))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn name(number: u128) -> LogId {
        LogId(Uuid::from_u128(number))
    }

    fn header(renamed: &[(u64, u128)]) -> StoreHeader {
        StoreHeader {
            files: name(7),
            segment_bytes: 8192,
            renamed: renamed
                .iter()
                .map(|(after, next)| Renamed {
                    after: *after,
                    name: name(*next),
                })
                .collect(),
        }
    }

    #[test]
    fn a_header_reads_back_in_the_oldest_format_that_can_say_it() {
        for (renamed, format) in [(&[][..], 1), (&[(5, 8)], 2), (&[(5, 8), (5, 9)], 2)] {
            let written = header(renamed);
            let bytes = written.encode();
            assert_eq!(bytes[8], format);
            let ParsedStoreHeader::Whole(read) = StoreHeader::parse(&bytes) else {
                panic!("format {format}");
            };
            assert_eq!(read, written);
            for at in 0..bytes.len() {
                let mut bytes = bytes.clone();
                bytes[at] ^= 0x41;
                let parsed = StoreHeader::parse(&bytes);
                assert!(!matches!(parsed, ParsedStoreHeader::Whole(_)), "byte {at}");
            }
        }
    }

    #[test]
    fn each_name_ends_where_the_next_begins() {
        let header = header(&[(5, 8), (9, 6)]);
        assert_eq!(header.log(), name(6));
        assert_eq!(header.former_names(), [(name(7), 5), (name(8), 9)]);
    }
}
