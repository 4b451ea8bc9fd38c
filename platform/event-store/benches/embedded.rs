//! The figures that the embedded store has to reach, measured beside what the bare disk does in
//! the same run.
//!
//! ```text
//! cargo bench -p recourse-event-store --bench embedded                two million events
//! cargo bench -p recourse-event-store --bench embedded -- --full      ten million
//!     --events N   --streams N   --directory DIR   --json
//! ```
//!
//! The reopening is that of a process killed with -9: the bench starts itself as a child,
//! which loads the log and is then killed.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures real time and says what it saw"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use recourse_event_store::{
    Append, Direction, EventStore, ExpectedRevision, Filter, NewEvent, Position, StreamName,
    Visibility,
    embedded::{Options, Store},
};
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Data and metadata of an event together.
const EVENT_BYTES: usize = 500;
const APPENDERS: u64 = 256;
const STREAM_EVENTS: u64 = 20;

struct Arguments {
    events: u64,
    streams: u64,
    directory: Option<PathBuf>,
    json: bool,
    child: bool,
}

fn arguments() -> Arguments {
    let mut found = Arguments {
        events: 2_000_000,
        streams: 0,
        directory: None,
        json: false,
        child: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .unwrap_or_else(|| panic!("{word} needs a value"))
        };
        match word.as_str() {
            "--events" => found.events = value().parse().expect("a number of events"),
            "--streams" => found.streams = value().parse().expect("a number of streams"),
            "--full" => found.events = 10_000_000,
            "--directory" => found.directory = Some(value().into()),
            "--json" => found.json = true,
            "--child" => found.child = true,
            // What cargo adds.
            "--bench" => {}
            _ => panic!("{word} is not an option: --events --streams --full --directory --json"),
        }
    }
    if found.streams == 0 {
        found.streams = (found.events / 10).max(10);
    }
    found
}

