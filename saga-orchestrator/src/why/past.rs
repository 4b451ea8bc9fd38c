//! What happened, in words.

use chrono::{DateTime, SecondsFormat, Utc};
use recourse_domain::{
    order,
    payment::{self, Declined, Operation},
};
use recourse_event_store::Metadata;
use recourse_saga::{
    Answer, Answered, By, Direction, Event, Kind, Overdue, Resent, Retried, SentCommand,
    SkipResult, State, StepSkipped,
};

/// How many of many are named.
const NAMED: usize = 3;

/// A time, as text has it everywhere.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `a, b, c and 4 more`.
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.split_at_checked(NAMED) {
        Some((named, more)) if !more.is_empty() => {
            format!("{} and {} more", named.join(", "), more.len())
        }
        _ => items.join(", "),
    }
}

/// A step and which way it is gone, without its items.
pub(super) fn step(direction: Direction, step: &str) -> String {
    match direction {
        Direction::Do => step.to_owned(),
        Direction::Undo => format!("the undo of {step}"),
        Direction::Reverse => format!("the reversal of {step}"),
    }
}

/// The same with an item.
pub(super) fn part(direction: Direction, name: &str, item: &str) -> String {
    let space = if item.is_empty() { "" } else { " " };
    format!("{}{space}{item}", step(direction, name))
}

/// What an event of a saga says, a sentence each; `before` and `after` are the saga around it.
pub(super) fn of_saga(event: &Event, before: &State, after: &State) -> Vec<String> {
    let mut said = vec![first(event, before, after)];
    let turns = before.turned_back().is_none() && after.turned_back().is_some();
    if turns && let Some(said) = said.last_mut() {
        said.push_str("; the saga turns back");
    }
    let eased = before.trouble().is_some() && after.trouble().is_none() && !after.is_ended();
    if eased && let Some(deadline) = after.deadline_at() {
        said.push(format!(
            "the saga needs no attention any more and has until {}",
            time(deadline)
        ));
    }
    said.extend(sends(event));
    said
}

fn first(event: &Event, before: &State, after: &State) -> String {
    match event {
        Event::Started(started) => format!(
            "the saga {} begins and has until {} to end",
            started.definition,
            time(started.deadline_at)
        ),
        Event::Answered(answered) => of_answer(answered, after),
        Event::TimedOut(its) => format!(
            "{} was not answered in time",
            part(Direction::Do, &its.step, &its.item)
        ),
        Event::Overdue(overdue) => of_overdue(overdue, before),
        Event::Resent(resent) => of_resent(resent, before),
        Event::CancellationNoted(_) => {
            "the saga sees the cancellation, before its point of no return".to_owned()
        }
        Event::Completed(_) if after.skips().iter().any(|skip| skip.counts) => {
            "the saga is completed, but for what an operator had left out".to_owned()
        }
        Event::Completed(_) => "the saga is completed: everything is done".to_owned(),
        Event::Compensated(_) => match after.exceptions().next() {
            None => "the saga is compensated: everything that it did is undone".to_owned(),
            Some(_) => "the saga is compensated, but for what an operator left".to_owned(),
        },
        Event::AttentionNeeded(needed) => format!("the saga needs attention: {}", needed.why),
        Event::Parked(parked) => format!(
            "the saga is parked and stands still, as something could not be handled: {}",
            parked.error
        ),
        Event::Paused(its) => format!("{} pauses the saga{}", who(&its.by), why(&its.by)),
        Event::Resumed(its) if its.stays_paused => format!(
            "{} ends that the saga is parked; it stays paused{}",
            who(&its.by),
            why(&its.by)
        ),
        Event::Resumed(its) => format!(
            "{} lets the saga go on, every deadline {} ms later{}",
            who(&its.by),
            its.stood_still_ms,
            why(&its.by)
        ),
        Event::Retried(Retried {
            by,
            said: Some(said),
            commands,
            ..
        }) => {
            let what = list(
                commands
                    .iter()
                    .map(|sent| part(sent.direction, &sent.step, &sent.item)),
            );
            let became = match said {
                SkipResult::Done => "took effect",
                SkipResult::Left => "did not take effect and never will",
            };
            format!("{} says that {what} {became}{}", who(by), why(by))
        }
        Event::Retried(its) => {
            let looks = if its.looks_up.is_empty() {
                ""
            } else {
                ", and what is not answered looked up"
            };
            let (who, why) = (who(&its.by), why(&its.by));
            format!("{who} has what was refused asked again{looks}{why}")
        }
        Event::SkipRequested(its) => {
            let first = match its.direction {
                Direction::Do => ", once what it may have done is undone",
                Direction::Undo | Direction::Reverse => ", once it is answered",
            };
            format!(
                "{} wants {} left out{first}{}",
                who(&its.by),
                step(its.direction, &its.step),
                why(&its.by)
            )
        }
        Event::StepSkipped(skipped) => of_skipped(skipped),
        Event::CompensationRequested(its) if its.past_pivot => format!(
            "{} wants the saga undone, which begins with taking its point of no return back{}",
            who(&its.by),
            why(&its.by)
        ),
        Event::CompensationRequested(its) => {
            format!("{} wants the saga undone{}", who(&its.by), why(&its.by))
        }
    }
}

