//! Walks every path of the sagas `fulfilment` and `return` against the real rules of order, payment
//! and stock, and shows what each rule is for by taking it away from the first.
//!
//! `RECOURSE_EXPLORE=full` walks the wider bound too, which takes minutes. `UPDATE=1` writes
//! `docs/saga-rules.md` anew.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

/// Straight to standard output: what a test prints with `println` is shown only where it fails.
macro_rules! say {
    ($($text:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)))
            .expect("somebody reads what a test prints")
    };
}

mod action;
mod calls;
mod checks;
mod model;
mod participants;
mod provider;
mod returning;
mod rules;
mod world;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use model::Orders;
use recourse_saga::{
    Rule,
    explore::{Failure, Report, explore},
};
use recourse_saga_orchestrator::{
    fulfilment::{self, Timing},
    returns,
};
use rules::{Habit, Without};
use world::{Budget, Story};

/// Redeliveries are free: each is tried at each state, and changes nothing.
const NO_FAULTS: Budget = Budget {
    duplicates: 2,
    timeouts: 0,
    deadlines: 0,
    cancellations: 0,
    crashes: 0,
    unknowns: 0,
    refusals: 0,
    losses: 0,
    returns: 0,
    pauses: 0,
    retries: 0,
    skips: 0,
    compensations: 0,
    expiries: 0,
};

/// What every test run walks.
const BOUND: Budget = Budget {
    timeouts: 2,
    deadlines: 1,
    cancellations: 1,
    crashes: 1,
    unknowns: 1,
    refusals: 1,
    ..NO_FAULTS
};

/// The same with a lost command, which costs a timeout and the crash.
const BOUND_WITH_LOSS: Budget = Budget {
    timeouts: 1,
    crashes: 0,
    losses: 1,
    ..BOUND
};

