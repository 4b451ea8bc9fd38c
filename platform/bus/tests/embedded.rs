//! The embedded bus: checkpoints, cuts, and what it refuses.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing"
)]

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use recourse_bus::conformance::world::{
    GROUP, LOG, SENT, append, bounded, embedded_bus, memory_store, numbers, outgoing, sagas,
    to_stock,
};
use recourse_bus::{
    Bus, BusError, Checkpoint, Checkpoints, CheckpointsError, Consumer, Delivery,
    MemoryCheckpoints, Share, embedded,
};
use recourse_event_store::{
    Append, EventStore, ExpectedRevision, Filter, LogId, Metadata, NewEvent, Position, StoreError,
    StreamName, Subscription, Visibility, memory, testing,
};
use tokio::time::Instant;
use uuid::Uuid;

async fn stock(bus: &embedded::Bus) -> Box<dyn Consumer<Delivery>> {
    bounded(bus.commands(GROUP, &["stock"])).await.unwrap()
}

/// Everything up to the end of the log, committed batch by batch.
async fn consume(consumer: &mut dyn Consumer<Delivery>) -> Vec<u64> {
    let mut seen = vec![];
    loop {
        let batch = bounded(consumer.next()).await.unwrap();
        seen.extend(numbers(&batch.messages));
        consumer.commit(batch.considered).await.unwrap();
        if batch.at_end {
            return seen;
        }
    }
}

