//! Stored bytes of the views' events stay readable for ever: as `domain/tests/vectors.rs` holds
//! those of the business. A vector is never edited.

use std::{collections::BTreeSet, fs, path::Path};

use recourse_views::rebuild::Event;
use serde_json::{Value, json};

#[test]
fn every_event_of_a_view_that_was_ever_written_is_read_and_written_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut stored = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let content: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let whole = json!({&name: content});
        let read: Event = serde_json::from_value(whole.clone())
            .unwrap_or_else(|error| panic!("{name} cannot be read: {error}"));
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written, whole, "{name} is written otherwise than it was");
        stored.insert(name);
    }
    // Serde names the variants where it is given another.
    let Err(error) = serde_json::from_value::<Event>(json!({"": {}})) else {
        panic!("no variant has an empty name");
    };
    let text = error.to_string();
    let parts = text.split('`').filter(|part| part.contains('.'));
    let known: BTreeSet<String> = parts.map(str::to_owned).collect();
    assert_eq!(stored, known, "an event without a vector, or the reverse");
}
