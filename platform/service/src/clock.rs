//! What time it is, as a thing that is handed in.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use tokio::time::Instant;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now, UTC.
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's clock, to the microsecond.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}

/// A clock that moves with tokio's own, so that a test which pauses or advances that one moves
/// this one too. For simulation and tests.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: DateTime<Utc>,
    started: Instant,
}

impl TokioClock {
    /// A clock that shows `origin` now. Made within the runtime whose time it follows.
    #[must_use]
    pub fn new(origin: DateTime<Utc>) -> Self {
        Self {
            origin,
            started: Instant::now(),
        }
    }
}

impl TokioClock {
    /// The same, made as a timer of the runtime fires. A paused clock stands between two of
    /// its timers' milliseconds until the first one does, by as much as the machine took to
    /// make the runtime; from here on it shows whole milliseconds, in each run the same.
    pub async fn aligned(origin: DateTime<Utc>) -> Self {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        Self::new(origin)
    }
}

impl Clock for TokioClock {
    fn now(&self) -> DateTime<Utc> {
        TimeDelta::from_std(self.started.elapsed())
            .ok()
            .and_then(|elapsed| self.origin.checked_add_signed(elapsed))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tokio_clock_moves_only_when_tokios_time_does() {
        let origin = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let clock = TokioClock::new(origin);
        assert_eq!(clock.now(), origin);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), origin + TimeDelta::seconds(90));
    }
}
