//! Who calls the provider, where several processes have the service: one at a time.
//!
//! Two at once do no harm, for they call under the same keys: they only ask twice. So a process that
//! called goes on while nobody can say whose turn it is, and stops once another one has it.

use std::{sync::Arc, time::Duration};

use recourse_bus::{Turn, Turns};

/// The name of the turn.
const NAME: &str = "payments-calls";

/// How long a turn that was lost is asked for before another process is taken to have it.
const GRACE: Duration = Duration::from_secs(2);

/// The wait before those who can say are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The part of this process in calling the provider.
#[derive(Default)]
pub(crate) struct Shift {
    /// None where there are no other processes.
    turns: Option<Arc<dyn Turns>>,
    turn: Option<Box<dyn Turn>>,
}

impl Shift {
    pub(crate) fn new(turns: Arc<dyn Turns>) -> Self {
        Self {
            turns: Some(turns),
            turn: None,
        }
    }

    /// Waits until this process is to call.
    pub(crate) async fn begins(&mut self) {
        let Some(turns) = self.turns.clone() else {
            return;
        };
        while self.turn.is_none() {
            match turns.take(NAME).await {
                Ok(turn) => self.turn = Some(turn),
                Err(error) => {
                    tracing::warn!(%error, "the provider is not called from here yet");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
        tracing::info!("this process calls the provider");
    }

    /// Answers once another process calls. May be dropped, and asked again.
    pub(crate) async fn ends(&mut self) {
        let Some(turns) = self.turns.clone() else {
            return std::future::pending().await;
        };
        loop {
            if let Some(turn) = &mut self.turn {
                let why = turn.lost().await;
                tracing::warn!(why, "another process may call the provider");
                self.turn = None;
            }
            match tokio::time::timeout(GRACE, turns.take(NAME)).await {
                Ok(Ok(turn)) => self.turn = Some(turn),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the provider is called from here meanwhile");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(_) => return,
            }
        }
    }

    /// Leaves it to the others.
    pub(crate) async fn is_over(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.release().await;
        }
    }
}
