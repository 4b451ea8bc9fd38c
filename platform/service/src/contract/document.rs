//! The operations as an `OpenAPI` 3.1 document.

use std::collections::BTreeMap;

use schemars::{
    JsonSchema, SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Map, Value, json};

use super::{Answer, Bound, Operation, Parameter, Place, SchemaOf};
use crate::{errors, problem::Code};

/// What the document says of the whole API.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Its name.
    pub title: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it is, in Markdown.
    pub description: &'static str,
    /// Its licence, as an SPDX expression.
    pub license: &'static str,
    /// The groups that operations are shown in, in this order, each with what it is.
    pub tags: &'static [(&'static str, &'static str)],
}

/// The `OpenAPI` 3.1 document of these operations, <https://spec.openapis.org/oas/v3.1.1.html>.
#[must_use]
pub fn document(info: &Info, operations: &[Bound]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for bound in operations {
        let described = operation(bound, &mut schemas);
        let method = bound.method.as_str().to_ascii_lowercase();
        paths
            .entry(bound.path)
            .or_default()
            .insert(method, described);
    }
    let tags: Vec<_> = info
        .tags
        .iter()
        .map(|(name, description)| json!({"name": name, "description": description}))
        .collect();
    let mut document = json!({
        "openapi": "3.1.1",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": info.title,
            "version": info.version,
            "description": info.description,
            "license": {"name": info.license, "identifier": info.license},
        },
        "servers": [{"url": "/", "description": "this server"}],
        "tags": tags,
        "paths": paths,
        "components": {"schemas": schemas.finish()},
    });
    leave_out_null(&mut document);
    document
}

/// A field that may be left out is absent where it has no value, and never null: that is how
/// everything here is written, and what a body is asked for.
fn leave_out_null(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let required = object.get("required").cloned().unwrap_or_default();
            let is_required = |name: &str| {
                required
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one == name))
            };
            if let Some(Value::Object(properties)) = object.get_mut("properties") {
                for (name, schema) in properties {
                    if !is_required(name) {
                        without_null(schema);
                    }
                }
            }
            object.values_mut().for_each(leave_out_null);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The same schema without the choice of null.
fn without_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = &**kinds {
            let kind = kind.clone();
            object.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [choice] = &mut **choices {
            let choice = choice.take();
            object.remove("anyOf");
            if let Value::Object(choice) = choice {
                // What is said of the field stands before what is said of its type.
                for (key, value) in choice {
                    object.entry(key).or_insert(value);
                }
            }
        }
    }
}

/// Schemas of what is answered are shared and named; of what is taken, each stands in its
/// place, for the same type may take less than it shows.
struct Schemas {
    answered: SchemaGenerator,
    taken: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = |contract, inline| {
            SchemaSettings::draft2020_12()
                .with(|settings| {
                    settings.definitions_path = "/components/schemas".into();
                    settings.meta_schema = None;
                    settings.contract = contract;
                    settings.inline_subschemas = inline;
                })
                .into_generator()
        };
        Self {
            answered: settings(Contract::Serialize, false),
            taken: settings(Contract::Deserialize, true),
        }
    }

    fn answered(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.answered).to_value()
    }

    fn taken(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.taken).to_value()
    }

    fn finish(mut self) -> Map<String, Value> {
        self.answered.take_definitions(true)
    }
}

fn operation(bound: &Bound, schemas: &mut Schemas) -> Value {
    let operation = &bound.operation;
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters(bound, schemas),
        "responses": responses(operation, schemas),
    });
    if !operation.description.is_empty() {
        put(&mut described, "description", operation.description);
    }
    if !operation.tag.is_empty() {
        put(&mut described, "tags", json!([operation.tag]));
    }
    if let Some(schema) = operation.body {
        let mut media = json!({"schema": schemas.taken(schema)});
        if let Some(example) = operation.body_example {
            put(&mut media, "example", read_example(example));
        }
        let body = json!({
            "required": !operation.is_body_optional,
            "content": {"application/json": media},
        });
        put(&mut described, "requestBody", body);
    }
    described
}

fn parameters(bound: &Bound, schemas: &mut Schemas) -> Vec<Value> {
    let operation = &bound.operation;
    let mut parameters = Vec::new();
    let names: Vec<_> = bound
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .collect();
    for (index, name) in names.iter().enumerate() {
        let is_last = index + 1 == names.len();
        let schema = match operation.path.filter(|_| is_last) {
            Some(schema) => schemas.taken(schema),
            None => json!({"type": "string"}),
        };
        parameters.push(parameter(name, "path", true, schema));
    }
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(schemas.taken(query)));
    }
    for Parameter {
        place,
        name,
        description,
        schema,
        example,
    } in &operation.parameters
    {
        let place = match place {
            Place::Header => "header",
            Place::Query => "query",
        };
        let mut described = parameter(name, place, false, schemas.taken(*schema));
        put(&mut described, "description", *description);
        if let Some(example) = example {
            put(&mut described, "example", *example);
        }
        parameters.push(described);
    }
    for (name, description) in [
        (
            "Correlation-Id",
            "Your id of this request, 1 to 128 visible ASCII characters: kept with events and in \
             logs as `requestId`. One is made where there is none.",
        ),
        (
            "traceparent",
            "The trace that this request belongs to (W3C Trace Context).",
        ),
    ] {
        let mut described = parameter(name, "header", false, json!({"type": "string"}));
        put(&mut described, "description", description);
        parameters.push(described);
    }
    parameters
}

