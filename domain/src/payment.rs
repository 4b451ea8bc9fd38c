//! A payment: authorized, then captured or voided, through a provider that may not answer.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Money, OrderId, PaymentId};

/// What can be asked of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Reserve the money.
    #[serde(rename = "payment.authorize")]
    Authorize(Authorize),
    /// Take the reserved money.
    #[serde(rename = "payment.capture")]
    Capture(Capture),
    /// Let the reserved money go.
    #[serde(rename = "payment.void")]
    Void(Void),
    /// The service says what the provider answered.
    #[serde(rename = "payment.record-outcome")]
    RecordOutcome(RecordOutcome),
}

/// What can have happened to a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The provider is about to be asked to reserve the money.
    #[serde(rename = "payment.authorization-requested.v1")]
    AuthorizationRequested(AuthorizationRequested),
    /// The money is reserved.
    #[serde(rename = "payment.authorized.v1")]
    Authorized(Applied),
    /// The provider said no.
    #[serde(rename = "payment.declined.v1")]
    Declined(Declined),
    /// The provider is about to be asked to take the money.
    #[serde(rename = "payment.capture-requested.v1")]
    CaptureRequested(Requested),
    /// The money is taken.
    #[serde(rename = "payment.captured.v1")]
    Captured(Applied),
    /// The provider refused to take it.
    #[serde(rename = "payment.capture-refused.v1")]
    CaptureRefused(Declined),
    /// The provider is about to be asked to let the money go.
    #[serde(rename = "payment.void-requested.v1")]
    VoidRequested(Requested),
    /// The reserved money is let go.
    #[serde(rename = "payment.voided.v1")]
    Voided(Applied),
    /// The provider refused to let it go.
    #[serde(rename = "payment.void-refused.v1")]
    VoidRefused(Declined),
    /// A further command joined an operation that is under way and gets its outcome.
    #[serde(rename = "payment.operation-joined.v1")]
    Joined(Joined),
    /// The provider did not answer: it is asked again, with the same key.
    #[serde(rename = "payment.outcome-unknown.v1")]
    Unknown(Unknown),
}

/// What a provider is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Reserve the money.
    Authorize,
    /// Take it.
    Capture,
    /// Let it go.
    Void,
}

/// Content of `payment.authorize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorize {
    /// The payment.
    pub payment_id: PaymentId,
    /// What it pays for.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// The card, as the provider knows it. Secret.
    pub token: String,
}

/// Content of `payment.capture`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {}

/// Content of `payment.void`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {}

/// Content of `payment.record-outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordOutcome {
    /// Of which operation.
    pub operation: Operation,
    /// Under which key it was asked.
    pub key: Uuid,
    /// What came back.
    pub outcome: Outcome,
}

/// What a provider's answer, or the lack of one, means.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It took effect.
    Applied {
        /// The provider's name for it.
        reference: String,
    },
    /// It did not and, under this key, never will.
    Refused {
        /// Stable, kebab-case: `payment-declined`.
        code: String,
        /// For a person.
        detail: String,
        /// That asking again cannot help.
        is_final: bool,
    },
    /// Nobody knows. Not an answer: the same request is sent again under the same key.
    Unknown {
        /// What went wrong.
        detail: String,
    },
}

/// Content of `payment.authorization-requested.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequested {
    /// The payment.
    pub payment_id: PaymentId,
    /// What it pays for.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// The card, as the provider knows it. Secret.
    pub token: String,
    /// The idempotency key, UUIDv5(payment, operation, ordinal).
    pub key: Uuid,
    /// How many definite refusals of this operation came before.
    pub ordinal: u32,
}

/// Content of `payment.capture-requested.v1` and `payment.void-requested.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// The idempotency key, UUIDv5(payment, operation, ordinal).
    pub key: Uuid,
    /// How many definite refusals of this operation came before.
    pub ordinal: u32,
}

/// The provider did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// How much.
    pub amount: Money,
    /// The provider's name for it.
    pub reference: String,
}

/// The provider said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declined {
    /// Stable, kebab-case: `payment-declined`.
    pub code: String,
    /// For a person.
    pub detail: String,
    /// That asking again cannot help.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_final: bool,
}

/// Content of `payment.operation-joined.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The operation under way.
    pub operation: Operation,
}

/// Content of `payment.outcome-unknown.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// The operation under way.
    pub operation: Operation,
    /// What went wrong.
    pub detail: String,
}
