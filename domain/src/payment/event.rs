//! What can have happened to a payment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Operation;
use crate::{CardToken, Money, OrderId, PaymentId, RefundId};

/// What can have happened to a payment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// The provider is about to be asked to give some of the money back.
    #[serde(rename = "payment.refund-requested.v1")]
    RefundRequested(RefundRequested),
    /// Some of the money is given back.
    #[serde(rename = "payment.refunded.v1")]
    Refunded(Refunded),
    /// The provider refused to give it back.
    #[serde(rename = "payment.refund-refused.v1")]
    RefundRefused(RefundRefused),
    /// A further command joined an operation that is under way and gets its outcome.
    #[serde(rename = "payment.operation-joined.v1")]
    Joined(Joined),
    /// The provider did not answer: it is asked again, with the same key.
    #[serde(rename = "payment.outcome-unknown.v1")]
    Unknown(Unknown),
    /// A repeated command found its work done and was answered so. Changes nothing.
    #[serde(rename = "payment.repeat-answered.v1")]
    RepeatAnswered(RepeatAnswered),
}

impl Event {
    /// The operation whose outcome will answer the command that wrote this event.
    #[must_use]
    pub const fn intent(&self) -> Option<Operation> {
        match self {
            Self::AuthorizationRequested(_) => Some(Operation::Authorize),
            Self::CaptureRequested(_) => Some(Operation::Capture),
            Self::VoidRequested(_) => Some(Operation::Void),
            Self::RefundRequested(requested) => Some(Operation::Refund(requested.refund)),
            Self::Joined(joined) => Some(joined.operation),
            _ => None,
        }
    }

    /// The operation that ends here, with the refusal where it took no effect: the answer to
    /// every open command of that operation.
    #[must_use]
    pub const fn outcome(&self) -> Option<(Operation, Option<&Declined>)> {
        match self {
            Self::Authorized(_) => Some((Operation::Authorize, None)),
            Self::Declined(declined) => Some((Operation::Authorize, Some(declined))),
            Self::Captured(_) => Some((Operation::Capture, None)),
            Self::CaptureRefused(declined) => Some((Operation::Capture, Some(declined))),
            Self::Voided(_) => Some((Operation::Void, None)),
            Self::VoidRefused(declined) => Some((Operation::Void, Some(declined))),
            Self::Refunded(refunded) => Some((Operation::Refund(refunded.refund), None)),
            Self::RefundRefused(refused) => {
                Some((Operation::Refund(refused.refund), Some(&refused.declined)))
            }
            _ => None,
        }
    }

    /// That it answers nothing: something was learned on the way.
    #[must_use]
    pub const fn is_progress(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// Content of `payment.authorization-requested.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AuthorizationRequested {
    /// The payment.
    pub payment_id: PaymentId,
    /// What it pays for.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// The card, as the provider knows it. Secret.
    pub token: CardToken,
    /// The idempotency key, UUIDv5(payment, operation, ordinal).
    pub key: Uuid,
    /// How many definite refusals of this operation came before.
    pub ordinal: u32,
}

/// Content of `payment.capture-requested.v1` and `payment.void-requested.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    /// The idempotency key, UUIDv5(payment, operation, ordinal).
    pub key: Uuid,
    /// How many definite refusals of this operation came before.
    pub ordinal: u32,
}

/// Content of `payment.refund-requested.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RefundRequested {
    /// The refund.
    pub refund: RefundId,
    /// How much.
    pub amount: Money,
    /// The idempotency key, UUIDv5(payment, refund and its id, ordinal).
    pub key: Uuid,
    /// How many definite refusals of this refund came before.
    pub ordinal: u32,
}

/// Content of `payment.refunded.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Refunded {
    /// The refund.
    pub refund: RefundId,
    /// How much.
    pub amount: Money,
    /// The provider's name for it.
    pub reference: String,
}

/// Content of `payment.refund-refused.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RefundRefused {
    /// The refund.
    pub refund: RefundId,
    /// Why not.
    #[serde(flatten)]
    pub declined: Declined,
}

/// The provider did it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// How much.
    pub amount: Money,
    /// The provider's name for it.
    pub reference: String,
}

/// The provider said no.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// The operation under way.
    pub operation: Operation,
}

/// Content of `payment.outcome-unknown.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Unknown {
    /// The operation under way.
    pub operation: Operation,
    /// What went wrong.
    pub detail: String,
    /// That the provider is asked no more: an operator has to find out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
}

/// Content of `payment.repeat-answered.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RepeatAnswered {
    /// The operation that had taken effect already.
    pub operation: Operation,
}
