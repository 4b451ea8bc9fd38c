//! Moving sagas on: react, append, and again where somebody else was first.

use std::{sync::Arc, time::Duration};

use recourse_event_store::{AppendError, Position, StoreError};
use recourse_saga::Input;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Driver, Error,
    inputs::{Fed, Happening, Work},
    timing::is_quiet,
    with_sources,
};
use crate::{
    in_flight::Row,
    live::{Live, LiveError},
};

impl Driver {
    /// Feeds the sagas, appends what follows, and again where somebody else was first.
    pub(super) async fn feed(&mut self, mut work: Work) -> Result<(), Error> {
        let (mut conflicts, mut failures) = (0, 0);
        while !work.is_empty() {
            let mut appends = Vec::new();
            let mut moved = Vec::new();
            for (saga, fed) in &work {
                match self.react(*saga, fed).await {
                    Ok(Some(append)) => {
                        appends.push(append);
                        moved.push(*saga);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        // Nothing of this is appended, so none of them may go on from it: what
                        // is read again would look like what they have had.
                        for saga in moved.iter().chain([saga]) {
                            self.drop_live(*saga);
                        }
                        return Err(error);
                    }
                }
            }
            if appends.is_empty() {
                return Ok(());
            }
            let mut again = Work::new();
            let mut unavailable = false;
            let results = self.store.append(appends).await;
            for (saga, result) in moved.into_iter().zip(results) {
                match result {
                    Ok(appended) => {
                        let position = match appended.position {
                            Some(position) => position,
                            // A repeat of what stands somewhere before the head.
                            None => self.head().await?,
                        };
                        self.effects = self.effects.max(position);
                        self.settle(saga);
                    }
                    Err(AppendError::WrongExpectedRevision { .. }) => {
                        self.drop_live(saga);
                        again.extend(work.remove_entry(&saga));
                    }
                    Err(AppendError::Store(
                        StoreError::Unavailable(reason) | StoreError::Full(reason),
                    )) => {
                        tracing::warn!(%saga, reason, "a saga's events were not taken");
                        unavailable = true;
                        self.drop_live(saga);
                        again.extend(work.remove_entry(&saga));
                    }
                    Err(AppendError::Store(error)) => return Err(Error::Store(error)),
                    Err(error @ (AppendError::TooLarge { .. } | AppendError::Empty)) => {
                        return Err(Error::Stuck {
                            saga,
                            reason: error.to_string(),
                        });
                    }
                }
            }
            work = again;
            if unavailable {
                tokio::time::sleep(self.backoff(failures)).await;
                failures += 1;
                continue;
            }
            conflicts += 1;
            if conflicts > self.options.max_conflicts
                && let Some(saga) = work.keys().next()
            {
                return Err(Error::Stuck {
                    saga: *saga,
                    reason: format!("somebody else was first {conflicts} times in a row"),
                });
            }
        }
        Ok(())
    }

    /// Lets one saga react to what happened to it; the append that follows, if any.
    async fn react(
        &mut self,
        saga: Uuid,
        happened: &[Fed],
    ) -> Result<Option<recourse_event_store::Append>, Error> {
        let is_loaded_anew = !self.live.contains_key(&saga);
        if is_loaded_anew {
            if self.ended.contains(saga) {
                return Ok(None);
            }
            let begins = happened
                .iter()
                .find_map(|fed| Some((fed.starts.as_ref()?, fed.cause.as_ref()?)));
            let live = match (self.load_saga(saga).await?, begins) {
                (Some(live), _) => live,
                (None, _) if self.ended.contains(saga) => return Ok(None),
                (None, Some((definition, cause))) => Live::new(saga, Arc::clone(definition), cause),
                (None, None) => {
                    if self.share.is_whole() {
                        tracing::error!(%saga, "an answer came for a saga that never began");
                    }
                    return Ok(None);
                }
            };
            self.keep(saga, live);
        }
        let missed = if is_loaded_anew {
            self.missed(saga).await?
        } else {
            Vec::new()
        };
        let now = self.clock.now();
        let log = self.store.log_id();
        let Some(live) = self.live.get_mut(&saga) else {
            return Ok(None);
        };
        for fed in missed.iter().chain(happened) {
            // Time asked by what the saga was. Its timers are set anew, and are due or not.
            if is_loaded_anew && fed.cause.is_none() {
                continue;
            }
            let cause = fed.cause.clone().unwrap_or_else(|| live.time());
            let (position, error) = match &fed.happening {
                Happening::Input(input) => {
                    let position = position_of(input).unwrap_or(self.considered);
                    match live.feed(input.clone(), &cause, now, log) {
                        Ok(()) => continue,
                        // Somebody else may have moved it on, and what is known of it be old. A
                        // timer asks by what is known, and would only be set anew.
                        Err(_) if !is_loaded_anew && fed.cause.is_some() => {
                            self.drop_live(saga);
                            return Box::pin(self.react(saga, happened)).await;
                        }
                        Err(error) => (position, with_sources(&error)),
                    }
                }
                Happening::Unreadable { position, error } => (*position, error.clone()),
            };
            tracing::error!(%saga, %position, error, "a saga is parked");
            live.park(position, error, &cause, now, log)
                .map_err(|error| Error::Stuck {
                    saga,
                    reason: with_sources(&error),
                })?;
        }
        let append = live.take_append();
        if append.is_none() {
            self.settle(saga);
        }
        Ok(append)
    }

