//! What an operator may do to a saga: pause, resume, retry, skip, compensate.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{ReactError, Reaction};
use crate::{
    By, CompensationRequested, Definition, Direction, Event, Ids, Kind, Part, Paused, Resumed,
    Retried, Rule, Rules, SentCommand, Settlement, Skip, SkipRequested, SkipResult, State,
    StepSkipped, WayBack, state::Sent,
};

/// What an operator wants of a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// That it stands still: it records answers and sends nothing.
    Pause,
    /// That it goes on, from a pause or from being parked.
    Resume,
    /// That what was refused is sent again, and what is not answered is looked up at once: that is
    /// sent again only where it can never take effect any more.
    Retry {
        /// Only of this step.
        step: Option<Arc<str>>,
        /// What the operator found out about what is not answered, for a step that is
        /// [settled](crate::Step::settled_by) so: its target is told instead of asked.
        said: Option<Said>,
    },
    /// That a step, or on the way back its undo, is left out.
    Skip {
        /// Which step.
        step: Arc<str>,
        /// What the operator says of it.
        result: SkipResult,
    },
    /// That it is undone.
    Compensate,
}

/// What an operator says became of a command that nobody answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it took effect.
    pub result: SkipResult,
    /// The name that whoever did it has for it, where it is known.
    pub reference: Option<String>,
}

/// Why an action does nothing.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The saga does not stand so that it could be done; for the operator.
    #[error("{0}")]
    NotPossible(String),
    /// There is no reaction.
    #[error(transparent)]
    React(#[from] ReactError),
}

