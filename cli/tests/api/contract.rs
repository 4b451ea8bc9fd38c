//! The contract that the server publishes, held against every answer that these tests see.

use std::{net::SocketAddr, sync::OnceLock};

use serde_json::Value;

use crate::client::{Answer, exchange};

static CONTRACT: OnceLock<Contract> = OnceLock::new();

/// What `/openapi.json` promises.
pub(crate) struct Contract {
    pub(crate) document: Value,
}

/// An operation at its address.
#[derive(Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) value: &'a Value,
}

impl<'a> Operation<'a> {
    pub(crate) fn id(&self) -> &'a str {
        self.value["operationId"].as_str().unwrap()
    }

    /// The codes that it may fail with at this status.
    pub(crate) fn codes(&self, status: u16) -> Vec<&'a str> {
        let response = &self.value["responses"][status.to_string()];
        let codes = response
            .pointer("/content/application~1problem+json/schema/properties/code/enum")
            .and_then(Value::as_array);
        codes
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// Whether it has an answer of its own at this status, beside problems.
    pub(crate) fn answers_itself(&self, status: u16) -> bool {
        let content = &self.value["responses"][status.to_string()]["content"];
        content.as_object().is_none_or(|content| {
            content
                .keys()
                .any(|kind| kind != "application/problem+json")
        })
    }
}

/// Reads the contract of a server that has just been started; all servers of a run have the
/// same.
pub(crate) fn learn(address: SocketAddr) -> &'static Contract {
    CONTRACT.get_or_init(|| {
        let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        Contract {
            document: exchange(address, request).expect(200).json(),
        }
    })
}

/// Holds an answer against the contract, once it is known.
#[track_caller]
pub(crate) fn hold(method: &str, target: &str, answer: &Answer) {
    if let Some(contract) = CONTRACT.get() {
        contract.hold(method, target, answer);
    }
}

