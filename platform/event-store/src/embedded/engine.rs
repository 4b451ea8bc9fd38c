//! The log while it is open: what takes events in and what brings them to disk.
//!
//! ```text
//! append ─▶ [conflict check, position, frame, tail]   one short critical section
//!                     │ pending groups
//!                     ▼
//! sync_step ─▶ write ─▶ sync ─▶ durable               one group at a time, in order
//! ahead_step ─▶ the next segment, zeroed before it is needed; checkpoints of the index
//! ```
//!
//! Nothing here starts a thread: [`Store`](super::Store) calls the steps from two of its own,
//! a test calls them by hand.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Options,
    checkpoint::Snapshot,
    disk::{Disk, File, SyncPoint},
    format::{
        DurableMark, GROUP_HEADER, GroupHeader, Location, SEGMENT_HEADER, SegmentHeader,
        encode_event, segment_name,
    },
    index::{Index, Keys, Marks, StreamKey},
    progress::{Progress, lock},
    segments::Segments,
    tail::{Tail, TailEvent},
};
use crate::{
    AppendError, Appended, ExpectedRevision, LogId, NewEvent, Position, RecordedEvent, StoreError,
    StreamName, Visibility,
};

/// What one event in memory costs beyond its bytes, roughly.
const TAIL_EVENT_OVERHEAD_BYTES: usize = 320;
/// How much is zeroed or checkpointed between two looks at the disk.
const AHEAD_WRITE_BYTES: usize = 1024 * 1024;

/// The end of the log, where the next group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Of the last event.
    pub(super) position: u64,
    pub(super) location: Location,
    pub(super) chain: u32,
}

/// Events on their way to disk: one write, one sync.
#[derive(Debug)]
struct Pending {
    location: Location,
    /// Room for the headers, then the events.
    bytes: Vec<u8>,
    opens_segment: bool,
    first: u64,
    count: u32,
    digest: u32,
}

impl Pending {
    fn headers(&self) -> usize {
        GROUP_HEADER
            + if self.opens_segment {
                SEGMENT_HEADER
            } else {
                0
            }
    }
}

/// What appenders and readers share, under one lock.
pub(super) struct Core {
    pub(super) index: Index,
    pub(super) marks: Marks,
    pub(super) tail: Tail,
    pub(super) next_position: u64,
    segment: u32,
    offset: u32,
    /// The last segment that is there to be written.
    ready: u32,
    pending: VecDeque<Pending>,
    spare: Vec<Vec<u8>>,
    unsynced_bytes: usize,
    /// No room: appends are refused until there is.
    full: Option<String>,
    ended: Option<StoreError>,
    stopping: bool,
    sync_idle: bool,
    /// Where the durable part of the log ends.
    pub(super) durable_end: End,
    /// Of the last checkpoint that was made.
    pub(super) checkpointed: End,
    /// Of the last that was begun: the next is due a good way after it.
    checkpoint_begun: End,
}

/// What only the sync step touches.
struct Syncer {
    chain: u32,
    segment: u32,
    file: Option<Arc<dyn File>>,
    durable_mark: Option<Arc<dyn File>>,
}

/// An append made ready outside of the lock.
pub(super) struct Prepared {
    pub(super) key: StreamKey,
    pub(super) stream: StreamName,
    pub(super) expected: ExpectedRevision,
    pub(super) events: Vec<NewEvent>,
    /// In the log.
    pub(super) bytes: usize,
}

/// What became of an append.
pub(super) enum Admitted {
    Done(Result<Appended, AppendError>),
    /// The stream is further than expected, from this revision on: a conflict, or a repeat.
    Behind {
        from: u64,
        actual: Option<u64>,
    },
}

/// What an append has to wait for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    Durable(u64),
    Segment(u64),
}

/// What the store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Groups written; each is one fsync that appenders wait for.
    pub groups: u64,
    /// Every fsync, those for segments and checkpoints ahead of need included.
    pub fsyncs: u64,
    /// Bytes of log written, headers included.
    pub log_bytes: u64,
    /// All bytes written: the log, the zeros ahead of it and the checkpoints.
    pub written_bytes: u64,
    /// Events appended.
    pub events: u64,
    /// Streams that the index knows.
    pub streams: u64,
    /// Bytes of events in memory.
    pub tail_bytes: u64,
    /// Checkpoints of the index made.
    pub checkpoints: u64,
}

#[derive(Default)]
struct Counters {
    groups: AtomicU64,
    fsyncs: AtomicU64,
    log_bytes: AtomicU64,
    written_bytes: AtomicU64,
    checkpoints: AtomicU64,
}

fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

pub(super) struct Engine {
    pub(super) log: LogId,
    pub(super) keys: Keys,
    pub(super) options: Options,
    pub(super) segment_bytes: u32,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) segments: Segments,
    core: Mutex<Core>,
    syncer: Mutex<Syncer>,
    sync_work: Condvar,
    ahead_work: Condvar,
    pub(super) appended: Progress,
    pub(super) durable: Progress,
    ready: Progress,
    counters: Counters,
    opened_at: u64,
    read_only: bool,
}

/// What a recovered log opens with.
pub(super) struct Opened {
    pub(super) log: LogId,
    pub(super) segment_bytes: u32,
    pub(super) index: Index,
    pub(super) marks: Marks,
    pub(super) end: End,
    pub(super) checkpointed: End,
    pub(super) read_only: bool,
}

impl Engine {
    pub(super) fn new(disk: Arc<dyn Disk>, options: Options, opened: Opened) -> Self {
        let Opened {
            end, segment_bytes, ..
        } = opened;
        Self {
            log: opened.log,
            keys: Keys::new(opened.log),
            segment_bytes,
            segments: Segments::new(Arc::clone(&disk), options.max_open_segments),
            core: Mutex::new(Core {
                index: opened.index,
                marks: opened.marks,
                tail: Tail::starting_at(end.position + 1),
                next_position: end.position + 1,
                segment: end.location.segment(),
                offset: end.location.offset(),
                ready: end.location.segment(),
                pending: VecDeque::new(),
                spare: Vec::new(),
                unsynced_bytes: 0,
                full: None,
                ended: None,
                stopping: false,
                sync_idle: false,
                durable_end: end,
                checkpointed: opened.checkpointed,
                checkpoint_begun: opened.checkpointed,
            }),
            syncer: Mutex::new(Syncer {
                chain: end.chain,
                segment: 0,
                file: None,
                durable_mark: None,
            }),
            sync_work: Condvar::new(),
            ahead_work: Condvar::new(),
            appended: Progress::starting_at(end.position),
            durable: Progress::starting_at(end.position),
            ready: Progress::starting_at(u64::from(end.location.segment())),
            counters: Counters::default(),
            opened_at: end.position,
            read_only: opened.read_only,
            disk,
            options,
        }
    }

