//! What a saga does about what happens to it: one pure function.

mod answer;
mod follow;
mod operator;

use std::cell::OnceCell;

use chrono::{DateTime, Utc};
use recourse_bus::Json;
use recourse_event_store::{Position, typed};
use uuid::Uuid;

use crate::{
    Answer, AttentionNeeded, CancellationNoted, Definition, Direction, Event, Kind, Overdue, Part,
    Resent, Rule, Rules, Started, State, TimedOut,
    definition::{self, ErasedStep},
    state::Sent,
};

#[cfg(feature = "explore")]
pub use operator::act_under;
pub use operator::{ActError, Action, Said, act};

/// The code of the refusal of an undo that finds nothing to undo.
const NOTHING_TO_UNDO: &str = "nothing-to-undo";

/// What can happen to a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The event that starts it came.
    Start {
        /// What it works on.
        input: Json,
    },
    /// A command of it was answered, in the stream of its target.
    Answer {
        /// Which.
        command: Uuid,
        /// What.
        answer: Answer,
        /// Where the answer stands in the log.
        position: Position,
    },
    /// What it is for was cancelled.
    Cancelled {
        /// Where that stands in the log.
        position: Position,
    },
    /// [`Timer::Overdue`](crate::Timer::Overdue) fired, and no answer is in the target's stream.
    Overdue {
        /// The command.
        command: Uuid,
        /// What the target's stream says.
        finding: Finding,
    },
    /// [`Timer::Resend`](crate::Timer::Resend) fired.
    BackoffOver {
        /// The command that was refused for now.
        command: Uuid,
    },
    /// [`Timer::Deadline`](crate::Timer::Deadline) fired.
    DeadlinePassed,
}

/// What the stream of a target says about a command that is not answered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// Its mark is at or past the command and there is no open intent: it can never take
    /// effect.
    Lost,
    /// Its mark is before the command, or the command is an open intent: it may.
    Waiting,
}

/// Why there is no reaction. The saga is parked then, but for [`ReactError::OtherVersion`],
/// which leaves it to those who have that version.
#[derive(Debug, thiserror::Error)]
pub enum ReactError {
    /// It began with another version of its definition.
    #[error("the saga began with version {recorded} of its definition, this is {ours}")]
    OtherVersion {
        /// What it began with.
        recorded: String,
        /// What it was given.
        ours: String,
    },
    /// Something happened to a saga that has not begun.
    #[error("the saga has not begun")]
    NotStarted,
    /// An answer to what it never sent.
    #[error("the saga never sent the command {0}")]
    UnknownCommand(Uuid),
    /// Its definition has no such step, for all that the hashes agree.
    #[error("the definition has no step `{0}`")]
    UnknownStep(String),
    /// Its input is not what the definition works on.
    #[error("the saga's input cannot be read")]
    Input(#[source] serde_json::Error),
    /// A command cannot be written.
    #[error("a command of `{step}` cannot be written")]
    Command {
        /// The step.
        step: String,
        /// What is wrong.
        source: typed::Error,
    },
    /// A step that does not fan out wants none or several, or one that does names an item twice.
    #[error("`{0}` does not send one command an item")]
    Shape(String),
    /// There is no command that would undo, or repeat, this.
    #[error("`{0}` has no command for this direction")]
    NoCommand(Part),
    /// A time past the end of the calendar.
    #[error("a deadline lies past the end of the calendar")]
    Time,
}

/// What follows from one input: the events to append, in one append, at the revision of
/// `state`. The first says what happened and carries the commands that follow, a second says
/// that the saga has ended or cannot go on. None where nothing new happened, as with whatever
/// is delivered twice.
///
/// `now` is the time that the events are recorded at. Whoever calls fires no timer before its
/// time, and none before it has read its inputs up to the store's head as of that time.
///
/// # Errors
/// [`ReactError`] where the saga, or the definition, is not what it must be.
pub fn react(
    definition: &Definition,
    state: &State,
    input: Input,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, ReactError> {
    react_under(Rules::default(), definition, state, input, now)
}

/// [`react`] with a rule taken away.
///
/// # Errors
/// As [`react`].
#[cfg_attr(
    not(feature = "explore"),
    expect(unreachable_pub, reason = "for exploring only")
)]
pub fn react_under(
    rules: Rules,
    definition: &Definition,
    state: &State,
    input: Input,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, ReactError> {
    if let Input::Start { input } = input {
        let reaction = Reaction {
            rules,
            definition,
            state,
            now,
            input: OnceCell::new(),
        };
        return reaction.start(input);
    }
    let reaction = Reaction::new(rules, definition, state, now)?;
    if state.is_ended() || state.is_parked() {
        return Ok(Vec::new());
    }
    let is_time = matches!(
        input,
        Input::Overdue { .. } | Input::BackoffOver { .. } | Input::DeadlinePassed
    );
    if is_time && state.is_paused() && rules.hold(Rule::PauseStopsTime) {
        return Ok(Vec::new());
    }
    match input {
        Input::Start { .. } => Ok(Vec::new()),
        Input::Answer {
            command,
            answer,
            position,
        } => reaction.answer(command, answer, position),
        Input::Cancelled { position } => reaction.cancelled(position),
        Input::Overdue { command, finding } => reaction.overdue(command, finding),
        Input::BackoffOver { command } => reaction.backoff_over(command),
        Input::DeadlinePassed => Ok(reaction.deadline_passed()),
    }
}

struct Reaction<'a> {
    rules: Rules,
    definition: &'a Definition,
    state: &'a State,
    now: DateTime<Utc>,
    input: OnceCell<definition::Input>,
}

