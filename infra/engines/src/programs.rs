//! Where the programs of the engines are, and what becomes of a test without them.

use std::{
    env,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

use crate::{Engine, Error};

/// Starts an engine from the folder of its programs; none where there is no such folder.
#[expect(
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and a skipped one says so"
)]
pub(crate) fn start(
    engine: &'static str,
    start: impl FnOnce(&Path) -> Result<Engine, Error>,
) -> Option<Engine> {
    let programs = folder().join(engine);
    if programs.is_dir() {
        match start(&programs) {
            Ok(started) => return Some(started),
            Err(error) => panic!("{engine} does not start: {error:?}"),
        }
    }
    assert!(
        env::var_os("CI").is_none(),
        "in CI no test is skipped: infra/engines/prepare.sh {engine}"
    );
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    eprintln!("SKIPPED {test}: there is no {engine}; infra/engines/prepare.sh {engine}");
    if let Err(error) = list(test, engine) {
        eprintln!("the skipped test cannot be listed: {error}");
    }
    None
}

/// As `prepare.sh` has it.
fn folder() -> PathBuf {
    if let Some(folder) = env::var_os("RECOURSE_ENGINES") {
        return folder.into();
    }
    let cache = match env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache"),
    };
    cache.join("recourse/engines")
}

/// Adds a line to the file that `infra/test` counts, where there is one.
fn list(test: &str, engine: &str) -> std::io::Result<()> {
    let Some(file) = env::var_os("RECOURSE_SKIPPED") else {
        return Ok(());
    };
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(format!("{test}: {engine}\n").as_bytes())
}
