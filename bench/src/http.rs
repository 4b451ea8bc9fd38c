//! A keep-alive HTTP/1.1 connection that costs its client little: no pool, no task of its
//! own. Client and server share the machine that is measured. The binary's commands that read
//! from a server use it too.

use std::{
    fmt, io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Body,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use recourse_event_store::Position;
use tokio::net::TcpStream;

/// The most bytes of an answer's body.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// From `http://host:port`.
    ///
    /// # Errors
    /// [`Error::Url`] for anything else.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let authority = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|rest| !rest.is_empty() && !rest.contains('/'))
            .ok_or_else(|| Error::Url(url.to_owned()))?;
        Ok(Self(if authority.contains(':') {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        }))
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.0
    }

    /// The port, where there is one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.0.rsplit_once(':')?.1.parse().ok()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one of ours.
    #[error("`{0}` is not http://host:port")]
    Url(String),
    /// Nobody listens.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The connection broke before the whole answer was there.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    /// The answer's body broke off, or is too large.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer came in time.
    #[error("no answer within {0} ms")]
    Late(u128),
    /// The request cannot be written.
    #[error("the request cannot be written")]
    Request(#[from] hyper::http::Error),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// Reads a response to its end.
    ///
    /// # Errors
    /// [`Error::Body`].
    pub async fn read<B>(response: Response<B>) -> Result<Self, Error>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body: body.map_err(Error::Body)?.to_bytes(),
        })
    }

    /// A header's text, where it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Where the answer stands in the log. To clients the token is opaque; this one belongs to
    /// the server and knows that the log's tag follows the position.
    pub(crate) fn position(&self) -> Option<Position> {
        let token = self.header("recourse-position")?;
        token.split('-').next()?.parse().ok()
    }
}

/// A server in this process: it is called as a function.
pub trait Service: Send + Sync + 'static {
    /// Answers a request.
    fn call(self: Arc<Self>, request: Request<Full<Bytes>>) -> Calling;
}

/// A call under way. A type with a name: of one without, the compiler cannot tell that it may
/// change its thread.
pub struct Calling(pub BoxFuture<'static, Result<Answer, Error>>);

impl Future for Calling {
    type Output = Result<Answer, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// Which server.
#[derive(Clone)]
pub enum Target {
    /// One that listens.
    Socket(Address),
    /// One in this process.
    InProcess(Arc<dyn Service>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => f.debug_tuple("Socket").field(address).finish(),
            Self::InProcess(_) => f.write_str("InProcess"),
        }
    }
}

impl From<Address> for Target {
    fn from(address: Address) -> Self {
        Self::Socket(address)
    }
}

impl Target {
    fn host(&self) -> &str {
        match self {
            Self::Socket(address) => &address.0,
            Self::InProcess(_) => "localhost",
        }
    }
}

/// A connection, or the will to make one.
pub struct Connection {
    target: Target,
    timeout: Duration,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<TcpStream>, Full<Bytes>>,
}

impl Connection {
    /// To a server; opened by the first request. An answer takes `timeout` at most.
    #[must_use]
    pub fn new(target: impl Into<Target>, timeout: Duration) -> Self {
        Self {
            target: target.into(),
            timeout,
            open: None,
        }
    }

    /// Opens it now, if it is not.
    pub(crate) async fn open(&mut self) -> Result<(), Error> {
        if let Target::Socket(address) = &self.target
            && self.open.is_none()
        {
            let stream = TcpStream::connect(&address.0)
                .await
                .map_err(Error::Connect)?;
            stream.set_nodelay(true).map_err(Error::Connect)?;
            let (sender, driver) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(Error::Broken)?;
            self.open = Some(Open { sender, driver });
        }
        Ok(())
    }

    /// One request and its whole answer. After an error the connection is made anew by the next
    /// request.
    ///
    /// # Errors
    /// Where there is no whole answer; an answer that says no is an answer.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.target.host());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body))?;
        let timeout = self.timeout;
        let result = tokio::time::timeout(timeout, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(Error::Late(timeout.as_millis())));
        if result.is_err() {
            self.open = None;
        }
        result
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        if let Target::InProcess(service) = &self.target {
            return Arc::clone(service).call(request).await;
        }
        self.open().await?;
        // Just opened, or open before.
        let Some(Open { sender, driver }) = &mut self.open else {
            return Err(Error::Connect(io::ErrorKind::NotConnected.into()));
        };
        let mut ended = false;
        let answer = {
            let mut answer = pin!(async {
                sender.ready().await.map_err(Error::Broken)?;
                let response = sender.send_request(request).await.map_err(Error::Broken)?;
                Answer::read(response).await
            });
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                // What came before the end is there still.
                _ = driver => {
                    ended = true;
                    answer.await
                }
            }
        };
        let closes = answer.as_ref().is_ok_and(|answer| {
            answer
                .header("connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        });
        if ended || closes {
            self.open = None;
        }
        answer
    }
}