/// Lets this much time pass for a consumer that has nothing to read.
async fn idle(consumer: &mut dyn Consumer<Delivery>, milliseconds: u64) {
    let waited = tokio::time::timeout(Duration::from_millis(milliseconds), consumer.next()).await;
    assert!(waited.is_err(), "there was something to read");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_begins_after_what_its_group_has_committed() {
    let store = memory_store();
    let checkpoints = MemoryCheckpoints::default();
    let bus = embedded_bus(&store, &checkpoints);
    sagas(&*store, 0..10).await;
    let mut first = stock(&bus).await;
    assert_eq!(consume(&mut *first).await, to_stock(0..10));
    idle(&mut *first, 1_000).await;
    drop(first);

    sagas(&*store, 10..12).await;
    let mut second = stock(&bus).await;
    assert_eq!(consume(&mut *second).await, to_stock(10..12));
    drop(second);
    let mut third = stock(&bus).await;
    assert_eq!(
        consume(&mut *third).await,
        to_stock(10..12),
        "a commit that was not written yet is forgotten, and its commands come again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_never_passes_what_is_durable() {
    let disk = memory::Store::with_manual_sync(LOG);
    let store: Arc<dyn EventStore> = Arc::new(disk.clone());
    let checkpoints = MemoryCheckpoints::default();
    let bus = embedded_bus(&store, &checkpoints);
    sagas(&*store, 0..5).await;
    let mut consumer = stock(&bus).await;
    assert_eq!(
        consume(&mut *consumer).await.len(),
        10,
        "read before the sync"
    );
    idle(&mut *consumer, 10_000).await;
    assert_eq!(checkpoints.load(GROUP).await.unwrap(), None);

    let half = disk.sync_up_to(Position::dense(7));
    idle(&mut *consumer, 1_000).await;
    let kept = checkpoints.load(GROUP).await.unwrap().unwrap();
    assert_eq!((kept.log, kept.position), (LOG, half));

    let end = disk.sync();
    idle(&mut *consumer, 1_000).await;
    let kept = checkpoints.load(GROUP).await.unwrap().unwrap();
    assert_eq!(kept.position, end);
    // And what is kept survives the crash of everything else.
    let after: Arc<dyn EventStore> = Arc::new(disk.crash());
    let mut consumer = stock(&embedded_bus(&after, &checkpoints)).await;
    sagas(&*after, 5..6).await;
    assert_eq!(consume(&mut *consumer).await, to_stock(5..6));
}

/// Counts what is written.
#[derive(Default)]
struct Counting {
    kept: MemoryCheckpoints,
    saves: AtomicU32,
}

#[async_trait]
impl Checkpoints for Counting {
    async fn load(&self, name: &str) -> Result<Option<Checkpoint>, CheckpointsError> {
        self.kept.load(name).await
    }

    async fn save(&self, name: &str, checkpoint: Checkpoint) -> Result<(), CheckpointsError> {
        self.saves.fetch_add(1, Relaxed);
        self.kept.save(name, checkpoint).await
    }
}

#[tokio::test(start_paused = true)]
async fn checkpoints_are_written_now_and_then() {
    let store = memory_store();
    let counting = Arc::new(Counting::default());
    let bus = embedded::Bus::new(Arc::clone(&store), outgoing, counting.clone()).with_options(
        embedded::Options {
            checkpoint_every_commits: 10,
            checkpoint_interval_ms: 500,
            ..embedded::Options::default()
        },
    );
    let mut consumer = stock(&bus).await;
    let mut commits = 0;
    for saga in 0..15 {
        sagas(&*store, saga..saga + 1).await;
        let batch = bounded(consumer.next()).await.unwrap();
        consumer.commit(batch.considered).await.unwrap();
        // The same again is no news.
        consumer.commit(batch.considered).await.unwrap();
        commits += 1;
        assert_eq!(counting.saves.load(Relaxed), commits / 10);
    }
    let before = Instant::now();
    idle(&mut *consumer, 499).await;
    assert_eq!(counting.saves.load(Relaxed), 1);
    idle(&mut *consumer, 2).await;
    assert_eq!(counting.saves.load(Relaxed), 2, "{:?}", before.elapsed());
    idle(&mut *consumer, 60_000).await;
    assert_eq!(
        counting.saves.load(Relaxed),
        2,
        "nothing new, nothing written"
    );
    let end = store.appended().await.unwrap();
    let kept = counting.load(GROUP).await.unwrap().unwrap();
    assert_eq!(kept.position, end);
}

async fn refusal(store: &Arc<dyn EventStore>, checkpoint: Checkpoint) -> String {
    let checkpoints = MemoryCheckpoints::default();
    checkpoints.save(GROUP, checkpoint).await.unwrap();
    let bus = embedded_bus(store, &checkpoints);
    match bus.commands(GROUP, &["stock"]).await {
        Err(BusError::Checkpoint { group, reason }) => {
            assert_eq!(group, GROUP);
            assert!(reason.contains("backup"), "says what to do: {reason}");
            reason
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the checkpoint was believed"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_the_log_does_not_bear_out_is_refused() {
    let store = memory_store();
    sagas(&*store, 0..5).await;
    let end = store.appended().await.unwrap();
    let good = Checkpoint::at(&*store, end, None).await.unwrap();
    good.verify(&*store, GROUP).await.unwrap();
    assert!(good.event_id.is_some());
    let middle = Checkpoint::at(&*store, Position::dense(4), None).await;
    middle.unwrap().verify(&*store, GROUP).await.unwrap();
    let start = Checkpoint::at(&*store, Position::START, None)
        .await
        .unwrap();
    assert_eq!(start.event_id, None);
    start.verify(&*store, GROUP).await.unwrap();

    let another_log = Checkpoint {
        log: LogId(Uuid::from_u128(8)),
        ..good.clone()
    };
    assert!(refusal(&store, another_log).await.contains("this is"));

    // A log that was restored to an earlier end, and one that then went another way.
    let restored = memory_store();
    sagas(&*restored, 0..4).await;
    assert!(refusal(&restored, good.clone()).await.contains("up to"));
    sagas(&*restored, 14..20).await;
    assert!(refusal(&restored, good).await.contains("it saw"));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_between_the_events_of_a_sparse_log_is_believed() {
    for seed in 0..8 {
        checkpoints_between_the_events(seed).await;
    }
}

async fn checkpoints_between_the_events(seed: u64) {
    use recourse_event_store::conformance::eventstoredb_like;
    let hostile = eventstoredb_like::Store::new(memory_store(), seed);
    let store: Arc<dyn EventStore> = Arc::new(hostile);
    sagas(&*store, 0..10).await;
    let mut kept = vec![];
    // Until the end, through every cut: the store's own events end the log for most seeds.
    let end = store.appended().await.unwrap();
    let mut considered = Position::START;
    while considered < end {
        let filter = Filter::All;
        let Ok(mut subscription) = store
            .subscribe(considered, filter, Visibility::Appended)
            .await
        else {
            continue;
        };
        while considered < end
            && let Ok(batch) = subscription.next().await
        {
            considered = batch.considered;
            kept.push(loop {
                if let Ok(checkpoint) = Checkpoint::at(&*store, considered, None).await {
                    break checkpoint;
                }
            });
        }
    }
    assert!(kept.len() > 2, "{kept:?}");
    assert!(kept.is_sorted_by_key(|checkpoint| checkpoint.position));
    // What comes after it changes nothing for a position that no event of ours has.
    sagas(&*store, 10..11).await;
    for checkpoint in kept {
        loop {
            match checkpoint.verify(&*store, GROUP).await {
                Ok(()) => break,
                Err(BusError::Store(StoreError::Unavailable(_))) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_stops_the_consumer_there() {
    let store = memory_store();
    sagas(&*store, 0..1).await;
    let bad = StreamName::new("saga", "bad");
    append(&*store, &bad, SENT, "{}".to_owned()).await;
    let position = store.appended().await.unwrap();
    sagas(&*store, 1..2).await;
    let bus = embedded_bus(&store, &MemoryCheckpoints::default());
    let mut consumer = stock(&bus).await;
    for _ in 0..3 {
        match bounded(consumer.next()).await {
            Err(BusError::Malformed { position: at, .. }) => assert_eq!(at, position),
            other => panic!("{other:?}"),
        }
    }
}

/// A store whose subscriptions are all cut at once.
struct Cut {
    inner: Arc<dyn EventStore>,
    attempts: AtomicU32,
    /// The cuts before it lets one through.
    cuts: u32,
}

#[async_trait]
impl testing::Layer for Cut {
    fn beneath(&self) -> &dyn EventStore {
        &*self.inner
    }

    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        if self.attempts.fetch_add(1, Relaxed) < self.cuts {
            return Err(StoreError::Unavailable("no route".to_owned()));
        }
        self.inner.subscribe(after, filter, visibility).await
    }
}

async fn cut_store(cuts: u32) -> Arc<Cut> {
    let inner = memory_store();
    sagas(&*inner, 0..2).await;
    Arc::new(Cut {
        inner,
        attempts: AtomicU32::new(0),
        cuts,
    })
}

#[tokio::test(start_paused = true)]
async fn a_cut_subscription_is_resumed_with_growing_waits() {
    let store = cut_store(5).await;
    let checkpoints = MemoryCheckpoints::default();
    let bus = embedded_bus(&(store.clone() as Arc<dyn EventStore>), &checkpoints);
    let mut consumer = stock(&bus).await;
    let before = Instant::now();
    assert_eq!(consume(&mut *consumer).await, to_stock(0..2));
    let waited = before.elapsed().as_millis();
    assert!((310..330).contains(&waited), "10+20+40+80+160 ms: {waited}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_ends_the_consumer_after_a_bounded_time() {
    let store = cut_store(u32::MAX).await;
    let checkpoints = MemoryCheckpoints::default();
    let bus = embedded_bus(&(store.clone() as Arc<dyn EventStore>), &checkpoints);
    let mut consumer = stock(&bus).await;
    let before = Instant::now();
    let answer = bounded(consumer.next()).await;
    assert!(
        matches!(answer, Err(BusError::Store(StoreError::Unavailable(_)))),
        "{answer:?}"
    );
    assert_eq!(store.attempts.load(Relaxed), 21);
    assert!(before.elapsed() < Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_closed_ends_the_consumer_at_once() {
    let disk = memory::Store::new(LOG);
    let store: Arc<dyn EventStore> = Arc::new(disk.clone());
    let bus = embedded_bus(&store, &MemoryCheckpoints::default());
    let mut consumer = stock(&bus).await;
    let _new = disk.crash();
    let answer = bounded(consumer.next()).await;
    assert!(matches!(answer, Err(BusError::Store(StoreError::Closed))));
}

#[tokio::test(start_paused = true)]
async fn events_come_to_those_whose_share_they_belong_to() {
    let store = memory_store();
    let bus = embedded_bus(&store, &MemoryCheckpoints::default());
    for number in 0..40 {
        let correlation = Uuid::from_u128(number);
        let stream = StreamName::new("order", number);
        let metadata = Metadata::new(correlation, correlation, chrono::DateTime::UNIX_EPOCH, LOG);
        let metadata = serde_json::to_vec(&metadata).unwrap();
        let event = NewEvent::raw(correlation, "order.placed.v1", "{}", metadata);
        let append = Append {
            stream,
            expected: ExpectedRevision::NoStream,
            events: vec![event],
        };
        store.append(vec![append]).await.remove(0).unwrap();
    }
    let end = store.appended().await.unwrap();
    let three = NonZeroU32::new(3).unwrap();
    let mut seen = Vec::new();
    for owned in [vec![0], vec![1, 2]] {
        let share = Share::of(three, owned.into_iter().collect());
        let mut events = bounded(bus.events(Position::START, Filter::All, &share))
            .await
            .unwrap();
        let before = seen.len();
        loop {
            let batch = bounded(events.next()).await.unwrap();
            seen.extend(batch.messages.iter().map(|event| event.event.id));
            // What is others' is considered too: nobody waits for it.
            if batch.considered >= end {
                break;
            }
        }
        assert!(seen.len() > before, "nothing belongs to {share:?}");
    }
    seen.sort();
    assert_eq!(seen, (0..40).map(Uuid::from_u128).collect::<Vec<_>>());
}
