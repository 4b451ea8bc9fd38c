//! The real binary, on a port and a folder of its own.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    client::{Answer, Request},
    contract,
};

/// The command under test, with nothing from the environment.
pub(crate) fn recourse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recourse"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// A server. Dropped, it is killed with -9; its folder goes with the last who has it.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    folder: Arc<TempDir>,
    args: Vec<String>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), args)
    }

    /// Starts one on what another left.
    pub(crate) fn start_in(folder: Arc<TempDir>, args: Vec<String>) -> Self {
        let mut child = recourse()
            .args(["--log", "warn", "up", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"))
            .args(&args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let url = line.trim().rsplit_once(' ').expect("a line with the URL").1;
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        contract::learn(address);
        Self {
            child,
            stdout,
            address,
            folder,
            args,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Kills it with -9 and starts it again on what it left.
    pub(crate) fn restart(self) -> Self {
        let (folder, args) = (Arc::clone(&self.folder), self.args.clone());
        drop(self);
        Self::start_in(folder, args)
    }

    /// What it prints from here on, up to a line with this in it.
    pub(crate) fn said(&mut self, last: &str) -> String {
        let mut said = String::new();
        while !said.contains(last) && self.stdout.read_line(&mut said).unwrap() > 0 {}
        said
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self) -> (ExitStatus, Arc<TempDir>) {
        (self.child.wait().unwrap(), Arc::clone(&self.folder))
    }

    pub(crate) fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.address, method, target)
    }

    pub(crate) fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Request {
        self.request("POST", target).json(body)
    }

    /// Puts a product.
    pub(crate) fn put(&self, sku: &str, body: &Value) -> Request {
        self.request("PUT", &format!("/v1/products/{sku}"))
            .json(body)
    }

    /// A product at 10 euros, and so many of it.
    #[track_caller]
    pub(crate) fn stocked(&self, sku: &str, quantity: u32) {
        self.put(sku, &product("Tea", 1_000)).send().expect(201);
        self.receive(sku, quantity, "first").send().expect(201);
    }

    pub(crate) fn receive(&self, sku: &str, quantity: u32, reference: &str) -> Request {
        let body = json!({"quantity": quantity, "reference": reference});
        self.post(&format!("/v1/stock/{sku}/receipts"), &body)
    }

    pub(crate) fn order(&self, sku: &str, quantity: u32, token: &str) -> Request {
        self.post("/v1/orders", &order(sku, quantity, token))
    }

    /// The stock, as new as an answer.
    #[track_caller]
    pub(crate) fn stock(&self, sku: &str, after: &Answer) -> Value {
        let stock = self.get(&format!("/v1/stock/{sku}")).after(after).send();
        stock.expect(200).json()
    }

    /// How far the log goes.
    #[track_caller]
    pub(crate) fn head(&self) -> String {
        let end = self.get("/v1/events?from=end").send().expect(200);
        end.position().to_owned()
    }

    /// Follows the links from a page to the last.
    #[track_caller]
    pub(crate) fn pages(&self, target: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut next = Some(target.to_owned());
        while let Some(target) = next {
            let page = self.get(&target).send().expect(200);
            next = page.next();
            let body = page.json();
            assert_eq!(body.get("next_cursor").is_some(), next.is_some());
            pages.push(body["items"].as_array().unwrap().clone());
        }
        pages
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One server for the tests of a module that run at the same time.
pub(crate) struct Shared {
    current: Mutex<Weak<Server>>,
    set_up: fn(&Server),
}

impl Shared {
    pub(crate) const fn new() -> Self {
        Self::with(|_| {})
    }

    /// What a fresh server is filled with.
    pub(crate) const fn with(set_up: fn(&Server)) -> Self {
        Self {
            current: Mutex::new(Weak::new()),
            set_up,
        }
    }

    pub(crate) fn server(&self) -> Arc<Server> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start());
            (self.set_up)(&server);
            *current = Arc::downgrade(&server);
            server
        })
    }
}

pub(crate) fn product(name: &str, amount_minor: i64) -> Value {
    json!({
        "name": name,
        "price": {"amount_minor": amount_minor, "currency": "EUR"},
        "active": true,
    })
}

/// An order of one line, of a customer of this SKU's own.
pub(crate) fn order(sku: &str, quantity: u32, token: &str) -> Value {
    json!({
        "customer_id": customer(sku),
        "currency": "EUR",
        "lines": [{"sku": sku, "quantity": quantity}],
        "payment": {"method": "card", "token": token},
    })
}

pub(crate) fn customer(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// Runs the command to its end.
pub(crate) fn run(args: &[&str], data: &Path) -> std::process::Output {
    let mut command = recourse();
    command.args(args).arg("--data").arg(data).output().unwrap()
}
