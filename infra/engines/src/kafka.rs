//! Apache Kafka: one node that is broker and controller.

use std::{fs, path::Path, process::Command};

use crate::{
    Engine, Error,
    engine::{Start, free_port, prepare},
};

/// For tests. `advertised` is the port that clients are told to come to, where it is not its own.
pub(crate) fn start(programs: &Path, advertised: Option<u16>) -> Result<Engine, Error> {
    // The first tier of the compiler alone: a broker of tests lives for seconds.
    run(programs, advertised, &["-XX:TieredStopAtLevel=1"])
}

/// For load.
pub(crate) fn start_for_load(programs: &Path) -> Result<Engine, Error> {
    run(programs, None, &[])
}

fn run(programs: &Path, advertised: Option<u16>, compiler: &[&str]) -> Result<Engine, Error> {
    let folder = tempfile::Builder::new()
        .prefix("recourse-kafka-")
        .tempdir()?;
    let (port, controller) = (free_port()?, free_port()?);
    let advertised = advertised.unwrap_or(port);
    let properties = folder.path().join("server.properties");
    fs::write(
        &properties,
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.num.partitions=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             num.network.threads=1\n\
             num.io.threads=2\n\
             log.cleaner.dedupe.buffer.size=4194304\n",
            folder.path().join("topics").display()
        ),
    )?;
    let java = || {
        let mut java = Command::new("java");
        java.args(["-Xmx512m", "-XX:+UseSerialGC"])
            .args(compiler)
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                programs.join("log4j2.xml").display()
            ))
            .arg("-cp")
            .arg(programs.join("*"));
        java
    };
    prepare(
        java()
            .args(["kafka.tools.StorageTool", "format", "--cluster-id"])
            // Any sixteen bytes in URL-safe base 64: the cluster is alone.
            .arg("cmVjb3Vyc2UtdGVzdHMtMQ")
            .arg("--config")
            .arg(&properties),
    )?;
    let mut command = java();
    command.arg("kafka.Kafka").arg(&properties);
    Engine::start(Start {
        command,
        ready: "Kafka Server started",
        address: format!("127.0.0.1:{port}"),
        folder,
    })
}
