//! Promise 4 for sagas: each command sent once, answered once, in its target's stream; no
//! saga ends before.

mod saga;

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use recourse_domain::{Sku, stock::Held};
use recourse_event_store::{Answered, Mark, Metadata, RecordedEvent, StreamName};
use recourse_saga::{Answer, Direction, Event, Kind as StepKind, SkipResult, StepSkipped};
use uuid::Uuid;

use super::{
    report::{Breaches, Commands, Evidence, Exception, Kind},
    returns::RETURN,
};

#[derive(Default)]
pub(super) struct Sagas {
    sagas: BTreeMap<Uuid, Saga>,
    /// What operators left out.
    pub(super) exceptions: Vec<Exception>,
    pub(super) commands: Commands,
}

/// The fold of one saga. What it sent is forgotten once it has ended.
pub(super) struct Saga {
    pub(super) definition: String,
    pub(super) order: Uuid,
    pub(super) deadline_at: DateTime<Utc>,
    pub(super) status: Status,
    stands: Stands,
    /// The kinds of its steps, by their names.
    kinds: BTreeMap<Arc<str>, StepKind>,
    pub(super) started: Evidence,
    pub(super) last: Evidence,
    open: Box<Open>,
}

#[derive(Default)]
struct Open {
    sent: BTreeMap<Uuid, Sent>,
    holds: BTreeMap<u32, (Sku, HoldChange)>,
    skipped: Vec<Skipped>,
}

/// A command that an operator had left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    /// The aggregate that it would have gone to.
    pub(super) target: StreamName,
    pub(super) item: String,
    pub(super) direction: Direction,
    /// Its type: `payment.void`.
    pub(super) command: String,
}

struct Sent {
    label: String,
    target: StreamName,
    direction: Direction,
    mark: Mark,
    undoes: Vec<Uuid>,
    sent: Evidence,
    taken: Option<Evidence>,
    answer: Option<(Evidence, Answer)>,
    noted: bool,
    superseded: bool,
}

/// What makes up how an open saga stands.
#[derive(Default)]
struct Stands {
    /// It is on its way back.
    turned: bool,
    /// It has asked for its point of no return to be taken back, and has no answer yet.
    reversing: bool,
    attention: bool,
    paused: bool,
    parked: bool,
}

impl Stands {
    const fn status(&self) -> Status {
        if self.parked {
            Status::Parked
        } else if self.paused {
            Status::Paused
        } else if self.attention {
            Status::NeedsAttention
        } else if self.turned || self.reversing {
            Status::Compensating
        } else {
            Status::Running
        }
    }

    const fn turn(&mut self) {
        self.turned = true;
        self.reversing = false;
    }
}

/// How a saga stands, as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Running,
    Compensating,
    NeedsAttention,
    Parked,
    Paused,
    Completed,
    Compensated,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::NeedsAttention => "needs_attention",
            Self::Parked => "parked",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
        }
    }

    pub(super) const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Compensated)
    }
}

/// What happened to a hold last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldChange {
    Reserved,
    Released,
    Committed,
    Restocked,
}

/// What a saga leaves when it ends.
pub(super) struct End {
    pub(super) saga: Uuid,
    pub(super) order: Uuid,
    pub(super) holds: BTreeMap<u32, (Sku, HoldChange)>,
    pub(super) skipped: Vec<Skipped>,
}

impl Sagas {
    pub(super) fn is_open(&self, saga: Uuid) -> bool {
        self.sagas
            .get(&saga)
            .is_some_and(|saga| !saga.status.has_ended())
    }

    /// The event that ended a saga.
    pub(super) fn end_of(&self, saga: Uuid) -> Option<Evidence> {
        self.sagas
            .get(&saga)
            .filter(|saga| saga.status.has_ended())
            .map(|saga| saga.last.clone())
    }

    pub(super) fn get(&self, saga: Uuid) -> Option<&Saga> {
        self.sagas.get(&saga)
    }

