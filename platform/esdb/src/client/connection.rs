//! The connection to the node that leads: made again whenever it is lost.
//!
//! One task makes it, with pauses that grow, and only hands it out once the log there is known
//! to be the one that it was. Whoever has used a connection in vain says so, and waits for the
//! next one. Appends have a TCP connection of their own: no page of a read goes before them.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper_util::rt::TokioIo;
use recourse_event_store::{LogId, StoreError};
use tokio::{net::TcpStream, sync::Notify, time::Instant};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri},
};
use tower::Service;

use super::{
    naming::{self, Names},
    options::{Host, InvalidOptions, Options},
    progress::Progress,
    reading, status,
};
use crate::wire::{
    gossip::{gossip_client::GossipClient, member_info::VNodeState},
    streams::streams_client::StreamsClient,
};

/// How much of one answer may be on its way to a reader that does not take it.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// And of all answers of a connection: readers that rest must not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;
/// The largest message that is taken. EventStoreDB's are at most 17 MiB.
const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// The first pause after a connection that could not be made.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// A connection that held for so long was a good one: the next is made at once.
const SETTLED: Duration = Duration::from_secs(1);

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict each other.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// The certificate cannot be read.
    #[error("the certificate {} cannot be read", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// User and password cannot be sent.
    #[error("user and password of the event store cannot be sent")]
    Credentials,
    /// The server is not there, or lets us not in.
    #[error("the event store cannot be used: {0}")]
    Unreachable(String),
}

/// A connection to the node that leads. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    /// Connections are counted from 1.
    pub(super) number: u64,
    pub(super) appends: StreamsClient<Channel>,
    pub(super) reads: StreamsClient<Channel>,
    headers: Headers,
}

impl Link {
    /// A request as the server wants it.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.headers.put(&mut request);
        request
            .metadata_mut()
            .insert("requires-leader", MetadataValue::from_static("true"));
        request
    }
}

/// What is sent along with every request.
#[derive(Clone)]
struct Headers {
    authorization: Option<MetadataValue<Ascii>>,
}

impl Headers {
    fn new(options: &Options) -> Result<Self, Error> {
        let Some(credentials) = &options.address.credentials else {
            return Ok(Self {
                authorization: None,
            });
        };
        let text = format!("{}:{}", credentials.user, credentials.password);
        let value = format!("Basic {}", BASE64_STANDARD.encode(text));
        let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| Error::Credentials)?;
        value.set_sensitive(true);
        Ok(Self {
            authorization: Some(value),
        })
    }

    fn put<T>(&self, request: &mut Request<T>) {
        if let Some(authorization) = &self.authorization {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", authorization.clone());
        }
    }
}

/// Handles of the one connection.
#[derive(Clone)]
pub(super) struct Connection(Arc<Shared>);

struct Shared {
    options: Options,
    headers: Headers,
    tls: Option<ClientTlsConfig>,
    progress: Arc<Progress>,
    /// What the log is named where it has no name yet.
    name: LogId,
    state: Mutex<State>,
    /// There is a connection again.
    up: Notify,
    /// There is none any more.
    down: Notify,
}

struct State {
    link: Option<Link>,
    /// Why there is none.
    why: String,
    /// Who leads, where somebody said so.
    leader: Option<Host>,
    names: Option<Names>,
}

/// Why there is no connection.
struct Failure {
    why: String,
    leader: Option<Host>,
}

impl Failure {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            leader: None,
        }
    }

    fn at(node: &Host, status: &Status) -> Self {
        Self {
            why: format!("{node}: {}", status::told(status)),
            leader: status::leader(status),
        }
    }
}

impl Connection {
    pub(super) fn new(
        options: Options,
        name: LogId,
        progress: Arc<Progress>,
    ) -> Result<Self, Error> {
        options.validate()?;
        Ok(Self(Arc::new(Shared {
            headers: Headers::new(&options)?,
            tls: tls(&options)?,
            options,
            progress,
            name,
            state: Mutex::new(State {
                link: None,
                why: "it was not asked yet".to_owned(),
                leader: None,
                names: None,
            }),
            up: Notify::new(),
            down: Notify::new(),
        })))
    }

