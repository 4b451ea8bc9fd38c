//! The payment provider, as bad as it may be.

use std::collections::BTreeMap;

use recourse_domain::payment::{Operation, Outcome};
use uuid::Uuid;

/// What it has done, by idempotency key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Provider {
    settled: BTreeMap<Uuid, (Operation, Verdict)>,
    /// Requests that are on their way though nobody waits for them any more.
    late: BTreeMap<Uuid, Operation>,
}

/// What it decides about a request that it sees for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Applied,
    RefusedForNow,
    RefusedForGood,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It arrives, and so does the answer.
    Answered(Verdict),
    /// It arrives; the answer is lost.
    LostReply(Verdict),
    /// It never arrives.
    NeverArrived,
    /// It arrives after whoever sent it has given up.
    Late,
    /// It arrives, and the service dies before it has written the answer down.
    Crash(Verdict),
}

impl Provider {
    pub fn verdict(&self, key: Uuid) -> Option<Verdict> {
        self.settled.get(&key).map(|(_, verdict)| *verdict)
    }

    /// A request arrives: the first under a key is decided, the rest get the same answer.
    pub fn request(&mut self, operation: Operation, key: Uuid, verdict: Verdict) -> Outcome {
        // What comes late under a key that was used finds it used: no effect, so it is forgotten.
        self.late.remove(&key);
        let (_, verdict) = self.settled.entry(key).or_insert((operation, verdict));
        match verdict {
            Verdict::Applied => Outcome::Applied {
                reference: format!("{operation:?}"),
            },
            Verdict::RefusedForNow => refused("try-again", false),
            Verdict::RefusedForGood => refused("payment-declined", true),
        }
    }

    pub fn send_late(&mut self, operation: Operation, key: Uuid) {
        self.late.insert(key, operation);
    }

    pub fn late(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.late.keys().copied()
    }

    /// A late request takes effect.
    pub fn arrive(&mut self, key: Uuid) {
        if let Some(operation) = self.late.remove(&key) {
            self.settled.insert(key, (operation, Verdict::Applied));
        }
    }

    /// How often an operation took effect.
    pub fn applied(&self, operation: Operation) -> usize {
        self.settled
            .values()
            .filter(|settled| **settled == (operation, Verdict::Applied))
            .count()
    }

    /// How many refunds took effect.
    pub fn refunds(&self) -> usize {
        let settled = self.settled.values();
        settled
            .filter(|(operation, verdict)| {
                matches!(operation, Operation::Refund(_)) && *verdict == Verdict::Applied
            })
            .count()
    }

    /// That money is taken and not given back.
    pub fn keeps_money(&self) -> bool {
        self.applied(Operation::Capture) > self.refunds()
    }

    /// That money is reserved, neither taken nor let go.
    pub fn holds_money(&self) -> bool {
        self.applied(Operation::Authorize)
            > self.applied(Operation::Capture) + self.applied(Operation::Void)
    }
}

fn refused(code: &str, is_final: bool) -> Outcome {
    Outcome::Refused {
        code: code.to_owned(),
        detail: "the provider says no".to_owned(),
        is_final,
    }
}
