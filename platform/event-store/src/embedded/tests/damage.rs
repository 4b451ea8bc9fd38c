//! Logs that are not as they were written: cut short, changed, or from another time.

use std::sync::Arc;

use super::{
    super::{OpenError, Options, Scrub, Store},
    crash_disk::{CrashDisk, Loss},
    world::{all, append_one, event, settle, small, stream, to},
};
use crate::{EventStore, ExpectedRevision, StoreError, Visibility};

const SEGMENT: &str = "segment-00000001.log";
const INDEX: &str = "index";
const DURABLE: &str = "durable";

fn open(disk: &CrashDisk) -> Result<Store, OpenError> {
    Store::open_by_hand(Arc::new(disk.clone()), options())
}

fn options() -> Options {
    Options {
        tail_bytes: 0,
        max_tail_bytes: 0,
        ..small("damage")
    }
}

/// A log of `groups` groups of two events each, and where each group ends in the first segment.
async fn log_of(groups: u64) -> (CrashDisk, Vec<usize>) {
    let disk = CrashDisk::default();
    let store = open(&disk).unwrap();
    settle(&store);
    let mut ends = vec![64];
    for group in 0..groups {
        let events = vec![event(group * 2, 30), event(group * 2 + 1, 50)];
        append_one(&store, to("order-1", ExpectedRevision::Any, events))
            .await
            .unwrap();
        settle(&store);
        let written = store.stats().log_bytes as usize;
        ends.push(written);
    }
    (disk.lose_power(Loss::Everything), ends)
}

/// A copy with another content of a file and, where it says so, nothing else that knows how
/// far the log was durable.
fn with(disk: &CrashDisk, name: &str, content: Vec<u8>, nobody_knows: bool) -> CrashDisk {
    let copy = disk.lose_power(Loss::Everything);
    copy.plant(name, Some(content));
    if nobody_knows {
        copy.plant(INDEX, None);
        copy.plant(DURABLE, None);
    }
    copy
}

/// Opens a log that should hold `groups` groups, goes on with it and opens it again.
async fn goes_on(disk: &CrashDisk, groups: usize) {
    let store = open(disk).unwrap();
    assert_eq!(all(&store, Visibility::Durable).await.len(), groups * 2);
    assert_eq!(stream(&store, "order-1").await.len(), groups * 2);
    settle(&store);
    for number in 0..3 {
        // As long as what may have been cut off, so that remains of it would follow.
        let events = vec![event(500 + number, 30), event(600 + number, 50)];
        append_one(&store, to("order-1", ExpectedRevision::Any, events))
            .await
            .unwrap();
        settle(&store);
        let again = open(&disk.lose_power(Loss::Everything)).unwrap();
        let events = all(&again, Visibility::Durable).await;
        assert_eq!(events.len(), groups * 2 + 2 * (number as usize + 1));
    }
}

#[tokio::test]
async fn a_log_cut_at_any_byte_goes_on_from_the_last_whole_group() {
    let (disk, ends) = log_of(4).await;
    let content = disk.content(SEGMENT).unwrap();
    for cut in 0..=*ends.last().unwrap() {
        let whole = ends
            .iter()
            .filter(|end| **end <= cut)
            .count()
            .saturating_sub(1);
        let short = content[..cut].to_vec();
        let mut zeroed = short.clone();
        zeroed.resize(content.len(), 0);
        for content in [short, zeroed] {
            goes_on(&with(&disk, SEGMENT, content, true), whole).await;
        }
    }
}

