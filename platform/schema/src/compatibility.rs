//! What may change in a schema under the same name, and what needs a new version.
//!
//! The rule is *full and transitive* compatibility, as registries of schemas call it: every reader,
//! of whatever age, reads every byte that was ever written under the name, and reads it rightly.
//! A new reader meets old bytes for ever. An old one meets new bytes while processes are restarted
//! one by one, and outside of ours for as long as somebody's program is not rebuilt. See
//! `docs/decisions/0030-event-schemas.md`.
//!
//! So little may change: words, a new optional field where unknown ones are ignored, a choice
//! more where readers were told to expect that (`x-extensible`), and the mark of a secret on what
//! had none. [`check`] finds everything else. A keyword that it does not know may not change.

mod rule;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{DATA_OF, EXTENSIBLE, SECRET, referred};

pub use rule::Rule;

/// A change that needs a new version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// Which field: `lines[].unit_price.currency`; empty for the whole.
    pub path: String,
    /// Which rule it breaks.
    pub rule: Rule,
    /// What has changed, where the rule alone does not say it.
    pub detail: String,
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        write!(f, "{}: {}", self.rule.code(), self.rule.sentence())?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

/// What of a committed schema the present one breaks, in the order of the paths.
#[must_use]
pub fn check(committed: &Value, present: &Value) -> Vec<Breach> {
    let mut comparison = Comparison {
        committed,
        present,
        breaches: Vec::new(),
        under_way: Vec::new(),
    };
    comparison.compare(committed, present, "");
    let mut breaches = comparison.breaches;
    breaches.sort();
    breaches.dedup();
    breaches
}

/// Bounds from below: a higher one is narrower.
const LOWER_BOUNDS: &[&str] = &[
    "minimum",
    "exclusiveMinimum",
    "minLength",
    "minItems",
    "minProperties",
];

/// Bounds from above: a lower one is narrower.
const UPPER_BOUNDS: &[&str] = &[
    "maximum",
    "exclusiveMaximum",
    "maxLength",
    "maxItems",
    "maxProperties",
];

/// Keywords that say nothing about what is valid or what it means.
const WORDS: &[&str] = &[
    "$schema",
    "$id",
    "$defs",
    "$ref",
    "$comment",
    "title",
    "description",
    "examples",
];

/// Keywords that the comparison looks at by name.
const COMPARED: &[&str] = &[
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "oneOf",
    "anyOf",
    "enum",
    "const",
    "pattern",
    "format",
    "default",
    SECRET,
    DATA_OF,
    EXTENSIBLE,
];

struct Comparison<'a> {
    committed: &'a Value,
    present: &'a Value,
    breaches: Vec<Breach>,
    /// Pairs of named definitions whose comparison has begun.
    under_way: Vec<(Option<String>, Option<String>)>,
}

