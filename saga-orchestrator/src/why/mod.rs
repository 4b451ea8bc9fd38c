//! Why an order or a saga stands as it does: the causal chain from the request to now, in plain
//! words.
//!
//! ```text
//! order-…, saga-…, payment-…  ─▶ History ─▶ tell ─▶ what happened, a line each
//! (durable, up to a position)                ▲      what is awaited, until when, what then
//!                       definitions ─────────┘      what an operator can do
//! ```
//!
//! The log and the definitions are all that is asked, no view, so nothing here is ever behind. What
//! happens *then* is not described in prose of its own: [`recourse_saga::react`] is asked what it would
//! do at that time, and [`recourse_saga::act`] what an operator's action would. So the text cannot
//! promise what the engine does not do.

mod actions;
mod future;
mod history;
pub(crate) mod http;
mod past;
mod present;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use recourse_domain::{
    order,
    payment::{self, Operation},
};
use recourse_event_store::{RecordedEvent, typed};
use recourse_saga::{Definition, Event, State, Status};
use recourse_service::position;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

pub use history::{Error, History};

use self::history::Saga;

/// What an order or a saga is there for, and why it stands as it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Why {
    /// The order.
    pub order_id: Uuid,
    /// The one saga that is told of; absent where all of an order's are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saga_id: Option<Uuid>,
    /// How it stands, in a sentence each: the order, then its sagas.
    pub now: Vec<String>,
    /// What happened, oldest first.
    pub lines: Vec<Line>,
    /// What is awaited, by each saga that has not ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub awaits: Vec<Awaited>,
    /// What an operator can do, where a saga does not go on by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Possible>,
    /// All of it as `recourse why` prints it.
    pub text: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "WhyLine")]
pub struct Line {
    /// When.
    pub at: DateTime<Utc>,
    /// Where in the log it stands.
    pub position: String,
    /// What.
    pub text: String,
}

/// What a saga waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "WhyAwaited")]
pub struct Awaited {
    /// The saga.
    pub saga_id: Uuid,
    /// For what.
    pub what: String,
    /// Until when; absent where time changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// What happens then.
    pub then: String,
}

/// What an operator can do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "WhyAction")]
pub struct Possible {
    /// To which saga.
    pub saga_id: Uuid,
    /// What: `retry`.
    pub action: &'static str,
    /// To which step, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Arc<str>>,
    /// When this is the one to take.
    pub helps: String,
    /// What it would do, a line each.
    pub words: Vec<String>,
    /// The command that shows it first, without doing it.
    pub command: String,
}

/// A saga folded, with what the state alone does not keep.
struct Tale<'a> {
    saga: &'a Saga,
    state: State,
    definition: Option<&'a Definition>,
    /// Who paused it last, and why.
    paused: Option<recourse_saga::By>,
    /// The commands that were refused so that asking again cannot help.
    finals: Vec<Uuid>,
    /// What its payment's provider has been asked for and has not answered.
    asked: Vec<Asked>,
    /// Whether others are told of beside it, so that each line says whose it is.
    is_one_of_several: bool,
}

/// What a payment's provider has been asked for and has not answered.
struct Asked {
    operation: Operation,
    /// The command that waits for it.
    command: Uuid,
    /// That an answer was missed already.
    is_unknown: bool,
    /// That it is asked no more, as its key's life is over: an operator has to find out.
    is_given_up: bool,
}

/// Tells a history.
///
/// # Errors
/// Where an event of it cannot be read.
pub fn tell(history: &History, definitions: &[Arc<Definition>]) -> Result<Why, typed::Error> {
    let several = history.sagas.len() > 1;
    let mut tales: Vec<Tale<'_>> = history
        .sagas
        .iter()
        .map(|saga| Tale {
            saga,
            state: State::new(saga.id),
            definition: None,
            paused: None,
            finals: Vec::new(),
            asked: Vec::new(),
            is_one_of_several: several,
        })
        .collect();
    let mut order = order::State::default();
    let mut rejected = None;
    let mut lines = Vec::new();
    let log = history.log;
    for event in history.in_order() {
        let said = match event.stream.category() {
            "saga" => told_by_saga(&mut tales, event)?,
            "payment" => told_by_payment(&mut tales, event)?,
            _ => told_by_order(history, &mut order, &mut rejected, event)?,
        };
        let at = event.metadata()?.recorded_at;
        lines.extend(said.into_iter().map(|text| Line {
            at,
            position: position::write(event.position, log),
            text,
        }));
    }
    for tale in &mut tales {
        let hash = tale.state.definition_hash();
        let mut all = definitions.iter();
        tale.definition = all.find(|its| its.hash() == hash).map(|its| &**its);
    }
    let mut now = Vec::new();
    now.extend(order.status().map(|status| {
        let why = rejected.map_or_else(String::new, |reason: order::Reason| {
            format!(" ({}): {}", reason.code, reason.detail)
        });
        format!("order {} is {status}{why}", history.order_id)
    }));
    now.extend(tales.iter().flat_map(present::how_it_stands));
    let mut why = Why {
        order_id: history.order_id,
        saga_id: history.only,
        now,
        lines,
        awaits: tales.iter().filter_map(future::awaited).collect(),
        actions: tales.iter().flat_map(actions::possible).collect(),
        text: String::new(),
    };
    why.text = text::of(&why);
    Ok(why)
}