#[tokio::test]
async fn a_cut_below_what_is_known_to_have_been_durable_is_refused() {
    let (disk, ends) = log_of(4).await;
    let mut content = disk.content(SEGMENT).unwrap();
    // The power took the file that says how far: let the next process write it.
    drop(open(&disk).unwrap());
    assert!(disk.content(DURABLE).is_some());
    content[ends[3]..].fill(0);
    let copy = disk.kill();
    copy.plant(SEGMENT, Some(content));
    match open(&copy) {
        Err(OpenError::Corrupt {
            segment,
            offset,
            position,
            ..
        }) => {
            assert_eq!(
                (segment.as_str(), offset, position),
                (SEGMENT, ends[3] as u64, 7)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn any_changed_byte_of_the_last_group_ends_the_log_before_it() {
    let (disk, ends) = log_of(4).await;
    let content = disk.content(SEGMENT).unwrap();
    for at in ends[3]..ends[4] {
        let mut content = content.clone();
        content[at] ^= 0x41;
        goes_on(&with(&disk, SEGMENT, content, true), 3).await;
    }
}

#[tokio::test]
async fn any_changed_byte_before_the_last_group_is_named_and_nothing_is_changed() {
    let (disk, ends) = log_of(4).await;
    let content = disk.content(SEGMENT).unwrap();
    for at in 0..ends[3] {
        let mut content = content.clone();
        content[at] ^= 0x41;
        let copy = with(&disk, SEGMENT, content.clone(), true);
        let group = ends
            .iter()
            .filter(|end| **end <= at)
            .count()
            .saturating_sub(1);
        match open(&copy) {
            Err(OpenError::Corrupt {
                segment,
                offset,
                position,
                what,
                remedy,
            }) => {
                assert_eq!(segment, SEGMENT);
                assert_eq!(position, group as u64 * 2 + 1, "byte {at}: {what}");
                let begins = if at < 64 { 0 } else { ends[group] };
                assert!(
                    (begins as u64..=at as u64).contains(&offset),
                    "byte {at}: {offset}"
                );
                assert!(remedy.contains("backup"));
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(copy.content(SEGMENT).unwrap(), content);
    }
}

#[tokio::test]
async fn a_missing_segment_is_named() {
    let (disk, _) = log_of(60).await;
    assert!(disk.content("segment-00000003.log").is_some());
    let copy = disk.lose_power(Loss::Everything);
    copy.plant(INDEX, None);
    copy.plant(DURABLE, None);
    copy.plant("segment-00000002.log", None);
    assert!(matches!(open(&copy), Err(OpenError::Corrupt { .. })));
}

#[tokio::test]
async fn a_damaged_checkpoint_costs_nothing_but_time() {
    let (disk, _) = log_of(20).await;
    let store = open(&disk).unwrap();
    store.checkpoint().unwrap();
    assert!(store.checkpointed() > crate::Position::START);
    drop(store);
    let index = disk.content(INDEX).unwrap();
    for at in (0..index.len())
        .step_by(29)
        .chain(index.len() - 80..index.len())
    {
        let mut index = index.clone();
        index[at] ^= 0x41;
        let copy = with(&disk, INDEX, index, false);
        let store = open(&copy).unwrap();
        assert_eq!(store.checkpointed(), crate::Position::START, "byte {at}");
        assert_eq!(stream(&store, "order-1").await.len(), 40);
    }
    let copy = with(&disk, INDEX, index[..index.len() / 2].to_vec(), false);
    assert_eq!(stream(&open(&copy).unwrap(), "order-1").await.len(), 40);
    let store = open(&disk).unwrap();
    assert!(store.checkpointed() > crate::Position::START);
    assert_eq!(stream(&store, "order-1").await.len(), 40);
}

#[tokio::test]
async fn damage_that_a_start_does_not_meet_is_named_when_it_is_read() {
    let (disk, ends) = log_of(10).await;
    let store = open(&disk).unwrap();
    store.checkpoint().unwrap();
    drop(store);
    let mut content = disk.content(SEGMENT).unwrap();
    // The header of a group is 64 bytes, and no reader of a stream looks at it.
    content[ends[4] + 64 + 30] ^= 1;
    let copy = with(&disk, SEGMENT, content, false);
    let store = open(&copy).unwrap();
    let name = crate::StreamName::new("order", 1);
    let read = store
        .read_stream(
            &name,
            None,
            crate::Direction::Forward,
            Visibility::Durable,
            100,
        )
        .await;
    assert!(
        matches!(&read, Err(StoreError::Corrupt { at, .. }) if at.contains(SEGMENT)),
        "{read:?}"
    );
    assert!(matches!(
        store.replay(|_| {}),
        Err(StoreError::Corrupt { .. })
    ));
    let read = store
        .read_stream(
            &name,
            Some(12),
            crate::Direction::Forward,
            Visibility::Durable,
            100,
        )
        .await;
    assert_eq!(read.unwrap().len(), 8);
}

#[tokio::test]
async fn damage_that_nobody_reads_is_found_soon_and_the_next_start_is_refused() {
    let (disk, ends) = log_of(10).await;
    let store = open(&disk).unwrap();
    store.checkpoint().unwrap();
    settle(&store);
    // Behind the checkpoint, so that another one would be written.
    let append = to("order-1", ExpectedRevision::Any, vec![event(50, 10)]);
    append_one(&store, append).await.unwrap();
    settle(&store);
    drop(store);
    let store = open(&disk).unwrap();
    store.engine.run_scrub();
    let done = Scrub {
        position: 21,
        of: 21,
    };
    assert_eq!(store.stats().scrub, done);
    assert_eq!(all(&store, Visibility::Durable).await.len(), 21);
    drop(store);
    let whole = disk.content(SEGMENT).unwrap();
    for at in (64..ends[9]).step_by(31) {
        let mut content = whole.clone();
        content[at] ^= 1;
        let copy = with(&disk, SEGMENT, content, false);
        let store = open(&copy).unwrap();
        store.engine.run_scrub();
        let group = ends.iter().filter(|end| **end <= at).count() as u64;
        let named = format!("event {} should be", group * 2 - 1);
        match store.failed().await {
            StoreError::Corrupt { at, .. } => assert!(
                at.contains(SEGMENT) && at.contains(&named),
                "`{named}` is not in: {at}"
            ),
            error => panic!("byte {at}: {error}"),
        }
        assert_eq!(store.stats().scrub.position, group * 2 - 2);
        let more = to("order-1", ExpectedRevision::Any, vec![event(99, 10)]);
        assert!(append_one(&store, more).await.is_err());
        // Nor does what was under way write a checkpoint that would hide it again.
        let _ = store.checkpoint();
        assert!(copy.content(INDEX).is_none());
        drop(store);
        assert!(
            matches!(open(&copy), Err(OpenError::Corrupt { .. })),
            "byte {at}"
        );
    }
}

#[tokio::test]
async fn a_folder_of_a_newer_format_is_refused() {
    let (disk, _) = log_of(1).await;
    let mut header = disk.content("store").unwrap();
    header[8] = 3;
    let copy = with(&disk, "store", header.clone(), false);
    assert!(matches!(
        open(&copy),
        Err(OpenError::NewerFormat { found: 3, known: 2 })
    ));
    header[8] = 1;
    header[20] ^= 1;
    let copy = with(&disk, "store", header, false);
    assert!(matches!(open(&copy), Err(OpenError::Corrupt { .. })));
    let copy = disk.lose_power(Loss::Everything);
    copy.plant("store", None);
    assert!(matches!(open(&copy), Err(OpenError::Corrupt { .. })));
}
