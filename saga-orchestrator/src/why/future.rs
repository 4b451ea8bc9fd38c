//! What a saga waits for and what happens then: asked of the engine itself.

use chrono::{DateTime, Utc};
use recourse_saga::{Definition, Event, Finding, Input, Sent, State, Status, Timer, react};

use super::{
    Awaited, Tale,
    past::{asks, list, part, sends, step, time},
    present::steps,
};

/// What a saga that has not ended waits for.
pub(super) fn awaited(tale: &Tale<'_>) -> Option<Awaited> {
    let state = &tale.state;
    if state.is_ended() {
        return None;
    }
    let next = state.next_due();
    let (what, then) = match state.status() {
        _ if tale.saga.events.is_empty() => (
            "its orchestrator, which follows the log and is about to begin it".to_owned(),
            "its first step is sent".to_owned(),
        ),
        Status::Paused => still(tale),
        Status::Parked => (
            "an operator who lets it go on, once what it could not handle is mended".to_owned(),
            "it looks up what was answered meanwhile and goes on, with every deadline later by as \
             long as it stood still"
                .to_owned(),
        ),
        _ => match next {
            Some((at, timer)) => (answers(tale), then(tale, at, timer)),
            None => late(tale),
        },
    };
    Some(Awaited {
        saga_id: tale.saga.id,
        what: tale.named(what),
        until: next.map(|(at, _)| at),
        then,
    })
}

fn still(tale: &Tale<'_>) -> (String, String) {
    let by = tale.paused.as_ref().map_or_else(String::new, |by| {
        format!(": {} paused it (\"{}\")", by.actor, by.reason)
    });
    let open = match open(tale) {
        open if open.is_empty() => String::new(),
        open => format!(" Open meanwhile: {}.", open.join(" and ")),
    };
    (
        format!("an operator who lets it go on{by}"),
        format!(
            "it goes on with every deadline later by as long as it stood still. Until then it \
             records answers and sends nothing.{open}"
        ),
    )
}

/// Where time asks for nothing any more.
fn late(tale: &Tale<'_>) -> (String, String) {
    let mut open = open(tale);
    open.push("an operator: by itself it asks nothing any more".to_owned());
    let then = if open.len() > 1 {
        "an answer that comes after all clears this, and the saga goes on"
    } else {
        "the saga does what the operator decides"
    };
    (open.join(", or "), then.to_owned())
}

fn answers(tale: &Tale<'_>) -> String {
    let mut all = open(tale);
    let again = tale.state.commands().iter();
    let again: Vec<&Sent> = again.filter(|sent| sent.resend_at.is_some()).collect();
    if !again.is_empty() {
        let what = again
            .iter()
            .map(|sent| part(sent.direction, &sent.step, &sent.item));
        all.push(format!("the time to ask for {} again", list(what)));
    }
    if all.is_empty() {
        // Nothing is open and nothing is due but the end of its time.
        return "an operator".to_owned();
    }
    all.join(" and ")
}

/// The answers that are to come, those to the items of one step together.
fn open(tale: &Tale<'_>) -> Vec<String> {
    let open: Vec<&Sent> = tale.state.open_commands().collect();
    open.chunk_by(|one, other| one.step == other.step && one.direction == other.direction)
        .filter_map(|alike| {
            let first = alike.first()?;
            let targets = list(alike.iter().map(|sent| &sent.target));
            let items = list(alike.iter().map(|sent| &sent.item));
            let space = if items.is_empty() { "" } else { " " };
            let what = step(first.direction, &first.step);
            let overdue = if alike.iter().any(|sent| sent.overdue) {
                "overdue "
            } else {
                ""
            };
            let provider = provider(tale, first);
            Some(format!(
                "the {overdue}answer of {targets} to {what}{space}{items}{provider}"
            ))
        })
        .collect()
}

/// What is known of the payment provider, where it is what is really waited for.
fn provider(tale: &Tale<'_>, sent: &Sent) -> String {
    let mut asked = tale.asked.iter();
    match asked.find(|asked| asked.command == sent.id) {
        None => String::new(),
        Some(asked) => {
            let what = asks(asked.operation);
            if asked.is_given_up {
                format!(
                    " (the payment provider gave no clear answer and is not asked to {what} any \
                     more: an operator has to find out)"
                )
            } else if asked.is_unknown {
                format!(
                    " (the payment provider gave no clear answer and is asked again and again to \
                     {what})"
                )
            } else {
                format!(" (the payment provider is being asked to {what})")
            }
        }
    }
}

fn then(tale: &Tale<'_>, at: DateTime<Utc>, timer: Timer) -> String {
    let state = &tale.state;
    let Some(definition) = tale.definition else {
        return format!(
            "whoever has the version {} of its definition says what happens: it is not here",
            state.definition_hash()
        );
    };
    let react = |input| react(definition, state, input, at).unwrap_or_default();
    let told = match timer {
        Timer::Overdue(command) => {
            let found = |finding| react(Input::Overdue { command, finding });
            let is_resent = |events: &[Event]| {
                let mut events = events.iter();
                events.any(|event| matches!(event, Event::Resent(_)))
            };
            let target = state.command(command).map(|sent| sent.target.to_string());
            let target = target.unwrap_or_default();
            let lost = if is_resent(&found(Finding::Lost)) {
                ", and a command that never arrived is sent again"
            } else {
                ""
            };
            let waiting = found(Finding::Waiting);
            format!(
                "the saga looks into {target}: an answer there counts{lost}. Otherwise {}",
                follows(definition, state, &waiting, at)
            )
        }
        Timer::Resend(command) => follows(
            definition,
            state,
            &react(Input::BackoffOver { command }),
            at,
        ),
        Timer::Deadline => {
            let told = follows(definition, state, &react(Input::DeadlinePassed), at);
            return format!("{told}. An answer that comes after all clears that by itself");
        }
    };
    match state.deadline_at() {
        Some(deadline) if state.trouble().is_none() => {
            let deadline = time(deadline);
            format!("{told}. At {deadline} the saga needs attention if it has not ended")
        }
        _ => told,
    }
}

/// What these events would say.
fn follows(definition: &Definition, state: &State, events: &[Event], at: DateTime<Utc>) -> String {
    let mut after = state.clone();
    let mut said = Vec::new();
    for event in events {
        after.apply(event, at);
        match event {
            Event::TimedOut(_) => said.push(way_back(definition, &after)),
            Event::Overdue(overdue) => {
                let sent = after.command(overdue.command);
                let what = sent.map(|sent| part(sent.direction, &sent.step, &sent.item));
                let what = what.unwrap_or_default();
                said.push(match overdue.look_again_at {
                    Some(again) => format!(
                        "{what} stays open, as overdue, and is looked up again at {}",
                        time(again)
                    ),
                    None => format!("{what} stays open, as overdue"),
                });
            }
            Event::AttentionNeeded(needed) => {
                said.push(format!("the saga needs attention: {}", needed.why));
            }
            other => said.extend(sends(other)),
        }
    }
    if said.is_empty() {
        return "it waits on".to_owned();
    }
    said.join(", and ")
}

/// What a saga that has just turned back is going to do.
fn way_back(definition: &Definition, after: &State) -> String {
    let undone = after.undo_plan();
    let closing = definition.closing_act(after).unwrap_or_default();
    let mut acts = Vec::new();
    if !undone.is_empty() {
        acts.push(format!("undoes {}", steps(&undone).join(", then ")));
    }
    if !closing.is_empty() {
        acts.push(format!("ends with {}", steps(&closing).join(", then ")));
    }
    format!("the saga turns back: it {}", acts.join(" and "))
}
