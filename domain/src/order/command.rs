//! What can be asked of an order.

use serde::{Deserialize, Serialize};

use crate::{CardToken, CustomerId, Money, OrderId, PaymentId, Quantity, Sku};

/// What can be asked of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

/// Places an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Line {
    /// Which product.
    pub sku: Sku,
    /// How many of it.
    pub quantity: Quantity,
    /// The price of one.
    pub unit_price: Money,
}

/// How an order is paid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum PaymentMethod {
    /// By card, through the provider's token. Secret.
    Card {
        /// What the provider gave the client for the card.
        token: CardToken,
    },
}

/// Content of `order.confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Confirm {}

/// Content of `order.complete`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Complete {}

/// Content of `order.reject`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reject {
    /// What made it impossible.
    pub reason: Reason,
}

/// Content of `order.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cancel {
    /// In the client's words.
    pub reason: String,
}

/// Why an order ended as it did.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, kebab-case: `out-of-stock`.
    pub code: String,
    /// For a person.
    pub detail: String,
}
