//! The one reader of the log's durable end, and who hears of what it reads.
//!
//! ```text
//! subscription ─▶ who wants what? ─▶ encode once ─▶ hand to each: its channel, bounded
//!                   by stream, by all                     full ─▶ its connection is cut
//! ```
//!
//! It reads while somebody watches, and waits for the store in between: with nothing appended,
//! or nobody watching, it costs nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use recourse_event_store::{
    Batch, EventStore, Filter, LogId, Position, RecordedEvent, StoreError, StreamName, Visibility,
};
use recourse_schema::Redactor;
use recourse_service::position;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    fold::{FoldError, Folds, NewFold},
    frame::{self, Frame},
};
use crate::history;

/// The category of the streams that are watched as sagas.
const SAGA: &str = "saga";

/// What all watchers share.
pub(super) struct Hub {
    log: Log,
    /// How many frames a watcher may be behind.
    buffer: usize,
    shared: Mutex<Shared>,
}

/// The log, and how it is shown.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) fold: Option<NewFold>,
}

/// Which frames a watcher is handed.
#[derive(Clone, Debug)]
pub(super) enum Wants {
    /// The events of these types; all where there are none.
    Events(Vec<String>),
    /// A saga as it is after each of its events.
    Saga,
    /// The same in short.
    Summary,
}

/// A place at the tail. Left when dropped.
pub(super) struct Tap {
    hub: Weak<Hub>,
    key: u64,
    stream: Option<StreamName>,
    /// What is after this position comes through the tap.
    pub(super) since: Position,
    frames: mpsc::Receiver<Frame>,
}

#[derive(Default)]
struct Shared {
    /// Slots that begin now hear of what is after this.
    horizon: Position,
    /// All that is up to here has been handed over.
    considered: Position,
    is_reading: bool,
    reader: JoinSet<()>,
    last_key: u64,
    of_streams: HashMap<StreamName, Vec<Slot>>,
    /// In the order in which they came.
    of_all: Vec<Slot>,
}

struct Slot {
    key: u64,
    wants: Wants,
    since: Position,
    frames: mpsc::Sender<Frame>,
    connection: CancellationToken,
}

/// Which frames of an event somebody wants.
#[derive(Clone, Copy, Default)]
struct Wanted {
    event: bool,
    saga: bool,
    summary: bool,
}

/// The frames of an event, as far as they are wanted.
struct Frames {
    event: Arc<RecordedEvent>,
    plain: Option<Frame>,
    saga: Option<Frame>,
    summary: Option<Frame>,
    /// That those who want a saga cannot have it as of this event.
    is_unfolded: bool,
}

impl Log {
    pub(super) fn id(&self) -> LogId {
        self.store.log_id()
    }

    /// A position as clients see it.
    pub(super) fn token(&self, position: Position) -> String {
        position::write(position, self.id())
    }

    /// The frame of an event of the log.
    pub(super) fn event(&self, event: &RecordedEvent) -> Frame {
        let shown = history::show(event, self.id(), &self.redactor);
        // What was made of JSON can be written as JSON.
        let json = serde_json::to_vec(&shown).unwrap_or_default();
        self.frame(event, None, &json, false)
    }

    /// The frame of a saga as it is after an event of its stream.
    pub(super) fn saga(&self, event: &RecordedEvent, json: &[u8], is_last: bool) -> Frame {
        self.frame(event, Some(frame::SAGA), json, is_last)
    }

    fn frame(
        &self,
        event: &RecordedEvent,
        name: Option<&str>,
        json: &[u8],
        is_last: bool,
    ) -> Frame {
        Frame {
            position: event.position,
            bytes: frame::block(name, &self.token(event.position), json),
            is_last,
        }
    }
}

impl Wants {
    fn wants(&self, event: &RecordedEvent) -> bool {
        match self {
            Self::Events(types) => history::wants(types, &event.event.event_type),
            Self::Saga | Self::Summary => event.stream.category() == SAGA,
        }
    }
}

