//! The room for the log: how fast it is used up, and what happens before it is.
//!
//! ```text
//! once a second: free room ─▶ below warn: a log line, `/readyz` says `degraded`
//!                          └▶ below refuse: new orders are refused too, sagas go on
//! ```

use std::{sync::Arc, time::Duration};

use axum::Json;
use chrono::TimeDelta;
use clap::Args;
use recourse_event_store::{
    LogId, StoreError,
    embedded::{self, Growth, disk::Space},
};
use recourse_service::{
    Clock, Problem,
    admission::Admission,
    contract::{Answer, Operation, Routes},
    errors, position,
    readiness::{Dependency, Health},
};
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::arguments::Usage;

const MIB: u64 = 1024 * 1024;
const HOUR_MS: u64 = 3_600_000;
/// The times over which growth is shown.
const WINDOWS: [TimeDelta; 2] = [TimeDelta::hours(1), TimeDelta::hours(24)];
/// Growth over less is not made a rate.
const MIN_MEASURED_MS: u64 = 60_000;
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// When the disk counts as low.
#[derive(Clone, Copy, Debug, Args)]
// The group that clap makes by itself has the name of the struct, as those of others have.
#[group(skip)]
pub(crate) struct Options {
    /// With less room than this on the disk of the data folder, in MiB, the server warns.
    #[arg(long, value_name = "MIB", default_value_t = 2_048)]
    disk_low_warn_mib: u64,
    /// With less room than this, in MiB, new orders are refused, and what is under way goes on.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    disk_low_refuse_mib: u64,
}

/// How it is with the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Enough.
    Ok,
    /// Little: an operator should make some.
    Low,
    /// So little that new orders are refused.
    Refusing,
}

impl Options {
    /// # Errors
    /// Where the thresholds contradict each other.
    pub(crate) fn validate(self) -> Result<(), Usage> {
        if self.disk_low_warn_mib < self.disk_low_refuse_mib {
            return Err(Usage::new(
                "--disk-low-warn-mib is at least --disk-low-refuse-mib: the warning comes first",
            ));
        }
        Ok(())
    }

    const fn level(self, space: Space) -> Level {
        if space.free_bytes < self.disk_low_refuse_mib.saturating_mul(MIB) {
            Level::Refusing
        } else if space.free_bytes < self.disk_low_warn_mib.saturating_mul(MIB) {
            Level::Low
        } else {
            Level::Ok
        }
    }
}

/// Watches the room for the log.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) store: Arc<embedded::Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) admission: Admission,
    pub(crate) disk: Dependency,
}

