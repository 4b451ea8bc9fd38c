//! What a collection holds, as BSON.

use mongodb::bson::{Bson, Document, doc};
use recourse_event_store::{LogId, Position};

use super::{queries, server::Failure};
use crate::{
    Checkpoint,
    documents::{self, Collection, Value},
};

/// The id of the checkpoint: a number, so no document has it, and before all of theirs.
pub(super) const CHECKPOINT: i32 = 0;

/// All of a document but its id: one field, so that one comparison decides about it.
pub(super) const STATE: &str = "state";

/// The position that a document is folded up to, as text that sorts as positions do. The first
/// in a state, which servers compare field by field: the further one is the greater.
const AT: &str = "at";

/// Whether it is there, which one that was deleted is not.
const LIVE: &str = "live";

/// The log of that position, and the event there.
const LOG: &str = "log";
const EVENT: &str = "event";

/// The row, where BSON gives it back as it was.
const ROW: &str = "row";

/// The row as text, where it does not.
const TEXT: &str = "text";

/// A position as text that sorts as positions do: both its numbers with all their zeros.
pub(super) fn sortable(position: Position) -> String {
    format!("{:020}.{:020}", position.commit, position.prepare)
}

fn position_of(text: &str) -> Option<Position> {
    let (commit, prepare) = text.split_once('.')?;
    Some(Position {
        commit: commit.parse().ok()?,
        prepare: prepare.parse().ok()?,
    })
}

/// The fields that say which checkpoint something belongs to.
pub(super) fn checkpoint(checkpoint: &Checkpoint) -> Document {
    let mut fields = doc! {
        AT: sortable(checkpoint.position),
        LOG: checkpoint.log.to_string(),
    };
    // Always there, so that a condition can name it.
    let event = checkpoint.event_id.map(|id| id.to_string());
    fields.insert(EVENT, event);
    fields
}

/// Reads [`checkpoint`] back.
pub(super) fn checkpoint_of(fields: &Document) -> Result<Checkpoint, Failure> {
    let damaged = || Failure::Damaged(format!("the checkpoint {fields} cannot be read"));
    let text = |name| fields.get_str(name).map_err(|_| damaged());
    let event_id = match fields.get(EVENT) {
        None | Some(Bson::Null) => None,
        Some(Bson::String(id)) => Some(id.parse().map_err(|_| damaged())?),
        Some(_) => return Err(damaged()),
    };
    Ok(Checkpoint {
        log: LogId(text(LOG)?.parse().map_err(|_| damaged())?),
        position: position_of(text(AT)?).ok_or_else(damaged)?,
        event_id,
    })
}

/// The checkpoint that a document is folded up to.
pub(super) fn folded_to(document: &Document) -> Result<Checkpoint, Failure> {
    match document.get_document(STATE) {
        Ok(state) => checkpoint_of(state),
        Err(_) => Err(Failure::Damaged("a document has no state".to_owned())),
    }
}

/// The state of a document as it is kept.
pub(super) fn document(
    collection: &Collection,
    at: &Checkpoint,
    json: &str,
    fields: Vec<Option<Value>>,
) -> Document {
    let mut document = checkpoint(at);
    document.insert(LIVE, true);
    for (index, value) in collection.indexes.iter().zip(fields) {
        let value = match value {
            Some(Value::Integer(number)) => Bson::Int64(number),
            Some(Value::Text(text)) => Bson::String(text),
            None => continue,
        };
        document.insert(queries::name(index.path), value);
    }
    match row(json) {
        Some(row) => document.insert(ROW, row),
        None => document.insert(TEXT, json),
    };
    document
}

/// The state of a document that was deleted.
pub(super) fn deleted(at: &Checkpoint) -> Document {
    let mut document = checkpoint(at);
    document.insert(LIVE, false);
    document
}

/// A document as it was kept.
pub(super) struct Kept {
    pub(super) id: String,
    pub(super) at: Position,
    /// None where it was deleted.
    pub(super) json: Option<String>,
}

/// Reads [`document`] or [`deleted`] back.
pub(super) fn kept(document: &Document) -> Result<Kept, Failure> {
    let damaged = |what: &str| Failure::Damaged(format!("{what} of a document cannot be read"));
    let id = document.get_str("_id").map_err(|_| damaged("the id"))?;
    let state = document.get_document(STATE);
    let state = state.map_err(|_| damaged("the state"))?;
    let at = state.get_str(AT).ok().and_then(position_of);
    let json = match (state.get_bool(LIVE), state.get(ROW)) {
        (Ok(false), _) => None,
        (Ok(true), Some(row)) => Some(serde_json::to_string(row).map_err(|_| damaged("the row"))?),
        (Ok(true), None) => {
            let text = state.get_str(TEXT).map_err(|_| damaged("the row"))?;
            Some(text.to_owned())
        }
        (Err(_), _) => return Err(damaged("the state")),
    };
    Ok(Kept {
        id: id.to_owned(),
        at: at.ok_or_else(|| damaged("the position"))?,
        json,
    })
}