    /// The connection, as soon as there is one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where there is none until `deadline`.
    pub(super) async fn link(&self, deadline: Instant) -> Result<Link, StoreError> {
        match tokio::time::timeout_at(deadline, self.link_whenever()).await {
            Ok(link) => Ok(link),
            Err(_) => Err(self.is_up().err().unwrap_or_else(|| {
                StoreError::Unavailable("a connection came too late".to_owned())
            })),
        }
    }

    /// The connection, however long there is none.
    pub(super) async fn link_whenever(&self) -> Link {
        loop {
            let up = self.0.up.notified();
            if let Some(link) = &self.0.state().link {
                return link.clone();
            }
            up.await;
        }
    }

    /// Why there is no connection, or was none the last time.
    pub(super) fn why_down(&self) -> String {
        self.0.state().why.clone()
    }

    /// Whether there is a connection now.
    pub(super) fn is_up(&self) -> Result<(), StoreError> {
        let state = self.0.state();
        match state.link {
            Some(_) => Ok(()),
            None => Err(StoreError::Unavailable(state.why.clone())),
        }
    }

    /// The connection of this number was of no use.
    pub(super) fn lost(&self, number: u64, status: &Status) {
        let mut state = self.0.state();
        if state
            .link
            .as_ref()
            .is_some_and(|link| link.number == number)
        {
            let why = status::told(status);
            tracing::warn!(why, "lost the event store");
            state.link = None;
            state.why = why;
            state.leader = status::leader(status);
            self.0.down.notify_one();
        }
    }

    /// What the log is named, however long there is no connection to learn it from.
    pub(super) async fn names_whenever(&self) -> Names {
        loop {
            let up = self.0.up.notified();
            if let Some(names) = &self.0.state().names {
                return names.clone();
            }
            up.await;
        }
    }

    /// Sees to it that there is a connection, for ever.
    pub(super) async fn supervise(self) {
        let shared = &self.0;
        let mut pause = Pause::new(shared.options.max_pause());
        let mut number = 0_u64;
        loop {
            tokio::time::sleep(pause.next()).await;
            let leader = shared.state().leader.take();
            number = number.saturating_add(1);
            match shared.establish(leader, number).await {
                Ok((node, link)) => {
                    let since = Instant::now();
                    shared.state().link = Some(link);
                    shared.up.notify_waiters();
                    tracing::info!(%node, "connected to the event store");
                    while shared.state().link.is_some() {
                        shared.down.notified().await;
                    }
                    if since.elapsed() >= SETTLED {
                        pause.reset();
                    }
                }
                Err(failure) => shared.failed(failure),
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, failure: Failure) {
        let mut state = self.state();
        // Once a reason: it is asked again and again.
        if state.why != failure.why {
            tracing::warn!(why = failure.why, "waiting for the event store");
        }
        state.why = failure.why;
        state.leader = failure.leader;
    }

    async fn establish(&self, leader: Option<Host>, number: u64) -> Result<(Host, Link), Failure> {
        let node = match leader {
            Some(leader) => leader,
            None => self.find_leader(number).await?,
        };
        let client = |channel| {
            StreamsClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        };
        let link = Link {
            number,
            appends: client(self.channel(&node).await?),
            reads: client(self.channel(&node).await?),
            headers: self.headers.clone(),
        };
        let asked = tokio::time::timeout(self.options.timeout(), self.recognise(&node, &link));
        match asked.await {
            Ok(recognised) => recognised?,
            Err(_) => return Err(Failure::new(format!("{node} does not answer in time"))),
        }
        Ok((node, link))
    }

    /// Makes sure that the log there is the one that it was, and has what it had.
    async fn recognise(&self, node: &Host, link: &Link) -> Result<(), Failure> {
        let failed = |status: Status| Failure::at(node, &status);
        let found = naming::names(link, self.name).await.map_err(failed)?;
        let end = reading::end(link).await.map_err(failed)?;
        let last = self.progress.last_event();
        if end < last {
            return Err(Failure::new(format!(
                "the log at {node} ends at {end}, and an event at {last} was there before: it has \
                 lost its end. Bring that back, or start this process again"
            )));
        }
        let mut state = self.state();
        let known = state.names.get_or_insert_with(|| found.clone());
        if known.id != found.id {
            return Err(Failure::new(format!(
                "the log at {node} is {}, and it was {}. Start this process again to go on with \
                 that log",
                found.id, known.id
            )));
        }
        drop(state);
        self.progress.saw(end);
        Ok(())
    }

    async fn channel(&self, node: &Host) -> Result<Channel, Failure> {
        let failed = |error: tonic::transport::Error| {
            Failure::new(format!("{node}: {}", status::chain(&error)))
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let keepalive = self.options.keepalive();
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{node}"))
            .map_err(failed)?
            .http2_keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone()).map_err(failed)?;
        }
        let connecting = endpoint.connect_with_connector(connector(node.clone()));
        let connecting = tokio::time::timeout(self.options.connect_timeout(), connecting);
        match connecting.await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(Failure::new(format!("{node} lets nobody connect in time"))),
        }
    }

