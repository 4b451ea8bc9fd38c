//! A process of the binary.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal};

pub(crate) fn recourse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recourse"));
    command
        .env_clear()
        .stdin(Stdio::null())
        .args(["--log", "warn"]);
    command
}

/// A process of the binary. Dropped, it is killed with -9.
pub(crate) struct Process {
    child: Child,
    /// What it was started with, and is again.
    args: Vec<String>,
    /// Where it says that it is.
    pub(crate) url: String,
    /// What it logs, in all of its lives.
    log: PathBuf,
}

impl Process {
    /// Starts it. `listen` names the option of its address, which it keeps from here on.
    pub(crate) fn start(args: &[&str], listen: &str, log: &Path) -> Self {
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let any = [listen.to_owned(), "127.0.0.1:0".to_owned()];
        let (child, url) = spawn(&[&args[..], &any].concat(), log);
        let address = url.split_once("://").unwrap().1;
        let address = address.split('?').next().unwrap();
        args.extend([listen.to_owned(), address.to_owned()]);
        let log = log.to_owned();
        Self {
            child,
            args,
            url,
            log,
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, as an operator does, and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{ended}: {}", self.said());
    }

    pub(crate) fn start_again(&mut self) {
        let (child, url) = spawn(&self.args, &self.log);
        assert_eq!(url, self.url);
        self.child = child;
    }

    /// Has it be started with another value of an option, or with one option more.
    pub(crate) fn set(&mut self, option: &str, value: &str) {
        match self.args.iter().position(|arg| arg == option) {
            Some(at) => value.clone_into(&mut self.args[at + 1]),
            None => self.args.extend([option.to_owned(), value.to_owned()]),
        }
    }

    /// Has it be started with a switch from here on.
    pub(crate) fn switch_on(&mut self, switch: &str) {
        self.args.push(switch.to_owned());
    }

    /// Has it be started without a switch from here on.
    pub(crate) fn switch_off(&mut self, switch: &str) {
        self.args.retain(|arg| arg != switch);
    }

    /// Whether it has not ended by itself.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has logged.
    pub(crate) fn said(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// It stands still: what it holds it keeps, and it answers nobody.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on after [`Self::freeze`], and knows nothing of the time between.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the binary and waits for the line that says where it is.
fn spawn(args: &[String], log: &Path) -> (Child, String) {
    let mut command = recourse();
    let log = OpenOptions::new().create(true).append(true).open(log);
    command.stdout(Stdio::piped()).stderr(log.unwrap());
    let mut child = command.args(args).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let url = line.trim().rsplit_once(' ').expect("a line with the URL").1;
    (child, url.to_owned())
}
