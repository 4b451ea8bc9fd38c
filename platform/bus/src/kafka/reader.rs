//! The thread that polls a consumer of librdkafka, and what it hands on.
//!
//! ```text
//! librdkafka ──▶ poll ──▶ records, decoded ──▶ bounded queue ──▶ a consumer of the bus
//!                 │ ▲                                              │
//!     partitions come and go, in the same queue                    │ what had its effect
//!                   └── commits ◀──────────────────────────────────┘
//! ```
//!
//! It polls whatever its owner does, so that a member which is busy keeps its place in its group.
//! What does not fit into the queue waits beside it and grows together; where much waits, the
//! partitions are paused. librdkafka may take a second to go on after a pause, so a short burst is
//! no reason for one.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rdkafka::{
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Message as _},
    types::RDKafkaErrorCode,
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Generation, Record,
    chain::Chain,
    client::{self, Client},
    membership::{Context, commit},
};
use crate::BusError;

/// How long the thread waits for news at most before it looks what its owner wants.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The same while something waits for room in the queue.
const LOOK_EVERY_WHILE_FULL: Duration = Duration::from_millis(5);

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

/// What a record takes beside its data, roughly.
const RECORD_BYTES: usize = 256;

/// What a consumer is told, in the order in which it happened.
#[derive(Debug)]
pub(super) enum Item {
    /// These partitions are read from here on.
    Assigned(Vec<Assigned>),
    /// These are not any more.
    Revoked(Vec<Lane>),
    /// What they hold.
    Records(Vec<Received>),
    /// Nothing more comes.
    Failed(BusError),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Records(records) => records.iter().map(|its| its.bytes).sum(),
            Self::Assigned(_) | Self::Revoked(_) | Self::Failed(_) => 0,
        }
    }
}

/// A partition that is read from here on.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) lane: Lane,
    /// As far as it had its effect; none where nothing had.
    pub(super) chain: Option<Chain>,
}

#[derive(Debug)]
pub(super) struct Received {
    pub(super) lane: Lane,
    pub(super) offset: i64,
    pub(super) record: Record,
    /// How large it is, in bytes, roughly.
    pub(super) bytes: usize,
}

/// How far a partition had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// Where to go on.
    pub(super) next_offset: i64,
    /// The partition as it was seen before that.
    pub(super) chain: Chain,
}

/// The other end of the thread. Dropped, it ends the thread, which leaves its group.
pub(super) struct Reader {
    items: mpsc::Receiver<Item>,
    shared: Arc<Shared>,
}

/// What the thread and its owner tell each other beside the queue.
#[derive(Default)]
pub(super) struct Shared {
    stop: AtomicBool,
    /// What callbacks have seen, until the thread puts it in the queue.
    pub(super) seen: Mutex<Vec<Item>>,
    /// What may be committed.
    pub(super) done: Mutex<BTreeMap<Lane, Done>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread reads.
pub(super) struct Reading {
    pub(super) client: Client,
    /// The group, for the broker.
    pub(super) group: String,
    /// The topics that are read. Their records have to come from its log.
    pub(super) generation: Generation,
}

impl Reader {
    /// Starts the thread. `begin` says what is read, where no group does, or subscribes.
    pub(super) fn start(
        reading: Reading,
        begin: impl FnOnce(&BaseConsumer<Context>) -> Result<Vec<Assigned>, BusError> + Send + 'static,
    ) -> Self {
        let options = reading.client.options();
        let (sender, items) = mpsc::channel(options.max_queued_batches.max(1));
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        // The runtime waits for it when it ends, so a member that ends has left its group.
        tokio::task::spawn_blocking(move || run(&reading, begin, &sender, &ours));
        Self { items, shared }
    }

    /// The next thing that happened. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Item {
        let item = self.items.recv().await;
        item.unwrap_or_else(|| Item::Failed(BusError::Unavailable("the reader ended".to_owned())))
    }

    /// Has this committed before long.
    pub(super) fn commit(&self, done: BTreeMap<Lane, Done>) {
        lock(&self.shared.done).extend(done);
    }
}

#[cfg(test)]
impl Reader {
    /// Without a thread: what a test says.
    pub(super) fn of(items: mpsc::Receiver<Item>) -> Self {
        let shared = Arc::default();
        Self { items, shared }
    }

