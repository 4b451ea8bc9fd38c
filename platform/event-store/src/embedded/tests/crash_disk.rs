//! A disk in memory that loses power.
//!
//! kill -9 leaves the page cache alone, so it never finds a missing fsync. This disk keeps two
//! pictures: what a process sees, and what would be left without power. Between two syncs,
//! each 512-byte sector of each write, and each change of a name, may or may not have arrived,
//! in any order. It can stop at any operation, leave out the syncs of one [`SyncPoint`], run
//! full, and fail a sync as Linux does: the pages stay in the cache, marked as clean.

use std::{
    any::Any,
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use uuid::Uuid;

use super::super::disk::{Disk, File, Space, SyncPoint};

const SECTOR: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing that was not synced survives.
    Everything,
    /// Chance decides for each sector and each name.
    Torn(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Grow(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    safe: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Naming {
    Create { name: String, inode: usize },
    Rename { from: String, to: String },
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    seen: BTreeMap<String, usize>,
    safe: BTreeMap<String, usize>,
    unsynced: Vec<Naming>,
    folder_seen: bool,
    folder_safe: bool,
    locked: bool,
    operations: u64,
    stop_at: Option<u64>,
    stopped: bool,
    left_out: Option<SyncPoint>,
    fails: Option<SyncPoint>,
    full: bool,
    space: Space,
    ids: u128,
}

/// A handle; clones are of the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct CrashDisk(Arc<Mutex<State>>);

/// Chance from a seed (`SplitMix64`, public domain, by Sebastiano Vigna).
#[derive(Clone, Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(content, *offset, bytes),
            Self::Grow(bytes) if content.len() < *bytes => content.resize(*bytes, 0),
            Self::Grow(_) => {}
        }
    }

    fn apply_some(&self, content: &mut Vec<u8>, chance: &mut Chance) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                for sector in offset / SECTOR..=(end - 1) / SECTOR {
                    if chance.below(2) == 0 {
                        let from = (sector * SECTOR).max(*offset);
                        let to = ((sector + 1) * SECTOR).min(end);
                        put(content, from, &bytes[from - offset..to - offset]);
                    }
                }
            }
            Self::Grow(_) if chance.below(2) == 0 => self.apply(content),
            Self::Grow(_) => {}
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl CrashDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// One that stops at the `operation`th change, and where the syncs of one point do nothing.
    pub(super) fn stopping_at(operation: Option<u64>, left_out: Option<SyncPoint>) -> Self {
        let disk = Self::default();
        disk.state().stop_at = operation;
        disk.state().left_out = left_out;
        disk
    }

    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Whether its end has come.
    pub(super) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Says that there is this much room.
    pub(super) fn has_room(&self, space: Space) {
        self.state().space = space;
    }

    /// Lets each sync of this point fail from now on.
    pub(super) fn fail(&self, point: Option<SyncPoint>) {
        self.state().fails = point;
    }

    pub(super) fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// What the next process finds when this one is killed: all of it.
    pub(super) fn kill(&self) -> Self {
        let state = self.state();
        Self(Arc::new(Mutex::new(State {
            inodes: state.inodes.clone(),
            seen: state.seen.clone(),
            safe: state.safe.clone(),
            unsynced: state.unsynced.clone(),
            folder_seen: state.folder_seen,
            folder_safe: state.folder_safe,
            left_out: state.left_out,
            ids: state.ids,
            ..State::default()
        })))
    }

    /// What the next process finds when the power was lost.
    pub(super) fn lose_power(&self, loss: Loss) -> Self {
        let state = self.state();
        let mut chance = Chance(match loss {
            Loss::Torn(seed) => seed,
            Loss::Everything => 0,
        });
        let mut names = state.safe.clone();
        let mut inodes: Vec<_> = state
            .inodes
            .iter()
            .map(|inode| inode.safe.clone())
            .collect();
        let mut folder = state.folder_safe;
        if loss != Loss::Everything {
            folder |= state.folder_seen && chance.below(2) == 0;
            for naming in &state.unsynced {
                if chance.below(2) == 0 {
                    naming.apply(&mut names);
                }
            }
            for (content, inode) in inodes.iter_mut().zip(&state.inodes) {
                let mut order: Vec<_> = inode.unsynced.iter().collect();
                for last in (1..order.len()).rev() {
                    let other = chance.below(last as u64 + 1) as usize;
                    order.swap(last, other);
                }
                for change in order {
                    change.apply_some(content, &mut chance);
                }
            }
        }
        if !folder {
            names.clear();
        }
        Self(Arc::new(Mutex::new(State {
            inodes: inodes
                .into_iter()
                .map(|content| Inode {
                    seen: content.clone(),
                    safe: content,
                    unsynced: Vec::new(),
                })
                .collect(),
            seen: names.clone(),
            safe: names,
            folder_seen: folder,
            folder_safe: folder,
            left_out: state.left_out,
            ids: state.ids,
            ..State::default()
        })))
    }

    /// What a process sees in a file.
    pub(super) fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = *state.seen.get(name)?;
        Some(state.inodes[inode].seen.clone())
    }

    /// Puts a file there as if it had always been, or takes it away.
    pub(super) fn plant(&self, name: &str, content: Option<Vec<u8>>) {
        let mut state = self.state();
        match content {
            Some(content) => {
                let inode = state.inodes.len();
                state.inodes.push(Inode {
                    seen: content.clone(),
                    safe: content,
                    unsynced: Vec::new(),
                });
                state.seen.insert(name.to_owned(), inode);
                state.safe.insert(name.to_owned(), inode);
            }
            None => {
                state.seen.remove(name);
                state.safe.remove(name);
            }
        }
    }
}

