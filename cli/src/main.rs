//! The `recourse` binary.

use std::process::ExitCode;

use recourse::command::{self, CommandLine};
use recourse_service::{options, telemetry};

fn main() -> ExitCode {
    let line: CommandLine = match options::load() {
        Ok(line) => line,
        Err(error) => return command::usage(&error),
    };
    if let Err(error) = telemetry::start(line.telemetry()) {
        return command::failed(&error.into());
    }
    match command::run(line) {
        Ok(code) => code,
        Err(error) => command::failed(&error),
    }
}
