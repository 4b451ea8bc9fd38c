//! A saga's command, as it stands in the saga's event.

use std::{borrow::Cow, fmt, hash, sync::Arc};

use recourse_event_store::StreamName;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use uuid::Uuid;

/// A command from a saga to one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// UUIDv5 of saga, step, direction, item and attempt.
    pub id: Uuid,
    /// The aggregate's stream.
    pub target: StreamName,
    /// `<noun>.<imperative>`: `stock.reserve`. The variant of the aggregate's command.
    #[serde(rename = "type")]
    pub command_type: String,
    /// The content of that variant.
    #[schemars(extend("x-data-of" = "type"))]
    pub data: Json,
    /// The commands that this one undoes: where it finds nothing to undo, they never will be
    /// either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undoes: Vec<Uuid>,
}

/// JSON text, carried without being looked into. Cheap to clone; equal where the text is.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// Writes a value.
    ///
    /// # Errors
    /// Where it has no form in JSON.
    pub fn write<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self(serde_json::value::to_raw_value(value)?.into()))
    }

    /// Reads it as a `T`.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl From<Box<RawValue>> for Json {
    fn from(text: Box<RawValue>) -> Self {
        Self(text.into())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl hash::Hash for Json {
    fn hash<H: hash::Hasher>(&self, hasher: &mut H) {
        self.as_str().hash(hasher);
    }
}

impl fmt::Debug for Json {
    /// No more than how much it is: what it says may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.as_str().len())
    }
}

/// Anything: a field that holds it says with `x-data-of` whose data it is, or is not shown.
impl JsonSchema for Json {
    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::default()
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_carried_as_it_is() {
        let command = Command {
            id: Uuid::nil(),
            target: StreamName::new("stock", "tea-1"),
            command_type: "stock.reserve".into(),
            data: Json::write(&serde_json::json!({"quantity": 2})).unwrap(),
            undoes: vec![],
        };
        let text = serde_json::to_string(&command).unwrap();
        assert!(text.contains(r#""data":{"quantity":2}"#), "{text}");
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
    }
}
