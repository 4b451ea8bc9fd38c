//! The server as its machine sees it: a child process, its processor time and its memory.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    apart,
    http::{Address, Connection},
};

/// How to start a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// The binary.
    pub program: PathBuf,
    /// Its data folder.
    pub data: PathBuf,
    /// Further arguments after `up --data … --listen …`.
    pub args: Vec<OsString>,
    /// How long it may take until it serves, in milliseconds.
    pub start_timeout_ms: u32,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("{program} cannot be started")]
    Start {
        /// The binary.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it served.
    #[error("the server ended before it printed its URL; it said: {0}")]
    Ended(String),
    /// It did not serve in time.
    #[error("the server did not print its URL and answer within {0} ms")]
    Late(u32),
    /// It could not be ended.
    #[error("the server cannot be ended")]
    End(#[source] io::Error),
}

/// A server that this process has started. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Reads on what it prints, or it would block on a full pipe.
    _reading: JoinSet<()>,
    pid: u32,
    url: String,
    started: Instant,
}

impl Server {
    /// Starts one on a port of the loopback (0: any) and waits until it answers `/healthz`.
    ///
    /// # Errors
    /// [`Error`] says which.
    pub async fn start(spawn: &Spawn, port: u16) -> Result<Self, Error> {
        let deadline = Duration::from_millis(spawn.start_timeout_ms.into());
        let started = Instant::now();
        let mut child = Command::new(&spawn.program)
            .arg("up")
            .arg("--data")
            .arg(&spawn.data)
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .args(&spawn.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Start {
                program: spawn.program.clone(),
                source,
            })?;
        let pid = child.id().unwrap_or_default();
        let Some(stdout) = child.stdout.take() else {
            return Err(Error::Ended("nothing".to_owned()));
        };
        let mut output = BufReader::new(stdout).lines();
        let until = started + deadline;
        let late = || Error::Late(spawn.start_timeout_ms);
        let mut said = String::new();
        let url = loop {
            let line = timeout_at(until, output.next_line())
                .await
                .map_err(|_| late())?;
            match line {
                Ok(Some(line)) => {
                    if let Some(url) = url_in(&line) {
                        break url;
                    }
                    said.push_str(&line);
                    said.push('\n');
                }
                Ok(None) | Err(_) => return Err(Error::Ended(said)),
            }
        };
        let mut reading = JoinSet::new();
        reading.spawn(async move { while let Ok(Some(_)) = output.next_line().await {} });
        let server = Self {
            child,
            _reading: reading,
            pid,
            url,
            started,
        };
        timeout_at(until, server.healthy())
            .await
            .map_err(|_| late())?;
        Ok(server)
    }

    async fn healthy(&self) {
        let Ok(address) = Address::parse(&self.url) else {
            return;
        };
        let mut connection = Connection::new(address, Duration::from_secs(1));
        loop {
            let answer = connection
                .send("GET", "/healthz", &[], Default::default())
                .await;
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Where it listens: `http://127.0.0.1:7171`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// When it was started.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub async fn kill(mut self) -> Result<(), Error> {
        self.child.kill().await.map_err(Error::End)
    }

    /// Asks it to end (SIGTERM) and waits; kills it after `patience`. Whether it ended by
    /// itself with code 0.
    ///
    /// # Errors
    /// Where it can be neither asked nor killed.
    pub async fn stop(mut self, patience: Duration) -> Result<bool, Error> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(|error| Error::End(error.into()))?;
        }
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => Ok(status.map_err(Error::End)?.success()),
            Err(_) => {
                self.child.kill().await.map_err(Error::End)?;
                Ok(false)
            }
        }
    }
}

fn url_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]-".contains(c)))
        .unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    (!authority.is_empty()).then(|| format!("http://{authority}"))
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time, in microseconds, of all its threads.
    pub cpu_us: u64,
    /// The most memory it has had at once, in KiB, since it began or since
    /// [`Usage::forget_peak`].
    pub peak_rss_kib: u64,
}

impl Usage {
    /// Of a process of this machine; none where it is gone or is another user's.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let stat = std::fs::read_to_string(process.join("stat")).ok()?;
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        Some(Self {
            cpu_us: cpu_us(&stat, rustix::param::clock_ticks_per_second())?,
            peak_rss_kib: peak_rss_kib(&status)?,
        })
    }

    /// Lets the peak begin anew, where the system allows it.
    pub fn forget_peak(pid: u32) {
        let path = Path::new("/proc").join(pid.to_string()).join("clear_refs");
        if let Err(error) = std::fs::write(path, "5") {
            tracing::debug!(%error, "the peak of memory is that since the process began");
        }
    }
}

