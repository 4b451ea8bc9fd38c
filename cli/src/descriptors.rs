//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes all that the operating system allows, and says how many that is. What a shell gives by
/// itself, often 1,024, is less than the connections that a server takes.
pub(crate) fn raise() {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    // It works with fewer too, until there are too many connections.
    if before.current != before.maximum
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let now = getrlimit(Resource::Nofile).current;
    tracing::info!(
        max_open_files = now,
        before = before.current,
        "files that may be open"
    );
}
