//! `recourse serve`: one service, in a process of its own.

use clap::Subcommand;

mod store;

/// The services.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    Store(store::Options),
}

/// Runs a service until a signal asks it to stop.
///
/// # Errors
/// Where it cannot start, or cannot go on.
pub(crate) async fn run(service: Service) -> anyhow::Result<()> {
    match service {
        Service::Store(options) => store::run(options).await,
    }
}
