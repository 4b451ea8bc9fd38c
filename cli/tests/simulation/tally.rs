//! What happened in a run, counted: a run in which something never happens shows nothing of it.

use std::fmt::Write as _;

/// What the ten seeds of a test run must have had at least once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) crashes: u64,
    pub(crate) orchestrator_crashes: u64,
    pub(crate) events_lost_in_crashes: u64,
    pub(crate) losses: u64,
    pub(crate) doubles: u64,
    pub(crate) delays: u64,
    pub(crate) cuts: u64,
    pub(crate) answers_lost: u64,
    pub(crate) orders: u64,
    pub(crate) completed: u64,
    pub(crate) compensated: u64,
    pub(crate) needs_attention: u64,
    pub(crate) cancelled: u64,
    pub(crate) returns_closed: u64,
    pub(crate) returns_rejected: u64,
    pub(crate) retried: u64,
    pub(crate) skipped: u64,
    pub(crate) operator_compensations: u64,
    pub(crate) written_off: u64,
}

impl Tally {
    pub(crate) fn fields(&self) -> [(&'static str, u64); 19] {
        [
            ("crashes", self.crashes),
            ("orchestrator crashes", self.orchestrator_crashes),
            ("events lost in crashes", self.events_lost_in_crashes),
            ("losses", self.losses),
            ("doubles", self.doubles),
            ("delays", self.delays),
            ("cuts", self.cuts),
            ("answers lost", self.answers_lost),
            ("orders", self.orders),
            ("completed", self.completed),
            ("compensated", self.compensated),
            ("needs attention", self.needs_attention),
            ("cancelled", self.cancelled),
            ("returns closed", self.returns_closed),
            ("returns rejected", self.returns_rejected),
            ("retried", self.retried),
            ("steps skipped", self.skipped),
            ("undone by an operator", self.operator_compensations),
            ("written off", self.written_off),
        ]
    }

    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        for (name, count) in self.fields() {
            write!(line, "{count} {name}, ").unwrap();
        }
        line
    }
}
