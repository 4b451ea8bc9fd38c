//! Stored bytes stay readable for ever.
//!
//! `vectors/` holds one JSON content per type, as an earlier build wrote it: events, and the
//! commands that sagas keep in their own events. A vector is never edited; a content that
//! changes is a new version, with a vector of its own.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail by panic, as the test itself does"
)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use recourse_domain::{order, payment, product, stock};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "vectors"]
        .iter()
        .collect()
}

/// The types that an enum knows: serde names them where it is given another.
fn types<T: DeserializeOwned>() -> BTreeSet<String> {
    let Err(error) = serde_json::from_value::<T>(json!({"": {}})) else {
        panic!("no variant has an empty name");
    };
    let text = error.to_string();
    let types: BTreeSet<String> = text
        .split('`')
        .filter(|part| part.contains('.'))
        .map(str::to_owned)
        .collect();
    assert!(!types.is_empty(), "{text}");
    types
}

fn hold<T: Serialize + DeserializeOwned>() -> BTreeSet<String> {
    let types = types::<T>();
    for name in &types {
        let file = folder().join(format!("{name}.json"));
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let stored = json!({name: serde_json::from_slice::<Value>(&bytes).unwrap()});
        let read: T = serde_json::from_value(stored.clone())
            .unwrap_or_else(|error| panic!("{name} cannot be read: {error}"));
        assert_eq!(
            serde_json::to_value(&read).unwrap(),
            stored,
            "{name} is written otherwise than it was"
        );
    }
    types
}

#[test]
fn every_event_and_command_that_was_ever_written_is_read_and_written_the_same() {
    let mut known = BTreeSet::new();
    known.extend(hold::<order::Event>());
    known.extend(hold::<payment::Event>());
    known.extend(hold::<stock::Event>());
    known.extend(hold::<product::Event>());
    known.extend(hold::<order::Command>());
    known.extend(hold::<payment::Command>());
    known.extend(hold::<stock::Command>());
    known.extend(hold::<product::Command>());
    let stored: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
        .collect();
    assert_eq!(stored, known, "a vector whose type nobody reads any more");
}

/// Fields that came later, and are absent where there is nothing to say.
#[test]
fn what_is_absent_is_read_as_its_default() {
    let event: payment::Event = serde_json::from_value(json!({
        "payment.declined.v1": {"code": "payment-declined", "detail": "no"}
    }))
    .unwrap();
    let (_, declined) = event.outcome().unwrap();
    assert!(!declined.unwrap().is_final);
}

#[test]
fn what_no_rule_would_write_is_not_read() {
    for (name, content) in [
        (
            "stock.released.v1",
            json!({"hold": {"saga": "x", "line": 0}, "sku": "tea-1", "quantity": 1}),
        ),
        (
            "stock.adjusted.v1",
            json!({"sku": "-tea", "delta": 1, "reason": "counted"}),
        ),
        (
            "stock.received.v1",
            json!({"sku": "tea-1", "quantity": 0, "reference": "a"}),
        ),
        (
            "stock.received.v1",
            json!({"sku": "tea-1", "quantity": 1.5, "reference": "a"}),
        ),
        (
            "stock.received.v1",
            json!({"sku": "tea-1", "quantity": -1, "reference": "a"}),
        ),
        (
            "stock.received.v1",
            json!({"sku": "tea-1", "quantity": 1_000_000_001, "reference": "a"}),
        ),
    ] {
        assert!(serde_json::from_value::<stock::Event>(json!({name: content})).is_err());
    }
}
