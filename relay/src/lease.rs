//! Which relay is the active one: the member of a group that has the one partition there is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use std::time::Duration;

use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult},
    topic_partition_list::Offset,
    types::RDKafkaRespErr,
};
use recourse_bus::kafka::{self, Client};
use tokio::sync::watch;

use crate::{Error, Options};

/// How long the thread waits for news at most before it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
enum Standing {
    Waiting,
    Held,
    Failed(String),
}

/// A place in the group. Dropped, it is given up.
pub(crate) struct Lease {
    standing: watch::Receiver<Standing>,
    stop: Arc<AtomicBool>,
}

impl Lease {
    /// Joins the group.
    pub(crate) fn ask(client: Client, options: &Options) -> Self {
        // Its members have nothing to do with the generations of topics.
        let group = options.lease_group.clone();
        let group = group.unwrap_or_else(|| client.topics().relay());
        let (tell, standing) = watch::channel(Standing::Waiting);
        let stop = Arc::new(AtomicBool::new(false));
        let ours = Arc::clone(&stop);
        // The runtime waits for it when it ends, so a relay that ends has given the lease up.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = hold(&client, &group, &tell, &ours) {
                tell.send_replace(Standing::Failed(error.to_string()));
            }
        });
        Self { standing, stop }
    }

    /// Waits until the lease is held.
    pub(crate) async fn held(&mut self) -> Result<(), Error> {
        let reached = self
            .standing
            .wait_for(|standing| !matches!(standing, Standing::Waiting))
            .await;
        match reached.as_deref() {
            Ok(Standing::Failed(reason)) => Err(kafka::Error::Unavailable(reason.clone()).into()),
            Ok(Standing::Held | Standing::Waiting) => Ok(()),
            Err(_) => Err(kafka::Error::Unavailable("the lease's thread ended".to_owned()).into()),
        }
    }

    /// Waits until it is not held any more.
    pub(crate) async fn lost(&mut self) {
        // Where its thread has ended it is lost too.
        let _ = self
            .standing
            .wait_for(|standing| !matches!(standing, Standing::Held))
            .await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn hold(
    client: &Client,
    group: &str,
    tell: &watch::Sender<Standing>,
    stop: &AtomicBool,
) -> Result<(), kafka::Error> {
    let topic = client.topics().relay();
    let consumer = client.consumer(group, Context { tell: tell.clone() })?;
    consumer.subscribe(&[&topic])?;
    while !stop.load(Relaxed) {
        if let Some(Err(error)) = consumer.poll(LOOK_EVERY) {
            tracing::debug!(%error, "Kafka is away for a while");
        }
    }
    Ok(())
}

struct Context {
    tell: watch::Sender<Standing>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the client of Kafka has trouble");
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let is_assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let changed = if is_assigned {
            assign(consumer, partitions)
        } else {
            consumer.incremental_unassign(partitions)
        };
        let standing = match changed {
            Err(error) => Standing::Failed(error.to_string()),
            Ok(()) if partitions.count() == 0 => return,
            Ok(()) if is_assigned => Standing::Held,
            Ok(()) => Standing::Waiting,
        };
        self.tell.send_replace(standing);
    }
}

/// Takes the partition, and reads nothing from it.
fn assign(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    let mut silent = TopicPartitionList::new();
    for partition in partitions.elements() {
        silent.add_partition_offset(partition.topic(), partition.partition(), Offset::End)?;
    }
    consumer.incremental_assign(&silent)?;
    consumer.pause(&silent)
}
