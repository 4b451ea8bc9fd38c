//! Walks every path of the saga `fulfilment` against the real rules of order, payment and
//! stock, and shows what each rule is for by taking it away.
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
mod rules;
mod world;

use std::{cell::RefCell, collections::BTreeMap, path::Path};

use model::Orders;
use recourse_saga::{
    Rule,
    explore::{Failure, Report, explore},
};
use recourse_saga_orchestrator::fulfilment::{self, Timing};
use rules::{Habit, Without};
use world::Budget;

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

/// What `RECOURSE_EXPLORE=full` walks besides: all of it at once.
const FULL_BOUND: Budget = Budget { losses: 1, ..BOUND };

/// More states than any bound has; memory, not time, would end a walk beyond it.
const MAX_STATES: usize = 20_000_000;

fn orders(budget: Budget, without: Without) -> Orders {
    // Never out of attempts: whoever asks for attention then has been refused for good.
    let timing = Timing {
        max_attempts: 4,
        ..Timing::default()
    };
    Orders {
        definition: fulfilment::definition(&timing).unwrap(),
        budget,
        without,
        ends: RefCell::default(),
    }
}

fn walk(name: &str, budget: Budget) -> BTreeMap<String, usize> {
    let orders = orders(budget, Without::Nothing);
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
    let mut ends = walk("the bound", BOUND);
    ends.extend(walk("the bound with a lost command", BOUND_WITH_LOSS));
    if std::env::var("RECOURSE_EXPLORE").is_ok_and(|bound| bound == "full") {
        ends.extend(walk("the full bound", FULL_BOUND));
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

/// Sets of faults, from none to pairs.
fn faults() -> Vec<(String, Budget)> {
    type Set = fn(&mut Budget);
    let kinds: [(&str, Set); 7] = [
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
    let mut faults = vec![("none".to_owned(), NO_FAULTS)];
    for (name, set) in &kinds {
        let mut budget = NO_FAULTS;
        set(&mut budget);
        faults.push(((*name).to_owned(), budget));
    }
    for (at, (first, set_first)) in kinds.iter().enumerate() {
        for (second, set_second) in &kinds[at + 1..] {
            let mut budget = NO_FAULTS;
            set_first(&mut budget);
            set_second(&mut budget);
            faults.push((format!("{first}, {second}"), budget));
        }
    }
    faults
}

/// The failure by the fewest faults, then the fewest steps.
fn failure(without: Without) -> Option<(String, Failure)> {
    faults().into_iter().find_map(|(faults, budget)| {
        let report = explore(&orders(budget, without), MAX_STATES);
        report.failure.map(|failure| (faults, failure))
    })
}

#[test]
fn without_any_one_rule_an_order_goes_wrong() {
    let rules = Rule::ALL
        .map(|rule| (rule.words(), Without::Rule(rule)))
        .into_iter()
        .chain(Habit::ALL.map(|habit| (habit.words(), Without::Habit(habit))));
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
    for (words, without) in rules {
        let Some((faults, failure)) = failure(without) else {
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
