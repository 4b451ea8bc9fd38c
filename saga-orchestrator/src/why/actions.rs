//! What an operator can do: asked of the engine itself.

use std::sync::Arc;

use recourse_saga::{
    Action, By, Definition, Event, Retried, Said, SkipResult, State, StepStatus, act,
};

use super::{Possible, Tale, past::sends, present::steps};
use crate::operator;

/// What an operator can do to a saga that does not go on by itself.
pub(super) fn possible(tale: &Tale<'_>) -> Vec<Possible> {
    let Some(definition) = tale.definition else {
        return Vec::new();
    };
    let mut all = outcomes(tale);
    if tale.is_stuck() {
        all.extend(ways_on(&tale.state));
    }
    all.into_iter()
        .filter_map(|(action, step)| one(tale, definition, &action, step))
        .collect()
}

/// What an operator can say of what the payment provider is asked no more: nobody else can, so
/// it is offered before the saga needs attention too.
fn outcomes(tale: &Tale<'_>) -> Vec<(Action, Option<Arc<str>>)> {
    let state = &tale.state;
    if state.is_parked() {
        // Until it is resumed it is told nothing.
        return Vec::new();
    }
    let given_up = tale.asked.iter().filter(|asked| asked.is_given_up);
    let mut steps: Vec<&Arc<str>> = given_up
        .filter_map(|asked| state.command(asked.command))
        .map(|sent| &sent.step)
        .collect();
    steps.dedup();
    let both = [SkipResult::Done, SkipResult::Left];
    let each = steps.into_iter().flat_map(|step| {
        both.map(|result| {
            let said = Said {
                result,
                reference: None,
            };
            let retry = Action::Retry {
                step: Some(Arc::clone(step)),
                said: Some(said),
            };
            (retry, Some(Arc::clone(step)))
        })
    });
    each.collect()
}

/// How a saga that stands still is made to go on.
fn ways_on(state: &State) -> Vec<(Action, Option<Arc<str>>)> {
    let mut all = vec![
        (Action::Resume, None),
        (
            Action::Retry {
                step: None,
                said: None,
            },
            None,
        ),
        (Action::Compensate, None),
    ];
    let steps = state.steps().into_iter();
    let stuck = steps.filter(|step| {
        let not_there = [StepStatus::Pending, StepStatus::Done, StepStatus::Undone];
        !not_there.contains(&step.status)
    });
    if state.is_parked() {
        // To a parked saga a retry is a resume.
        all.remove(1);
    }
    all.extend(stuck.map(|step| {
        let result = SkipResult::Left;
        let skip = Action::Skip {
            step: Arc::clone(&step.name),
            result,
        };
        (skip, Some(step.name))
    }));
    all
}

fn one(
    tale: &Tale<'_>,
    definition: &Definition,
    action: &Action,
    step: Option<Arc<str>>,
) -> Option<Possible> {
    let state = &tale.state;
    let by = By {
        actor: String::new(),
        reason: String::new(),
    };
    // Nothing of the words depends on when.
    let now = state.still_since().or(state.started_at())?;
    let events = act(definition, state, action, &by, now).ok()?;
    let mut after = state.clone();
    for event in &events {
        after.apply(event, now);
    }
    let mut words: Vec<String> = events
        .iter()
        .map(|event| operator::words(event, &after))
        .collect();
    words.extend(events.iter().flat_map(sends));
    if after.turned_back().is_some() || after.is_reversing() {
        let mut then = after.undo_plan();
        then.retain(|part| {
            let mut sent = events.iter().flat_map(Event::commands);
            let is_sent = sent.any(|sent| sent.step == part.step && sent.item == part.item);
            let mut skips = after.skips().iter();
            !is_sent && !skips.any(|skip| skip.part == *part)
        });
        if !then.is_empty() {
            words.push(format!("then undoes {}", steps(&then).join(", then ")));
        }
        let closing = definition.closing_act(&after).unwrap_or_default();
        if !closing.is_empty() && !after.is_ended() {
            words.push(format!(
                "then ends with {}",
                steps(&closing).join(", then ")
            ));
        }
    }
    let (name, helps) = match action {
        Action::Resume => {
            if let (Some(first), Some(Event::Resumed(resumed))) =
                (words.first_mut(), events.first())
                && !resumed.stays_paused
            {
                "the saga goes on, with every deadline later by as long as it stood still"
                    .clone_into(first);
            }
            ("resume", "goes on from where it stands")
        }
        Action::Retry {
            said: Some(said), ..
        } => (
            "retry",
            match said.result {
                SkipResult::Done => {
                    "where the payment provider did it; its name for it, if it has one, is told \
                     with --reference"
                }
                SkipResult::Left => "where the payment provider did not do it and never will",
            },
        ),
        Action::Retry { .. } => ("retry", how_a_retry_helps(tale, &events)),
        Action::Compensate => ("compensate", "undoes all of it"),
        Action::Skip { .. } if state.turned_back().is_some() => (
            "skip",
            "leaves what this step did as it is, for you to see to, and goes on back without it",
        ),
        Action::Skip { .. } => (
            "skip",
            "gives this step up and goes on without it: what it may have done is undone first",
        ),
        Action::Pause => ("pause", "lets it stand still"),
    };
    let mut about = step
        .as_ref()
        .map_or_else(String::new, |step| format!(" --step {step}"));
    if let Action::Retry {
        said: Some(said), ..
    } = action
    {
        about.push_str(match said.result {
            SkipResult::Done => " --result done",
            SkipResult::Left => " --result left",
        });
    }
    let saga = tale.saga.id;
    Some(Possible {
        saga_id: saga,
        action: name,
        step,
        helps: helps.to_owned(),
        words,
        command: format!("recourse sagas {name} {saga}{about} --reason \"…\" --dry-run"),
    })
}

/// By what a retry makes: what it looks up first, as that may be all that is missing.
fn how_a_retry_helps(tale: &Tale<'_>, events: &[Event]) -> &'static str {
    let mut retried = events.iter().filter_map(|event| match event {
        Event::Retried(retried) => Some(retried),
        _ => None,
    });
    if retried.clone().any(|its| !its.looks_up.is_empty()) {
        return "looks at once for what is not answered, and asks again for what never arrived";
    }
    if retried.any(|its| is_refused_for_good(tale, its)) {
        return "helps only once what refused it is mended: it said that asking again cannot help";
    }
    "helps once what refused it is mended"
}

/// Whether something that is asked again said, when it was last asked, that this cannot help.
fn is_refused_for_good(tale: &Tale<'_>, retried: &Retried) -> bool {
    retried.commands.iter().any(|next| {
        let mut sent = tale.state.commands().iter().rev();
        let last = sent.find(|sent| {
            sent.direction == next.direction && sent.step == next.step && sent.item == next.item
        });
        last.is_some_and(|last| tale.finals.contains(&last.id))
    })
}
