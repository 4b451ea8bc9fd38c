//! A member of a group: what librdkafka calls back as partitions come and go, and what is committed.

use std::sync::Arc;

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult},
    topic_partition_list::Offset,
    types::RDKafkaRespErr,
};

use super::{
    chain::Chain,
    client::{self, Client},
    reader::{Assigned, Item, Lane, Shared, lock},
};
use crate::BusError;

/// What librdkafka calls back.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) shared: Arc<Shared>,
}

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
        let changed = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, partitions)
        } else {
            self.revoke(consumer, partitions)
        };
        if let Err(error) = changed {
            let error = BusError::Unavailable(format!("the partitions cannot be read: {error}"));
            lock(&self.shared.seen).push(Item::Failed(error));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // Who reads them next gets some of it again.
            tracing::warn!(%error, "offsets were not committed");
        }
    }
}

impl Context {
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> KafkaResult<()> {
        let mut wanted = TopicPartitionList::new();
        for partition in partitions.elements() {
            wanted.add_partition(partition.topic(), partition.partition());
        }
        let committed = consumer.committed_offsets(wanted, self.client.timeout())?;
        let mut from = TopicPartitionList::new();
        let mut assigned = Vec::new();
        for partition in committed.elements() {
            partition.error()?;
            let lane = Lane {
                topic: partition.topic().into(),
                partition: partition.partition(),
            };
            let (offset, chain) = match (partition.offset(), Chain::parse(partition.metadata())) {
                (offset @ Offset::Offset(_), Some(chain)) => (offset, Some(chain)),
                _ => (Offset::Beginning, None),
            };
            from.add_partition_offset(&lane.topic, lane.partition, offset)?;
            assigned.push(Assigned { lane, chain });
        }
        tracing::debug!(?assigned, "partitions assigned");
        lock(&self.shared.seen).push(Item::Assigned(assigned));
        consumer.incremental_assign(&from)
    }

    fn revoke(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> KafkaResult<()> {
        // Who gets them next need not do again what is done.
        if !consumer.assignment_lost() {
            commit(consumer, &self.shared, CommitMode::Sync);
        }
        let lanes: Vec<_> = partitions
            .elements()
            .iter()
            .map(|partition| Lane {
                topic: partition.topic().into(),
                partition: partition.partition(),
            })
            .collect();
        tracing::debug!(?lanes, "partitions revoked");
        lock(&self.shared.done).retain(|lane, _| !lanes.contains(lane));
        lock(&self.shared.seen).push(Item::Revoked(lanes));
        consumer.incremental_unassign(partitions)
    }
}

/// Commits what may be.
pub(super) fn commit(consumer: &BaseConsumer<Context>, shared: &Shared, mode: CommitMode) {
    let done = std::mem::take(&mut *lock(&shared.done));
    if done.is_empty() {
        return;
    }
    // What others have by now they commit themselves: a late effect of ours must not set them back.
    let Ok(assigned) = consumer.assignment() else {
        return;
    };
    let mut offsets = TopicPartitionList::new();
    for (lane, done) in &done {
        if assigned
            .find_partition(&lane.topic, lane.partition)
            .is_none()
        {
            continue;
        }
        let mut offset = offsets.add_partition(&lane.topic, lane.partition);
        offset.set_metadata(done.chain.to_string());
        if let Err(error) = offset.set_offset(Offset::Offset(done.next_offset)) {
            tracing::warn!(%error, "an offset cannot be committed");
        }
    }
    if offsets.count() == 0 {
        return;
    }
    if let Err(error) = consumer.commit(&offsets, mode) {
        tracing::warn!(%error, "offsets were not committed");
    }
}
