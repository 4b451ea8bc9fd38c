//! How many calls to the provider are under way at once, and whose.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Of how many places one is kept for calls that were never sent before.
const FIRST_SENDINGS: usize = 4;

/// Who may call the provider now. Calls that were not answered before get no more than their share:
/// however many of them hang, over and over, new payments find a place.
#[derive(Clone)]
pub(crate) struct Room {
    /// One for each call that may be under way at once.
    all: Arc<Semaphore>,
    /// One for each of these that may be a repeated one.
    repeats: Arc<Semaphore>,
}

/// A place, until it is dropped.
pub(crate) struct Place<'a> {
    _any: Option<SemaphorePermit<'a>>,
    _repeat: Option<SemaphorePermit<'a>>,
}

impl Room {
    /// A quarter of the calls, and one of a few, is kept for first sendings; of a single one nothing
    /// can be.
    pub(crate) fn of(max_calls: usize) -> Self {
        let all = max_calls.max(1);
        let kept = (all / FIRST_SENDINGS).max(1).min(all.saturating_sub(1));
        Self {
            all: Arc::new(Semaphore::new(all)),
            repeats: Arc::new(Semaphore::new(all.saturating_sub(kept))),
        }
    }

    /// Whether a call that is new now would wait for nobody.
    pub(crate) fn has_room(&self) -> bool {
        self.all.available_permits() > 0
    }

    /// In the order in which they ask. Neither is ever closed: then a place is nothing to wait for.
    pub(crate) async fn take(&self, is_repeat: bool) -> Place<'_> {
        let repeat = match is_repeat {
            true => self.repeats.acquire().await.ok(),
            false => None,
        };
        Place {
            _any: self.all.acquire().await.ok(),
            _repeat: repeat,
        }
    }
}
