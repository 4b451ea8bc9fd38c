//! A payment as it stands, and the calls to its provider that are due.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    AuthorizationRequested, Authorize, Declined, Event, Operation, RefundRequested, Requested,
};
use crate::{CardToken, Money, OrderId, PaymentId, RefundId};

/// A payment as it stands. Holds the card's token, as the calls need it: secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    terms: Option<Terms>,
    authorization: Step,
    capture: Step,
    void: Step,
    /// As many as its order has returns.
    refunds: BTreeMap<RefundId, Refund>,
}

/// One refund.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Refund {
    pub(super) amount: Money,
    pub(super) step: Step,
}

/// What is paid, for what, by which card.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Terms {
    payment_id: PaymentId,
    order_id: OrderId,
    amount: Money,
    token: CardToken,
}

/// How far one operation has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Step {
    /// How often the provider has definitely refused it: the ordinal of the next intent.
    pub(super) refusals: u32,
    pub(super) progress: Progress,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Progress {
    #[default]
    NotAsked,
    Open {
        key: Uuid,
        is_unknown: bool,
        /// That the provider is asked no more.
        #[serde(default)]
        is_given_up: bool,
    },
    Applied {
        reference: String,
    },
    Refused(Declined),
}

impl Step {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.progress, Progress::Open { .. })
    }

    pub(super) const fn is_applied(&self) -> bool {
        matches!(self.progress, Progress::Applied { .. })
    }

    fn reference(&self) -> Option<&str> {
        match &self.progress {
            Progress::Applied { reference } => Some(reference),
            _ => None,
        }
    }

    const fn is_unknown(&self) -> bool {
        matches!(
            self.progress,
            Progress::Open {
                is_unknown: true,
                ..
            }
        )
    }

    fn open(&mut self, key: Uuid) {
        self.progress = Progress::Open {
            key,
            is_unknown: false,
            is_given_up: false,
        };
    }

    fn apply(&mut self, reference: &str) {
        self.progress = Progress::Applied {
            reference: reference.to_owned(),
        };
    }

    fn refuse(&mut self, declined: &Declined) {
        self.refusals = self.refusals.saturating_add(1);
        self.progress = Progress::Refused(declined.clone());
    }

    fn doubt(&mut self, for_good: bool) {
        if let Progress::Open {
            is_unknown,
            is_given_up,
            ..
        } = &mut self.progress
        {
            *is_unknown = true;
            *is_given_up |= for_good;
        }
    }
}

/// How a payment stands, as the API shows it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(rename = "PaymentStatus")]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The provider is being asked to reserve the money.
    Requested,
    /// The money is reserved.
    Authorized,
    /// The money is taken.
    Captured,
    /// Some of the taken money is given back.
    PartiallyRefunded,
    /// All of the taken money is given back.
    Refunded,
    /// The reserved money is let go.
    Voided,
    /// The provider said no.
    Declined,
    /// The provider did not answer and is being asked again.
    Unknown,
}

impl Status {
    /// As the API shows it: `authorized`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
            Self::Voided => "voided",
            Self::Declined => "declined",
            Self::Unknown => "unknown",
        }
    }
}

/// A call to the provider that is due: repeated under its key until the answer is definite.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProviderCall {
    /// What to ask for.
    pub operation: Operation,
    /// The idempotency key.
    pub key: Uuid,
    /// Of which payment.
    pub payment_id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// By which card. Secret.
    pub token: CardToken,
    /// The provider's name for the authorization that is captured or voided.
    pub authorization: Option<String>,
    /// The provider's name for the capture that is refunded.
    pub capture: Option<String>,
    /// That the provider was asked before and did not answer.
    pub is_unknown: bool,
}