/// Fields 14 and 15 of `/proc/<pid>/stat`, see proc(5): the second field, in parentheses, may
/// hold anything.
fn cpu_us(stat: &str, ticks_per_second: u64) -> Option<u64> {
    ticks(stat, 2)?
        .checked_mul(1_000_000)?
        .checked_div(ticks_per_second)
}

/// So many fields from the 14th on: user's and system's time, then those of children that ended.
fn ticks(stat: &str, fields: usize) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut from = after_name.split(' ').skip(11);
    (0..fields).map(|_| from.next()?.parse::<u64>().ok()).sum()
}

/// The processor time, in microseconds, of these processes with all that each has started, also
/// what has ended since. None for one that is gone.
pub(crate) fn cpu_of_trees(roots: impl Iterator<Item = u32>) -> Vec<Option<u64>> {
    let mut used = BTreeMap::new();
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that ended meanwhile is counted by its parent.
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, after)| {
            let parent = after.split(' ').nth(1)?;
            parent.parse::<u32>().ok()
        });
        if let (Some(parent), Some(ticks)) = (parent, ticks(&stat, 4)) {
            let us = ticks.saturating_mul(1_000_000) / ticks_per_second;
            used.insert(pid, (parent, us));
        }
    }
    apart::add_up(&used, roots)
}

fn peak_rss_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// What the event store of a server has done since it began, where `/metrics` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreUsage {
    /// Every fsync.
    pub fsyncs: u64,
    /// Bytes of log, headers included.
    pub log_bytes: u64,
}

impl StoreUsage {
    /// The counter of fsyncs.
    pub const FSYNCS: &'static str = "recourse_store_fsyncs_total";
    /// The counter of bytes of log.
    pub const LOG_BYTES: &'static str = "recourse_store_log_bytes_total";

    /// Reads the text of `/metrics`; none where a counter is not there.
    #[must_use]
    pub fn parse(metrics: &str) -> Option<Self> {
        let counter = |name: &str| {
            metrics.lines().find_map(|line| {
                let value = line.strip_prefix(name)?.trim_start();
                let value = match value.strip_prefix('{') {
                    Some(labelled) => labelled.split_once('}')?.1,
                    None => value,
                };
                let value = value.split_whitespace().next()?;
                let whole = value.split_once('.').map_or(value, |(whole, _)| whole);
                whole.parse::<u64>().ok()
            })
        };
        Some(Self {
            fsyncs: counter(Self::FSYNCS)?,
            log_bytes: counter(Self::LOG_BYTES)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_is_found_whatever_the_name_of_the_process() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 5 0 99";
        assert_eq!(cpu_us(stat, 100), Some(2_000_000));
        assert_eq!(cpu_us("42 (a) S 1", 100), None);
        assert!(Usage::of(std::process::id()).unwrap().peak_rss_kib > 0);
    }

    #[test]
    fn a_process_that_has_ended_counts_for_the_one_that_started_it() {
        let stat = "42 (a) S 1 2 3 4 5 6 7 8 9 10 150 50 30 20 20 0 5 0 99";
        assert_eq!((ticks(stat, 2), ticks(stat, 4)), (Some(200), Some(250)));
        let own = std::process::id();
        let used = cpu_of_trees([own, u32::MAX].into_iter());
        assert!(used[0].is_some() && used[1].is_none(), "{used:?}");
    }

    #[test]
    fn the_peak_of_memory_is_found() {
        assert_eq!(peak_rss_kib("Name:\tx\nVmHWM:\t    1234 kB\n"), Some(1234));
    }

    #[test]
    fn a_url_is_found_in_whatever_is_printed_around_it() {
        assert_eq!(
            url_in("recourse listens on http://127.0.0.1:7171, data in ./data"),
            Some("http://127.0.0.1:7171".to_owned())
        );
        assert_eq!(url_in("http://"), None);
        assert_eq!(url_in("nothing"), None);
    }

    #[test]
    fn the_stores_counters_are_found_or_absent() {
        let text = "# HELP x\nrecourse_store_fsyncs_total 12\nrecourse_store_log_bytes_total{a=\"b\"} 3400.0\n";
        let found = StoreUsage {
            fsyncs: 12,
            log_bytes: 3_400,
        };
        assert_eq!(StoreUsage::parse(text), Some(found));
        assert_eq!(StoreUsage::parse("recourse_store_fsyncs_total 12\n"), None);
    }

    #[tokio::test]
    async fn a_server_that_ends_at_once_is_told_with_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let spawn = Spawn {
            program: "/bin/echo".into(),
            data: folder.path().into(),
            args: Vec::new(),
            start_timeout_ms: 5_000,
        };
        let error = Server::start(&spawn, 0).await.unwrap_err();
        assert!(
            matches!(&error, Error::Ended(said) if said.contains("up --data")),
            "{error}"
        );
    }
}
