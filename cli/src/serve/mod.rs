//! `recourse serve`: one service, a process of its own, on engines that several processes share.
//!
//! ```text
//! client ─▶ gateway ──HTTP, key──▶ catalog, inventory, orders, orchestrator, projections
//!              │ reads                 │ append, read            ▲ commands, events
//!              ▼                       ▼                         │
//!           event store ◀──────────────┴── relay ──▶ Kafka ──────┘
//! ```
//!
//! The services are those of `recourse up`; [`process`] is what they get instead of one another:
//! an address with a key, a wait for their engines, and another life after an error. [`engines`]
//! says which engine serves which port.

mod engines;
mod gateway;
mod process;
mod reading;
mod relay;
mod service;
mod sole;
mod store;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use recourse_service::keys::Keys;

use crate::{arguments::Usage, system::Service};

pub(crate) use self::reading::Engines;

/// Run one service as a process of its own.
#[derive(Debug, Subcommand)]
pub(crate) enum Serve {
    /// The single way in: hands requests on to the services, shows the log.
    Gateway(Box<gateway::Options>),
    /// Products, written by clients.
    #[command(mut_arg("listen", |arg| arg.default_value(usual(Service::Catalog).to_string())))]
    Catalog(Box<service::Options>),
    /// Stock: receipts and adjustments by clients, holds by sagas.
    #[command(mut_arg("listen", |arg| arg.default_value(usual(Service::Inventory).to_string())))]
    Inventory(Box<service::Options>),
    /// Orders and returns.
    #[command(mut_arg("listen", |arg| arg.default_value(usual(Service::Orders).to_string())))]
    Orders(Box<service::Options>),
    /// Payments: calls the provider.
    #[command(mut_arg("listen", |arg| arg.default_value(usual(Service::Payments).to_string())))]
    Payments(Box<service::Options>),
    /// The sagas, and what operators do to them.
    #[command(mut_arg("listen", |arg| arg.default_value(usual(Service::Orchestrator).to_string())))]
    Orchestrator(Box<service::Options>),
    /// The views, and queries.
    #[command(mut_arg("listen", |arg| arg.default_value(usual(Service::Projections).to_string())))]
    Projections(Box<service::Options>),
    /// Carries the event store's log to Kafka, in order.
    #[command(mut_arg("listen", |arg| arg.default_value(RELAY.to_string())))]
    Relay(Box<relay::Options>),
    Store(store::Options),
}

/// Where the relay says how it is, unless somebody says otherwise.
const RELAY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7187);

/// Where a service is unless somebody says otherwise: beside the gateway's 7171.
const fn usual(service: Service) -> SocketAddr {
    let port = match service {
        Service::Catalog => 7181,
        Service::Inventory => 7182,
        Service::Orders => 7183,
        Service::Payments => 7184,
        Service::Orchestrator => 7185,
        Service::Projections => 7186,
    };
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// The keys that processes know each other by.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(crate) struct KeyFile {
    /// A file with a key a line. A service takes requests with any of them only; the gateway sends
    /// the first. Without it a service can be reached from this machine alone.
    #[arg(long, value_name = "FILE")]
    service_key_file: Option<PathBuf>,
}

impl KeyFile {
    fn read(&self) -> Result<Option<Keys>, Usage> {
        let keys = self.service_key_file.as_deref().map(Keys::read);
        keys.transpose().map_err(|error| Usage::new(told(&error)))
    }
}

/// Runs it until a signal asks it to stop.
pub(crate) async fn run(serve: Serve) -> anyhow::Result<ExitCode> {
    let (service, options) = match serve {
        Serve::Gateway(options) => {
            gateway::run(*options).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Serve::Relay(options) => {
            relay::run(*options).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Serve::Store(options) => {
            store::run(options).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Serve::Catalog(options) => (Service::Catalog, options),
        Serve::Inventory(options) => (Service::Inventory, options),
        Serve::Orders(options) => (Service::Orders, options),
        Serve::Payments(options) => (Service::Payments, options),
        Serve::Orchestrator(options) => (Service::Orchestrator, options),
        Serve::Projections(options) => (Service::Projections, options),
    };
    service::run(service, *options).await?;
    Ok(ExitCode::SUCCESS)
}

/// An error with what caused it, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
