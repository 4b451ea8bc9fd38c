//! Types by name, each with its JSON Schema.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{DEFS, referred};

/// Why types have no place in a catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its variants have no types.
    #[error("`{0}` is not an enum of newtype variants")]
    NotTyped(String),
    /// A name stands for one type.
    #[error("the type `{0}` is there twice")]
    Twice(String),
}

/// Types by name: events, commands, what sagas work on. One name space, so that data can name
/// its type.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    types: BTreeMap<String, Value>,
}

impl Catalog {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds every variant of an enum of newtype variants under its name: what
    /// `event_store::typed` takes apart and puts together.
    ///
    /// # Errors
    /// [`Error`].
    pub fn with_variants_of<E: JsonSchema>(mut self) -> Result<Self, Error> {
        let root = document::<E>();
        let not_typed = || Error::NotTyped(E::schema_name().into_owned());
        let variants = root
            .get("oneOf")
            .and_then(Value::as_array)
            .ok_or_else(not_typed)?;
        for variant in variants {
            let properties = variant.get("properties").and_then(Value::as_object);
            let mut contents = properties.into_iter().flatten();
            let (Some((name, content)), None) = (contents.next(), contents.next()) else {
                return Err(not_typed());
            };
            let described = variant.get("description");
            let document = complete(name, described, content, &root);
            self.insert(name, document)?;
        }
        Ok(self)
    }

    /// Adds one type under a name.
    ///
    /// # Errors
    /// [`Error::Twice`].
    pub fn with<T: JsonSchema>(mut self, name: &str) -> Result<Self, Error> {
        let root = document::<T>();
        let document = complete(name, None, &root, &root);
        self.insert(name, document)?;
        Ok(self)
    }

    /// Adds a type by its schema, where no Rust type has it.
    ///
    /// # Errors
    /// [`Error::Twice`].
    pub fn with_schema(mut self, name: &str, schema: Value) -> Result<Self, Error> {
        self.insert(name, schema)?;
        Ok(self)
    }

    /// Adds the types of another.
    ///
    /// # Errors
    /// [`Error::Twice`].
    pub fn with_all_of(mut self, other: Self) -> Result<Self, Error> {
        for (name, document) in other.types {
            self.insert(&name, document)?;
        }
        Ok(self)
    }

    fn insert(&mut self, name: &str, document: Value) -> Result<(), Error> {
        match self.types.insert(name.to_owned(), document) {
            None => Ok(()),
            Some(_) => Err(Error::Twice(name.to_owned())),
        }
    }

    /// The types with their schemas, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.types
            .iter()
            .map(|(name, schema)| (name.as_str(), schema))
    }

    /// The schema of a type.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.types.get(name)
    }
}

/// A schema as its file holds it: indented, keys in order, with a line end. The same schema is
/// the same bytes.
#[must_use]
pub fn text(schema: &Value) -> String {
    format!("{:#}\n", in_order(schema))
}

fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            Value::Object(
                sorted
                    .into_iter()
                    .map(|(name, value)| (name.clone(), in_order(value)))
                    .collect(),
            )
        }
        Value::Array(values) => values.iter().map(in_order).collect(),
        value => value.clone(),
    }
}

/// What may be read: a field with a default is not required, for old bytes may lack it.
fn document<T: JsonSchema>() -> Value {
    SchemaGenerator::new(SchemaSettings::draft2020_12())
        .into_root_schema_for::<T>()
        .to_value()
}

/// A document of its own for a part of another: named, described, and with the definitions that
/// it reaches.
fn complete(name: &str, described: Option<&Value>, part: &Value, root: &Value) -> Value {
    let body = part
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| referred(root, reference))
        .unwrap_or(part);
    let mut document = body.as_object().cloned().unwrap_or_default();
    let mut reached = BTreeSet::new();
    document.remove("$defs");
    reach(&Value::Object(document.clone()), root, &mut reached);
    let definitions: Map<_, _> = reached
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), root.get("$defs")?.get(name)?.clone())))
        .collect();
    if !definitions.is_empty() {
        document.insert("$defs".into(), Value::Object(definitions));
    }
    if let Some(described) = described {
        document.insert("description".into(), described.clone());
    }
    document.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    document.insert("title".into(), json!(name));
    let mut document = Value::Object(document);
    plain_words(&mut document);
    document
}

