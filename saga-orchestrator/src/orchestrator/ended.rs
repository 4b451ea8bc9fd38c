//! The sagas that ended last, so that a late answer to one costs no read.

use std::collections::{BTreeSet, VecDeque};

use uuid::Uuid;

/// The sagas that ended last: bounded.
pub(super) struct Ended {
    sagas: BTreeSet<Uuid>,
    order: VecDeque<Uuid>,
    max: usize,
}

impl Ended {
    pub(super) fn new(max: usize) -> Self {
        Self {
            sagas: BTreeSet::new(),
            order: VecDeque::new(),
            max,
        }
    }

    pub(super) fn insert(&mut self, saga: Uuid) {
        if self.sagas.insert(saga) {
            self.order.push_back(saga);
        }
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.sagas.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, saga: Uuid) -> bool {
        self.sagas.contains(&saga)
    }
}
