//! What an answer means.

use chrono::{DateTime, Utc};
use recourse_event_store::Position;
use uuid::Uuid;

use super::{NOTHING_TO_UNDO, ReactError, Reaction};
use crate::{
    Answer, Answered, AttentionNeeded, Direction, Event, Kind, Outcome, Part, Rule, State,
    definition::ErasedStep, state::Sent,
};

/// What an answer means for the command it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// What it says.
    Plain,
    /// A refusal that says that there is nothing left to do.
    CountsAsDone,
    /// A refusal for now: the next attempt is sent at this time.
    Again(DateTime<Utc>),
    /// A refusal that nothing but an operator mends, and why.
    Stuck(String),
}

impl Reaction<'_> {
    pub(super) fn answer(
        &self,
        command: Uuid,
        answer: Answer,
        position: Position,
    ) -> Result<Vec<Event>, ReactError> {
        let sent = self.sent(command)?;
        if sent.outcome.is_some() && self.rules.hold(Rule::AnsweredOnce) {
            return Ok(Vec::new());
        }
        let step = self.step(&sent.step)?;
        let verdict = self.verdict(sent, step, &answer)?;
        let part = sent.part();
        let mut answered = Answered {
            command,
            step: sent.step.clone(),
            item: sent.item.clone(),
            direction: sent.direction,
            answer,
            position,
            counts_as_done: verdict == Verdict::CountsAsDone,
            is_moot: self.state.is_moot(sent),
            closes: Vec::new(),
            resend_at: match verdict {
                Verdict::Again(at) => Some(at),
                _ => None,
            },
            deadline_at: None,
            commands: Vec::new(),
        };
        if self.state.has_attention() {
            let next = self.after(&Event::Answered(answered.clone()));
            answered.deadline_at = self.cleared(&next)?;
        }
        let was_reversing = self.state.is_reversing();
        let mut events = self.with_what_follows(Event::Answered(answered))?;
        let has_ended = matches!(
            events.last(),
            Some(Event::Completed(_) | Event::Compensated(_))
        );
        if has_ended && let Some(Event::Answered(answered)) = events.first_mut() {
            answered.deadline_at = None;
        }
        // Said even where the saga needs attention already: this is why it stays so.
        if let Verdict::Stuck(why) = verdict {
            events.push(Event::AttentionNeeded(AttentionNeeded { why }));
        } else if was_reversing && let Some(why) = self.where_it_was(&events, &part) {
            events.push(Event::AttentionNeeded(AttentionNeeded { why }));
        }
        Ok(events)
    }

    /// Where the pivot's reversal was refused and the saga was stuck before: why it is again.
    fn where_it_was(&self, events: &[Event], pivot: &Part) -> Option<String> {
        let mut next = self.state.clone();
        for event in events {
            next.apply(event, self.now);
        }
        if next.is_reversing() || next.turned_back().is_some() {
            return None;
        }
        let stuck: Vec<String> = next
            .commands()
            .iter()
            .filter(|sent| self.is_stuck(&next, sent))
            .map(|sent| sent.part().to_string())
            .collect();
        (!stuck.is_empty()).then(|| {
            let stuck = stuck.join(", ");
            format!("the reversal of {pivot} was refused, and {stuck} was too")
        })
    }

    fn verdict(
        &self,
        sent: &Sent,
        step: &ErasedStep,
        answer: &Answer,
    ) -> Result<Verdict, ReactError> {
        let Answer::Refused {
            code,
            detail,
            is_final,
        } = answer
        else {
            return Ok(Verdict::Plain);
        };
        let undo = sent.direction != Direction::Do;
        let nothing_left = code == NOTHING_TO_UNDO
            && (step.plan.kind == Kind::Closing
                || (undo && self.rules.hold(Rule::NothingToUndoIsDone)));
        if nothing_left {
            return Ok(Verdict::CountsAsDone);
        }
        if !self.is_kept_up(self.state, sent, step) {
            return Ok(Verdict::Plain);
        }
        if !is_final
            && sent.attempt < step.max_attempts()
            && self.rules.hold(Rule::RefusedForNowIsSentAgain)
        {
            let at = step
                .resend_at(self.now, sent.attempt, sent.id)
                .ok_or(ReactError::Time)?;
            return Ok(Verdict::Again(at));
        }
        let is_for_pivot = step.plan.kind == Kind::Pivot;
        if is_for_pivot || (!undo && self.state.is_reversing()) {
            // The saga goes back to where it was, or will say so then.
            return Ok(Verdict::Plain);
        }
        let rule = if undo {
            Rule::FailingUndoNeedsAttention
        } else {
            Rule::RefusedForGoodNeedsAttention
        };
        if !self.rules.hold(rule) {
            return Ok(Verdict::CountsAsDone);
        }
        let what = if undo { "the undo of " } else { "" };
        let part = sent.part();
        Ok(Verdict::Stuck(format!(
            "{what}{part} was refused ({code}): {detail}"
        )))
    }

    /// The new deadline of a saga that needs no attention any more: nothing that it waited for
    /// then is still open, and nothing is stuck.
    fn cleared(&self, next: &State) -> Result<Option<DateTime<Utc>>, ReactError> {
        if !self.state.has_attention() || !self.rules.hold(Rule::AnswerClearsAttention) {
            return Ok(None);
        }
        let is_stuck = next.commands().iter().any(|sent| self.is_stuck(next, sent));
        if is_stuck || next.waits_since_attention() {
            return Ok(None);
        }
        self.deadline().map(Some)
    }

    pub(super) fn is_stuck(&self, next: &State, sent: &Sent) -> bool {
        sent.resend_at.is_none()
            && matches!(sent.outcome, Some(Outcome::Refused(_)))
            && self.definition.step(&sent.step).is_some_and(|step| {
                step.plan.kind != Kind::Pivot && self.is_kept_up(next, sent, step)
            })
    }

    /// Whether a command is wanted until it is done: a refusal of it is not the end of it.
    fn is_kept_up(&self, state: &State, sent: &Sent, step: &ErasedStep) -> bool {
        let part = sent.part();
        let is_wanted = match (sent.direction, step.plan.kind) {
            (Direction::Do, Kind::Closing) => true,
            (Direction::Do, Kind::Retriable) => {
                state.turned_back().is_none() && !state.is_being_skipped(&part)
            }
            (Direction::Do, Kind::Compensatable | Kind::Pivot) => false,
            (Direction::Reverse, Kind::Pivot) => state.is_reversing(),
            (Direction::Undo | Direction::Reverse, _) => true,
        };
        // Where an operator has it left out, its refusal decides that.
        let is_left_out = state
            .pending_skips()
            .any(|skip| skip.part == part && (skip.direction == sent.direction || skip.insists));
        is_wanted
            && !is_left_out
            && !sent.superseded
            && !state.is_skipped(&part)
            && !state.part_is_done(&part, sent.direction)
            && !state.has_later_attempt(&part, sent.direction, sent.id)
    }
}
