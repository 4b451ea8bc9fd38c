//! A shop of processes on engines of its own.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use recourse_engines::{Engine, Proxy};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    PATIENCE,
    client::Client,
    process::{Process, recourse},
};

const KEY: &str = "the-key-of-the-services-of-this-test";

/// What the services are called, in the order in which they are killed.
pub(crate) const SERVICES: [&str; 6] = [
    "catalog",
    "inventory",
    "orders",
    "payments",
    "orchestrator",
    "projections",
];

/// Of what there is a second process in a shop of pairs, and what that one is called.
const SECONDS: [(&str, &str); 8] = [
    ("relay", "relay-2"),
    ("catalog", "catalog-2"),
    ("inventory", "inventory-2"),
    ("orders", "orders-2"),
    ("payments", "payments-2"),
    ("orchestrator", "orchestrator-2"),
    ("projections", "projections-2"),
    ("gateway", "gateway-2"),
];

/// How sagas wait where a process is dead until its share is given to another: none of them gives up.
const PATIENT: [&str; 4] = [
    "--step-timeout-ms",
    "120000",
    "--saga-deadline-ms",
    "300000",
];

/// Whoever has a shop: a dozen processes are enough for one machine.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) struct World {
    /// By name, the gateway and the store too.
    pub(crate) processes: BTreeMap<&'static str, Process>,
    pub(crate) postgres: Engine,
    pub(crate) mongodb: Engine,
    pub(crate) kafka: Engine,
    /// What is in front of the engines and the services, by their names; nothing in most worlds.
    pub(crate) wires: BTreeMap<&'static str, Proxy>,
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    /// None where an engine is not to be had. Waits until no other test has one.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&[], Wires(None))
    }

    /// With a wire in front of each engine and each service that has clients.
    pub(crate) fn behind_wires() -> Option<Self> {
        Self::with(&[], Wires(Some(BTreeMap::new())))
    }

    /// With two orchestrators, `orchestrator` and `orchestrator-2`.
    pub(crate) fn of_two_orchestrators() -> Option<Self> {
        Self::with(&[("orchestrator", "orchestrator-2")], Wires(None))
    }

    /// With two of everything but engines, named likewise.
    pub(crate) fn of_pairs() -> Option<Self> {
        Self::with(&SECONDS, Wires(None))
    }

    /// With further processes: of what, and what each is called.
    fn with(further: &'static [(&'static str, &'static str)], mut wires: Wires) -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (kafka, brokers) = wires.kafka()?;
        let postgres = recourse_engines::postgres()?;
        let ferretdb = recourse_engines::ferretdb()?;
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("service-keys");
        std::fs::write(&keys, KEY).unwrap();
        let mut starting = Starting {
            folder: folder.path().to_owned(),
            further,
            processes: BTreeMap::new(),
        };
        let data = folder.path().join("data");
        let data = ["--data", data.to_str().unwrap()];
        starting.start("store", &data, "--esdb-listen");
        let event_store = wires.before("store", &starting.processes["store"].url);
        let log = ["--event-store", &event_store];
        let broker = ["--kafka", &brokers];
        starting.start(
            "relay",
            &[&["--first-start"][..], &log, &broker].concat(),
            "--listen",
        );
        let keys = ["--service-key-file", keys.to_str().unwrap()];
        let in_postgres = wires.before("postgres", postgres.address());
        let in_mongodb = wires.before("mongodb", &database(&ferretdb));
        let databases = ["--postgres", &in_postgres, "--mongodb", &in_mongodb];
        let args = [&keys[..], &log, &broker, &databases, &PATIENT].concat();
        for service in SERVICES {
            starting.start(service, &args, "--listen");
        }
        let mut urls = Vec::new();
        for service in SERVICES.into_iter().filter(|its| *its != "payments") {
            for name in starting.names(service) {
                let url = wires.before(name, &starting.processes[name].url);
                urls.extend([format!("--{service}-url"), url]);
            }
        }
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        starting.start("gateway", &[&keys[..], &log, &urls].concat(), "--listen");
        Some(Self {
            processes: starting.processes,
            postgres,
            mongodb: ferretdb,
            kafka,
            wires: wires.0.unwrap_or_default(),
            folder,
            _alone: alone,
        })
    }

    /// A folder or file of this world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        let gateways = ["gateway", "gateway-2"].map(|name| self.processes.get(name));
        let urls = gateways.into_iter().flatten();
        Client::new(urls.map(|process| process.url.clone()).collect())
    }

    /// Whether this one says that it is ready.
    pub(crate) fn is_ready(&self, name: &str) -> bool {
        let url = &self.processes[name].url;
        let output = recourse().args(["ready", "--url", url]).output().unwrap();
        output.status.success()
    }

    /// Waits until this one says that it is ready.
    pub(crate) async fn until_ready(&self, name: &str) {
        let ready = async {
            loop {
                if self.is_ready(name) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, ready).await;
        waited.unwrap_or_else(|_| panic!("{name} is not ready"));
    }

    /// Waits until this one says on `/readyz` that it is not, and why; all that it says.
    pub(crate) async fn until_it_says(&self, name: &str, why: &str) -> String {
        let client = Client::new(vec![self.processes[name].url.clone()]);
        let mut last = String::new();
        let asking = async {
            loop {
                let answer = client.send("GET", "/readyz", &[], &Value::Null).await;
                if let Some(answer) = answer {
                    last = String::from_utf8_lossy(&answer.body).into_owned();
                    if answer.status == 503 && last.contains(why) {
                        return last.clone();
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        asked.unwrap_or_else(|_| panic!("{name} does not say {why:?}: {last}"))
    }

    /// No process has ended by itself, or met what it was not made for.
    pub(crate) fn is_calm(&mut self) {
        for (name, process) in &mut self.processes {
            assert!(process.runs(), "{name} has ended");
            assert!(!process.said().contains("panicked"), "{name} panicked");
        }
    }

    /// Every promise holds in the event store, and in the views of these databases.
    pub(crate) fn holds(&self, postgres: &str, mongodb: &str) {
        let mut command = recourse();
        command
            .args(["verify", "--json", "--event-store"])
            .arg(&self.processes["store"].url)
            .args(["--postgres", postgres, "--mongodb", mongodb]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{errors}");
        let report: Value = serde_json::from_str(&said).unwrap();
        let breaches = report["breaches"].as_array().map_or(0, Vec::len);
        assert_eq!(breaches, 0, "{report:#}");
    }

    /// As [`Self::holds`], where the services have them from the start.
    pub(crate) fn verify(&self) {
        self.holds(self.postgres.address(), &database(&self.mongodb));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (name, process) in &self.processes {
            let said = process.said();
            let lines: Vec<_> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            eprintln!("== {name}\n{last}");
        }
    }
}

/// A world whose processes are started one after the other.
struct Starting {
    folder: PathBuf,
    further: &'static [(&'static str, &'static str)],
    processes: BTreeMap<&'static str, Process>,
}

impl Starting {
    /// What the processes of a kind are called.
    fn names(&self, kind: &'static str) -> Vec<&'static str> {
        let others = self.further.iter().filter(|(its, _)| *its == kind);
        let others = others.map(|(_, name)| *name);
        [kind].into_iter().chain(others).collect()
    }

    /// Starts all of a kind.
    fn start(&mut self, kind: &'static str, args: &[&str], listen: &str) {
        let args = [&["serve", kind], args].concat();
        for name in self.names(kind) {
            let log = self.folder.join(format!("{name}.log"));
            let process = Process::start(&args, listen, &log);
            self.processes.insert(name, process);
        }
    }
}

/// The wires that there are; none where servers are reached as they are.
struct Wires(Option<BTreeMap<&'static str, Proxy>>);

impl Wires {
    /// Where a server of this URL is reached.
    fn before(&mut self, name: &'static str, url: &str) -> String {
        let Some(wires) = &mut self.0 else {
            return url.to_owned();
        };
        let wire = Proxy::bind().unwrap();
        let server = authority(url);
        wire.lead_to(server).unwrap();
        let reached = url.replace(server, &wire.address().to_string());
        wires.insert(name, wire);
        reached
    }

    /// A broker, which tells its clients where it is, and where that is.
    fn kafka(&mut self) -> Option<(Engine, String)> {
        let Some(wires) = &mut self.0 else {
            let kafka = recourse_engines::kafka()?;
            let brokers = kafka.address().to_owned();
            return Some((kafka, brokers));
        };
        let wire = Proxy::bind().unwrap();
        let kafka = recourse_engines::kafka_behind(&wire)?;
        wire.lead_to(kafka.address()).unwrap();
        let brokers = wire.address().to_string();
        wires.insert("kafka", wire);
        Some((kafka, brokers))
    }
}

/// `HOST:PORT` of a URL on this machine.
fn authority(url: &str) -> &str {
    let authority = &url[url.find("127.0.0.1:").unwrap()..];
    let end = authority.find(['/', '?']).unwrap_or(authority.len());
    &authority[..end]
}

/// A database of this server.
pub(crate) fn database(mongodb: &Engine) -> String {
    format!("{}recourse", mongodb.address())
}
