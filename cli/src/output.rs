//! What commands print on standard output. A reader that has seen enough and closes its end
//! (`recourse replay | head`) is no failure.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// The reader of standard output is gone: there is nobody to go on for. The process ends well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(crate) struct Closed;

/// Prints data once: as JSON where a script asked for it, else as text. A reader that is gone is
/// passed over, so that the command's own exit code stands.
pub(crate) fn print<T: Serialize>(value: &T, text: &str, json: bool) -> anyhow::Result<()> {
    let written = if json {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        write(&text)
    } else {
        write(text.as_bytes())
    };
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints text as it is. A reader that is gone is passed over.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    match write(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints one line of many. Each is on its way when this returns, for whoever follows along.
///
/// # Errors
/// [`Closed`] where nobody reads any more: let it pass up, and the process ends well.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'\n');
    match write(&bytes) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => Ok(written?),
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
