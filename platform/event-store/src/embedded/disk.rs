//! The files under the store, behind a trait small enough that a test can be the disk.
//!
//! What is written survives the end of the process at once, but the loss of power only after
//! a sync: of the file for its content, of the directory for its name. Every sync that a
//! promise rests on says which one it is ([`SyncPoint`]), so that a test can leave out one
//! after the other and see that each is needed.

use std::{any::Any, io, sync::Arc};

use uuid::Uuid;

/// The places in the code that wait for the disk because a promise rests on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SyncPoint {
    /// The folder's own name, in the folder above.
    Folder,
    /// The header, which says which log this is, before it gets its name.
    Header,
    /// The names of what an earlier process created and may not have synced.
    RecoveredNames,
    /// The end of the log as it was found, before it counts as durable.
    RecoveredTail,
    /// The name of a new segment, before anything in it counts as durable.
    SegmentName,
    /// A group of events: the one that every appender waits for.
    Group,
    /// A checkpoint of the index, before it gets its name.
    Checkpoint,
    /// The name of a checkpoint, before it counts as made.
    CheckpointName,
}

impl SyncPoint {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Folder,
        Self::Header,
        Self::RecoveredNames,
        Self::RecoveredTail,
        Self::SegmentName,
        Self::Group,
        Self::Checkpoint,
        Self::CheckpointName,
    ];
}

/// The room on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// What is left to who is not the superuser.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// One open file.
pub trait File: Send + Sync + 'static {
    /// Reads what there is from `offset`, at most a buffer full; how many bytes it was.
    ///
    /// # Errors
    /// Where the disk cannot read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, for other readers to see at once.
    ///
    /// # Errors
    /// Where the disk cannot write; some of it may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// How many bytes it has.
    ///
    /// # Errors
    /// Where the disk cannot say.
    fn size(&self) -> io::Result<u64>;

    /// Makes it at least `bytes` long and reserves the room, so that a later write cannot find
    /// the disk full.
    ///
    /// # Errors
    /// Where there is no room.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Brings to disk early what a later sync would have to. Nothing rests on it: it only
    /// spreads the work.
    ///
    /// # Errors
    /// Where the disk cannot write.
    fn write_back(&self) -> io::Result<()>;

    /// Lets go of what the operating system keeps of it in memory, so that the next read asks
    /// the disk. A hint.
    fn forget(&self) {}

    /// Waits until everything written so far survives the loss of power.
    ///
    /// # Errors
    /// Where it may not: what was written since the last sync may be lost, and another sync
    /// that succeeds proves nothing.
    fn sync(&self, point: SyncPoint) -> io::Result<()>;
}

/// A folder of files.
pub trait Disk: Send + Sync + 'static {
    /// Creates the folder where it is not there yet.
    ///
    /// # Errors
    /// Where it cannot.
    fn create_folder(&self) -> io::Result<()>;

    /// Locks the folder by a file of this name, until what it returns is dropped; none where
    /// another process has it.
    ///
    /// # Errors
    /// Where it cannot lock at all.
    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;

    /// Whether somebody has the lock of this name. Asking never keeps anybody from taking it.
    ///
    /// # Errors
    /// Where it cannot say.
    fn is_locked(&self, name: &str) -> io::Result<bool>;

    /// Creates an empty file, in the place of any other of this name.
    ///
    /// # Errors
    /// Where it cannot.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file: to read, and where `write` to write too.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is none.
    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>>;

    /// The names of the files.
    ///
    /// # Errors
    /// Where it cannot say.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name, in the place of any other of that name: all at once or not
    /// at all.
    ///
    /// # Errors
    /// Where it cannot.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Waits until the names of the files survive the loss of power.
    ///
    /// # Errors
    /// Where they may not.
    fn sync_names(&self, point: SyncPoint) -> io::Result<()>;

    /// Waits until the name of the folder itself survives the loss of power.
    ///
    /// # Errors
    /// Where it may not.
    fn sync_folder(&self, point: SyncPoint) -> io::Result<()>;

    /// How much room there is.
    ///
    /// # Errors
    /// Where it cannot say.
    fn space(&self) -> io::Result<Space>;

    /// A new id, unlike any other.
    ///
    /// # Errors
    /// Where there is no randomness to be had.
    fn fresh_id(&self) -> io::Result<Uuid>;
}