fn told_by_saga(
    tales: &mut [Tale<'_>],
    event: &RecordedEvent,
) -> Result<Vec<String>, typed::Error> {
    let Some(tale) = tales
        .iter_mut()
        .find(|tale| tale.saga.stream == event.stream)
    else {
        return Ok(Vec::new());
    };
    let happened = event.decode::<Event>()?;
    let before = tale.state.clone();
    tale.state.apply(&happened, event.metadata()?.recorded_at);
    tale.note(&happened);
    let said = past::of_saga(&happened, &before, &tale.state);
    Ok(said.into_iter().map(|text| tale.named(text)).collect())
}

fn told_by_payment(
    tales: &mut [Tale<'_>],
    event: &RecordedEvent,
) -> Result<Vec<String>, typed::Error> {
    if is_answer_only(event) {
        return Ok(Vec::new());
    }
    let metadata = event.metadata()?;
    let happened = event.decode::<payment::Event>()?;
    let about = past::operation(&happened);
    let takes = metadata.takes.as_ref().map(|taken| &taken.answered);
    let whose: Vec<_> = takes.into_iter().chain(&metadata.answers).collect();
    let mut said = Vec::new();
    for tale in tales {
        let is_about = |asked: &Asked| Some(asked.operation) == about;
        let is_its = whose.iter().any(|its| its.saga == tale.saga.stream);
        // What was learned on the way says no saga's name: it is about what that saga asked for.
        let concerns = is_its || (whose.is_empty() && tale.asked.iter().any(is_about));
        if !concerns {
            continue;
        }
        if happened.is_progress() {
            let for_good =
                matches!(&*happened, payment::Event::Unknown(unknown) if unknown.given_up);
            let asked = tale.asked.iter_mut();
            asked
                .filter(|asked| Some(asked.operation) == about)
                .for_each(|asked| {
                    asked.is_unknown = true;
                    asked.is_given_up |= for_good;
                });
        } else if let (Some(operation), Some(taken)) = (happened.intent(), takes) {
            tale.asked.push(Asked {
                operation,
                command: taken.command,
                is_unknown: false,
                is_given_up: false,
            });
        } else {
            tale.asked.retain(|asked| !is_about(asked));
        }
        if said.is_empty() {
            said.extend(past::of_payment(&happened).map(|text| tale.named(text)));
        }
    }
    Ok(said)
}

fn told_by_order(
    history: &History,
    order: &mut order::State,
    rejected: &mut Option<order::Reason>,
    event: &RecordedEvent,
) -> Result<Vec<String>, typed::Error> {
    if is_answer_only(event) {
        return Ok(Vec::new());
    }
    let happened = event.decode::<order::Event>()?;
    *order = order::evolve(std::mem::take(order), &happened);
    match &*happened {
        order::Event::Rejected(its) => *rejected = Some(its.reason.clone()),
        order::Event::Revoked(its) => *rejected = Some(its.reason.clone()),
        _ => {}
    }
    // What it answers to a saga is told with that saga.
    let metadata = event.metadata()?;
    if !metadata.answers.is_empty() || !history.concerns(event) {
        return Ok(Vec::new());
    }
    Ok(past::of_order(&happened, metadata).into_iter().collect())
}

/// Whether it is the answer to a command and nothing else. Such events are the same in every
/// stream and change no aggregate.
fn is_answer_only(event: &RecordedEvent) -> bool {
    let event_type = &*event.event.event_type;
    event_type.starts_with("command.") || event_type.ends_with(".repeat-answered.v1")
}

impl Tale<'_> {
    /// Keeps what the state does not.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Paused(paused) => self.paused = Some(paused.by.clone()),
            Event::Answered(answered) => {
                // A refusal that decides nothing is in nobody's way.
                let decides = !answered.counts_as_done && !answered.is_moot;
                let is_final = matches!(
                    answered.answer,
                    recourse_saga::Answer::Refused { is_final: true, .. }
                );
                if decides && is_final {
                    self.finals.push(answered.command);
                }
            }
            _ => {}
        }
    }

    /// The text, with whose it is where that is not plain.
    fn named(&self, text: String) -> String {
        if self.is_one_of_several {
            format!("{}: {text}", self.name())
        } else {
            text
        }
    }

    /// `return 5b9a2b1e`: enough to tell an order's sagas apart.
    fn name(&self) -> String {
        let id = self.saga.id.to_string();
        let short = id.split('-').next().unwrap_or_default();
        format!("{} {short}", self.saga.definition)
    }

    /// That an operator is wanted.
    fn is_stuck(&self) -> bool {
        matches!(
            self.state.status(),
            Status::NeedsAttention | Status::Paused | Status::Parked
        )
    }
}