fn who(by: &By) -> String {
    format!("an operator ({})", by.actor)
}

fn why(by: &By) -> String {
    format!(" (\"{}\")", by.reason)
}

fn of_answer(answered: &Answered, after: &State) -> String {
    let what = part(answered.direction, &answered.step, &answered.item);
    let (code, detail) = match &answered.answer {
        Answer::Done => {
            let passed = answered.direction == Direction::Do && is_pivot(after, &answered.step);
            let passed = if passed && after.turned_back().is_none() && !answered.is_moot {
                ": the point of no return is passed"
            } else {
                ""
            };
            return format!("{what} is done{passed}");
        }
        Answer::Refused { .. } if answered.counts_as_done => {
            return format!("{what} finds nothing left to do");
        }
        Answer::Refused { code, detail, .. } => (code, detail),
    };
    let then = match answered.resend_at {
        Some(at) => format!("; it is asked again at {}", time(at)),
        None if answered.is_moot => "; that decides nothing any more".to_owned(),
        None => String::new(),
    };
    format!("{what} is refused ({code}): {detail}{then}")
}

fn is_pivot(state: &State, step: &str) -> bool {
    let mut steps = state.steps().into_iter();
    steps.any(|its| &*its.name == step && its.kind == Kind::Pivot)
}

fn of_overdue(overdue: &Overdue, before: &State) -> String {
    let Some(sent) = before.command(overdue.command) else {
        return format!("{} is overdue", overdue.step);
    };
    let what = part(sent.direction, &sent.step, &sent.item);
    let then = match overdue.look_again_at {
        Some(at) => format!("it stays open and is looked up again at {}", time(at)),
        None => "it stays open".to_owned(),
    };
    format!(
        "{what} is overdue, as {} has not answered: {then}",
        sent.target
    )
}

fn of_resent(resent: &Resent, before: &State) -> String {
    let Some(sent) = before.command(resent.command) else {
        return "a command is sent again".to_owned();
    };
    let what = part(sent.direction, &sent.step, &sent.item);
    if sent.resend_at.is_some() {
        return format!("the wait before {what} is asked again is over");
    }
    let then = if resent.commands.is_empty() {
        "; there is nothing to undo"
    } else {
        ""
    };
    format!("{what} never reached {}{then}", sent.target)
}

fn of_skipped(skipped: &StepSkipped) -> String {
    let what = part(Direction::Do, &skipped.step, &skipped.item);
    match (skipped.direction, skipped.result) {
        (Direction::Do, SkipResult::Left) => format!("{what} is left out"),
        (Direction::Do, SkipResult::Done) => format!("{what} is left out: it was done elsewhere"),
        (_, SkipResult::Left) => format!("{what} is not undone: an operator answers for it"),
        (_, SkipResult::Done) => format!("{what} is not undone here: that was done elsewhere"),
    }
}

/// The commands of one event: those that differ in their item only are one sentence.
pub(super) fn sends(event: &Event) -> Vec<String> {
    let commands = event.commands();
    if let Event::Retried(Retried { said: Some(_), .. }) = event {
        // What an operator found out is told, not asked.
        let targets = list(commands.iter().map(|sent| &sent.command.target));
        return vec![format!("{targets} is told so")];
    }
    let is_alike = |one: &SentCommand, other: &SentCommand| {
        one.step == other.step && one.direction == other.direction && one.attempt == other.attempt
    };
    commands.chunk_by(is_alike).filter_map(send).collect()
}