    /// What would be committed next.
    pub(super) fn take_done(&self) -> BTreeMap<Lane, Done> {
        std::mem::take(&mut *lock(&self.shared.done))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
    }
}

fn run(
    reading: &Reading,
    begin: impl FnOnce(&BaseConsumer<Context>) -> Result<Vec<Assigned>, BusError>,
    sender: &mpsc::Sender<Item>,
    shared: &Arc<Shared>,
) {
    let context = Context {
        client: reading.client.clone(),
        shared: Arc::clone(shared),
    };
    let consumer = match reading.client.consumer(&reading.group, context) {
        Ok(consumer) => consumer,
        Err(error) => {
            // Nobody listens any more, or they are told.
            let _ = sender.blocking_send(Item::Failed(error.into()));
            return;
        }
    };
    let mut polling = Polling::new(reading, shared);
    match begin(&consumer) {
        Ok(assigned) if assigned.is_empty() => {}
        Ok(assigned) => polling.waiting.push_back(Item::Assigned(assigned)),
        Err(error) => polling.waiting.push_back(Item::Failed(error)),
    }
    while !shared.stop.load(Relaxed) {
        match polling.hand_on(&consumer, sender) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => polling.waiting.push_back(Item::Failed(error.into())),
        }
        polling.commit_in_time(&consumer);
        polling.poll(&consumer);
    }
    commit(&consumer, shared, CommitMode::Sync);
}

struct Polling<'a> {
    reading: &'a Reading,
    shared: &'a Shared,
    /// What is still to be put in the queue.
    waiting: VecDeque<Item>,
    /// How large that is.
    waiting_bytes: usize,
    /// That everything is paused because much waits.
    is_paused: bool,
    /// That no partition came since: one that comes is not paused, however much waits.
    is_assignment_known: bool,
    commit_at: Option<Instant>,
    /// Each topic's name, once.
    topics: BTreeMap<String, Arc<str>>,
}

impl<'a> Polling<'a> {
    fn new(reading: &'a Reading, shared: &'a Shared) -> Self {
        Self {
            reading,
            shared,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_paused: false,
            is_assignment_known: false,
            commit_at: None,
            topics: BTreeMap::new(),
        }
    }

    /// Puts in the queue what fits. Answers whether to go on.
    fn hand_on(
        &mut self,
        consumer: &BaseConsumer<Context>,
        sender: &mpsc::Sender<Item>,
    ) -> Result<bool, client::Error> {
        while let Some(item) = self.waiting.pop_front() {
            let is_last = matches!(item, Item::Failed(_));
            let bytes = item.bytes();
            match sender.try_send(item) {
                Ok(()) if is_last => return Ok(false),
                Ok(()) => self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes),
                Err(mpsc::error::TrySendError::Full(item)) => {
                    self.waiting.push_front(item);
                    break;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Ok(false),
            }
        }
        let most = self.reading.client.options().max_waiting_bytes;
        let is_full = match self.is_paused {
            true => self.waiting_bytes > most / 2,
            false => self.waiting_bytes >= most.max(1),
        };
        if is_full && !(self.is_paused && self.is_assignment_known) {
            consumer.pause(&consumer.assignment()?)?;
            self.is_assignment_known = true;
        } else if !is_full && self.is_paused {
            consumer.resume(&consumer.assignment()?)?;
        }
        self.is_paused = is_full;
        Ok(true)
    }

    fn commit_in_time(&mut self, consumer: &BaseConsumer<Context>) {
        if lock(&self.shared.done).is_empty() {
            self.commit_at = None;
            return;
        }
        let interval = Duration::from_millis(self.reading.client.options().commit_interval_ms);
        let now = Instant::now();
        let at = *self.commit_at.get_or_insert(now + interval);
        if now >= at {
            commit(consumer, self.shared, CommitMode::Async);
            self.commit_at = None;
        }
    }

