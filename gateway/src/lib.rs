//! The single way in: one address, one set of limits, no business.
//!
//! ```text
//! socket ─▶ server ─▶ entry: id, trace, host, origin, sizes, room ─▶ router ─▶ a service's routes
//!                       ▲                                              ├──▶ history: the log
//!                       │                                              ├──▶ watch: what is new in it
//!                       │                                              ├──▶ console: the page for people
//!                       └── every failure leaves as a problem ◀────────┴──▶ about: health, errors, the document
//! ```
//!
//! [`Gateway`] composes the routes that services hand to it. In one process they are called
//! as functions, not over a loopback connection; where a service is a process of its own, its
//! routes are handed to a `forward::Forwarder`. What holds for every address is in `entry`;
//! what a service's own addresses do is the service's.

mod about;
mod console;
mod docs;
mod entry;
#[cfg(feature = "forward")]
pub mod forward;
mod history;
mod late;
mod metrics;
mod options;
mod origin;
mod server;
pub mod watch;

use std::sync::Arc;

use axum::{body::Body, http::Request, response::Response};
use recourse_event_store::EventStore;
use recourse_schema::Redactor;
use recourse_service::{Ids, contract::Routes, keys::Keys, problem, readiness};
use tokio_util::sync::CancellationToken;

pub use late::Late;
pub use options::{Error, Options};
pub use server::Bound;

/// What a gateway is made of.
pub struct Parts {
    /// The routes of the services. No two of them may share an address.
    pub routes: Vec<Routes>,
    /// The log, to be read and watched; without it those addresses are not there.
    pub log: Option<Log>,
    /// The error codes of the services; the platform's own are there by themselves.
    pub errors: Vec<&'static [problem::Code]>,
    /// What `/readyz` reports.
    pub readiness: readiness::Registry,
    /// The keys of which a request must carry one, but to ask how the process is. Without them
    /// everybody is served who can reach the address, which is checked to be this machine alone.
    pub keys: Option<Keys>,
    /// Where ids of requests come from.
    pub ids: Ids,
    /// Cancelled when the process is to stop: the server takes no more, those who wait get
    /// what there is, and what is in flight is finished within the bound.
    pub shutdown: CancellationToken,
}

/// The log as clients see it.
#[derive(Clone)]
pub struct Log {
    /// Where it is, for `/v1/streams`, `/v1/events` and what is watched.
    pub store: Arc<dyn EventStore>,
    /// What leaves the secrets out of the events that are shown. Events of types that it does
    /// not know are shown without their data.
    pub redactor: Arc<Redactor>,
    /// How sagas are watched; without it they are not.
    pub sagas: Option<watch::NewFold>,
}

impl Log {
    /// Its addresses, within the options' limits.
    pub fn routes(self, options: &Options) -> Routes {
        let history = history::routes(Arc::clone(&self.store), Arc::clone(&self.redactor));
        history.merge(watch::routes(
            self.store,
            self.redactor,
            self.sagas,
            options,
        ))
    }
}

/// The gateway. Cheap to clone.
///
/// ```no_run
/// # async fn up(parts: recourse_gateway::Parts) -> Result<(), recourse_gateway::Error> {
/// use recourse_gateway::{Gateway, Options};
///
/// let bound = Gateway::new(Options::default(), parts)?.bind().await?;
/// println!("http://{}", bound.address());
/// bound.serve().await; // until `parts.shutdown` is cancelled and the rest is drained
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gateway {
    entry: Arc<entry::Entry>,
    options: Arc<Options>,
    shutdown: CancellationToken,
}

impl Gateway {
    /// Composes a gateway.
    ///
    /// # Errors
    /// Where an option, or the parts' error codes, cannot be used.
    ///
    /// # Panics
    /// Where two routes have the same address, as `axum::Router::merge` does.
    pub fn new(options: Options, parts: Parts) -> Result<Self, Error> {
        match &parts.keys {
            Some(_) => options.validate_limits()?,
            None => options.validate()?,
        }
        let log = parts.log.map(|log| log.routes(&options));
        let routes = parts
            .routes
            .into_iter()
            .chain(log)
            .fold(Routes::new(), Routes::merge)
            .merge(about::routes(parts.readiness, &parts.errors)?)
            .merge(console::routes());
        let router = docs::documented(routes).into_router();
        let shutdown = parts.shutdown;
        let entry = Arc::new(entry::Entry::new(
            router,
            &options,
            parts.keys,
            parts.ids,
            shutdown.clone(),
        ));
        Ok(Self {
            entry,
            options: Arc::new(options),
            shutdown,
        })
    }

    /// Answers one request: what the server does for each that comes over a socket.
    pub async fn call(&self, request: Request<Body>) -> Response {
        self.entry.call(request).await
    }

    /// Takes the address; port 0 takes a free one.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub async fn bind(self) -> Result<Bound, Error> {
        server::bind(self).await
    }
}
