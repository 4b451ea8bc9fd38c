//! The names of streams.

use std::{borrow::Cow, fmt, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, de};

/// The name of a stream: `<category>-<id>`, as in `order-6f…` or `stock-tea-1`.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 200;

    /// The stream of one aggregate: `<category>-<id>`.
    ///
    /// # Panics
    /// Never for a category without a dash and an id of visible ASCII that keeps within
    /// [`Self::MAX_BYTES`], which is what every id of ours is; use [`Self::parse`] for text
    /// from outside.
    #[must_use]
    #[expect(clippy::expect_used, reason = "ids of ours are valid by construction")]
    pub fn new(category: &str, id: impl fmt::Display) -> Self {
        Self::parse(&format!("{category}-{id}")).expect("a category and an id make a stream name")
    }

    /// Reads a name.
    ///
    /// # Errors
    /// Where it is not a category and an id joined by a dash, of visible ASCII, within
    /// [`Self::MAX_BYTES`]. A name that starts with `$` belongs to the store itself.
    pub fn parse(name: &str) -> Result<Self, InvalidStreamName> {
        let (category, id) = name.split_once('-').ok_or(InvalidStreamName)?;
        let well_formed = !category.is_empty()
            && !id.is_empty()
            && !category.starts_with('$')
            && name.len() <= Self::MAX_BYTES
            && name.bytes().all(|byte| byte.is_ascii_graphic());
        if well_formed {
            Ok(Self(name.into()))
        } else {
            Err(InvalidStreamName)
        }
    }

    /// What comes before the first dash.
    #[must_use]
    pub fn category(&self) -> &str {
        self.0
            .split_once('-')
            .map_or(&*self.0, |(category, _)| category)
    }

    /// What comes after the first dash.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, id)| id)
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for StreamName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StreamName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[!#%-,.-~][!-,.-~]*-[!-~]+$",
            "maxLength": Self::MAX_BYTES,
            "description": "A category and an id, joined by a dash.",
            "examples": ["stock-tea-1"],
        })
    }
}

/// The text is not the name of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream name is <category>-<id>, visible ASCII, at most 200 bytes")]
pub struct InvalidStreamName;

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for StreamName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_category_and_an_id() {
        let name = StreamName::new("stock", "tea-1");
        assert_eq!(name.as_str(), "stock-tea-1");
        assert_eq!(name.category(), "stock");
        assert_eq!(name.id(), "tea-1");
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for text in [
            "",
            "order",
            "-1",
            "order-",
            "$ce-order",
            "a b-1",
            &"a-".repeat(101),
        ] {
            assert_eq!(StreamName::parse(text), Err(InvalidStreamName), "{text}");
        }
    }
}