impl Storage {
    /// Looks once a second, until `stop`.
    pub(crate) async fn watch(&self, mut level: Option<Level>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CHECK_EVERY) => level = self.look(level),
            }
        }
    }

    /// Looks once, and acts where it is not as `before`; how it is.
    pub(crate) fn look(&self, before: Option<Level>) -> Option<Level> {
        let space = match self.store.space() {
            Ok(space) => space,
            Err(error) => {
                self.disk.down(format!("the disk cannot be asked: {error}"));
                return None;
            }
        };
        let level = self.options.level(space);
        let free_mib = space.free_bytes / MIB;
        let left = format!("{free_mib} MiB are left on the disk of the data folder");
        match level {
            Level::Ok => self.disk.up(),
            Level::Low => self.disk.set(Health::Degraded(left.clone())),
            Level::Refusing => {
                let refusing = format!("{left}: new orders are refused");
                self.disk.set(Health::Degraded(refusing));
            }
        }
        if level == Level::Refusing {
            self.admission.close(left);
        } else {
            self.admission.open();
        }
        if before.is_some_and(|before| before != level) || (before.is_none() && level != Level::Ok)
        {
            match level {
                Level::Ok => tracing::info!(free_mib, "there is room on the disk again"),
                Level::Low => tracing::warn!(free_mib, "the disk of the data folder is low"),
                Level::Refusing => tracing::error!(
                    free_mib,
                    "the disk of the data folder is nearly full: new orders are refused"
                ),
            }
        }
        Some(level)
    }

    /// What there is to be shown.
    ///
    /// # Errors
    /// Where the log or the disk cannot be asked.
    pub(crate) fn report(&self) -> Result<Report, StoreError> {
        use recourse_event_store::EventStore;
        let space = self
            .store
            .space()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let size = self.store.size();
        let now = self.clock.now();
        let mut growth = Vec::new();
        for window in WINDOWS {
            let since = now.checked_sub_signed(window).unwrap_or_default();
            let grown = self.store.growth_since(since)?;
            let measured = now.signed_duration_since(grown.from);
            growth.push(Window::of(window, measured, grown, space));
        }
        let scrub = self.store.stats().scrub;
        let log = self.store.log_id();
        Ok(Report {
            log: Log {
                id: log,
                position: position::write(size.position, log),
                events: size.position.commit,
                bytes: size.bytes,
                checked_events: scrub.position,
                to_check_events: scrub.of,
            },
            disk: Disk {
                level: self.options.level(space),
                free_bytes: space.free_bytes,
                total_bytes: space.total_bytes,
                warn_below_bytes: self.options.disk_low_warn_mib.saturating_mul(MIB),
                refuse_below_bytes: self.options.disk_low_refuse_mib.saturating_mul(MIB),
            },
            growth,
        })
    }

    /// As [`Self::report`], which reads files, off the threads that serve requests.
    ///
    /// # Errors
    /// As [`Self::report`].
    pub(crate) async fn read_report(&self) -> Result<Report, StoreError> {
        let storage = self.clone();
        let reading = tokio::task::spawn_blocking(move || storage.report());
        let read = reading.await;
        read.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
    }

    /// `GET /v1/storage`.
    pub(crate) fn routes(&self) -> Routes {
        let storage = self.clone();
        let show = move || {
            let storage = storage.clone();
            async move { storage.read_report().await.map(Json).map_err(Problem::from) }
        };
        let operation = Operation::new("getStorage", "See how large the log is and how it grows")
            .describe(
                "Growth is that of the last hour and of the last day, by the times of the events. \
                 `full_in_ms` is when the disk is full at that rate.",
            )
            .tag("server")
            .answer(Answer::json::<Report>(200, "The log and its disk").example(EXAMPLE))
            .fails(&[
                errors::STORE_UNAVAILABLE,
                errors::STORE_FAILED,
                errors::SHUTTING_DOWN,
            ]);
        Routes::new().get("/v1/storage", show, operation)
    }
}

/// The log and its disk.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Storage")]
pub(crate) struct Report {
    /// The log.
    pub(crate) log: Log,
    /// The disk that holds it.
    pub(crate) disk: Disk,
    /// How fast the log grows, over the last hour and over the last day.
    pub(crate) growth: Vec<Window>,
}

/// How large the log is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StoredLog")]
pub(crate) struct Log {
    /// Which log it is.
    #[schemars(with = "String")]
    id: LogId,
    /// Its end.
    position: String,
    /// How many events it has.
    pub(crate) events: u64,
    /// How many bytes.
    pub(crate) bytes: u64,
    /// How many events were read since the start to look for damage.
    checked_events: u64,
    /// How many are to be.
    to_check_events: u64,
}

/// The disk of the data folder.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Disk")]
pub(crate) struct Disk {
    /// Whether there is enough room.
    level: Level,
    /// The room that is left.
    pub(crate) free_bytes: u64,
    /// All of it.
    total_bytes: u64,
    /// Below this, the server warns.
    warn_below_bytes: u64,
    /// Below this, new orders are refused.
    refuse_below_bytes: u64,
}

/// How the log grew over some time.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Growth")]
pub(crate) struct Window {
    /// Over how long; less where the log is younger.
    measured_ms: u64,
    /// By how many events.
    events: u64,
    /// By how many bytes.
    bytes: u64,
    /// How much an hour.
    pub(crate) bytes_per_hour: u64,
    /// How much a day.
    bytes_per_day: u64,
    /// When the disk is full at that rate; absent while nothing is added.
    #[serde(skip_serializing_if = "Option::is_none")]
    full_in_ms: Option<u64>,
}

