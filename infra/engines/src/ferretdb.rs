//! `FerretDB`: MongoDB's protocol on a folder of `SQLite` files.

use std::{path::Path, process::Command};

use crate::{
    Engine, Error,
    engine::{Start, free_port},
};

pub(crate) fn start(programs: &Path) -> Result<Engine, Error> {
    let folder = tempfile::Builder::new()
        .prefix("recourse-ferretdb-")
        .tempdir()?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(programs.join("ferretdb"));
    command.arg(&address).arg(folder.path());
    Engine::start(Start {
        command,
        ready: "Listening on TCP",
        address: format!("mongodb://{address}/"),
        folder,
    })
}
