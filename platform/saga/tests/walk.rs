//! What a walk finds: each of these sagas, or whom it talks to, has one thing wrong with it.

#![cfg(feature = "explore")]
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::collections::BTreeSet;

use recourse_cqrs::{Aggregate, NOTHING_TO_UNDO, Refused};
use recourse_saga::{
    Commands, Definition, Outgoing, Reason, StreamName, closing, compensatable,
    explore::{Faults, Walk},
    pivot, retriable,
    testing::recorded,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Command {
    #[serde(rename = "box.put")]
    Put(String),
    #[serde(rename = "box.remove")]
    Remove(String),
    #[serde(rename = "box.close")]
    Close(bool),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    #[serde(rename = "box.filled.v1")]
    Filled(String),
    #[serde(rename = "box.emptied.v1")]
    Emptied(String),
    #[serde(rename = "box.closed.v1")]
    Closed(bool),
}

/// Takes anything until it is closed.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Box {
    content: BTreeSet<String>,
    is_closed: bool,
}

impl Aggregate for Box {
    const CATEGORY: &'static str = "box";
    type State = Self;
    type Command = Command;
    type Event = Event;
    type Refusal = Refused;

    fn decide(state: &Self, command: &Command) -> Result<Vec<Event>, Refused> {
        Ok(vec![match command.clone() {
            Command::Put(_) | Command::Remove(_) if state.is_closed => {
                return Err(Refused::for_good("closed", "it is closed"));
            }
            Command::Remove(thing) if !state.content.contains(&thing) => {
                return Err(Refused::for_good(NOTHING_TO_UNDO, "it is not in there"));
            }
            Command::Put(thing) => Event::Filled(thing),
            Command::Remove(thing) => Event::Emptied(thing),
            Command::Close(closed) => Event::Closed(closed),
        }])
    }

    fn evolve(mut state: Self, event: &Event) -> Self {
        match event {
            Event::Filled(thing) => drop(state.content.insert(thing.clone())),
            Event::Emptied(thing) => drop(state.content.remove(thing)),
            Event::Closed(closed) => state.is_closed = *closed,
        }
        state
    }

    fn refused(refusal: &Refused) -> Refused {
        refusal.clone()
    }
}

const NONE: Faults = Faults {
    timeouts: 0,
    deadlines: 0,
    losses: 0,
};

fn to(name: &str, command: Command) -> Commands {
    Outgoing::one(StreamName::new("box", name), &command)
}

fn put(name: &'static str) -> impl Fn(&String, &recourse_saga::Ids) -> Commands {
    move |thing, _| to(name, Command::Put(thing.clone()))
}

/// Puts a thing into two boxes; how the first is emptied again is given.
fn saga(undo: fn(&str) -> Command) -> Definition {
    Definition::builder::<String>("pack", 1)
        .starts_on("box.filled.v1", |event| match event {
            Event::Filled(thing) => Some(thing.clone()),
            _ => None,
        })
        .step(compensatable("first", put("a"), move |thing, _| {
            to("a", undo(thing))
        }))
        .step(pivot("second", put("b")).irreversible())
        .step(retriable("third", put("c")).irreversible())
        .when_undone(closing("tell", |thing: &String, _, _: &Reason| {
            to("d", Command::Put(thing.clone()))
        }))
        .build()
        .unwrap()
}

fn remove(thing: &str) -> Command {
    Command::Remove(thing.to_owned())
}

fn walk(definition: Definition) -> Walk {
    let starts = recorded("box-0", Event::Filled("tea".to_owned()));
    let walk = Walk::of(definition, starts);
    walk.given::<Box>("a", [])
        .given::<Box>("b", [])
        .given::<Box>("c", [])
        .given::<Box>("d", [])
        .faults(NONE)
}

fn holds(seen: &recourse_saga::explore::Seen<'_>, name: &str) -> bool {
    seen.of::<Box>(name).content.contains("tea")
}

#[test]
fn a_saga_that_is_right_is_walked_with_every_fault() {
    let ends = walk(saga(remove))
        .faults(Faults::default())
        .meanwhile::<Box>("b", Command::Close(true))
        .holds("only what is in the first comes into the second", |seen| {
            !holds(seen, "b") || holds(seen, "a")
        })
        .completed("all have it", |seen| {
            ["a", "b", "c"].iter().all(|name| holds(seen, name))
        })
        .compensated("none has it", |seen| {
            !["a", "b", "c"].iter().any(|name| holds(seen, name)) && holds(seen, "d")
        })
        .ends();
    let expected = ["compensated (closed)", "compensated (timeout)", "completed"];
    assert_eq!(ends.unwrap(), expected);
}

#[test]
fn an_undo_that_undoes_nothing_is_found_with_the_way_there() {
    let failure = walk(saga(|_| Command::Close(false)))
        .given::<Box>("b", [Event::Closed(true)])
        .compensated("the first is empty", |seen| !holds(seen, "a"))
        .ends()
        .unwrap_err();
    assert_eq!(
        failure.to_string(),
        "this does not hold: the first is empty\n  \
         1. the saga begins\n  \
         2. box-a takes first\n  \
         3. the saga reads first: done\n  \
         4. box-b takes second\n  \
         5. the saga reads second: closed\n  \
         6. box-a takes undo of first\n  \
         7. the saga reads undo of first: done\n  \
         8. box-d takes tell\n  \
         9. the saga reads tell: done"
    );
}

#[test]
fn a_step_behind_the_pivot_that_can_be_refused_for_good_is_found() {
    let walk = walk(saga(remove)).given::<Box>("c", [Event::Closed(true)]);
    let failure = walk.ends().unwrap_err();
    let expected = "it needs attention, and nothing more will happen: ";
    assert!(failure.what.starts_with(expected), "{failure}");
}

#[test]
fn a_client_who_comes_between_is_found() {
    let walk = walk(saga(remove)).meanwhile::<Box>("a", Command::Remove("tea".to_owned()));
    let failure = walk.completed("the first has it", |seen| holds(seen, "a"));
    let failure = failure.ends().unwrap_err();
    assert_eq!(failure.what, "this does not hold: the first has it");
    let client = "a client asks box-a: Remove(\"tea\")";
    assert!(failure.path.iter().any(|step| step == client), "{failure}");
}

#[test]
fn a_command_to_nobody_is_found() {
    let starts = recorded("box-0", Event::Filled("tea".to_owned()));
    let failure = Walk::of(saga(remove), starts).given::<Box>("a", []).ends();
    let what = failure.unwrap_err().what;
    assert_eq!(
        what,
        "a command goes to box-b, which the walk was not given"
    );
}