    /// Waits for something, and takes what is there with it.
    fn poll(&mut self, consumer: &BaseConsumer<Context>) {
        let max = self.reading.client.options().max_batch_records;
        let mut records = Vec::new();
        let mut wait = match self.waiting.is_empty() {
            true => LOOK_EVERY,
            false => LOOK_EVERY_WHILE_FULL,
        };
        while records.len() < max {
            let polled = consumer.poll(wait);
            // What a callback saw during the poll comes after what was polled before.
            let seen = std::mem::take(&mut *lock(&self.shared.seen));
            let is_something = polled.is_some() || !seen.is_empty();
            if !seen.is_empty() {
                self.flush(&mut records);
                self.is_assignment_known = false;
                self.waiting.extend(seen);
            }
            match polled {
                Some(Ok(message)) => match self.received(&message) {
                    Ok(received) => records.push(received),
                    Err(error) => {
                        self.flush(&mut records);
                        self.waiting.push_back(Item::Failed(error));
                    }
                },
                Some(Err(error)) => {
                    if let Some(error) = self.failure(consumer, &error) {
                        self.flush(&mut records);
                        self.waiting.push_back(Item::Failed(error));
                    }
                }
                None => {}
            }
            if !is_something {
                break;
            }
            wait = Duration::ZERO;
        }
        self.flush(&mut records);
    }

    /// Puts records where they wait, with those before them where these are few.
    fn flush(&mut self, records: &mut Vec<Received>) {
        if records.is_empty() {
            return;
        }
        let bytes = records.iter().map(|its| its.bytes);
        self.waiting_bytes = bytes.fold(self.waiting_bytes, usize::saturating_add);
        let max = self.reading.client.options().max_batch_records;
        match self.waiting.back_mut() {
            Some(Item::Records(before)) if before.len() + records.len() <= max => {
                before.append(records);
            }
            _ => self
                .waiting
                .push_back(Item::Records(std::mem::take(records))),
        }
    }

    fn received(&mut self, message: &BorrowedMessage<'_>) -> Result<Received, BusError> {
        let record = Record::decode(message).map_err(|source| BusError::Malformed {
            position: source.position.unwrap_or_default(),
            source: source.into(),
        })?;
        let generation = &self.reading.generation;
        if record.log != generation.log {
            return Err(BusError::Checkpoint {
                group: self.reading.group.clone(),
                reason: format!(
                    "a record in `{}` comes from the log {}, and this is {}: {}",
                    message.topic(),
                    record.log,
                    generation.log,
                    generation.repair()
                ),
            });
        }
        let topic = match self.topics.get(message.topic()) {
            Some(topic) => Arc::clone(topic),
            None => {
                let topic: Arc<str> = message.topic().into();
                self.topics.insert(topic.to_string(), Arc::clone(&topic));
                topic
            }
        };
        Ok(Received {
            lane: Lane {
                topic,
                partition: message.partition(),
            },
            offset: message.offset(),
            record,
            bytes: RECORD_BYTES.saturating_add(message.payload_len()),
        })
    }

    /// What an error means; none where the client goes on by itself.
    fn failure(&self, consumer: &BaseConsumer<Context>, error: &KafkaError) -> Option<BusError> {
        let code = match error {
            KafkaError::MessageConsumption(code) | KafkaError::MessageConsumptionFatal(code) => {
                *code
            }
            _ => return Some(BusError::Unavailable(error.to_string())),
        };
        if client::is_passing(code) {
            tracing::debug!(%error, "Kafka is away for a while");
            return None;
        }
        let gone = self.reading.generation.repair();
        let reason = match code {
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                format!("records that were not read yet are gone ({error}): {gone}")
            }
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition => {
                format!("it was deleted ({error}): {gone}")
            }
            _ => return Some(BusError::Unavailable(error.to_string())),
        };
        Some(BusError::Topic {
            topic: topics(consumer).unwrap_or_else(|| self.reading.group.clone()),
            reason,
        })
    }
}