/// Each property of an object as a parameter.
fn query_parameters(mut schema: Value) -> Vec<Value> {
    let required: Vec<String> = schema
        .get("required")
        .and_then(|required| serde_json::from_value(required.clone()).ok())
        .unwrap_or_default();
    let Some(Value::Object(properties)) = schema.get_mut("properties").map(Value::take) else {
        return Vec::new();
    };
    properties
        .into_iter()
        .map(|(name, mut schema)| {
            // Absent is how a parameter is null.
            without_null(&mut schema);
            let described = schema
                .as_object_mut()
                .and_then(|schema| schema.remove("description"));
            let is_required = required.contains(&name);
            let mut parameter = parameter(&name, "query", is_required, schema);
            if let Some(description) = described {
                put(&mut parameter, "description", description);
            }
            parameter
        })
        .collect()
}

fn parameter(name: &str, place: &str, is_required: bool, schema: Value) -> Value {
    let mut parameter = json!({"name": name, "in": place, "schema": schema});
    if is_required {
        put(&mut parameter, "required", true);
    }
    parameter
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> BTreeMap<String, Value> {
    let mut responses = BTreeMap::new();
    for answer in &operation.answers {
        responses.insert(answer.status.to_string(), success(answer, schemas));
    }
    let mut failures: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    let everywhere = errors::EVERYWHERE
        .iter()
        .filter(|code| !(operation.always_admitted && **code == errors::OVERLOADED));
    for code in operation.codes.iter().chain(everywhere) {
        let codes = failures.entry(code.status).or_default();
        if !codes.contains(code) {
            codes.push(*code);
        }
    }
    for (status, codes) in failures {
        let failure = failure(status, &codes, schemas);
        match responses.get_mut(&status.to_string()) {
            // A status that is both: `/readyz` at 503.
            Some(success) => merge_content(success, &failure),
            None => {
                responses.insert(status.to_string(), failure);
            }
        }
    }
    responses
}

fn merge_content(success: &mut Value, failure: &Value) {
    if let (Some(Value::Object(into)), Some(Value::Object(from))) =
        (success.get_mut("content"), failure.get("content"))
    {
        into.extend(from.clone());
    }
}

fn success(answer: &Answer, schemas: &mut Schemas) -> Value {
    let mut headers = common_headers();
    for header in &answer.headers {
        let described = json!({
            "description": header.description,
            "required": header.is_always_there,
            "schema": {"type": "string"},
        });
        headers.insert(header.name.to_owned(), described);
    }
    let mut described = json!({"description": answer.description, "headers": headers});
    if let Some(media_type) = answer.media_type {
        let mut media = match answer.schema {
            Some(schema) => json!({"schema": schemas.answered(schema)}),
            None => json!({"schema": {"type": "string"}}),
        };
        if let Some(example) = answer.example {
            let example = match answer.schema {
                Some(_) => read_example(example),
                None => example.into(),
            };
            put(&mut media, "example", example);
        }
        let mut content = json!({media_type: media});
        for media_type in &answer.further_media_types {
            put(
                &mut content,
                media_type,
                json!({"schema": {"type": "string"}}),
            );
        }
        put(&mut described, "content", content);
    }
    described
}

fn failure(status: u16, codes: &[Code], schemas: &mut Schemas) -> Value {
    let problem = schemas.answered(super::schema_of::<ProblemDocument>);
    let names: Vec<_> = codes.iter().map(|code| code.code).collect();
    let description: Vec<_> = codes
        .iter()
        .map(|code| format!("- [`{0}`](/errors/{0}): {1}", code.code, code.title))
        .collect();
    let mut headers = common_headers();
    let says_when = |code: &Code| code.retryable && matches!(code.status, 429 | 503);
    if codes.iter().any(says_when) {
        let described = json!({
            "description": "After how many seconds to try again",
            "required": codes.iter().all(says_when),
            "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        });
        headers.insert("Retry-After".to_owned(), described);
    }
    if codes.contains(&errors::PRECONDITION_FAILED) {
        let described = json!({
            "description": "The revision of what there is, where there is anything",
            "required": false,
            "schema": {"type": "string"},
        });
        headers.insert("ETag".to_owned(), described);
    }
    json!({
        "description": description.join("\n"),
        "headers": headers,
        "content": {
            "application/problem+json": {
                "schema": {
                    "allOf": [problem],
                    "properties": {"code": {"enum": names}, "status": {"const": status}},
                },
            },
        },
    })
}

fn common_headers() -> Map<String, Value> {
    let header = |description| {
        json!({
            "description": description,
            "required": true,
            "schema": {"type": "string"},
        })
    };
    [
        (
            "Correlation-Id",
            "The id of this request: yours, or one that was made for it",
        ),
        (
            "traceparent",
            "The trace of this request, with the span that it had here",
        ),
    ]
    .map(|(name, description)| (name.to_owned(), header(description)))
    .into_iter()
    .collect()
}

fn put(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value.into());
    }
}

/// Examples are written as JSON; one that is not shows as text, and a test says so.
fn read_example(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| json.into())
}

/// A problem document (RFC 9457): how every request fails.
#[derive(JsonSchema)]
#[schemars(rename = "Problem", deny_unknown_fields)]
#[expect(dead_code, reason = "it is only described; `Problem` writes it")]
struct ProblemDocument {
    /// The address of the page about this code.
    #[schemars(rename = "type", regex(pattern = r"^/errors/[a-z-]+$"))]
    kind: String,
    /// What kind of problem it is, for a person; the same each time.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong this time, for a person.
    #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The path of the request.
    instance: String,
    /// What kind of problem it is, for a program; stable.
    code: String,
    /// That the same request under the same idempotency key may succeed.
    retryable: bool,
    /// What is wrong with each field, where fields are what is wrong.
    #[schemars(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<crate::problem::FieldError>,
}
