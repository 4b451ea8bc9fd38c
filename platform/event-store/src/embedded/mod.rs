//! The embedded adapter: one log in segment files, and an index of its streams in memory.
//!
//! ```text
//! append ──▶ lock: conflict check, position, frame ──▶ tail in memory ──▶ readers, at once
//!                         │ group of what is waiting
//!                         ▼
//!               write + fdatasync ──▶ durable position ──▶ whoever waits for it
//! ```
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`engine`] | the open log; [`core`]: taking events in; [`syncing`]: bringing them to disk; [`ahead`]: what is done before it is needed |
//! | [`format`], [`header`] | how the log lies in its files, and what makes it recoverable |
//! | [`recovery`], [`scan`] | opening after however the last process ended |
//! | [`checkpoint`] | the index written out, so that a start reads little; [`scrub`] reads the rest |
//! | [`backup`] | a copy of the log, and a log of the copy |
//! | [`index`] | where each stream ends, where each position is |
//! | [`growth`] | how large the log is and how it grows |
//! | [`tail`] | the newest events, decoded, in memory |
//! | [`reading`], [`subscription`] | streams, the whole log, and following it |
//! | [`disk`], [`files`] | the file trait, and the operating system's files behind it |
//!
//! Why it is made this way and how fast it is: `docs/decisions/0001-embedded-event-store.md`.

mod ahead;
pub mod backup;
mod checkpoint;
mod core;
pub mod disk;
mod engine;
mod files;
mod format;
mod growth;
mod header;
mod index;
mod options;
mod progress;
mod reading;
mod recovery;
mod scan;
mod scrub;
mod segments;
mod subscription;
mod syncing;
mod tail;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use async_trait::async_trait;

use self::{
    core::{Admitted, Prepared},
    engine::Engine,
    format::{GROUP_HEADER, MAX_TYPE_BYTES, SEGMENT_HEADER, event_bytes},
    options::doing,
    progress::lock,
    subscription::Follower,
};
pub use self::{
    engine::Stats,
    files::Folder,
    growth::{Growth, Size},
    options::{MAX_SEGMENT_BYTES, OpenError, Options},
    scrub::Scrub,
};
use crate::{
    Append, AppendError, Appended, Batch, Direction, EventStore, Filter, LogId, Position, Read,
    RecordedEvent, StoreError, StreamName, Subscription, Visibility,
};

const HEADER: &str = "store";
const HEADER_NEW: &str = "store.new";
const LOCK: &str = "lock";
const DURABLE: &str = "durable";

/// A log in a folder of this machine. One process at a time writes it.
pub struct Store {
    engine: Arc<Engine>,
    /// Frees the folder when dropped, after the threads have ended.
    folder: Mutex<Option<recovery::Lock>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    published: Option<u64>,
}

