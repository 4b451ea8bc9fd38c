//! `PostgreSQL`, whose programs refuse to run as root: they run as the user `postgres` then.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::Command,
};

use crate::{
    Engine, Error,
    engine::{Start, free_port, prepare},
};

pub(crate) fn start(programs: &Path) -> Result<Engine, Error> {
    let folder = tempfile::Builder::new()
        .prefix("recourse-postgres-")
        .tempdir()?;
    let data = folder.path().join("data");
    fs::create_dir(&data)?;
    let owner = if rustix::process::geteuid().is_root() {
        Some((id("-u")?, id("-g")?))
    } else {
        None
    };
    if let Some((user, group)) = owner {
        for folder in [folder.path(), &data] {
            chown(folder, Some(user), Some(group))?;
        }
    }
    // The cache folder is closed to that user, the packages' folder behind the link is not.
    let programs = programs.canonicalize()?;
    let program = |name: &str| {
        let mut command = Command::new(programs.join(name));
        command.arg("-D").arg(&data).current_dir(folder.path());
        if let Some((user, group)) = owner {
            command.uid(user).gid(group);
        }
        command
    };
    prepare(program("initdb").args([
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]))?;
    let port = free_port()?;
    let mut command = program("postgres");
    command
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        // No socket in a folder that servers share.
        .args(["-c", "unix_socket_directories="])
        .args(["-c", "log_min_messages=log"]);
    Engine::start(Start {
        command,
        ready: "database system is ready to accept connections",
        address: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
        folder,
    })
}

/// A number of the user `postgres`.
fn id(which: &str) -> Result<u32, Error> {
    let output = Command::new("id").args([which, "postgres"]).output()?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| Error::Ended {
            log: "there is no user postgres for it to run as".into(),
        })
}