    /// The node that leads; of a single one, that is taken for granted until it says otherwise.
    async fn find_leader(&self, number: u64) -> Result<Host, Failure> {
        let hosts = &self.options.address.hosts;
        if !self.options.address.discover
            && let Some(only) = hosts.first()
        {
            return Ok(only.clone());
        }
        let mut failure = Failure::new("there is no node to ask");
        // Another one is asked first each time.
        let count = hosts.len().max(1);
        let first = usize::try_from(number).unwrap_or_default() % count;
        for node in hosts.iter().cycle().skip(first).take(count) {
            match self.ask_who_leads(node).await {
                Ok(leader) => return Ok(leader),
                Err(why) => failure = why,
            }
        }
        Err(failure)
    }

    async fn ask_who_leads(&self, node: &Host) -> Result<Host, Failure> {
        let mut client = GossipClient::new(self.channel(node).await?);
        let mut request = Request::new(());
        self.headers.put(&mut request);
        let asked = tokio::time::timeout(self.options.connect_timeout(), client.read(request));
        let members = match asked.await {
            Ok(Ok(answer)) => answer.into_inner().members,
            Ok(Err(status)) => return Err(Failure::at(node, &status)),
            Err(_) => return Err(Failure::new(format!("{node} does not say who leads"))),
        };
        let leader = members
            .into_iter()
            .find(|member| member.is_alive && member.state == i32::from(VNodeState::Leader));
        let end_point = leader.and_then(|member| member.http_end_point);
        match end_point.map(|at| (at.address, u16::try_from(at.port))) {
            Some((address, Ok(port))) => Ok(Host::new(address, port)),
            _ => Err(Failure::new(format!("{node} knows of no node that leads"))),
        }
    }
}

/// Connects once. A channel would connect anew by itself, to who knows which log.
fn connector(
    node: Host,
) -> impl Service<Uri, Response = TokioIo<TcpStream>, Error = io::Error, Future: Send> + Send + 'static
{
    let mut first = true;
    tower::service_fn(move |_: Uri| {
        let connects = std::mem::replace(&mut first, false);
        let node = node.clone();
        async move {
            if !connects {
                return Err(io::Error::other("the connection was lost"));
            }
            let stream = TcpStream::connect((&*node.name, node.port)).await?;
            // Appends are small and waited for.
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        }
    })
}

fn tls(options: &Options) -> Result<Option<ClientTlsConfig>, Error> {
    if !options.address.tls {
        return Ok(None);
    }
    let config = ClientTlsConfig::new();
    let Some(path) = &options.ca_file else {
        return Ok(Some(config.with_native_roots()));
    };
    let pem = fs::read(path).map_err(|source| Error::Certificate {
        path: path.clone(),
        source,
    })?;
    Ok(Some(config.ca_certificate(Certificate::from_pem(pem))))
}

/// Pauses between attempts: none, then one that grows.
pub(super) struct Pause {
    next: Duration,
    max: Duration,
}

impl Pause {
    pub(super) fn new(max: Duration) -> Self {
        Self {
            next: Duration::ZERO,
            max,
        }
    }

    pub(super) fn reset(&mut self) {
        self.next = Duration::ZERO;
    }

    pub(super) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = now
            .saturating_mul(2)
            .clamp(FIRST_PAUSE, self.max.max(FIRST_PAUSE));
        now
    }
}
