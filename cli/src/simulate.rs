//! `recourse simulate`: the whole system from seeds, on a clock that nobody waits for.

use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    ops::{Range, RangeInclusive},
    process::ExitCode,
};

use clap::{Args, value_parser};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    output,
    simulation::{self, Breach, Outcome, Tally},
};

/// Run the whole system from seeds, with crashes, lost messages and a provider that fails, and hold
/// every promise against what came of it.
///
/// Nothing is stored and nobody is called: services, clients and an operator run in memory, on a
/// clock that jumps from one timer to the next. A seed always gives the same log, whose hash is
/// shown; what the services log is left out unless --log asks for it.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Which seeds: so many, from 1 on; or those from one up to and without another.
    #[arg(long, value_name = "COUNT|FROM..TO", default_value = "10", value_parser = seeds)]
    seeds: Range<u64>,
    /// Only this seed.
    #[arg(long, value_name = "NUMBER", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// How many orders are placed with each seed. Crashes and what an operator does grow with them.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = ORDERS,
        value_parser = value_parser!(u32).range(1..=10_000)
    )]
    orders: u32,
    /// How long all may take to settle once nothing goes wrong any more, in seconds of virtual
    /// time.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = SETTLE_WITHIN_S,
        value_parser = value_parser!(u32).range(1..=86_400)
    )]
    settle_within_s: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const ORDERS: u32 = simulation::Options::of(0).orders;
const SETTLE_WITHIN_S: u32 = simulation::Options::of(0).settle_within_s;

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = match text.split_once("..") {
        Some((from, to)) => from.parse().ok().zip(to.parse().ok()),
        None => text.parse().ok().map(|count: u64| (1, count)),
    };
    let range = range.and_then(|(from, to)| match text.contains("..") {
        true => Some(from..to),
        false => Some(from..to.checked_add(1)?),
    });
    range
        .filter(|seeds| !seeds.is_empty())
        .ok_or_else(|| "so many seeds, 10, or from one up to another, 100..200".to_owned())
}

/// What came of all.
#[derive(Serialize)]
struct Report {
    /// Those that kept every promise.
    seeds: Vec<Seed>,
    total: Tally,
    /// The one that did not; those after it are not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<Broken>,
}

#[derive(Serialize)]
struct Seed {
    seed: u64,
    #[serde(flatten)]
    tally: Tally,
    virtual_time_ms: u64,
    log_bytes: usize,
    log_sha256: String,
}

#[derive(Serialize)]
struct Broken {
    seed: u64,
    breach: String,
    /// The command that shows it again.
    repeat: String,
}

/// Runs the seeds one after the other, up to the first that breaks a promise.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let seeds = options.seeds();
    let mut report = Report {
        seeds: Vec::new(),
        total: Tally::default(),
        broken: None,
    };
    let count = seeds.end().saturating_sub(*seeds.start());
    let mut shown = Shown::new(options.json, count.saturating_add(1));
    shown.begin()?;
    for seed in seeds {
        shown.at(seed);
        let outcome = simulation::run(simulation::Options {
            seed,
            orders: options.orders,
            settle_within_s: options.settle_within_s,
        });
        match outcome {
            Ok(outcome) => {
                let done = Seed::of(seed, outcome);
                report.total.add(&done.tally);
                shown.done(&done)?;
                report.seeds.push(done);
            }
            Err(breach) => {
                report.broken = Some(Broken {
                    seed,
                    breach: told(&breach),
                    repeat: options.again(seed),
                });
                break;
            }
        }
    }
    shown.end();
    output::print(&report, &report.text(), options.json)?;
    Ok(match report.broken {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

impl Options {
    /// Those that are run.
    fn seeds(&self) -> RangeInclusive<u64> {
        match self.seed {
            Some(seed) => seed..=seed,
            // None of the ranges that are taken is empty.
            None => self.seeds.start..=self.seeds.end.saturating_sub(1),
        }
    }

    /// The command that simulates one of them again.
    fn again(&self, seed: u64) -> String {
        let mut command = format!("recourse simulate --seed {seed}");
        for (name, value, default) in [
            ("orders", self.orders, ORDERS),
            ("settle-within-s", self.settle_within_s, SETTLE_WITHIN_S),
        ] {
            if value != default {
                // Writing into a string does not fail.
                let _ = write!(command, " --{name} {value}");
            }
        }
        command
    }
}

/// A breach down to its first cause.
fn told(breach: &Breach) -> String {
    let mut text = breach.to_string();
    let mut cause = std::error::Error::source(breach);
    while let Some(error) = cause {
        let _ = write!(text, "\nbecause {error}");
        cause = error.source();
    }
    text
}

impl Seed {
    fn of(seed: u64, outcome: Outcome) -> Self {
        let virtual_time_ms = outcome.virtual_time.as_millis();
        Self {
            seed,
            tally: outcome.tally,
            virtual_time_ms: u64::try_from(virtual_time_ms).unwrap_or(u64::MAX),
            log_bytes: outcome.log.len(),
            log_sha256: format!("{:x}", Sha256::digest(&outcome.log)),
        }
    }

    fn line(&self) -> String {
        let Tally {
            orders,
            completed,
            compensated,
            needs_attention,
            messages_lost,
            messages_doubled,
            provider_faults,
            ..
        } = &self.tally;
        let crashes = self.tally.crashes + self.tally.orchestrator_crashes;
        let seconds = self.virtual_time_ms / 1_000;
        let Self {
            seed, log_sha256, ..
        } = self;
        format!(
            "{seed:>6} {orders:>6} {completed:>6} {compensated:>6} {needs_attention:>5} {crashes:>7} \
             {messages_lost:>5} {messages_doubled:>7} {provider_faults:>6} {seconds:>9}  {log_sha256}"
        )
    }
}

const HEADER: &str =
    "  SEED ORDERS   DONE UNDONE STUCK CRASHES  LOST DOUBLED FAULTS VIRTUAL_S  SHA-256 OF THE LOG";

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        match self.seeds.len() {
            0 => {}
            1 => text.push_str("every promise holds in 1 seed\n"),
            kept => text.push_str(&format!("every promise holds in {kept} seeds\n")),
        }
        if !self.seeds.is_empty() {
            text.push_str(&counted(&self.total));
        }
        if let Some(broken) = &self.broken {
            let breach = broken.breach.replace('\n', "\n  ");
            let _ = writeln!(
                text,
                "seed {} breaks a promise:\n  {breach}\nto see it again: {}",
                broken.seed, broken.repeat
            );
        }
        text
    }
}

