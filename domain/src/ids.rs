//! Ids: newtypes over UUIDs, so that one is never taken for another.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::{Uuid, fmt::Hyphenated};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
        )]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        // A UUID reads itself in several forms; an id has the usual one only.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let id = Hyphenated::deserialize(deserializer)?;
                Ok(Self(id.into_uuid()))
            }
        }
    };
}

id!(
    /// An order.
    OrderId
);
id!(
    /// A payment.
    PaymentId
);
id!(
    /// A return of goods of one order. Its refund and its saga's commands are known by it.
    ReturnId
);
id!(
    /// A refund of one payment: a repeated attempt finds its own.
    RefundId
);
id!(
    /// A customer, who is known to us by nothing else.
    CustomerId
);

/// A hold on stock: one line of one saga. A repeated attempt finds its own.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct HoldId {
    /// The saga that holds.
    pub saga: Uuid,
    /// The line of the order, from 0.
    pub line: u32,
}
