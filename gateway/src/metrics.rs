//! What is counted of the gateway.

use metrics::{Unit, describe_gauge, gauge};

/// Watchers that are open, by `kind`.
const WATCHERS: &str = "recourse_watchers";

/// What a watcher watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The log.
    Events,
    /// A stream.
    Stream,
    /// All sagas.
    Sagas,
    /// One saga.
    Saga,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Events, Self::Stream, Self::Sagas, Self::Saga];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Stream => "stream",
            Self::Sagas => "sagas",
            Self::Saga => "saga",
        }
    }
}

/// Says what is counted, so that it is there before the first of it.
pub(crate) fn describe() {
    describe_gauge!(
        WATCHERS,
        Unit::Count,
        "watchers that are open, by what they watch"
    );
    for kind in Kind::ALL {
        gauge!(WATCHERS, "kind" => kind.as_str()).set(0.0);
    }
}

/// One open watcher; no longer counted when dropped.
#[derive(Debug)]
pub(crate) struct Open(Kind);

impl Open {
    pub(crate) fn new(kind: Kind) -> Self {
        gauge!(WATCHERS, "kind" => kind.as_str()).increment(1.0);
        Self(kind)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(WATCHERS, "kind" => self.0.as_str()).decrement(1.0);
    }
}