impl Store {
    /// Opens the log in a folder, and creates it where there is none. What it holds is durable
    /// when this returns. Blocks: some milliseconds, up to a second for a large log after a
    /// crash.
    ///
    /// # Errors
    /// [`OpenError`] says which and what to do about it.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let disk = Arc::new(Folder::new(&options.directory));
        let store = Self::open_by_hand(disk, options)?;
        store.start_threads()?;
        Ok(store)
    }

    fn start_threads(&self) -> Result<(), OpenError> {
        let work: [fn(&Engine); 3] = [Engine::run_sync, Engine::run_ahead, Engine::run_scrub];
        let names = ["event-store-sync", "event-store-ahead", "event-store-scrub"];
        for (name, run) in names.into_iter().zip(work) {
            let engine = Arc::clone(&self.engine);
            let thread = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    let _failing = FailOnPanic(name, &engine);
                    run(&engine);
                })
                .map_err(doing("start a thread"))?;
            lock(&self.threads).push(thread);
        }
        Ok(())
    }

    /// Opens the log on a given disk, with no threads: nothing becomes durable but by
    /// [`Self::step`]. For tests.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_by_hand(disk: Arc<dyn disk::Disk>, options: Options) -> Result<Self, OpenError> {
        let (opened, folder) = recovery::open(&disk, &options)?;
        let published = opened.published;
        let engine = Engine::new(disk, options, opened);
        engine.publish_recovered();
        Ok(Self {
            engine: Arc::new(engine),
            folder: Mutex::new(Some(folder)),
            threads: Mutex::default(),
            published,
        })
    }

    /// Opens a log to read it as it is at this moment, beside a process that writes it too.
    /// Where there is none, what is read is made durable first. Appends are refused.
    ///
    /// # Errors
    /// As [`Self::open`]; [`OpenError::Missing`] where there is no log.
    pub fn open_read_only(directory: impl Into<std::path::PathBuf>) -> Result<Self, OpenError> {
        let options = Options::new(directory);
        Self::open_read_only_on(Arc::new(Folder::new(&options.directory)), options)
    }

    fn open_read_only_on(disk: Arc<dyn disk::Disk>, options: Options) -> Result<Self, OpenError> {
        let opened = recovery::open_read_only(&disk, &options)?;
        let published = opened.published;
        Ok(Self {
            engine: Arc::new(Engine::new(disk, options, opened)),
            folder: Mutex::default(),
            threads: Mutex::default(),
            published,
        })
    }

    /// Does one piece of what the threads do: a segment made ready, a group synced or a
    /// checkpoint written. Whether there was something to do.
    ///
    /// # Errors
    /// [`StoreError::Full`] where there is no room now, [`StoreError::Failed`] for good.
    pub fn step(&self) -> Result<bool, StoreError> {
        Ok(self.engine.sync_step()? || self.engine.ahead_step()?)
    }

    /// Brings everything to disk, writes the index out and takes no more appends. Afterwards
    /// the folder is free for another process.
    ///
    /// # Errors
    /// Where what is appended could not be made durable.
    pub async fn close(&self) -> Result<(), StoreError> {
        let drained = self.drain();
        self.engine.end(StoreError::Closed);
        self.join();
        drop(lock(&self.folder).take());
        drained
    }

    fn drain(&self) -> Result<(), StoreError> {
        self.engine.refuse_appends();
        while self.engine.sync_step()? {}
        self.engine.checkpoint()?;
        Ok(())
    }

    fn join(&self) {
        self.engine.stop();
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the event store panicked");
            }
        }
    }

    /// Waits until the store has failed, or was found to be damaged: the process must end then, with an exit code that
    /// says so. Never answers while it works, nor when it is closed.
    pub async fn failed(&self) -> StoreError {
        loop {
            match self.engine.durable.reach(u64::MAX).await {
                Err(error @ (StoreError::Failed(_) | StoreError::Corrupt { .. })) => return error,
                Ok(()) | Err(_) => std::future::pending::<()>().await,
            }
        }
    }

    /// How far whoever wrote the log before had said that it is durable, as it stood in the
    /// folder when this was opened; none where nobody has. What lies behind that was on its way.
    #[must_use]
    pub fn published_durable(&self) -> Option<Position> {
        self.published.map(Position::dense)
    }

    /// What it has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// From where on the log was, or on the next start would be, read again to make the index
    /// whole: the last checkpoint.
    #[must_use]
    pub fn checkpointed(&self) -> Position {
        Position::dense(self.engine.core().checkpointed.position)
    }

    /// Writes the index out now, as of what is durable. Blocks.
    ///
    /// # Errors
    /// Where the store has failed.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.engine.checkpoint().map(drop)
    }

    /// Checks every event of the log that is on disk and visits its position, stream, type,
    /// data and metadata without keeping any: the fastest way through the whole log. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where an event is not as it was written.
    pub fn replay(&self, mut visit: impl FnMut(RawEvent<'_>)) -> Result<(), StoreError> {
        let (start, end) = {
            let core = self.engine.core();
            (core.marks.at_or_before(1), self.engine.durable.get())
        };
        let Some((first, location)) = start else {
            return Ok(());
        };
        let mut frames = reading::Frames::new(&self.engine, first, location);
        for _ in first..=end {
            let (record, _) = frames.next_record()?;
            visit(RawEvent {
                position: Position::dense(record.position),
                stream: record.stream,
                revision: record.revision,
                id: record.id,
                event_type: record.event_type,
                data: record.data,
                metadata: record.metadata,
            });
        }
        Ok(())
    }

    fn prepare(&self, append: Append) -> Result<Prepared, AppendError> {
        if append.events.is_empty() {
            return Err(AppendError::Empty);
        }
        let too_large = |bytes, max_bytes| Err(AppendError::TooLarge { bytes, max_bytes });
        let mut held = 0_usize;
        let mut bytes = 0_usize;
        for event in &append.events {
            if event.event_type.len() > MAX_TYPE_BYTES {
                return too_large(event.event_type.len(), MAX_TYPE_BYTES);
            }
            held = held
                .saturating_add(event.event_type.len())
                .saturating_add(event.data.len())
                .saturating_add(event.metadata.len());
            bytes = bytes.saturating_add(event_bytes(append.stream.as_str(), event));
        }
        let max_bytes = self.engine.options.max_append_bytes;
        if held > max_bytes {
            return too_large(held, max_bytes);
        }
        let room =
            (self.engine.segment_bytes as usize).saturating_sub(SEGMENT_HEADER + GROUP_HEADER);
        if bytes > room {
            return too_large(bytes, room);
        }
        Ok(Prepared {
            key: self.engine.keys.key(append.stream.as_str()),
            stream: append.stream,
            expected: append.expected,
            events: append.events,
            bytes,
        })
    }

    /// An append that expects the stream where it was: a repeat of what is there from
    /// `from` on, or a conflict. What is in a stream never changes, so no lock is needed.
    fn repeated(
        &self,
        append: &Prepared,
        from: u64,
        actual: Option<u64>,
    ) -> Result<Appended, AppendError> {
        let there = self
            .engine
            .read_stream(
                &append.stream,
                Some(from),
                Direction::Forward,
                Visibility::Appended,
                append.events.len(),
            )
            .map_err(AppendError::Store)?;
        let same = there.len() == append.events.len()
            && there
                .iter()
                .zip(&append.events)
                .all(|(there, new)| there.event.id == new.id);
        match there.last() {
            Some(last) if same => Ok(Appended {
                revision: last.revision,
                position: Some(last.position),
            }),
            _ => Err(AppendError::WrongExpectedRevision { actual }),
        }
    }
}

