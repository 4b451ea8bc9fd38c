//! The fold of one saga: what it sent, who answered, and whether it may end.

use chrono::{DateTime, Utc};
use recourse_domain::NOTHING_TO_UNDO;
use recourse_event_store::{Mark, RecordedEvent};
use recourse_saga::{Answer, Direction, Event, Kind as StepKind, SentCommand};
use uuid::Uuid;

use super::{HoldChange, Saga, Sent, Skipped, Status};
use crate::verify::report::{Breaches, Commands, Kind};

impl Saga {
    /// Goes on; whether it has ended.
    pub(super) fn apply(
        &mut self,
        event: &RecordedEvent,
        what: &Event,
        commands: &mut Commands,
        breaches: &mut Breaches,
    ) -> bool {
        match what {
            Event::Answered(noted) => {
                self.note(event, noted, breaches);
                if let Some(deadline_at) = noted.deadline_at {
                    self.deadline_at = deadline_at;
                    // Another answer leaves what needs attention as it is.
                    self.stands.attention = false;
                }
                for closed in &noted.closes {
                    self.known(event, *closed, breaches);
                    if let Some(sent) = self.open.sent.get_mut(closed) {
                        sent.superseded = true;
                    }
                }
                self.turned_by(noted);
            }
            Event::TimedOut(timed_out) => {
                self.known(event, timed_out.command, breaches);
                self.stands.turn();
            }
            Event::Overdue(overdue) => self.known(event, overdue.command, breaches),
            Event::Resent(resent) => {
                self.known(event, resent.command, breaches);
                if let Some(sent) = self.open.sent.get_mut(&resent.command) {
                    sent.superseded = true;
                }
            }
            Event::CancellationNoted(_) => self.stands.turn(),
            Event::AttentionNeeded(_) => self.stands.attention = true,
            Event::Parked(_) => self.stands.parked = true,
            Event::Paused(_) => self.stands.paused = true,
            Event::Resumed(resumed) => {
                self.stands.parked = false;
                self.stands.paused = resumed.stays_paused;
                self.go_on(resumed.deadline_at);
            }
            Event::Retried(retried) => self.eased(retried.deadline_at),
            Event::SkipRequested(requested) => self.eased(requested.deadline_at),
            Event::StepSkipped(skipped) => self.open.skipped.push(Skipped {
                target: skipped.target.clone(),
                item: skipped.item.to_string(),
                direction: skipped.direction,
                command: skipped.command_type.clone(),
            }),
            Event::CompensationRequested(requested) => {
                self.go_on(Some(requested.deadline_at));
                self.stands.attention = false;
                self.stands.paused = false;
                if requested.past_pivot {
                    self.stands.reversing = true;
                } else {
                    self.stands.turn();
                }
            }
            Event::Started(_) => {}
            Event::Completed(_) => self.end(event, Status::Completed, breaches),
            Event::Compensated(_) => self.end(event, Status::Compensated, breaches),
        }
        if !self.status.has_ended() {
            self.status = self.stands.status();
        }
        for (index, sent) in (0_u32..).zip(what.commands()) {
            commands.sent = commands.sent.saturating_add(1);
            self.send(event, index, sent, breaches);
        }
        self.status.has_ended()
    }

    fn go_on(&mut self, deadline_at: Option<DateTime<Utc>>) {
        if let Some(deadline_at) = deadline_at {
            self.deadline_at = deadline_at;
        }
    }

    /// Needs no attention any more, where an action says so.
    fn eased(&mut self, deadline_at: Option<DateTime<Utc>>) {
        self.go_on(deadline_at);
        if deadline_at.is_some() {
            self.stands.attention = false;
        }
    }

    /// An answer turns the saga back where it is a refusal up to the point of no return; and one
    /// to the reversal of that, which an operator wanted, where it is none. What decides nothing
    /// turns nothing.
    fn turned_by(&mut self, noted: &recourse_saga::Answered) {
        let is_refused = noted.answer != Answer::Done && !noted.counts_as_done;
        if is_refused && (noted.is_moot || noted.resend_at.is_some()) {
            return;
        }
        let kind = self.kinds.get(&noted.step);
        match noted.direction {
            Direction::Do => {
                let is_past = matches!(kind, Some(StepKind::Retriable | StepKind::Closing));
                if is_refused && !is_past {
                    self.stands.turn();
                }
            }
            Direction::Reverse if self.stands.reversing && kind == Some(&StepKind::Pivot) => {
                if is_refused {
                    self.stands.reversing = false;
                } else {
                    self.stands.turn();
                }
            }
            Direction::Undo | Direction::Reverse => {}
        }
    }

