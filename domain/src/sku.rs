//! Which product, and how many of it.

use std::{borrow::Cow, fmt, num::NonZeroU32};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, de};

/// Stock keeping unit: 1–64 of `[A-Za-z0-9._-]`, first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Sku(String);

impl Sku {
    /// Reads a SKU.
    ///
    /// # Errors
    /// [`InvalidSku`] where the text is not one.
    pub fn parse(text: &str) -> Result<Self, InvalidSku> {
        let well_formed = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSku)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SKU is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit")]
pub struct InvalidSku;

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Sku {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Sku".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            "description": "The stock keeping unit of a product.",
            "examples": ["tea-1"],
        })
    }
}

impl<'de> Deserialize<'de> for Sku {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// How many pieces: 1 to [`Quantity::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Quantity(NonZeroU32);

impl Quantity {
    /// The most that one line or receipt may hold.
    pub const MAX: u32 = 1_000_000_000;

    /// A number of pieces.
    ///
    /// # Errors
    /// [`InvalidQuantity`] for zero and for more than [`Self::MAX`].
    pub fn new(pieces: u32) -> Result<Self, InvalidQuantity> {
        NonZeroU32::new(pieces)
            .filter(|pieces| pieces.get() <= Self::MAX)
            .map(Self)
            .ok_or(InvalidQuantity)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// The number is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is a whole number from 1 to {}", Quantity::MAX)]
pub struct InvalidQuantity;

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "minimum": 1,
            "maximum": Self::MAX,
            "description": "How many pieces.",
        })
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pieces;

        impl de::Visitor<'_> for Pieces {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 1 to {}", Quantity::MAX)
            }

            fn visit_u64<E: de::Error>(self, pieces: u64) -> Result<Quantity, E> {
                u32::try_from(pieces)
                    .ok()
                    .and_then(|pieces| Quantity::new(pieces).ok())
                    .ok_or_else(|| E::custom(InvalidQuantity))
            }

            fn visit_i64<E: de::Error>(self, pieces: i64) -> Result<Quantity, E> {
                let pieces = u64::try_from(pieces).map_err(|_| E::custom(InvalidQuantity))?;
                self.visit_u64(pieces)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Quantity, E> {
                Err(E::custom(InvalidQuantity))
            }
        }

        deserializer.deserialize_u32(Pieces)
    }
}