/// The topics that are read: an error does not say in which of them it was met.
fn topics(consumer: &BaseConsumer<Context>) -> Option<String> {
    // Who is no member of a group has subscribed to nothing.
    let (wanted, had) = (consumer.subscription().ok()?, consumer.assignment().ok()?);
    let (wanted, had) = (wanted.elements(), had.elements());
    let names: BTreeSet<&str> = wanted.iter().chain(&had).map(|it| it.topic()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        mocking::MockCluster,
        producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
        topic_partition_list::{Offset, TopicPartitionList},
    };
    use recourse_event_store::{LogId, Mark, Position};
    use uuid::Uuid;

    use super::{
        super::{Body, Options},
        *,
    };

    const LOG: LogId = LogId(Uuid::nil());

    /// A topic of two partitions with so many records each.
    fn cluster(records: u64) -> MockCluster<'static, DefaultProducerContext> {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("records", 2, 1).unwrap();
        let producer: BaseProducer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .create()
            .unwrap();
        for number in 0..records {
            let record = Record {
                log: LOG,
                previous: Mark::default(),
                considered: Some(Position::dense(number)),
                body: Body::Considered,
            };
            for partition in 0..2 {
                let record = BaseRecord::<(), [u8]>::to("records")
                    .partition(partition)
                    .headers(record.encode(None).headers);
                producer.send(record).unwrap();
            }
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        cluster
    }

    /// A thread's parts, moved by hand.
    struct ByHand {
        reading: Reading,
        shared: Arc<Shared>,
        consumer: BaseConsumer<Context>,
    }

    impl ByHand {
        fn new(cluster: &MockCluster<'static, DefaultProducerContext>, options: Options) -> Self {
            let client = Client::new(Options {
                brokers: cluster.bootstrap_servers(),
                ..options
            });
            let shared = Arc::new(Shared::default());
            let context = Context {
                client: client.clone(),
                shared: Arc::clone(&shared),
            };
            Self {
                consumer: client.consumer("readers", context).unwrap(),
                reading: Reading {
                    client,
                    group: "readers".to_owned(),
                    generation: Generation::first(LOG),
                },
                shared,
            }
        }

        fn assign(&self, partition: i32) {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset("records", partition, Offset::Beginning)
                .unwrap();
            self.consumer.incremental_assign(&list).unwrap();
            let lane = Lane {
                topic: "records".into(),
                partition,
            };
            let assigned = Assigned { lane, chain: None };
            lock(&self.shared.seen).push(Item::Assigned(vec![assigned]));
        }

        fn turn_until(
            &self,
            polling: &mut Polling<'_>,
            sender: &mpsc::Sender<Item>,
            is_enough: impl Fn(&Polling<'_>) -> bool,
        ) {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !is_enough(polling) {
                assert!(polling.hand_on(&self.consumer, sender).unwrap());
                polling.poll(&self.consumer);
                assert!(Instant::now() < deadline, "nothing comes");
            }
        }
    }

    #[tokio::test]
    async fn a_burst_waits_together_and_pauses_nothing() {
        let (cluster, max_batch_records) = (cluster(20), 16);
        let by_hand = ByHand::new(
            &cluster,
            Options {
                max_batch_records,
                max_waiting_bytes: 100 * RECORD_BYTES,
                ..Options::default()
            },
        );
        let (sender, mut taken) = mpsc::channel(1);
        let mut polling = Polling::new(&by_hand.reading, &by_hand.shared);
        by_hand.assign(0);
        by_hand.assign(1);
        // The queue has one item: the news of the first partition. All else waits.
        by_hand.turn_until(&mut polling, &sender, |polling| {
            assert!(!polling.is_paused);
            polling.waiting_bytes == 40 * RECORD_BYTES
        });
        for item in &polling.waiting {
            assert!(
                matches!(item, Item::Records(records) if records.len() <= max_batch_records)
                    || matches!(item, Item::Assigned(_))
            );
        }
        assert!(
            polling.waiting.len() <= 6,
            "{} items",
            polling.waiting.len()
        );
        assert!(taken.recv().await.is_some());
    }

    #[tokio::test]
    async fn a_partition_that_comes_while_much_waits_is_not_read_either() {
        let (cluster, max_batch_records) = (cluster(400), 8);
        let by_hand = ByHand::new(
            &cluster,
            Options {
                max_batch_records,
                max_waiting_bytes: max_batch_records * RECORD_BYTES,
                ..Options::default()
            },
        );
        let (sender, _taken_by_nobody) = mpsc::channel(1);
        let mut polling = Polling::new(&by_hand.reading, &by_hand.shared);
        by_hand.assign(0);
        by_hand.turn_until(&mut polling, &sender, |polling| {
            polling.is_paused && polling.waiting_bytes > 0
        });
        by_hand.assign(1);
        // Once for the news, once for what came before it was paused.
        for _ in 0..50 {
            assert!(polling.hand_on(&by_hand.consumer, &sender).unwrap());
            polling.poll(&by_hand.consumer);
        }
        let waiting = polling.waiting_bytes / RECORD_BYTES;
        assert!(waiting <= 4 * max_batch_records, "{waiting} wait");
    }
}
