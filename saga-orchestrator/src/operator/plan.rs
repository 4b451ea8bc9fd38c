//! What an action does to a saga, typed and in words.

use recourse_event_store::{StreamName, typed};
use recourse_saga::{
    Definition, Direction, Event, Part, Retried, SentCommand, SkipResult, State, Status,
};
use schemars::JsonSchema;
use serde::Serialize;

/// What an action does, and what is left to do after it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaActionPlan")]
pub(crate) struct Plan {
    /// How the saga stands then.
    pub(crate) status: Status,
    /// The events, in order.
    pub(crate) events: Vec<PlannedEvent>,
    /// What is sent with them, in order.
    pub(crate) sends: Vec<PlannedCommand>,
    /// What would follow where every answer is that it is done.
    pub(crate) then: Vec<Part>,
    /// The same for a person, a line each.
    pub(crate) words: Vec<String>,
}

/// An event of a plan. Its data is in the log; here stands what it says.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaActionEvent")]
pub(crate) struct PlannedEvent {
    #[serde(rename = "type")]
    /// Its type.
    event_type: String,
    /// What it says.
    words: String,
}

/// A command of a plan, without its content, which may hold secrets.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaActionCommand")]
pub(crate) struct PlannedCommand {
    /// Of which step.
    step: String,
    /// Of which of its items.
    #[serde(skip_serializing_if = "String::is_empty")]
    item: String,
    /// Which way it works.
    direction: Direction,
    /// From 1.
    attempt: u32,
    /// `payment.void`.
    command_type: String,
    /// The stream of the aggregate that it goes to.
    target: StreamName,
}

impl From<&SentCommand> for PlannedCommand {
    fn from(sent: &SentCommand) -> Self {
        Self {
            step: sent.step.to_string(),
            item: sent.item.to_string(),
            direction: sent.direction,
            attempt: sent.attempt,
            command_type: sent.command.command_type.clone(),
            target: sent.command.target.clone(),
        }
    }
}

impl PlannedCommand {
    fn words(&self) -> String {
        let what = match self.direction {
            Direction::Do => "",
            Direction::Undo => "the undo of ",
            Direction::Reverse => "the reversal of ",
        };
        let (step, item) = (&self.step, &self.item);
        let space = if item.is_empty() { "" } else { " " };
        let attempt = if self.attempt > 1 {
            format!(", attempt {}", self.attempt)
        } else {
            String::new()
        };
        format!(
            "sends {} to {}: {what}{step}{space}{item}{attempt}",
            self.command_type, self.target
        )
    }
}

impl Plan {
    /// The plan of these events; `after` is the saga with them.
    ///
    /// # Errors
    /// Where the act after everything is undone cannot be written.
    pub(crate) fn of(
        definition: &Definition,
        events: &[Event],
        after: &State,
    ) -> Result<Self, typed::Error> {
        let commands: Vec<&SentCommand> = events.iter().flat_map(Event::commands).collect();
        let goes_back = after.turned_back().is_some() || after.is_reversing();
        let is_sent = |part: &Part| {
            let mut commands = commands.iter();
            commands.any(|sent| sent.step == part.step && sent.item == part.item)
        };
        let mut then = if goes_back {
            after.undo_plan()
        } else {
            after.remaining()
        };
        then.retain(|part| !is_sent(part));
        let mut closes = if goes_back && !after.is_ended() {
            definition.closing_act(after)?
        } else {
            Vec::new()
        };
        closes.retain(|part| !is_sent(part));
        let planned = |event| planned(event, after);
        let events: Vec<PlannedEvent> = events.iter().map(planned).collect();
        let sends: Vec<PlannedCommand> = commands.into_iter().map(Into::into).collect();
        let mut words: Vec<String> = events.iter().map(|event| event.words.clone()).collect();
        words.extend(sends.iter().map(PlannedCommand::words));
        let follows = if goes_back { "then undoes" } else { "then" };
        words.extend(then.iter().map(|part| format!("{follows} {part}")));
        words.extend(closes.iter().map(|part| format!("then {part}")));
        then.extend(closes);
        Ok(Self {
            status: after.status(),
            events,
            sends,
            then,
            words,
        })
    }
}

fn planned(event: &Event, after: &State) -> PlannedEvent {
    let event_type = match typed::encode(event) {
        Ok((event_type, _)) => event_type,
        // Every event of a saga has been written by the same function.
        Err(_) => String::new(),
    };
    PlannedEvent {
        event_type,
        words: words(event, after),
    }
}

/// What an operator's event says, in the words of a dry run.
pub(crate) fn words(event: &Event, after: &State) -> String {
    match event {
        Event::Paused(_) => "the saga stands still: it records answers and sends nothing".into(),
        Event::Resumed(resumed) if resumed.stays_paused => {
            "the saga is parked no more, and stays paused".into()
        }
        Event::Resumed(resumed) => format!(
            "the saga goes on, with every deadline {} ms later",
            resumed.stood_still_ms
        ),
        Event::Retried(Retried {
            said: Some(said), ..
        }) => match said {
            SkipResult::Done => "what is not answered took effect, says the operator".into(),
            SkipResult::Left => {
                "what is not answered did not take effect, says the operator".into()
            }
        },
        Event::Retried(retried) if retried.looks_up.is_empty() => {
            "what was refused is sent again".into()
        }
        Event::Retried(retried) => {
            let sent = retried.looks_up.iter().filter_map(|id| after.command(*id));
            let parts: Vec<String> = sent.map(|sent| sent.part().to_string()).collect();
            format!(
                "what became of {} is looked up; it is sent again where it can never take effect any more",
                parts.join(", ")
            )
        }
        Event::SkipRequested(requested) => {
            let (what, once) = match requested.direction {
                Direction::Do => ("", "what it may have done is undone"),
                Direction::Undo => ("the undo of ", "it is answered"),
                Direction::Reverse => ("the reversal of ", "it is answered"),
            };
            format!("{what}{} is to be left out, once {once}", requested.step)
        }
        Event::StepSkipped(skipped) => {
            let part = Part {
                step: skipped.step.clone(),
                item: skipped.item.clone(),
            };
            let what = match (skipped.direction, skipped.result) {
                (Direction::Do, SkipResult::Left) => "is left out",
                (Direction::Do, SkipResult::Done) => "is left out, as it was done elsewhere",
                (_, SkipResult::Left) => "is not undone",
                (_, SkipResult::Done) => "is not undone, as that was done elsewhere",
            };
            format!("{part} {what}")
        }
        Event::CompensationRequested(requested) if requested.past_pivot => {
            "the saga asks for its point of no return to be taken back, and goes back only if it is"
                .into()
        }
        Event::CompensationRequested(_) => "the saga turns back".into(),
        Event::Completed(_) => "the saga is completed".into(),
        Event::Compensated(_) => "the saga is compensated".into(),
        Event::AttentionNeeded(needed) => format!("the saga needs attention: {}", needed.why),
        // None of these is an operator's doing.
        Event::Started(_)
        | Event::Answered(_)
        | Event::TimedOut(_)
        | Event::Overdue(_)
        | Event::Resent(_)
        | Event::CancellationNoted(_)
        | Event::Parked(_) => String::new(),
    }
}
