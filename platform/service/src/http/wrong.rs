//! Everything that is wrong with a body, and not only what is met first.
//!
//! Serde stops at the first field that it cannot take. So that field is replaced by one that the
//! type's schema calls right, and the body is read again, until nothing is left to complain
//! of. Serde stays the only judge; the schema only says what would have been fine. A body that
//! is right never comes here.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{input, objects::Objects};
use crate::problem::FieldError;

/// The most fields that are named in one answer: each is another reading of the body.
const MAX_FIELD_ERRORS: usize = 20;

/// What is wrong with `body`, beginning with what was met first.
pub(super) fn all<T: DeserializeOwned + JsonSchema>(
    mut body: Value,
    first: FieldError,
) -> Vec<FieldError> {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut found = vec![first];
    while found.len() < MAX_FIELD_ERRORS {
        let Some(last) = found.last() else { break };
        if mend(&mut body, schema.as_value(), &last.pointer).is_none() {
            break;
        }
        let Err(error) = serde_path_to_error::deserialize::<_, T>(Objects(&body)) else {
            break;
        };
        let pointer = input::pointer(error.path(), error.inner());
        // What the schema calls right and serde does not cannot be mended.
        if found.iter().any(|known| known.pointer == pointer) {
            break;
        }
        found.push(FieldError {
            pointer,
            detail: error.into_inner().to_string(),
        });
    }
    found
}

/// Makes the value at a pointer right: another one where the schema knows it, none where it
/// does not.
fn mend(body: &mut Value, schema: &Value, pointer: &str) -> Option<()> {
    let mut place = body;
    let mut schema = schema;
    let path: Vec<_> = pointer
        .split('/')
        .skip(1)
        .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
        .collect();
    let Some((last, parents)) = path.split_last() else {
        *place = sample(schema)?;
        return Some(());
    };
    for segment in parents {
        schema = below(schema, segment)?;
        place = match place {
            Value::Object(fields) => fields.get_mut(segment)?,
            Value::Array(items) => items.get_mut(segment.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    match (place, below(schema, last)) {
        (Value::Object(fields), Some(schema)) => {
            fields.insert(last.clone(), sample(schema)?);
        }
        (Value::Object(fields), None) => {
            fields.remove(last)?;
        }
        (Value::Array(items), Some(schema)) => {
            *items.get_mut(last.parse::<usize>().ok()?)? = sample(schema)?;
        }
        _ => return None,
    }
    Some(())
}

fn below<'a>(schema: &'a Value, segment: &str) -> Option<&'a Value> {
    let property = schema
        .get("properties")
        .and_then(|properties| properties.get(segment));
    property.or_else(|| {
        schema
            .get("items")
            .filter(|_| segment.parse::<usize>().is_ok())
    })
}

/// A value that the schema calls right.
fn sample(schema: &Value) -> Option<Value> {
    let first = |key: &str| schema.get(key)?.get(0);
    if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
        return Some(value.clone());
    }
    if let Some(value) = first("examples").or_else(|| first("enum")) {
        return Some(value.clone());
    }
    if let Some(choice) = first("oneOf").or_else(|| first("anyOf")) {
        return sample(choice);
    }
    let kind = schema.get("type")?;
    let count = |key: &str| schema.get(key).and_then(Value::as_u64).unwrap_or_default();
    Some(match kind.as_str().or_else(|| kind.get(0)?.as_str())? {
        "string" if schema.get("format").is_some_and(|format| format == "uuid") => {
            uuid::Uuid::nil().to_string().into()
        }
        "string" => "x"
            .repeat(usize::try_from(count("minLength")).ok()?.clamp(1, 64))
            .into(),
        "integer" | "number" => count("minimum").into(),
        "boolean" => false.into(),
        "array" if count("minItems") > 0 => vec![sample(schema.get("items")?)?].into(),
        "array" => Value::Array(Vec::new()),
        "object" => {
            let mut fields = Map::new();
            for name in schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let name = name.as_str()?;
                fields.insert(name.to_owned(), sample(below(schema, name)?)?);
            }
            fields.into()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, expecting = "an object")]
    #[expect(dead_code, reason = "only read")]
    struct Order {
        id: super::super::UsualUuid,
        lines: Vec<Line>,
        paid: bool,
        method: Option<Method>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, expecting = "an object")]
    #[expect(dead_code, reason = "only read")]
    struct Line {
        sku: String,
        quantity: u32,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    enum Method {
        Card,
    }

    fn pointers(body: &Value) -> Vec<String> {
        let problem = input::read_json::<Order>(body.to_string().as_bytes()).unwrap_err();
        let errors = problem.errors().iter();
        errors.map(|error| error.pointer.clone()).collect()
    }

    #[test]
    fn every_field_that_is_wrong_is_named() {
        let body = json!({
            "id": "{6f1b2c1e-7f0a-4c52-9b0e-3c1de7b0a001}",
            "lines": [{"sku": 1, "quantity": -1, "a/b": 2}, [], {"quantity": "7"}],
            "method": "cash",
            "more": null,
        });
        let mut found = pointers(&body);
        found.sort();
        assert_eq!(
            found,
            [
                "#/id",
                "#/lines/0/a~1b",
                "#/lines/0/quantity",
                "#/lines/0/sku",
                "#/lines/1",
                "#/lines/2/quantity",
                "#/lines/2/sku",
                "#/method",
                "#/more",
                "#/paid",
            ]
        );
    }

    #[test]
    fn a_body_that_is_wrong_altogether_is_named_once_and_one_without_end_is_cut() {
        assert_eq!(pointers(&json!([])), ["#"]);
        let body = json!({"id": 1, "paid": 1, "lines": vec![json!(0); 100]});
        assert_eq!(pointers(&body).len(), MAX_FIELD_ERRORS);
    }
}
