//! The socket: connections within a bound, and an end in good order.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use recourse_service::shutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Error, Gateway, watch::Cut};

/// How long to wait when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A gateway that has its address.
pub struct Bound {
    gateway: Gateway,
    listener: TcpListener,
    address: SocketAddr,
}

pub(crate) async fn bind(gateway: Gateway) -> Result<Bound, Error> {
    let address = gateway.options.listen;
    let failed = |source| Error::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound {
        gateway,
        listener,
        address,
    })
}

impl Bound {
    /// The address in use.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the shutdown token is cancelled, then finishes what is in flight within
    /// `drain_timeout_ms`. Says whether all of it was finished.
    pub async fn serve(self) -> bool {
        let Self {
            gateway, listener, ..
        } = self;
        let connections = TaskTracker::new();
        let abandon = CancellationToken::new();
        let room = Arc::new(Semaphore::new(gateway.options.max_connections));
        loop {
            let (stream, permit) = tokio::select! {
                biased;
                () = gateway.shutdown.cancelled() => break,
                accepted = accept(&listener, &room) => accepted,
            };
            let connection = serve_connection(gateway.clone(), stream, permit);
            let abandon = abandon.clone();
            connections.spawn(async move {
                tokio::select! {
                    biased;
                    () = abandon.cancelled() => {}
                    () = connection => {}
                }
            });
        }
        drop(listener);
        let timeout = Duration::from_millis(gateway.options.drain_timeout_ms);
        let drained = shutdown::drain(&connections, timeout).await;
        if !drained {
            tracing::warn!(
                connections = connections.len(),
                "closing connections whose requests are not finished"
            );
            abandon.cancel();
            connections.wait().await;
        }
        drained
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        // Nobody closes this semaphore.
        let Ok(permit) = Arc::clone(room).acquire_owned().await else {
            std::future::pending::<()>().await;
            continue;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                // One connection that was gone again, or no descriptors left: neither is the
                // end of the server.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(gateway: Gateway, stream: TcpStream, _permit: OwnedSemaphorePermit) {
    // Answers are small: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let idle_timeout = Duration::from_millis(gateway.options.idle_timeout_ms);
    // Headers over our own limit must still be read to be refused with a problem; past this
    // hyper answers a bare 431 by itself.
    let max_buf_bytes = gateway
        .options
        .max_header_bytes
        .saturating_mul(4)
        .max(64 * 1024);
    let shutdown = gateway.shutdown.clone();
    let cut = Cut::default();
    let cutting = cut.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let gateway = gateway.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(cutting.clone());
        async move { Ok::<_, Infallible>(gateway.call(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .max_buf_size(max_buf_bytes)
        .max_headers(256)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        // What is still to be written stays unwritten: its reader does not take it.
        () = cut.0.cancelled() => return,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = connection => ended,
                () = cut.0.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
