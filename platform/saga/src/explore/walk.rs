//! Walks every path of a saga against the real rules of the aggregates that it talks to.
//!
//! ```text
//! the starting event ─▶ [saga] ─▶ commands ─▶ [aggregates] ─▶ answers ─▶ [saga] ─▶ …
//!          each in any order, late, lost, twice; timers; clients in between
//! ```
//!
//! A path is right where the saga ends with every command answered, whatever is delivered twice
//! changes nothing, and all that [`Walk::holds`] says is so at each step.

use std::{cell::RefCell, collections::BTreeMap, fmt, sync::Arc};

use recourse_cqrs::Aggregate;
use recourse_event_store::{RecordedEvent, StreamName};

use super::{
    Failure, explore,
    party::{Party, party},
    paths::{Paths, World},
};
use crate::{Definition, End, State};

/// More states than a saga of a dozen steps has within the usual faults.
const MAX_STATES: usize = 5_000_000;

/// How many faults of each kind a path may have. What is delivered twice is tried everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Timers that fire while an answer may still come.
    pub timeouts: u8,
    /// Deadlines that pass while an answer may still come.
    pub deadlines: u8,
    /// Commands that never arrive, while later ones do.
    pub losses: u8,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            timeouts: 1,
            deadlines: 1,
            losses: 1,
        }
    }
}

type Holds = Box<dyn Fn(&Seen<'_>) -> bool>;

/// A saga to be walked: what starts it, whom it talks to, and what has to hold.
///
/// ```ignore
/// let ends = Walk::of(definition, recorded("member-ann", Event::Offered(gift)))
///     .given::<Member>("ann", [Event::Received(other)])
///     .given::<Member>("bob", [])
///     .completed("bob has the points", |seen| seen.of::<Member>("bob").free == 4)
///     .ends();
/// assert_eq!(ends.unwrap(), ["compensated (too-many-points)", "completed"]);
/// ```
pub struct Walk {
    pub(super) definition: Definition,
    pub(super) starts: RecordedEvent,
    pub(super) parties: BTreeMap<StreamName, Arc<dyn Party>>,
    pub(super) meanwhile: Vec<Meanwhile>,
    pub(super) holds: Vec<(&'static str, Holds)>,
    pub(super) faults: Faults,
    pub(super) ended: RefCell<BTreeMap<String, usize>>,
    wrong: Option<String>,
}

/// What a client may ask at any time, once.
pub(super) struct Meanwhile {
    pub(super) stream: StreamName,
    pub(super) command: Box<dyn std::any::Any + Send + Sync>,
    pub(super) words: String,
}

/// One state of everything, for [`Walk::holds`] to look at.
pub struct Seen<'a> {
    pub(super) world: &'a World,
}

impl Walk {
    /// Of the saga that this event starts.
    #[must_use]
    pub fn of(definition: Definition, starts: RecordedEvent) -> Self {
        Self {
            definition,
            starts,
            parties: BTreeMap::new(),
            meanwhile: Vec::new(),
            holds: Vec::new(),
            faults: Faults::default(),
            ended: RefCell::default(),
            wrong: None,
        }
    }

    /// An aggregate that it talks to, and what has happened to it before.
    #[must_use]
    pub fn given<A: Aggregate>(
        mut self,
        id: &str,
        events: impl IntoIterator<Item = A::Event>,
    ) -> Self {
        let stream = StreamName::new(A::CATEGORY, id);
        match party::<A>(&stream, events) {
            Ok(party) => drop(self.parties.insert(stream, party)),
            Err(wrong) => self.wrong = Some(wrong),
        }
        self
    }

    /// What a client may ask of an aggregate at any time, once. What that cancels, by the
    /// definition, is cancelled.
    #[must_use]
    pub fn meanwhile<A: Aggregate>(mut self, id: &str, command: A::Command) -> Self
    where
        A::Command: fmt::Debug,
    {
        let stream = StreamName::new(A::CATEGORY, id);
        self.meanwhile.push(Meanwhile {
            words: format!("a client asks {stream}: {command:?}"),
            stream,
            command: Box::new(command),
        });
        self
    }

    /// Something that is so at each step of each path.
    #[must_use]
    pub fn holds(
        mut self,
        what: &'static str,
        holds: impl Fn(&Seen<'_>) -> bool + 'static,
    ) -> Self {
        self.holds.push((what, Box::new(holds)));
        self
    }

    /// Something that is so wherever it has ended with all of it done.
    #[must_use]
    pub fn completed(
        self,
        what: &'static str,
        holds: impl Fn(&Seen<'_>) -> bool + 'static,
    ) -> Self {
        self.at(End::Completed, what, holds)
    }

    /// Something that is so wherever it has ended with all of it undone.
    #[must_use]
    pub fn compensated(
        self,
        what: &'static str,
        holds: impl Fn(&Seen<'_>) -> bool + 'static,
    ) -> Self {
        self.at(End::Compensated, what, holds)
    }

    fn at(self, end: End, what: &'static str, holds: impl Fn(&Seen<'_>) -> bool + 'static) -> Self {
        self.holds(what, move |seen| seen.end() != Some(end) || holds(seen))
    }

    /// Other faults than the usual ones.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Walks every path. How it can end, in words, sorted: `completed`,
    /// `compensated (out-of-stock)`.
    ///
    /// # Errors
    /// What goes wrong, and one of the shortest ways there.
    pub fn ends(self) -> Result<Vec<String>, Failure> {
        let wrong = |what| Failure {
            what,
            path: Vec::new(),
        };
        if let Some(what) = self.wrong {
            return Err(wrong(what));
        }
        let start = World::start(&self).map_err(wrong)?;
        let report = explore(&Paths { walk: &self, start }, MAX_STATES);
        match report.failure {
            Some(failure) => Err(failure),
            None if report.is_cut => Err(wrong(format!("more than {MAX_STATES} states"))),
            None => Ok(self.ended.into_inner().into_keys().collect()),
        }
    }
}

impl Seen<'_> {
    /// The saga.
    #[must_use]
    pub fn saga(&self) -> &State {
        &self.world.saga
    }

    /// How it has ended; none while it has not.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.world.saga.end()
    }

    /// An aggregate as it stands; its default where the walk was given none.
    #[must_use]
    pub fn of<A: Aggregate>(&self, id: &str) -> A::State {
        let party = self.world.parties.get(&StreamName::new(A::CATEGORY, id));
        let state = party.and_then(|party| party.state().downcast_ref());
        state.cloned().unwrap_or_default()
    }
}
