//! Pieces of a segment in memory while a log is opened.

use std::io;

use super::{disk::File, format::Location};

const WINDOW_BYTES: usize = 1024 * 1024;

pub(super) fn wipe(file: &dyn File, from: usize, to: usize) -> io::Result<()> {
    let zeros = vec![0; WINDOW_BYTES.min(to - from)];
    let mut at = from;
    while at < to {
        let piece = zeros.len().min(to - at);
        file.write_at(at as u64, zeros.get(..piece).unwrap_or_default())?;
        at += piece;
    }
    Ok(())
}

pub(super) fn rewrite(file: &dyn File, from: Location, to: Location) -> io::Result<()> {
    let mut bytes = vec![0; (to.offset() - from.offset()) as usize];
    let count = file.read_at(u64::from(from.offset()), &mut bytes)?;
    if count != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.write_at(u64::from(from.offset()), &bytes)
}

/// Calls `each` with every aligned 8 bytes of a file that are not zero, from `from` on, until
/// it says to stop.
pub(super) fn each_word(
    file: &dyn File,
    segment_bytes: u32,
    from: usize,
    mut each: impl FnMut(&mut Window<'_>, u64, usize) -> io::Result<bool>,
) -> io::Result<()> {
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    let end = size.min(segment_bytes as usize);
    let mut lookup = Window::new(file, segment_bytes);
    let mut buffer = vec![0; WINDOW_BYTES];
    let mut at = from;
    while at < end {
        let piece = buffer.len().min(end - at);
        let Some(bytes) = buffer.get_mut(..piece) else {
            break;
        };
        let count = file.read_at(at as u64, bytes)?;
        if count == 0 {
            break;
        }
        let (words, rest) = bytes.get(..count).unwrap_or_default().as_chunks::<8>();
        for (number, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            if word != 0 && !each(&mut lookup, word, at + number * 8)? {
                return Ok(());
            }
        }
        // A file cut short in the middle of a word.
        if rest.iter().any(|byte| *byte != 0) {
            each(&mut lookup, 1, at + words.len() * 8)?;
        }
        at += count;
    }
    Ok(())
}

/// A piece of a segment in memory, moved along as it is read.
pub(super) struct Window<'a> {
    file: &'a dyn File,
    segment_bytes: usize,
    from: usize,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn File, segment_bytes: u32) -> Self {
        Self {
            file,
            segment_bytes: segment_bytes as usize,
            from: 0,
            bytes: Vec::new(),
        }
    }

    /// At most `count` bytes from `offset` on: fewer where the segment ends.
    pub(super) fn at(&mut self, offset: usize, count: usize) -> io::Result<&[u8]> {
        let end = offset.saturating_add(count).min(self.segment_bytes);
        if offset < self.from || end > self.from + self.bytes.len() {
            let wanted = WINDOW_BYTES
                .max(count)
                .min(self.segment_bytes.saturating_sub(offset));
            self.bytes.resize(wanted, 0);
            let read = self.file.read_at(offset as u64, &mut self.bytes)?;
            self.bytes.truncate(read);
            self.from = offset;
        }
        let start = offset - self.from;
        let stop = (end.saturating_sub(self.from)).min(self.bytes.len());
        Ok(self.bytes.get(start..stop).unwrap_or_default())
    }
}
