//! A server for the tests, one a test process, in which each test has databases of its own.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use recourse_engines::Engine;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::Options;

/// The server that tests share; none where there is no such program.
pub(super) fn engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    ENGINE.get_or_init(recourse_engines::postgres).as_ref()
}

/// A new, empty database of a server.
pub(super) async fn database(engine: &Engine) -> Options {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
    let mut server = PgConnection::connect(engine.address()).await.unwrap();
    // What is tested is not the disk.
    for sql in [
        format!("CREATE DATABASE {name}"),
        format!("ALTER DATABASE {name} SET synchronous_commit TO off"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut server)
            .await
            .unwrap();
    }
    options(engine, &name)
}

/// How a database of a server is used.
pub(super) fn options(engine: &Engine, database: &str) -> Options {
    let (server, _) = engine.address().rsplit_once('/').unwrap();
    Options {
        // Tests run side by side, and the server has a hundred.
        max_connections: 2,
        ..Options::new(format!("{server}/{database}").parse().unwrap())
    }
}

/// A connection past the adapters.
pub(super) async fn past(options: &Options) -> PgConnection {
    let address = String::from(options.address.clone());
    PgConnection::connect(&address).await.unwrap()
}

/// The plan of a statement that asks for nothing.
pub(super) async fn plan(connection: &mut PgConnection, sql: &str) -> String {
    let explained = format!("EXPLAIN {sql}");
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explained))
        .fetch_all(connection)
        .await
        .unwrap();
    rows.join("\n")
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Before the server gets a message.
    Before,
    /// After it got one, before it answers.
    After,
    /// The server ends it itself, before it gets a message.
    Terminated,
}

/// A way to the server that can be cut at each message.
pub(super) struct Way {
    /// The server by this way.
    pub(super) options: Options,
    listener: TcpListener,
    server: Options,
    armed: Armed,
}

/// After how many further messages a connection is cut, and how.
type Armed = Arc<Mutex<Option<(usize, Cut)>>>;

impl Way {
    pub(super) async fn to(server: &Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = String::from(server.address.clone());
        let (_, database) = address.rsplit_once('/').unwrap();
        let address = format!("postgres://postgres@127.0.0.1:{port}/{database}");
        Self {
            options: Options {
                address: address.parse().unwrap(),
                ..server.clone()
            },
            listener,
            server: server.clone(),
            armed: Armed::default(),
        }
    }

    /// From now on cuts once, after so many messages.
    pub(super) fn arm(&self, messages: usize, cut: Cut) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((messages, cut));
    }

    /// Says whether it has not cut since, and will not.
    pub(super) fn disarm(&self) -> bool {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        armed.take().is_some()
    }

    /// Carries what comes, for as long as `work` takes.
    pub(super) async fn carry<T>(&self, work: impl Future<Output = T>) -> T {
        let mut connections = JoinSet::new();
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                accepted = self.listener.accept() => {
                    let (client, _) = accepted.unwrap();
                    connections.spawn(carry(client, self.server.clone(), Arc::clone(&self.armed)));
                }
                Some(ended) = connections.join_next() => ended.unwrap(),
            }
        }
    }
}

/// Carries one connection until either side or the cut ends it.
async fn carry(mut client: TcpStream, server: Options, armed: Armed) {
    let address = server.address.to_string();
    let (server_address, _) = address.split_once('/').unwrap();
    let mut to_server = TcpStream::connect(server_address).await.unwrap();
    let port = to_server.local_addr().unwrap().port();
    let mut message = vec![0; 1 << 16];
    let mut answer = vec![0; 1 << 16];
    loop {
        tokio::select! {
            biased;
            read = client.read(&mut message) => {
                let Ok(1..) = read else { return };
                let sent = &message[..read.unwrap()];
                match count(&armed) {
                    Some(Cut::Before) => return,
                    Some(Cut::After) => {
                        let _ = to_server.write_all(sent).await;
                        return;
                    }
                    Some(Cut::Terminated) => terminate(&server, port).await,
                    None => {}
                }
                if to_server.write_all(sent).await.is_err() {
                    return;
                }
            }
            read = to_server.read(&mut answer) => {
                let Ok(1..) = read else { return };
                if client.write_all(&answer[..read.unwrap()]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Counts a message; says how the connection is cut at it, where it is.
fn count(armed: &Armed) -> Option<Cut> {
    let mut armed = armed.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *armed {
        Some((0, cut)) => {
            let cut = *cut;
            *armed = None;
            Some(cut)
        }
        Some((messages, _)) => {
            *messages -= 1;
            None
        }
        None => None,
    }
}

/// Ends the connection that comes from this port.
async fn terminate(server: &Options, port: u16) {
    let mut past = past(server).await;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port = $1")
        .bind(i32::from(port))
        .execute(&mut past)
        .await
        .unwrap();
}
