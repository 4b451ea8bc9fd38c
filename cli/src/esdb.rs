//! `recourse up --esdb-listen`: the log for clients of EventStoreDB.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use clap::Args;
use recourse_esdb::server::{Bound, Policy, Trusted};
use recourse_event_store::{EventStore, RecordedEvent, StreamName};
use recourse_schema::Redactor;
use tokio_util::sync::CancellationToken;

use crate::{arguments::Usage, running::Running, types};

/// What comes before the first dash of our streams, and before the first dot of our events'
/// types: services follow the log by either, and would stop at an event that is not theirs.
const OURS: [&str; 9] = [
    "order",
    "payment",
    "stock",
    "product",
    "saga",
    "projection",
    "command",
    // What the log is called.
    "recourse",
    "log",
];

/// Whether and how the log is served to clients of EventStoreDB.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Serves the log to clients of EventStoreDB on this address too. They read without
    /// secrets, and append to streams and types that are not ours.
    #[arg(long, value_name = "ADDRESS")]
    esdb_listen: Option<SocketAddr>,
    /// Clients of EventStoreDB are services of ours: they append anywhere and see secrets.
    #[arg(long, requires = "esdb_listen")]
    esdb_trusted: bool,
}

impl Options {
    /// Checks them, before anything is made.
    ///
    /// # Errors
    /// Where others would be served and nobody said so.
    pub(crate) fn validate(&self, gateway: &recourse_gateway::Options) -> Result<(), Usage> {
        match self.server(gateway) {
            Some(options) => options.validate().map_err(Usage::new),
            None => Ok(()),
        }
    }

    fn server(
        &self,
        gateway: &recourse_gateway::Options,
    ) -> Option<recourse_esdb::server::Options> {
        let mut options = recourse_esdb::server::Options::new(self.esdb_listen?);
        options.insecure_listen = gateway.insecure_listen;
        options.drain_timeout_ms = gateway.drain_timeout_ms;
        Some(options)
    }

    /// Takes the address, where there is one.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub(crate) async fn bind(
        &self,
        store: Arc<dyn EventStore>,
        gateway: &recourse_gateway::Options,
        stop: CancellationToken,
    ) -> anyhow::Result<Option<Bound>> {
        let Some(options) = self.server(gateway) else {
            return Ok(None);
        };
        let policy: Arc<dyn Policy> = if self.esdb_trusted {
            Arc::new(Trusted)
        } else {
            Arc::new(Guest {
                redactor: types::redactor()?,
            })
        };
        let bound = Bound::bind(store, policy, options, stop).await?;
        tracing::info!(address = %bound.address(), "serving the log to clients of EventStoreDB");
        Ok(Some(bound))
    }
}

/// Serves until `stop`. Where it cannot go on, nothing does: whoever relies on it would wait.
pub(crate) async fn serve(bound: Option<Bound>, running: &Running, stop: &CancellationToken) {
    let Some(bound) = bound else {
        return;
    };
    let _part = running.begin("esdb");
    if let Err(error) = bound.serve().await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "cannot serve the log any more"
        );
        stop.cancel();
    }
}

/// Clients that are not ours: what is ours they neither write nor see the secrets of.
struct Guest {
    redactor: Redactor,
}

impl Policy for Guest {
    fn may_append(&self, stream: &StreamName, event_type: &str) -> bool {
        !is_ours(stream, event_type)
    }

    fn show(&self, event: &RecordedEvent) -> Bytes {
        let data = &event.event.data;
        let event_type = &event.event.event_type;
        if is_ours(&event.stream, event_type) {
            Bytes::from(self.redactor.show(event_type, data).get().to_owned())
        } else {
            // It came from such a client.
            data.clone()
        }
    }
}

fn is_ours(stream: &StreamName, event_type: &str) -> bool {
    let noun = event_type
        .split_once('.')
        .map_or(event_type, |(noun, _)| noun);
    OURS.contains(&stream.category()) || OURS.contains(&noun)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory as _, Parser as _};
    use recourse_event_store::{NewEvent, Position};
    use uuid::Uuid;

    use super::*;
    use crate::command::CommandLine;

    fn guest() -> Guest {
        Guest {
            redactor: types::redactor().unwrap(),
        }
    }

    fn shown(stream: &str, event_type: &str, data: &'static str) -> String {
        let event = NewEvent::raw(Uuid::nil(), event_type, data, "");
        let stream = StreamName::parse(stream).unwrap();
        let event = event.record(Position::dense(1), stream, 0);
        String::from_utf8(guest().show(&event).into()).unwrap()
    }

    #[test]
    fn the_command_line_takes_them() {
        CommandLine::command().debug_assert();
        let parse = |more: &[&str]| {
            CommandLine::try_parse_from(["recourse", "up"].iter().chain(more).copied())
        };
        parse(&["--esdb-listen", "127.0.0.1:2113", "--esdb-trusted"]).unwrap();
        assert!(parse(&["--esdb-trusted"]).is_err());
    }

    #[test]
    fn every_type_of_ours_is_ours() {
        let catalog = types::catalog().unwrap();
        let nouns: BTreeSet<_> = catalog
            .iter()
            .filter(|(name, _)| name.ends_with(".v1"))
            .map(|(name, _)| name.split('.').next().unwrap().to_owned())
            .collect();
        assert!(nouns.contains("order"));
        for noun in nouns {
            assert!(OURS.contains(&&*noun), "{noun}");
        }
    }

    #[test]
    fn guests_append_to_what_is_not_ours() {
        let may = |stream: &str, event_type: &str| {
            guest().may_append(&StreamName::parse(stream).unwrap(), event_type)
        };
        assert!(may("invoice-1", "invoice.written.v1"));
        assert!(may("orders-1", "OrderSeen"));
        assert!(!may("order-1", "invoice.written.v1"));
        assert!(!may("invoice-1", "payment.captured.v1"));
        assert!(!may("invoice-1", "command.refused.v1"));
    }

    #[test]
    fn guests_see_their_own_data_and_none_of_our_secrets() {
        let secret = r#"{"card":"tok_visa"}"#;
        assert_eq!(shown("invoice-1", "invoice.written.v1", secret), secret);
        assert!(!shown("order-1", "order.unheard-of.v1", secret).contains("tok_visa"));
        assert!(!shown("invoice-1", "order.unheard-of.v1", secret).contains("tok_visa"));
    }
}