    pub(super) fn by_status(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::<String, u64>::new();
        for saga in self.sagas.values() {
            let count = counts.entry(saga.status.as_str().to_owned()).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }

    /// An event of a saga's own stream.
    pub(super) fn apply(
        &mut self,
        event: &RecordedEvent,
        metadata: &Metadata,
        what: &Event,
        breaches: &mut Breaches,
    ) -> Option<End> {
        let mut illegal = |why: &str, before: Option<Evidence>| {
            breaches.add(
                Kind::IllegalEvent,
                &event.stream,
                why,
                before.into_iter().chain([event.into()]),
            );
        };
        let Ok(id) = event.stream.id().parse::<Uuid>() else {
            illegal("the stream of a saga is named by a UUID", None);
            return None;
        };
        match (what, self.sagas.get(&id)) {
            (Event::Started(started), None) => {
                self.sagas.insert(
                    id,
                    Saga {
                        definition: started.definition.clone(),
                        order: metadata.correlation_id,
                        deadline_at: started.deadline_at,
                        status: Status::Running,
                        stands: Stands::default(),
                        kinds: started
                            .steps
                            .iter()
                            .map(|step| (Arc::clone(&step.name), step.kind))
                            .collect(),
                        started: event.into(),
                        last: event.into(),
                        open: Box::default(),
                    },
                );
            }
            (Event::Started(_), Some(saga)) => {
                illegal("it has started before", Some(saga.last.clone()));
                return None;
            }
            (_, None) => {
                illegal("it has not started", None);
                return None;
            }
            (_, Some(saga)) if saga.status.has_ended() => {
                illegal("it has ended before", Some(saga.last.clone()));
                return None;
            }
            (_, Some(_)) => {}
        }
        let saga = self.sagas.get_mut(&id)?;
        let ended = saga.apply(event, what, &mut self.commands, breaches);
        saga.last = event.into();
        if let Event::StepSkipped(skipped) = what {
            self.exceptions.push(exception(event, skipped));
        }
        ended.then(|| {
            let open = std::mem::take(&mut *saga.open);
            End {
                saga: id,
                order: saga.order,
                holds: open.holds,
                skipped: open.skipped,
            }
        })
    }

    /// The commands that an event of an aggregate takes and answers.
    pub(super) fn take_and_answer(
        &mut self,
        event: &RecordedEvent,
        metadata: &Metadata,
        breaches: &mut Breaches,
    ) {
        if let Some(taken) = &metadata.takes
            && let Some(sent) = self.sent(event, &taken.answered, breaches)
        {
            let again = sent
                .taken
                .as_ref()
                .or(sent.answer.as_ref().map(|(at, _)| at));
            if let Some(before) = again {
                breaches.add(
                    Kind::CommandAnsweredTwice,
                    &event.stream,
                    format!("{} was taken before", sent.label),
                    [before.clone(), event.into()],
                );
            }
            if metadata.mark != Some(sent.mark) {
                wrong_mark(event, metadata, sent, breaches);
            }
            sent.taken = Some(event.into());
        }
        let answer = Answer::from(metadata.refused.as_ref());
        for answered in &metadata.answers {
            let Some(sent) = self.sent(event, answered, breaches) else {
                continue;
            };
            if let Some((before, _)) = &sent.answer {
                breaches.add(
                    Kind::CommandAnsweredTwice,
                    &event.stream,
                    format!("{} was answered before", sent.label),
                    [before.clone(), event.into()],
                );
                continue;
            }
            // Taken here and now, so the mark must be its own; else it was taken before and
            // the mark, if there is one, is another's.
            if sent.taken.is_none()
                && metadata.answers.len() == 1
                && metadata.mark != Some(sent.mark)
            {
                wrong_mark(event, metadata, sent, breaches);
            }
            sent.answer = Some((event.into(), answer.clone()));
            self.commands.answered = self.commands.answered.saturating_add(1);
            if answer != Answer::Done {
                self.commands.refused = self.commands.refused.saturating_add(1);
            }
        }
    }

    /// What a saga sent under this id, if it did, to this stream.
    fn sent(
        &mut self,
        event: &RecordedEvent,
        answered: &Answered,
        breaches: &mut Breaches,
    ) -> Option<&mut Sent> {
        let saga = answered
            .saga
            .id()
            .parse::<Uuid>()
            .ok()
            .filter(|_| answered.saga.category() == "saga")
            .and_then(|id| self.sagas.get_mut(&id));
        let Some(saga) = saga else {
            breaches.add(
                Kind::AnswerWithoutCommand,
                &event.stream,
                format!("{} sent nothing before", answered.saga),
                [event.into()],
            );
            return None;
        };
        if saga.status.has_ended() {
            breaches.add(
                Kind::CommandAnsweredTwice,
                &event.stream,
                format!(
                    "answers {} of {}, which has ended with all its answers",
                    answered.command, answered.saga
                ),
                [saga.last.clone(), event.into()],
            );
            return None;
        }
        let Some(sent) = saga.open.sent.get_mut(&answered.command) else {
            breaches.add(
                Kind::AnswerWithoutCommand,
                &event.stream,
                format!("{} has not sent {}", answered.saga, answered.command),
                [saga.started.clone(), event.into()],
            );
            return None;
        };
        if sent.target != event.stream {
            breaches.add(
                Kind::AnswerElsewhere,
                &event.stream,
                format!("{} went to {}", sent.label, sent.target),
                [sent.sent.clone(), event.into()],
            );
        }
        Some(sent)
    }

    /// What a stock did for a saga.
    pub(super) fn hold(
        &mut self,
        event: &RecordedEvent,
        held: &Held,
        change: HoldChange,
        breaches: &mut Breaches,
    ) {
        let Some(saga) = self
            .sagas
            .get_mut(&held.hold.saga)
            .filter(|saga| !saga.status.has_ended())
        else {
            breaches.add(
                Kind::HoldWithoutSaga,
                &event.stream,
                format!("saga {} is not open", held.hold.saga),
                [event.into()],
            );
            return;
        };
        let before = saga
            .open
            .holds
            .insert(held.hold.line, (held.sku.clone(), change));
        let before_change = before.as_ref().map(|(_, before)| *before);
        if let Some((sku, before)) = before
            && change == HoldChange::Reserved
            && (before != HoldChange::Reserved || sku != held.sku)
        {
            breaches.add(
                Kind::HoldDoubled,
                &event.stream,
                format!(
                    "line {} of saga {} was held before, in {sku}",
                    held.hold.line, held.hold.saga
                ),
                [saga.last.clone(), event.into()],
            );
        }
        // A return brings goods back under keys of its own; every other saga what it had out.
        if change == HoldChange::Restocked
            && saga.definition != RETURN
            && before_change != Some(HoldChange::Committed)
        {
            breaches.add(
                Kind::HoldUnknown,
                &event.stream,
                format!(
                    "line {} of saga {} is not out",
                    held.hold.line, held.hold.saga
                ),
                [saga.last.clone(), event.into()],
            );
        }
    }
}

fn exception(event: &RecordedEvent, skipped: &StepSkipped) -> Exception {
    let item = if skipped.item.is_empty() {
        String::new()
    } else {
        format!(" {}", skipped.item)
    };
    let what = match (skipped.direction, skipped.result) {
        (Direction::Do, SkipResult::Left) => "was not done",
        (Direction::Do, SkipResult::Done) => "was done elsewhere",
        (_, SkipResult::Left) => "was not undone",
        (_, SkipResult::Done) => "was undone elsewhere",
    };
    Exception {
        target: skipped.target.clone(),
        command: skipped.command_type.clone(),
        what: format!("{}{item} {what}", skipped.step),
        remains: skipped.remains && skipped.result == SkipResult::Left,
        actor: skipped.by.actor.clone(),
        reason: skipped.by.reason.clone(),
        event: event.into(),
    }
}

fn wrong_mark(event: &RecordedEvent, metadata: &Metadata, sent: &Sent, breaches: &mut Breaches) {
    let said = metadata.mark.map_or_else(
        || "none".to_owned(),
        |mark| format!("{}#{}", mark.position, mark.index),
    );
    breaches.add(
        Kind::MarkWrong,
        &event.stream,
        format!(
            "{} stands at {}#{} and the mark says {said}",
            sent.label, sent.mark.position, sent.mark.index
        ),
        [sent.sent.clone(), event.into()],
    );
}