/// The events that an action makes, in one append, at the revision of `state`: what a dry run
/// shows and what is written.
///
/// # Errors
/// [`ActError`] where it is not possible now, and why.
pub fn act(
    definition: &Definition,
    state: &State,
    action: &Action,
    by: &By,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, ActError> {
    act_under(Rules::default(), definition, state, action, by, now)
}

/// [`act`] with a rule taken away.
///
/// # Errors
/// As [`act`].
#[cfg_attr(
    not(feature = "explore"),
    expect(unreachable_pub, reason = "for exploring only")
)]
pub fn act_under(
    rules: Rules,
    definition: &Definition,
    state: &State,
    action: &Action,
    by: &By,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, ActError> {
    let reaction = Reaction::new(rules, definition, state, now)?;
    if state.is_ended() {
        return not_possible("the saga has ended");
    }
    match action {
        Action::Pause => reaction.pause(by),
        Action::Resume => reaction.resume(by),
        // What it waits for is read again then, which looks up all of it.
        Action::Retry { .. } if state.is_parked() => reaction.resume(by),
        _ if state.is_parked() => not_possible("the saga is parked: resume it first"),
        Action::Compensate => reaction.compensate(by),
        _ if state.is_paused() => not_possible("the saga is paused: resume it first"),
        Action::Retry {
            step: Some(step),
            said: Some(said),
        } => reaction.settle(step, said, by),
        Action::Retry { said: Some(_), .. } => not_possible("an outcome is of one step"),
        Action::Retry { step, said: None } => reaction.retry(step.as_deref(), by),
        Action::Skip { step, result } => reaction.skip(step, *result, by),
    }
}

fn not_possible<T>(why: impl Into<String>) -> Result<T, ActError> {
    Err(ActError::NotPossible(why.into()))
}

/// How far it is that something is left out.
pub(super) enum Skipping {
    /// These undo what may have been done.
    Send(Vec<SentCommand>),
    /// For the answer to such a command.
    Wait,
    /// It is left out.
    Counts {
        /// That an effect stays.
        remains: bool,
    },
}

impl Reaction<'_> {
    fn pause(&self, by: &By) -> Result<Vec<Event>, ActError> {
        if self.state.is_parked() {
            return not_possible("the saga is parked and stands still already");
        }
        if self.state.is_paused() {
            return not_possible("the saga is paused already");
        }
        Ok(vec![Event::Paused(Paused { by: by.clone() })])
    }

    fn resume(&self, by: &By) -> Result<Vec<Event>, ActError> {
        if self.state.still_since().is_none() {
            return not_possible("the saga is neither paused nor parked");
        }
        // Somebody paused it on purpose: that it was parked besides is what is over.
        let stays_paused = self.state.is_parked() && self.state.is_paused();
        let stood_still = if stays_paused {
            TimeDelta::zero()
        } else {
            self.stood_still()
        };
        let deadline_at = self
            .state
            .deadline_at()
            .and_then(|at| at.checked_add_signed(stood_still))
            .filter(|_| !stays_paused);
        let resumed = Event::Resumed(Resumed {
            by: by.clone(),
            stood_still_ms: u64::try_from(stood_still.num_milliseconds()).unwrap_or(0),
            stays_paused,
            deadline_at,
            commands: Vec::new(),
        });
        Ok(self.with_what_follows(resumed)?)
    }

    /// How long it has stood still; zero where it does not.
    fn stood_still(&self) -> TimeDelta {
        let since = self.state.still_since().unwrap_or(self.now);
        (self.now - since).max(TimeDelta::zero())
    }

    fn retry(&self, step: Option<&str>, by: &By) -> Result<Vec<Event>, ActError> {
        if let Some(step) = step {
            self.known(step)?;
        }
        let to_retry = self.state.to_retry(step);
        if to_retry.is_empty() {
            return not_possible("nothing of it is unanswered or was refused");
        }
        let (mut looks_up, mut commands) = (Vec::new(), Vec::new());
        for sent in to_retry {
            if sent.is_open() && self.rules.hold(Rule::RetryLooksUpFirst) {
                looks_up.push(sent.id);
                continue;
            }
            let (part, step) = (sent.part(), self.step(&sent.step)?);
            let attempt = self.state.next_attempt(&part, sent.direction);
            commands.push(self.command(step, &part, sent.direction, attempt)?);
        }
        let mut retried = Retried {
            by: by.clone(),
            deadline_at: None,
            looks_up,
            said: None,
            commands,
        };
        retried.deadline_at = self.eased(&Event::Retried(retried.clone()))?;
        Ok(vec![Event::Retried(retried)])
    }

    /// Tells the target of a step what became of what it has not answered. Of a step whose way back
    /// waits too, that is about the step.
    fn settle(&self, step: &Arc<str>, said: &Said, by: &By) -> Result<Vec<Event>, ActError> {
        self.known(step)?;
        let state = self.state;
        let open = || state.open_commands().filter(|sent| sent.step == *step);
        let Some(direction) = open().map(|sent| sent.direction).min() else {
            return not_possible(format!("nothing of `{step}` is unanswered"));
        };
        let settlement = Settlement {
            direction,
            took_effect: said.result == SkipResult::Done,
            reference: said.reference.clone(),
            reason: by.reason.clone(),
        };
        let erased = self.step(step)?;
        let ids = Ids::of(state);
        let Some(outgoing) = erased.settling(self.input(state)?, &ids, &settlement) else {
            return not_possible(format!(
                "what became of `{step}` its target knows: retry it"
            ));
        };
        let outgoing = outgoing.map_err(|source| ReactError::Command {
            step: step.to_string(),
            source,
        })?;
        // One word at a time: what is told twice would be answered twice.
        let is_open = |item: &Arc<str>| {
            let its = |sent: &&Sent| sent.direction == direction && sent.item == *item;
            open().filter(its).count() == 1
        };
        let mut commands = Vec::new();
        for outgoing in outgoing {
            if is_open(&outgoing.item) {
                let part = Part {
                    step: Arc::clone(step),
                    item: Arc::clone(&outgoing.item),
                };
                let attempt = state.next_attempt(&part, direction);
                commands.push(self.sent_command(state, erased, outgoing, direction, attempt)?);
            }
        }
        if commands.is_empty() {
            return not_possible(format!("the target of `{step}` is being told already"));
        }
        let mut retried = Retried {
            by: by.clone(),
            deadline_at: None,
            looks_up: Vec::new(),
            said: Some(said.result),
            commands,
        };
        retried.deadline_at = self.eased(&Event::Retried(retried.clone()))?;
        Ok(vec![Event::Retried(retried)])
    }

    fn skip(&self, step: &Arc<str>, result: SkipResult, by: &By) -> Result<Vec<Event>, ActError> {
        let kind = self.known(step)?;
        let state = self.state;
        if kind == Kind::Pivot && self.rules.hold(Rule::PivotIsNotSkipped) {
            return not_possible("the point of no return cannot be skipped");
        }
        if state.is_reversing() {
            return not_possible("the saga is about to be undone: wait for the pivot's reversal");
        }
        let back = state.turned_back().is_some() && kind != Kind::Closing;
        let direction = if back {
            state.back_of(step)
        } else {
            Direction::Do
        };
        let mut parts: Vec<Part> = state.parts(step).collect();
        if parts.is_empty() {
            return not_possible(format!("`{step}` has not been sent"));
        }
        if back {
            let to_undo = state.undo_plan();
            parts.retain(|part| to_undo.contains(part));
            if parts.is_empty() {
                return not_possible(format!("nothing of `{step}` is left to undo"));
            }
            parts.retain(|part| state.latest(part, direction).is_some());
            if parts.is_empty() {
                return not_possible(format!("the undo of `{step}` has not been sent yet"));
            }
        } else {
            parts.retain(|part| !state.part_is_done(part, Direction::Do));
            parts.retain(|part| !state.is_skipped(part));
            if parts.is_empty() {
                return not_possible(format!("`{step}` is done, or skipped already"));
            }
        }
        // Asked for again it does not wait for a way back that was refused.
        parts.retain(|part| {
            let is_asked = state.pending_skips().any(|skip| skip.part == *part);
            !is_asked || self.is_held_up(part)
        });
        if parts.is_empty() {
            return not_possible(format!("`{step}` is being skipped already"));
        }
        let mut requested = SkipRequested {
            by: by.clone(),
            step: Arc::clone(step),
            items: parts.into_iter().map(|part| part.item).collect(),
            direction,
            result,
            deadline_at: None,
            commands: Vec::new(),
        };
        requested.deadline_at = self.eased(&Event::SkipRequested(requested.clone()))?;
        let mut events = self.with_what_follows(Event::SkipRequested(requested))?;
        let has_ended = matches!(
            events.last(),
            Some(Event::Completed(_) | Event::Compensated(_))
        );
        if has_ended && let Some(Event::SkipRequested(requested)) = events.first_mut() {
            requested.deadline_at = None;
        }
        Ok(events)
    }

    /// Whether an undo that a skip waits for was refused for good.
    fn is_held_up(&self, part: &Part) -> bool {
        self.undoes_of_skip(self.state, part).iter().any(|undo| {
            self.state
                .latest(undo, self.state.back_of(&undo.step))
                .is_some_and(|sent| self.is_stuck(self.state, sent))
        })
    }

    fn compensate(&self, by: &By) -> Result<Vec<Event>, ActError> {
        let state = self.state;
        if state.turned_back().is_some() || state.is_reversing() {
            return not_possible("the saga is on its way back already");
        }
        if state.pending_skips().next().is_some() {
            return not_possible("a step is being skipped: wait for that");
        }
        if state.is_past_return() {
            return not_possible("the saga is past its point of no return, which nothing reverses");
        }
        let past_pivot = state.pivot_is_sent() && self.rules.hold(Rule::PivotIsReversedFirst);
        let requested = CompensationRequested {
            by: by.clone(),
            past_pivot,
            stood_still_ms: u64::try_from(self.stood_still().num_milliseconds()).unwrap_or(0),
            deadline_at: self.deadline()?,
            commands: Vec::new(),
        };
        Ok(self.with_what_follows(Event::CompensationRequested(requested))?)
    }

    fn known(&self, step: &str) -> Result<Kind, ActError> {
        match self.definition.step(step) {
            Some(step) => Ok(step.plan.kind),
            None => not_possible(format!("the saga has no step `{step}`")),
        }
    }

    /// The new deadline of a saga that needs attention and, after this, is not stuck any more.
    fn eased(&self, event: &Event) -> Result<Option<DateTime<Utc>>, ReactError> {
        if !self.state.has_attention() {
            return Ok(None);
        }
        let next = self.after(event);
        let is_stuck = next
            .commands()
            .iter()
            .any(|sent| self.is_stuck(&next, sent));
        if is_stuck {
            return Ok(None);
        }
        self.deadline().map(Some)
    }

    /// How far it is that this is left out.
    pub(super) fn skipping(&self, next: &State, skip: &Skip) -> Result<Skipping, ReactError> {
        let part = &skip.part;
        let is_awaited = |part: &Part, direction| {
            next.attempts(part, direction).any(Sent::is_open)
                || next
                    .latest(part, direction)
                    .is_some_and(|sent| sent.resend_at.is_some())
        };
        if !skip.direction.is_forward() {
            return Ok(if is_awaited(part, skip.direction) {
                Skipping::Wait
            } else {
                Skipping::Counts { remains: true }
            });
        }
        let mut remains = self.step(&part.step)?.plan.kind == Kind::Closing;
        if self.rules.hold(Rule::SkipUndoesFirst) {
            let has_undo = next.has_undo(&part.step);
            let waits_for = if has_undo {
                next.back_of(&part.step)
            } else {
                Direction::Do
            };
            if is_awaited(part, waits_for) {
                return Ok(Skipping::Wait);
            }
            for undo in self.undoes_of_skip(next, part) {
                let direction = next.back_of(&undo.step);
                if is_awaited(&undo, direction) {
                    return Ok(Skipping::Wait);
                }
                let is_refused = next.latest(&undo, direction).is_some();
                if is_refused && !skip.insists {
                    return Ok(Skipping::Wait);
                }
                if is_refused {
                    remains = true;
                    continue;
                }
                let step = self.step(&undo.step)?;
                return self.undo(next, step, vec![undo]).map(Skipping::Send);
            }
        }
        Ok(Skipping::Counts { remains })
    }

    /// What is undone before a part is left out, in order: itself, and the earlier effect that
    /// it was to take over, which nobody else would.
    fn undoes_of_skip(&self, next: &State, part: &Part) -> Vec<Part> {
        let taken_over = self
            .definition
            .step(&part.step)
            .and_then(|step| step.plan.takes_over.clone())
            .map(|step| Part {
                step,
                item: Arc::clone(&part.item),
            });
        let own = Some(part.clone()).filter(|part| next.needs_undo(part));
        let earlier = taken_over
            .filter(|earlier| next.needs_undo(earlier) && !next.is_taken_over(earlier))
            .filter(|earlier| !next.is_skipped(earlier));
        own.into_iter().chain(earlier).collect()
    }

    pub(super) fn skipped(
        &self,
        next: &State,
        skip: Skip,
        remains: bool,
    ) -> Result<StepSkipped, ReactError> {
        let Skip {
            part,
            direction,
            result,
            by,
            ..
        } = skip;
        let outgoing = self
            .outgoing(next, self.step(&part.step)?, direction)?
            .into_iter()
            .find(|outgoing| outgoing.item == part.item)
            .ok_or_else(|| ReactError::NoCommand(part.clone()))?;
        Ok(StepSkipped {
            by,
            step: part.step,
            item: part.item,
            direction,
            result,
            remains,
            target: outgoing.target,
            command_type: outgoing.command_type,
            commands: Vec::new(),
        })
    }
}

