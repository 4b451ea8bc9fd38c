//! What has not ended yet, by name: who waits for the end can say what it waits for.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The parts of a process that run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<BTreeSet<&'static str>>>);

/// One part; dropped where it ends, however it does.
#[derive(Debug)]
pub struct Part {
    running: Running,
    name: &'static str,
}

impl Running {
    /// Counts with a part from here on.
    #[must_use]
    pub fn begin(&self, name: &'static str) -> Part {
        self.parts().insert(name);
        Part {
            running: self.clone(),
            name,
        }
    }

    /// The parts that have not ended, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.parts().iter().copied().collect()
    }

    fn parts(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.running.parts().remove(self.name);
    }
}
