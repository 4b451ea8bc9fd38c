//! Copies of a log, and logs made of copies.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use chrono::{DateTime, Utc};
use tempfile::TempDir;

use super::{
    super::{
        OpenError, Store,
        backup::{self, Error, Manifest},
    },
    world::{all, append_one, event, small, stream, to},
};
use crate::{Checkpoint, CheckpointError, EventStore, ExpectedRevision, Position, Visibility};

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, name: &str) -> Store {
        Store::open(small(self.path(name))).unwrap()
    }

    fn take(&self, log: &str, to: &str) -> Result<Manifest, Error> {
        let taken_at = DateTime::<Utc>::UNIX_EPOCH;
        backup::take(&self.path(log), &self.path(to), taken_at, &mut |_| {})
    }

    fn restore(&self, from: &str, log: &str) -> Result<backup::Restored, Error> {
        backup::restore(&self.path(from), &self.path(log), &mut |_| {})
    }

    /// A log over several segments, and a backup of it.
    async fn backed_up(&self) -> Manifest {
        let store = self.open("log");
        add(&store, 0, 30).await;
        store.close().await.unwrap();
        self.take("log", "backup").unwrap()
    }
}

async fn add(store: &Store, from: u64, to_number: u64) {
    for number in from..to_number {
        let stream = format!("order-{}", number % 7);
        let append = to(&stream, ExpectedRevision::Any, vec![event(number, 300)]);
        let appended = append_one(store, append).await.unwrap();
        store
            .wait_durable(appended.position.unwrap())
            .await
            .unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_beside_a_writer_holds_what_was_durable_before_it_began() {
    let world = World::new();
    let store = world.open("log");
    add(&store, 0, 200).await;
    let done = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 200;
            while !done.load(Ordering::SeqCst) {
                runtime.block_on(add(&store, number, number + 1));
                number += 1;
            }
        });
        for round in 0..5 {
            let before = store.durable();
            let (to, log) = (format!("backup-{round}"), format!("restored-{round}"));
            let taken = world.take("log", &to).unwrap();
            assert!(taken.position >= before && taken.log == store.log_id());
            assert_eq!(world.restore(&to, &log).unwrap().position, taken.position);
        }
        done.store(true, Ordering::SeqCst);
    });
    runtime.shutdown_background();
    let whole = all(&store, Visibility::Durable).await;
    for round in 0..5 {
        let restored = all(
            &world.open(&format!("restored-{round}")),
            Visibility::Durable,
        )
        .await;
        assert!(restored.len() >= 200);
        for (restored, original) in restored.iter().zip(&whole) {
            assert_eq!(restored.position, original.position);
            assert_eq!(restored.stream, original.stream);
            assert_eq!(restored.event.id, original.event.id);
            assert_eq!(restored.event.data, original.event.data);
        }
    }
}

#[tokio::test]
async fn a_restored_log_goes_on_as_another_one() {
    let world = World::new();
    let manifest = world.backed_up().await;
    let original = world.open("log");
    let mut seen = Vec::new();
    for position in [0, 1, 20, 30] {
        let checkpoint = Checkpoint::at(&original, Position::dense(position)).await;
        seen.push(checkpoint.unwrap());
    }

    let restored = world.restore("backup", "restored").unwrap();
    assert_eq!(restored.former, original.log_id());
    let store = world.open("restored");
    assert_eq!(store.log_id(), restored.log);
    assert_ne!(store.log_id(), original.log_id());
    let end = Position::dense(30);
    assert_eq!(store.former_names(), [(original.log_id(), end)]);
    assert_eq!(manifest.position, end);
    let refused = |error| matches!(error, CheckpointError::Refused { .. });
    for checkpoint in seen {
        checkpoint.verify(&original, "a view").await.unwrap();
        let error = checkpoint.verify(&store, "a view").await.unwrap_err();
        assert!(refused(error), "{checkpoint:?}");
    }

    add(&store, 30, 80).await;
    assert_eq!(stream(&store, "order-3").await.len(), 11);
    store.close().await.unwrap();
    let store = world.open("restored");
    assert_eq!(all(&store, Visibility::Durable).await.len(), 80);
    let again = world.take("restored", "second").unwrap();
    assert_eq!(again.log, restored.log);
    let third = world.restore("second", "third").unwrap();
    let store = world.open("third");
    assert_eq!(
        store.former_names(),
        [
            (original.log_id(), end),
            (restored.log, Position::dense(80))
        ]
    );
    assert_eq!(store.log_id(), third.log);
}

