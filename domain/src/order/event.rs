//! What can have happened to an order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Line, PaymentMethod, Reason, ReturnLine, Status};
use crate::{CustomerId, Money, OrderId, PaymentId, ReturnId, Sku};

/// What can have happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    /// It exists, and its saga starts.
    #[serde(rename = "order.placed.v1")]
    Placed(Placed),
    /// It will be delivered: from here on nothing but an operator undoes it.
    #[serde(rename = "order.confirmed.v1")]
    Confirmed(Confirmed),
    /// It is paid and its goods are out.
    #[serde(rename = "order.completed.v1")]
    Completed(Completed),
    /// It could not be fulfilled and everything is undone.
    #[serde(rename = "order.rejected.v1")]
    Rejected(Rejected),
    /// Its client cancelled it.
    #[serde(rename = "order.cancelled.v1")]
    Cancelled(Cancelled),
    /// An operator undid it past the point of no return.
    #[serde(rename = "order.revoked.v1")]
    Revoked(Revoked),
    /// Goods are to come back, and the saga of the return starts.
    #[serde(rename = "order.return-requested.v1")]
    ReturnRequested(ReturnRequested),
    /// A return is good: its refund may be made.
    #[serde(rename = "order.return-accepted.v1")]
    ReturnAccepted(ReturnMoved),
    /// An accepted return was given up before its refund.
    #[serde(rename = "order.return-withdrawn.v1")]
    ReturnWithdrawn(ReturnMoved),
    /// A return came to nothing: its pieces can be returned again.
    #[serde(rename = "order.return-rejected.v1")]
    ReturnRejected(ReturnRejected),
    /// A return is refunded and its goods are back.
    #[serde(rename = "order.return-closed.v1")]
    ReturnClosed(ReturnClosed),
    /// A repeated command found its work done and was answered so. Changes nothing.
    #[serde(rename = "order.repeat-answered.v1")]
    RepeatAnswered(RepeatAnswered),
}

/// Content of `order.placed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Placed {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What, at which price.
    pub lines: Vec<Line>,
    /// The sum of its lines.
    pub total: Money,
    /// How it is paid.
    pub payment: PaymentMethod,
}

/// Content of `order.confirmed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Confirmed {}

/// Content of `order.completed.v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Completed {
    /// The products of which no piece went out, because an operator gave that up: a return of
    /// them is refunded, and nothing comes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undelivered: Vec<Sku>,
}

/// Content of `order.rejected.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// What made it impossible.
    pub reason: Reason,
}

/// Content of `order.cancelled.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    /// In the client's words.
    pub reason: String,
}

/// Content of `order.revoked.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// Its code is [`REVERSED`](super::REVERSED), its detail the operator's words.
    pub reason: Reason,
}

/// Content of `order.return-requested.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ReturnRequested {
    /// The return.
    pub return_id: ReturnId,
    /// Of which order.
    pub order_id: OrderId,
    /// The payment that is refunded.
    pub payment_id: PaymentId,
    /// What goes back.
    pub lines: Vec<ReturnLine>,
    /// The products among them that never went out: they are refunded, and nothing comes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undelivered: Vec<Sku>,
    /// What these cost when they were ordered.
    pub refund: Money,
    /// In the client's words.
    pub reason: String,
}

/// Content of `order.return-accepted.v1` and `order.return-withdrawn.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ReturnMoved {
    /// Which return.
    pub return_id: ReturnId,
}

/// Content of `order.return-rejected.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ReturnRejected {
    /// Which return.
    pub return_id: ReturnId,
    /// What made it impossible.
    pub reason: Reason,
}

/// Content of `order.return-closed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ReturnClosed {
    /// Which return.
    pub return_id: ReturnId,
    /// How the order stands now: partially returned, or returned.
    pub status: Status,
}

/// Content of `order.repeat-answered.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RepeatAnswered {
    /// How the order stood already.
    pub status: Status,
}
