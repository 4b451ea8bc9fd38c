//! Following the log: from any position, through what is stored, on to what is new.
//!
//! There is no switch from catching up to live, and so nothing to lose in it: each batch is a
//! read on from the last one, and only who has read all waits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;

use super::{engine::Engine, format::Location};
use crate::{Batch, Filter, Position, StoreError, Subscription, Visibility};

/// How many events a batch holds at most.
const MAX_BATCH_EVENTS: usize = 1024;

pub(super) struct Follower {
    engine: Arc<Engine>,
    /// The last position that was handed over or passed over.
    considered: u64,
    /// The same, for the tail to be kept for us.
    place: Arc<AtomicU64>,
    /// Where the event after it lies, if that is known.
    next: Option<Location>,
    filter: Filter,
    visibility: Visibility,
}

impl Follower {
    /// Follows from the event after `considered` on.
    pub(super) fn new(
        engine: Arc<Engine>,
        considered: u64,
        filter: Filter,
        visibility: Visibility,
    ) -> Self {
        Self {
            place: engine.follow(considered),
            engine,
            considered,
            next: None,
            filter,
            visibility,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.engine.unfollow(&self.place);
    }
}

#[async_trait]
impl Subscription for Follower {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        loop {
            let read = self.engine.read_forward(
                self.considered,
                self.next,
                self.visibility,
                &self.filter,
                MAX_BATCH_EVENTS,
            )?;
            if read.considered > self.considered {
                // Nothing is awaited from here on, so a dropped call has moved nothing.
                self.considered = read.considered;
                self.place.store(read.considered, Ordering::Relaxed);
                self.next = read.next;
                return Ok(Batch {
                    events: read.events,
                    considered: Position::dense(read.considered),
                    at_end: read.at_end,
                });
            }
            self.engine
                .wait_for_more(self.considered, self.visibility)
                .await?;
        }
    }
}