impl Contract {
    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.document["paths"].as_object().unwrap();
        let mut operations = Vec::new();
        for (path, methods) in paths {
            for (method, value) in methods.as_object().unwrap() {
                operations.push(Operation {
                    method,
                    path,
                    value,
                });
            }
        }
        operations
    }

    /// Which operation a request is for. What is spelled out is meant before what is not.
    fn operation(&self, method: &str, target: &str) -> Option<Operation<'_>> {
        let path = target.split('?').next().unwrap();
        let fits = |template: &str| {
            let (template, path) = (template.split('/'), path.split('/'));
            template.clone().count() == path.clone().count()
                && template.zip(path).all(|(part, given)| {
                    part == given || (part.starts_with('{') && !given.is_empty())
                })
        };
        let mut operations = self.operations();
        operations.retain(|operation| {
            operation.method.eq_ignore_ascii_case(method) && fits(operation.path)
        });
        operations
            .into_iter()
            .min_by_key(|operation| operation.path.matches('{').count())
    }

    #[track_caller]
    fn hold(&self, method: &str, target: &str, answer: &Answer) {
        let Some(operation) = self.operation(method, target) else {
            // The document says nothing of other addresses: there is nothing there.
            return;
        };
        let id = operation.value["operationId"].as_str().unwrap();
        let about = || format!("{id} {method} {target}: {answer:#?}");
        let response = &operation.value["responses"][answer.status.to_string()];
        assert!(response.is_object(), "an undeclared status\n{}", about());
        for (name, header) in response["headers"].as_object().unwrap() {
            assert!(
                header["required"] != true || answer.header(&name.to_lowercase()).is_some(),
                "no header {name}\n{}",
                about()
            );
        }
        for name in answer.header_names() {
            let is_everywhere = [
                "content-type",
                "content-length",
                "content-security-policy",
                "transfer-encoding",
                "connection",
                "date",
                "cache-control",
                "x-content-type-options",
            ]
            .contains(&name);
            let is_declared = response["headers"]
                .as_object()
                .unwrap()
                .keys()
                .any(|declared| declared.eq_ignore_ascii_case(name));
            assert!(
                is_everywhere || is_declared,
                "the header {name} is undeclared\n{}",
                about()
            );
        }
        let media_type = answer.header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap();
        let Some(content) = response["content"].as_object() else {
            assert_eq!(answer.text, "", "an undeclared body\n{}", about());
            return;
        };
        let media = content.get(media_type);
        let media = media.unwrap_or_else(|| panic!("an undeclared media type\n{}", about()));
        if media_type.ends_with("json") {
            let body = answer.json();
            let wrong = self.check(&media["schema"], &body);
            assert!(wrong.is_empty(), "{wrong:#?}\n{}", about());
        }
    }

    /// What is wrong with a value, by a schema.
    pub(crate) fn check(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        self.walk(schema, value, "#", &mut wrong);
        wrong
    }

    /// The part of JSON Schema that the document is written in; another keyword is an error
    /// here, so that none is passed over. Patterns are left to the fuzzer in CI.
    fn walk(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let Some(schema) = schema.as_object() else {
            if schema == &Value::Bool(false) {
                wrong.push(format!("{at}: {value} may not be there"));
            }
            return;
        };
        let number = value.as_f64();
        let chars = value.as_str().map(|text| text.chars().count() as u64);
        let items = value.as_array().map(|items| items.len() as u64);
        for (keyword, rule) in schema {
            let bound = rule.as_f64().unwrap_or_default();
            let count = rule.as_u64().unwrap_or_default();
            let holds = match keyword.as_str() {
                "description" | "title" | "example" | "examples" | "default" | "writeOnly"
                | "pattern" => true,
                "type" => match rule {
                    Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, value)),
                    kind => is_of(kind, value),
                },
                "format" => value.as_str().is_none_or(|text| has_format(rule, text)),
                "enum" => rule.as_array().unwrap().contains(value),
                "const" => rule == value,
                "minimum" => number.is_none_or(|number| number >= bound),
                "maximum" => number.is_none_or(|number| number <= bound),
                "minLength" => chars.is_none_or(|chars| chars >= count),
                "maxLength" => chars.is_none_or(|chars| chars <= count),
                "minItems" => items.is_none_or(|items| items >= count),
                "maxItems" => items.is_none_or(|items| items <= count),
                "required" => {
                    let names = rule.as_array().unwrap();
                    let is_there = |name: &Value| value.get(name.as_str().unwrap()).is_some();
                    !value.is_object() || names.iter().all(is_there)
                }
                "additionalProperties" => {
                    let declared = |name: &String| {
                        let properties = schema.get("properties");
                        properties.is_some_and(|properties| properties.get(name).is_some())
                    };
                    let given = value.as_object().into_iter().flatten();
                    for (name, value) in given.filter(|(name, _)| !declared(name)) {
                        self.walk(rule, value, &format!("{at}/{name}"), wrong);
                    }
                    true
                }
                "$ref" => {
                    let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                    let target = self.document.pointer(pointer).expect("a known schema");
                    self.walk(target, value, at, wrong);
                    true
                }
                "properties" => {
                    for (name, rule) in rule.as_object().unwrap() {
                        if let Some(value) = value.get(name) {
                            self.walk(rule, value, &format!("{at}/{name}"), wrong);
                        }
                    }
                    true
                }
                "items" => {
                    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.walk(rule, value, &format!("{at}/{index}"), wrong);
                    }
                    true
                }
                "allOf" => {
                    for rule in rule.as_array().unwrap() {
                        self.walk(rule, value, at, wrong);
                    }
                    true
                }
                "oneOf" | "anyOf" => {
                    let fits = |rule: &&Value| self.check(rule, value).is_empty();
                    let count = rule.as_array().unwrap().iter().filter(fits).count();
                    count == 1 || (keyword == "anyOf" && count > 1)
                }
                // Ours: they say how a value is treated, not which are valid.
                "x-extensible" | "x-secret" => true,
                _ => panic!("{at}: the keyword {keyword} is not understood here"),
            };
            if !holds {
                wrong.push(format!("{at}: {value} does not hold {keyword} {rule}"));
            }
        }
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not understood here"),
    }
}

fn has_format(format: &Value, text: &str) -> bool {
    match format.as_str().unwrap() {
        "uuid" => uuid::Uuid::parse_str(text).is_ok_and(|id| id.to_string() == text),
        "date-time" => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
        // How wide a number is in Rust.
        _ => true,
    }
}
