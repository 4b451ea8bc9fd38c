//! Which generation of a view the queries of this process read, and the switch to another one.
//!
//! What is live says the log. A process follows when no reader of it would go back in time: once
//! the other generation has considered everything that anybody can have seen in this one. Whoever
//! filled it, nothing is in a view that is not in the log: so what a reader has seen is at most what
//! the log held when it was told.
//!
//! ```text
//! begin ──▶ each answer from here on notes how far the log is ──▶ the other one is there ──▶ switched
//!           new queries wait a moment, so that this ends
//! ```
//!
//! A query that was begun before the switch and is done after it is asked again of the other one.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use recourse_event_store::Position;
use recourse_views::Considered;
use tokio::{sync::Notify, time::Instant};

/// How long queries wait for a switch that has begun: a generation that is level needs one
/// transaction to catch up. Where it takes longer they read the one that there is.
const HOLD: Duration = Duration::from_millis(250);

/// Which generation the queries of this process read.
#[derive(Debug)]
pub(crate) struct Serving {
    inner: Mutex<Inner>,
    switched: Notify,
}

#[derive(Debug)]
struct Inner {
    serves: Serves,
    switch: Option<Switch>,
}

/// A generation that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Serves {
    pub(crate) generation: u32,
    pub(crate) considered: Considered,
}

/// The way to another generation.
#[derive(Debug)]
struct Switch {
    to: Serves,
    began: Instant,
    /// What the other one must have considered.
    seen: Position,
    /// Whether that holds what was told before the switch began.
    is_known: bool,
}

/// Whether an answer may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    Yes,
    /// Say first how far the log is.
    Ask,
    /// What was read is asked no more: read again.
    No,
}

impl Serving {
    pub(crate) fn new(serves: Serves) -> Self {
        Self {
            inner: Mutex::new(Inner {
                serves,
                switch: None,
            }),
            switched: Notify::new(),
        }
    }

    /// No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation that is read now.
    pub(crate) fn now(&self) -> Serves {
        self.lock().serves.clone()
    }

    /// The generation that a query is to read: where a switch has just begun, that after it.
    pub(crate) async fn settled(&self) -> Serves {
        let (serves, held_until) = {
            let inner = self.lock();
            let held_until = inner.switch.as_ref().map(|switch| switch.began + HOLD);
            (inner.serves.clone(), held_until)
        };
        if let Some(until) = held_until
            && tokio::time::timeout_at(until, self.left(serves.generation))
                .await
                .is_ok()
        {
            return self.now();
        }
        serves
    }

    /// Waits until this generation is read.
    pub(crate) async fn reached(&self, generation: u32) {
        loop {
            let read = self.now().generation;
            if read == generation {
                return;
            }
            self.left(read).await;
        }
    }

    /// Waits until another generation is read than this.
    pub(crate) async fn left(&self, generation: u32) {
        loop {
            let switched = self.switched.notified();
            tokio::pin!(switched);
            // Registered before the look, so that no switch falls between the two.
            switched.as_mut().enable();
            if self.lock().serves.generation != generation {
                return;
            }
            switched.await;
        }
    }

    /// Whether what was read in a generation may be told: not after the switch to another one,
    /// which may not hold it yet. `head` is how far the log is, asked after the rows were read; it is
    /// only wanted while a switch is under way.
    pub(crate) fn may_tell(&self, generation: u32, head: Option<Position>) -> Telling {
        let mut inner = self.lock();
        if inner.serves.generation != generation {
            return Telling::No;
        }
        match (&mut inner.switch, head) {
            (None, _) => Telling::Yes,
            (Some(_), None) => Telling::Ask,
            (Some(switch), Some(head)) => {
                switch.seen = switch.seen.max(head);
                Telling::Yes
            }
        }
    }

    /// Begins the switch to another generation.
    pub(crate) fn begin(&self, to: Serves) {
        self.lock().switch = Some(Switch {
            to,
            began: Instant::now(),
            seen: Position::START,
            is_known: false,
        });
    }

