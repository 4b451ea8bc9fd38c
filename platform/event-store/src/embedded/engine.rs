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
    core::{Admitted, Blocked, Core, End, Prepared, Wait},
    disk::Disk,
    header::StoreHeader,
    index::{Index, Keys, Marks},
    progress::{Progress, lock},
    scrub::Scrub,
    segments::Segments,
    syncing::Syncer,
    tail::{Bounds, Tail},
};
use crate::{AppendError, Position, StoreError, Visibility};

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
    /// How often the durable position could not be published to readers in other processes.
    pub unpublished: u64,
    /// How far the log was read to look for damage.
    pub scrub: Scrub,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) groups: AtomicU64,
    pub(super) fsyncs: AtomicU64,
    pub(super) log_bytes: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) unpublished: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

pub(super) struct Engine {
    pub(super) header: StoreHeader,
    pub(super) keys: Keys,
    pub(super) options: Options,
    pub(super) segment_bytes: u32,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) segments: Segments,
    pub(super) core: Mutex<Core>,
    pub(super) syncer: Mutex<Syncer>,
    pub(super) sync_work: Condvar,
    pub(super) ahead_work: Condvar,
    pub(super) scrub_work: Condvar,
    pub(super) scrubbed: Mutex<Scrub>,
    /// That the checkpoint of the index was taken away, and none may get its name any more.
    pub(super) disowned: Mutex<bool>,
    pub(super) appended: Progress,
    pub(super) durable: Progress,
    pub(super) ready: Progress,
    pub(super) counters: Counters,
    followers: Mutex<Vec<Arc<AtomicU64>>>,
    pub(super) opened_at: u64,
    pub(super) read_only: bool,
}

/// What a recovered log opens with.
pub(super) struct Opened {
    pub(super) header: StoreHeader,
    pub(super) index: Index,
    pub(super) marks: Marks,
    pub(super) end: End,
    pub(super) checkpointed: End,
    /// How far the folder said that the log was durable.
    pub(super) published: Option<u64>,
    pub(super) read_only: bool,
}

impl Engine {
    pub(super) fn new(disk: Arc<dyn Disk>, options: Options, opened: Opened) -> Self {
        let Opened { end, header, .. } = opened;
        Self {
            keys: Keys::new(header.files),
            segment_bytes: header.segment_bytes,
            header,
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
                is_published: true,
            }),
            sync_work: Condvar::new(),
            ahead_work: Condvar::new(),
            scrub_work: Condvar::new(),
            scrubbed: Mutex::new(Scrub {
                position: 0,
                of: end.position,
            }),
            disowned: Mutex::new(false),
            appended: Progress::starting_at(end.position),
            durable: Progress::starting_at(end.position),
            ready: Progress::starting_at(u64::from(end.location.segment())),
            counters: Counters::default(),
            followers: Mutex::new(Vec::new()),
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
            unpublished: read(&self.counters.unpublished),
            scrub: *lock(&self.scrubbed),
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
            let bounds = self.tail_bounds(core.tail.first());
            core.tail.shrink(bounds, written);
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

    /// Counts with somebody who follows the log and has had it up to `considered`. Where they
    /// are is to be kept in what this returns.
    pub(super) fn follow(&self, considered: u64) -> Arc<AtomicU64> {
        let place = Arc::new(AtomicU64::new(considered));
        lock(&self.followers).push(Arc::clone(&place));
        place
    }

    /// Counts no longer with a follower.
    pub(super) fn unfollow(&self, place: &Arc<AtomicU64>) {
        lock(&self.followers).retain(|other| !Arc::ptr_eq(other, place));
    }

    /// What of a tail that begins at `first` may go. Nothing is kept for who is not in it yet:
    /// they read from the files until they are.
    pub(super) fn tail_bounds(&self, first: u64) -> Bounds {
        let places = lock(&self.followers);
        let passed = places
            .iter()
            .map(|place| place.load(Ordering::Relaxed))
            .filter(|place| place + 1 >= first);
        Bounds {
            passed: passed.min().unwrap_or(u64::MAX),
            keep_bytes: self.options.tail_bytes,
            max_bytes: self.options.max_tail_bytes.max(self.options.tail_bytes),
        }
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
            (Some(StoreError::Failed(_) | StoreError::Corrupt { .. }), _)
            | (None, Visibility::Durable) => Ok(self.durable.get()),
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
            self.scrub_work.notify_all();
        }
        for progress in [&self.appended, &self.durable, &self.ready] {
            progress.end(&error);
        }
    }

    pub(super) fn fail(&self, doing: &str, error: &io::Error) -> StoreError {
        let error = StoreError::Failed(format!("cannot {doing}: {error}"));
        tracing::error!(%error, "the event store stops");
        self.end(error.clone());
        error
    }

    /// Lets the threads end, once everything appended is on disk.
    pub(super) fn stop(&self) {
        self.core().stopping = true;
        self.sync_work.notify_all();
        self.ahead_work.notify_all();
        self.scrub_work.notify_all();
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

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

pub(super) type Guard<'a> = std::sync::MutexGuard<'a, Core>;

pub(super) fn wait_on<'a>(condition: &Condvar, core: Guard<'a>) -> Guard<'a> {
    condition
        .wait(core)
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits for a word, a second at most.
pub(super) fn pause(condition: &Condvar, core: Guard<'_>) {
    drop(
        condition
            .wait_timeout(core, std::time::Duration::from_secs(1))
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    );
}
