//! A product of the catalogue: its name, its price, whether it can be ordered.

use serde::{Deserialize, Serialize};

use crate::{Money, Sku};

/// What can be asked of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Make it so, creating it where it is not. Where it is so already, nothing happens.
    #[serde(rename = "product.put")]
    Put(Details),
}

/// What can have happened to a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// It is in the catalogue.
    #[serde(rename = "product.created.v1")]
    Created(Details),
    /// It is something else from here on.
    #[serde(rename = "product.changed.v1")]
    Changed(Details),
}

/// What is known of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// Which product.
    pub sku: Sku,
    /// What people call it.
    pub name: String,
    /// The price of one.
    pub price: Money,
    /// Whether it can be ordered.
    pub active: bool,
}