impl Comparison<'_> {
    fn breach(&mut self, path: &str, rule: Rule, detail: impl Into<String>) {
        self.breaches.push(Breach {
            path: path.to_owned(),
            rule,
            detail: detail.into(),
        });
    }

    fn compare(&mut self, old: &Value, new: &Value, path: &str) {
        let names = (
            reference(old).map(str::to_owned),
            reference(new).map(str::to_owned),
        );
        let named = names.0.is_some() && names.1.is_some();
        if named {
            // A type that holds itself is compared once.
            if self.under_way.contains(&names) {
                return;
            }
            self.under_way.push(names);
        }
        self.compare_content(old, new, path);
        if named {
            self.under_way.pop();
        }
    }

    fn compare_content(&mut self, old: &Value, new: &Value, path: &str) {
        let old = keywords(old, self.committed);
        let new = keywords(new, self.present);
        self.marks(&old, &new, path);
        let (old_choices, new_choices) =
            (choices(&old, self.committed), choices(&new, self.present));
        if old_choices.is_empty() && new_choices.is_empty() {
            self.types(&old, &new, path);
        } else {
            self.choices(&old_choices, &new_choices, is_true(&old, EXTENSIBLE), path);
        }
        self.fields(&old, &new, path);
        self.items(&old, &new, path);
        self.values(&old, &new, path);
    }

    /// What is secret, what data is of, what may grow.
    fn marks(&mut self, old: &Keywords, new: &Keywords, path: &str) {
        if is_true(old, SECRET) && !is_true(new, SECRET) {
            self.breach(path, Rule::SecretShown, "");
        }
        if old.get(DATA_OF) != new.get(DATA_OF) {
            self.breach(path, Rule::DataOfChanged, "");
        }
        if !is_true(old, EXTENSIBLE) && is_true(new, EXTENSIBLE) {
            self.breach(path, Rule::Opened, "");
        }
    }

    fn types(&mut self, old: &Keywords, new: &Keywords, path: &str) {
        let (before, after) = (old.get("type"), new.get("type"));
        if before != after {
            let name = |kind: Option<&Value>| kind.map_or_else(|| "anything".to_owned(), bare);
            let detail = format!("{} became {}", name(before), name(after));
            self.breach(path, Rule::TypeChanged, detail);
        }
    }

    fn choices(&mut self, old: &[Choice], new: &[Choice], extensible: bool, path: &str) {
        for choice in old {
            match new.iter().find(|other| other.name == choice.name) {
                Some(same) => {
                    if let (Some(before), Some(after)) = (&choice.schema, &same.schema) {
                        self.compare(before, after, path);
                    }
                }
                None => self.breach(path, Rule::ChoiceRemoved, choice.name.clone()),
            }
        }
        for choice in new {
            if old.iter().any(|other| other.name == choice.name) {
                continue;
            }
            if !extensible {
                self.breach(path, Rule::ChoiceAdded, choice.name.clone());
            } else if let Some(schema) = &choice.schema
                && holds_secret(schema, self.present, &mut Vec::new())
            {
                self.breach(path, Rule::SecretAdded, choice.name.clone());
            }
        }
    }

    fn fields(&mut self, old: &Keywords, new: &Keywords, path: &str) {
        let (before, after) = (properties(old), properties(new));
        let (old_required, new_required) = (required(old), required(new));
        let closed = old.get("additionalProperties") == Some(&Value::Bool(false));
        for (name, field) in &before {
            let at = join(path, name);
            let Some(same) = after.get(name) else {
                self.breach(&at, Rule::FieldRemoved, "");
                continue;
            };
            match (
                old_required.contains(&**name),
                new_required.contains(&**name),
            ) {
                (false, true) => self.breach(&at, Rule::FieldRequired, "it was optional"),
                (true, false) => self.breach(&at, Rule::FieldOptional, ""),
                _ => {}
            }
            self.compare(field, same, &at);
        }
        for (name, field) in &after {
            if before.contains_key(name) {
                continue;
            }
            let at = join(path, name);
            if new_required.contains(&**name) {
                self.breach(&at, Rule::FieldRequired, "it is new");
            }
            if closed {
                self.breach(&at, Rule::FieldUnexpected, "");
            }
            if holds_secret(field, self.present, &mut Vec::new()) {
                self.breach(&at, Rule::SecretAdded, "");
            }
        }
        let open = |keywords: &Keywords| match keywords.get("additionalProperties") {
            Some(Value::Object(_)) => "of one kind",
            Some(Value::Bool(false)) => "refused",
            _ => "ignored",
        };
        if open(old) != open(new) {
            let detail = format!("{} became {}", open(old), open(new));
            self.breach(path, Rule::OpennessChanged, detail);
        }
        if let (Some(before @ Value::Object(_)), Some(after @ Value::Object(_))) = (
            old.get("additionalProperties"),
            new.get("additionalProperties"),
        ) {
            self.compare(before, after, &join(path, "*"));
        }
    }

    fn items(&mut self, old: &Keywords, new: &Keywords, path: &str) {
        let at = format!("{path}[]");
        match (old.get("items"), new.get("items")) {
            (Some(before), Some(after)) => self.compare(before, after, &at),
            (None, None) => {}
            _ => self.breach(&at, Rule::TypeChanged, "items"),
        }
    }

    /// Bounds, patterns, defaults, and what no rule speaks of.
    fn values(&mut self, old: &Keywords, new: &Keywords, path: &str) {
        for (bounds, narrower_is_less) in [(LOWER_BOUNDS, false), (UPPER_BOUNDS, true)] {
            for bound in bounds {
                let (before, after) = (number(old, bound), number(new, bound));
                let narrower = match (before, after) {
                    (None, None) => continue,
                    (None, Some(_)) => true,
                    (Some(_), None) => false,
                    (Some(before), Some(after)) if before == after => continue,
                    (Some(before), Some(after)) => (after < before) == narrower_is_less,
                };
                let rule = if narrower {
                    Rule::Narrowed
                } else {
                    Rule::Widened
                };
                let say = |bound: Option<f64>| {
                    bound.map_or_else(|| "none".to_owned(), |bound| bound.to_string())
                };
                let detail = format!("{bound}: {} became {}", say(before), say(after));
                self.breach(path, rule, detail);
            }
        }
        for keyword in ["pattern", "format"] {
            if old.get(keyword) != new.get(keyword) {
                self.breach(path, Rule::FormatChanged, keyword);
            }
        }
        if old.get("default") != new.get("default") {
            self.breach(path, Rule::DefaultChanged, "");
        }
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let known = [WORDS, COMPARED, LOWER_BOUNDS, UPPER_BOUNDS]
                .iter()
                .any(|known| known.contains(&&**name));
            if !known && old.get(name) != new.get(name) {
                self.breach(path, Rule::NotCovered, name.clone());
            }
        }
    }
}

