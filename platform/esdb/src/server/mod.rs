//! EventStoreDB's gRPC protocol in front of any event store of the port.
//!
//! ```text
//! official client ──gRPC──▶ Streams.Append, BatchAppend ──▶ append, wait until durable ──▶ store
//!                 ◀──────── Streams.Read ◀── pages or a subscription of the durable log ◀──┘
//! ```
//!
//! Any client of EventStoreDB or KurrentDB can browse, follow and append to a log. Calls that
//! are not here are answered `UNIMPLEMENTED`. Nothing leaves before it is durable: what is read
//! is durable, and an answer to an append waits until it is, a refusal too.
//!
//! What differs from a server of theirs: stream names are `<category>-<id>`, data is JSON, there
//! are no links, deletes, system streams or persistent subscriptions, there is one node, which
//! leads, and the time an event was `created` is the one in its metadata, 1970 where that has none.
//!
//! - [`Policy`] says what clients may append to and what they are shown.
//! - `appending`, `reading`, `following`: the calls. `filter`: which events of `$all`.
//! - `message`: events and ids as the protocol has them. `refusal`: errors as clients parse them.
//! - `naming`: what the log is called, for clients of ours. `about`: what the server can do, and who leads. `connections`: at most so many.

mod about;
mod appending;
mod connections;
mod filter;
mod following;
#[cfg(feature = "hostile")]
pub mod hostile;
mod message;
mod naming;
mod options;
mod reading;
mod refusal;
mod streams;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::Bytes;
use recourse_event_store::{EventStore, RecordedEvent, StreamName};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Router};

pub use naming::{NamingError, name_log};
pub use options::{InvalidOptions, Options};

use crate::wire::{self, streams::streams_server::StreamsServer};

/// What clients may do and see.
pub trait Policy: Send + Sync + 'static {
    /// Whether clients may append an event of this type to the stream.
    fn may_append(&self, stream: &StreamName, event_type: &str) -> bool;

    /// The event's data as clients are shown it.
    fn show(&self, event: &RecordedEvent) -> Bytes;
}

/// Clients are services of ours: they may append anywhere and see everything, secrets too.
#[derive(Clone, Copy, Debug)]
pub struct Trusted;

impl Policy for Trusted {
    fn may_append(&self, _: &StreamName, _: &str) -> bool {
        true
    }

    fn show(&self, event: &RecordedEvent) -> Bytes {
        event.event.data.clone()
    }
}

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict each other.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where it should listen.
        address: SocketAddr,
        /// Why it does not.
        source: io::Error,
    },
    /// The transport broke.
    #[error("the server for EventStoreDB's protocol ended")]
    Transport(#[source] tonic::transport::Error),
}

/// What all calls share.
struct Shared {
    store: Arc<dyn EventStore>,
    policy: Arc<dyn Policy>,
    options: Options,
    /// Where it listens.
    address: SocketAddr,
    /// How many subscriptions there were.
    subscriptions: AtomicU64,
    stop: CancellationToken,
}

/// A server that has its address.
pub struct Bound {
    listener: TcpListener,
    shared: Arc<Shared>,
    #[cfg(feature = "hostile")]
    hostility: Option<hostile::Hostility>,
}

impl Bound {
    /// Takes the address. `stop` ends what follows the log, then the server.
    ///
    /// # Errors
    /// [`Error::Options`] and [`Error::Bind`].
    pub async fn bind(
        store: Arc<dyn EventStore>,
        policy: Arc<dyn Policy>,
        options: Options,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        options.validate()?;
        let failed = |source| Error::Bind {
            address: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            shared: Arc::new(Shared {
                store,
                policy,
                options,
                address,
                subscriptions: AtomicU64::new(0),
                stop,
            }),
            #[cfg(feature = "hostile")]
            hostility: None,
        })
    }

    /// Misbehaves, for tests of clients.
    #[cfg(feature = "hostile")]
    #[must_use]
    pub fn hostile(mut self, hostility: hostile::Hostility) -> Self {
        self.hostility = Some(hostility);
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Serves until it is stopped and its calls have ended, or `drain_timeout_ms` is over.
    ///
    /// # Errors
    /// [`Error::Transport`].
    pub async fn serve(self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let options = &shared.options;
        let stop = shared.stop.clone();
        let router = self.router();
        let server = router.serve_with_incoming_shutdown(
            connections::accept(self.listener, options.max_connections),
            stop.clone().cancelled_owned(),
        );
        let drain = options.drain();
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            biased;
            served = server => served.map_err(Error::Transport),
            () = overdue => Ok(()),
        }
    }

    fn router(&self) -> Router {
        let shared = &self.shared;
        let options = &shared.options;
        let limit = options
            .max_append_bytes
            .saturating_add(MESSAGE_OVERHEAD_BYTES)
            .saturating_mul(4);
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(options.keepalive()))
            .http2_keepalive_timeout(Some(options.keepalive()))
            .max_concurrent_streams(Some(options.max_calls_per_connection));
        #[cfg(feature = "hostile")]
        if let Some(hostility) = &self.hostility {
            let streams = hostile::Service::new(Arc::clone(shared), hostility.clone());
            return server
                .add_service(StreamsServer::new(streams).max_decoding_message_size(limit))
                .add_service(hostility.gossip(shared.address))
                .add_service(about::features());
        }
        let streams = streams::Service(Arc::clone(shared));
        server
            .add_service(StreamsServer::new(streams).max_decoding_message_size(limit))
            .add_service(about::gossip(Arc::clone(shared)))
            .add_service(about::features())
    }
}

/// What a message has besides the events' bytes, at most: an append that is over the limit by
/// less than a few times as much is refused as such, not as an unreadable message.
const MESSAGE_OVERHEAD_BYTES: usize = 64 * 1024;
