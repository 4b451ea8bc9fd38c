//! The files of a folder, each opened when it is first wanted: a view that is rebuilt gets another
//! one while the process runs, and one that is no longer wanted is deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::files::{self, Access, Contents, File, OpenError, Options};

/// The files of a folder.
#[derive(Debug)]
pub(super) struct Folder<X> {
    path: PathBuf,
    access: Access,
    options: Options,
    /// By the name of the table that another database would use.
    files: RwLock<BTreeMap<String, Arc<Opened<X>>>>,
    /// The tables whose files are being made.
    making: Mutex<BTreeSet<String>>,
    /// Held while a file is opened or deleted, so that neither happens twice at once.
    changing: tokio::sync::Mutex<()>,
}

/// An open file, and what belongs to it.
#[derive(Debug)]
pub(super) struct Opened<X> {
    pub(super) file: File,
    pub(super) with: X,
}

/// What a file is to hold, and what belongs to it once it is open.
pub(super) struct Wanted<X> {
    pub(super) contents: Contents,
    pub(super) with: X,
}

impl<X> Folder<X> {
    /// A folder of which no file is open yet. It is made where it is to be filled.
    pub(super) fn new(path: &Path, access: Access, options: &Options) -> Result<Self, OpenError> {
        files::make_folder(path, access)?;
        Ok(Self {
            path: path.to_owned(),
            access,
            options: options.clone(),
            files: RwLock::default(),
            making: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// The file of a table, where it is there; none where it was never made, or is being made.
    ///
    /// Nobody waits here for who makes one: a projector that has begun to write a view goes on
    /// to read it, and does not poll the one before the other has answered.
    pub(super) async fn find(
        &self,
        table: &str,
        wanted: impl FnOnce() -> Wanted<X>,
    ) -> Result<Option<Arc<Opened<X>>>, OpenError> {
        if let Some(opened) = self.opened(table) {
            return Ok(Some(opened));
        }
        if self.making().contains(table) {
            return Ok(None);
        }
        let _changing = self.changing.lock().await;
        if let Some(opened) = self.opened(table) {
            return Ok(Some(opened));
        }
        if !files::path(&self.path, table).exists() {
            return Ok(None);
        }
        self.open(table, wanted()).await
    }

    /// The file of a table, which is made where it is not there. None where it may not be.
    pub(super) async fn make(
        &self,
        table: &str,
        wanted: impl FnOnce() -> Wanted<X>,
    ) -> Result<Option<Arc<Opened<X>>>, OpenError> {
        if self.access == Access::ReadOnly {
            return self.find(table, wanted).await;
        }
        self.making().insert(table.to_owned());
        let _made = Made {
            making: &self.making,
            table,
        };
        let _changing = self.changing.lock().await;
        match self.opened(table) {
            Some(opened) => Ok(Some(opened)),
            None => self.open(table, wanted()).await,
        }
    }

    /// Closes the file of a table and deletes it.
    pub(super) async fn delete(&self, table: &str) -> std::io::Result<()> {
        if self.access == Access::ReadOnly {
            return Err(std::io::Error::new(
                ErrorKind::ReadOnlyFilesystem,
                "it was opened to be read",
            ));
        }
        let _changing = self.changing.lock().await;
        let opened = self.write().remove(table);
        if let Some(opened) = opened {
            opened.file.close().await;
        }
        let path = files::path(&self.path, table);
        // The file itself last: a write-ahead log without its file would be taken for that of the
        // next file of that name.
        for beside in ["-wal", "-shm", ""] {
            let mut name = path.clone().into_os_string();
            name.push(beside);
            match std::fs::remove_file(name) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits for what is under way and closes the files.
    pub(super) async fn close(&self) {
        let files = std::mem::take(&mut *self.write());
        for opened in files.values() {
            opened.file.close().await;
        }
    }

    async fn open(
        &self,
        table: &str,
        wanted: Wanted<X>,
    ) -> Result<Option<Arc<Opened<X>>>, OpenError> {
        let opening = File::open(&self.path, &wanted.contents, self.access, &self.options);
        let Some(file) = opening.await? else {
            return Ok(None);
        };
        let opened = Arc::new(Opened {
            file,
            with: wanted.with,
        });
        self.write().insert(table.to_owned(), Arc::clone(&opened));
        Ok(Some(opened))
    }

    fn opened(&self, table: &str) -> Option<Arc<Opened<X>>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(table).cloned()
    }

    fn making(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No code panics while it holds the lock, so a poisoned one is still whole.
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Opened<X>>>> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table whose file is not being made any more, however that ended.
struct Made<'a> {
    making: &'a Mutex<BTreeSet<String>>,
    table: &'a str,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.remove(self.table);
    }
}
