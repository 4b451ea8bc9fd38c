//! The `recourse` binary.

use std::process::ExitCode;

use recourse::command::{self, CommandLine};
use recourse_service::{options, telemetry};

/// Events, rows and answers are many small allocations that one thread makes and another frees,
/// which the C library's allocator is slow at: see `docs/decisions/0020-allocator.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line: CommandLine = match options::load() {
        Ok(line) => line,
        Err(error) => return command::usage(&error),
    };
    if let Err(error) = telemetry::start(&line.telemetry()) {
        return command::failed(&error.into());
    }
    match command::run(line) {
        Ok(code) => code,
        Err(error) => command::failed(&error),
    }
}
