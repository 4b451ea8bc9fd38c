//! The committed schemas, the Rust types and the stored vectors agree.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panic, as the test itself does"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use recourse_aggregates::{commands, events};
use recourse_schema::{Catalog, HIDDEN, Redactor};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vector(name: &str) -> String {
    let file = root().join(format!("domain/tests/vectors/{name}.json"));
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Which values of a vector its schema does not describe or allow. Knows what our schemas say;
/// patterns are the types' own business, which read the vectors too.
fn violations(value: &Value, schema: &Value, root: &Value, path: &str, found: &mut Vec<String>) {
    let mut wrong = |what: &str| found.push(format!("{path}: {what}"));
    if let Some(reference) = schema["$ref"].as_str() {
        let definition = &root["$defs"][reference.strip_prefix("#/$defs/").unwrap()];
        assert!(!definition.is_null(), "{reference} is defined");
        violations(value, definition, root, path, found);
        return;
    }
    if let Some(branches) = schema.get("oneOf").or(schema.get("anyOf")) {
        let fits = |branch: &&Value| {
            let mut found = Vec::new();
            violations(value, branch, root, path, &mut found);
            found.is_empty()
        };
        if branches.as_array().unwrap().iter().filter(fits).count() != 1 {
            wrong("fits not one of the choices");
        }
        return;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        kind => panic!("{kind} is no JSON type"),
    };
    if !types.is_empty() && !types.iter().any(is) {
        wrong("is of another type");
    }
    if schema.get("const").is_some_and(|only| only != value) {
        wrong("is not the constant");
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        wrong("is not one of the values");
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema["minimum"].as_f64())
        && number < least
    {
        wrong("is too small");
    }
    if let (Some(number), Some(most)) = (value.as_f64(), schema["maximum"].as_f64())
        && number > most
    {
        wrong("is too large");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        if value.get(required.as_str().unwrap()).is_none() {
            wrong(&format!("has no {required}"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let below = schema["properties"].get(name);
        match below.or(schema.get("additionalProperties")) {
            Some(Value::Object(_)) => {
                let below = below.unwrap_or(&schema["additionalProperties"]);
                violations(field, below, root, &format!("{path}/{name}"), found);
            }
            _ => found.push(format!("{path}/{name}: is not described")),
        }
    }
    for item in value.as_array().into_iter().flatten() {
        violations(item, &schema["items"], root, &format!("{path}[]"), found);
    }
}

#[test]
fn the_stored_bytes_of_every_type_are_what_its_committed_schema_says() {
    let mut held = BTreeSet::new();
    for (name, _) in events().unwrap().iter() {
        let file = root().join(format!("schemas/{name}.json"));
        let schema: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(schema["title"], name);
        assert!(schema["description"].is_string(), "{name} is described");
        let stored: Value = serde_json::from_str(&vector(name)).unwrap();
        let mut found = Vec::new();
        violations(&stored, &schema, &schema, "", &mut found);
        assert!(found.is_empty(), "{name}: {found:#?}");
        held.insert(name.to_owned());
    }
    assert!(held.contains("order.placed.v1"), "{held:?}");
}

#[test]
fn a_schema_says_no_to_what_it_does_not_describe() {
    let catalog = events().unwrap();
    let schema = catalog.get("order.placed.v1").unwrap();
    let stored: Value = serde_json::from_str(&vector("order.placed.v1")).unwrap();
    for change in [
        |order: &mut Value| order["lines"][0]["quantity"] = 0.into(),
        |order: &mut Value| order["lines"][0]["sku"] = 7.into(),
        |order: &mut Value| order["payment"]["method"] = "cash".into(),
        |order: &mut Value| order["more"] = true.into(),
        |order: &mut Value| drop(order.as_object_mut().unwrap().remove("total")),
    ] {
        let mut changed = stored.clone();
        change(&mut changed);
        let mut found = Vec::new();
        violations(&changed, schema, schema, "", &mut found);
        assert_eq!(found.len(), 1, "{found:#?}");
    }
}

/// The values that a schema marks, in a vector.
fn secrets<'a>(value: &'a Value, schema: &Value, root: &Value, found: &mut Vec<&'a Value>) {
    if schema["x-secret"] == true {
        found.push(value);
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let definition = &root["$defs"][reference.strip_prefix("#/$defs/").unwrap()];
        secrets(value, definition, root, found);
    }
    for branch in ["oneOf", "anyOf"] {
        for branch in schema[branch].as_array().into_iter().flatten() {
            secrets(value, branch, root, found);
        }
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            secrets(value, field, root, found);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        secrets(item, &schema["items"], root, found);
    }
}

/// How many marked values the vectors of a catalog hold, none of which is shown.
fn hidden(catalog: &Catalog, redactor: &Redactor) -> usize {
    let mut count = 0;
    for (name, schema) in catalog.iter() {
        let stored = vector(name);
        let shown = redactor.show(name, stored.as_bytes());
        let stored: Value = serde_json::from_str(&stored).unwrap();
        let mut marked = Vec::new();
        secrets(&stored, schema, schema, &mut marked);
        for secret in &marked {
            let text = secret.as_str().unwrap();
            assert!(!shown.get().contains(text), "{name} shows {text}");
        }
        if marked.is_empty() {
            assert!(
                !shown.get().contains(HIDDEN),
                "{name} hides what is not marked"
            );
        }
        count += marked.len();
    }
    count
}

#[test]
fn every_marked_field_of_every_vector_is_gone_from_what_is_shown() {
    let (events, commands) = (events().unwrap(), commands().unwrap());
    let all = events.clone().with_all_of(commands.clone()).unwrap();
    let redactor = Redactor::new(&all);
    assert_eq!(
        (hidden(&events, &redactor), hidden(&commands, &redactor)),
        (2, 2),
        "the card's token in `order.placed.v1` and `payment.authorization-requested.v1`, and in \
         the commands that lead to them"
    );
}