/// Everything that an operator may do, each anywhere in every path, beside what makes it matter.
const OPERATED: [(&str, Budget); 7] = [
    (
        "a key that is too old, and a cancellation",
        Budget {
            expiries: 1,
            unknowns: 1,
            cancellations: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a key that is too old, and an undo",
        Budget {
            expiries: 1,
            unknowns: 1,
            compensations: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a key that is too old, and a skip",
        Budget {
            expiries: 1,
            unknowns: 1,
            skips: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a pause",
        Budget {
            pauses: 1,
            cancellations: 1,
            timeouts: 1,
            deadlines: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a retry",
        Budget {
            retries: 1,
            losses: 1,
            cancellations: 1,
            deadlines: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a skip",
        Budget {
            skips: 1,
            cancellations: 1,
            unknowns: 1,
            ..NO_FAULTS
        },
    ),
    (
        "an undo",
        Budget {
            compensations: 1,
            cancellations: 1,
            unknowns: 1,
            returns: 1,
            ..NO_FAULTS
        },
    ),
];

/// What every test run walks of a return.
const RETURNS: [(&str, Budget); 7] = [
    (
        "a return",
        Budget {
            timeouts: 2,
            deadlines: 1,
            crashes: 1,
            unknowns: 2,
            refusals: 1,
            returns: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a return with a lost command",
        Budget {
            timeouts: 2,
            deadlines: 1,
            losses: 1,
            unknowns: 1,
            refusals: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a return, a key that is too old, and an undo",
        Budget {
            expiries: 1,
            unknowns: 1,
            compensations: 1,
            crashes: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a return and a pause",
        Budget {
            pauses: 1,
            timeouts: 1,
            deadlines: 1,
            unknowns: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a return and a retry",
        Budget {
            retries: 1,
            losses: 1,
            deadlines: 1,
            unknowns: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a return and a skip",
        Budget {
            skips: 1,
            timeouts: 1,
            unknowns: 1,
            crashes: 1,
            losses: 1,
            ..NO_FAULTS
        },
    ),
    (
        "a return and an undo",
        Budget {
            compensations: 1,
            timeouts: 1,
            deadlines: 1,
            unknowns: 1,
            returns: 1,
            ..NO_FAULTS
        },
    ),
];

/// What `RECOURSE_EXPLORE=full` walks of a return besides: all of its faults at once.
const RETURN_FULL: Budget = Budget {
    timeouts: 2,
    deadlines: 1,
    crashes: 1,
    unknowns: 2,
    refusals: 2,
    losses: 1,
    returns: 1,
    expiries: 1,
    ..NO_FAULTS
};

/// What `RECOURSE_EXPLORE=full` walks besides: all of it at once.
const FULL_BOUND: Budget = Budget { losses: 1, ..BOUND };

/// More states than any bound has; memory, not time, would end a walk beyond it.
const MAX_STATES: usize = 20_000_000;

fn orders(story: Story, budget: Budget, without: Without) -> Orders {
    // Never out of attempts: whoever asks for attention then has been refused for good.
    let timing = Timing {
        max_attempts: 4,
        ..Timing::default()
    };
    let definition = match story {
        Story::Order => fulfilment::definition(&timing),
        Story::Return => returns::definition(&timing),
    };
    Orders {
        story,
        definition: definition.unwrap(),
        budget,
        without,
        ends: RefCell::default(),
    }
}

fn walk(story: Story, name: &str, budget: Budget) -> BTreeMap<String, usize> {
    let orders = orders(story, budget, Without::Nothing);
    let report = explore(&orders, MAX_STATES);
    let Report {
        states,
        steps,
        depth,
        ..
    } = report;
    say!("{name}: {budget:?}");
    say!("  visited {states} states by {steps} steps, the furthest {depth} steps away");
    if let Some(failure) = report.failure {
        panic!("{}\n  {}", failure.what, failure.path.join("\n  "));
    }
    assert!(!report.is_cut, "the walk was cut");
    let ends = orders.ends.into_inner();
    for (end, count) in &ends {
        say!("  {count:>6} ends: {end}");
    }
    ends
}

#[test]
fn every_path_of_an_order_settles_or_says_exactly_what_is_left() {
    let mut ends = walk(Story::Order, "the bound", BOUND);
    ends.extend(walk(
        Story::Order,
        "the bound with a lost command",
        BOUND_WITH_LOSS,
    ));
    if is_full() {
        ends.extend(walk(Story::Order, "the full bound", FULL_BOUND));
    } else {
        say!("RECOURSE_EXPLORE=full walks all of these faults at once");
    }
    let expected = [
        "compensated (cancelled)",
        "compensated (order-cancelled)",
        "compensated (out-of-stock)",
        "compensated (payment-declined)",
        "compensated (timeout)",
        "compensated (try-again)",
        "completed",
        "needs_attention",
        "needs_attention (cancelled)",
        "needs_attention (order-cancelled)",
        "needs_attention (timeout)",
    ];
    assert_eq!(ends.keys().collect::<Vec<_>>(), expected);
}

#[test]
fn an_operator_may_act_anywhere_in_every_path() {
    let mut ends = BTreeMap::new();
    for (name, budget) in OPERATED {
        ends.extend(walk(Story::Order, name, budget));
    }
    let expected = [
        "compensated (cancelled)",
        "compensated (order-cancelled)",
        "compensated (out-of-stock)",
        "compensated (payment-declined)",
        "compensated (reversed)",
        "compensated (settled-by-operator)",
        "compensated (stopped-by-operator)",
        "compensated (timeout)",
        "completed",
        "needs_attention",
        "needs_attention (cancelled)",
        "needs_attention (order-cancelled)",
        "needs_attention (reversed)",
        "needs_attention (stopped-by-operator)",
        "needs_attention (timeout)",
    ];
    assert_eq!(ends.keys().collect::<Vec<_>>(), expected);
}

#[test]
fn every_path_of_a_return_settles_or_says_exactly_what_is_left() {
    let mut ends = BTreeMap::new();
    for (name, budget) in RETURNS {
        ends.extend(walk(Story::Return, name, budget));
    }
    if is_full() {
        ends.extend(walk(
            Story::Return,
            "the full bound of a return",
            RETURN_FULL,
        ));
    }
    let expected = [
        "compensated (payment-declined)",
        "compensated (settled-by-operator)",
        "compensated (stopped-by-operator)",
        "compensated (timeout)",
        "compensated (try-again)",
        "completed",
        "needs_attention",
    ];
    assert_eq!(ends.keys().collect::<Vec<_>>(), expected);
}

/// Whether the wider bounds are walked too.
fn is_full() -> bool {
    std::env::var("RECOURSE_EXPLORE").is_ok_and(|bound| bound == "full")
}

type Set = fn(&mut Budget);

/// Sets of faults, from none to pairs, one of each an operator's doing where there is one.
fn faults(without: Without) -> Vec<(String, Budget)> {
    let operators: [(&str, Set); 4] = [
        ("an undo by an operator", |budget| budget.compensations = 1),
        ("a skip", |budget| budget.skips = 1),
        ("a retry", |budget| budget.retries = 1),
        ("a pause", |budget| budget.pauses = 1),
    ];
    let others: [(&str, Set); 7] = [
        ("a cancellation", |budget| budget.cancellations = 1),
        ("a timeout", |budget| budget.timeouts = 1),
        ("an unknown outcome", |budget| budget.unknowns = 1),
        ("a refusal for now", |budget| budget.refusals = 1),
        ("a crash", |budget| budget.crashes = 1),
        ("a lost command", |budget| budget.losses = 1),
        ("a deadline before the answers", |budget| {
            budget.deadlines = 1
        }),
    ];
    let is_operators = matches!(without, Without::Rule(rule) if rule.is_about_operators());
    let mut faults = vec![("none".to_owned(), NO_FAULTS)];
    let mut add = |sets: &[&(&str, Set)]| {
        let mut budget = NO_FAULTS;
        for (_, set) in sets {
            set(&mut budget);
        }
        let names: Vec<&str> = sets.iter().map(|(name, _)| *name).collect();
        faults.push((names.join(", "), budget));
    };
    let firsts: &[(&str, Set)] = if is_operators { &operators } else { &others };
    for first in firsts {
        add(&[first]);
    }
    for (at, first) in firsts.iter().enumerate() {
        let seconds = if is_operators {
            &others
        } else {
            &others[at + 1..]
        };
        for second in seconds {
            add(&[first, second]);
        }
    }
    if is_operators {
        for (at, first) in operators.iter().enumerate() {
            for second in &operators[at + 1..] {
                add(&[first, second]);
            }
        }
    }
    faults
}

/// The failure by the fewest faults, then the fewest steps. With the rule these faults do no harm.
fn failure(
    story: Story,
    without: Without,
    harmless: &mut BTreeSet<String>,
) -> Option<(String, Failure)> {
    faults(without).into_iter().find_map(|(faults, budget)| {
        let report = explore(&orders(story, budget, without), MAX_STATES);
        let failure = report.failure?;
        if harmless.insert(faults.clone()) {
            let report = explore(&orders(story, budget, Without::Nothing), MAX_STATES);
            assert_eq!(report.failure, None, "with every rule: {faults}");
        }
        Some((faults, failure))
    })
}

/// Every rule, in words.
fn rules() -> impl Iterator<Item = (&'static str, Without)> {
    let engine = Rule::ALL.map(|rule| (rule.words(), Without::Rule(rule)));
    let others = Habit::ALL.map(|habit| (habit.words(), Without::Habit(habit)));
    engine.into_iter().chain(others)
}

#[test]
fn without_most_rules_a_return_goes_wrong_too() {
    let mut harmless = BTreeSet::new();
    let mut unshown = Vec::new();
    for (words, without) in rules() {
        match failure(Story::Return, without, &mut harmless) {
            Some((faults, failure)) => say!("without `{words}`: {}, by {faults}", failure.what),
            None => unshown.push(words),
        }
    }
    // What a return does not have: two steps to undo, a restock or an acceptance that is refused, a
    // cancellation, a reversal.
    let expected = [
        Rule::UndoInReverseOrder,
        Rule::RefusedForNowIsSentAgain,
        Rule::RefusedForGoodNeedsAttention,
        Rule::FailingUndoNeedsAttention,
        Rule::CancellationTurnsBack,
        Rule::PivotIsReversedFirst,
        Rule::ReversalGoesToEveryStep,
        Rule::TakenOverIsNotUndone,
    ];
    assert_eq!(unshown, expected.map(Rule::words));
}

#[test]
fn without_any_one_rule_an_order_goes_wrong() {
    let mut table = String::from(
        "# What each rule is for\n\n\
         Written by the test `without_any_one_rule_an_order_goes_wrong` of the saga orchestrator\n\
         (`UPDATE=1` writes it anew): it takes one rule away, walks every path of the saga\n\
         `fulfilment`, and finds the one to a failure with the fewest faults, then the fewest\n\
         steps. The first rules are the engine's, the last those of whoever it talks to.\n\n\
         | without this rule | what goes wrong | faults it takes | steps |\n\
         | --- | --- | --- | --- |\n",
    );
    let mut paths = String::new();
    let mut harmless = BTreeSet::new();
    for (words, without) in rules() {
        let Some((faults, failure)) = failure(Story::Order, without, &mut harmless) else {
            panic!("nothing goes wrong without this rule: {words}");
        };
        table.push_str(&format!(
            "| {words} | {} | {faults} | {} |\n",
            failure.what,
            failure.path.len()
        ));
        paths.push_str(&format!("\n## Without: {words}\n\n"));
        for (number, step) in (1..).zip(&failure.path) {
            paths.push_str(&format!("{number}. {step}\n"));
        }
        paths.push_str(&format!("\nThen {}.\n", failure.what));
    }
    say!("{table}");
    let page = table + &paths;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/saga-rules.md");
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/saga-rules.md is old: run with UPDATE=1"
    );
}