/// The definitions that a schema names, and those that they name.
fn reach<'a>(schema: &Value, root: &'a Value, reached: &mut BTreeSet<&'a str>) {
    match schema {
        Value::Object(fields) => {
            let named = fields.get("$ref").and_then(Value::as_str);
            let named = named.and_then(|reference| reference.strip_prefix(DEFS));
            let definitions = root.get("$defs").and_then(Value::as_object);
            let named = named.and_then(|name| definitions?.get_key_value(name));
            if let Some((name, definition)) = named
                && reached.insert(name)
            {
                reach(definition, root, reached);
            }
            fields
                .values()
                .for_each(|value| reach(value, root, reached));
        }
        Value::Array(values) => values.iter().for_each(|value| reach(value, root, reached)),
        _ => {}
    }
}

/// Doc comments are wrapped and name Rust items; a schema's reader knows neither.
fn plain_words(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "description" => *text = plain(text),
                    value => plain_words(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(plain_words),
        _ => {}
    }
}

/// `` [`X`](path) `` and `` [`X`] `` become `` `X` ``, and a paragraph is one line.
fn plain(text: &str) -> String {
    let mut rest = text;
    let mut words = String::with_capacity(text.len());
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else {
            break;
        };
        words.push_str(&format!("{before}`{name}`"));
        rest = match after
            .strip_prefix('(')
            .and_then(|path| path.split_once(')'))
        {
            Some((_, after)) => after,
            None => after,
        };
    }
    words.push_str(rest);
    let paragraphs: Vec<_> = words
        .split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect();
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum Event {
        /// It is on
        /// its way: see [`Parcel::weight_g`].
        #[serde(rename = "parcel.sent.v1")]
        Sent(Parcel),
        #[serde(rename = "parcel.lost.v1")]
        Lost(Lost),
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Parcel {
        weight_g: u32,
        to: Address,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Address {
        #[schemars(extend("x-secret" = true))]
        street: String,
    }

    #[derive(JsonSchema)]
    struct Lost {}

    #[test]
    fn each_variant_is_a_document_that_stands_alone() {
        let catalog = Catalog::new().with_variants_of::<Event>().unwrap();
        assert_eq!(
            catalog.get("parcel.sent.v1"),
            Some(&json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "parcel.sent.v1",
                "description": "It is on its way: see `Parcel::weight_g`.",
                "type": "object",
                "properties": {
                    "weight_g": {"type": "integer", "format": "uint32", "minimum": 0},
                    "to": {"$ref": "#/$defs/Address"},
                },
                "required": ["weight_g", "to"],
                "$defs": {"Address": {
                    "type": "object",
                    "properties": {"street": {"type": "string", "x-secret": true}},
                    "required": ["street"],
                }},
            }))
        );
        let lost = catalog.get("parcel.lost.v1").unwrap();
        assert!(
            lost.get("$defs").is_none(),
            "what it does not name is left out"
        );
    }

    #[test]
    fn what_has_no_types_is_refused_and_so_is_a_name_for_two() {
        let refused = Catalog::new().with_variants_of::<Parcel>().unwrap_err();
        assert_eq!(refused, Error::NotTyped("Parcel".into()));
        let twice = Catalog::new()
            .with_variants_of::<Event>()
            .and_then(Catalog::with_variants_of::<Event>);
        assert!(matches!(twice, Err(Error::Twice(_))));
    }

    #[test]
    fn words_are_for_who_reads_no_rust() {
        assert_eq!(
            plain("One [`A`](super::A),\nanother [`B::C`]; not [this](x).\n\nNew."),
            "One `A`, another `B::C`; not [this](x).\n\nNew."
        );
    }
}
