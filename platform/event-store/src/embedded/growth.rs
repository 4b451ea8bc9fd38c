//! How large the log is, how fast it grows, and how much room there is.
//!
//! Growth is read from the log itself, where every event says when it was recorded. So it is
//! known right after a start, and nobody has to sample it.

use std::io;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Store, disk::Space, engine::Engine, format::Location, reading::Frames};
use crate::{Position, StoreError};

/// The durable part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its end.
    pub position: Position,
    /// Bytes from its beginning to its end, in whole segments but for the last.
    pub bytes: u64,
}

/// What was added to the log since some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Since when: the time that was asked for, or that of the first event where it is later.
    pub from: DateTime<Utc>,
    /// How many events.
    pub events: u64,
    /// Bytes of log.
    pub bytes: u64,
}

/// Of an event's metadata, its time.
#[derive(Deserialize)]
struct Recorded {
    #[serde(rename = "recordedAt")]
    at: DateTime<Utc>,
}

impl Store {
    /// How much room there is on the disk that holds the log.
    ///
    /// # Errors
    /// Where the disk cannot say.
    pub fn space(&self) -> io::Result<Space> {
        self.engine.disk.space()
    }

    /// How large the log is.
    #[must_use]
    pub fn size(&self) -> Size {
        let end = self.engine.core().durable_end;
        Size {
            position: Position::dense(end.position),
            bytes: if end.position == 0 {
                0
            } else {
                self.engine.offset(end.location)
            },
        }
    }

    /// What was added since `since`, by the times of the events: about twenty short reads,
    /// however long the log is. Blocks.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn growth_since(&self, since: DateTime<Utc>) -> Result<Growth, StoreError> {
        let engine = &self.engine;
        let (end, count) = {
            let core = engine.core();
            (core.durable_end, core.marks.0.len())
        };
        let none = Growth {
            from: since,
            events: 0,
            bytes: 0,
        };
        // The first mark whose event is no older; those that are not durable yet are not.
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(mark) = engine.core().marks.0.get(middle).copied() else {
                break;
            };
            let older = mark.0 <= end.position && {
                let at = engine.first_since(mark, mark.0, None)?;
                at.is_none_or(|(_, _, at)| at < since)
            };
            if older {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let begin = low.saturating_sub(1);
        let Some(mark) = engine.core().marks.0.get(begin).copied() else {
            return Ok(none);
        };
        if mark.0 > end.position {
            return Ok(none);
        }
        let Some((position, location, at)) = engine.first_since(mark, end.position, Some(since))?
        else {
            return Ok(none);
        };
        Ok(Growth {
            from: if position == 1 { at.max(since) } else { since },
            events: end.position - position + 1,
            bytes: engine
                .offset(end.location)
                .saturating_sub(engine.offset(location)),
        })
    }
}

impl Engine {
    /// Bytes of log before a location.
    fn offset(&self, location: Location) -> u64 {
        u64::from(location.segment().saturating_sub(1)) * u64::from(self.segment_bytes)
            + u64::from(location.offset())
    }

    /// From a mark up to the event `last`, the first event that says its time and is not before
    /// `since`, where it lies, and its time.
    fn first_since(
        &self,
        mark: (u64, Location),
        last: u64,
        since: Option<DateTime<Utc>>,
    ) -> Result<Option<(u64, Location, DateTime<Utc>)>, StoreError> {
        let mut frames = Frames::new(self, mark.0, mark.1);
        for position in mark.0..=last {
            let (record, _) = frames.next_record()?;
            let bytes = record.bytes as u64;
            let recorded = serde_json::from_slice::<Recorded>(record.metadata);
            let Ok(Recorded { at }) = recorded else {
                continue;
            };
            if since.is_none_or(|since| at >= since) {
                let location = Location(frames.location().0.saturating_sub(bytes));
                return Ok(Some((position, location, at)));
            }
        }
        Ok(None)
    }
}
