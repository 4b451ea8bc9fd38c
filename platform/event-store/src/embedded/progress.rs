//! A number that only grows, and whoever waits for it to reach some height.
//!
//! Only those whose height is reached are woken: with hundreds of appenders in flight, waking
//! all of them at every sync would cost more than the sync.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::StoreError;

#[derive(Debug, Default)]
pub(super) struct Progress {
    height: AtomicU64,
    waiting_count: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By height, then in the order of arrival.
    wakers: BTreeMap<(u64, u64), Waker>,
    arrivals: u64,
    nudges: u64,
    ended: Option<StoreError>,
}

/// A std mutex is poisoned only by a panic while it is held; what it guards is kept whole by
/// each of our short critical sections.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    pub(super) fn starting_at(height: u64) -> Self {
        Self {
            height: AtomicU64::new(height),
            ..Self::default()
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.height.load(Ordering::SeqCst)
    }

    /// Grows, and wakes those who waited for it.
    pub(super) fn advance(&self, height: u64) {
        if self.height.fetch_max(height, Ordering::SeqCst) >= height
            || self.waiting_count.load(Ordering::SeqCst) == 0
        {
            return;
        }
        let reached = {
            let mut waiting = lock(&self.waiting);
            let later = waiting.wakers.split_off(&(height.saturating_add(1), 0));
            let reached = std::mem::replace(&mut waiting.wakers, later);
            self.waiting_count
                .store(waiting.wakers.len(), Ordering::SeqCst);
            reached
        };
        reached.into_values().for_each(Waker::wake);
    }

    /// It grows no more: whoever waits gets `error`.
    pub(super) fn end(&self, error: &StoreError) {
        let all = {
            let mut waiting = lock(&self.waiting);
            waiting.ended.get_or_insert_with(|| error.clone());
            self.waiting_count.store(0, Ordering::SeqCst);
            std::mem::take(&mut waiting.wakers)
        };
        all.into_values().for_each(Waker::wake);
    }

    /// Waits until it is at least `height` high. May be dropped.
    pub(super) async fn reach(&self, height: u64) -> Result<(), StoreError> {
        self.wait(height, false).await
    }

    /// As [`Self::reach`], but comes back early when somebody says to look again.
    pub(super) async fn reach_or_nudge(&self, height: u64) -> Result<(), StoreError> {
        self.wait(height, true).await
    }

    /// Tells whoever waits so that there is something to look at.
    pub(super) fn nudge(&self) {
        let all = {
            let mut waiting = lock(&self.waiting);
            waiting.nudges += 1;
            self.waiting_count.store(0, Ordering::SeqCst);
            std::mem::take(&mut waiting.wakers)
        };
        all.into_values().for_each(Waker::wake);
    }

    async fn wait(&self, height: u64, nudgeable: bool) -> Result<(), StoreError> {
        let mut waiter = Waiter {
            progress: self,
            height,
            nudgeable,
            registered: None,
        };
        poll_fn(move |context| waiter.poll(context)).await
    }
}

struct Waiter<'a> {
    progress: &'a Progress,
    height: u64,
    nudgeable: bool,
    /// The order of arrival, and how many nudges there had been.
    registered: Option<(u64, u64)>,
}

impl Waiter<'_> {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Result<(), StoreError>> {
        if self.progress.get() >= self.height {
            return Poll::Ready(Ok(()));
        }
        let mut waiting = lock(&self.progress.waiting);
        if let Some(error) = &waiting.ended {
            return Poll::Ready(Err(error.clone()));
        }
        let (arrival, nudges) = self.registered.unwrap_or_else(|| {
            waiting.arrivals += 1;
            (waiting.arrivals, waiting.nudges)
        });
        if self.nudgeable && waiting.nudges > nudges {
            return Poll::Ready(Ok(()));
        }
        waiting
            .wakers
            .insert((self.height, arrival), context.waker().clone());
        self.progress
            .waiting_count
            .store(waiting.wakers.len(), Ordering::SeqCst);
        // Whoever advanced before the count was stored saw nobody waiting: look again.
        let reached = self.progress.get() >= self.height;
        drop(waiting);
        self.registered = Some((arrival, nudges));
        if reached {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some((arrival, _)) = self.registered {
            let mut waiting = lock(&self.progress.waiting);
            waiting.wakers.remove(&(self.height, arrival));
            self.progress
                .waiting_count
                .store(waiting.wakers.len(), Ordering::SeqCst);
        }
    }
}
