//! What time asks of the sagas.

use chrono::{DateTime, Utc};
use recourse_event_store::{Direction, Position, StreamName, Visibility};
use recourse_saga::{Definition, Finding, Input, Timer};
use uuid::Uuid;

use super::{
    Driver, Error,
    inputs::{Fed, Happening, Work},
    with_sources,
};
use crate::{
    live::Live,
    lookup::{self, Found, LookupError},
};

/// How many events of a stream are read at a time.
const PAGE: usize = 256;

/// That nothing of it comes here by itself.
pub(super) fn is_quiet(live: &Live) -> bool {
    live.definition.is_none() || live.state.still_since().is_some()
}

impl Driver {
    /// Looks anew at the sagas that others may move and nobody would tell: those of unknown
    /// definitions, to let go of those that have ended, and those that stand still.
    pub(super) fn look_again(&mut self) {
        self.look_at = None;
        let quiet = self.live.iter().filter(|(_, its)| is_quiet(its));
        self.to_load.extend(quiet.map(|(saga, _)| *saga));
    }

    /// Loads a saga anew, and feeds it what it has missed.
    pub(super) async fn load_anew(&mut self, saga: Uuid) -> Result<(), Error> {
        self.drop_live(saga);
        self.feed(Work::from([(saga, Vec::new())])).await?;
        self.passed_over.remove(&saga);
        Ok(())
    }

    /// Fires the timers that are due, the earliest of each saga.
    pub(super) async fn fire(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        let due: Vec<Uuid> = self
            .timers
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(self.options.max_timers)
            .map(|(_, saga)| *saga)
            .collect();
        let mut work = Work::new();
        for saga in due {
            let Some((_, timer)) = self.live.get(&saga).and_then(|live| live.state.next_due())
            else {
                continue;
            };
            let input = match timer {
                Timer::Overdue(command) => self.look_up(saga, command).await?,
                Timer::Resend(command) => Input::BackoffOver { command },
                Timer::Deadline => Input::DeadlinePassed,
            };
            work.entry(saga).or_default().push(Fed {
                happening: Happening::Input(input),
                cause: None,
                starts: None,
            });
        }
        self.feed(work).await
    }

    /// What became of a command that is overdue.
    async fn look_up(&self, saga: Uuid, command: Uuid) -> Result<Input, Error> {
        let stuck = |reason: String| Error::Stuck { saga, reason };
        let sent = self
            .live
            .get(&saga)
            .and_then(|live| live.state.command(command))
            .ok_or_else(|| stuck(format!("it has a timer for {command}, which it never sent")))?;
        let found = lookup::of_sent(&*self.store, saga, sent).await;
        match found {
            Ok(Found::Answered(answer, position)) => Ok(Input::Answer {
                command,
                answer,
                position,
            }),
            Ok(Found::Lost) => Ok(Input::Overdue {
                command,
                finding: Finding::Lost,
            }),
            Ok(Found::Waiting) => Ok(Input::Overdue {
                command,
                finding: Finding::Waiting,
            }),
            Err(LookupError::Store(error)) => Err(Error::Store(error)),
            Err(error) => Err(stuck(with_sources(&error))),
        }
    }

    /// What a saga that was parked, or passed over, has not heard: the answers in its targets' streams, and what
    /// cancelled it, in the order of the log.
    pub(super) async fn missed(&self, saga: Uuid) -> Result<Vec<Fed>, Error> {
        let Some(live) = self.live.get(&saga) else {
            return Ok(Vec::new());
        };
        let Some(definition) = &live.definition else {
            return Ok(Vec::new());
        };
        if !live.state.may_have_missed() && !self.passed_over.contains(&saga) {
            return Ok(Vec::new());
        }
        let mut missed = Vec::new();
        let unreadable = |error: String| Happening::Unreadable {
            position: live.position,
            error,
        };
        for sent in live.state.open_commands() {
            match lookup::of_sent(&*self.store, saga, sent).await {
                Ok(Found::Answered(answer, position)) => {
                    let input = Input::Answer {
                        command: sent.id,
                        answer,
                        position,
                    };
                    missed.push((position, Happening::Input(input)));
                }
                Ok(Found::Lost | Found::Waiting) => {}
                Err(LookupError::Store(error)) => return Err(Error::Store(error)),
                Err(error) => missed.push((live.position, unreadable(with_sources(&error)))),
            }
        }
        match definition.pivot_target(&live.state) {
            Ok(Some(stream)) => {
                self.cancellations(live, definition, &stream, &mut missed)
                    .await?
            }
            Ok(None) => {}
            Err(error) => missed.push((live.position, unreadable(with_sources(&error)))),
        }
        missed.sort_by_key(|(position, _)| *position);
        let fed = |(_, happening)| Fed {
            happening,
            cause: Some(live.time()),
            starts: None,
        };
        Ok(missed.into_iter().map(fed).collect())
    }

    /// What cancels a saga, in the stream that its pivot goes to.
    async fn cancellations(
        &self,
        live: &Live,
        definition: &Definition,
        stream: &StreamName,
        found: &mut Vec<(Position, Happening)>,
    ) -> Result<(), Error> {
        let mut from = 0;
        loop {
            let (forward, seen) = (Direction::Forward, Visibility::Appended);
            let page = self
                .store
                .read_stream(stream, Some(from), forward, seen, PAGE)
                .await?;
            for event in &page {
                let position = event.position;
                match definition.cancels(event) {
                    Ok(Some(cancel)) if cancel.correlation == live.correlation() => {
                        let input = Input::Cancelled { position };
                        found.push((position, Happening::Input(input)));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let error = with_sources(&error);
                        found.push((position, Happening::Unreadable { position, error }));
                    }
                }
                from = event.revision.saturating_add(1);
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }
}