    pub(super) fn core(&self) -> std::sync::MutexGuard<'_, Core> {
        lock(&self.core)
    }

    pub(super) fn stats(&self) -> Stats {
        let core = self.core();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            groups: read(&self.counters.groups),
            fsyncs: read(&self.counters.fsyncs),
            log_bytes: read(&self.counters.log_bytes),
            written_bytes: read(&self.counters.written_bytes),
            checkpoints: read(&self.counters.checkpoints),
            events: core.next_position - 1 - self.opened_at,
            streams: core.index.streams() as u64,
            tail_bytes: core.tail.bytes() as u64,
        }
    }

    /// Takes as many appends off the front as there is room for. What it returns has to be
    /// waited for before the rest.
    pub(super) fn admit(
        &self,
        queue: &mut VecDeque<Prepared>,
        mut answer: impl FnMut(Admitted, Prepared),
    ) -> Option<Wait> {
        let mut core = self.core();
        let before = core.next_position;
        let mut wait = None;
        while let Some(append) = queue.front() {
            match core.room(append.bytes, self) {
                Ok(()) => {}
                Err(Blocked::Wait(blocked)) => {
                    wait = Some(blocked);
                    break;
                }
                Err(Blocked::Refused(error)) => {
                    if let Some(append) = queue.pop_front() {
                        answer(Admitted::Done(Err(AppendError::Store(error))), append);
                    }
                    continue;
                }
            }
            let Some(mut append) = queue.pop_front() else {
                break;
            };
            let admitted = core.take(&mut append, self);
            answer(admitted, append);
        }
        let appended = core.next_position - 1;
        if core.next_position != before {
            let written = self.durable.get();
            core.tail.shrink(self.options.tail_bytes, written);
            if core.sync_idle {
                core.sync_idle = false;
                self.sync_work.notify_one();
            }
        }
        if core.needs_segment() {
            self.ahead_work.notify_one();
        }
        drop(core);
        self.appended.advance(appended);
        wait
    }

    pub(super) async fn wait(&self, wait: Wait) -> Result<(), StoreError> {
        match wait {
            Wait::Durable(position) => self.durable.reach_or_nudge(position).await,
            Wait::Segment(number) => self.ready.reach_or_nudge(number).await,
        }
    }

    /// Waits until there is something after `position` to be seen.
    pub(super) async fn wait_for_more(
        &self,
        position: u64,
        visibility: Visibility,
    ) -> Result<(), StoreError> {
        let ended = self.core().ended.clone();
        match (ended, visibility) {
            // What was appended and never became durable is not to be waited for.
            (Some(error), _) => Err(error),
            (None, Visibility::Appended) => self.appended.reach(position + 1).await,
            (None, Visibility::Durable) => self.durable.reach(position + 1).await,
        }
    }

    /// How far a reader sees.
    pub(super) fn visible(&self, core: &Core, visibility: Visibility) -> Result<u64, StoreError> {
        match (&core.ended, visibility) {
            (Some(StoreError::Failed(_)), _) | (None, Visibility::Durable) => {
                Ok(self.durable.get())
            }
            (None, Visibility::Appended) => Ok(core.next_position - 1),
            (Some(error), _) => Err(error.clone()),
        }
    }

    /// Nothing more is taken; what waits gets `error`.
    pub(super) fn end(&self, error: StoreError) {
        {
            let mut core = self.core();
            if core.ended.is_some() {
                return;
            }
            core.ended = Some(error.clone());
            self.sync_work.notify_all();
            self.ahead_work.notify_all();
        }
        for progress in [&self.appended, &self.durable, &self.ready] {
            progress.end(&error);
        }
    }

    fn fail(&self, doing: &str, error: &io::Error) -> StoreError {
        let error = StoreError::Failed(format!("cannot {doing}: {error}"));
        tracing::error!(%error, "the event store stops");
        self.end(error.clone());
        error
    }

    /// Writes and syncs the oldest pending group, if there is one. Whether there was.
    pub(super) fn sync_step(&self) -> Result<bool, StoreError> {
        let mut syncer = lock(&self.syncer);
        let mut group = {
            let mut core = self.core();
            if let Some(error) = &core.ended {
                return Err(error.clone());
            }
            match core.pending.pop_front() {
                Some(group) => group,
                None => return Ok(false),
            }
        };
        let last = group.first + u64::from(group.count) - 1;
        let chain = self.seal(&mut group, syncer.chain);
        match self.write(&mut syncer, &group) {
            Ok(()) => {}
            Err((doing, error)) if is_full(&error) && doing == WRITING => {
                // Nothing is lost: the group stays first in line, and readers see it meanwhile.
                let mut core = self.core();
                core.pending.push_front(group);
                let message = format!("cannot {doing}: {error}");
                core.full = Some(message.clone());
                drop(core);
                self.durable.nudge();
                return Err(StoreError::Full(message));
            }
            Err((doing, error)) => return Err(self.fail(&doing, &error)),
        }
        syncer.chain = chain;
        count(&self.counters.groups, 1);
        count(&self.counters.fsyncs, 1);
        count(&self.counters.log_bytes, group.bytes.len());
        count(&self.counters.written_bytes, group.bytes.len());
        {
            let mut core = self.core();
            core.unsynced_bytes = core.unsynced_bytes.saturating_sub(group.bytes.len());
            core.full = None;
            core.durable_end = End {
                position: last,
                location: group.end(),
                chain,
            };
            core.tail.shrink(self.options.tail_bytes, last);
            if self.checkpoint_due(&core) {
                self.ahead_work.notify_one();
            }
            let mut bytes = group.bytes;
            bytes.clear();
            if core.spare.len() < 2 && bytes.capacity() <= self.options.max_unsynced_bytes {
                core.spare.push(bytes);
            }
        }
        self.durable.advance(last);
        self.publish_durable(&mut syncer, last);
        Ok(true)
    }

    /// Fills in the headers; the chain after the group.
    #[expect(clippy::cast_possible_truncation, reason = "a group fits in a segment")]
    fn seal(&self, group: &mut Pending, chain: u32) -> u32 {
        let headers = group.headers();
        let header = GroupHeader {
            chain,
            body_bytes: (group.bytes.len() - headers) as u32,
            count: group.count,
            digest: group.digest,
            first: group.first,
            durable_before: self.durable.get(),
        };
        let mut encoded = Vec::with_capacity(headers);
        if group.opens_segment {
            let segment = SegmentHeader {
                log: self.log,
                number: group.location.segment(),
                first: group.first,
                chain,
            };
            encoded.extend_from_slice(&segment.encode());
        }
        encoded.extend_from_slice(&header.encode());
        if let Some(place) = group.bytes.get_mut(..headers) {
            place.copy_from_slice(&encoded);
        }
        header.chained()
    }

    fn write(&self, syncer: &mut Syncer, group: &Pending) -> Result<(), (String, io::Error)> {
        let segment = group.location.segment();
        if syncer.segment != segment || syncer.file.is_none() {
            let file = self
                .disk
                .open(&segment_name(segment), true)
                .map_err(|error| (format!("open {}", segment_name(segment)), error))?;
            syncer.file = Some(file);
            syncer.segment = segment;
        }
        let Some(file) = &syncer.file else {
            return Ok(());
        };
        file.write_at(u64::from(group.location.offset()), &group.bytes)
            .map_err(|error| (WRITING.to_owned(), error))?;
        file.sync(SyncPoint::Group)
            .map_err(|error| (format!("sync {}", segment_name(segment)), error))
    }

    /// Tells a reader in another process. Only ever after the sync, and never synced itself:
    /// what it says is true whenever it was written, so its loss is a reader that sees less.
    fn publish_durable(&self, syncer: &mut Syncer, position: u64) {
        if syncer.durable_mark.is_none() {
            let file = self
                .disk
                .open(super::DURABLE, true)
                .or_else(|_| self.disk.create(super::DURABLE));
            match file {
                Ok(file) => syncer.durable_mark = Some(file),
                Err(error) => tracing::debug!(%error, "the durable position is not published"),
            }
        }
        let mark = DurableMark {
            position,
            log: self.log.0.as_u64_pair().0,
        };
        if let Some(file) = &syncer.durable_mark
            && let Err(error) = file.write_at(0, &mark.encode())
        {
            tracing::debug!(%error, "the durable position is not published");
        }
    }

    /// Publishes where the log is durable as it was recovered.
    pub(super) fn publish_recovered(&self) {
        let position = self.durable.get();
        self.publish_durable(&mut lock(&self.syncer), position);
    }

    /// Makes the next segment ready, or a checkpoint where one is due. Whether it did anything.
    pub(super) fn ahead_step(&self) -> Result<bool, StoreError> {
        let next = {
            let core = self.core();
            if let Some(error) = &core.ended {
                return Err(error.clone());
            }
            core.needs_segment().then_some(core.ready + 1)
        };
        if let Some(number) = next {
            return match self.prepare(number) {
                Ok(()) => {
                    let mut core = self.core();
                    core.ready = number;
                    core.full = None;
                    drop(core);
                    self.ready.advance(u64::from(number));
                    Ok(true)
                }
                Err(error) if is_full(&error) => {
                    let message = format!("cannot make {}: {error}", segment_name(number));
                    self.core().full = Some(message.clone());
                    // Whoever waits for the segment is told, and may come again.
                    self.ready.nudge();
                    Err(StoreError::Full(message))
                }
                Err(error) => Err(self.fail(&format!("make {}", segment_name(number)), &error)),
            };
        }
        let due = self.checkpoint_due(&self.core());
        if due { self.checkpoint() } else { Ok(false) }
    }

    /// Creates a segment and writes zeros all over it, so that a group later overwrites blocks
    /// that are there: a third of the cost of a first write.
    fn prepare(&self, number: u32) -> io::Result<()> {
        let name = segment_name(number);
        let file = match self.disk.open(&name, true) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk.create(&name)?,
            Err(error) => return Err(error),
        };
        // What is there already was found to be zeros when the log was opened.
        let mut at = file.size()?.min(u64::from(self.segment_bytes));
        file.allocate(u64::from(self.segment_bytes))?;
        let zeros = vec![0; AHEAD_WRITE_BYTES.min(self.segment_bytes as usize)];
        while at < u64::from(self.segment_bytes) {
            let left = u64::from(self.segment_bytes) - at;
            let piece = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
            file.write_at(at, zeros.get(..piece).unwrap_or_default())?;
            file.write_back()?;
            count(&self.counters.written_bytes, piece);
            count(&self.counters.fsyncs, 1);
            at += piece as u64;
        }
        count(&self.counters.fsyncs, 1);
        self.disk.sync_names(SyncPoint::SegmentName)
    }

    fn checkpoint_due(&self, core: &Core) -> bool {
        let distance = self.distance(core.checkpoint_begun, core.durable_end);
        // Four times its own size: it never makes up more than a fifth of what is written.
        let index_bytes = core.index.streams() as u64 * 32;
        distance >= self.options.checkpoint_bytes.max(index_bytes * 4)
    }

    fn distance(&self, from: End, to: End) -> u64 {
        let at = |end: End| {
            u64::from(end.location.segment()) * u64::from(self.segment_bytes)
                + u64::from(end.location.offset())
        };
        at(to).saturating_sub(at(from))
    }

    /// Writes out the index as of what is durable, if the log went on since the last time.
    pub(super) fn checkpoint(&self) -> Result<bool, StoreError> {
        let (start, marks) = {
            let mut core = self.core();
            core.checkpoint_begun = core.durable_end;
            if core.durable_end == core.checkpointed {
                return Ok(false);
            }
            (core.durable_end, core.marks.clone())
        };
        let made = Snapshot::write(self, start, &marks);
        match made {
            Ok(written) => {
                self.core().checkpointed = start;
                count(&self.counters.checkpoints, 1);
                count(&self.counters.written_bytes, written.bytes);
                count(&self.counters.fsyncs, written.fsyncs);
                Ok(true)
            }
            Err(super::checkpoint::WriteError::Ended(error)) => Err(error),
            Err(super::checkpoint::WriteError::Io(error)) => {
                // The log does not need it: a start only reads more. Tried again when as much
                // log again is written.
                tracing::warn!(%error, "the checkpoint of the event store's index is not written");
                Ok(false)
            }
        }
    }

    /// For the thread that syncs: until the store stops or fails.
    pub(super) fn run_sync(&self) {
        loop {
            {
                let mut core = self.core();
                while core.pending.is_empty() && !core.stopping && core.ended.is_none() {
                    core.sync_idle = true;
                    core = wait_on(&self.sync_work, core);
                }
                core.sync_idle = false;
                if core.ended.is_some() || (core.stopping && core.pending.is_empty()) {
                    return;
                }
            }
            match self.sync_step() {
                Ok(_) => {}
                Err(StoreError::Full(_)) => {
                    let core = self.core();
                    if core.stopping {
                        return;
                    }
                    pause(&self.sync_work, core);
                }
                Err(_) => return,
            }
        }
    }

    /// For the thread that works ahead: until the store stops or fails.
    pub(super) fn run_ahead(&self) {
        loop {
            {
                let core = self.core();
                if core.stopping || core.ended.is_some() {
                    return;
                }
            }
            match self.ahead_step() {
                Ok(true) => {}
                Ok(false) => {
                    let core = self.core();
                    let idle = !core.needs_segment() && !self.checkpoint_due(&core);
                    if idle && !core.stopping && core.ended.is_none() {
                        drop(wait_on(&self.ahead_work, core));
                    }
                }
                Err(StoreError::Full(_)) => {
                    let core = self.core();
                    if !core.stopping {
                        pause(&self.ahead_work, core);
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Lets the threads end, once everything appended is on disk.
    pub(super) fn stop(&self) {
        self.core().stopping = true;
        self.sync_work.notify_all();
        self.ahead_work.notify_all();
    }

    /// The last position that has its place in the log.
    pub(super) fn last_appended(&self) -> Result<Position, StoreError> {
        let core = self.core();
        self.visible(&core, Visibility::Appended)
            .map(Position::dense)
    }

    /// Takes no more appends, though what is appended is still brought to disk.
    pub(super) fn refuse_appends(&self) {
        self.core().stopping = true;
    }
}

const WRITING: &str = "write to the log";

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

type Guard<'a> = std::sync::MutexGuard<'a, Core>;

fn wait_on<'a>(condition: &Condvar, core: Guard<'a>) -> Guard<'a> {
    condition
        .wait(core)
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits for a word, a second at most.
fn pause(condition: &Condvar, core: Guard<'_>) {
    drop(
        condition
            .wait_timeout(core, std::time::Duration::from_secs(1))
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    );
}

impl Pending {
    #[expect(clippy::cast_possible_truncation, reason = "a group fits in a segment")]
    fn end(&self) -> Location {
        Location::new(
            self.location.segment(),
            self.location.offset() + self.bytes.len() as u32,
        )
    }
}

enum Blocked {
    Wait(Wait),
    Refused(StoreError),
}

impl Core {
    fn needs_segment(&self) -> bool {
        self.ready <= self.segment
    }

    /// Whether `bytes` of events can be taken now.
    fn room(&self, bytes: usize, engine: &Engine) -> Result<(), Blocked> {
        if let Some(error) = &self.ended {
            return Err(Blocked::Refused(error.clone()));
        }
        if engine.read_only {
            return Err(Blocked::Refused(StoreError::Unavailable(
                "it is open to be read only".to_owned(),
            )));
        }
        if self.stopping {
            return Err(Blocked::Refused(StoreError::Closed));
        }
        let fits = self.fits(bytes, engine.segment_bytes);
        if let Some(message) = &self.full
            && (!fits && self.needs_segment() || !self.pending.is_empty())
        {
            return Err(Blocked::Refused(StoreError::Full(message.clone())));
        }
        if self.unsynced_bytes >= engine.options.max_unsynced_bytes {
            return Err(Blocked::Wait(Wait::Durable(engine.durable.get() + 1)));
        }
        // An append that could only be written to a segment that may never be is not taken:
        // so what is taken always has its place on disk.
        if !fits && self.needs_segment() {
            return Err(Blocked::Wait(Wait::Segment(u64::from(self.segment) + 1)));
        }
        Ok(())
    }

    fn fits(&self, bytes: usize, segment_bytes: u32) -> bool {
        let header = if self.pending.is_empty() {
            GROUP_HEADER
        } else {
            0
        };
        self.offset as usize + header + bytes <= segment_bytes as usize
    }

    fn take(&mut self, append: &mut Prepared, engine: &Engine) -> Admitted {
        let head = self.index.head(&append.key);
        let next = head.map_or(0, |head| head.next_revision);
        let from = match append.expected {
            ExpectedRevision::Any => next,
            ExpectedRevision::NoStream => 0,
            ExpectedRevision::Exact(revision) => revision.saturating_add(1),
        };
        let actual = next.checked_sub(1);
        if from < next {
            return Admitted::Behind { from, actual };
        }
        if from > next {
            return Admitted::Done(Err(AppendError::WrongExpectedRevision { actual }));
        }
        if !self.fits(append.bytes, engine.segment_bytes) {
            self.segment += 1;
            self.offset = 0;
        }
        self.open_group(append.bytes);
        let mut previous = head.map_or(Location::NONE, |head| head.last);
        let mut appended = Err(AppendError::Empty);
        for (revision, event) in (next..).zip(std::mem::take(&mut append.events)) {
            appended = Ok(self.push(append, revision, &mut previous, event));
        }
        Admitted::Done(appended)
    }

    /// Makes the last pending group one that can take events at the current place.
    fn open_group(&mut self, bytes: usize) {
        let continues = self
            .pending
            .back()
            .is_some_and(|group| group.location.segment() == self.segment);
        if continues {
            return;
        }
        let mut group = Pending {
            location: Location::new(self.segment, self.offset),
            bytes: self.spare.pop().unwrap_or_default(),
            opens_segment: self.offset == 0,
            first: self.next_position,
            count: 0,
            digest: 0,
        };
        let headers = group.headers();
        group.bytes.reserve(headers + bytes);
        group.bytes.resize(headers, 0);
        self.unsynced_bytes += headers;
        self.offset += if group.opens_segment {
            const { (GROUP_HEADER + SEGMENT_HEADER) as u32 }
        } else {
            const { GROUP_HEADER as u32 }
        };
        self.pending.push_back(group);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "an event fits in a segment"
    )]
    fn push(
        &mut self,
        append: &Prepared,
        revision: u64,
        previous: &mut Location,
        event: NewEvent,
    ) -> Appended {
        let position = self.next_position;
        self.next_position += 1;
        let location = Location::new(self.segment, self.offset);
        if let Some(group) = self.pending.back_mut() {
            let before = group.bytes.len();
            let crc = encode_event(
                &mut group.bytes,
                position,
                revision,
                *previous,
                append.stream.as_str(),
                &event,
            );
            group.digest = crc32c::crc32c_append(group.digest, &crc.to_le_bytes());
            group.count += 1;
            let bytes = group.bytes.len() - before;
            self.unsynced_bytes += bytes;
            self.offset += bytes as u32;
        }
        self.index.apply(append.key, revision, location);
        self.marks.note(position, location);
        let bytes = TAIL_EVENT_OVERHEAD_BYTES
            + append.stream.as_str().len()
            + event.data.len()
            + event.metadata.len();
        let recorded: RecordedEvent =
            event.record(Position::dense(position), append.stream.clone(), revision);
        self.tail.push(TailEvent {
            event: Arc::new(recorded),
            location,
            previous: *previous,
            bytes,
        });
        *previous = location;
        Appended {
            revision,
            position: Some(Position::dense(position)),
        }
    }
}
