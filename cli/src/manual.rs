//! `recourse completions` and `recourse man`: what a shell and a manual know of the command line.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{command::CommandLine, output};

/// Print a script that completes this program's arguments in a shell.
#[derive(Clone, Debug, Args)]
pub(crate) struct Completions {
    /// Which shell.
    shell: Shell,
}

/// Write the manual: a page for the program and one for each of its commands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Man {
    /// Where to; made where it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn completions(options: &Completions) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let mut command = CommandLine::command();
    clap_complete::generate(options.shell, &mut command, "recourse", &mut script);
    output::text(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn pages(options: &Man) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&options.dir)
        .with_context(|| format!("cannot make {}", options.dir.display()))?;
    clap_mangen::generate_to(CommandLine::command(), &options.dir)
        .with_context(|| format!("cannot write to {}", options.dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