impl Hub {
    pub(super) fn new(log: Log, buffer: usize) -> Self {
        Self {
            log,
            buffer,
            shared: Mutex::default(),
        }
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// All that is up to here has been handed to every tap.
    pub(super) fn considered(&self) -> Position {
        self.shared().considered
    }

    /// Begins to hand over what is after [`Tap::since`]: of one stream, or of all.
    /// `connection` is cut where it does not keep up.
    pub(super) fn tap(
        self: &Arc<Self>,
        stream: Option<StreamName>,
        wants: Wants,
        connection: CancellationToken,
    ) -> Tap {
        let (sender, receiver) = mpsc::channel(self.buffer);
        let mut shared = self.shared();
        if !shared.is_reading {
            shared.is_reading = true;
            shared.horizon = self.log.store.durable();
            shared.considered = shared.horizon;
            let reader = Reader {
                hub: Arc::downgrade(self),
                log: self.log.clone(),
                folds: self.log.fold.map(Folds::new),
            };
            let after = shared.horizon;
            // The last one's end, where there was one.
            while shared.reader.try_join_next().is_some() {}
            shared.reader.spawn(reader.run(after));
        }
        shared.last_key += 1;
        let key = shared.last_key;
        let since = shared.horizon;
        let slot = Slot {
            key,
            wants,
            since,
            frames: sender,
            connection,
        };
        match &stream {
            Some(stream) => shared
                .of_streams
                .entry(stream.clone())
                .or_default()
                .push(slot),
            None => shared.of_all.push(slot),
        }
        Tap {
            hub: Arc::downgrade(self),
            key,
            stream,
            since,
            frames: receiver,
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap {
    /// The next frame; none once there will be no more: the watcher was too slow, or the store
    /// cannot be read.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// The next frame, where it is there already.
    pub(super) fn try_next(&mut self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }

    /// That all that was handed over is taken, and more will be: where this is said after a look
    /// at [`Hub::considered`], nothing up to there is missing.
    pub(super) fn is_drained(&self) -> bool {
        self.frames.is_empty() && !self.frames.is_closed()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.shared().leave(self.key, self.stream.as_ref());
        }
    }
}

impl Shared {
    fn is_watched(&self) -> bool {
        !(self.of_all.is_empty() && self.of_streams.is_empty())
    }

    fn leave(&mut self, key: u64, stream: Option<&StreamName>) {
        let Some(stream) = stream else {
            self.of_all.retain(|slot| slot.key != key);
            return;
        };
        if let Some(slots) = self.of_streams.get_mut(stream) {
            slots.retain(|slot| slot.key != key);
            if slots.is_empty() {
                self.of_streams.remove(stream);
            }
        }
    }

    fn wanted(&self, event: &RecordedEvent) -> Wanted {
        let mut wanted = Wanted::default();
        let of_stream = self.of_streams.get(&event.stream);
        for slot in self.of_all.iter().chain(of_stream.into_iter().flatten()) {
            let found = match slot.wants {
                Wants::Events(_) => &mut wanted.event,
                Wants::Saga => &mut wanted.saga,
                Wants::Summary => &mut wanted.summary,
            };
            *found = *found || slot.wants.wants(event);
        }
        wanted
    }

    fn hand_over(&mut self, frames: &Frames) {
        self.of_all.retain(|slot| slot.hand_over(frames));
        if let Some(slots) = self.of_streams.get_mut(&frames.event.stream) {
            slots.retain(|slot| slot.hand_over(frames));
            if slots.is_empty() {
                self.of_streams.remove(&frames.event.stream);
            }
        }
    }
}

impl Slot {
    /// Whether the slot stays.
    fn hand_over(&self, frames: &Frames) -> bool {
        let wants_a_saga = matches!(self.wants, Wants::Saga | Wants::Summary);
        if wants_a_saga && frames.is_unfolded && frames.event.position > self.since {
            // Let go after what it was handed before: it may come back to this event, never
            // past it.
            return !self.wants.wants(&frames.event);
        }
        let frame = match self.wants {
            Wants::Events(_) => &frames.plain,
            Wants::Saga => &frames.saga,
            Wants::Summary => &frames.summary,
        };
        let Some(frame) = frame else { return true };
        if frame.position <= self.since || !self.wants.wants(&frames.event) {
            return true;
        }
        match self.frames.try_send(frame.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                tracing::info!(position = %frame.position, "a watcher is too slow and is cut off");
                // Its connection may be stuck in a write, and would not see a closed channel.
                self.connection.cancel();
                false
            }
        }
    }
}

/// The task that reads.
struct Reader {
    /// Weak, for the hub owns the task.
    hub: Weak<Hub>,
    log: Log,
    folds: Option<Folds>,
}

impl Reader {
    async fn run(mut self, after: Position) {
        // However this ends, also by a panic: who watches is let go, and the next one starts anew.
        let mut closing = Closing(self.hub.clone());
        match self.follow(after).await {
            // Nobody was left, and by now there may be a reader after this one.
            Ok(()) => closing.0 = Weak::new(),
            Err(error) => tracing::warn!(error = %error, "the log cannot be watched"),
        }
    }

    async fn follow(&mut self, after: Position) -> Result<(), StoreError> {
        let store = Arc::clone(&self.log.store);
        let mut tail = store
            .subscribe(after, Filter::All, Visibility::Durable)
            .await?;
        loop {
            let Batch {
                events, considered, ..
            } = tail.next().await?;
            let Some(hub) = self.hub.upgrade() else {
                return Ok(());
            };
            let wanted: Vec<_> = {
                let mut shared = hub.shared();
                if !shared.is_watched() {
                    // Under the same lock as the look: nobody begins in between.
                    shared.is_reading = false;
                    return Ok(());
                }
                shared.horizon = considered;
                events.iter().map(|event| shared.wanted(event)).collect()
            };
            let mut all = Vec::new();
            for (event, wanted) in events.into_iter().zip(wanted) {
                if let Some(frames) = self.frames(event, wanted).await {
                    all.push(frames);
                }
            }
            let mut shared = hub.shared();
            for frames in &all {
                shared.hand_over(frames);
            }
            shared.considered = considered;
        }
    }

    async fn frames(&mut self, event: Arc<RecordedEvent>, wanted: Wanted) -> Option<Frames> {
        let plain = wanted.event.then(|| self.log.event(&event));
        let (mut saga, mut summary, mut is_unfolded) = (None, None, false);
        if wanted.saga || wanted.summary {
            match self.see(&event, wanted).await {
                Ok(shown) => (saga, summary) = shown,
                Err(error) => {
                    is_unfolded = true;
                    tracing::error!(
                        stream = %event.stream,
                        error = &error as &dyn std::error::Error,
                        "a saga cannot be shown to those who watch it: they are let go"
                    );
                }
            }
        }
        let some = plain.is_some() || saga.is_some() || summary.is_some() || is_unfolded;
        some.then_some(Frames {
            event,
            plain,
            saga,
            summary,
            is_unfolded,
        })
    }

    async fn see(
        &mut self,
        event: &RecordedEvent,
        wanted: Wanted,
    ) -> Result<(Option<Frame>, Option<Frame>), FoldError> {
        let Some(folds) = &mut self.folds else {
            return Ok((None, None));
        };
        let seen = folds
            .see(&*self.log.store, event, wanted.saga, wanted.summary)
            .await?;
        let frame =
            |json: Option<Bytes>, is_last| json.map(|json| self.log.saga(event, &json, is_last));
        Ok((frame(seen.whole, seen.is_ended), frame(seen.summary, false)))
    }
}

#[cfg(test)]
impl Hub {
    /// As the reader hands over a frame of the log.
    pub(super) fn hand_over_for_test(&self, frame: Frame, event: Arc<RecordedEvent>) {
        let mut shared = self.shared();
        shared.considered = frame.position;
        shared.hand_over(&Frames {
            event,
            plain: Some(frame),
            saga: None,
            summary: None,
            is_unfolded: false,
        });
    }

    /// As where the reader ends, and one after it has come to `considered`.
    pub(super) fn begin_anew_for_test(self: &Arc<Self>, considered: Position) {
        drop(Closing(Arc::downgrade(self)));
        self.shared().considered = considered;
    }
}

struct Closing(Weak<Hub>);

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(hub) = self.0.upgrade() else { return };
        let mut shared = hub.shared();
        shared.of_all.clear();
        shared.of_streams.clear();
        shared.is_reading = false;
    }
}
