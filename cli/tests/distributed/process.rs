//! A process of the binary.

use std::{
    io::{BufRead, BufReader},
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
}

impl Process {
    /// Starts it. `listen` names the option of its address, which it keeps from here on.
    pub(crate) fn start(args: &[&str], listen: &str) -> Self {
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let any = [listen.to_owned(), "127.0.0.1:0".to_owned()];
        let (child, url) = spawn(&[&args[..], &any].concat());
        let address = url.split_once("://").unwrap().1;
        let address = address.split('?').next().unwrap();
        args.extend([listen.to_owned(), address.to_owned()]);
        Self { child, args, url }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        let (child, url) = spawn(&self.args);
        assert_eq!(url, self.url);
        self.child = child;
    }
}

impl Process {
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
pub(crate) fn spawn(args: &[String]) -> (Child, String) {
    let mut command = recourse();
    let mut child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let url = line.trim().rsplit_once(' ').expect("a line with the URL").1;
    (child, url.to_owned())
}
