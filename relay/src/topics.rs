//! Topics: made, and held against what is said of them.

use std::collections::BTreeMap;

use rdkafka::{
    admin::{NewTopic, ResourceSpecifier, TopicReplication},
    consumer::Consumer as _,
    types::RDKafkaErrorCode,
};
use recourse_bus::kafka::{self, Client, Generation};

use crate::{Error, Options, checkpoint::Checkpoint, lanes::Lanes};

/// Makes a topic; that there is one already is no error.
pub(crate) async fn create(
    client: &Client,
    options: &Options,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) -> Result<(), Error> {
    let (admin, admin_options) = client.admin()?;
    let replicas = options
        .replication_factor
        .map_or(-1, |factor| i32::try_from(factor.get()).unwrap_or(i32::MAX));
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let results = admin
        .create_topics([&new], &admin_options)
        .await
        .map_err(kafka::Error::from)?;
    for result in results {
        match result {
            // Another relay may be starting too.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, RDKafkaErrorCode::RequestTimedOut)) => {
                let reason = format!("`{topic}` was not made in time");
                return Err(kafka::Error::Unavailable(reason).into());
            }
            Err((topic, code)) => return Err(wrong(&topic, format!("it cannot be made: {code}"))),
        }
    }
    tracing::info!(topic, partitions, "a topic was made");
    Ok(())
}

/// Holds the topics of a generation against what it says of them and against what is asked for.
pub(crate) async fn check(
    client: &Client,
    options: &Options,
    generation: &Generation,
) -> Result<(), Error> {
    let again = generation.repair();
    let existing = client.existing().await?;
    let topics = generation.topics(client.topics());
    for (topic, partitions) in &topics {
        let reason = match existing.get(topic) {
            None => "it is not there".to_owned(),
            Some(found) if *found != partitions.get() => {
                format!("it has {found} partitions, and was made with {partitions}")
            }
            Some(_) => continue,
        };
        return Err(wrong(topic, format!("{reason}: {again}")));
    }
    let wanted: BTreeMap<_, _> = options
        .command_categories
        .iter()
        .map(|category| (category.clone(), options.command_partitions))
        .collect();
    if options.event_partitions != generation.event_partitions
        || wanted != generation.command_partitions
    {
        let topic = client.topics().events(generation.number);
        let reason = format!(
            "its generation has {} partitions of events and {:?} of commands, other than the \
             options ask for: {again}",
            generation.event_partitions, generation.command_partitions
        );
        return Err(wrong(&topic, reason));
    }
    check_settings(client, options, &topics, &again).await
}

/// Nothing may be compacted, nor be deleted sooner than is asked for, nor be refused for its size.
async fn check_settings(
    client: &Client,
    options: &Options,
    topics: &[(String, std::num::NonZeroU32)],
    again: &str,
) -> Result<(), Error> {
    for (topic, settings) in settings(client, topics).await? {
        let number = |name: &str| {
            settings
                .get(name)
                .and_then(|value| value.parse::<i64>().ok())
        };
        if settings.get("cleanup.policy").map(String::as_str) != Some("delete") {
            let reason = format!(
                "it is compacted, and then records are missing: set `cleanup.policy` to `delete` \
                 and {again}"
            );
            return Err(wrong(&topic, reason));
        }
        let wanted = i64::try_from(options.retention_ms).unwrap_or(i64::MAX);
        if let Some(kept) = number("retention.ms").filter(|kept| (0..wanted).contains(kept)) {
            let reason = format!(
                "it keeps records for {kept} ms, and {wanted} ms are asked for: set its \
                 `retention.ms`, or ask for less"
            );
            return Err(wrong(&topic, reason));
        }
        if let Some(kept) = number("retention.bytes").filter(|kept| *kept >= 0) {
            let reason = format!(
                "it deletes records once a partition has more than {kept} bytes, however young \
                 they are: set its `retention.bytes` to -1"
            );
            return Err(wrong(&topic, reason));
        }
        let wanted = i64::try_from(options.kafka.max_record_bytes).unwrap_or(i64::MAX);
        if let Some(largest) = number("max.message.bytes").filter(|largest| *largest < wanted) {
            let reason = format!(
                "it takes records of {largest} bytes at most, and {wanted} are asked for: set its \
                 `max.message.bytes`, or ask for less (`--kafka-max-record-bytes`)"
            );
            return Err(wrong(&topic, reason));
        }
    }
    Ok(())
}

