//! The calls to the provider, and what may become of each.

use recourse_domain::payment::{Operation, Outcome, ProviderCall, RecordOutcome};
use uuid::Uuid;

use crate::{
    model::Orders,
    participants::Shared,
    provider::{Fate, Provider, Verdict},
    rules::{Habit, Without},
    world::{Story, World},
};

impl Orders {
    /// What a call leads to; `None` where none is due.
    pub fn call(
        &self,
        mut world: World,
        operation: Operation,
        fate: Fate,
    ) -> Result<Option<World>, String> {
        let call = world
            .payment
            .state()
            .calls()
            .find(|call| call.operation == operation);
        let Some(call) = call else {
            return Ok(None);
        };
        let again =
            self.without == Without::Habit(Habit::UnknownIsRepeatedUnderItsKey) && call.is_unknown;
        let key = if again {
            Uuid::new_v5(&call.key, b"again")
        } else {
            call.key
        };
        let mut provider = Provider::clone(&world.provider);
        let unknown = Outcome::Unknown {
            detail: "no answer".to_owned(),
        };
        let story = world.story;
        let mut request = |verdict: Verdict| {
            // A return that is not refunded is rejected.
            let must = story == Story::Order && !matches!(operation, Operation::Authorize);
            world.refused_for_good |= must && verdict == Verdict::RefusedForGood;
            if verdict == Verdict::RefusedForNow && provider.verdict(key).is_none() {
                world.budget.refusals -= 1;
            }
            provider.request(operation, key, verdict)
        };
        let outcome = match fate {
            Fate::Answered(verdict) => Some(request(verdict)),
            Fate::LostReply(verdict) => {
                request(verdict);
                world.budget.unknowns -= 1;
                Some(unknown)
            }
            Fate::NeverArrived => {
                world.budget.unknowns -= 1;
                Some(unknown)
            }
            Fate::Late => {
                provider.send_late(operation, key);
                world.budget.unknowns -= 1;
                Some(unknown)
            }
            Fate::Crash(verdict) => {
                request(verdict);
                world.budget.crashes -= 1;
                None
            }
        };
        world.provider = Shared::new(provider.clone(), provider);
        if let Some(outcome) = outcome {
            let outcome = self.told(outcome);
            world.record(RecordOutcome {
                operation,
                key: call.key,
                outcome,
            })?;
        }
        Ok(Some(world))
    }

    /// The provider may have forgotten a key: nobody asks it under that any more.
    pub fn give_up(&self, mut world: World, operation: Operation) -> Result<Option<World>, String> {
        let mut calls = world.payment.state().calls();
        let call = calls.find(|call| call.operation == operation);
        let Some(key) = call.map(|call| call.key) else {
            return Ok(None);
        };
        drop(calls);
        world.record(RecordOutcome {
            operation,
            key,
            outcome: Outcome::GivenUp {
                detail: "its key is too old".to_owned(),
            },
        })?;
        Ok(Some(world))
    }

    fn told(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Unknown { detail }
                if self.without == Without::Habit(Habit::UnknownIsNoAnswer) =>
            {
                Outcome::Refused {
                    code: "unknown".to_owned(),
                    detail,
                    is_final: true,
                }
            }
            outcome => outcome,
        }
    }
}

/// The step of a payment's operation, either way.
pub fn step_of(story: Story, operation: Operation) -> &'static str {
    match operation {
        Operation::Refund(_) if story == Story::Return => "refund-payment",
        Operation::Authorize | Operation::Void => "authorize-payment",
        Operation::Capture | Operation::Refund(_) => "capture-payment",
    }
}

/// Everything else that may become of a call.
pub fn fates(world: &World, call: &ProviderCall) -> Vec<Fate> {
    let budget = &world.budget;
    let mut fates = Vec::new();
    if let Some(verdict) = world.provider.verdict(call.key) {
        if budget.unknowns > 0 && !call.is_unknown {
            fates.push(Fate::LostReply(verdict));
        }
        return fates;
    }
    fates.push(Fate::Answered(Verdict::RefusedForGood));
    if budget.refusals > 0 {
        fates.push(Fate::Answered(Verdict::RefusedForNow));
    }
    if budget.unknowns > 0 {
        fates.push(Fate::LostReply(Verdict::Applied));
        fates.push(Fate::LostReply(Verdict::RefusedForGood));
        if !call.is_unknown {
            fates.push(Fate::NeverArrived);
        }
        if !world.provider.late().any(|key| key == call.key) {
            fates.push(Fate::Late);
        }
    }
    if budget.crashes > 0 {
        fates.push(Fate::Crash(Verdict::Applied));
        fates.push(Fate::Crash(Verdict::RefusedForGood));
    }
    fates
}