fn name(stream: u64) -> StreamName {
    let id =
        Uuid::from_u128(u128::from(stream).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    StreamName::new("order", id)
}

static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
const NOISE_BYTES: usize = 1024 * 1024;

fn noise() -> Vec<u8> {
    let mut noise = Vec::with_capacity(NOISE_BYTES + 16);
    let mut number = 1_u64;
    while noise.len() < NOISE_BYTES {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        noise.extend_from_slice(format!("{number:016x}").as_bytes());
    }
    noise
}

/// An event of about [`EVENT_BYTES`] that differs from any other.
fn event(number: u64) -> NewEvent {
    let id = Uuid::from_u128(u128::from(number) + 1);
    let metadata = format!(
        r#"{{"$correlationId":"{id}","$causationId":"{id}","recordedAt":"2026-01-01T00:00:00Z"}}"#
    );
    // From another place of the same noise each time: making it must not be what is measured.
    let noise = NOISE.get_or_init(noise);
    let from = (number.wrapping_mul(7_919) % (NOISE_BYTES - EVENT_BYTES) as u64) as usize;
    let mut data = format!(r#"{{"n":{number},"filler":""#).into_bytes();
    data.extend_from_slice(&noise[from..from + EVENT_BYTES]);
    data.truncate(EVENT_BYTES - metadata.len() - 2);
    data.extend_from_slice(b"\"}");
    NewEvent::raw(id, "order.placed.v1", data, metadata.into_bytes())
}

fn append(stream: StreamName, expected: ExpectedRevision, event: NewEvent) -> Append {
    Append {
        stream,
        expected,
        events: vec![event],
    }
}

/// Sorted; a share of it, and the value there.
struct Spread(Vec<Duration>);

impl Spread {
    fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    fn micros(&self, share: f64) -> f64 {
        let at = ((self.0.len() - 1) as f64 * share).round() as usize;
        self.0[at].as_secs_f64() * 1e6
    }
}

/// One figure beside its target.
struct Report {
    json: bool,
    lines: Vec<serde_json::Value>,
}

impl Report {
    fn add(&mut self, what: &str, unit: &str, value: f64, target: Option<(&str, f64)>) {
        let met = target.map(|(side, bound)| {
            if side == "≥" {
                value >= bound
            } else {
                value <= bound
            }
        });
        if !self.json {
            let target = target.map_or(String::new(), |(side, bound)| format!("{side} {bound}"));
            let met = met.map_or("", |met| if met { "met" } else { "MISSED" });
            println!("{what:<58} {value:>14.2} {unit:<10} {target:<12} {met}");
        }
        self.lines.push(json!({
            "what": what, "unit": unit, "value": value,
            "target": target.map(|(side, bound)| format!("{side} {bound}")), "met": met,
        }));
    }
}

/// One write and fdatasync at a time into a file that has been zeroed, as large as one event.
fn raw_disk(directory: &Path, bytes: usize, count: usize) -> Spread {
    let path = directory.join("raw");
    let file = fs::File::create(&path).unwrap();
    file.write_all_at(&vec![0; bytes * count], 0).unwrap();
    file.sync_all().unwrap();
    let block = vec![b'x'; bytes];
    let times = (0..count)
        .map(|at| {
            let begun = Instant::now();
            file.write_all_at(&block, (at * bytes) as u64).unwrap();
            file.sync_data().unwrap();
            begun.elapsed()
        })
        .collect();
    fs::remove_file(&path).unwrap();
    Spread::new(times)
}

async fn lone_appends(store: &Store, count: u64, stream: u64) -> Spread {
    let mut times = Vec::new();
    for number in 0..count {
        let expected = ExpectedRevision::after(number.checked_sub(1));
        let append = append(name(u64::MAX - stream), expected, event(number));
        let begun = Instant::now();
        let appended = store.append(vec![append]).await.pop().unwrap().unwrap();
        store
            .wait_durable(appended.position.unwrap())
            .await
            .unwrap();
        times.push(begun.elapsed());
    }
    Spread::new(times)
}

/// Appenders on streams of their own, each waiting for its event to be durable.
async fn crowd(store: &Arc<Store>, events: u64) -> (f64, Spread) {
    let each = events / APPENDERS;
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for appender in 0..APPENDERS {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(each as usize);
            let name = name((1 << 40) + appender);
            for number in 0..each {
                let expected = ExpectedRevision::after(number.checked_sub(1));
                let append = append(name.clone(), expected, event(appender * each + number));
                let begun = Instant::now();
                let appended = store.append(vec![append]).await.pop().unwrap().unwrap();
                store
                    .wait_durable(appended.position.unwrap())
                    .await
                    .unwrap();
                times.push(begun.elapsed());
            }
            times
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done.unwrap());
    }
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    (rate, Spread::new(times))
}

/// Fills the log: streams in blocks, in turn, so that a stream's events lie apart. Every tenth
/// stream gets [`STREAM_EVENTS`], the others what is left for them.
async fn load(store: &Store, events: u64, streams: u64) -> f64 {
    let begun = Instant::now();
    let mut revisions = vec![0_u64; streams as usize];
    let others = (events.saturating_sub(streams / 10 * STREAM_EVENTS) * 10).div_ceil(streams * 9);
    let mut written = 0;
    let mut first = 0;
    while first < streams {
        let block = first..(first + 10_000).min(streams);
        for round in 0..others.max(STREAM_EVENTS) {
            let all: Vec<u64> = block
                .clone()
                .filter(|stream| {
                    round
                        < if stream % 10 == 0 {
                            STREAM_EVENTS
                        } else {
                            others
                        }
                })
                .collect();
            for group in all.chunks(512) {
                let appends = group
                    .iter()
                    .map(|stream| {
                        let revision = &mut revisions[*stream as usize];
                        let expected = ExpectedRevision::after(revision.checked_sub(1));
                        *revision += 1;
                        written += 1;
                        append(name(*stream), expected, event(written))
                    })
                    .collect();
                for answer in store.append(appends).await {
                    answer.unwrap();
                }
            }
        }
        first = block.end;
    }
    let end = store.appended().await.unwrap();
    store.wait_durable(end).await.unwrap();
    written as f64 / begun.elapsed().as_secs_f64()
}

/// What this process has used of all processors, in seconds, to a hundredth.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn memory_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let anonymous = status.lines().find(|line| line.starts_with("RssAnon:"));
    anonymous
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0)
}

