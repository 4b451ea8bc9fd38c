//! What there has to be in Kafka before a relay can work, made where it may be and else checked.

use std::time::Duration;

use rdkafka::{
    ClientContext, Message as _,
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use recourse_bus::kafka::{self, Body, Client, Generation, Keyed, Record, State};
use recourse_event_store::{EventStore, Mark};

use crate::{
    Error, Options,
    checkpoint::{Checkpoint, Written},
    lanes::Lanes,
    topics::{blocking, check, check_ends, check_kept, create, is_empty, wrong},
};

/// Where a relay goes on.
pub(crate) struct Place {
    pub(crate) generation: Generation,
    pub(crate) checkpoint: Checkpoint,
}

/// Sees to the topic in which relays keep how far they have come.
pub(crate) async fn make_room(client: &Client, options: &Options) -> Result<(), Error> {
    let topic = client.topics().relay();
    let existing = client.existing().await?;
    match existing.get(&topic) {
        Some(1) => check_kept(client, &topic).await,
        Some(found) => Err(wrong(
            &topic,
            format!(
                "it has {found} partitions, and exactly one relay may be active: make it again"
            ),
        )),
        None if !options.first_start => Err(Error::NotStarted { topic }),
        None => {
            let settings = [
                ("cleanup.policy", "compact"),
                // Only what is older than this is compacted.
                ("segment.ms", "600000"),
                ("min.cleanable.dirty.ratio", "0.1"),
            ];
            create(client, options, &topic, 1, &settings).await
        }
    }
}

/// Finds where to go on in the current generation, and starts one where that is asked for.
pub(crate) async fn take(
    store: &dyn EventStore,
    client: &Client,
    options: &Options,
) -> Result<Place, Error> {
    let mut state = State::read(client).await?;
    let current = state.current().cloned();
    let generation = match current {
        Some(current) if current.number >= options.generation => current,
        Some(_) => {
            let started = start(store, client, options, options.generation).await?;
            state = State::read(client).await?;
            started
        }
        None if options.first_start => {
            let number = options.generation.max(1);
            start(store, client, options, number).await?
        }
        None => {
            let topic = client.topics().relay();
            return Err(Error::NotStarted { topic });
        }
    };
    let number = generation.number;
    if generation.log != store.log_id() {
        return Err(Error::OtherLog {
            generation: number,
            reason: format!(
                "they were made from {}, and this is {}",
                generation.log,
                store.log_id()
            ),
        });
    }
    // Whoever began the generation may have been cut short before this. A repeat does no harm.
    if state.checkpoint(number).is_none()
        && let Some(before) = state.before(number)
    {
        end(client, before, number).await;
    }
    check(client, options, &generation).await?;
    let lanes = Lanes::of(&generation, client.topics());
    let checkpoint = match state.checkpoint(number) {
        Some(bytes) => serde_json::from_slice::<Checkpoint>(bytes)
            .ok()
            .filter(|checkpoint| checkpoint.lanes.len() == lanes.all().len())
            .ok_or_else(|| {
                let reason = "the relay's checkpoint in it cannot be read".to_owned();
                wrong(&client.topics().relay(), reason)
            })?,
        None => beginning(store, &generation, lanes.all().len()).await?,
    };
    checkpoint
        .at()
        .verify(store, "the relay's checkpoint")
        .await
        .map_err(|error| Error::checkpoint(number, error))?;
    check_ends(client, lanes, &checkpoint, &generation).await?;
    Ok(Place {
        generation,
        checkpoint,
    })
}

/// Before the first record of a generation.
async fn beginning(
    store: &dyn EventStore,
    generation: &Generation,
    lanes: usize,
) -> Result<Checkpoint, Error> {
    let at = recourse_event_store::Checkpoint::at(store, generation.from).await?;
    let last = Mark {
        position: generation.from,
        index: 0,
    };
    Ok(Checkpoint {
        log: generation.log,
        position: generation.from,
        event_id: at.event_id,
        lanes: vec![Written { last, offset: None }; lanes],
    })
}

/// Makes the topics of a generation, then says that it is the current one.
async fn start(
    store: &dyn EventStore,
    client: &Client,
    options: &Options,
    number: u32,
) -> Result<Generation, Error> {
    let generation = Generation {
        number,
        log: store.log_id(),
        from: options.from,
        event_partitions: options.event_partitions,
        command_partitions: options
            .command_categories
            .iter()
            .map(|category| (category.clone(), options.command_partitions))
            .collect(),
    };
    let existing = client.existing().await?;
    let used = existing
        .keys()
        .filter_map(|topic| client.topics().generation_of(topic))
        .max();
    if let Some(used) = used.filter(|used| *used > number) {
        return Err(wrong(
            &client.topics().events(used),
            format!(
                "there are topics of generation {used}, and generation {number} is to be started: \
                 take a higher number"
            ),
        ));
    }
    for (topic, partitions) in generation.topics(client.topics()) {
        let retention = options.retention_ms.to_string();
        let largest = options.kafka.max_record_bytes.to_string();
        let settings = [
            ("cleanup.policy", "delete"),
            ("retention.ms", &*retention),
            // Whatever the brokers do by themselves: records are kept for a time, not up to a size.
            ("retention.bytes", "-1"),
            ("max.message.bytes", &*largest),
        ];
        if existing.contains_key(&topic) {
            // A start that was cut short made it, or it has records that nobody knows of.
            if !is_empty(client, &topic, partitions.get()).await? {
                let reason = "it has records of a relay that nothing else is known of: start a \
                              generation of a higher number";
                return Err(wrong(&topic, reason.to_owned()));
            }
            continue;
        }
        let partitions = i32::try_from(partitions.get()).unwrap_or(i32::MAX);
        create(client, options, &topic, partitions, &settings).await?;
    }
    let value = serde_json::to_vec(&generation).map_err(|error| {
        kafka::Error::Configuration(format!("the generation cannot be written: {error}"))
    })?;
    let topic = client.topics().relay();
    let key = Keyed::Generation(number).key();
    write(client, move |producer| {
        let record = BaseRecord::to(&topic)
            .partition(0)
            .key(&key)
            .payload(&value);
        producer.send(record).map_err(|(error, _)| error.into())
    })
    .await?;
    tracing::info!(generation = number, from = %generation.from, "a generation of topics begins");
    Ok(generation)
}

/// Tells those who still read a generation that another goes on. Where that cannot be said, they
/// have met an error already or will, and then they look.
async fn end(client: &Client, before: &Generation, next: u32) {
    let ended = async {
        let existing = client.existing().await?;
        let record = Record {
            log: before.log,
            previous: Mark::default(),
            considered: None,
            body: Body::Ended(next),
        };
        let mut places = Vec::new();
        for (topic, partitions) in before.topics(client.topics()) {
            let there = existing.get(&topic).copied().unwrap_or_default();
            places.extend((0..partitions.get().min(there)).map(|number| (topic.clone(), number)));
        }
        write(client, move |producer| {
            for (topic, partition) in &places {
                let record = BaseRecord::<(), [u8], ()>::to(topic)
                    .partition(i32::try_from(*partition).unwrap_or(i32::MAX))
                    .headers(record.encode(None).headers);
                producer.send(record).map_err(|(error, _)| error)?;
            }
            Ok(())
        })
        .await
    };
    if let Err(error) = ended.await {
        tracing::warn!(
            generation = before.number,
            error = &error as &dyn std::error::Error,
            "the end of a generation cannot be marked in it"
        );
    }
}

/// Writes a few records by a producer of their own, and waits until they are acknowledged.
async fn write(
    client: &Client,
    send: impl FnOnce(&rdkafka::producer::ThreadedProducer<Few>) -> Result<(), kafka::Error>
    + Send
    + 'static,
) -> Result<(), Error> {
    let client = client.clone();
    let written = blocking(move || {
        let timeout = client.timeout();
        let context = Few::default();
        let failed = std::sync::Arc::clone(&context.failed);
        let producer = client.producer(context, Some(timeout))?;
        send(&producer)?;
        producer.flush(timeout.saturating_add(Duration::from_secs(1)))?;
        drop(producer);
        let failed = failed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*failed {
            Some(reason) => Err(kafka::Error::Unavailable(reason.clone())),
            None => Ok(()),
        }
    });
    written.await
}

/// The answers to a few records: the first error among them.
#[derive(Default)]
struct Few {
    failed: std::sync::Arc<std::sync::Mutex<Option<String>>>,
}

impl ClientContext for Few {}

impl ProducerContext for Few {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let reason = format!("a record in `{}` was not written: {error}", message.topic());
            let mut failed = self
                .failed
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            failed.get_or_insert(reason);
        }
    }
}
