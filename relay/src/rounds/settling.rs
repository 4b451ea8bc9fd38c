//! What becomes of rounds that were sent: acknowledged, counted, kept as a checkpoint.

use std::time::Duration;

use rdkafka::producer::BaseRecord;
use tokio::time::Instant;

use super::{Counts, Round, Rounds, refused};
use crate::{
    Error,
    acks::{Ack, Refusal, Ticket},
    checkpoint::Written,
    metrics,
};

impl Rounds {
    /// Takes the answers that have come. Says whether a round is done.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
        for Ack { ticket, written } in self.acks.take() {
            if ticket.lane == Ticket::CHECKPOINT {
                let position = self.acked.position;
                written.map_err(|why| refused(position, &self.relay_topic, why))?;
                continue;
            }
            let Some(lane) = self.lanes.all().get(ticket.lane) else {
                continue;
            };
            let offset = written.map_err(|why| refused(self.acked.position, &lane.topic, why))?;
            if let Some(known) = self.acked.lanes.get_mut(ticket.lane)
                // A record that was repeated under way is not told where it stands.
                && offset >= 0
            {
                if known.offset.is_some_and(|known| offset <= known) {
                    let reason = format!(
                        "partition {} wrote offset {offset} after {}: it was made anew or lost \
                         records: start the relay with a `--generation` that is one higher",
                        lane.partition,
                        known.offset.unwrap_or_default()
                    );
                    let topic = lane.topic.to_string();
                    return Err(recourse_bus::kafka::Error::Topic { topic, reason }.into());
                }
                known.offset = Some(offset);
            }
            let first = self.open.front().map_or(0, |round| round.number);
            if let Some(round) = self.open.get_mut(ticket.round.saturating_sub(first)) {
                round.missing = round.missing.saturating_sub(1);
            }
        }
        let mut is_done = false;
        while let Some(round) = self.open.pop_front_if(|round| round.missing == 0) {
            is_done = true;
            self.done(round);
        }
        if self.saved < self.acked.position {
            let interval = Duration::from_millis(self.options.checkpoint_interval_ms);
            self.save_at
                .get_or_insert_with(|| Instant::now() + interval);
        }
        Ok(is_done)
    }

    fn done(&mut self, round: Round) {
        let now = self.clock.now();
        self.open_bytes = self.open_bytes.saturating_sub(round.bytes);
        self.acked.position = round.considered;
        self.acked.event_id = round.event_id;
        for (lane, last) in round.lasts {
            if let Some(Written { last: known, .. }) = self.acked.lanes.get_mut(lane) {
                *known = last;
            }
        }
        let Counts {
            events,
            commands,
            considered,
        } = round.counts;
        metrics::acknowledged(events, commands, considered);
        for recorded in round.recorded {
            // Another machine's clock may be ahead of this one's.
            metrics::lag((now - recorded).to_std().unwrap_or_default().as_secs_f64());
        }
    }

    /// Writes the checkpoint as of what is acknowledged.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        self.save_at = None;
        let position = self.acked.position;
        let value = serde_json::to_vec(&self.acked).map_err(|error| {
            let why = Refusal {
                reason: error.to_string(),
                is_final: true,
            };
            refused(position, &self.relay_topic, why)
        })?;
        let ticket = Ticket {
            round: 0,
            lane: Ticket::CHECKPOINT,
        };
        let record = BaseRecord::with_opaque_to(&self.relay_topic, ticket.as_opaque())
            .partition(0)
            .key(self.checkpoint_key.as_bytes())
            .payload(&value);
        self.producer
            .send(record)
            .map_err(|(error, record)| refused(position, record.topic, Refusal::from(&error)))?;
        self.saved = position;
        Ok(())
    }

    /// Waits a while for what is acknowledged, and keeps how far that is.
    pub(super) async fn drain(&mut self) -> Result<(), Error> {
        let wait = Duration::from_millis(self.options.max_drain_ms);
        let acks = self.acks.clone();
        let all = async {
            // A round without records waits for nobody.
            self.settle()?;
            while !self.open.is_empty() {
                acks.news().await;
                self.settle()?;
            }
            Ok::<_, Error>(())
        };
        // What is not acknowledged by then is sent again by whoever relays next.
        if let Ok(drained) = tokio::time::timeout(wait, all).await {
            drained?;
        }
        if self.saved < self.acked.position {
            self.save()?;
        }
        Ok(())
    }
}
