//! A card, as far as we may know it.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What the payment provider gave the client for a card. **Secret**: whoever has it can ask the
/// provider for money. It is in the log for whoever calls the provider and is redacted
/// everywhere else; `Debug` does not show it and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CardToken(String);

impl CardToken {
    /// The most bytes that a token may have.
    pub const MAX_LEN: usize = 200;

    /// A token as it came: the order that is placed with it judges it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// That it is 1 to [`Self::MAX_LEN`] visible ASCII characters, as a provider's tokens are.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        (1..=Self::MAX_LEN).contains(&self.0.len())
            && self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// The secret itself, for the call to the provider and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for CardToken {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CardToken".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[!-~]+$",
            "minLength": 1,
            "maxLength": Self::MAX_LEN,
            "writeOnly": true,
            "x-secret": true,
            "description": "What the payment provider gave the client for a card. It is a secret.",
            "examples": ["tok_visa"],
        })
    }
}

impl fmt::Debug for CardToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardToken(redacted)")
    }
}