impl State {
    /// Counts a change. An error where the process is at its end; the change at which it ends
    /// may still have begun.
    fn change(&mut self) -> io::Result<bool> {
        if self.stopped {
            return Err(io::Error::other("the power is gone"));
        }
        self.operations += 1;
        self.stopped = self.stop_at == Some(self.operations);
        Ok(self.stopped)
    }

    fn room(&self) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn ended(ends: bool) -> io::Result<()> {
        if ends {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }
}

struct Handle {
    disk: CrashDisk,
    inode: usize,
}

impl Handle {
    fn change(&self, change: &Change) -> io::Result<()> {
        let mut state = self.disk.state();
        state.room()?;
        let ends = state.change()?;
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.seen);
        inode.unsynced.push(change.clone());
        State::ended(ends)
    }
}

impl File for Handle {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let content = &state.inodes[self.inode].seen;
        let from = (offset as usize).min(content.len());
        let count = buffer.len().min(content.len() - from);
        buffer[..count].copy_from_slice(&content[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.change(&Change::Write {
            offset: offset as usize,
            bytes: bytes.to_vec(),
        })
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].seen.len() as u64)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.change(&Change::Grow(bytes as usize))
    }

    fn write_back(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, point: SyncPoint) -> io::Result<()> {
        let mut state = self.disk.state();
        State::ended(state.change()?)?;
        if state.left_out == Some(point) {
            return Ok(());
        }
        let fails = state.fails == Some(point);
        let inode = &mut state.inodes[self.inode];
        let unsynced = std::mem::take(&mut inode.unsynced);
        if fails {
            return Err(io::Error::other("the disk has a bad sector"));
        }
        for change in unsynced {
            change.apply(&mut inode.safe);
        }
        Ok(())
    }
}

struct Locked(CrashDisk);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

impl Disk for CrashDisk {
    fn create_folder(&self) -> io::Result<()> {
        let mut state = self.state();
        if !state.folder_seen {
            let ends = state.change()?;
            state.folder_seen = true;
            State::ended(ends)?;
        }
        Ok(())
    }

    fn lock(&self, _: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut state = self.state();
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(Box::new(Locked(self.clone()))))
    }

    fn is_locked(&self, _: &str) -> io::Result<bool> {
        Ok(self.state().locked)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.room()?;
        let ends = state.change()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.seen.insert(name.to_owned(), inode);
        state.unsynced.push(Naming::Create {
            name: name.to_owned(),
            inode,
        });
        State::ended(ends)?;
        Ok(Arc::new(Handle {
            disk: self.clone(),
            inode,
        }))
    }

    fn open(&self, name: &str, _: bool) -> io::Result<Arc<dyn File>> {
        let inode = self.state().seen.get(name).copied();
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Handle {
            disk: self.clone(),
            inode,
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().seen.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let ends = state.change()?;
        let naming = Naming::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        naming.apply(&mut state.seen);
        state.unsynced.push(naming);
        State::ended(ends)
    }

    fn sync_names(&self, point: SyncPoint) -> io::Result<()> {
        let mut state = self.state();
        State::ended(state.change()?)?;
        if state.left_out != Some(point) {
            state.safe = state.seen.clone();
            state.unsynced.clear();
        }
        Ok(())
    }

    fn sync_folder(&self, point: SyncPoint) -> io::Result<()> {
        let mut state = self.state();
        State::ended(state.change()?)?;
        if state.left_out != Some(point) {
            state.folder_safe = state.folder_seen;
        }
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        Ok(self.state().space)
    }

    fn fresh_id(&self) -> io::Result<Uuid> {
        let mut state = self.state();
        state.ids += 1;
        Ok(Uuid::from_u128(state.ids))
    }
}
