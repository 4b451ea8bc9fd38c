//! How a saga stands, and what is left to do.

use recourse_saga::{Direction, Part, Skip, State, Status};

use super::{
    Tale,
    past::{list, part},
};

/// How a saga stands.
pub(super) fn how_it_stands(tale: &Tale<'_>) -> Vec<String> {
    let state = &tale.state;
    let whose = format!("the saga {} {}", tale.saga.definition, tale.saga.id);
    if tale.saga.events.is_empty() {
        return vec![format!("{whose} has not begun yet")];
    }
    let because = state.turned_back().map_or_else(String::new, |reason| {
        format!(", because of {} ({})", reason.code, reason.detail)
    });
    let trouble = state.trouble().unwrap_or_default();
    let stands = match state.status() {
        Status::Running => "goes forward".to_owned(),
        Status::Compensating => format!("goes back{because}"),
        Status::Paused => "is paused".to_owned(),
        Status::Parked => format!("is parked: {trouble}"),
        Status::NeedsAttention => format!("needs attention: {trouble}"),
        Status::Completed => "is completed".to_owned(),
        Status::Compensated => format!("is compensated: it went back{because}"),
    };
    let mut said = vec![format!("{whose} {stands}")];
    if !state.is_ended() {
        said.extend(left(tale));
    }
    said.extend(left_by_operators(state));
    said
}

/// What is still to do, or to undo.
fn left(tale: &Tale<'_>) -> Option<String> {
    let state = &tale.state;
    if state.turned_back().is_none() {
        let mut left = state.remaining();
        left.retain(|part| !state.exceptions().any(|skip| skip.part == *part));
        return (!left.is_empty()).then(|| format!("left to do: {}", steps(&left).join(", ")));
    }
    let undo = steps(&state.undo_plan());
    let closing = tale.definition.map(|its| its.closing_act(state));
    let closing = closing.and_then(Result::ok).unwrap_or_default();
    let mut left = Vec::new();
    if !undo.is_empty() {
        left.push(format!("left to undo: {}", undo.join(", ")));
    }
    if !closing.is_empty() {
        left.push(format!("left to do: {}", steps(&closing).join(", ")));
    }
    (!left.is_empty()).then(|| left.join("; "))
}

/// What operators had left out, and what stays because of it: the items of one step together.
fn left_by_operators(state: &State) -> Vec<String> {
    let counts: Vec<&Skip> = state.skips().iter().filter(|skip| skip.counts).collect();
    let is_alike = |one: &&Skip, other: &&Skip| {
        one.part.step == other.part.step && one.remains == other.remains && one.by == other.by
    };
    counts
        .chunk_by(is_alike)
        .filter_map(|alike| {
            let first = alike.first()?;
            let items = list(alike.iter().map(|skip| &skip.part.item));
            let what = part(Direction::Do, &first.part.step, &items);
            let how = if first.remains {
                "left as it is"
            } else {
                "left out"
            };
            let by = &first.by;
            Some(format!(
                "{how} by an operator ({}): {what} (\"{}\")",
                by.actor, by.reason
            ))
        })
        .collect()
}

/// Parts as a person lists them: the items of one step together.
pub(super) fn steps(parts: &[Part]) -> Vec<String> {
    parts
        .chunk_by(|one, other| one.step == other.step)
        .filter_map(|alike| {
            let items = list(alike.iter().map(|part| &part.item));
            Some(part(Direction::Do, &alike.first()?.step, &items))
        })
        .collect()
}
