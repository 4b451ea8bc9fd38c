//! What happened in a run, counted: a run in which something never happens shows nothing of it.

use serde::Serialize;

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Orders that were placed.
    pub orders: u64,
    /// Of these, cancelled by a client or undone by an operator.
    pub cancelled: u64,
    /// Sagas that ended with everything done.
    pub completed: u64,
    /// Sagas that ended with everything undone.
    pub compensated: u64,
    /// Sagas that wait for an operator in the end.
    pub needs_attention: u64,
    /// Returns that ended with the refund.
    pub returns_closed: u64,
    /// Returns that the provider refused.
    pub returns_rejected: u64,
    /// Crashes of the process that has everything in it.
    pub crashes: u64,
    /// Crashes of the second orchestrator.
    pub orchestrator_crashes: u64,
    /// How often an orchestrator acted on after others got its sagas.
    pub stale_owners: u64,
    /// Events that had been appended and were lost in a crash, before anybody outside knew.
    pub events_lost_in_crashes: u64,
    /// Batches of messages that were lost.
    pub messages_lost: u64,
    /// Batches of messages that came twice.
    pub messages_doubled: u64,
    /// Batches of messages that came late.
    pub messages_delayed: u64,
    /// Batches whose messages came before it was said how far they are.
    pub messages_ahead: u64,
    /// Consumers that were cut off.
    pub consumers_cut: u64,
    /// Answers that a client never got.
    pub answers_lost: u64,
    /// Requests to the payment provider whose answer did not say what came of them.
    pub provider_faults: u64,
    /// What the operator sent again.
    pub retried: u64,
    /// Steps that the operator left out.
    pub skipped: u64,
    /// Sagas that the operator had undone.
    pub undone_by_operator: u64,
    /// Kinds of money that the ledger wrote off.
    pub written_off: u64,
}

impl Tally {
    /// Each count under its name, in words.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, u64); 22] {
        [
            ("orders", self.orders),
            ("cancelled", self.cancelled),
            ("completed", self.completed),
            ("compensated", self.compensated),
            ("needs attention", self.needs_attention),
            ("returns closed", self.returns_closed),
            ("returns rejected", self.returns_rejected),
            ("crashes", self.crashes),
            ("orchestrator crashes", self.orchestrator_crashes),
            ("stale owners", self.stale_owners),
            ("events lost in crashes", self.events_lost_in_crashes),
            ("messages lost", self.messages_lost),
            ("messages doubled", self.messages_doubled),
            ("messages delayed", self.messages_delayed),
            ("messages ahead", self.messages_ahead),
            ("consumers cut", self.consumers_cut),
            ("answers lost", self.answers_lost),
            ("provider faults", self.provider_faults),
            ("retried", self.retried),
            ("steps skipped", self.skipped),
            ("undone by the operator", self.undone_by_operator),
            ("written off", self.written_off),
        ]
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        let Self {
            orders,
            cancelled,
            completed,
            compensated,
            needs_attention,
            returns_closed,
            returns_rejected,
            crashes,
            orchestrator_crashes,
            stale_owners,
            events_lost_in_crashes,
            messages_lost,
            messages_doubled,
            messages_delayed,
            messages_ahead,
            consumers_cut,
            answers_lost,
            provider_faults,
            retried,
            skipped,
            undone_by_operator,
            written_off,
        } = self;
        for (sum, more) in [
            (orders, other.orders),
            (cancelled, other.cancelled),
            (completed, other.completed),
            (compensated, other.compensated),
            (needs_attention, other.needs_attention),
            (returns_closed, other.returns_closed),
            (returns_rejected, other.returns_rejected),
            (crashes, other.crashes),
            (orchestrator_crashes, other.orchestrator_crashes),
            (stale_owners, other.stale_owners),
            (events_lost_in_crashes, other.events_lost_in_crashes),
            (messages_lost, other.messages_lost),
            (messages_doubled, other.messages_doubled),
            (messages_delayed, other.messages_delayed),
            (messages_ahead, other.messages_ahead),
            (consumers_cut, other.consumers_cut),
            (answers_lost, other.answers_lost),
            (provider_faults, other.provider_faults),
            (retried, other.retried),
            (skipped, other.skipped),
            (undone_by_operator, other.undone_by_operator),
            (written_off, other.written_off),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}
