//! Whether a service is worth asking.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Closed while a service answers; open once it has failed to so many times in a row. Then nobody
/// waits for it: neither who comes now nor who waits already.
#[derive(Debug)]
pub(super) struct Circuit {
    max_failures: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Cancelled when the circuit opens; a new one when it closes.
    open: CancellationToken,
}

impl Circuit {
    pub(super) fn new(max_failures: u32) -> Self {
        Self {
            max_failures: max_failures.max(1),
            state: Mutex::default(),
        }
    }

    /// What is cancelled once the circuit opens; none where it is open.
    pub(super) fn closed(&self) -> Option<CancellationToken> {
        let state = self.lock();
        (!state.open.is_cancelled()).then(|| state.open.clone())
    }

    /// Counts an answer. Says whether that closed the circuit.
    pub(super) fn succeeded(&self) -> bool {
        let mut state = self.lock();
        state.failures = 0;
        let was_open = state.open.is_cancelled();
        if was_open {
            state.open = CancellationToken::new();
        }
        was_open
    }

    /// Counts a failure. Says whether that opened the circuit.
    pub(super) fn failed(&self) -> bool {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        let opens = state.failures >= self.max_failures && !state.open.is_cancelled();
        if opens {
            state.open.cancel();
        }
        opens
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_an_answer() {
        let circuit = Circuit::new(3);
        for _ in 0..2 {
            assert!(!circuit.failed());
        }
        assert!(!circuit.succeeded(), "it was closed");
        let waiting = circuit.closed().unwrap();
        assert!(!circuit.failed());
        assert!(!circuit.failed());
        assert!(!waiting.is_cancelled());
        assert!(circuit.failed(), "the third in a row");
        assert!(waiting.is_cancelled(), "who waits is let go");
        assert!(!circuit.failed(), "it was open");
        assert!(circuit.closed().is_none());
        assert!(circuit.succeeded());
        assert!(!circuit.closed().unwrap().is_cancelled());
    }
}