impl<'a> Reaction<'a> {
    /// To a saga that has begun, under this very definition.
    fn new(
        rules: Rules,
        definition: &'a Definition,
        state: &'a State,
        now: DateTime<Utc>,
    ) -> Result<Self, ReactError> {
        if !state.is_started() {
            return Err(ReactError::NotStarted);
        }
        if state.definition_hash() != definition.hash() {
            return Err(ReactError::OtherVersion {
                recorded: state.definition_hash().to_owned(),
                ours: definition.hash().to_owned(),
            });
        }
        Ok(Self {
            rules,
            definition,
            state,
            now,
            input: OnceCell::new(),
        })
    }
}

impl Reaction<'_> {
    fn start(&self, input: Json) -> Result<Vec<Event>, ReactError> {
        if self.state.is_started() {
            return Ok(Vec::new());
        }
        let started = Started {
            definition: self.definition.name().to_owned(),
            definition_hash: self.definition.hash().to_owned(),
            input,
            deadline_at: self.deadline()?,
            steps: self.definition.plan(),
            commands: Vec::new(),
        };
        self.with_what_follows(Event::Started(started))
    }

    fn cancelled(&self, position: Position) -> Result<Vec<Event>, ReactError> {
        // From there on the pivot's own answer decides: the cancellation refuses it, or came late.
        if self.state.turned_back().is_some()
            || self.state.pivot_is_sent()
            || !self.rules.hold(Rule::CancellationTurnsBack)
        {
            return Ok(Vec::new());
        }
        self.with_what_follows(Event::CancellationNoted(CancellationNoted {
            position,
            commands: Vec::new(),
        }))
    }

    fn overdue(&self, command: Uuid, finding: Finding) -> Result<Vec<Event>, ReactError> {
        let sent = self.sent(command)?;
        if !sent.is_open() {
            return Ok(Vec::new());
        }
        let step = self.step(&sent.step)?;
        let forward = sent.direction == Direction::Do;
        let before_pivot = forward && step.plan.kind == Kind::Compensatable;
        let part = sent.part();
        let turned = self.state.turned_back().is_some();
        let is_given_up = forward
            && step.plan.kind != Kind::Closing
            && (turned || self.state.is_being_skipped(&part));
        if (is_given_up && self.state.has_undo(&sent.step))
            || (forward && self.state.is_reversing())
            || self.state.has_later_attempt(&part, sent.direction, command)
        {
            // Its undo, the pivot's reversal or its next attempt is on the way, and is what is
            // waited for.
            return Ok(Vec::new());
        }
        let ask_anyway = !self.rules.hold(Rule::OverdueIsLookedUp) && !before_pivot;
        let is_lost =
            (finding == Finding::Lost && self.rules.hold(Rule::LostIsSentAgain)) || ask_anyway;
        // What an operator said of an open command got lost: the command is open still.
        let is_said = self
            .state
            .attempts(&part, sent.direction)
            .any(|other| other.id != command && other.is_open());
        if is_lost && (is_given_up || is_said) {
            return self.with_what_follows(Event::Resent(Resent {
                command,
                commands: Vec::new(),
            }));
        }
        if is_lost && (sent.attempt < step.max_attempts() || sent.look_now) {
            return self.resend(sent, step).map(|event| vec![event]);
        }
        // What an operator has looked up gets its time anew.
        let fails = (before_pivot && !sent.look_now)
            || (forward
                && step.plan.kind != Kind::Closing
                && self.state.turned_back().is_none()
                && !self.rules.hold(Rule::TimeoutFromThePivotOnDoesNot));
        if fails {
            return self.time_out(sent);
        }
        let again = finding == Finding::Waiting && sent.looks < step.max_attempts();
        let look_again_at = if again {
            Some(
                step.look_again_at(self.now, sent.looks)
                    .ok_or(ReactError::Time)?,
            )
        } else {
            None
        };
        let mut events = vec![Event::Overdue(Overdue {
            command,
            step: sent.step.clone(),
            item: sent.item.clone(),
            look_again_at,
        })];
        if is_lost && !self.state.has_attention() {
            events.push(Event::AttentionNeeded(AttentionNeeded {
                why: format!(
                    "none of {} attempts at {} reached its target",
                    sent.attempt,
                    sent.part()
                ),
            }));
        }
        Ok(events)
    }

    fn time_out(&self, sent: &Sent) -> Result<Vec<Event>, ReactError> {
        self.with_what_follows(Event::TimedOut(TimedOut {
            command: sent.id,
            step: sent.step.clone(),
            item: sent.item.clone(),
            commands: Vec::new(),
        }))
    }

    fn backoff_over(&self, command: Uuid) -> Result<Vec<Event>, ReactError> {
        let sent = self.sent(command)?;
        let waits = sent.direction == Direction::Do && self.state.is_reversing();
        if sent.resend_at.is_none() || waits {
            return Ok(Vec::new());
        }
        let step = self.step(&sent.step)?;
        self.resend(sent, step).map(|event| vec![event])
    }

    fn resend(&self, sent: &Sent, step: &ErasedStep) -> Result<Event, ReactError> {
        let part = sent.part();
        let attempt = self.state.next_attempt(&part, sent.direction);
        let command = self.command(step, &part, sent.direction, attempt)?;
        Ok(Event::Resent(Resent {
            command: sent.id,
            commands: vec![command],
        }))
    }

    fn deadline_passed(&self) -> Vec<Event> {
        if self.state.has_attention() || !self.rules.hold(Rule::DeadlineNeedsAttention) {
            return Vec::new();
        }
        let waits: Vec<_> = self
            .state
            .open_commands()
            .map(|sent| match sent.direction {
                Direction::Do => sent.part().to_string(),
                Direction::Undo | Direction::Reverse => format!("the undo of {}", sent.part()),
            })
            .collect();
        vec![Event::AttentionNeeded(AttentionNeeded {
            why: format!("past its deadline, waiting for {}", waits.join(", ")),
        })]
    }
}
