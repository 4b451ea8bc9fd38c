//! What watchers were sent, held against each other: who missed what, and how late it all was.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use chrono::{DateTime, Utc};
use hdrhistogram::{CreationError, Histogram};
use recourse_event_store::Position;
use serde::{Deserialize, Serialize};

use super::Options;
use crate::load::Latency;

const MAX_US: u64 = 600_000_000;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Watchers of one saga each.
    pub saga_watchers: usize,
    /// Watchers of everything.
    pub log_watchers: usize,
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// Events that any watcher of everything was sent.
    pub events: u64,
    /// The same by second.
    pub events_per_s: f64,
    /// What all watchers were sent.
    pub deliveries: u64,
    /// From the recording of an event to its arrival at a watcher of everything.
    pub of_log: Latency,
    /// The same at a watcher of its saga.
    pub of_saga: Latency,
    /// Events that a watcher of everything did not get and another one did, by watcher.
    pub missed: u64,
    /// Events that a watcher of everything got again, or after a later one, by watcher.
    pub repeated: u64,
}

impl Report {
    /// For a person to read.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{} watchers of one saga each, {} of everything, {:.0} events/s for {} s\n\
             {} deliveries, {} missed, {} repeated\n\
             of everything: {}\n\
             of one saga:   {}",
            self.saga_watchers,
            self.log_watchers,
            self.events_per_s,
            self.window_ms / 1_000,
            self.deliveries,
            self.missed,
            self.repeated,
            self.of_log.text(),
            self.of_saga.text(),
        );
        out
    }
}

/// What a watcher was sent.
pub(super) struct Arrival {
    pub(super) position: Position,
    pub(super) at: DateTime<Utc>,
    /// Which watcher of everything; none for one of a saga.
    pub(super) log_watcher: Option<usize>,
}

/// What all were sent.
#[derive(Default)]
pub(super) struct Seen {
    /// As they came, so those of a watcher in its order.
    pub(super) arrivals: Vec<Arrival>,
    /// When each event was recorded that a watcher of everything was sent.
    pub(super) recorded: BTreeMap<Position, DateTime<Utc>>,
}

impl Seen {
    /// What it comes to, of the events that were recorded from `from` and before `to`.
    pub(super) fn report(
        &self,
        options: &Options,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Report, CreationError> {
        let mut of_log = Histogram::<u64>::new_with_max(MAX_US, 3)?;
        let mut of_saga = of_log.clone();
        let in_window = |recorded: &&DateTime<Utc>| **recorded >= from && **recorded < to;
        let events = self.recorded.values().filter(in_window).count();
        let mut got = vec![BTreeSet::new(); options.log_watchers];
        let mut repeated: u64 = 0;
        for arrival in &self.arrivals {
            let Some(recorded) = self.recorded.get(&arrival.position).filter(in_window) else {
                continue;
            };
            let took = arrival.at.signed_duration_since(recorded);
            let took = took.num_microseconds().unwrap_or(i64::MAX);
            let took = u64::try_from(took).unwrap_or_default().min(MAX_US);
            let Some(number) = arrival.log_watcher else {
                of_saga.saturating_record(took);
                continue;
            };
            of_log.saturating_record(took);
            if let Some(got) = got.get_mut(number) {
                // Positions rise: whatever does not was sent before, or too late.
                let is_next = got.last().is_none_or(|last| *last < arrival.position);
                got.insert(arrival.position);
                repeated = repeated.saturating_add(u64::from(!is_next));
            }
        }
        let missed = got
            .iter()
            .map(|got| events.saturating_sub(got.len()) as u64);
        let events = events as u64;
        let window_ms = u64::from(options.duration_ms);
        #[expect(clippy::cast_precision_loss, reason = "for a person")]
        let events_per_s = events as f64 * 1_000.0 / window_ms.max(1) as f64;
        Ok(Report {
            saga_watchers: options.saga_watchers,
            log_watchers: options.log_watchers,
            window_ms,
            events,
            events_per_s,
            deliveries: of_log.len() + of_saga.len(),
            of_log: Latency::from(&of_log),
            of_saga: Latency::from(&of_saga),
            missed: missed.sum(),
            repeated,
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// What comes of it where these watchers of everything were sent these events.
    fn report(sent: &[&[u64]]) -> Report {
        let from = DateTime::UNIX_EPOCH;
        let mut seen = Seen::default();
        for (number, positions) in sent.iter().enumerate() {
            for position in *positions {
                let position = Position::dense(*position);
                seen.recorded.insert(position, from);
                seen.arrivals.push(Arrival {
                    position,
                    at: from + TimeDelta::milliseconds(3),
                    log_watcher: Some(number),
                });
            }
        }
        let options = Options {
            url: String::new(),
            name: String::new(),
            saga_watchers: 0,
            log_watchers: sent.len(),
            events_per_s: 1,
            duration_ms: 1_000,
            clock: || DateTime::UNIX_EPOCH,
        };
        let to = from + TimeDelta::seconds(1);
        seen.report(&options, from, to).unwrap()
    }

    #[test]
    fn what_one_watcher_misses_counts_whichever_it_is_and_a_repeat_does_not_make_up_for_it() {
        let counted = |sent: &[&[u64]]| {
            let report = report(sent);
            (report.events, report.missed, report.repeated)
        };
        assert_eq!(counted(&[&[1, 2, 3], &[1, 2, 3]]), (3, 0, 0));
        // The first one, and all after it.
        assert_eq!(counted(&[&[1, 3], &[1, 2, 3]]), (3, 1, 0));
        assert_eq!(counted(&[&[], &[1, 2, 3], &[1]]), (3, 5, 0));
        // As many as there are, and not all of them.
        assert_eq!(counted(&[&[1, 2, 3], &[1, 1, 3]]), (3, 1, 1));
        // A step back is none missed, and not as promised.
        assert_eq!(counted(&[&[1, 2, 3], &[1, 3, 2]]), (3, 0, 1));
    }
}