impl State {
    /// How it stands; `None` where nothing was asked of it.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        if self.void.is_applied() {
            return Some(Status::Voided);
        }
        if self.capture.is_applied() {
            return Some(self.captured_status());
        }
        if self.authorization.is_unknown() || self.capture.is_unknown() || self.void.is_unknown() {
            return Some(Status::Unknown);
        }
        match self.authorization.progress {
            Progress::NotAsked => None,
            Progress::Open { .. } => Some(Status::Requested),
            Progress::Applied { .. } => Some(Status::Authorized),
            Progress::Refused(_) => Some(Status::Declined),
        }
    }

    fn captured_status(&self) -> Status {
        let mut refunds = self.refunds.values();
        if refunds.any(|refund| refund.step.is_unknown()) {
            return Status::Unknown;
        }
        let refunded = self.sum(Step::is_applied);
        match self.amount() {
            _ if refunded == 0 => Status::Captured,
            Some(amount) if refunded < amount.amount_minor => Status::PartiallyRefunded,
            _ => Status::Refunded,
        }
    }

    /// How much it is about; `None` where nothing was asked of it.
    #[must_use]
    pub fn amount(&self) -> Option<Money> {
        self.terms.as_ref().map(|terms| terms.amount)
    }

    /// That an intent waits for its outcome.
    #[must_use]
    pub fn has_open_intent(&self) -> bool {
        self.authorization.is_open()
            || self.capture.is_open()
            || self.void.is_open()
            || self.has_open_refund()
    }

    /// That money is reserved, neither taken nor let go.
    #[must_use]
    pub const fn holds_money(&self) -> bool {
        self.authorization.is_applied() && !self.capture.is_applied() && !self.void.is_applied()
    }

    /// The calls to the provider that are due now: every open intent that is not given up, but for
    /// a void whose authorization is still open and a refund whose capture is.
    pub fn calls(&self) -> impl Iterator<Item = ProviderCall> + '_ {
        let due = |operation| {
            let terms = self.terms.as_ref()?;
            let Progress::Open {
                key,
                is_unknown,
                is_given_up: false,
            } = self.step(operation)?.progress
            else {
                return None;
            };
            let authorization = self.authorization.reference();
            let capture = self.capture.reference();
            match operation {
                Operation::Authorize => {}
                Operation::Capture | Operation::Void => drop(authorization?),
                Operation::Refund(_) => drop(capture?),
            }
            let amount = self.amount_of(operation)?;
            Some(ProviderCall {
                operation,
                key,
                payment_id: terms.payment_id,
                order_id: terms.order_id,
                amount,
                token: terms.token.clone(),
                authorization: authorization.map(str::to_owned),
                capture: capture.map(str::to_owned),
                is_unknown,
            })
        };
        self.operations().filter_map(due)
    }

    /// The operations whose outcome nobody but an operator can find out, each with the key that
    /// the provider was asked under.
    pub fn given_up(&self) -> impl Iterator<Item = (Operation, Uuid)> + '_ {
        self.operations()
            .filter_map(|operation| match self.step(operation)?.progress {
                Progress::Open {
                    key,
                    is_given_up: true,
                    ..
                } => Some((operation, key)),
                _ => None,
            })
    }

    fn operations(&self) -> impl Iterator<Item = Operation> + '_ {
        let refunds = self.refunds.keys().copied().map(Operation::Refund);
        [Operation::Authorize, Operation::Capture, Operation::Void]
            .into_iter()
            .chain(refunds)
    }

    /// How much an operation is about; `None` where it was never asked for.
    pub(super) fn amount_of(&self, operation: Operation) -> Option<Money> {
        match operation {
            Operation::Authorize | Operation::Capture | Operation::Void => self.amount(),
            Operation::Refund(id) => Some(self.refund(id)?.amount),
        }
    }

    /// How much of what is taken, or about to be, is neither given back nor about to be; `None`
    /// where nothing was asked of it.
    #[must_use]
    pub fn refundable(&self) -> Option<Money> {
        let amount = self.amount()?;
        let gone = self.sum(|step| step.is_open() || step.is_applied());
        // Never below zero: the rules keep the refunds at or below the amount.
        Some(Money {
            amount_minor: amount.amount_minor.saturating_sub(gone),
            ..amount
        })
    }

    /// How much is given back.
    #[must_use]
    pub fn refunded(&self) -> Option<Money> {
        Some(Money {
            amount_minor: self.sum(Step::is_applied),
            ..self.amount()?
        })
    }

    /// The sum of the refunds whose step is so.
    fn sum(&self, is_so: impl Fn(&Step) -> bool) -> i64 {
        self.refunds
            .values()
            .filter(|refund| is_so(&refund.step))
            .map(|refund| refund.amount.amount_minor)
            .fold(0, i64::saturating_add)
    }

    pub(super) fn refund(&self, id: RefundId) -> Option<&Refund> {
        self.refunds.get(&id)
    }

    pub(super) fn open_refunds(&self) -> impl Iterator<Item = RefundId> + '_ {
        self.refunds
            .iter()
            .filter(|(_, refund)| refund.step.is_open())
            .map(|(id, _)| *id)
    }

    pub(super) fn has_open_refund(&self) -> bool {
        self.open_refunds().next().is_some()
    }

    pub(super) const fn authorization(&self) -> &Step {
        &self.authorization
    }

    pub(super) const fn capture(&self) -> &Step {
        &self.capture
    }

    pub(super) const fn void(&self) -> &Step {
        &self.void
    }

    pub(super) fn is_of_another(&self, authorize: &Authorize) -> bool {
        self.terms.as_ref().is_some_and(|terms| {
            terms.payment_id != authorize.payment_id
                || terms.order_id != authorize.order_id
                || terms.amount != authorize.amount
        })
    }

    /// The next intent of an operation; `None` where nothing was ever authorized.
    pub(super) fn request(&self, operation: Operation) -> Option<Requested> {
        let ordinal = self.step(operation)?.refusals;
        let key = self.key(operation, ordinal)?;
        Some(Requested { key, ordinal })
    }

    /// The key of an operation; `None` where nothing was ever authorized.
    pub(super) fn key(&self, operation: Operation, ordinal: u32) -> Option<Uuid> {
        Some(self.terms.as_ref()?.payment_id.key(operation, ordinal))
    }

    pub(super) fn step(&self, operation: Operation) -> Option<&Step> {
        match operation {
            Operation::Authorize => Some(&self.authorization),
            Operation::Capture => Some(&self.capture),
            Operation::Void => Some(&self.void),
            Operation::Refund(id) => self.refunds.get(&id).map(|refund| &refund.step),
        }
    }

    fn step_mut(&mut self, operation: Operation) -> Option<&mut Step> {
        match operation {
            Operation::Authorize => Some(&mut self.authorization),
            Operation::Capture => Some(&mut self.capture),
            Operation::Void => Some(&mut self.void),
            Operation::Refund(id) => self.refunds.get_mut(&id).map(|refund| &mut refund.step),
        }
    }

    fn begin(&mut self, requested: &AuthorizationRequested) {
        self.terms = Some(Terms {
            payment_id: requested.payment_id,
            order_id: requested.order_id,
            amount: requested.amount,
            token: requested.token.clone(),
        });
        self.authorization.open(requested.key);
        // A void that ended with an earlier, declined authorization says nothing of this one.
        self.void.progress = Progress::NotAsked;
    }

    fn begin_capture(&mut self, requested: &Requested) {
        self.capture.open(requested.key);
        // Refunds that ended with an earlier, refused capture say nothing of this one.
        for refund in self.refunds.values_mut() {
            refund.step.progress = Progress::NotAsked;
        }
    }

    fn begin_refund(&mut self, requested: &RefundRequested) {
        let refund = self.refunds.entry(requested.refund).or_insert(Refund {
            amount: requested.amount,
            step: Step::default(),
        });
        refund.amount = requested.amount;
        refund.step.open(requested.key);
    }
}

