//! What can have happened to a stock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HoldStatus;
use crate::{HoldId, Quantity, Sku};

/// What can have happened to a stock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// What was out is back: by a return's line, or because a hold's commit is undone.
    #[serde(rename = "stock.restocked.v1")]
    Restocked(Held),
    /// A repeated command found its work done and was answered so. Changes nothing.
    #[serde(rename = "stock.repeat-answered.v1")]
    RepeatAnswered(RepeatAnswered),
}

/// Content of `stock.received.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Received {
    /// Of which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// The delivery note.
    pub reference: String,
}

/// Content of `stock.adjusted.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Adjusted {
    /// Of which product.
    pub sku: Sku,
    /// How many more, or fewer.
    pub delta: i64,
    /// Why the count was wrong.
    pub reason: String,
}

/// Content of `stock.reserved.v1`, `stock.released.v1`, `stock.committed.v1` and
/// `stock.restocked.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// Which hold, or which line of a return.
    pub hold: HoldId,
    /// Of which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// Content of `stock.repeat-answered.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RepeatAnswered {
    /// Which hold.
    pub hold: HoldId,
    /// How it stood already.
    pub status: HoldStatus,
}