    /// Loads a saga from its stream; none where it never began, has ended or is others'. A stream that
    /// cannot be read stops its orchestrator: nobody could say so in that stream.
    pub(super) async fn load_saga(&mut self, saga: Uuid) -> Result<Option<Live>, Error> {
        let definitions = &self.definitions;
        let find = |hash: &str| {
            definitions
                .iter()
                .find(|definition| definition.hash() == hash)
                .map(Arc::clone)
        };
        let mut failures = 0;
        // Its inputs are in hand and others may have moved already: none is given up half way.
        let loaded = loop {
            match Live::load(&*self.store, saga, find).await {
                Err(LiveError::Store(StoreError::Unavailable(reason))) => {
                    tracing::warn!(%saga, reason, "a saga cannot be loaded for now");
                    tokio::time::sleep(self.backoff(failures)).await;
                    failures += 1;
                }
                loaded => break loaded,
            }
        };
        match loaded {
            Ok(Some(live)) => {
                // Somebody else may have written what is not durable yet.
                self.effects = self.effects.max(live.position);
                if !self.share.covers(live.correlation()) {
                    return Ok(None);
                }
                if live.state.is_ended() {
                    self.ended.insert(saga);
                    self.rows.ended(saga, live.correlation());
                    self.save_soon();
                    return Ok(None);
                }
                Ok(Some(live))
            }
            Ok(None) => Ok(None),
            Err(LiveError::Store(error)) => Err(Error::Store(error)),
            Err(error) => Err(Error::Stuck {
                saga,
                reason: with_sources(&error),
            }),
        }
    }

    /// The position of the last event, however long it takes to learn.
    pub(super) async fn head(&self) -> Result<Position, StoreError> {
        let mut failures = 0;
        loop {
            match self.store.appended().await {
                Err(StoreError::Unavailable(reason)) => {
                    tracing::warn!(reason, "the head of the log is not known for now");
                    tokio::time::sleep(self.backoff(failures)).await;
                    failures += 1;
                }
                known => return known,
            }
        }
    }

    pub(super) fn keep(&mut self, saga: Uuid, live: Live) {
        self.by_correlation
            .entry(live.correlation())
            .or_default()
            .insert(saga);
        let is_passed_over = live.definition.is_none();
        self.rows
            .begun(saga, live.correlation(), Row { is_passed_over });
        self.live.insert(saga, live);
        self.settle(saga);
    }

    /// Sets a saga's timer anew, or lets it go where it has ended.
    pub(super) fn settle(&mut self, saga: Uuid) {
        self.save_soon();
        let Some(live) = self.live.get_mut(&saga) else {
            return;
        };
        let due = live
            .state
            .next_due()
            .map(|(at, _)| at)
            // Whoever has no definition for it fires none of its timers.
            .filter(|_| live.definition.is_some());
        if live.timer != due {
            if let Some(at) = live.timer.take() {
                self.timers.remove(&(at, saga));
            }
            live.timer = due;
            self.timers.extend(due.map(|at| (at, saga)));
        }
        let (is_ended, is_quiet) = (live.state.is_ended(), is_quiet(live));
        let correlation = live.correlation();
        if is_quiet {
            let interval = Duration::from_millis(self.options.look_interval_ms);
            self.look_at
                .get_or_insert_with(|| Instant::now() + interval);
        }
        if is_ended {
            self.drop_live(saga);
            self.ended.insert(saga);
            self.rows.ended(saga, correlation);
        }
    }

    /// Forgets what is known of a saga; the next input loads it.
    pub(super) fn drop_live(&mut self, saga: Uuid) {
        let Some(live) = self.live.remove(&saga) else {
            return;
        };
        if let Some(at) = live.timer {
            self.timers.remove(&(at, saga));
        }
        if let Some(sagas) = self.by_correlation.get_mut(&live.correlation()) {
            sagas.remove(&saga);
            if sagas.is_empty() {
                self.by_correlation.remove(&live.correlation());
            }
        }
    }
}

fn position_of(input: &Input) -> Option<Position> {
    match input {
        Input::Answer { position, .. } | Input::Cancelled { position } => Some(*position),
        _ => None,
    }
}
