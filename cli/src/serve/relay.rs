//! `recourse serve relay`: carries the event store's log to Kafka.

use std::{num::NonZeroU32, sync::Arc};

use anyhow::Context;
use clap::Args;
use recourse_esdb::client;
use recourse_event_store::Position;
use recourse_relay::Relay;
use recourse_service::{Clock, Ids, clock::SystemClock, readiness::Need};

use super::{KeyFile, engines, process::Process};
use crate::{arguments::Usage, metrics};

/// The relay.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    server: recourse_gateway::Options,
    #[command(flatten)]
    keys: KeyFile,
    #[command(flatten)]
    event_store: client::Options,
    /// Kafka's brokers to ask first, separated by commas.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    kafka: String,
    #[command(flatten)]
    kafka_names: engines::KafkaNames,
    /// There may be nothing in Kafka yet: topics are made, and the log is relayed from its
    /// beginning. Without it, topics that are gone are an error. Where there is something it
    /// changes nothing.
    #[arg(long)]
    first_start: bool,
    /// Which generation of topics there is to be at least: one more than there is starts a new
    /// one, which is how topics are repaired and partitions are changed.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    generation: u32,
    /// After which position of the log a new generation begins: at or before what each of its
    /// consumers has seen.
    #[arg(long = "generation-from", value_name = "POSITION", default_value_t = Position::START)]
    from: Position,
    /// How many partitions the topic of events has.
    #[arg(long, value_name = "COUNT")]
    event_partitions: Option<NonZeroU32>,
    /// How many partitions each topic of commands has: at most so many members of a group work.
    #[arg(long, value_name = "COUNT")]
    command_partitions: Option<NonZeroU32>,
    /// How many brokers have each record; what the brokers do by themselves where nothing is said.
    #[arg(long, value_name = "COUNT")]
    replication_factor: Option<NonZeroU32>,
}

impl Options {
    fn relay(&self) -> recourse_relay::Options {
        let mut options = recourse_relay::Options {
            kafka: self.kafka_names.options(&self.kafka),
            first_start: self.first_start,
            generation: self.generation,
            from: self.from,
            replication_factor: self.replication_factor,
            ..recourse_relay::Options::default()
        };
        if let Some(partitions) = self.event_partitions {
            options.event_partitions = partitions;
        }
        if let Some(partitions) = self.command_partitions {
            options.command_partitions = partitions;
        }
        options
    }
}

/// Relays until a signal.
///
/// # Errors
/// Where it cannot have its address, or does not end within the bound.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let keys = options.keys.read()?;
    options.event_store.validate().map_err(Usage::new)?;
    let relay = options.relay();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Ids::from_entropy(Arc::clone(&clock)).context("no randomness")?;
    let process = Process::new("relay");
    let drain_timeout_ms = options.server.drain_timeout_ms;
    let routes = vec![metrics::plain_routes()?];
    let gateway = process
        .gateway(options.server, keys, ids.clone(), routes)
        .map_err(Usage::new)?;
    let bound = gateway.bind().await?;
    let working = process.clone();
    let work = async move {
        let own = working.readiness.dependency("relay", Need::Everything);
        let kafka = working.readiness.dependency("kafka", Need::Everything);
        let ping = engines::Ping::of_kafka(kafka, relay.kafka.clone());
        let store = engines::event_store(&options.event_store, &working, &ids, Need::Everything);
        let Some(store) = store.await else { return };
        let life = || {
            let relay = Relay::new(
                Arc::clone(&store),
                recourse_saga::commands_of,
                Arc::clone(&clock),
                relay.clone(),
            );
            let relay = relay.telling(own.clone());
            relay.run(working.end.child_token())
        };
        tokio::join!(
            working.live(&own, life),
            working.end.run_until_cancelled(ping.watch())
        );
    };
    process.run(bound, drain_timeout_ms, work).await
}