#[tokio::test]
async fn an_empty_log_can_be_backed_up_and_restored() {
    let world = World::new();
    world.open("log").close().await.unwrap();
    assert_eq!(
        world.take("log", "backup").unwrap().position,
        Position::START
    );
    world.restore("backup", "restored").unwrap();
    let store = world.open("restored");
    add(&store, 0, 3).await;
    assert_eq!(all(&store, Visibility::Durable).await.len(), 3);
}

#[tokio::test]
async fn what_is_half_made_is_refused() {
    let world = World::new();
    world.backed_up().await;
    let finished = world.path("backup/backup.json");
    let manifest = fs::read(&finished).unwrap();
    for broken in [&manifest[..manifest.len() / 2], b"", b"{\"format\":1}"] {
        fs::write(&finished, broken).unwrap();
        let refused = world.restore("backup", "restored");
        assert!(
            matches!(refused, Err(Error::NotWhole { .. })),
            "{refused:?}"
        );
    }
    fs::write(&finished, b"{\"format\":2}").unwrap();
    let refused = world.restore("backup", "restored");
    assert!(matches!(refused, Err(Error::Newer { found: 2 })));
    fs::remove_file(&finished).unwrap();
    let refused = world.restore("backup", "restored");
    assert!(matches!(refused, Err(Error::NotWhole { .. })));
    assert!(!world.path("restored").exists());
    // Nor is it gone on with.
    let refused = world.take("log", "backup");
    assert!(matches!(refused, Err(Error::NotEmpty { .. })));

    // A restore that was cut off before the log got its name.
    fs::write(&finished, &manifest).unwrap();
    world.restore("backup", "restored").unwrap();
    fs::remove_file(world.path("restored/store")).unwrap();
    let refused = Store::open(small(world.path("restored")));
    assert!(matches!(refused, Err(OpenError::Corrupt { .. })));
    let refused = world.restore("backup", "restored");
    assert!(matches!(refused, Err(Error::NotEmpty { .. })));
}

#[tokio::test]
async fn a_backup_with_any_changed_or_missing_part_is_refused() {
    let world = World::new();
    world.backed_up().await;
    let log = world.path("backup/log");
    let mut round = 0;
    let mut refused = |what: &str| {
        round += 1;
        let restored = world.restore("backup", &format!("restored-{round}"));
        assert!(restored.is_err(), "{what}: {restored:?}");
        let store = Store::open_read_only(world.path(&format!("restored-{round}")));
        assert!(store.is_err(), "{what}");
    };
    let files = names(&log);
    assert!(files.len() > 2, "{files:?}");
    for name in files {
        let path = log.join(&name);
        let content = fs::read(&path).unwrap();
        let last = content.len() - 1;
        for at in (0..content.len()).step_by(1999).chain([last]) {
            let mut changed = content.clone();
            // The last byte of a segment may be padding; its checksum covers that too.
            changed[at] ^= 0x41;
            fs::write(&path, changed).unwrap();
            refused(&format!("{name}, byte {at}"));
        }
        fs::write(&path, &content[..last]).unwrap();
        refused(&format!("{name}, cut"));
        fs::remove_file(&path).unwrap();
        refused(&format!("{name}, gone"));
        fs::write(&path, &content).unwrap();
    }
    world.restore("backup", "whole").unwrap();
}
