//! What the bus delivered and is still to be done, and what it is still to be told.

use std::collections::VecDeque;

use recourse_bus::{Deliveries, Delivery};
use recourse_event_store::{Position, typed};

use crate::SagaCommand;

/// The most commits that wait for the log; further ones are joined with the last.
const MAX_WAITING_COMMITS: usize = 256;

/// Saga commands in the order in which they were delivered, and the commits that their
/// effects allow once these are durable.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: VecDeque<Queued>,
    commits: VecDeque<Commit>,
    /// The last position that any saga command so far has led to.
    effects: Position,
}

struct Queued {
    command: SagaCommand,
    /// Set on the last one that the bus delivered at once.
    considered: Option<Position>,
}

/// Commit `considered` once the log is durable up to `needs`.
struct Commit {
    considered: Position,
    needs: Position,
}

impl Inbox {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes what the bus delivered.
    ///
    /// # Errors
    /// Where a saga's event cannot be read: which one, and what is wrong with it.
    pub(crate) fn take(
        &mut self,
        deliveries: Deliveries<Delivery>,
    ) -> Result<(), (Position, typed::Error)> {
        for delivery in deliveries.messages {
            let position = delivery.event.position;
            let command = SagaCommand::try_from(delivery).map_err(|error| (position, error))?;
            self.queue.push_back(Queued {
                command,
                considered: None,
            });
        }
        match self.queue.back_mut() {
            Some(last) => last.considered = Some(deliveries.considered),
            None => self.commit_later(deliveries.considered),
        }
        Ok(())
    }

    /// The next commands.
    pub(crate) fn first(&self, count: usize) -> impl Iterator<Item = &SagaCommand> {
        self.queue.iter().take(count).map(|queued| &queued.command)
    }

    /// Notes what came of the first commands: the position of each one's effect, or none
    /// where it has to be repeated. Those stay, in their order. Says whether there are any.
    pub(crate) fn settle(&mut self, effects: impl IntoIterator<Item = Option<Position>>) -> bool {
        let mut again: VecDeque<Queued> = VecDeque::new();
        for effect in effects {
            let Some(queued) = self.queue.pop_front() else {
                break;
            };
            let Some(position) = effect else {
                again.push_back(queued);
                continue;
            };
            self.effects = self.effects.max(position);
            if let Some(considered) = queued.considered {
                match again.back_mut() {
                    // Not before those that have to be repeated are done too.
                    Some(open) => open.considered = Some(considered),
                    None => self.commit_later(considered),
                }
            }
        }
        let repeats = !again.is_empty();
        again.append(&mut self.queue);
        self.queue = again;
        repeats
    }

    fn commit_later(&mut self, considered: Position) {
        let commit = Commit {
            considered,
            // What is considered may be ahead of what is durable too.
            needs: self.effects.max(considered),
        };
        if self.commits.len() >= MAX_WAITING_COMMITS {
            self.commits.pop_back();
        }
        self.commits.push_back(commit);
    }

    /// What the next commit waits for.
    pub(crate) fn next_needs(&self) -> Option<Position> {
        self.commits.front().map(|commit| commit.needs)
    }

    /// What the last commit waits for.
    pub(crate) fn last_needs(&self) -> Option<Position> {
        self.commits.back().map(|commit| commit.needs)
    }

    /// Takes out how far the bus may be told that everything has had its effect.
    pub(crate) fn due(&mut self, durable: Position) -> Option<Position> {
        let mut due = None;
        while let Some(commit) = self.commits.pop_front_if(|commit| commit.needs <= durable) {
            due = Some(commit.considered);
        }
        due
    }

    /// Lets go of everything: a new consumer delivers it again.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.commits.clear();
    }
}