type Keywords = Map<String, Value>;

/// The most references that lead on to another one.
const MAX_REFERENCES: usize = 16;

/// What a schema says, with what it refers to; its own words come first.
fn keywords(schema: &Value, root: &Value) -> Keywords {
    let mut keywords = schema.as_object().cloned().unwrap_or_default();
    let mut definition = reference(schema).and_then(|name| referred(root, name));
    // A chain of references ends, or it is a circle and says nothing.
    for _ in 0..MAX_REFERENCES {
        let Some(found) = definition else { break };
        for (name, value) in found.as_object().into_iter().flatten() {
            keywords
                .entry(name.clone())
                .or_insert_with(|| value.clone());
        }
        definition = reference(found).and_then(|name| referred(root, name));
    }
    keywords
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()
}

fn is_true(keywords: &Keywords, name: &str) -> bool {
    keywords.get(name) == Some(&Value::Bool(true))
}

fn number(keywords: &Keywords, name: &str) -> Option<f64> {
    keywords.get(name)?.as_f64()
}

fn properties(keywords: &Keywords) -> Keywords {
    let properties = keywords.get("properties").and_then(Value::as_object);
    properties.cloned().unwrap_or_default()
}

fn required(keywords: &Keywords) -> BTreeSet<&str> {
    let required = keywords.get("required").and_then(Value::as_array);
    required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// One of several that a value may be.
struct Choice {
    /// What tells it apart: a constant, the value of a tag, the name of the only field, a type.
    name: String,
    /// What else is said of it.
    schema: Option<Value>,
}

fn choices(keywords: &Keywords, root: &Value) -> Vec<Choice> {
    let constant = |value: &Value| Choice {
        name: value.to_string(),
        schema: None,
    };
    if let Some(value) = keywords.get("const") {
        return vec![constant(value)];
    }
    if let Some(values) = keywords.get("enum").and_then(Value::as_array) {
        return values.iter().map(constant).collect();
    }
    let branches = keywords.get("oneOf").or_else(|| keywords.get("anyOf"));
    if let Some(branches) = branches.and_then(Value::as_array) {
        return branches
            .iter()
            .map(|branch| Choice {
                name: told_apart_by(branch, root),
                schema: Some(branch.clone()),
            })
            .collect();
    }
    // `"type": ["string", "null"]`; what else is said stands beside it.
    let types = keywords.get("type").and_then(Value::as_array);
    types
        .into_iter()
        .flatten()
        .map(|kind| Choice {
            name: bare(kind),
            schema: None,
        })
        .collect()
}

fn told_apart_by(branch: &Value, root: &Value) -> String {
    let branch = keywords(branch, root);
    if let Some(value) = branch.get("const") {
        return value.to_string();
    }
    let properties = properties(&branch);
    let tag = required(&branch).into_iter().find_map(|name| {
        let value = properties.get(name)?.get("const")?;
        Some(format!("{name}: {value}"))
    });
    let only = (properties.len() == 1)
        .then(|| properties.keys().next().cloned())
        .flatten();
    tag.or(only).unwrap_or_else(|| {
        branch
            .get("type")
            .map_or_else(|| "anything".to_owned(), bare)
    })
}

/// Whether a value of this schema may hold a secret.
fn holds_secret(schema: &Value, root: &Value, within: &mut Vec<String>) -> bool {
    match schema {
        Value::Object(fields) => {
            if fields.get(SECRET) == Some(&Value::Bool(true)) {
                return true;
            }
            if let Some(name) = reference(schema)
                && !within.iter().any(|outer| outer == name)
            {
                within.push(name.to_owned());
                let below = referred(root, name);
                if below.is_some_and(|below| holds_secret(below, root, within)) {
                    return true;
                }
            }
            fields
                .iter()
                .filter(|(name, _)| *name != "$defs")
                .any(|(_, value)| holds_secret(value, root, within))
        }
        Value::Array(values) => values.iter().any(|value| holds_secret(value, root, within)),
        _ => false,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Text without its quotes, anything else as JSON.
fn bare(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
