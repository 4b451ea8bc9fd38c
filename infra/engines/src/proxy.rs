//! A wire that a test cuts, stalls and slows: TCP in front of any server.

#![expect(
    clippy::disallowed_methods,
    reason = "it holds back bytes of real processes, which have no virtual time"
)]

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt;

/// The most that is handed on at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How long a side that takes nothing is waited for before the connection is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a wire is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// What comes is handed on.
    #[default]
    Whole,
    /// Connections are reset, and new ones at once.
    Cut,
    /// Connections are taken, and nothing is handed on, for as long as it is so.
    Stalled,
    /// Each chunk is held back for so long, in either direction.
    Slow(Duration),
    /// Each connection is reset once so many more bytes have come from one of its ends: in the middle
    /// of what they say. Those bytes are handed on. New connections have as many.
    CutAfter(u64),
}

/// A port of this machine that leads to a server. Dropped, it cuts its connections.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// The state is another.
    changed: Condvar,
    cuts: AtomicU64,
}

struct State {
    wire: Wire,
    /// Counts the changes of `wire`.
    change: u64,
    server: Option<SocketAddr>,
    connections: Vec<Weak<Connection>>,
    is_over: bool,
}

/// Two ends that hear each other.
struct Connection {
    ends: [TcpStream; 2],
    is_cut: AtomicBool,
    /// Of the last [`Wire::CutAfter`]: which change it was and how much came since, from both.
    counted: Mutex<(u64, [u64; 2])>,
}

impl Proxy {
    /// A port that refuses everybody until it is told where it leads.
    ///
    /// # Errors
    /// Where there is no port to be had.
    pub fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                wire: Wire::Whole,
                change: 0,
                server: None,
                connections: Vec::new(),
                is_over: false,
            }),
            changed: Condvar::new(),
            cuts: AtomicU64::new(0),
        });
        let ours = Arc::clone(&shared);
        let accepting = thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || accept(&listener, &ours))?;
        Ok(Self {
            shared,
            address,
            accepting: Some(accepting),
        })
    }

    /// Where clients find it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to this server: `HOST:PORT`.
    ///
    /// # Errors
    /// Where that is no address.
    pub fn lead_to(&self, server: &str) -> io::Result<()> {
        let server = server.to_socket_addrs()?.next();
        lock(&self.shared.state).server = Some(server.ok_or(ErrorKind::AddrNotAvailable)?);
        Ok(())
    }

    /// Has the wire be so from here on.
    pub fn set(&self, wire: Wire) {
        let mut state = lock(&self.shared.state);
        state.wire = wire;
        state.change = state.change.saturating_add(1);
        let cut = match wire {
            Wire::Cut => std::mem::take(&mut state.connections),
            _ => Vec::new(),
        };
        drop(state);
        self.shared.cut(&cut);
        self.shared.changed.notify_all();
    }

    /// How many connections it has cut so far, those included that were refused.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.is_over = true;
        let connections = std::mem::take(&mut state.connections);
        drop(state);
        self.shared.cut(&connections);
        self.shared.changed.notify_all();
        // It waits for a connection: this is the last one.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

impl Shared {
    fn cut(&self, connections: &[Weak<Connection>]) {
        for connection in connections.iter().filter_map(Weak::upgrade) {
            self.cuts.fetch_add(1, Relaxed);
            connection.reset();
        }
    }

