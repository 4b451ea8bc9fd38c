//! The whole distributed form on this machine, measured: real engines, a process a service, and
//! `recourse bench` against its gateway, then `recourse verify`.
//!
//! ```text
//! cargo bench -p recourse --features distributed --bench distributed -- [OPTION OF recourse bench]…
//! cargo bench -p recourse --features distributed --bench distributed -- --serve
//! ```
//!
//! Without options it measures 64 in flight, then 20 and 100 orders a second, each after half a
//! minute in which Kafka's JVM compiles what it needs. With `--serve` it measures
//! nothing: it prints what `recourse bench` wants to be told, and runs until its input ends.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement says what is wrong by failing"
)]

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use recourse_engines::Engine;

const KEY: &str = "the-key-of-the-services-of-this-bench";

/// How many times a process is asked whether it is ready, once a second.
const MAX_ASKS: usize = 60;

const SERVICES: [&str; 6] = [
    "catalog",
    "inventory",
    "orders",
    "payments",
    "orchestrator",
    "projections",
];

fn recourse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recourse"));
    command
        .env_clear()
        .stdin(Stdio::null())
        .args(["--log", "warn"]);
    command
}

/// A process of the binary. Dropped, it is killed.
struct Process {
    name: String,
    child: Child,
    url: String,
    /// Reads on what it prints, or it would block on a full pipe.
    _stdout: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(name: &str, args: &[&str], listen: &str) -> Self {
        let mut command = recourse();
        command.args(args).args([listen, "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let (_, url) = line.trim().rsplit_once(' ').expect("a line with the URL");
        Self {
            name: name.to_owned(),
            child,
            url: url.to_owned(),
            _stdout: stdout,
        }
    }

    fn until_ready(&self) {
        for _ in 0..MAX_ASKS {
            let asked = recourse().args(["ready", "--url", &self.url]).output();
            if asked.unwrap().status.success() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        panic!("{} is not ready", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct World {
    // Dropped in this order.
    services: Vec<Process>,
    gateway: Process,
    store: Process,
    kafka: Engine,
    postgres: Engine,
    mongodb: Engine,
}

impl World {
    fn start(folder: &Path) -> Option<Self> {
        let kafka = recourse_engines::kafka_for_load()?;
        let postgres = recourse_engines::postgres()?;
        let mongodb = recourse_engines::ferretdb()?;
        let keys = folder.join("service-keys");
        std::fs::write(&keys, KEY).unwrap();
        let keys = keys.to_str().unwrap();
        let data = folder.join("data");
        let data = ["serve", "store", "--data", data.to_str().unwrap()];
        let store = Process::start("store", &data, "--esdb-listen");
        let documents = database(&mongodb);
        let log = ["--event-store", &store.url];
        let shared = [&log[..], &["--service-key-file", keys]].concat();
        let broker = ["--kafka", kafka.address()];
        let databases = ["--postgres", postgres.address(), "--mongodb", &documents];
        let relay = [&["serve", "relay", "--first-start"], &log[..], &broker].concat();
        let mut services = vec![Process::start("relay", &relay, "--listen")];
        for service in SERVICES {
            let args = [&["serve", service], &shared[..], &databases, &broker].concat();
            services.push(Process::start(service, &args, "--listen"));
        }
        let urls: Vec<String> = services
            .iter()
            .filter(|its| !["relay", "payments"].contains(&its.name.as_str()))
            .flat_map(|its| [format!("--{}-url", its.name), its.url.clone()])
            .collect();
        let mut args = [&["serve", "gateway"], &shared[..]].concat();
        args.extend(urls.iter().map(String::as_str));
        let gateway = Process::start("gateway", &args, "--listen");
        for process in services.iter().chain([&gateway]) {
            process.until_ready();
        }
        Some(Self {
            services,
            gateway,
            store,
            kafka,
            postgres,
            mongodb,
        })
    }

    /// What `recourse bench` is told of it.
    fn target(&self, folder: &Path) -> Vec<String> {
        let keys = folder.join("service-keys");
        let mut target = vec![
            "--url".to_owned(),
            self.gateway.url.clone(),
            "--service-key-file".to_owned(),
            keys.to_str().unwrap().to_owned(),
        ];
        let mut add = |name: &str, pid: u32, url: Option<&str>| {
            let url = url.map(|url| format!("@{url}")).unwrap_or_default();
            target.extend(["--process".to_owned(), format!("{name}={pid}{url}")]);
        };
        for process in self.services.iter().chain([&self.gateway]) {
            add(&process.name, process.child.id(), Some(&process.url));
        }
        add("store", self.store.child.id(), None);
        add("Kafka", self.kafka.pid(), None);
        add("PostgreSQL", self.postgres.pid(), None);
        add("FerretDB", self.mongodb.pid(), None);
        target
    }

    fn verify(&self) -> Vec<String> {
        let documents = database(&self.mongodb);
        let databases = ["--postgres", self.postgres.address()];
        ["verify", "--event-store", &self.store.url]
            .into_iter()
            .chain(databases)
            .chain(["--mongodb", &documents])
            .map(str::to_owned)
            .collect()
    }
}

/// A database of this server.
fn database(mongodb: &Engine) -> String {
    format!("{}recourse", mongodb.address())
}

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let mut wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| it != "--bench")
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let Some(world) = World::start(folder.path()) else {
        return ExitCode::FAILURE;
    };
    let target = world.target(folder.path());
    if wanted.iter().any(|option| option == "--serve") {
        println!("recourse bench {}", target.join(" "));
        println!("recourse {}", world.verify().join(" "));
        let mut input = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut input);
        return ExitCode::SUCCESS;
    }
    if wanted.is_empty() {
        let load = ["--in-flight", "64", "--rate", "20,100"];
        let time = ["--warm-up-ms", "30000", "--duration-ms", "15000"];
        wanted = load.into_iter().chain(time).map(str::to_owned).collect();
    }
    let benched = recourse().arg("bench").args(target).args(wanted).status();
    let verified = recourse().args(world.verify()).status();
    match benched.unwrap().success() && verified.unwrap().success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
