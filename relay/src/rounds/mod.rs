//! Rounds: what is durable and not sent yet, sent, acknowledged, and kept as a checkpoint.

mod settling;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use recourse_bus::{
    Delivery,
    embedded::Outgoing,
    kafka::{Body, Client, Keyed, Record},
};
use recourse_event_store::{Batch, EventStore, Mark, Position, RecordedEvent};
use recourse_service::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Error, Options,
    acks::{Acks, Refusal, Ticket},
    checkpoint::Checkpoint,
    lanes::Lanes,
    lease::Lease,
    setup::Place,
    tail::Tail,
};

/// Why a relay stopped relaying where nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Shutdown,
    LeaseLost,
}

/// A relay at work.
pub(crate) struct Rounds {
    store: Arc<dyn EventStore>,
    outgoing: Outgoing,
    clock: Arc<dyn Clock>,
    options: Options,
    relay_topic: String,
    checkpoint_key: String,
    producer: ThreadedProducer<Acks>,
    acks: Acks,
    lanes: Lanes,
    /// Of each lane: the place of the last record that was sent.
    sent: Vec<Mark>,
    /// Of each lane: how far it was said to have come.
    told: Vec<Position>,
    /// Everything up to here was sent.
    position: Position,
    /// The last event up to there.
    event_id: Option<Uuid>,
    /// Sent and not acknowledged, in order.
    open: VecDeque<Round>,
    open_bytes: usize,
    next_round: usize,
    /// As of the last round that was acknowledged, and all before it.
    acked: Checkpoint,
    saved: Position,
    save_at: Option<Instant>,
    tell_at: Option<Instant>,
}

/// What was sent at once.
struct Round {
    number: usize,
    /// How many of its records are not acknowledged.
    missing: usize,
    /// How many of its records were of which kind.
    counts: Counts,
    bytes: usize,
    considered: Position,
    event_id: Option<Uuid>,
    /// The lanes that got records, and the place of the last one.
    lasts: BTreeMap<usize, Mark>,
    /// When its events were recorded.
    recorded: Vec<DateTime<Utc>>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    events: u64,
    commands: u64,
    considered: u64,
}

/// A record that is about to be sent.
struct Draft {
    lane: usize,
    key: Option<String>,
    previous: Mark,
    body: Body,
}

impl Rounds {
    pub(crate) fn begin(
        store: Arc<dyn EventStore>,
        outgoing: Outgoing,
        clock: Arc<dyn Clock>,
        client: Client,
        options: Options,
        place: Place,
    ) -> Result<Self, Error> {
        let Place {
            generation,
            checkpoint,
        } = place;
        let lanes = Lanes::of(&generation, client.topics());
        let acks = Acks::default();
        let producer = client.producer(acks.clone(), None)?;
        tracing::info!(
            generation = generation.number,
            position = %checkpoint.position,
            "relaying"
        );
        Ok(Self {
            store,
            outgoing,
            clock,
            relay_topic: client.topics().relay(),
            checkpoint_key: Keyed::Checkpoint(generation.number).key(),
            producer,
            acks,
            sent: checkpoint.lanes.iter().map(|lane| lane.last).collect(),
            told: vec![Position::START; lanes.all().len()],
            lanes,
            position: checkpoint.position,
            event_id: checkpoint.event_id,
            open: VecDeque::new(),
            open_bytes: 0,
            next_round: 0,
            saved: checkpoint.position,
            acked: checkpoint,
            save_at: None,
            tell_at: None,
            options,
        })
    }

