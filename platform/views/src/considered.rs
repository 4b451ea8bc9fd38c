//! How far a view has considered the log, for those who wait for it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use recourse_event_store::Position;
use tokio::sync::Notify;

/// How far a view has considered the log. Cheap to clone.
///
/// Who waits is woken in the order in which they began to wait: tokio's `watch` would draw
/// lots for it, and no seed would replay them.
#[derive(Clone, Debug, Default)]
pub struct Considered {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    position: Mutex<Position>,
    /// The position has moved.
    moved: Notify,
    /// How many wait.
    waiting: AtomicUsize,
    /// Somebody has begun to wait.
    wanted: Notify,
}

/// Somebody who waits, until it is dropped.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Considered {
    /// Of who has come this far and does not go on.
    #[must_use]
    pub fn at(position: Position) -> Self {
        let considered = Self::default();
        considered.set(position);
        considered
    }

    /// How far it is.
    #[must_use]
    pub fn get(&self) -> Position {
        *self
            .shared
            .position
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything up to `position` is considered, for at most `timeout`. Says
    /// whether it is.
    pub async fn wait(&self, position: Position, timeout: Duration) -> bool {
        if self.get() >= position {
            return true;
        }
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.shared);
        self.shared.wanted.notify_waiters();
        tokio::time::timeout(timeout, self.reached(position))
            .await
            .is_ok()
    }

    /// Waits until everything up to `position` is considered, and hurries nobody: a view that
    /// somebody waits for writes at once what it would gather otherwise.
    pub async fn passed(&self, position: Position) {
        self.reached(position).await;
    }

    async fn reached(&self, position: Position) {
        loop {
            let moved = self.shared.moved.notified();
            tokio::pin!(moved);
            // Registered before the look, so that no move falls between the two.
            moved.as_mut().enable();
            if self.get() >= position {
                return;
            }
            moved.await;
        }
    }

    /// Waits until somebody waits.
    pub(crate) async fn wanted(&self) {
        let wanted = self.shared.wanted.notified();
        tokio::pin!(wanted);
        wanted.as_mut().enable();
        if self.shared.waiting.load(Ordering::Acquire) == 0 {
            wanted.await;
        }
    }

    /// Moves it to `position`. Back too: a view whose last commits a loss of power took reads
    /// them again.
    pub(crate) fn set(&self, position: Position) {
        *self
            .shared
            .position
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = position;
        self.shared.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_what_they_wait_for_or_the_end_of_their_time() {
        let considered = Considered::default();
        considered.set(Position::dense(4));
        let second = Duration::from_secs(1);
        assert!(considered.wait(Position::dense(4), Duration::ZERO).await);
        assert!(!considered.wait(Position::dense(5), second).await);
        let (waited, ()) = tokio::join!(considered.wait(Position::dense(6), second), async {
            considered.set(Position::dense(5));
            tokio::task::yield_now().await;
            considered.set(Position::dense(6));
        });
        assert!(waited);
    }
}
