//! The segment files that readers have open: a bounded number of them.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex},
};

use super::{
    disk::{Disk, File},
    format::segment_name,
    progress::lock,
};

pub(super) struct Segments {
    disk: Arc<dyn Disk>,
    max_open: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    files: BTreeMap<u32, Arc<dyn File>>,
    /// In the order in which they were opened.
    order: VecDeque<u32>,
}

impl Segments {
    pub(super) fn new(disk: Arc<dyn Disk>, max_open: usize) -> Self {
        Self {
            disk,
            max_open: max_open.max(1),
            open: Mutex::new(Open::default()),
        }
    }

    pub(super) fn get(&self, number: u32) -> io::Result<Arc<dyn File>> {
        let mut open = lock(&self.open);
        if let Some(file) = open.files.get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment_name(number), false)?;
        open.files.insert(number, Arc::clone(&file));
        open.order.push_back(number);
        if open.order.len() > self.max_open
            && let Some(oldest) = open.order.pop_front()
        {
            open.files.remove(&oldest);
        }
        Ok(file)
    }
}
