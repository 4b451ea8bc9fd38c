//! What can be asked of an order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CardToken, CustomerId, Money, OrderId, PaymentId, Quantity, ReturnId, Sku};

/// What can be asked of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Command {
    /// A client places it, at the catalogue's prices of this moment.
    #[serde(rename = "order.place")]
    Place(Place),
    /// The saga passes its point of no return.
    #[serde(rename = "order.confirm")]
    Confirm(Confirm),
    /// The saga is done.
    #[serde(rename = "order.complete")]
    Complete(Complete),
    /// The saga has undone everything.
    #[serde(rename = "order.reject")]
    Reject(Reject),
    /// A client changes their mind, before the point of no return.
    #[serde(rename = "order.cancel")]
    Cancel(Cancel),
    /// An operator undoes it past the point of no return.
    #[serde(rename = "order.revoke")]
    Revoke(Revoke),
    /// A client sends goods back.
    #[serde(rename = "order.request-return")]
    RequestReturn(RequestReturn),
    /// The saga of the return begins.
    #[serde(rename = "order.accept-return")]
    AcceptReturn(AcceptReturn),
    /// The saga of the return takes its acceptance back.
    #[serde(rename = "order.withdraw-return")]
    WithdrawReturn(WithdrawReturn),
    /// The saga of the return has undone everything.
    #[serde(rename = "order.reject-return")]
    RejectReturn(RejectReturn),
    /// The saga of the return is done.
    #[serde(rename = "order.close-return")]
    CloseReturn(CloseReturn),
}

/// Places an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Derived from the client's command.
    pub order_id: OrderId,
    /// Derived from the order.
    pub payment_id: PaymentId,
    /// Who orders.
    pub customer_id: CustomerId,
    /// What, at which price.
    pub lines: Vec<Line>,
    /// How it is paid.
    pub payment: PaymentMethod,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrderLine")]
pub struct Line {
    /// Which product.
    pub sku: Sku,
    /// How many of it.
    pub quantity: Quantity,
    /// The price of one.
    pub unit_price: Money,
}

/// How an order is paid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "kebab-case")]
#[schemars(extend("x-extensible" = true))]
pub enum PaymentMethod {
    /// By card, through the provider's token. Secret.
    Card {
        /// What the provider gave the client for the card.
        token: CardToken,
    },
}

/// Content of `order.confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Confirm {}

/// Content of `order.complete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Complete {
    /// The products of which no piece went out, because an operator gave that up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undelivered: Vec<Sku>,
}

/// Content of `order.reject`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Reject {
    /// What made it impossible.
    pub reason: Reason,
}

/// Content of `order.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Cancel {
    /// In the client's words.
    pub reason: String,
}

/// Content of `order.revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Revoke {
    /// In the operator's words.
    pub reason: String,
}

/// Content of `order.request-return`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RequestReturn {
    /// Derived from the client's command.
    pub return_id: ReturnId,
    /// What goes back.
    pub lines: Vec<ReturnLine>,
    /// In the client's words.
    pub reason: String,
}

/// One line of a return.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrderReturnLine")]
pub struct ReturnLine {
    /// Which product of the order.
    pub sku: Sku,
    /// How many of it.
    pub quantity: Quantity,
}

/// Content of `order.accept-return`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AcceptReturn {
    /// Which return.
    pub return_id: ReturnId,
}

/// Content of `order.withdraw-return`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct WithdrawReturn {
    /// Which return.
    pub return_id: ReturnId,
}

/// Content of `order.reject-return`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RejectReturn {
    /// Which return.
    pub return_id: ReturnId,
    /// What made it impossible.
    pub reason: Reason,
}

/// Content of `order.close-return`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CloseReturn {
    /// Which return.
    pub return_id: ReturnId,
}

/// Why an order ended as it did.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrderReason")]
pub struct Reason {
    /// Stable, kebab-case: `out-of-stock`.
    pub code: String,
    /// For a person.
    pub detail: String,
}
