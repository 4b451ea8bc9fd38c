//! Stored data without what its schema marks as secret.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    ops::Range,
};

use serde::{Deserialize, de};
use serde_json::{Value, value::RawValue};

use crate::{Catalog, DATA_OF, SECRET, referred};

/// What stands where a secret was.
pub const HIDDEN: &str = "[redacted]";

/// [`HIDDEN`] as JSON.
const HIDDEN_JSON: &str = "\"[redacted]\"";

/// Shows stored data without its secrets. Made once from a catalog: what holds no secret is
/// passed through without being looked into, and of the rest only the way to its secrets is.
///
/// What no schema describes is not shown: data of a type that is not in the catalog, data that
/// names such a type, and a field that may hold anything.
#[derive(Debug)]
pub struct Redactor {
    types: HashMap<String, Option<Node>>,
}

/// The way to the secrets below a value.
#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    /// The value itself is one.
    hidden: bool,
    /// The value is the data of the type that this field beside it names.
    data_of: Option<String>,
    fields: BTreeMap<String, Self>,
    /// Of the values of a map.
    values: Option<Box<Self>>,
    items: Option<Box<Self>>,
}

impl Redactor {
    /// Of these types.
    #[must_use]
    pub fn new(catalog: &Catalog) -> Self {
        let types = catalog
            .iter()
            .map(|(name, schema)| (name.to_owned(), way(schema, schema, &mut Vec::new())))
            .collect();
        Self { types }
    }

    /// The data of a type as it may be shown: each secret says [`HIDDEN`], and so does the whole
    /// where the type is not known. `null` where it is not JSON.
    #[must_use]
    pub fn show(&self, type_name: &str, data: &[u8]) -> Box<RawValue> {
        let data: Option<&RawValue> = serde_json::from_slice(data).ok();
        let Some(data) = data else {
            return RawValue::NULL.to_owned();
        };
        match self.types.get(type_name) {
            Some(None) => data.to_owned(),
            Some(Some(node)) => self.without(data, node),
            None => hidden(),
        }
    }

    fn without(&self, data: &RawValue, node: &Node) -> Box<RawValue> {
        let text = data.get();
        let mut found = Found {
            whole: text,
            secrets: Vec::new(),
        };
        if self.find(data, node, &mut found).is_none() {
            return hidden();
        }
        let mut shown = String::with_capacity(text.len());
        let mut from = 0;
        for secret in found.secrets {
            let Some(before) = text.get(from..secret.start) else {
                return hidden();
            };
            shown.push_str(before);
            shown.push_str(HIDDEN_JSON);
            from = secret.end;
        }
        shown.push_str(text.get(from..).unwrap_or_default());
        RawValue::from_string(shown).unwrap_or_else(|_| hidden())
    }

    /// Notes the secrets of a value, in their order; `None` where it cannot be told.
    fn find(&self, value: &RawValue, node: &Node, found: &mut Found<'_>) -> Option<()> {
        if node.hidden {
            return found.note(value);
        }
        match value.get().as_bytes().first()? {
            b'{' => {
                let Fields(fields) = serde_json::from_str(value.get()).ok()?;
                for (name, value) in &fields {
                    let below = node.fields.get(&**name).or(node.values.as_deref());
                    let Some(below) = below else { continue };
                    match &below.data_of {
                        Some(beside) => self.find_data(value, beside, &fields, found)?,
                        None => self.find(value, below, found)?,
                    }
                }
                Some(())
            }
            b'[' => {
                if let Some(below) = node.items.as_deref() {
                    let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
                    for item in items {
                        self.find(item, below, found)?;
                    }
                }
                Some(())
            }
            // Not the shape that was looked for, and room for a secret.
            b'"' => found.note(value),
            _ => Some(()),
        }
    }

