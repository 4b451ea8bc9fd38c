//! A shop of processes on engines of its own.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use recourse_engines::Engine;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    PATIENCE,
    client::Client,
    process::{Process, recourse},
};

const KEY: &str = "the-key-of-the-services-of-this-test";

/// What the services are called, in the order in which they are killed.
const SERVICES: [&str; 6] = [
    "catalog",
    "inventory",
    "orders",
    "payments",
    "orchestrator",
    "projections",
];

/// How sagas wait where a process is dead until its share is given to another: none of them gives up.
pub(crate) const PATIENT: [&str; 4] = [
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
    _kafka: Engine,
    _folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    /// None where an engine is not to be had. Waits until no other test has one.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&[], &[])
    }

    /// With further processes: of what, and what each is called. All services have these options.
    pub(crate) fn with(further: &[(&'static str, &'static str)], options: &[&str]) -> Option<Self> {
        let of = |kind: &'static str| -> Vec<&'static str> {
            let others = further.iter().filter(|(its, _)| *its == kind);
            [kind]
                .into_iter()
                .chain(others.map(|(_, name)| *name))
                .collect()
        };
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let kafka = recourse_engines::kafka()?;
        let postgres = recourse_engines::postgres()?;
        let ferretdb = recourse_engines::ferretdb()?;
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("service-keys");
        std::fs::write(&keys, KEY).unwrap();
        let keys = keys.to_str().unwrap().to_owned();
        let data = folder.path().join("data").to_str().unwrap().to_owned();
        let mut processes = BTreeMap::new();
        let store = Process::start(&["serve", "store", "--data", &data], "--esdb-listen");
        let event_store = store.url.clone();
        processes.insert("store", store);
        let mongodb = database(&ferretdb);
        let engines = [
            "--service-key-file",
            &keys,
            "--event-store",
            &event_store,
            "--postgres",
            postgres.address(),
            "--mongodb",
            &mongodb,
            "--kafka",
            kafka.address(),
        ];
        let relay = [
            "serve",
            "relay",
            "--first-start",
            "--event-store",
            &event_store,
            "--kafka",
            kafka.address(),
        ];
        processes.insert("relay", Process::start(&relay, "--listen"));
        for service in SERVICES {
            let args = [&["serve", service][..], &engines, options].concat();
            for name in of(service) {
                processes.insert(name, Process::start(&args, "--listen"));
            }
        }
        let mut args = vec!["serve", "gateway", "--event-store", &event_store];
        args.extend(["--service-key-file", &keys]);
        for (option, service) in [
            ("--catalog-url", "catalog"),
            ("--inventory-url", "inventory"),
            ("--orders-url", "orders"),
            ("--orchestrator-url", "orchestrator"),
            ("--projections-url", "projections"),
        ] {
            for name in of(service) {
                args.extend([option, processes[name].url.as_str()]);
            }
        }
        let gateway = Process::start(&args, "--listen");
        processes.insert("gateway", gateway);
        Some(Self {
            processes,
            postgres,
            mongodb: ferretdb,
            _kafka: kafka,
            _folder: folder,
            _alone: alone,
        })
    }

    pub(crate) fn client(&self) -> Client {
        Client(self.processes["gateway"].url.clone())
    }

    /// Waits until this one says that it is ready.
    pub(crate) async fn until_ready(&self, name: &str) {
        let url = &self.processes[name].url;
        let ready = async {
            loop {
                let mut command = recourse();
                let output = command.args(["ready", "--url", url]).output().unwrap();
                if output.status.success() {
                    return;
                }
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(!said.contains("panicked"), "{said}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, ready).await;
        waited.unwrap_or_else(|_| panic!("{name} is not ready"));
    }

    pub(crate) fn verify(&self) -> Value {
        let mut command = recourse();
        command
            .args(["verify", "--json", "--event-store"])
            .arg(&self.processes["store"].url)
            .arg("--postgres")
            .arg(self.postgres.address())
            .arg("--mongodb")
            .arg(database(&self.mongodb));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{errors}");
        serde_json::from_str(&said).unwrap()
    }
}

/// A database of this server.
pub(crate) fn database(mongodb: &Engine) -> String {
    format!("{}recourse", mongodb.address())
}
