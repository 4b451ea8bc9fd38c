//! Real servers of the distributed engines, started by tests where there is no Docker engine.
//!
//! ```text
//! infra/engines/prepare.sh ──▶ programs, once a machine
//!                                  │
//! test ── kafka(), ferretdb(), postgres() ──▶ Engine: a process of its own, on a port and a
//!                                             folder of its own, gone with the test process
//! ```
//!
//! A [`Proxy`] is a wire before any of them: cut, stalled, slowed, or cut in the middle of a message.
//!
//! An [`Engine`] can be killed, restarted and stopped for a while, as machines do it. Where its
//! programs are not to be had the test is skipped, loudly; in CI nothing is skipped.

mod engine;
mod ferretdb;
mod kafka;
mod postgres;
mod programs;
mod proxy;

pub use engine::{Engine, Error};
pub use proxy::{Proxy, Wire};

/// A broker of Apache Kafka, one node, which creates no topic by itself. Its
/// [`Engine::address`] is a bootstrap server.
///
/// # Panics
/// In CI where there are no programs for it, anywhere where it does not start.
#[must_use]
pub fn kafka() -> Option<Engine> {
    programs::start("kafka", |programs| kafka::start(programs, None))
}

/// As [`kafka`], behind this proxy: clients that come through it stay behind it. Its
/// [`Engine::address`] is its own all the same.
///
/// # Panics
/// As [`kafka`].
#[must_use]
pub fn kafka_behind(proxy: &Proxy) -> Option<Engine> {
    let advertised = proxy.address().port();
    programs::start("kafka", |programs| kafka::start(programs, Some(advertised)))
}

/// The same broker for measurements: it compiles what is called often as well as it can, which takes
/// it the first minute.
///
/// # Panics
/// As [`kafka`].
#[must_use]
pub fn kafka_for_load() -> Option<Engine> {
    programs::start("kafka", kafka::start_for_load)
}

/// A server of MongoDB's protocol: `FerretDB` on `SQLite`. Its [`Engine::address`] is a URL
/// `mongodb://…` without a database.
///
/// # Panics
/// In CI where there are no programs for it, anywhere where it does not start.
#[must_use]
pub fn ferretdb() -> Option<Engine> {
    programs::start("ferretdb", ferretdb::start)
}

/// A server of `PostgreSQL`. Its [`Engine::address`] is a URL `postgres://…` of its superuser
/// and the database `postgres`.
///
/// # Panics
/// In CI where there are no programs for it, anywhere where it does not start.
#[must_use]
pub fn postgres() -> Option<Engine> {
    programs::start("postgres", postgres::start)
}