/// What happened, in words.
fn counted(total: &Tally) -> String {
    let Tally {
        orders,
        cancelled,
        completed,
        compensated,
        needs_attention,
        returns_closed,
        returns_rejected,
        crashes,
        orchestrator_crashes,
        stale_owners,
        events_lost_in_crashes,
        messages_lost,
        messages_doubled,
        messages_delayed,
        messages_ahead,
        consumers_cut,
        answers_lost,
        provider_faults,
        retried,
        skipped,
        undone_by_operator,
        written_off,
    } = total;
    format!(
        "  orders    {orders}, {cancelled} of them cancelled\n\
         \x20 sagas     {completed} completed, {compensated} compensated, {needs_attention} need attention\n\
         \x20 returns   {returns_closed} closed, {returns_rejected} rejected\n\
         \x20 crashes   {crashes} of the process with {events_lost_in_crashes} events lost, \
         {orchestrator_crashes} of the second orchestrator, {stale_owners} owners of sagas that others had got\n\
         \x20 messages  {messages_lost} batches lost, {messages_doubled} doubled, {messages_delayed} late, \
         {messages_ahead} ahead of where they are, {consumers_cut} consumers cut off\n\
         \x20 outside   {answers_lost} answers lost, {provider_faults} faults of the payment provider\n\
         \x20 operator  {retried} retries, {skipped} steps skipped, {undone_by_operator} sagas undone, \
         {written_off} kinds of money written off\n"
    )
}

/// What is shown while it runs: a line a seed, and on a terminal which one runs now.
struct Shown {
    lines: bool,
    progress: Option<std::io::Stderr>,
    count: u64,
    at: u64,
}

impl Shown {
    fn new(json: bool, count: u64) -> Self {
        let progress = std::io::stderr();
        Self {
            lines: !json,
            progress: progress.is_terminal().then_some(progress),
            count,
            at: 0,
        }
    }

    fn begin(&self) -> anyhow::Result<()> {
        self.tell(HEADER)
    }

    /// A line. Whoever reads no more of them wants to know all the same whether a promise is broken:
    /// the exit code says it.
    fn tell(&self, line: &str) -> anyhow::Result<()> {
        match self.lines {
            true => output::text(&format!("{line}\n")),
            false => Ok(()),
        }
    }

    fn at(&mut self, seed: u64) {
        self.at += 1;
        if let Some(to) = &mut self.progress {
            // Nothing can be told where there is nowhere to tell it.
            let _ = write!(to, "\rseed {seed}, {} of {}", self.at, self.count);
        }
    }

    fn done(&mut self, seed: &Seed) -> anyhow::Result<()> {
        self.end();
        self.tell(&seed.line())
    }

    /// Takes back what it says of a seed that runs.
    fn end(&mut self) {
        if let Some(to) = &mut self.progress {
            let _ = write!(to, "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_that_are_given_are_run_though_the_environment_names_another() {
        use clap::Parser;

        #[derive(Debug, Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let of = |args: &[&str]| {
            let args = std::iter::once(&"recourse").chain(args);
            let env = |name: &str| (name == "RECOURSE_SEED").then(|| "7".into());
            let line = recourse_service::options::load_from(args.map(Into::into), env);
            let line: Line = line.unwrap();
            line.options.seeds()
        };
        assert_eq!(of(&["--seeds", "1000"]), 1..=1000);
        assert_eq!(of(&[]), 7..=7);
        assert_eq!(of(&["--seed", "3"]), 3..=3);
    }

    #[test]
    fn seeds_are_so_many_or_from_one_up_to_another() {
        assert_eq!(seeds("3"), Ok(1..4));
        assert_eq!(seeds("100..200"), Ok(100..200));
        for wrong in ["", "0", "x", "5..5", "6..5", "..5", "5..", "1..x", "-1"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }
}
