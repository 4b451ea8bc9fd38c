//! Where log lines go and what they look like. Set up once, by `main`.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How the process tells what it does.
#[derive(Clone, Debug, Args)]
// Flattened into other options, which the group of a struct's name would collide with.
#[group(skip)]
pub struct Options {
    /// Which log lines to write, in the form of the crate tracing's filters: `info`,
    /// `recourse_gateway=debug,warn`. `info` where nobody says.
    #[arg(long, global = true, value_name = "FILTER", value_parser = filter)]
    pub log: Option<String>,
    /// The form of a log line.
    #[arg(long, value_enum, default_value_t, global = true, value_name = "FORM")]
    pub log_format: Format,
}

/// A filter that can be read.
fn filter(text: &str) -> Result<String, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Plain,
    /// One JSON object a line, for machines.
    Json,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error("`{filter}` is not a filter of log lines")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something in the process has set it up before.
    #[error("telemetry is already set up")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts writing log lines to standard error, which leaves standard output to what the
/// command was asked for.
///
/// # Errors
/// Where the filter is wrong, or where it was called before.
pub fn start(options: &Options) -> Result<(), Error> {
    let filter = options.log.as_deref().unwrap_or("info");
    let filter = EnvFilter::try_new(filter).map_err(|source| Error::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    match options.log_format {
        Format::Plain => registry
            .with(
                fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        Format::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    }
    .map_err(Error::Twice)
}