impl PaymentId {
    /// The idempotency key of an operation after so many definite refusals of it.
    #[must_use]
    pub fn key(self, operation: Operation, ordinal: u32) -> Uuid {
        let name = format!("{operation}/{ordinal}");
        Uuid::new_v5(&self.0, name.as_bytes())
    }
}

/// What an event makes of the state.
#[must_use]
pub fn evolve(mut state: State, event: &Event) -> State {
    match event {
        Event::AuthorizationRequested(requested) => state.begin(requested),
        Event::CaptureRequested(requested) => state.begin_capture(requested),
        Event::VoidRequested(requested) => state.void.open(requested.key),
        Event::Authorized(applied) => state.authorization.apply(&applied.reference),
        Event::Captured(applied) => state.capture.apply(&applied.reference),
        Event::Voided(applied) => state.void.apply(&applied.reference),
        Event::Declined(declined) => state.authorization.refuse(declined),
        Event::CaptureRefused(declined) => state.capture.refuse(declined),
        Event::VoidRefused(declined) => state.void.refuse(declined),
        Event::RefundRequested(requested) => state.begin_refund(requested),
        Event::Refunded(refunded) => {
            if let Some(step) = state.step_mut(Operation::Refund(refunded.refund)) {
                step.apply(&refunded.reference);
            }
        }
        Event::RefundRefused(refused) => {
            if let Some(step) = state.step_mut(Operation::Refund(refused.refund)) {
                step.refuse(&refused.declined);
            }
        }
        Event::Unknown(unknown) => {
            if let Some(step) = state.step_mut(unknown.operation) {
                step.doubt(unknown.given_up);
            }
        }
        Event::Joined(_) | Event::RepeatAnswered(_) => {}
    }
    state
}
