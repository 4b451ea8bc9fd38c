//! The topic of the relay: which generation is current, and how far the relay has come in each.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::Message as _,
    topic_partition_list::Offset,
};

use super::{
    Generation,
    client::{self, Client, Error, Logged},
};

/// The key of a record of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyed {
    /// What a generation is.
    Generation(u32),
    /// How far the relay has come in a generation.
    Checkpoint(u32),
}

impl Keyed {
    /// `generation.<number>` or `checkpoint.<number>`.
    #[must_use]
    pub fn key(self) -> String {
        match self {
            Self::Generation(number) => format!("generation.{number}"),
            Self::Checkpoint(number) => format!("checkpoint.{number}"),
        }
    }

    fn parse(key: &[u8]) -> Option<Self> {
        let (kind, number) = std::str::from_utf8(key).ok()?.split_once('.')?;
        let number = number.parse().ok()?;
        match kind {
            "generation" => Some(Self::Generation(number)),
            "checkpoint" => Some(Self::Checkpoint(number)),
            _ => None,
        }
    }
}

/// What the topic says, and which others there are.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The topics that there are under the prefix, with how many partitions each has.
    pub topics: BTreeMap<String, u32>,
    generations: BTreeMap<u32, Generation>,
    checkpoints: BTreeMap<u32, Vec<u8>>,
}

impl State {
    /// Reads the whole topic.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::Topic`] where it holds what no relay wrote.
    pub async fn read(client: &Client) -> Result<Self, Error> {
        let client = client.clone();
        client::blocking(move || read(&client)).await
    }

    /// The generation that is read now.
    #[must_use]
    pub fn current(&self) -> Option<&Generation> {
        self.generations.values().next_back()
    }

    /// The generation before this one.
    #[must_use]
    pub fn before(&self, number: u32) -> Option<&Generation> {
        self.generations
            .range(..number)
            .next_back()
            .map(|(_, it)| it)
    }

    /// How far the relay has come in this generation, as it wrote it.
    #[must_use]
    pub fn checkpoint(&self, generation: u32) -> Option<&[u8]> {
        self.checkpoints.get(&generation).map(Vec::as_slice)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        match Keyed::parse(key) {
            Some(Keyed::Generation(number)) => {
                let generation =
                    serde_json::from_slice(value).map_err(|error| error.to_string())?;
                self.generations.insert(number, generation);
            }
            Some(Keyed::Checkpoint(number)) => {
                self.checkpoints.insert(number, value.to_vec());
            }
            None => return Err(format!("its key is {:?}", String::from_utf8_lossy(key))),
        }
        Ok(())
    }
}

fn read(client: &Client) -> Result<State, Error> {
    let topic = client.topics().relay();
    let consumer = client.scanner()?;
    let mut state = State {
        topics: client::existing(consumer.client(), client)?,
        ..State::default()
    };
    if state.topics.contains_key(&topic) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Beginning)?;
        consumer.assign(&list)?;
        read_to_the_end(&consumer, client.timeout(), |key, value| {
            state.take(key, value).map_err(|what| Error::Topic {
                topic: topic.clone(),
                reason: format!("a record in it is none of a relay: {what}"),
            })
        })?;
    }
    client::let_go(consumer);
    Ok(state)
}

/// Hands on what a partition holds. The timeout is that of each next record.
fn read_to_the_end(
    consumer: &BaseConsumer<Logged>,
    timeout: Duration,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    loop {
        match consumer.poll(timeout) {
            None => {
                let silent = "the topic of the relay cannot be read in time";
                return Err(Error::Unavailable(silent.to_owned()));
            }
            Some(Ok(message)) => {
                if let (Some(key), Some(value)) = (message.key(), message.payload()) {
                    take(key, value)?;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(KafkaError::MessageConsumption(code))) if client::is_passing(code) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
}