/// The topic of relays keeps the newest record of each key, for ever.
pub(crate) async fn check_kept(client: &Client, topic: &str) -> Result<(), Error> {
    let topics = [(topic.to_owned(), std::num::NonZeroU32::MIN)];
    for (topic, settings) in settings(client, &topics).await? {
        let policy = settings.get("cleanup.policy").map_or("", String::as_str);
        if policy != "compact" {
            let reason = format!(
                "its `cleanup.policy` is `{policy}`, and what it says of generations would be \
                 gone one day: set it to `compact`"
            );
            return Err(wrong(&topic, reason));
        }
    }
    Ok(())
}

/// The settings of topics, as the brokers have them.
async fn settings(
    client: &Client,
    topics: &[(String, std::num::NonZeroU32)],
) -> Result<Vec<(String, BTreeMap<String, String>)>, Error> {
    let (admin, admin_options) = client.admin()?;
    let resources: Vec<_> = topics
        .iter()
        .map(|(topic, _)| ResourceSpecifier::Topic(topic))
        .collect();
    let described = admin
        .describe_configs(&resources, &admin_options)
        .await
        .map_err(kafka::Error::from)?;
    let mut all = Vec::with_capacity(topics.len());
    for ((topic, _), described) in topics.iter().zip(described) {
        let described = described.map_err(|code| {
            kafka::Error::Unavailable(format!("the settings of `{topic}` cannot be read: {code}"))
        })?;
        let settings = described.entries.into_iter();
        let settings = settings.filter_map(|entry| Some((entry.name, entry.value?)));
        all.push((topic.clone(), settings.collect()));
    }
    Ok(all)
}

/// A partition that ends before what it has acknowledged has lost it, or was made anew.
pub(crate) async fn check_ends(
    client: &Client,
    lanes: Lanes,
    checkpoint: &Checkpoint,
    generation: &Generation,
) -> Result<(), Error> {
    let written = checkpoint.lanes.clone();
    let again = generation.repair();
    let client = client.clone();
    let checked = blocking(move || {
        let consumer = client.consumer(&client.topics().group(0, "ends"), kafka::Logged)?;
        for (lane, written) in lanes.all().iter().zip(written) {
            let Some(offset) = written.offset else {
                continue;
            };
            let (_, high) =
                consumer.fetch_watermarks(&lane.topic, lane.partition, client.timeout())?;
            if high <= offset {
                return Err(kafka::Error::Topic {
                    topic: lane.topic.to_string(),
                    reason: format!(
                        "its partition {} ends at offset {high}, and {offset} was acknowledged: \
                         it lost records or was made anew: {again}",
                        lane.partition
                    ),
                });
            }
        }
        Ok(())
    });
    checked.await
}

pub(crate) async fn is_empty(client: &Client, topic: &str, partitions: u32) -> Result<bool, Error> {
    let (client, topic) = (client.clone(), topic.to_owned());
    let looked = blocking(move || {
        let consumer = client.consumer(&client.topics().group(0, "ends"), kafka::Logged)?;
        for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
            let (_, high) = consumer.fetch_watermarks(&topic, partition, client.timeout())?;
            if high > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    });
    looked.await
}

/// Calls what blocks where blocking harms nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, kafka::Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(kafka::Error::Unavailable(error.to_string()).into()),
    }
}

pub(crate) fn wrong(topic: &str, reason: String) -> Error {
    Error::Kafka(kafka::Error::Topic {
        topic: topic.to_owned(),
        reason,
    })
}
