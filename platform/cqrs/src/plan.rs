//! What is to become of one stream in one append: decided, not yet appended.

use std::sync::Arc;

use recourse_event_store::{Position, RecordedEvent, StoreError, StreamName};

use crate::{Aggregate, Effect, Handled, Rejection, Tracked, repository::damaged};

/// What was decided about a stream's requests, on one base.
pub(crate) struct Plan<A: Aggregate> {
    pub(crate) pending: Vec<RecordedEvent>,
    /// The base with the first `applied` of `pending`; only made where a later request has to
    /// see what an earlier one does.
    working: Option<Tracked<A>>,
    applied: usize,
    pub(crate) verdicts: Vec<Verdict<A::Refusal>>,
    /// That an answer which writes nothing would be wrong on an outdated base.
    pub(crate) doubtful: bool,
}

pub(crate) struct Verdict<R> {
    pub(crate) request: usize,
    pub(crate) what: What<R>,
}

pub(crate) enum What<R> {
    Effect {
        effect: Effect,
        /// Of the events in `pending`.
        first: usize,
        events: usize,
    },
    Rejected(Rejection<R>),
    TooLarge(usize, usize),
}

impl<A: Aggregate> Plan<A> {
    pub(crate) fn new() -> Self {
        Self {
            pending: Vec::new(),
            working: None,
            applied: 0,
            verdicts: Vec::new(),
            doubtful: false,
        }
    }

    /// What the next request is decided on.
    pub(crate) fn tracked<'a>(&'a self, base: &'a Tracked<A>) -> &'a Tracked<A> {
        self.working.as_ref().unwrap_or(base)
    }

    pub(crate) fn say(&mut self, request: usize, what: What<A::Refusal>) {
        self.verdicts.push(Verdict { request, what });
    }

    pub(crate) fn add(
        &mut self,
        request: usize,
        handled: Handled<A::Refusal>,
        base: &Tracked<A>,
        stream: &StreamName,
        is_saga: bool,
    ) {
        let first = self.pending.len();
        let what = match handled {
            Handled::Write { events, effect } => {
                for event in events {
                    let revision = base
                        .tracking()
                        .next_revision()
                        .saturating_add(self.pending.len() as u64);
                    // The position is a stand-in until the store says where the last one is.
                    self.pending
                        .push(event.record(base.position(), stream.clone(), revision));
                }
                What::Effect {
                    effect,
                    first,
                    events: self.pending.len() - first,
                }
            }
            Handled::Nothing(effect) => {
                // What was taken or accepted stays so whatever else is new.
                self.doubtful |= !is_saga && !matches!(effect, Effect::Replayed { .. });
                What::Effect {
                    effect,
                    first,
                    events: 0,
                }
            }
            Handled::Rejected(rejection) => {
                self.doubtful = true;
                What::Rejected(rejection)
            }
        };
        self.say(request, what);
    }

    /// Makes what is pending visible to the next request.
    pub(crate) fn catch_up(&mut self, base: &Tracked<A>) -> Result<(), StoreError> {
        if self.applied == self.pending.len() {
            return Ok(());
        }
        let tracked = self.working.take().unwrap_or_else(|| base.clone());
        self.working = Some(self.apply_rest(tracked)?);
        Ok(())
    }

    /// The base with everything that was pending, in its place now.
    pub(crate) fn finish(
        &mut self,
        base: Arc<Tracked<A>>,
        position: Position,
    ) -> Result<Tracked<A>, StoreError> {
        let tracked = match self.working.take() {
            Some(tracked) => tracked,
            // Nobody else holds it as a rule, so nothing is copied.
            None => Arc::unwrap_or_clone(base),
        };
        let mut tracked = self.apply_rest(tracked)?;
        tracked.settle(position);
        Ok(tracked)
    }

    fn apply_rest(&mut self, mut tracked: Tracked<A>) -> Result<Tracked<A>, StoreError> {
        for event in self.pending.iter().skip(self.applied) {
            tracked = tracked.apply(event).map_err(|error| damaged(&error))?;
        }
        self.applied = self.pending.len();
        Ok(tracked)
    }
}