/// The text as BSON, so that people find their way in it; none where BSON would not give it back
/// to the letter, or a server may not take it.
fn row(json: &str) -> Option<Document> {
    let row: Document = serde_json::from_str(json).ok()?;
    let is_same = serde_json::to_string(&row).is_ok_and(|text| text == json);
    (is_same && row.iter().all(is_plain)).then_some(row)
}

/// Whether a field's name, and those within it, mean nothing to a server.
fn is_plain((name, value): (&String, &Bson)) -> bool {
    let is_plain_value = |value: &Bson| match value {
        Bson::Document(inner) => inner.iter().all(is_plain),
        Bson::Array(values) => values.iter().all(is_plain_item),
        _ => true,
    };
    !name.is_empty() && !name.contains(['$', '.', '\0']) && is_plain_value(value)
}

fn is_plain_item(value: &Bson) -> bool {
    match value {
        Bson::Document(inner) => inner.iter().all(is_plain),
        Bson::Array(values) => values.iter().all(is_plain_item),
        _ => true,
    }
}

/// What of a collection its indexes depend on.
pub(super) fn definition(collection: &Collection) -> String {
    let mut text = collection.table();
    for index in collection.indexes {
        text.push_str(&format!(" {}:{:?}", index.path, index.kind));
    }
    text.push_str(&format!(
        " newest first by {:?}",
        collection.newest_first_by
    ));
    text
}

/// A failure as the port has it.
pub(super) fn port_error(collection: &Collection, failure: &Failure) -> documents::Error {
    match failure {
        Failure::Damaged(what) | Failure::NotTaken(what) => documents::Error::Damaged {
            collection: collection.table(),
            id: "of a call".to_owned(),
            what: what.clone(),
        },
        Failure::Said(_) | Failure::TooLate { .. } | Failure::NotKept(_) => {
            documents::Error::Unavailable(failure.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_sort_as_text_as_they_do_as_positions() {
        let mut positions = [0, 1, 9, 10, 11, 99, 100, u64::MAX]
            .map(Position::dense)
            .to_vec();
        positions.push(Position {
            commit: 100,
            prepare: 99,
        });
        positions.sort();
        let texts: Vec<String> = positions.iter().copied().map(sortable).collect();
        assert!(texts.is_sorted(), "{texts:?}");
        for (position, text) in positions.iter().zip(&texts) {
            assert_eq!(position_of(text), Some(*position));
        }
    }

    #[test]
    fn a_row_is_kept_as_bson_where_that_gives_it_back_to_the_letter() {
        let at = crate::conformance::checkpoint(7);
        let collection = crate::conformance::documents::SAMPLE;
        for (json, as_bson) in [
            (
                r#"{"b":1,"a":[{"x":-7,"y":null}],"c":true,"d":"☕ \"q\""}"#,
                true,
            ),
            (r#"{"a":9007199254740993}"#, true),
            (r#"{"a":1.5}"#, true),
            // Another order, another space, another way to write it, a number that is too large.
            (r#"{"a": 1}"#, false),
            (r#"{"a":"\u0061"}"#, false),
            (r#"{"a":1.50}"#, false),
            (r#"{"a":18446744073709551615}"#, false),
            // What a server takes for its own.
            (r#"{"$a":1}"#, false),
            (r#"{"m":{"tea.1":1}}"#, false),
            (r#"{"m":[[{"":1}]]}"#, false),
            // What has a type of its own there.
            (r#"{"a":{"$oid":"0123456789abcdef01234567"}}"#, true),
            (r#"{"a":1,"a":2}"#, false),
        ] {
            let state = document(&collection, &at, json, vec![]);
            assert_eq!(state.contains_key(ROW), as_bson, "{json}");
            assert_eq!(state.keys().next().unwrap(), AT);
            let document = doc! { "_id": "a", STATE: state };
            // As over the wire.
            let bytes = document.to_vec().unwrap();
            let kept = kept(&Document::from_reader(&*bytes).unwrap()).unwrap();
            assert_eq!(kept.json.as_deref(), Some(json));
            assert_eq!(kept.at, at.position);
        }
    }
}