fn send(alike: &[SentCommand]) -> Option<String> {
    let first = alike.first()?;
    let targets = list(alike.iter().map(|sent| &sent.command.target));
    let items = list(alike.iter().map(|sent| &sent.item));
    let what = part(first.direction, &first.step, &items);
    let attempt = if first.attempt > 1 {
        format!(", for the {} time", ordinal(first.attempt))
    } else {
        String::new()
    };
    Some(format!("{what} is asked of {targets}{attempt}"))
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (1, last) if last != 11 => "st",
        (2, last) if last != 12 => "nd",
        (3, last) if last != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// What the order's own stream says beside its answers to sagas: what clients asked for.
pub(super) fn of_order(event: &order::Event, metadata: &Metadata) -> Option<String> {
    let text = match event {
        order::Event::Placed(placed) => {
            let lines = placed.lines.iter();
            let lines = list(lines.map(|line| format!("{} of {}", line.quantity.get(), line.sku)));
            let total = placed.total.written();
            format!("a client orders {lines} for {total}")
        }
        order::Event::Cancelled(cancelled) => {
            format!("a client cancels the order (\"{}\")", cancelled.reason)
        }
        order::Event::ReturnRequested(requested) => {
            let lines = requested.lines.iter();
            let lines = list(lines.map(|line| format!("{} of {}", line.quantity.get(), line.sku)));
            let (refund, reason) = (requested.refund.written(), &requested.reason);
            format!("a client returns {lines} and wants {refund} back (\"{reason}\")")
        }
        _ => return None,
    };
    let request = match &metadata.request_id {
        Some(id) => format!(", by request {id}"),
        None => String::new(),
    };
    Some(format!("{text}{request}"))
}

/// The operation of the provider that an event is about.
pub(super) fn operation(event: &payment::Event) -> Option<Operation> {
    let ends = event.outcome().map(|(operation, _)| operation);
    let learned = match event {
        payment::Event::Unknown(unknown) => Some(unknown.operation),
        _ => None,
    };
    event.intent().or(ends).or(learned)
}

/// What the provider is asked for.
pub(super) fn asks(operation: Operation) -> &'static str {
    match operation {
        Operation::Authorize => "reserve the money",
        Operation::Capture => "take the money",
        Operation::Void => "let the reserved money go",
        Operation::Refund(_) => "give money back",
    }
}

/// What a payment's stream says of its provider. A card's token is in none of it.
pub(super) fn of_payment(event: &payment::Event) -> Option<String> {
    use payment::Event;
    let refused = |what: &str, declined: &Declined| {
        format!(
            "the payment provider refuses to {what} ({}): {}",
            declined.code, declined.detail
        )
    };
    Some(match event {
        Event::AuthorizationRequested(requested) => format!(
            "the payment provider is asked to reserve {}",
            requested.amount.written()
        ),
        Event::CaptureRequested(_) => "the payment provider is asked to take the money".to_owned(),
        Event::VoidRequested(_) => {
            "the payment provider is asked to let the reserved money go".to_owned()
        }
        Event::RefundRequested(requested) => format!(
            "the payment provider is asked to give {} back",
            requested.amount.written()
        ),
        Event::Authorized(done) => format!(
            "the payment provider has reserved {}, as {}",
            done.amount.written(),
            done.reference
        ),
        Event::Captured(done) => format!(
            "the payment provider has taken {}, as {}",
            done.amount.written(),
            done.reference
        ),
        Event::Voided(done) => format!(
            "the payment provider has let {} go, as {}",
            done.amount.written(),
            done.reference
        ),
        Event::Refunded(done) => format!(
            "the payment provider has given {} back, as {}",
            done.amount.written(),
            done.reference
        ),
        Event::Declined(declined) => refused(asks(Operation::Authorize), declined),
        Event::CaptureRefused(declined) => refused(asks(Operation::Capture), declined),
        Event::VoidRefused(declined) => refused(asks(Operation::Void), declined),
        Event::RefundRefused(its) => refused(asks(Operation::Refund(its.refund)), &its.declined),
        Event::Unknown(unknown) if unknown.given_up => format!(
            "the payment provider gives no clear answer ({}): it may have done it or not, and is not \
             asked to {} any more, as it may know the key no more: an operator has to find out which",
            unknown.detail,
            asks(unknown.operation)
        ),
        Event::Unknown(unknown) => format!(
            "the payment provider gives no clear answer ({}): it may have done it or not, and is asked \
             to {} again under the same key until it says which",
            unknown.detail,
            asks(unknown.operation)
        ),
        Event::Joined(joined) => format!(
            "waits for what the payment provider was asked before: to {}",
            asks(joined.operation)
        ),
        Event::RepeatAnswered(_) => return None,
    })
}