    fn send(
        &mut self,
        event: &RecordedEvent,
        index: u32,
        sent: &SentCommand,
        breaches: &mut Breaches,
    ) {
        let label = format!(
            "{}{}{} ({:?}, attempt {}, {})",
            sent.step,
            if sent.item.is_empty() { "" } else { "/" },
            sent.item,
            sent.direction,
            sent.attempt,
            sent.command.id,
        );
        let new = Sent {
            label,
            target: sent.command.target.clone(),
            direction: sent.direction,
            mark: Mark {
                position: event.position,
                index,
            },
            undoes: sent.command.undoes.clone(),
            sent: event.into(),
            taken: None,
            answer: None,
            noted: false,
            superseded: false,
        };
        if let Some(before) = self.open.sent.insert(sent.command.id, new) {
            breaches.add(
                Kind::SagaDoubled,
                &event.stream,
                format!("{} was sent before", before.label),
                [before.sent, event.into()],
            );
        }
    }

    fn known(&self, event: &RecordedEvent, command: Uuid, breaches: &mut Breaches) {
        if !self.open.sent.contains_key(&command) {
            breaches.add(
                Kind::IllegalEvent,
                &event.stream,
                format!("command {command} was not sent"),
                [event.into()],
            );
        }
    }

    fn note(
        &mut self,
        event: &RecordedEvent,
        noted: &recourse_saga::Answered,
        breaches: &mut Breaches,
    ) {
        let Some(sent) = self.open.sent.get_mut(&noted.command) else {
            self.known(event, noted.command, breaches);
            return;
        };
        if std::mem::replace(&mut sent.noted, true) {
            breaches.add(
                Kind::CommandAnsweredTwice,
                &event.stream,
                format!("noted the answer to {} before", sent.label),
                [event.into()],
            );
        }
        let as_noted =
            sent.answer.as_ref().is_some_and(|(at, answer)| {
                at.position == noted.position && *answer == noted.answer
            }) && sent.direction == noted.direction;
        if !as_noted {
            let found = sent.answer.as_ref().map_or_else(
                || "not answered".to_owned(),
                |(at, answer)| format!("answered {answer:?} at {}", at.position),
            );
            breaches.add(
                Kind::AnswerNotAsNoted,
                &event.stream,
                format!(
                    "noted {:?} at {}, and {} is {found}",
                    noted.answer, noted.position, sent.label
                ),
                sent.answer
                    .iter()
                    .map(|(at, _)| at.clone())
                    .chain([event.into()]),
            );
        }
    }

    fn end(&mut self, event: &RecordedEvent, status: Status, breaches: &mut Breaches) {
        self.status = status;
        for sent in self.open.sent.values() {
            if !self.is_closed(sent) {
                breaches.add(
                    Kind::SagaEndedOpen,
                    &event.stream,
                    format!("{} to {} is not answered", sent.label, sent.target),
                    [sent.sent.clone(), event.into()],
                );
            }
        }
        for (line, (sku, change)) in &self.open.holds {
            let is_skipped = self.open.skipped.iter().any(|skipped| {
                skipped.target.category() == "stock" && skipped.item == line.to_string()
            });
            if *change == HoldChange::Reserved && !is_skipped {
                breaches.add(
                    Kind::HoldWithoutSaga,
                    &event.stream,
                    format!("it ends and line {line} still holds {sku}"),
                    [event.into()],
                );
            }
        }
    }

    /// Answered; or known never to take effect, be it that the next attempt was sent in its
    /// place or that its undo found nothing.
    fn is_closed(&self, sent: &Sent) -> bool {
        if sent.answer.is_some() || sent.superseded {
            return true;
        }
        let own = self
            .open
            .sent
            .iter()
            .find(|(_, other)| other.mark == sent.mark)
            .map(|(id, _)| *id);
        own.is_some_and(|own| {
            self.open.sent.values().any(|undo| {
                undo.undoes.contains(&own)
                    && undo.answer.as_ref().is_some_and(|(_, answer)| {
                        matches!(answer, Answer::Refused { code, .. } if code == NOTHING_TO_UNDO)
                    })
            })
        })
    }

    /// What it waits for, for a person.
    pub(in crate::verify) fn waits_for(&self) -> String {
        let open: Vec<&str> = self
            .open
            .sent
            .values()
            .filter(|sent| !sent.noted && !sent.superseded)
            .map(|sent| sent.label.as_str())
            .collect();
        if open.is_empty() {
            "nothing".to_owned()
        } else {
            open.join(", ")
        }
    }
}
