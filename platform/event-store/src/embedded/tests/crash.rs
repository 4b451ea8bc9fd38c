//! Power lost, or the process killed, at every single change to the disk.
//!
//! Each run is a fixed workload up to one change; then the end comes in one of several ways,
//! the store is opened again and held against what had been promised, goes on, loses power
//! once more and is held against that too.

use std::{collections::BTreeMap, pin::pin, sync::Arc, task};

use super::{
    super::{OpenError, Options, Store, disk::SyncPoint},
    crash_disk::{Chance, CrashDisk, Loss},
    world::{event, small, to},
};
use crate::{
    Append, AppendError, Appended, Direction, EventStore, ExpectedRevision, Filter, LogId,
    Position, Read, RecordedEvent, StreamName, Visibility,
};

/// Finishes a call, doing the store's work by hand where it waits for it.
fn run<T>(store: &Store, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    let mut context = task::Context::from_waker(task::Waker::noop());
    loop {
        if let task::Poll::Ready(answer) = call.as_mut().poll(&mut context) {
            return Some(answer);
        }
        if !store.step().ok()? {
            return None;
        }
    }
}

fn append(store: &Store, append: Append) -> Option<Result<Appended, AppendError>> {
    run(store, store.append(vec![append]))?.pop()
}

fn read_all(store: &Store) -> Result<Vec<Arc<RecordedEvent>>, String> {
    let mut events = Vec::new();
    let mut from = Position::START;
    loop {
        let batch = run(
            store,
            store.read_all(Read {
                from: Some(from),
                direction: Direction::Forward,
                visibility: Visibility::Appended,
                filter: Filter::All,
                max_events: 100,
            }),
        )
        .ok_or("a read waits")?
        .map_err(|error| format!("cannot be read: {error}"))?;
        events.extend(batch.events);
        from = batch.considered;
        if batch.at_end {
            return Ok(events);
        }
    }
}

/// What was sent and what was promised.
#[derive(Clone, Debug, Default)]
struct Promises {
    /// The log as appended: stream and number of the event.
    log: Vec<(String, u64)>,
    durable: usize,
    checkpoint: Position,
    id: Option<LogId>,
    numbers: u64,
}

fn options() -> Options {
    Options {
        segment_bytes: 4096,
        max_append_bytes: 1500,
        max_unsynced_bytes: 3000,
        tail_bytes: 1024,
        max_tail_bytes: 1024,
        ..small("crash")
    }
}

impl Promises {
    /// Opens a store and believes it from then on.
    fn open(&mut self, disk: &CrashDisk) -> Result<Store, OpenError> {
        let store = Store::open_by_hand(Arc::new(disk.clone()), options())?;
        self.id.get_or_insert(store.log_id());
        Ok(store)
    }

    fn append(&mut self, store: &Store, chance: &mut Chance) -> bool {
        let name = ["order-1", "order-2", "stock-tea"][chance.below(3) as usize];
        let numbers: Vec<_> = (0..=chance.below(3)).map(|at| self.numbers + at).collect();
        self.numbers += numbers.len() as u64;
        let bytes = 10 + chance.below(400) as usize;
        let events = numbers.iter().map(|number| event(*number, bytes)).collect();
        let answer = append(store, to(name, ExpectedRevision::Any, events));
        let taken = matches!(answer, Some(Ok(_)));
        if taken {
            self.log
                .extend(numbers.iter().map(|number| (name.to_owned(), *number)));
        }
        self.durable = self.durable.max(store.durable().commit as usize);
        taken
    }

    /// A workload of appends, syncs, checkpoints and restarts, until the disk stops.
    fn work(&mut self, disk: &CrashDisk, seed: u64) -> Option<()> {
        let mut chance = Chance(seed);
        let mut store = self.open(disk).ok()?;
        for _ in 0..40 {
            match chance.below(12) {
                0..=6 => self.append(&store, &mut chance).then_some(())?,
                7..=9 => {
                    store.step().ok()?;
                }
                10 => {
                    let before = store.checkpointed();
                    store.checkpoint().ok()?;
                    // A checkpoint that cannot be written is not promised.
                    if store.checkpointed() > before && !disk.is_stopped() {
                        self.checkpoint = store.checkpointed();
                    }
                }
                _ => {
                    run(&store, store.close())?.ok()?;
                    self.checkpoint = store.checkpointed();
                    self.durable = self.log.len();
                    store = self.open(disk).ok()?;
                }
            }
            self.durable = self.durable.max(store.durable().commit as usize);
        }
        Some(())
    }

