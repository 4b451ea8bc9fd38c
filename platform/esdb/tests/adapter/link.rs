//! A way to a server that can be made to stand still, or to lose its connections without a word.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

/// What connects to its address is connected to the server.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    _running: JoinSet<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Nothing passes.
    stalled: bool,
    /// Connections before this one pass nothing any more.
    first: usize,
    /// How many there were.
    count: usize,
}

impl Link {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State::default()));
        let told = Arc::clone(&state);
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut ways = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(server).await.unwrap();
                let (client_reads, client_writes) = client.into_split();
                let (server_reads, server_writes) = server.into_split();
                let number = told.borrow().count;
                told.send_modify(|state| state.count += 1);
                ways.spawn(pass(number, client_reads, server_writes, told.subscribe()));
                ways.spawn(pass(number, server_reads, client_writes, told.subscribe()));
            }
        });
        Self {
            address,
            state,
            _running: running,
        }
    }

    /// Nothing passes from now on, or everything does again.
    pub(crate) fn stall(&self, stalled: bool) {
        self.state.send_modify(|state| state.stalled = stalled);
    }

    /// Nothing passes any more over what is connected now, and nobody is told.
    pub(crate) fn lose(&self) {
        self.state.send_modify(|state| state.first = state.count);
    }
}

async fn pass(
    number: usize,
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer).await
        && count > 0
    {
        let passes = |state: &State| !state.stalled && number >= state.first;
        if state.wait_for(passes).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
