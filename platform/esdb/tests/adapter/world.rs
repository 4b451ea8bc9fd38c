//! Servers that can be stopped and started again where they were, and the adapter on them.

use std::{any::Any, net::SocketAddr, sync::Arc};

use recourse_esdb::{
    client::{self, Store},
    server::{Bound, Options, Trusted, hostile::Hostility},
};
use recourse_event_store::{EventStore, LogId, embedded, memory};
use tokio::{
    net::TcpStream,
    runtime::{self, Runtime},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const LOG: LogId = LogId(Uuid::from_u128(7));

pub(crate) fn memory() -> Arc<dyn EventStore> {
    Arc::new(memory::Store::new(LogId(Uuid::from_u128(1))))
}

/// In a folder of its own.
pub(crate) fn embedded() -> (Arc<dyn EventStore>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let options = embedded::Options {
        segment_bytes: 4 * 1024 * 1024,
        max_append_bytes: 2 * 1024 * 1024,
        ..embedded::Options::new(folder.path())
    };
    (Arc::new(embedded::Store::open(options).unwrap()), folder)
}

/// A server in front of a store.
pub(crate) struct Serving {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) address: SocketAddr,
    hostility: Option<Hostility>,
    /// Its own, so that all of it can be taken away at once.
    runtime: Option<Runtime>,
    _keep: Vec<Box<dyn Any>>,
}

impl Serving {
    pub(crate) async fn start(store: Arc<dyn EventStore>) -> Self {
        Self::start_as(store, None).await
    }

    pub(crate) async fn start_as(store: Arc<dyn EventStore>, hostility: Option<Hostility>) -> Self {
        let mut serving = Self {
            store,
            hostility,
            address: "127.0.0.1:0".parse().unwrap(),
            runtime: None,
            _keep: Vec::new(),
        };
        serving.begin().await;
        serving
    }

    pub(crate) fn keeping(mut self, keep: impl Any) -> Self {
        self._keep.push(Box::new(keep));
        self
    }

    /// At the same address as before.
    pub(crate) async fn begin(&mut self) {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let binding = Bound::bind(
            Arc::clone(&self.store),
            Arc::new(Trusted),
            Options::new(self.address),
            CancellationToken::new(),
        );
        let bound = runtime.spawn(binding).await.unwrap().unwrap();
        let bound = match &self.hostility {
            Some(hostility) => bound.hostile(hostility.clone()),
            None => bound,
        };
        self.address = bound.address();
        runtime.spawn(bound.serve());
        self.runtime = Some(runtime);
    }

    /// As kill -9 does: every connection is cut, and whatever it was doing there ends.
    pub(crate) async fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn options(&self) -> client::Options {
        let address = format!("esdb://{}?tls=false", self.address);
        client::Options::new(address.parse().unwrap())
    }

    pub(crate) async fn connect(&self) -> Store {
        Store::connect(self.options(), LOG).await.unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // One that is dropped would be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