    /// Opens the store and holds it against the promises; then takes what it shows for
    /// promised, for so it says.
    fn check(&mut self, disk: &CrashDisk) -> Result<Store, String> {
        let expected = self.id;
        let store = self
            .open(disk)
            .map_err(|error| format!("does not open: {error}"))?;
        if expected.is_some_and(|id| id != store.log_id()) {
            return Err("it is another log".to_owned());
        }
        if store.checkpointed() < self.checkpoint {
            return Err(format!("checkpoint {} is gone", self.checkpoint));
        }
        let events = read_all(&store)?;
        if events.len() < self.durable {
            return Err(format!(
                "{} of {} events are there",
                events.len(),
                self.durable
            ));
        }
        if store.durable() != Position::dense(events.len() as u64) {
            return Err("not all that is there counts as durable".to_owned());
        }
        let mut streams = BTreeMap::<String, Vec<u64>>::new();
        for (at, (read, (name, number))) in events.iter().zip(&self.log).enumerate() {
            let stream = streams.entry(name.clone()).or_default();
            let sent = event(*number, read.event.data.len());
            if read.position != Position::dense(at as u64 + 1)
                || read.stream.as_str() != name
                || read.revision != stream.len() as u64
                || read.event.id != sent.id
                || read.event.data != sent.data
            {
                return Err(format!("event {} is not the one that was sent", at + 1));
            }
            stream.push(read.position.commit);
        }
        if events.len() > self.log.len() {
            return Err("there are events that nobody sent".to_owned());
        }
        for (name, positions) in streams {
            let name = StreamName::parse(&name).unwrap();
            let all = usize::MAX;
            let read = store.read_stream(&name, None, Direction::Forward, Visibility::Durable, all);
            let read = run(&store, read).ok_or("a read waits")?;
            let read = read.map_err(|error| format!("{name} cannot be read: {error}"))?;
            let read: Vec<_> = read.iter().map(|event| event.position.commit).collect();
            if read != positions {
                return Err(format!("{name} is {read:?}, not {positions:?}"));
            }
        }
        self.log.truncate(events.len());
        self.durable = events.len();
        Ok(store)
    }

    /// Goes on for a while after a restart, all of it made durable.
    fn go_on(&mut self, store: &Store) -> Result<(), String> {
        let mut chance = Chance(self.numbers);
        for _ in 0..4 {
            if !self.append(store, &mut chance) {
                return Err("appends are refused".to_owned());
            }
        }
        while store
            .step()
            .map_err(|error| format!("does not go on: {error}"))?
        {}
        self.durable = self.log.len();
        Ok(())
    }
}

/// How a run ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Power(Loss),
    /// Killed and started again, and only then the power is lost.
    KillThenPower,
}

/// What breaks when the `cut`th change is the last one; how many changes there were.
fn run_once(
    seed: u64,
    cut: Option<u64>,
    end: End,
    left_out: Option<SyncPoint>,
) -> Result<u64, String> {
    let disk = CrashDisk::stopping_at(cut, left_out);
    let mut promises = Promises::default();
    promises.work(&disk, seed);
    let operations = disk.operations();
    let mut disk = match end {
        End::Power(loss) => disk.lose_power(loss),
        End::KillThenPower => {
            let killed = disk.kill();
            let store = promises.check(&killed)?;
            // Whatever it shows it has promised, so it must be there without power too.
            drop(store);
            killed.lose_power(Loss::Everything)
        }
    };
    for round in 0..2 {
        let store = promises.check(&disk)?;
        promises.go_on(&store)?;
        let loss = if round == 0 {
            Loss::Everything
        } else {
            Loss::Torn(seed)
        };
        disk = disk.lose_power(loss);
    }
    promises.check(&disk)?;
    Ok(operations)
}

/// Each change of a workload as the last one, each way to end. How many runs, and what broke.
fn explore(seeds: std::ops::Range<u64>, left_out: Option<SyncPoint>) -> Result<u64, String> {
    let mut runs = 0;
    for seed in seeds {
        let whole = run_once(seed, None, End::Power(Loss::Everything), left_out)?;
        for cut in 1..=whole {
            for end in [
                End::Power(Loss::Everything),
                End::KillThenPower,
                End::Power(Loss::Torn(seed * 1000 + cut)),
                End::Power(Loss::Torn(seed * 2000 + cut)),
            ] {
                runs += 1;
                run_once(seed, Some(cut), end, left_out).map_err(|what| {
                    format!("seed {seed}, change {cut} of {whole}, {end:?}: {what}")
                })?;
            }
        }
    }
    Ok(runs)
}

#[test]
fn whatever_was_acknowledged_survives_a_crash_at_any_change_to_the_disk() {
    let runs = explore(0..24, None).unwrap();
    println!("{runs} crashes survived");
    assert!(runs > 2000, "only {runs} crashes were tried");
}

#[test]
fn each_sync_is_needed() {
    for point in SyncPoint::ALL {
        let found = explore(0..24, Some(point));
        println!("without {point:?}: {found:?}");
        assert!(
            found.is_err(),
            "nothing breaks without the sync of {point:?}"
        );
    }
}