impl Window {
    fn of(window: TimeDelta, measured: TimeDelta, grown: Growth, space: Space) -> Self {
        let measured_ms =
            u64::try_from(measured.clamp(TimeDelta::zero(), window).num_milliseconds())
                .unwrap_or_default();
        let over = measured_ms.max(MIN_MEASURED_MS);
        let rate = |ms: u64| scaled(grown.bytes, ms, over);
        let full_in_ms = (grown.bytes > 0).then(|| scaled(space.free_bytes, over, grown.bytes));
        Self {
            measured_ms,
            events: grown.events,
            bytes: grown.bytes,
            bytes_per_hour: rate(HOUR_MS),
            bytes_per_day: rate(HOUR_MS.saturating_mul(24)),
            full_in_ms,
        }
    }
}

/// `value * by / over`, as large as it can be said.
fn scaled(value: u64, by: u64, over: u64) -> u64 {
    let scaled = u128::from(value)
        .saturating_mul(by.into())
        .checked_div(over.into());
    u64::try_from(scaled.unwrap_or_default()).unwrap_or(u64::MAX)
}

const EXAMPLE: &str = r#"{
    "log": {
        "id": "738f9e40-daf9-4818-95c0-d677a622fd65", "position": "31-a622fd65", "events": 31,
        "bytes": 24480, "checked_events": 31, "to_check_events": 31
    },
    "disk": {
        "level": "ok", "free_bytes": 23622320128, "total_bytes": 270582939648,
        "warn_below_bytes": 2147483648, "refuse_below_bytes": 536870912
    },
    "growth": [{
        "measured_ms": 3600000, "events": 31, "bytes": 24480, "bytes_per_hour": 24480,
        "bytes_per_day": 587520, "full_in_ms": 3473870607058
    }]
}"#;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Space = Space {
        free_bytes: 1_000 * MIB,
        total_bytes: 2_000 * MIB,
    };

    fn grown(bytes: u64) -> Growth {
        Growth {
            from: chrono::DateTime::UNIX_EPOCH,
            events: 7,
            bytes,
        }
    }

    #[test]
    fn the_warning_comes_before_the_refusal() {
        let options = Options {
            disk_low_warn_mib: 900,
            disk_low_refuse_mib: 100,
        };
        options.validate().unwrap();
        for (free_mib, level) in [
            (900, Level::Ok),
            (899, Level::Low),
            (100, Level::Low),
            (99, Level::Refusing),
            (0, Level::Refusing),
        ] {
            let space = Space {
                free_bytes: free_mib * MIB,
                ..ROOM
            };
            assert_eq!(options.level(space), level, "{free_mib}");
        }
        let contradicting = Options {
            disk_low_warn_mib: 99,
            disk_low_refuse_mib: 100,
        };
        assert!(contradicting.validate().is_err());
    }

    #[test]
    fn a_rate_is_what_was_added_over_the_time_in_which_it_was() {
        let hour = TimeDelta::hours(1);
        let whole = Window::of(hour, hour, grown(10 * MIB), ROOM);
        assert_eq!(whole.bytes_per_hour, 10 * MIB);
        assert_eq!(whole.bytes_per_day, 240 * MIB);
        assert_eq!(whole.full_in_ms, Some(100 * HOUR_MS));
        let young = Window::of(hour, TimeDelta::minutes(30), grown(10 * MIB), ROOM);
        assert_eq!(young.bytes_per_hour, 20 * MIB);
        let just_begun = Window::of(hour, TimeDelta::seconds(1), grown(MIB), ROOM);
        assert_eq!(just_begun.bytes_per_hour, 60 * MIB);
        assert_eq!(Window::of(hour, hour, grown(0), ROOM).full_in_ms, None);
    }
}
