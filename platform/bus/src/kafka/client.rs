//! Clients of librdkafka, configured for one purpose each.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions},
    client::Client as NativeClient,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    producer::{ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};

use super::{Options, Topics};
use crate::BusError;

/// Why Kafka cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or does not answer in time.
    #[error("Kafka is not available: {0}")]
    Unavailable(String),
    /// The client cannot be made as it is configured.
    #[error("the client of Kafka cannot be configured so: {0}")]
    Configuration(String),
    /// A topic is not what it should be.
    #[error("the topic `{topic}` cannot be used: {reason}")]
    Topic {
        /// Which topic.
        topic: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl From<Error> for BusError {
    fn from(error: Error) -> Self {
        match error {
            Error::Topic { topic, reason } => Self::Topic { topic, reason },
            Error::Unavailable(reason) => Self::Unavailable(reason),
            error @ Error::Configuration(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<KafkaError> for Error {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => {
                Self::Configuration(error.to_string())
            }
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// How Kafka is reached. Cheap to clone; makes a client of librdkafka for each who asks.
#[derive(Clone, Debug)]
pub struct Client {
    options: Arc<Options>,
    topics: Topics,
}

impl Client {
    /// With these options. Nothing is reached yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            topics: Topics::new(&options.prefix),
            options: Arc::new(options),
        }
    }

    /// Its options.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The names of topics and groups.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// How long a call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.options.request_timeout_ms)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.options.properties {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &self.options.brokers)
            .set("client.id", &self.options.prefix)
            .set("socket.nagle.disable", "true")
            // A broker that restarts is back within seconds, and everybody waits for it.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("retry.backoff.ms", "20")
            .set("retry.backoff.max.ms", "500")
            // Topics are made and seen before they are used: one that is gone was deleted.
            .set("topic.metadata.propagation.max.ms", "5000")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// A consumer as a member of a group. It commits nothing by itself and never goes on
    /// elsewhere than where it was told to.
    ///
    /// # Errors
    /// [`Error::Configuration`].
    pub fn consumer<C: ConsumerContext>(
        &self,
        group: &str,
        context: C,
    ) -> Result<BaseConsumer<C>, Error> {
        let mut config = self.config();
        let session = self.options.session_timeout_ms;
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            .set("heartbeat.interval.ms", (session / 12).max(1).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "false")
            .set("fetch.wait.max.ms", self.options.fetch_wait_ms.to_string())
            .set(
                "fetch.message.max.bytes",
                self.options.max_record_bytes.to_string(),
            )
            // Else a full queue of a slow consumer stops the fetching for a second.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50")
            .set("queued.max.messages.kbytes", "16384");
        Ok(BaseConsumer::from_config_and_context(&config, context)?)
    }

    /// A consumer that reads some partition to its end and says when it is there.
    pub(super) fn scanner(&self) -> Result<BaseConsumer<Logged>, Error> {
        let mut config = self.config();
        config
            .set("group.id", self.topics.group(0, "scan"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "5");
        Ok(BaseConsumer::from_config_and_context(&config, Logged)?)
    }

    /// A producer that keeps the order of each partition and writes each record once, or says
    /// that it failed. It tries for ever where `give_up` is not said.
    ///
    /// # Errors
    /// [`Error::Configuration`].
    pub fn producer<C: ProducerContext + 'static>(
        &self,
        context: C,
        give_up: Option<Duration>,
    ) -> Result<ThreadedProducer<C>, Error> {
        let mut config = self.config();
        let give_up = give_up.map_or(0, |limit| limit.as_millis());
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", give_up.to_string())
            // What waits goes at once; what comes while it is on its way goes together.
            .set("linger.ms", "0")
            .set(
                "message.max.bytes",
                self.options.max_record_bytes.to_string(),
            )
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "1048576");
        Ok(ThreadedProducer::from_config_and_context(&config, context)?)
    }

    /// For making and looking at topics.
    ///
    /// # Errors
    /// [`Error::Configuration`].
    pub fn admin(&self) -> Result<(AdminClient<Logged>, AdminOptions), Error> {
        let admin = AdminClient::from_config_and_context(&self.config(), Logged)?;
        let options = AdminOptions::new()
            .request_timeout(Some(self.timeout()))
            .operation_timeout(Some(self.timeout()));
        Ok((admin, options))
    }

    /// The topics that there are under the prefix, with how many partitions each has.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn existing(&self) -> Result<BTreeMap<String, u32>, Error> {
        let client = self.clone();
        blocking(move || {
            let consumer = client.scanner()?;
            let existing = existing(consumer.client(), &client);
            let_go(consumer);
            existing
        })
        .await
    }
}

/// As [`Client::existing`], on a client that there is already.
pub(super) fn existing<C: ClientContext>(
    native: &NativeClient<C>,
    client: &Client,
) -> Result<BTreeMap<String, u32>, Error> {
    // Asked for all topics, a broker makes none that it does not have.
    let metadata = native.fetch_metadata(None, client.timeout())?;
    let mut found = BTreeMap::new();
    for topic in metadata.topics() {
        if topic.name().starts_with(&client.options.prefix) && topic.error().is_none() {
            let partitions = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
            found.insert(topic.name().to_owned(), partitions);
        }
    }
    Ok(found)
}

/// Closes a client where nobody waits for it: it takes its time.
pub(super) fn let_go<T: Send + 'static>(client: T) {
    tokio::task::spawn_blocking(move || drop(client));
}

/// Calls what blocks where blocking harms nobody.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or_else(|error| Err(Error::Unavailable(error.to_string())))
}

/// Whether the client goes on by itself after this error.
pub(super) fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, CoordinatorLoadInProgress, CoordinatorNotAvailable,
        LeaderNotAvailable, NotCoordinator, NotLeaderForPartition, OperationTimedOut,
        RequestTimedOut, Resolve,
    };
    matches!(
        code,
        AllBrokersDown
            | BrokerTransportFailure
            | CoordinatorLoadInProgress
            | CoordinatorNotAvailable
            | LeaderNotAvailable
            | NotCoordinator
            | NotLeaderForPartition
            | OperationTimedOut
            | RequestTimedOut
            | Resolve
    )
}

/// A context that only logs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Logged {}

/// What librdkafka says, where our own logs go.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "librdkafka says"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, message, "librdkafka says");
        }
    }
}

/// An error that belongs to no call.
pub(super) fn log_error(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        // Who reads to the end of a partition has asked to be told.
        Some(RDKafkaErrorCode::PartitionEOF) => return,
        // Said many times a second while a broker is away.
        Some(code) if is_passing(code) => {
            tracing::debug!(%error, reason, "Kafka is away for a while");
            return;
        }
        _ => {}
    }
    tracing::warn!(%error, reason, "the client of Kafka has trouble");
}
