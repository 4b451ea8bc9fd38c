//! A server as a process of its own.

#![expect(
    clippy::disallowed_methods,
    reason = "it waits for conditions of real processes, which have no virtual time"
)]

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

/// The longest until a server must be ready: a JVM beside a build is slow.
const MAX_START: Duration = Duration::from_secs(120);

/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Why a server does not start, or does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder or its process cannot be made.
    #[error("its process cannot be made")]
    Process(#[from] io::Error),
    /// It ended instead of serving.
    #[error("it ended: {log}")]
    Ended {
        /// The end of what it wrote.
        log: String,
    },
    /// It did not say in time that it serves.
    #[error("it is not ready after {} s: {log}", MAX_START.as_secs())]
    NotReady {
        /// The end of what it wrote.
        log: String,
    },
    /// It cannot be sent a signal.
    #[error("it cannot be sent a signal")]
    Signal(#[from] rustix::io::Errno),
}

/// How a server is started, again and again.
pub(crate) struct Start {
    /// The program with its arguments.
    pub command: Command,
    /// What it writes once it serves.
    pub ready: &'static str,
    /// Where clients find it.
    pub address: String,
    /// Its folder, removed in the end.
    pub folder: tempfile::TempDir,
}

/// A running server. Dropped, or with the end of the process that started it however it ends, it
/// is killed and its folder removed.
pub struct Engine {
    command: Command,
    ready: &'static str,
    address: String,
    log: PathBuf,
    child: Child,
    undertaker: Undertaker,
}

impl Engine {
    pub(crate) fn start(start: Start) -> Result<Self, Error> {
        let Start {
            mut command,
            ready,
            address,
            folder,
        } = start;
        let log = folder.path().join("log");
        let mut undertaker = Undertaker::begin(&folder.keep())?;
        let child = run(&mut command, &log, &mut undertaker)?;
        let mut engine = Self {
            command,
            ready,
            address,
            log,
            child,
            undertaker,
        };
        engine.wait_ready()?;
        Ok(engine)
    }

    /// Where clients find it; stays the same over a restart.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process, as it runs now. What a server forks are children of it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as the loss of power does. What it had synced stays.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on the same port and folder, killed before if it runs; ready when this
    /// returns.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill()?;
        let deadline = Instant::now() + MAX_START;
        loop {
            self.child = run(&mut self.command, &self.log, &mut self.undertaker)?;
            match self.wait_ready() {
                // What the killed one left running may hold the folder for a moment.
                Err(Error::Ended { .. }) if Instant::now() < deadline => thread::sleep(ASK_EVERY),
                ready => return ready,
            }
        }
    }

    /// Stops it where it stands: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    /// Has it go on after [`Self::pause`].
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        Ok(rustix::process::kill_process(
            Pid::from_child(&self.child),
            signal,
        )?)
    }

    fn wait_ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + MAX_START;
        loop {
            // Asked first: what it wrote before its end is then all there.
            let ended = self.child.try_wait()?.is_some();
            let log = fs::read(&self.log)?;
            let log = String::from_utf8_lossy(&log);
            if ended {
                return Err(Error::Ended { log: tail(&log) });
            }
            if log.contains(self.ready) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::NotReady { log: tail(&log) });
            }
            thread::sleep(ASK_EVERY);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its pipe is closed with it, and it kills; this leaves no zombie behind.
        self.undertaker.end();
        drop(self.child.wait());
    }
}

/// The last lines.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let (_, last) = lines.split_at(lines.len().saturating_sub(20));
    last.join("\n")
}

/// Starts the process with a new log, and tells the undertaker of it.
fn run(command: &mut Command, log: &Path, undertaker: &mut Undertaker) -> Result<Child, Error> {
    let out = File::create(log)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        // A Ctrl-C at the terminal is for the tests; they end it.
        .process_group(0)
        .spawn()?;
    undertaker.watch(&child)?;
    Ok(child)
}

/// A process that outlives the tests for a moment: once they are gone, and however they went, it
/// kills the server and removes the folder.
struct Undertaker {
    shell: Child,
    told: Option<ChildStdin>,
}

impl Undertaker {
    fn begin(folder: &Path) -> io::Result<Self> {
        // It reads the server's process id anew for each start.
        let script = r#"while read -r started; do server=$started; done
            [ -z "$server" ] || kill -9 "$server" 2>/dev/null
            rm -rf "$0""#;
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let told = shell.stdin.take();
        Ok(Self { shell, told })
    }

    fn watch(&mut self, child: &Child) -> io::Result<()> {
        match &mut self.told {
            Some(told) => writeln!(told, "{}", child.id()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn end(&mut self) {
        self.told = None;
        drop(self.shell.wait());
    }
}

/// A port that nobody has.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Runs a program that prepares a server's folder to its end.
pub(crate) fn prepare(command: &mut Command) -> Result<(), Error> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let mut log = String::from_utf8_lossy(&output.stdout).into_owned();
    log.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Ended { log: tail(&log) })
}
