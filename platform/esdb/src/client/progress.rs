//! What this process knows of the log: how far it goes.

use std::sync::{Mutex, PoisonError};

use recourse_event_store::Position;
use tokio::sync::{Notify, futures::Notified};

/// What the server shows is durable, so whatever was appended or read moves this on.
#[derive(Default)]
pub(super) struct Progress {
    known: Mutex<Known>,
    moved: Notify,
}

#[derive(Clone, Copy, Default)]
struct Known {
    durable: Position,
    last_event: Position,
}

impl Progress {
    /// Everything up to here survives the loss of power.
    pub(super) fn durable(&self) -> Position {
        self.known().durable
    }

    /// The last event that was seen here. A log that ends before it has lost its end.
    pub(super) fn last_event(&self) -> Position {
        self.known().last_event
    }

    /// An event stands there.
    pub(super) fn saw(&self, event: Position) {
        self.move_on(event, event);
    }

    /// Everything up to there was looked at. No event need stand there: the server's checkpoints
    /// lie between events.
    pub(super) fn considered(&self, position: Position) {
        self.move_on(position, Position::START);
    }

    fn move_on(&self, durable: Position, event: Position) {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.last_event = known.last_event.max(event);
            if durable <= known.durable {
                return;
            }
            known.durable = durable;
        }
        self.moved.notify_waiters();
    }

    /// Ends with the next move. Made before the position is looked at, it misses none.
    pub(super) fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