    /// The same for data whose type is named beside it.
    fn find_data(
        &self,
        data: &RawValue,
        beside: &str,
        fields: &[(Cow<'_, str>, &RawValue)],
        found: &mut Found<'_>,
    ) -> Option<()> {
        let mut named = fields.iter().filter(|(name, _)| name == beside);
        let name = match (named.next(), named.next()) {
            (Some((_, name)), None) => serde_json::from_str::<Cow<'_, str>>(name.get()).ok(),
            _ => None,
        };
        match name.and_then(|name| self.types.get(&*name)) {
            Some(None) => Some(()),
            Some(Some(node)) => self.find(data, node, found),
            None => found.note(data),
        }
    }
}

struct Found<'a> {
    whole: &'a str,
    secrets: Vec<Range<usize>>,
}

impl Found<'_> {
    /// Notes where a part of the whole is.
    fn note(&mut self, part: &RawValue) -> Option<()> {
        let part = part.get();
        let start = part
            .as_ptr()
            .addr()
            .checked_sub(self.whole.as_ptr().addr())?;
        self.secrets.push(start..start.checked_add(part.len())?);
        Some(())
    }
}

fn hidden() -> Box<RawValue> {
    RawValue::from_string(HIDDEN_JSON.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The fields of an object in their order, a repeated one as often as it is there.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> de::Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A name that is copied only where it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The way to the secrets of a schema; `None` where there are none.
fn way(schema: &Value, root: &Value, within: &mut Vec<String>) -> Option<Node> {
    let Some(keywords) = schema.as_object() else {
        // `true`: anything.
        return Some(secret());
    };
    let mut node = Node {
        hidden: keywords.get(SECRET) == Some(&Value::Bool(true)),
        data_of: keywords
            .get(DATA_OF)
            .and_then(Value::as_str)
            .map(str::to_owned),
        ..Node::default()
    };
    if node.hidden || node.data_of.is_some() {
        return Some(node);
    }
    let mut described = false;
    if let Some(reference) = keywords.get("$ref").and_then(Value::as_str) {
        described = true;
        // A type that holds itself has no end of ways; the inner one is not shown.
        let definition = referred(root, reference)
            .filter(|_| within.iter().all(|outer| outer.as_str() != reference));
        match definition {
            Some(definition) => {
                within.push(reference.to_owned());
                node.join(way(definition, root, within));
                within.pop();
            }
            None => node.hidden = true,
        }
    }
    for keyword in ["oneOf", "anyOf", "allOf"] {
        if let Some(branches) = keywords.get(keyword).and_then(Value::as_array) {
            described = true;
            for branch in branches {
                node.join(way(branch, root, within));
            }
        }
    }
    if let Some(properties) = keywords.get("properties").and_then(Value::as_object) {
        described = true;
        for (name, property) in properties {
            if let Some(below) = way(property, root, within) {
                let mut fields = BTreeMap::new();
                fields.insert(name.clone(), below);
                node.join(Some(Node {
                    fields,
                    ..Node::default()
                }));
            }
        }
    }
    match keywords.get("additionalProperties") {
        None | Some(Value::Bool(false)) => {}
        Some(values) => {
            described = true;
            node.join(way(values, root, within).map(|below| Node {
                values: Some(Box::new(below)),
                ..Node::default()
            }));
        }
    }
    for keyword in ["items", "prefixItems"] {
        let Some(items) = keywords.get(keyword) else {
            continue;
        };
        described = true;
        let several = items
            .as_array()
            .map_or(std::slice::from_ref(items), |items| items);
        for item in several {
            node.join(way(item, root, within).map(|below| Node {
                items: Some(Box::new(below)),
                ..Node::default()
            }));
        }
    }
    let says = |keyword| keywords.contains_key(keyword);
    if !described && !says("type") && !says("const") && !says("enum") {
        node.hidden = true;
    }
    (node != Node::default()).then_some(node)
}

fn secret() -> Node {
    Node {
        hidden: true,
        ..Node::default()
    }
}

impl Node {
    /// Takes in the ways of another, which holds for the same value.
    fn join(&mut self, other: Option<Self>) {
        let Some(other) = other else { return };
        self.hidden |= other.hidden;
        match (&self.data_of, other.data_of) {
            (_, None) => {}
            (Some(known), Some(other)) if *known != other => self.hidden = true,
            (_, other) => self.data_of = other,
        }
        for (name, below) in other.fields {
            self.fields.entry(name).or_default().join(Some(below));
        }
        for (known, other) in [
            (&mut self.values, other.values),
            (&mut self.items, other.items),
        ] {
            if let Some(other) = other {
                known.get_or_insert_default().join(Some(*other));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum Event {
        #[serde(rename = "parcel.sent.v1")]
        Sent(Sent),
        #[serde(rename = "parcel.weighed.v1")]
        Weighed(Weighed),
        #[serde(rename = "parcel.wrapped.v1")]
        Wrapped(Wrapped),
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Sent {
        to: Vec<Address>,
        paid: Option<Paid>,
        notes: BTreeMap<String, Street>,
        extra: Value,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Address {
        street: Street,
        city: String,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    #[schemars(extend("x-secret" = true))]
    struct Street(String);

    #[derive(JsonSchema)]
    #[serde(tag = "how")]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum Paid {
        Cash { coins: u32 },
        Card { token: Street },
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Weighed {
        street: u32,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Wrapped {
        kind: String,
        #[schemars(extend("x-data-of" = "kind"))]
        content: Value,
    }

    #[track_caller]
    fn shows(type_name: &str, data: &str, shown: &str) {
        let catalog = Catalog::new().with_variants_of::<Event>().unwrap();
        let redactor = Redactor::new(&catalog);
        assert_eq!(redactor.show(type_name, data.as_bytes()).get(), shown);
    }

    #[test]
    fn a_marked_value_is_hidden_wherever_its_type_holds_it() {
        shows(
            "parcel.sent.v1",
            r#"{"to":[{"street":"A 1","city":"B"},{"city":"C","street":{"is":["A 2"]}}],
               "paid":{"how":"Card","token":"t"},"notes":{"n":"A 3"},"street":"no field of it"}"#,
            r#"{"to":[{"street":"[redacted]","city":"B"},{"city":"C","street":"[redacted]"}],
               "paid":{"how":"Card","token":"[redacted]"},"notes":{"n":"[redacted]"},"street":"no field of it"}"#,
        );
    }

    #[test]
    fn the_same_name_elsewhere_is_shown() {
        shows("parcel.weighed.v1", r#"{"street":7}"#, r#"{"street":7}"#);
    }

    #[test]
    fn a_field_that_may_hold_anything_is_hidden() {
        shows(
            "parcel.sent.v1",
            r#"{"extra":{"a":1}}"#,
            r#"{"extra":"[redacted]"}"#,
        );
    }

    #[test]
    fn a_name_that_is_escaped_or_there_twice_hides_nothing_less() {
        shows(
            "parcel.sent.v1",
            r#"{"to":[{"stre\u0065t":"A","street":"B","street":"C"}]}"#,
            r#"{"to":[{"stre\u0065t":"[redacted]","street":"[redacted]","street":"[redacted]"}]}"#,
        );
    }

    #[test]
    fn data_that_names_its_type_is_hidden_as_that_types_schema_says() {
        shows(
            "parcel.wrapped.v1",
            r#"{"content":{"to":[{"street":"A"}]},"kind":"parcel.sent.v1"}"#,
            r#"{"content":{"to":[{"street":"[redacted]"}]},"kind":"parcel.sent.v1"}"#,
        );
        shows(
            "parcel.wrapped.v1",
            r#"{"kind":"parcel.wrapped.v1","content":{"kind":"parcel.sent.v1","content":{"extra":1}}}"#,
            r#"{"kind":"parcel.wrapped.v1","content":{"kind":"parcel.sent.v1","content":{"extra":"[redacted]"}}}"#,
        );
    }

    #[test]
    fn data_of_a_type_that_is_not_known_is_hidden_whole() {
        shows("parcel.sent.v2", r#"{"a":1}"#, r#""[redacted]""#);
        for named in [
            r#""kind":"x""#,
            r#""kind":7"#,
            r#""other":1"#,
            r#""kind":"x","kind":"parcel.weighed.v1""#,
        ] {
            shows(
                "parcel.wrapped.v1",
                &format!(r#"{{{named},"content":{{"a":1}}}}"#),
                &format!(r#"{{{named},"content":"[redacted]"}}"#),
            );
        }
    }

    #[test]
    fn data_of_another_shape_shows_no_text_where_secrets_are_below() {
        shows(
            "parcel.sent.v1",
            r#"{"to":"A 1"}"#,
            r#"{"to":"[redacted]"}"#,
        );
        shows("parcel.sent.v1", r#"{"paid":null}"#, r#"{"paid":null}"#);
    }

    #[test]
    fn what_is_not_json_is_null() {
        for data in ["", "{", "{} x", "\u{0}"] {
            shows("parcel.sent.v1", data, "null");
        }
    }
}
