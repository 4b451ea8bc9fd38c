//! A place in a group that shares the partitions of a topic: who has which, and nothing of what they
//! hold.
//!
//! ```text
//! broker ─▶ thread: assigned, revoked ─▶ what is owned now ─▶ the owner of the place
//!                       └ waits, for a while ◀── asks again: it has stopped ┘
//! ```

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult},
    topic_partition_list::Offset,
    types::RDKafkaRespErr,
};
use tokio::sync::watch;

use super::client::{self, Client, Error};

/// How long the thread waits for news at most before it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What there is to know of a place.
#[derive(Clone, Debug, Default)]
struct Standing {
    owned: BTreeSet<i32>,
    /// How often it has changed.
    number: u64,
    failed: Option<Error>,
}

/// A place in a group whose members share the partitions of a topic. Dropped, it is given up.
pub struct Place {
    standing: watch::Receiver<Standing>,
    /// The number of the standing that was answered last.
    told: u64,
    shared: Arc<Shared>,
}

struct Shared {
    tell: watch::Sender<Standing>,
    stop: AtomicBool,
    /// How long a partition is kept after the owner is told that others want it.
    patience: Duration,
    /// The number of the last standing that the owner knows of, and acts by.
    known: Mutex<u64>,
    is_known: Condvar,
}

impl Place {
    /// Joins the group. A partition that others are to have is given up once the owner has
    /// [asked](Self::owned) what is left, or after `patience`.
    #[must_use]
    pub fn ask(client: Client, topic: &str, group: &str, patience: Duration) -> Self {
        let (tell, standing) = watch::channel(Standing::default());
        let shared = Arc::new(Shared {
            tell,
            stop: AtomicBool::new(false),
            patience,
            known: Mutex::default(),
            is_known: Condvar::new(),
        });
        let (ours, topic, group) = (Arc::clone(&shared), topic.to_owned(), group.to_owned());
        // The runtime waits for it when it ends, so a member that ends has left its group.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = hold(&client, &topic, &group, &ours) {
                ours.change(|standing| standing.failed = Some(error));
            }
        });
        Self {
            standing,
            told: 0,
            shared,
        }
    }

    /// What it has now, maybe nothing. To ask says that what it had besides is not used any more.
    ///
    /// # Errors
    /// Why there is no place any more.
    pub fn owned(&mut self) -> Result<BTreeSet<i32>, Error> {
        let standing = self.standing.borrow_and_update().clone();
        self.told = standing.number;
        *lock(&self.shared.known) = standing.number;
        self.shared.is_known.notify_all();
        match standing.failed {
            Some(error) => Err(error),
            None => Ok(standing.owned),
        }
    }

    /// Waits until it is otherwise than [`Self::owned`] has answered. May be dropped while it waits.
    pub async fn changed(&mut self) {
        let told = self.told;
        // The sender is in what we share: it is there as long as we are.
        let _ = self
            .standing
            .wait_for(|standing| standing.number != told)
            .await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.is_known.notify_all();
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Standing)) -> u64 {
        let mut number = 0;
        self.tell.send_modify(|standing| {
            change(standing);
            standing.number = standing.number.saturating_add(1);
            number = standing.number;
        });
        number
    }

    /// Waits until the owner acts by this standing, or patience is over.
    fn until_known(&self, number: u64) {
        let is_unknown = |known: &mut u64| *known < number && !self.stop.load(Relaxed);
        let known = lock(&self.known);
        let waited = self
            .is_known
            .wait_timeout_while(known, self.patience, is_unknown);
        let (_known, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && !self.patience.is_zero() {
            tracing::warn!("partitions go to others before their owner has stopped");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hold(client: &Client, topic: &str, group: &str, shared: &Arc<Shared>) -> Result<(), Error> {
    let consumer = client.consumer(group, Context(Arc::clone(shared)))?;
    consumer.subscribe(&[topic])?;
    while !shared.stop.load(Relaxed) {
        if let Some(Err(error)) = consumer.poll(LOOK_EVERY) {
            tracing::debug!(%error, "Kafka is away for a while");
        }
    }
    Ok(())
}

struct Context(Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::log_error(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let named: BTreeSet<i32> = partitions
            .elements()
            .iter()
            .map(|partition| partition.partition())
            .collect();
        let changed = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let assigned = assign(consumer, partitions);
            if assigned.is_ok() && !named.is_empty() {
                self.0.change(|standing| standing.owned.extend(&named));
            }
            assigned
        } else {
            if !named.is_empty() {
                let number = self
                    .0
                    .change(|standing| standing.owned.retain(|its| !named.contains(its)));
                // Where they are lost, others have them already.
                if !consumer.assignment_lost() {
                    self.0.until_known(number);
                }
            }
            consumer.incremental_unassign(partitions)
        };
        if let Err(error) = changed {
            self.0
                .change(|standing| standing.failed = Some(error.into()));
        }
    }
}

/// Takes the partitions, and reads nothing from them.
fn assign(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    let mut silent = TopicPartitionList::new();
    for partition in partitions.elements() {
        silent.add_partition_offset(partition.topic(), partition.partition(), Offset::End)?;
    }
    consumer.incremental_assign(&silent)?;
    consumer.pause(&silent)
}
