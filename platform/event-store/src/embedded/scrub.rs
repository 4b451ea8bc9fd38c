//! Reading the whole log once after a start, slowly, to find damage that nobody has met yet.
//!
//! A start reads the log from the last checkpoint of the index on, so what rots behind that is
//! met when it is read, which may be in a year. This reads it now, at a bounded rate. Damage ends
//! the store, and takes the checkpoint of the index away: the next start reads the whole log
//! itself and is refused, with what to do.

use std::time::Duration;

use rustix::io::Errno;

use super::{
    checkpoint,
    engine::Engine,
    format::{GROUP_HEADER, segment_name},
    options::OpenError,
    progress::lock,
    scan::Scan,
};
use crate::{Position, StoreError};

const MIB: u64 = 1024 * 1024;

/// How long it waits where the process cannot read for now.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far the log was read to look for damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Scrub {
    /// Everything up to here is as it was written.
    pub position: u64,
    /// Where it ends: what was in the log when it was opened.
    pub of: u64,
}

impl Engine {
    /// For a thread of its own: until it is done, or the store stops.
    pub(super) fn run_scrub(&self) {
        let rate = u64::from(self.options.scrub_mib_per_s);
        let of = self.opened_at;
        if rate == 0 || of == 0 {
            return;
        }
        loop {
            let scrubbed = self.scrub(of, |bytes| {
                self.pause_scrub(Duration::from_micros(
                    bytes.saturating_mul(1_000_000) / rate.saturating_mul(MIB),
                ))
            });
            match scrubbed {
                Ok(true) => tracing::info!(
                    position = %Position::dense(of),
                    "the whole log was read and is as it was written"
                ),
                Ok(false) => {}
                Err(error) if is_passing(&error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the log cannot be read through for now");
                    if self.pause_scrub(RETRY_AFTER) {
                        continue;
                    }
                }
                Err(error) => self.damaged(error),
            }
            return;
        }
    }

    /// Reads the log up to the event `of`. `pace` is told how many bytes were read and says
    /// whether to go on. Whether it was read to the end.
    pub(super) fn scrub(
        &self,
        of: u64,
        mut pace: impl FnMut(u64) -> bool,
    ) -> Result<bool, OpenError> {
        let mut scan = Scan::whole(&*self.disk, self.header.clone());
        let mut bytes: u64 = 0;
        let mut wanted = true;
        scan.run_seeing(Some(of), &mut |seen| {
            lock(&self.scrubbed).position = seen.header.first + u64::from(seen.header.count) - 1;
            bytes += (GROUP_HEADER + seen.body.len()) as u64;
            if bytes >= MIB {
                wanted = pace(std::mem::take(&mut bytes));
            }
            Ok(wanted)
        })?;
        if !wanted {
            return Ok(false);
        }
        scan.check_reaches(of, "it had been read up to there when it was opened")?;
        Ok(true)
    }

    /// Waits; whether to go on.
    fn pause_scrub(&self, pause: Duration) -> bool {
        let core = self.core();
        let stops = |core: &super::core::Core| core.stopping || core.ended.is_some();
        let (core, _) = self
            .scrub_work
            .wait_timeout_while(core, pause, |core| !stops(core))
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        !stops(&core)
    }

    /// Ends the store over damage that was found.
    pub(super) fn damaged(&self, error: OpenError) {
        let (at, what) = match error {
            OpenError::Corrupt {
                segment,
                offset,
                position,
                what,
                ..
            } => (
                format!("{segment}, byte {offset}, where event {position} should be"),
                what,
            ),
            error => {
                let position = lock(&self.scrubbed).position + 1;
                let location = self.core().marks.at_or_before(position);
                let segment = location.map_or(1, |(_, location)| location.segment());
                let why = std::error::Error::source(&error).map(ToString::to_string);
                (
                    format!("{}, about event {position}", segment_name(segment)),
                    format!("{error}: {}", why.unwrap_or_default()),
                )
            }
        };
        let error = StoreError::Corrupt { at, what };
        tracing::error!(%error, "the event store stops");
        self.end(error);
        if let Err(error) = checkpoint::disown(self) {
            tracing::error!(
                %error,
                "the index's checkpoint cannot be taken away: the next start may not find the damage"
            );
        }
    }
}

/// Whether it says something of the process and nothing of the log: it may open no more files,
/// or has no more memory.
fn is_passing(error: &OpenError) -> bool {
    let OpenError::Io { source, .. } = error else {
        return false;
    };
    matches!(
        Errno::from_io_error(source),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_lacks_is_no_damage_and_what_the_disk_says_is() {
        let error = |errno: Errno| OpenError::Io {
            doing: "open a segment".to_owned(),
            source: errno.into(),
        };
        assert!(is_passing(&error(Errno::MFILE)));
        assert!(!is_passing(&error(Errno::IO)));
        assert!(!is_passing(&error(Errno::NOENT)));
    }
}
