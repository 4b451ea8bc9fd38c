//! What the tests here share: events, appends, and a small store.

use std::sync::Arc;

use uuid::Uuid;

use super::super::{Options, Store};
use crate::{
    Append, AppendError, Appended, Direction, EventStore, ExpectedRevision, Filter, NewEvent,
    Position, Read, RecordedEvent, StreamName, Visibility,
};

/// A small store: several segments after a few dozen events.
pub(super) fn small(directory: impl Into<std::path::PathBuf>) -> Options {
    Options {
        segment_bytes: 8192,
        max_append_bytes: 2048,
        max_unsynced_bytes: 16 * 1024,
        tail_bytes: 4096,
        max_tail_bytes: 4096,
        checkpoint_bytes: 1 << 40,
        max_open_segments: 2,
        ..Options::new(directory)
    }
}

/// The `number`th event of a test, with `bytes` of data that follow from it.
pub(super) fn event(number: u64, bytes: usize) -> NewEvent {
    let data: Vec<u8> = (0..bytes)
        .map(|at| b'a' + ((number as usize + at) % 26) as u8)
        .collect();
    NewEvent::raw(
        Uuid::from_u128(u128::from(number) + 1),
        "test.happened.v1",
        data,
        format!("{{\"n\":{number}}}").into_bytes(),
    )
}

pub(super) fn to(stream: &str, expected: ExpectedRevision, events: Vec<NewEvent>) -> Append {
    Append {
        stream: StreamName::parse(stream).unwrap(),
        expected,
        events,
    }
}

pub(super) async fn append_one(store: &Store, append: Append) -> Result<Appended, AppendError> {
    store.append(vec![append]).await.pop().unwrap()
}

/// The whole log as a reader sees it, read forward.
pub(super) async fn all(store: &Store, visibility: Visibility) -> Vec<Arc<RecordedEvent>> {
    let mut events = Vec::new();
    let mut from = Position::START;
    loop {
        let batch = store
            .read_all(Read {
                from: Some(from),
                direction: Direction::Forward,
                visibility,
                filter: Filter::All,
                max_events: 7,
            })
            .await
            .unwrap();
        events.extend(batch.events);
        from = batch.considered;
        if batch.at_end {
            return events;
        }
    }
}

pub(super) async fn stream(store: &Store, name: &str) -> Vec<Arc<RecordedEvent>> {
    store
        .read_stream(
            &StreamName::parse(name).unwrap(),
            None,
            Direction::Forward,
            Visibility::Appended,
            usize::MAX,
        )
        .await
        .unwrap()
}

/// Runs the store's work until there is none.
pub(super) fn settle(store: &Store) {
    while store.step().unwrap() {}
}
