//! A payment as it stands, and the calls to its provider that are due.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AuthorizationRequested, Authorize, Declined, Event, Operation, Requested};
use crate::{CardToken, Money, OrderId, PaymentId};

/// A payment as it stands. Holds the card's token, as the calls need it: secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    terms: Option<Terms>,
    authorization: Step,
    capture: Step,
    void: Step,
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

    fn doubt(&mut self) {
        if let Progress::Open { is_unknown, .. } = &mut self.progress {
            *is_unknown = true;
        }
    }
}

/// How a payment stands, as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The provider is being asked to reserve the money.
    Requested,
    /// The money is reserved.
    Authorized,
    /// The money is taken.
    Captured,
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
    /// That the provider was asked before and did not answer.
    pub is_unknown: bool,
}

impl State {
    /// How it stands; `None` where nothing was asked of it.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        if self.void.is_applied() {
            return Some(Status::Voided);
        }
        if self.capture.is_applied() {
            return Some(Status::Captured);
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

    /// How much it is about; `None` where nothing was asked of it.
    #[must_use]
    pub fn amount(&self) -> Option<Money> {
        self.terms.as_ref().map(|terms| terms.amount)
    }

    /// That an intent waits for its outcome.
    #[must_use]
    pub const fn has_open_intent(&self) -> bool {
        self.authorization.is_open() || self.capture.is_open() || self.void.is_open()
    }

    /// That money is reserved, neither taken nor let go.
    #[must_use]
    pub const fn holds_money(&self) -> bool {
        self.authorization.is_applied() && !self.capture.is_applied() && !self.void.is_applied()
    }

    /// The calls to the provider that are due now: every open intent, but for a void whose
    /// authorization is still open.
    pub fn calls(&self) -> impl Iterator<Item = ProviderCall> + '_ {
        let due = |operation| {
            let terms = self.terms.as_ref()?;
            let step = self.step(operation);
            let Progress::Open { key, is_unknown } = step.progress else {
                return None;
            };
            let authorization = match &self.authorization.progress {
                Progress::Applied { reference } => Some(reference.clone()),
                _ if operation == Operation::Authorize => None,
                _ => return None,
            };
            Some(ProviderCall {
                operation,
                key,
                payment_id: terms.payment_id,
                order_id: terms.order_id,
                amount: terms.amount,
                token: terms.token.clone(),
                authorization,
                is_unknown,
            })
        };
        [Operation::Authorize, Operation::Capture, Operation::Void]
            .into_iter()
            .filter_map(due)
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
        let ordinal = self.step(operation).refusals;
        let key = self.terms.as_ref()?.payment_id.key(operation, ordinal);
        Some(Requested { key, ordinal })
    }

    const fn step(&self, operation: Operation) -> &Step {
        match operation {
            Operation::Authorize => &self.authorization,
            Operation::Capture => &self.capture,
            Operation::Void => &self.void,
        }
    }

    fn step_mut(&mut self, operation: Operation) -> &mut Step {
        match operation {
            Operation::Authorize => &mut self.authorization,
            Operation::Capture => &mut self.capture,
            Operation::Void => &mut self.void,
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
}

impl PaymentId {
    /// The idempotency key of an operation after so many definite refusals of it.
    #[must_use]
    pub fn key(self, operation: Operation, ordinal: u32) -> Uuid {
        let name = format!("{}/{ordinal}", operation.as_str());
        Uuid::new_v5(&self.0, name.as_bytes())
    }
}

/// What an event makes of the state.
#[must_use]
pub fn evolve(mut state: State, event: &Event) -> State {
    match event {
        Event::AuthorizationRequested(requested) => state.begin(requested),
        Event::CaptureRequested(requested) => state.capture.open(requested.key),
        Event::VoidRequested(requested) => state.void.open(requested.key),
        Event::Authorized(applied) => state.authorization.apply(&applied.reference),
        Event::Captured(applied) => state.capture.apply(&applied.reference),
        Event::Voided(applied) => state.void.apply(&applied.reference),
        Event::Declined(declined) => state.authorization.refuse(declined),
        Event::CaptureRefused(declined) => state.capture.refuse(declined),
        Event::VoidRefused(declined) => state.void.refuse(declined),
        Event::Unknown(unknown) => state.step_mut(unknown.operation).doubt(),
        Event::Joined(_) | Event::RepeatAnswered(_) => {}
    }
    state
}
