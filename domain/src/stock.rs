//! The stock of one product: what is on hand, and what of it is held for orders.

use serde::{Deserialize, Serialize};

use crate::{HoldId, Quantity, Sku};

/// What can be asked of a stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Goods come in.
    #[serde(rename = "stock.receive")]
    Receive(Receive),
    /// A count is corrected.
    #[serde(rename = "stock.adjust")]
    Adjust(Adjust),
    /// A saga holds some for an order's line.
    #[serde(rename = "stock.reserve")]
    Reserve(Reserve),
    /// A saga lets its hold go.
    #[serde(rename = "stock.release")]
    Release(Release),
    /// A saga takes what it held: the goods are out.
    #[serde(rename = "stock.commit")]
    Commit(Commit),
}

/// What can have happened to a stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Goods came in.
    #[serde(rename = "stock.received.v1")]
    Received(Received),
    /// A count was corrected.
    #[serde(rename = "stock.adjusted.v1")]
    Adjusted(Adjusted),
    /// Some are held.
    #[serde(rename = "stock.reserved.v1")]
    Reserved(Held),
    /// A hold was let go.
    #[serde(rename = "stock.released.v1")]
    Released(Held),
    /// What was held is out.
    #[serde(rename = "stock.committed.v1")]
    Committed(Held),
}

/// Content of `stock.receive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receive {
    /// Of which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// The delivery note: counts once, for ever.
    pub reference: String,
}

/// Content of `stock.adjust`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjust {
    /// Of which product.
    pub sku: Sku,
    /// How many more, or fewer; not zero.
    pub delta: i64,
    /// Why the count was wrong.
    pub reason: String,
}

/// Content of `stock.reserve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// For whom: a repeated attempt finds its own hold.
    pub hold: HoldId,
    /// Of which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// Content of `stock.release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which hold.
    pub hold: HoldId,
}

/// Content of `stock.commit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Which hold.
    pub hold: HoldId,
}

/// Content of `stock.received.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Of which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// The delivery note.
    pub reference: String,
}

/// Content of `stock.adjusted.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjusted {
    /// Of which product.
    pub sku: Sku,
    /// How many more, or fewer.
    pub delta: i64,
    /// Why the count was wrong.
    pub reason: String,
}

/// Content of `stock.reserved.v1`, `stock.released.v1` and `stock.committed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which hold.
    pub hold: HoldId,
    /// Of which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}
