//! What time asks of the sagas.

use chrono::{DateTime, Utc};
use recourse_event_store::{Direction, Mark, Position, StoreError, StreamName, Visibility};
use recourse_saga::{Definition, Finding, Input, Timer};
use uuid::Uuid;

use super::{
    Error, Orchestrator,
    inputs::{Fed, Happening, Work},
    with_sources,
};
use crate::lookup::{self, Found};

impl Orchestrator {
    /// Loads the sagas of unknown definitions anew, to let go of those that have ended.
    pub(super) async fn look_again(&mut self) -> Result<(), Error> {
        self.look_at = None;
        let unknown = self.live.iter().filter(|(_, its)| its.definition.is_none());
        let unknown: Vec<Uuid> = unknown.map(|(saga, _)| *saga).collect();
        for saga in unknown {
            let loaded = self.load_saga(saga).await?;
            self.drop_live(saga);
            if let Some(live) = loaded {
                self.keep(saga, live);
            }
        }
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
        let (target, revision, index) = self
            .live
            .get(&saga)
            .and_then(|live| live.state.command(command))
            .map(|sent| (sent.target.clone(), sent.revision, sent.index))
            .ok_or_else(|| stuck(format!("it has a timer for {command}, which it never sent")))?;
        let position = self
            .position_in(&Definition::stream(saga), revision)
            .await?;
        let position = position.ok_or_else(|| stuck(format!("its event {revision} is gone")))?;
        let mark = Mark { position, index };
        let found = lookup::look_up(&*self.store, &target, command, mark).await;
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
            Err(lookup::LookupError::Store(error)) => Err(Error::Store(error)),
            Err(error) => Err(stuck(with_sources(&error))),
        }
    }

    async fn position_in(
        &self,
        stream: &StreamName,
        revision: u64,
    ) -> Result<Option<Position>, StoreError> {
        let events = self
            .store
            .read_stream(
                stream,
                Some(revision),
                Direction::Forward,
                Visibility::Appended,
                1,
            )
            .await?;
        Ok(events.first().map(|event| event.position))
    }
}
