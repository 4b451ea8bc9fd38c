//! Money: integer minor units of one currency, never a float.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, de};

/// An amount, in minor units of its currency: 1999 EUR is 19.99 euros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Money {
    /// How many minor units.
    pub amount_minor: i64,
    /// Of which currency.
    pub currency: Currency,
}

impl Money {
    /// The sum.
    ///
    /// # Errors
    /// [`ArithmeticError`] where the currencies differ or the sum is too large.
    pub fn checked_add(self, other: Self) -> Result<Self, ArithmeticError> {
        if self.currency != other.currency {
            return Err(ArithmeticError::CurrencyMismatch);
        }
        let amount_minor = self
            .amount_minor
            .checked_add(other.amount_minor)
            .ok_or(ArithmeticError::Overflow)?;
        Ok(Self {
            amount_minor,
            ..self
        })
    }

    /// That much, so many times.
    ///
    /// # Errors
    /// [`ArithmeticError::Overflow`] where the product is too large.
    pub fn checked_mul(self, times: u32) -> Result<Self, ArithmeticError> {
        let amount_minor = self
            .amount_minor
            .checked_mul(i64::from(times))
            .ok_or(ArithmeticError::Overflow)?;
        Ok(Self {
            amount_minor,
            ..self
        })
    }
}

impl Money {
    /// As people write it, in text only: `19.99 EUR`.
    #[must_use]
    pub fn written(self) -> String {
        let Self {
            amount_minor,
            currency,
        } = self;
        let sign = if amount_minor < 0 { "-" } else { "" };
        let places = currency.decimals();
        let digits = amount_minor.unsigned_abs().to_string();
        let digits = format!("{digits:0>width$}", width = places + 1);
        match digits.split_at_checked(digits.len().saturating_sub(places)) {
            Some((whole, part)) if !part.is_empty() => format!("{sign}{whole}.{part} {currency}"),
            _ => format!("{sign}{digits} {currency}"),
        }
    }
}

impl fmt::Display for Money {
    /// `1999 EUR`: minor units, as everywhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount_minor, self.currency)
    }
}

/// Why amounts have no sum or product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArithmeticError {
    /// Amounts of two currencies are neither added nor compared.
    #[error("the amounts are of different currencies")]
    CurrencyMismatch,
    /// The result is more than 64 bits hold.
    #[error("the amount is too large")]
    Overflow,
}

/// An ISO 4217 code of a currency that has minor units: neither gold (`XAU`) nor a test
/// (`XTS`). A superseded code stays readable, for what was paid in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads a code.
    ///
    /// # Errors
    /// [`InvalidCurrency`] where no such currency exists.
    pub fn parse(text: &str) -> Result<Self, InvalidCurrency> {
        match text.as_bytes() {
            &[a, b, c] if has_minor_units(text) => Ok(Self([a, b, c])),
            _ => Err(InvalidCurrency),
        }
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Three ASCII letters, by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How many decimal places its minor unit is: 2 for EUR, 0 for JPY.
    fn decimals(self) -> usize {
        iso_currency::Currency::from_code(self.as_str())
            .and_then(|known| known.exponent())
            .map_or(0, usize::from)
    }
}

fn has_minor_units(code: &str) -> bool {
    iso_currency::Currency::from_code(code).is_some_and(|known| known.exponent().is_some())
}

/// The text is not the code of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a currency is the ISO 4217 code, in capital letters, of one that has minor units")]
pub struct InvalidCurrency;

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JsonSchema for Currency {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Z]{3}$",
            "description": "The ISO 4217 code of a currency that has minor units.",
            "examples": ["EUR"],
        })
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}
