//! What can have happened to an order.

use serde::{Deserialize, Serialize};

use super::{Line, PaymentMethod, Reason, Status};
use crate::{CustomerId, Money, OrderId, PaymentId};

/// What can have happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// A repeated command found its work done and was answered so. Changes nothing.
    #[serde(rename = "order.repeat-answered.v1")]
    RepeatAnswered(RepeatAnswered),
}

/// Content of `order.placed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Confirmed {}

/// Content of `order.completed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Completed {}

/// Content of `order.rejected.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rejected {
    /// What made it impossible.
    pub reason: Reason,
}

/// Content of `order.cancelled.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cancelled {
    /// In the client's words.
    pub reason: String,
}

/// Content of `order.repeat-answered.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RepeatAnswered {
    /// How the order stood already.
    pub status: Status,
}