    /// Says how far the log is, asked after the switch has begun: whatever was told before, and
    /// until now, is at or before that.
    pub(crate) fn told_up_to(&self, head: Position) {
        if let Some(switch) = &mut self.lock().switch {
            switch.seen = switch.seen.max(head);
            switch.is_known = true;
        }
    }

    /// Gives the switch up: the log says otherwise by now.
    pub(crate) fn abandon(&self) {
        self.lock().switch = None;
    }

    /// Switches once the other generation is where it must be, after [`Self::told_up_to`]. Ends too
    /// when there is nothing to switch to any more.
    pub(crate) async fn switch(&self) {
        loop {
            let (considered, seen) = {
                let mut inner = self.lock();
                let Some(switch) = inner.switch.take() else {
                    return;
                };
                if !switch.is_known {
                    inner.switch = Some(switch);
                    return;
                }
                let seen = switch.seen;
                if switch.to.considered.get() >= seen {
                    inner.serves = switch.to;
                    drop(inner);
                    self.switched.notify_waiters();
                    return;
                }
                let considered = switch.to.considered.clone();
                inner.switch = Some(switch);
                (considered, seen)
            };
            // Waited for, so that it writes at once what it has.
            considered.wait(seen, Duration::from_secs(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generation: u32, position: u64) -> Serves {
        Serves {
            generation,
            considered: Considered::at(Position::dense(position)),
        }
    }

    fn begun(serving: &Serving, to: Serves, head: u64) {
        serving.begin(to);
        serving.told_up_to(Position::dense(head));
    }

    fn head(position: u64) -> Option<Position> {
        Some(Position::dense(position))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_before_the_switch_is_in_the_generation_after_it() {
        let serving = Serving::new(at(0, 9));
        assert_eq!(serving.may_tell(0, None), Telling::Yes);
        begun(&serving, at(1, 9), 9);
        // An answer that holds more than the other one has considered by now.
        assert_eq!(serving.may_tell(0, None), Telling::Ask);
        assert_eq!(serving.may_tell(0, head(10)), Telling::Yes);
        let waited = tokio::time::timeout(Duration::from_secs(9), serving.switch()).await;
        assert!(waited.is_err());
        assert_eq!(serving.now().generation, 0);
        serving.abandon();
        begun(&serving, at(1, 10), 10);
        serving.switch().await;
        assert_eq!(serving.now().generation, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_switched_before_it_is_known_what_was_told_before() {
        let serving = Serving::new(at(0, 9));
        serving.begin(at(1, 9));
        assert_eq!(serving.may_tell(0, head(11)), Telling::Yes);
        serving.switch().await;
        assert_eq!(serving.now().generation, 0);
        // The log was asked before that answer was told, and says it afterwards.
        serving.told_up_to(Position::dense(9));
        let waited = tokio::time::timeout(Duration::from_secs(9), serving.switch()).await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_the_switch_and_would_be_told_after_it_is_read_again() {
        let serving = Serving::new(at(0, 9));
        let read = serving.now();
        begun(&serving, at(1, 9), 9);
        serving.switch().await;
        assert_eq!(serving.may_tell(read.generation, head(11)), Telling::No);
        assert_eq!(serving.may_tell(1, None), Telling::Yes);
    }

    #[tokio::test(start_paused = true)]
    async fn queries_wait_for_a_switch_that_is_near_and_not_for_one_that_is_not() {
        let serving = Serving::new(at(0, 9));
        begun(&serving, at(1, 9), 9);
        let (serves, ()) = tokio::join!(serving.settled(), serving.switch());
        assert_eq!(serves.generation, 1);
        begun(&serving, at(2, 3), 9);
        let began = Instant::now();
        assert_eq!(serving.settled().await.generation, 1);
        assert_eq!(began.elapsed(), HOLD);
        // The next one does not wait again.
        assert_eq!(serving.settled().await.generation, 1);
        assert_eq!(began.elapsed(), HOLD);
    }
}