/// Loads the log and then waits to be killed.
async fn child(arguments: &Arguments) {
    let directory = arguments.directory.clone().unwrap();
    let store = Store::open(Options::new(directory)).unwrap();
    let rate = load(&store, arguments.events, arguments.streams).await;
    let stats = serde_json::to_value(store.stats()).unwrap();
    println!(
        "{}",
        json!({ "rate": rate, "memory_mib": memory_mib(), "stats": stats })
    );
    std::future::pending::<()>().await;
}

/// Loads a log in a child process and kills it with -9; what it said about it.
fn load_and_kill(directory: &Path, arguments: &Arguments) -> serde_json::Value {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--child", "--directory"])
        .arg(directory)
        .args(["--events", &arguments.events.to_string()])
        .args(["--streams", &arguments.streams.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    serde_json::from_str(&line).unwrap()
}

async fn streams_by_name(store: &Store, streams: u64) -> Spread {
    let mut times = Vec::new();
    for number in 0..20_000_u64 {
        let stream = name(number.wrapping_mul(7_919) % (streams / 10) * 10);
        let begun = Instant::now();
        let events = store
            .read_stream(
                &stream,
                None,
                Direction::Forward,
                Visibility::Durable,
                STREAM_EVENTS as usize,
            )
            .await
            .unwrap();
        times.push(begun.elapsed());
        assert_eq!(events.len() as u64, STREAM_EVENTS);
    }
    Spread::new(times)
}

async fn replay_through_port(store: &Store) -> f64 {
    let mut follower = store
        .subscribe(Position::START, Filter::All, Visibility::Durable)
        .await
        .unwrap();
    let begun = Instant::now();
    let mut seen = 0;
    while let Ok(batch) = follower.next().await {
        seen += batch.events.len();
        if batch.at_end {
            break;
        }
    }
    seen as f64 / begun.elapsed().as_secs_f64()
}

fn main() {
    let arguments = arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if arguments.child {
        runtime.block_on(child(&arguments));
        return;
    }
    let keep;
    let directory = if let Some(directory) = &arguments.directory {
        fs::create_dir_all(directory).unwrap();
        directory.clone()
    } else {
        keep = tempfile::tempdir_in(".").unwrap();
        keep.path().to_owned()
    };
    let mut report = Report {
        json: arguments.json,
        lines: Vec::new(),
    };
    measure(&runtime, &directory, &arguments, &mut report);
    if arguments.json {
        println!(
            "{}",
            json!({ "events": arguments.events, "figures": report.lines })
        );
    }
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    directory: &Path,
    arguments: &Arguments,
    report: &mut Report,
) {
    // Alone. In turn with the bare disk, so that both meet the same neighbours.
    let store = Arc::new(Store::open(Options::new(directory.join("alone"))).unwrap());
    runtime.block_on(lone_appends(&store, 500, 0));
    let before = store.stats();
    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    for round in 0..8 {
        raw.extend(raw_disk(directory, 640, 500).0);
        ours.extend(runtime.block_on(lone_appends(&store, 500, round + 1)).0);
    }
    let (raw, ours) = (Spread::new(raw), Spread::new(ours));
    let after = store.stats();
    report.add(
        "bare write + fdatasync, zeroed file, p50",
        "µs",
        raw.micros(0.5),
        None,
    );
    report.add("lone durable append, p50", "µs", ours.micros(0.5), None);
    let ratio = ours.micros(0.5) / raw.micros(0.5);
    report.add(
        "lone durable append / bare write",
        "ratio",
        ratio,
        Some(("≤", 1.5)),
    );
    let groups = (after.groups - before.groups) as f64;
    report.add(
        "fsyncs of the log per lone append",
        "",
        groups / 4000.0,
        Some(("≤", 1.0)),
    );

    // A crowd.
    let events = (arguments.events / 2).clamp(APPENDERS * 10, 3_000_000);
    let before = store.stats();
    let processor = processor_seconds();
    let (rate, times) = runtime.block_on(crowd(&store, events));
    let processor = processor_seconds() - processor;
    let after = store.stats();
    report.add(
        "durable events/s, 256 appenders",
        "events/s",
        rate,
        Some(("≥", 200_000.0)),
    );
    report.add("append among 256, p50", "µs", times.micros(0.5), None);
    report.add("append among 256, p99", "µs", times.micros(0.99), None);
    report.add(
        "append among 256, p99.9",
        "µs",
        times.micros(0.999),
        Some(("≤", 10_000.0)),
    );
    report.add("append among 256, longest", "µs", times.micros(1.0), None);
    let per_event = processor * 1e6 / events as f64;
    report.add(
        "processor time per durable event, bench included",
        "µs",
        per_event,
        None,
    );
    let per_group = events as f64 / (after.groups - before.groups) as f64;
    report.add("events per fsync", "", per_group, None);
    let per_event = (after.log_bytes - before.log_bytes) as f64 / events as f64;
    report.add("log bytes per event", "bytes", per_event, None);
    runtime.block_on(store.close()).unwrap();
    drop(store);
    fs::remove_dir_all(directory.join("alone")).unwrap();

    // A large log, killed and opened again.
    let log = directory.join("large");
    let told = load_and_kill(&log, arguments);
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or(0.0);
    report.add(
        "load, appends of 512 streams at a time",
        "events/s",
        number(&told["rate"]),
        None,
    );
    report.add(
        "memory after the load (anonymous)",
        "MiB",
        number(&told["memory_mib"]),
        None,
    );
    let before = memory_mib();
    let begun = Instant::now();
    let store = Store::open(Options::new(&log)).unwrap();
    let opened = begun.elapsed().as_secs_f64();
    let what = format!(
        "reopen after kill -9: {} events, {} streams",
        arguments.events, arguments.streams
    );
    report.add(&what, "s", opened, Some(("≤", 1.0)));
    let read_again = store.durable().commit - store.checkpointed().commit;
    report.add(
        "events read again on reopening",
        "events",
        read_again as f64,
        None,
    );
    assert!(
        store.durable().commit >= arguments.events,
        "events are missing"
    );
    report.add(
        "memory of the reopened log (anonymous)",
        "MiB",
        memory_mib() - before,
        None,
    );

    let mut best = 0_f64;
    for _ in 0..2 {
        let (mut seen, mut bytes) = (0_u64, 0);
        let begun = Instant::now();
        store
            .replay(|event| {
                seen += 1;
                bytes += event.data.len();
            })
            .unwrap();
        let rate = seen as f64 / begun.elapsed().as_secs_f64();
        assert!(bytes > 0 && seen >= arguments.events);
        best = best.max(rate);
    }
    report.add(
        "replay, checked, warm",
        "events/s",
        best,
        Some(("≥", 2_000_000.0)),
    );
    let rate = runtime.block_on(replay_through_port(&store));
    report.add(
        "replay through a subscription, one value per event",
        "events/s",
        rate,
        None,
    );
    let streams = arguments.streams;
    runtime.block_on(streams_by_name(&store, streams));
    let times = runtime.block_on(streams_by_name(&store, streams));
    let what = format!("stream of {STREAM_EVENTS} by name, p50");
    report.add(&what, "µs", times.micros(0.5), Some(("≤", 30.0)));
    report.add(&what.replace("p50", "p99"), "µs", times.micros(0.99), None);
    runtime.block_on(store.close()).unwrap();
    fs::remove_dir_all(&log).unwrap();
}
