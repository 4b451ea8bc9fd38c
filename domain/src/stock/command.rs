//! What can be asked of a stock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{HoldId, Quantity, Sku};

/// What can be asked of a stock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// A saga brings goods back that were out.
    #[serde(rename = "stock.restock")]
    Restock(Restock),
}

/// Content of `stock.receive`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Receive {
    /// Of which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// The delivery note: counts once, for ever.
    pub reference: String,
}

/// Content of `stock.adjust`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Adjust {
    /// Of which product.
    pub sku: Sku,
    /// How many more, or fewer; not zero.
    pub delta: i64,
    /// Why the count was wrong.
    pub reason: String,
}

/// Content of `stock.reserve`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Reserve {
    /// For whom: a repeated attempt finds its own hold.
    pub hold: HoldId,
    /// Of which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// Content of `stock.release`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Which hold.
    pub hold: HoldId,
}

/// Content of `stock.commit`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// Which hold.
    pub hold: HoldId,
}

/// Content of `stock.restock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Restock {
    /// The line of the return that brings them back; or the hold whose commit is undone, which
    /// then is no commit any more.
    pub hold: HoldId,
    /// Of which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}
