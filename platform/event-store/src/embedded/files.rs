//! The real disk.

use std::{
    any::Any,
    fs,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use super::disk::{Disk, File, Space, SyncPoint};

/// A folder of the operating system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

struct OsFile(fs::File);

impl File for OsFile {
    fn read_at(&self, offset: u64, mut buffer: &mut [u8]) -> io::Result<usize> {
        let mut total = 0;
        while !buffer.is_empty() {
            match self.0.read_at(buffer, offset + total as u64) {
                Ok(0) => break,
                Ok(count) => {
                    total += count;
                    buffer = buffer.get_mut(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // A file system without reservations: the zeros that are written next take the room.
            Err(error) if error == rustix::io::Errno::OPNOTSUPP => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn write_back(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn forget(&self) {
        // Where it is not taken, the next read is answered from memory: still a check.
        let _ = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed);
    }

    fn sync(&self, _: SyncPoint) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// The operating system tells whether a file is locked only to who locks it. So whoever asks,
/// and whoever locks for good, holds this file's lock for the microseconds in which it does so:
/// a writer never meets a lock that is only a question.
fn gate(name: &str) -> String {
    format!("{name}.gate")
}

impl Disk for Folder {
    fn create_folder(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let open = |name: &str| {
            fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(self.path.join(name))
        };
        let gate = open(&gate(name))?;
        gate.lock()?;
        let file = open(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn is_locked(&self, name: &str) -> io::Result<bool> {
        // Read-only, for a folder that only that may be done with. A lock whose file is not
        // there was never taken.
        let open = |name: &str| match fs::File::open(self.path.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let gate = open(&gate(name))?;
        if let Some(gate) = &gate {
            gate.lock_shared()?;
        }
        let Some(file) = open(name)? else {
            return Ok(false);
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(write)
            .open(self.path.join(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .filter_map(|entry| {
                entry
                    .map(|entry| entry.file_name().into_string().ok())
                    .transpose()
            })
            .collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_names(&self, _: SyncPoint) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn sync_folder(&self, _: SyncPoint) -> io::Result<()> {
        // Every folder above may be new too; syncing an old one costs next to nothing.
        let path = self.path.canonicalize()?;
        for folder in path.ancestors().skip(1) {
            match fs::File::open(folder).and_then(|folder| folder.sync_all()) {
                Ok(()) => {}
                // A folder that we may not open is not one that we created.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
                // Some file systems have folders that cannot be synced (EINVAL): not ours either.
                Err(error)
                    if error.kind() == io::ErrorKind::InvalidInput && folder != parent(&path) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let told = rustix::fs::statvfs(&self.path)?;
        Ok(Space {
            free_bytes: told.f_bavail.saturating_mul(told.f_frsize),
            total_bytes: told.f_blocks.saturating_mul(told.f_frsize),
        })
    }

    fn fresh_id(&self) -> io::Result<Uuid> {
        let mut random = [0; 16];
        fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        Ok(uuid::Builder::from_random_bytes(random).into_uuid())
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
