//! A server for the tests, one a test process, in which each test has databases of its own.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use recourse_engines::Engine;

use super::Options;

/// The server that tests share; none where there is no such program.
pub(super) fn engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    ENGINE.get_or_init(recourse_engines::ferretdb).as_ref()
}

/// A database of a server that nobody has used.
pub(super) fn database(engine: &Engine) -> Options {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let address = format!("{}test_{number}", engine.address());
    Options::new(address.parse().unwrap())
}
