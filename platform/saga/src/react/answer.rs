//! What an answer means.

use chrono::{DateTime, Utc};
use recourse_event_store::Position;
use uuid::Uuid;

use super::{NOTHING_TO_UNDO, ReactError, Reaction, follow::Next};
use crate::{
    Answer, Answered, AttentionNeeded, Direction, Event, Kind, Outcome, Rule, State,
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
        let mut answered = Answered {
            command,
            step: sent.step.clone(),
            item: sent.item.clone(),
            direction: sent.direction,
            answer,
            position,
            counts_as_done: verdict == Verdict::CountsAsDone,
            resend_at: match verdict {
                Verdict::Again(at) => Some(at),
                _ => None,
            },
            deadline_at: None,
            commands: Vec::new(),
        };
        let next = self.after(&Event::Answered(answered.clone()));
        let mut events = Vec::with_capacity(2);
        match self.follow(&next)? {
            Next::Send(commands) => {
                answered.deadline_at = self.cleared(&next)?;
                answered.commands = commands;
                events.push(Event::Answered(answered));
            }
            Next::Wait => {
                answered.deadline_at = self.cleared(&next)?;
                events.push(Event::Answered(answered));
            }
            Next::End(end) => events.extend([Event::Answered(answered), end]),
        }
        // Said even where the saga needs attention already: this is why it stays so.
        if let Verdict::Stuck(why) = verdict {
            events.push(Event::AttentionNeeded(AttentionNeeded { why }));
        }
        Ok(events)
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
        let kept_up = undo || matches!(step.plan.kind, Kind::Retriable | Kind::Closing);
        let is_done = self.state.part_is_done(&sent.part(), sent.direction);
        if !kept_up || sent.superseded || is_done {
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

    fn is_stuck(&self, next: &State, sent: &Sent) -> bool {
        let kept_up = sent.direction != Direction::Do
            || self
                .definition
                .step(&sent.step)
                .is_some_and(|step| matches!(step.plan.kind, Kind::Retriable | Kind::Closing));
        kept_up
            && !sent.superseded
            && sent.resend_at.is_none()
            && matches!(sent.outcome, Some(Outcome::Refused(_)))
            && !next.part_is_done(&sent.part(), sent.direction)
    }
}
