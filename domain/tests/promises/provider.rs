//! A payment provider that keeps books of its own: requests may be lost, repeated or late,
//! answers may be lost, and under one key it decides once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use recourse_domain::{
    RefundId,
    payment::{Command, Operation, Outcome, ProviderCall, RecordOutcome},
};
use uuid::Uuid;

/// What becomes of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It arrives and its answer does too.
    Answered,
    /// It arrives, its answer does not.
    LostReply,
    /// It does not arrive, or not yet.
    Underway,
}

/// What the provider makes of a request it has not seen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    Applies,
    RefusesForNow,
    RefusesForGood,
}

pub(crate) fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Answered),
        Just(Fate::LostReply),
        Just(Fate::Underway)
    ]
}

pub(crate) fn moods() -> impl Strategy<Value = Mood> {
    prop_oneof![
        3 => Just(Mood::Applies),
        1 => Just(Mood::RefusesForNow),
        1 => Just(Mood::RefusesForGood),
    ]
}

#[derive(Default)]
pub(crate) struct Provider {
    decided: BTreeMap<Uuid, Outcome>,
    underway: Vec<ProviderCall>,
    captures_in_the_end: bool,
    refunds_in_the_end: Option<RefundId>,
    /// Every answer that was ever given: any of them may be recorded once more.
    pub(crate) answers: Vec<Command>,
    pub(crate) authorized: i64,
    pub(crate) captured: i64,
    pub(crate) voided: i64,
    pub(crate) refunded: i64,
}

impl Provider {
    /// One that refuses no capture for good.
    pub(crate) fn that_captures_in_the_end() -> Self {
        Self {
            captures_in_the_end: true,
            ..Self::default()
        }
    }

    /// One that does not refuse this refund for good.
    pub(crate) fn that_refunds_in_the_end(refund: RefundId) -> Self {
        Self {
            refunds_in_the_end: Some(refund),
            ..Self::default()
        }
    }

    /// Makes a call and says what its caller learns.
    pub(crate) fn call(&mut self, call: &ProviderCall, fate: Fate, mood: Mood) -> Command {
        let outcome = match fate {
            Fate::Answered => self.arrive(call, mood),
            Fate::LostReply => {
                self.arrive(call, mood);
                no_answer()
            }
            Fate::Underway => {
                self.underway.push(call.clone());
                no_answer()
            }
        };
        let record = Command::RecordOutcome(RecordOutcome {
            operation: call.operation,
            key: call.key,
            outcome,
        });
        self.answers.push(record.clone());
        record
    }

    /// The oldest late request arrives after all. Nobody hears its answer.
    pub(crate) fn late(&mut self, mood: Mood) {
        if !self.underway.is_empty() {
            let call = self.underway.remove(0);
            self.arrive(&call, mood);
        }
    }

    pub(crate) fn everything_arrives(&mut self) {
        while !self.underway.is_empty() {
            self.late(Mood::Applies);
        }
    }

    fn arrive(&mut self, call: &ProviderCall, mood: Mood) -> Outcome {
        if let Some(outcome) = self.decided.get(&call.key) {
            return outcome.clone();
        }
        let mood = match (call.operation, mood) {
            // Money that can be neither taken nor let go is for people to settle.
            (Operation::Void, Mood::RefusesForGood) => Mood::RefusesForNow,
            (Operation::Capture, Mood::RefusesForGood) if self.captures_in_the_end => {
                Mood::RefusesForNow
            }
            (Operation::Refund(refund), Mood::RefusesForGood)
                if self.refunds_in_the_end == Some(refund) =>
            {
                Mood::RefusesForNow
            }
            (_, mood) => mood,
        };
        let refused = |is_final| Outcome::Refused {
            code: "payment-declined".into(),
            detail: "the bank said no".into(),
            is_final,
        };
        let outcome = match mood {
            Mood::Applies => Outcome::Applied {
                reference: call.key.to_string(),
            },
            Mood::RefusesForNow => refused(false),
            Mood::RefusesForGood => refused(true),
        };
        if matches!(mood, Mood::Applies) {
            let amount = call.amount.amount_minor;
            match call.operation {
                Operation::Authorize => self.authorized += amount,
                Operation::Capture => self.captured += amount,
                Operation::Void => self.voided += amount,
                Operation::Refund(_) => self.refunded += amount,
            }
            assert!(self.captured + self.voided <= self.authorized);
            assert!(self.refunded <= self.captured);
        }
        self.decided.insert(call.key, outcome.clone());
        outcome
    }
}

fn no_answer() -> Outcome {
    Outcome::Unknown {
        detail: "no answer".into(),
    }
}