/// A thread of the store that panics leaves nobody to do its work: the store fails then, as after
/// an error of the disk, and whoever waits for it is told.
struct FailOnPanic<'a>(&'static str, &'a Engine);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = StoreError::Failed(format!("its thread {} panicked", self.0));
            tracing::error!(%error, "the event store stops");
            self.1.end(error);
        }
    }
}

/// An event as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// Its place in the log.
    pub position: Position,
    /// The name of its stream.
    pub stream: &'a str,
    /// Its place in the stream.
    pub revision: u64,
    /// Its id.
    pub id: uuid::Uuid,
    /// Its type.
    pub event_type: &'a str,
    /// JSON.
    pub data: &'a [u8],
    /// JSON.
    pub metadata: &'a [u8],
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("log", &self.engine.header.log())
            .field("folder", &self.engine.options.directory)
            .field("durable", &self.engine.durable.get())
            .finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What is appended is still brought to disk; `close` also says whether that worked.
        self.join();
        self.engine.end(StoreError::Closed);
    }
}

#[async_trait]
impl EventStore for Store {
    fn log_id(&self) -> LogId {
        self.engine.header.log()
    }

    fn former_names(&self) -> Vec<(LogId, Position)> {
        let names = self.engine.header.former_names();
        let dense = |(name, last)| (name, Position::dense(last));
        names.into_iter().map(dense).collect()
    }

    async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        let mut answers = Vec::with_capacity(appends.len());
        let mut queue = VecDeque::with_capacity(appends.len());
        // Where in `answers` the front of the queue is answered.
        let mut places = VecDeque::with_capacity(appends.len());
        for append in appends {
            match self.prepare(append) {
                Ok(prepared) => {
                    places.push_back(answers.len());
                    queue.push_back(prepared);
                    answers.push(Err(AppendError::Empty));
                }
                Err(error) => answers.push(Err(error)),
            }
        }
        while !queue.is_empty() {
            let mut behind = Vec::new();
            let wait = self.engine.admit(&mut queue, |admitted, append| {
                let Some(place) = places.pop_front() else {
                    return;
                };
                match admitted {
                    Admitted::Done(answer) => {
                        if let Some(slot) = answers.get_mut(place) {
                            *slot = answer;
                        }
                    }
                    Admitted::Behind { from, actual } => behind.push((place, append, from, actual)),
                }
            });
            for (place, append, from, actual) in behind {
                let answer = self.repeated(&append, from, actual);
                if let Some(slot) = answers.get_mut(place) {
                    *slot = answer;
                }
            }
            if let Some(wait) = wait {
                // An error shows again, and is answered, when the rest is admitted.
                let _ = self.engine.wait(wait).await;
            }
        }
        answers
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        self.engine
            .read_stream(stream, from, direction, visibility, max_events)
    }

    async fn read_all(&self, read: Read) -> Result<Batch, StoreError> {
        let scanned = match read.direction {
            Direction::Forward => self.engine.read_forward(
                read.from.map_or(0, |position| position.commit),
                None,
                read.visibility,
                &read.filter,
                read.max_events,
            )?,
            Direction::Backward => self.engine.read_backward(
                read.from.map(|position| position.commit),
                read.visibility,
                &read.filter,
                read.max_events,
            )?,
        };
        Ok(Batch {
            events: scanned.events,
            considered: Position::dense(scanned.considered),
            at_end: scanned.at_end,
        })
    }

    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        Ok(Box::new(Follower::new(
            Arc::clone(&self.engine),
            after.commit,
            filter,
            visibility,
        )))
    }

    async fn appended(&self) -> Result<Position, StoreError> {
        self.engine.last_appended()
    }

    fn durable(&self) -> Position {
        Position::dense(self.engine.durable.get())
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.engine.durable.reach(position.commit).await
    }
}
