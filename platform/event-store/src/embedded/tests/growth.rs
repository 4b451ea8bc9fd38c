//! How large a log is, how fast it grows, and the room for it.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    super::{Options, Store, disk::Space},
    crash_disk::CrashDisk,
    world::{append_one, settle, small, to},
};
use crate::{ExpectedRevision, NewEvent, Position};

fn at(second: u64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(second.cast_signed())
}

/// A log with an event each second from 1 on, as small as may be or so large that it has many
/// marks; and where each event ends.
async fn log_of(disk: &CrashDisk, seconds: u64, bytes: usize) -> (Store, Vec<u64>) {
    let options = Options {
        segment_bytes: 256 * 1024,
        max_append_bytes: 64 * 1024,
        tail_bytes: 0,
        ..small("growth")
    };
    let store = Store::open_by_hand(Arc::new(disk.clone()), options).unwrap();
    settle(&store);
    let mut ends = vec![0];
    for second in 1..=seconds {
        let metadata = serde_json::json!({"recordedAt": at(second)}).to_string();
        let id = Uuid::from_u128(second.into());
        let event = NewEvent::raw(id, "test.happened.v1", vec![b'x'; bytes], metadata);
        append_one(&store, to("order-1", ExpectedRevision::Any, vec![event]))
            .await
            .unwrap();
        settle(&store);
        ends.push(store.size().bytes);
    }
    (store, ends)
}

#[tokio::test]
async fn growth_is_what_the_events_since_then_take() {
    for (seconds, bytes) in [(5, 10), (120, 3_000), (700, 1_500)] {
        let (store, ends) = log_of(&CrashDisk::default(), seconds, bytes).await;
        let end = *ends.last().unwrap();
        assert_eq!(store.size().position, Position::dense(seconds));
        for since in [0, 1, 2, seconds / 3, seconds / 2, seconds - 1, seconds] {
            let grown = store.growth_since(at(since)).unwrap();
            let first = since.max(1);
            assert_eq!(grown.events, seconds - first + 1, "{since} of {seconds}");
            assert_eq!(grown.from, at(first));
            // From the event itself on: its group's header is before it, and a segment's too.
            let whole = end - ends[usize::try_from(first).unwrap() - 1];
            assert!((whole - 128..=whole).contains(&grown.bytes), "{grown:?}");
        }
        let grown = store.growth_since(at(seconds + 1)).unwrap();
        assert_eq!((grown.events, grown.bytes), (0, 0));
    }
}

#[tokio::test]
async fn an_empty_log_has_not_grown() {
    let (store, _) = log_of(&CrashDisk::default(), 0, 0).await;
    assert_eq!(store.size().bytes, 0);
    assert_eq!(store.growth_since(at(5)).unwrap().events, 0);
}

#[tokio::test]
async fn the_room_is_that_of_the_disk() {
    let disk = CrashDisk::default();
    let (store, _) = log_of(&disk, 1, 10).await;
    for free_bytes in [1_000, 10] {
        let space = Space {
            free_bytes,
            total_bytes: 5_000,
        };
        disk.has_room(space);
        assert_eq!(store.space().unwrap(), space);
    }
}
