//! The command line.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use recourse_service::{options, telemetry};

pub(crate) use crate::output::print;
#[cfg(feature = "distributed")]
use crate::serve;
use crate::{
    arguments::Usage, backup, bench, bench_watch, descriptors, manual, output, projections, ready,
    replay, sagas, schemas, simulate, system::Places, threads::Threads, up, verify, watch, why,
};

/// The exit code of a command that was given wrong arguments.
const USAGE: u8 = 2;

/// Orders, payments and inventory as event-sourced sagas that always settle.
#[derive(Debug, Parser)]
#[command(name = "recourse", version)]
pub struct CommandLine {
    /// A TOML file with options; its keys are the flags' names without the dashes.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    telemetry: telemetry::Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process, under a data folder.
    Up(up::Options),
    /// Run one service in a process of its own.
    #[cfg(feature = "distributed")]
    #[command(subcommand)]
    Serve(serve::Serve),
    /// Tell what happens to sagas, as it happens.
    Watch(watch::Options),
    Why(why::Options),
    /// Hold every promise against the log and the views.
    Verify(verify::Options),
    /// Drive orders over HTTP, measure, then verify.
    Bench(bench::Options),
    Simulate(simulate::Options),
    BenchWatch(bench_watch::BenchWatch),
    Backup(backup::Backup),
    Restore(backup::Restore),
    /// The schemas of the events: write them, or hold what has changed against the rules.
    #[command(subcommand)]
    Schemas(schemas::Action),
    Replay(replay::Options),
    Completions(manual::Completions),
    Man(manual::Man),
    /// Look at sagas, and pause, resume, retry, skip or compensate them.
    Sagas(sagas::Options),
    /// Look after the views.
    #[command(subcommand)]
    Projections(projections::Command),
    Ready(ready::Options),
}

impl CommandLine {
    /// How the process tells what it does. Of services that are only simulated nothing, unless
    /// somebody asks.
    #[must_use]
    pub fn telemetry(&self) -> telemetry::Options {
        let mut telemetry = self.telemetry.clone();
        if matches!(self.command, Command::Simulate(_)) {
            telemetry.log.get_or_insert_with(|| "off".to_owned());
        }
        telemetry
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// Why it could not be done.
pub fn run(line: CommandLine) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if matches!(
        line.command,
        Command::Up(_) | Command::Bench(_) | Command::BenchWatch(_)
    ) {
        descriptors::raise();
    }
    #[cfg(feature = "distributed")]
    if matches!(line.command, Command::Serve(_)) {
        descriptors::raise();
    }
    // Outside of the runtime: no runtime may end inside of another, and where one of these
    // threads cannot be had, those before it do.
    let threads = match &line.command {
        Command::Up(_) => Some(Threads::start()?),
        Command::Bench(options) if options.in_process => Some(Threads::start()?),
        _ => None,
    };
    let done = runtime.block_on(async {
        match line.command {
            Command::Up(options) => {
                let places = threads.as_ref().map_or_else(Places::here, Threads::places);
                let served = up::run(options, places).await;
                served.map(|()| ExitCode::SUCCESS)
            }
            #[cfg(feature = "distributed")]
            Command::Serve(serve) => serve::run(serve).await,
            Command::Watch(options) => watch::run(options).await,
            Command::Why(options) => why::run(options).await,
            Command::Verify(options) => verify::run(options).await,
            Command::Bench(options) => {
                bench::run(options, threads.as_ref().map(Threads::places)).await
            }
            // It has runtimes of its own, and none may begin inside of another.
            Command::Simulate(options) => {
                tokio::task::spawn_blocking(move || simulate::run(&options)).await?
            }
            Command::BenchWatch(options) => bench_watch::run(options).await,
            Command::Backup(options) => backup::back_up(options).await,
            Command::Restore(options) => backup::restore(&options),
            Command::Schemas(action) => schemas::run(&action),
            Command::Replay(options) => replay::run(options).await,
            Command::Completions(options) => manual::completions(&options),
            Command::Man(options) => manual::pages(&options),
            Command::Sagas(options) => sagas::run(options).await,
            Command::Projections(command) => projections::run(command).await,
            Command::Ready(options) => ready::run(options).await,
        }
    });
    if let Some(threads) = threads {
        threads.stop();
    }
    done
}

/// Prints what is wrong with the arguments, or the help that was asked for.
#[must_use]
pub fn usage(error: &options::Error) -> ExitCode {
    match error {
        options::Error::Usage(error) => {
            // Nothing can be told where there is nowhere to tell it.
            let _ = error.print();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        error => {
            tell(&format!("{error}\n"));
            ExitCode::from(USAGE)
        }
    }
}

/// Prints why a command failed, down to the first cause. That nobody reads the output any more
/// is no failure, and wrong arguments have an exit code of their own.
#[must_use]
pub fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<output::Closed>() {
        return ExitCode::SUCCESS;
    }
    if let Some(wrong) = error.downcast_ref::<Usage>() {
        tell(&format!(
            "error: {wrong}\n\nFor more information, try '--help'.\n"
        ));
        return ExitCode::from(USAGE);
    }
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  because {cause}\n"));
    }
    tell(&text);
    ExitCode::FAILURE
}

fn tell(text: &str) {
    // Nothing can be told where there is nowhere to tell it.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
