//! What can be asked of a payment.

use std::{borrow::Cow, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{CardToken, Money, OrderId, PaymentId, RefundId};

/// What can be asked of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// Give taken money back.
    #[serde(rename = "payment.refund")]
    Refund(Refund),
    /// The service says what the provider answered.
    #[serde(rename = "payment.record-outcome")]
    RecordOutcome(RecordOutcome),
    /// An operator says what came of what the provider is asked about no more.
    #[serde(rename = "payment.settle")]
    Settle(Settle),
}

/// Content of `payment.authorize`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Authorize {
    /// The payment.
    pub payment_id: PaymentId,
    /// What it pays for.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// The card, as the provider knows it. Secret.
    pub token: CardToken,
}

/// Content of `payment.capture`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Capture {}

/// Content of `payment.void`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Void {}

/// Content of `payment.refund`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Refund {
    /// The refund: a repeated attempt finds its own.
    pub refund: RefundId,
    /// How much; absent for all that is taken and not refunded yet, which undoes the capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
}

/// Content of `payment.record-outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RecordOutcome {
    /// Of which operation.
    pub operation: Operation,
    /// Under which key it was asked.
    pub key: Uuid,
    /// What came back.
    pub outcome: Outcome,
}

/// Content of `payment.settle`. Counts only once the provider is asked no more: until then its own
/// answer does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Settle {
    /// Of which operation.
    pub operation: Operation,
    /// That it took effect; else that it did not and never will.
    pub took_effect: bool,
    /// The provider's name for it, where it took effect and the operator knows the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// In the operator's words.
    pub reason: String,
}

/// What a provider is asked to do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-extensible" = true))]
pub enum Operation {
    /// Reserve the money.
    Authorize,
    /// Take it.
    Capture,
    /// Let it go.
    Void,
    /// Give some of it back: there may be several refunds, each an operation of its own.
    Refund(RefundId),
}

impl Operation {
    /// Its kind, in logs and metrics: `authorize`, `capture`, `void`, `refund`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund(_) => "refund",
        }
    }

    /// Its name in keys and answers, which tells one refund of a payment from another: `capture`,
    /// `refund/<id>`.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Refund(id) => Cow::Owned(format!("{}/{id}", self.as_str())),
            _ => Cow::Borrowed(self.as_str()),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// What a provider's answer, or the lack of one, means.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// Nobody knows, and the request is sent no more: the provider may have forgotten its key,
    /// so that another could take effect a second time.
    GivenUp {
        /// What went wrong.
        detail: String,
    },
}