    /// Relays until `shutdown` or until the lease is lost. `failures` is 0 again once something is
    /// acknowledged.
    pub(crate) async fn run(
        &mut self,
        lease: &mut Lease,
        shutdown: &CancellationToken,
        failures: &mut u32,
    ) -> Result<End, Error> {
        let mut tail = Tail::new(Arc::clone(&self.store), &self.options);
        // Who reads on after a pause is told at once how far everything has come.
        self.tell_all()?;
        loop {
            let has_room = self.open.len() < self.options.max_rounds.max(1)
                && self.open_bytes < self.options.max_unacknowledged_bytes;
            let acks = self.acks.clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    self.drain().await?;
                    return Ok(End::Shutdown);
                }
                () = lease.lost() => return Ok(End::LeaseLost),
                () = acks.news() => {
                    if self.settle()? {
                        *failures = 0;
                    }
                }
                () = sleep_until(self.save_at) => self.save()?,
                () = sleep_until(self.tell_at) => self.tell_all()?,
                batch = tail.next(self.position), if has_room => self.send(batch?)?,
            }
        }
    }

    /// Sends what a batch holds as one round.
    fn send(&mut self, batch: Batch) -> Result<(), Error> {
        let mut counts = Counts::default();
        let mut recorded = Vec::with_capacity(batch.events.len());
        let mut drafts = Vec::with_capacity(batch.events.len());
        let mut bytes = 0_usize;
        for event in &batch.events {
            bytes = bytes.saturating_add(event.event.data.len());
            if let Ok(metadata) = event.metadata() {
                recorded.push(metadata.recorded_at);
            }
            self.draft(event, &mut drafts, &mut counts)?;
            self.event_id = Some(event.event.id);
        }
        self.position = batch.considered;
        let mut last_of = BTreeMap::new();
        for (index, draft) in drafts.iter().enumerate() {
            last_of.insert(draft.lane, index);
        }
        let mut lasts = BTreeMap::new();
        let number = self.next_round;
        let mut missing = 0;
        for (index, draft) in drafts.into_iter().enumerate() {
            let is_last = last_of.get(&draft.lane) == Some(&index);
            if let (true, Some(place)) = (is_last, draft.body.place()) {
                lasts.insert(draft.lane, place);
            }
            let considered = is_last.then_some(batch.considered);
            self.write(number, draft, considered)?;
            missing += 1;
        }
        self.begin_round(Round {
            number,
            missing,
            counts,
            bytes,
            considered: batch.considered,
            event_id: self.event_id,
            lasts,
            recorded,
        });
        if self.told.iter().any(|told| *told < self.position) {
            let interval = Duration::from_millis(self.options.considered_interval_ms);
            self.tell_at
                .get_or_insert_with(|| Instant::now() + interval);
        }
        Ok(())
    }

    /// The records of an event: itself, and the commands it carries.
    fn draft(
        &mut self,
        event: &Arc<RecordedEvent>,
        drafts: &mut Vec<Draft>,
        counts: &mut Counts,
    ) -> Result<(), Error> {
        let position = event.position;
        let key = Lanes::event_key(event);
        let lane = self.lanes.of_event(&key);
        counts.events += 1;
        self.add(drafts, lane, key, Body::Event(RecordedEvent::clone(event)));
        if event.stream.category() != "saga" {
            return Ok(());
        }
        let commands =
            (self.outgoing)(event).map_err(|source| Error::Malformed { position, source })?;
        for (index, command) in commands.into_iter().enumerate() {
            let Some(lane) = self.lanes.of_command(&command.target) else {
                return Err(Error::NoTopic {
                    position,
                    category: command.target.category().to_owned(),
                });
            };
            let key = command.target.as_str().to_owned();
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let delivery = Delivery {
                command,
                mark: Mark { position, index },
                event: Arc::clone(event),
            };
            counts.commands += 1;
            self.add(drafts, lane, key, Body::Command(delivery));
        }
        Ok(())
    }

    fn add(&mut self, drafts: &mut Vec<Draft>, lane: usize, key: String, body: Body) {
        let mut previous = Mark::default();
        if let (Some(sent), Some(place)) = (self.sent.get_mut(lane), body.place()) {
            previous = std::mem::replace(sent, place);
        }
        drafts.push(Draft {
            lane,
            key: Some(key),
            previous,
            body,
        });
    }

    /// Says in a lane how far it has come.
    fn tell(&mut self, round: usize, lane: usize) -> Result<(), Error> {
        let draft = Draft {
            lane,
            key: None,
            previous: self.sent.get(lane).copied().unwrap_or_default(),
            body: Body::Considered,
        };
        self.write(round, draft, Some(self.position))
    }

    /// Says so in all lanes that have not been told, as a round.
    fn tell_all(&mut self) -> Result<(), Error> {
        self.tell_at = None;
        let number = self.next_round;
        let mut missing = 0;
        for lane in 0..self.lanes.all().len() {
            if self
                .told
                .get(lane)
                .is_some_and(|told| *told < self.position)
            {
                self.tell(number, lane)?;
                missing += 1;
            }
        }
        if missing > 0 {
            self.begin_round(Round {
                number,
                missing,
                counts: Counts {
                    considered: missing as u64,
                    ..Counts::default()
                },
                bytes: 0,
                considered: self.position,
                event_id: self.event_id,
                lasts: BTreeMap::new(),
                recorded: Vec::new(),
            });
        }
        Ok(())
    }

    fn begin_round(&mut self, round: Round) {
        self.next_round += 1;
        self.open_bytes += round.bytes;
        self.open.push_back(round);
    }

    fn write(
        &mut self,
        round: usize,
        draft: Draft,
        considered: Option<Position>,
    ) -> Result<(), Error> {
        let Some(lane) = self.lanes.all().get(draft.lane) else {
            return Ok(());
        };
        if let (Some(considered), Some(told)) = (considered, self.told.get_mut(draft.lane)) {
            *told = considered;
        }
        let place = draft.body.place().map_or(self.position, |it| it.position);
        let record = Record {
            log: self.acked.log,
            previous: draft.previous,
            considered,
            body: draft.body,
        };
        let encoded = record.encode(draft.key);
        let ticket = Ticket {
            round,
            lane: draft.lane,
        };
        let record = BaseRecord {
            topic: &lane.topic,
            partition: Some(lane.partition),
            payload: encoded.value.as_deref(),
            key: encoded.key.as_deref(),
            timestamp: None,
            headers: Some(encoded.headers),
            delivery_opaque: ticket.as_opaque(),
        };
        self.producer
            .send(record)
            .map_err(|(error, record)| refused(place, record.topic, Refusal::from(&error)))
    }

    /// Lets go of the producer, which blocks: what is on its way for a moment still may arrive.
    pub(crate) async fn close(self) {
        use rdkafka::producer::Producer as _;
        let Self { producer, .. } = self;
        let closed = tokio::task::spawn_blocking(move || {
            // A checkpoint may be on its way.
            let _ = producer.flush(Duration::from_millis(500));
            drop(producer);
        });
        let _ = closed.await;
    }
}

fn refused(position: Position, topic: &str, why: Refusal) -> Error {
    Error::Delivery {
        position,
        topic: topic.to_owned(),
        reason: why.reason,
        is_final: why.is_final,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