    /// Waits until a chunk may be handed on, and says how much of it; none where the connection is
    /// cut.
    fn pass(&self, connection: &Connection, from: usize, bytes: usize) -> Option<usize> {
        let mut state = lock(&self.state);
        let mut held_since = None;
        loop {
            if state.is_over || connection.is_cut.load(Relaxed) {
                return None;
            }
            match state.wire {
                Wire::Cut => return None,
                Wire::Whole => return Some(bytes),
                Wire::Stalled => {
                    state = wait(&self.changed, state, None);
                }
                Wire::Slow(delay) => {
                    let since = *held_since.get_or_insert_with(Instant::now);
                    let left = delay.saturating_sub(since.elapsed());
                    if left.is_zero() {
                        return Some(bytes);
                    }
                    state = wait(&self.changed, state, Some(left));
                }
                Wire::CutAfter(most) => {
                    let mut counted = lock(&connection.counted);
                    if counted.0 != state.change {
                        *counted = (state.change, [0; 2]);
                    }
                    let came = counted.1.get_mut(from)?;
                    let left = most.saturating_sub(*came);
                    *came = came.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
                    let left = usize::try_from(left).unwrap_or(usize::MAX);
                    return Some(left.min(bytes));
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    longest: Option<Duration>,
) -> MutexGuard<'a, T> {
    match longest {
        None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(longest) => {
            let waited = changed.wait_timeout(guard, longest);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

impl Connection {
    /// Ends it for both, not in good order: whoever uses it still lets go of it.
    fn reset(&self) {
        self.is_cut.store(true, Relaxed);
        for end in &self.ends {
            reset_when_closed(end);
            // Wakes who reads; the last who lets go of it closes it.
            drop(end.shutdown(Shutdown::Read));
        }
    }
}

fn reset_when_closed(end: &TcpStream) {
    // One that has ended already needs no reset.
    let _ = sockopt::set_socket_linger(end, Some(Duration::ZERO));
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        let state = lock(&shared.state);
        if state.is_over {
            return;
        }
        let (wire, server) = (state.wire, state.server);
        drop(state);
        match accepted {
            Ok((client, _)) => take(shared, client, wire, server),
            // So many files are open that there is none for it.
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

fn take(shared: &Arc<Shared>, client: TcpStream, wire: Wire, server: Option<SocketAddr>) {
    if wire == Wire::Cut {
        shared.cuts.fetch_add(1, Relaxed);
        return reset_when_closed(&client);
    }
    let server = server.and_then(|server| TcpStream::connect(server).ok());
    let Some(server) = server else {
        return reset_when_closed(&client);
    };
    let Ok(connection) = join(client, server) else {
        return;
    };
    let mut state = lock(&shared.state);
    // It was cut in the meantime.
    if state.wire == Wire::Cut {
        shared.cuts.fetch_add(1, Relaxed);
        return connection.reset();
    }
    state
        .connections
        .retain(|connection| connection.strong_count() > 0);
    state.connections.push(Arc::downgrade(&connection));
    drop(state);
    for from in [0, 1] {
        let (shared, ours) = (Arc::clone(shared), Arc::clone(&connection));
        let wire = thread::Builder::new().name("wire".to_owned());
        if wire.spawn(move || hand_on(&shared, &ours, from)).is_err() {
            connection.reset();
        }
    }
}

fn join(client: TcpStream, server: TcpStream) -> io::Result<Arc<Connection>> {
    let ends = [client, server];
    for end in &ends {
        end.set_nodelay(true)?;
        end.set_write_timeout(Some(LOOK_EVERY))?;
    }
    Ok(Arc::new(Connection {
        ends,
        is_cut: AtomicBool::new(false),
        counted: Mutex::new((0, [0; 2])),
    }))
}

/// Hands on what one end says until it has said all, or the connection is cut.
fn hand_on(shared: &Shared, connection: &Connection, from: usize) {
    let [client, server] = &connection.ends;
    let (mut source, sink) = if from == 0 {
        (client, server)
    } else {
        (server, client)
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match source.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return connection.reset(),
        };
        // It says so itself where it is cut.
        let Some(passed) = shared.pass(connection, from, read) else {
            return connection.reset();
        };
        if read == 0 {
            // The end of what it says is handed on as everything is.
            drop(sink.shutdown(Shutdown::Write));
            return;
        }
        if write(connection, sink, chunk.get(..passed).unwrap_or_default()).is_err() {
            return connection.reset();
        }
        if passed < read {
            shared.cuts.fetch_add(1, Relaxed);
            return connection.reset();
        }
    }
}

/// Writes all of it, however slowly it is taken.
fn write(connection: &Connection, mut sink: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        if connection.is_cut.load(Relaxed) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        match sink.write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
