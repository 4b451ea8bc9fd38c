//! What Kafka says of the records that were sent.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
    types::RDKafkaErrorCode,
};
use tokio::sync::Notify;

/// Which record an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) round: usize,
    pub(crate) lane: usize,
}

/// How many bits of a ticket say the lane.
const LANE_BITS: u32 = 16;

impl Ticket {
    /// The lanes that there can be.
    pub(crate) const MAX_LANES: usize = (1 << LANE_BITS) - 1;
    /// The lane of checkpoints, which belong to no round.
    pub(crate) const CHECKPOINT: usize = Self::MAX_LANES;

    pub(crate) fn as_opaque(self) -> usize {
        (self.round << LANE_BITS) | self.lane
    }

    fn from_opaque(opaque: usize) -> Self {
        Self {
            round: opaque >> LANE_BITS,
            lane: opaque & Self::MAX_LANES,
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) ticket: Ticket,
    /// Where the record stands in its partition.
    pub(crate) written: Result<i64, Refusal>,
}

/// Why a record was not written.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// That it never will be.
    pub(crate) is_final: bool,
}

impl From<&KafkaError> for Refusal {
    fn from(error: &KafkaError) -> Self {
        use RDKafkaErrorCode::{InvalidMessageSize, InvalidRecord, MessageSizeTooLarge};
        let code = error.rdkafka_error_code();
        let mut reason = error.to_string();
        if matches!(code, Some(MessageSizeTooLarge | InvalidMessageSize)) {
            reason.push_str(
                ". Let larger ones through with `--kafka-max-record-bytes`, here and for every \
                 service, and with `max.message.bytes` of its topic",
            );
        }
        Self {
            reason,
            is_final: matches!(
                code,
                Some(MessageSizeTooLarge | InvalidMessageSize | InvalidRecord)
            ),
        }
    }
}

/// The answers that have come and were not looked at yet.
#[derive(Clone, Default)]
pub(crate) struct Acks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    come: Mutex<Vec<Ack>>,
    news: Notify,
}

impl Acks {
    /// Waits until there are some. May be dropped while it waits.
    pub(crate) async fn news(&self) {
        self.0.news.notified().await;
    }

    /// Takes them.
    pub(crate) fn take(&self) -> Vec<Ack> {
        let mut come = self.0.come.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *come)
    }
}

impl ClientContext for Acks {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka says");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the client of Kafka has trouble");
    }
}

impl ProducerContext for Acks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let written = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(Refusal::from(error)),
        };
        let ticket = Ticket::from_opaque(opaque);
        let mut come = self.0.come.lock().unwrap_or_else(PoisonError::into_inner);
        come.push(Ack { ticket, written });
        drop(come);
        self.0.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_comes_back_as_it_was() {
        for (round, lane) in [(0, 0), (7, 3), (1 << 40, Ticket::CHECKPOINT)] {
            let ticket = Ticket { round, lane };
            assert_eq!(Ticket::from_opaque(ticket.as_opaque()), ticket);
        }
    }
}