impl State {
    /// The commands that a retry is about, of one step or of all: what is open, was refused for
    /// now, or for good.
    fn to_retry(&self, step: Option<&str>) -> Vec<&Sent> {
        self.commands()
            .iter()
            .filter(|sent| step.is_none_or(|step| &*sent.step == step))
            .filter(|sent| self.is_wanted(sent))
            .filter(|sent| {
                let part = sent.part();
                let is_settled = self.part_is_done(&part, sent.direction) || self.is_skipped(&part);
                !is_settled
                    && !sent.superseded
                    && !self.has_later_attempt(&part, sent.direction, sent.id)
            })
            .collect()
    }

    /// Whether the saga, as it stands, still wants what a command does.
    fn is_wanted(&self, sent: &Sent) -> bool {
        let planned = self.planned(&sent.step);
        let kind = planned.map(|planned| planned.kind);
        let is_of_pivot = kind == Some(Kind::Pivot);
        if self.is_reversing() {
            return is_of_pivot && sent.direction == Direction::Reverse;
        }
        let turned = self.turned_back().is_some();
        match sent.direction {
            Direction::Do if kind == Some(Kind::Closing) => true,
            Direction::Do => !turned && !self.is_being_skipped(&sent.part()),
            Direction::Undo | Direction::Reverse => {
                !is_of_pivot && planned.is_some_and(|planned| planned.way_back == WayBack::Command)
            }
        }
    }
}
