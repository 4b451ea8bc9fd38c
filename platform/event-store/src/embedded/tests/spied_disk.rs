//! A disk that asks before each write.

use std::{any::Any, io, sync::Arc};

use uuid::Uuid;

use super::{
    super::disk::{Disk, File, Space, SyncPoint},
    crash_disk::CrashDisk,
};

/// Told the file's name; may refuse the write, or panic.
type Ask = Arc<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

pub(super) struct SpiedDisk {
    disk: CrashDisk,
    ask: Ask,
}

struct SpiedFile {
    name: String,
    file: Arc<dyn File>,
    ask: Ask,
}

impl SpiedDisk {
    pub(super) fn new(ask: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            disk: CrashDisk::default(),
            ask: Arc::new(ask),
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the trait has it")]
    fn spied(&self, name: &str, file: Arc<dyn File>) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SpiedFile {
            name: name.to_owned(),
            file,
            ask: Arc::clone(&self.ask),
        }))
    }
}

impl Disk for SpiedDisk {
    fn create_folder(&self) -> io::Result<()> {
        self.disk.create_folder()
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.disk.lock(name)
    }

    fn is_locked(&self, name: &str) -> io::Result<bool> {
        self.disk.is_locked(name)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.spied(name, self.disk.create(name)?)
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>> {
        self.spied(name, self.disk.open(name, write)?)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_names(&self, point: SyncPoint) -> io::Result<()> {
        self.disk.sync_names(point)
    }

    fn sync_folder(&self, point: SyncPoint) -> io::Result<()> {
        self.disk.sync_folder(point)
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }

    fn fresh_id(&self) -> io::Result<Uuid> {
        self.disk.fresh_id()
    }
}

impl File for SpiedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (self.ask)(&self.name)?;
        self.file.write_at(offset, bytes)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn write_back(&self) -> io::Result<()> {
        self.file.write_back()
    }

    fn sync(&self, point: SyncPoint) -> io::Result<()> {
        self.file.sync(point)
    }
}
