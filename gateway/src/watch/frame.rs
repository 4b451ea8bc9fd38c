//! Server-Sent Events as bytes, <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! What is sent is JSON on one line, so that a block never needs more than one `data:`.

use bytes::Bytes;
use recourse_event_store::Position;

/// The event's name of a saga's representation.
pub(super) const SAGA: &str = "saga";
/// The event's name that says that the position to resume from is gone.
const RESET: &str = "reset";

/// One block for a watcher, shared by all who get the same.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Everything up to here is sent with it.
    pub(super) position: Position,
    /// The block, its empty line included.
    pub(super) bytes: Bytes,
    /// That nothing follows it.
    pub(super) is_last: bool,
}

/// A block with data. `name` is none for what a plain `message` listener is to get.
pub(super) fn block(name: Option<&str>, id: &str, json: &[u8]) -> Bytes {
    let mut block = Vec::with_capacity(json.len() + id.len() + 32);
    if let Some(name) = name {
        push(&mut block, "event", name.as_bytes());
    }
    push(&mut block, "id", id.as_bytes());
    push(&mut block, "data", json);
    block.push(b'\n');
    block.into()
}

/// A block that moves the reader's last event id and dispatches nothing, which is what the
/// standard makes of a block without data. A comment would carry no id.
pub(super) fn considered(id: &str) -> Bytes {
    format!("id: {id}\n\n").into()
}

/// What a stream opens with: how long to wait before a reconnect, and where it begins.
pub(super) fn opening(retry_ms: u64, id: Option<&str>) -> Bytes {
    match id {
        Some(id) => format!("retry: {retry_ms}\nid: {id}\n\n").into(),
        None => format!("retry: {retry_ms}\n\n").into(),
    }
}

/// What a reader held is void; the stream goes on after `id`.
pub(super) fn reset(id: &str, reason: &str) -> Bytes {
    // Neither a position nor a reason of ours needs escaping.
    let json = format!(r#"{{"reason":"{reason}","position":"{id}"}}"#);
    block(Some(RESET), id, json.as_bytes())
}

/// Nothing more will come.
pub(super) fn end() -> Bytes {
    Bytes::from_static(b"event: end\ndata: {}\n\n")
}

fn push(block: &mut Vec<u8>, field: &str, value: &[u8]) {
    block.extend_from_slice(field.as_bytes());
    block.extend_from_slice(b": ");
    block.extend_from_slice(value);
    block.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_the_standard_has_them() {
        assert_eq!(
            &*block(Some(SAGA), "7-9f3a2c41", br#"{"a":1}"#),
            b"event: saga\nid: 7-9f3a2c41\ndata: {\"a\":1}\n\n"
        );
        assert_eq!(&*block(None, "7-x", b"1"), b"id: 7-x\ndata: 1\n\n");
        assert_eq!(&*considered("7-x"), b"id: 7-x\n\n");
        assert_eq!(&*opening(5, Some("7-x")), b"retry: 5\nid: 7-x\n\n");
        assert_eq!(&*opening(5, None), b"retry: 5\n\n");
        assert_eq!(
            &*reset("7-x", "another-log"),
            b"event: reset\nid: 7-x\ndata: {\"reason\":\"another-log\",\"position\":\"7-x\"}\n\n"
        );
        assert_eq!(&*end(), b"event: end\ndata: {}\n\n");
    }
}
