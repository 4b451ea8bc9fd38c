//! Locks that one process holds at a time, among all that share a database.
//!
//! ```text
//! one process    held ─ asks every second ─ ends, or is cut off, or stands still ─┐
//! another        tries, and tries again …………………………………………………………………………………………▶ held
//! ```
//!
//! A lock belongs to one connection and is gone with it. So whoever ends lets go, whichever way. Of
//! who stands still, or cannot be reached any more, the server ends the connection after
//! [`SILENCE`]; a holder that gets no answer takes the lock for lost earlier than that, but one
//! that stood still itself learns of it only when it goes on. For a moment there may be two,
//! so what is done under a lock has to bear that: a lock saves work, it guards nothing.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection, PgConnection};

use super::{OpenError, Options, server};

/// After how long without a word from the holder the server takes the lock from it.
const SILENCE: Duration = Duration::from_secs(10);

/// How often the holder asks whether its connection is still one.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long it waits for the answer: with the pause before it, well below [`SILENCE`].
const ANSWER: Duration = Duration::from_secs(5);

/// How often whoever waits tries.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// The first half of the number that PostgreSQL knows a lock by, so that those of other programs
/// in the same database are others. Any number does, as long as it stays the same.
const OURS: i32 = 0x7265_636f;

/// The locks of a database. Nothing is reached before one is asked for. The server has to be
/// reached directly: behind a pool of connections, several clients have the same one.
#[derive(Clone, Debug)]
pub struct Locks {
    options: Options,
    silence: Duration,
}

impl Locks {
    /// The locks of the database that these options name.
    #[must_use]
    pub const fn new(options: Options) -> Self {
        let silence = SILENCE;
        Self { options, silence }
    }

    /// Waits until nobody else holds the lock of this name, and holds it. May be dropped while it
    /// waits.
    ///
    /// # Errors
    /// Where the server cannot be reached or used.
    pub async fn hold(&self, name: &str) -> Result<Held, OpenError> {
        let address = &self.options.address;
        let failed = |error| OpenError::of(address, error);
        let connecting = server::connect_options(&self.options)?
            // Whoever waits asks more often, too.
            .options([(
                "idle_session_timeout",
                format!("{}ms", self.silence.as_millis()),
            )]);
        let connect_timeout = Duration::from_millis(self.options.connect_timeout_ms);
        let mut connection = server::timeout(connect_timeout, connecting.connect())
            .await
            .map_err(failed)?;
        loop {
            let trying = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, hashtext($2))")
                .bind(OURS)
                .bind(name)
                .fetch_one(&mut connection);
            if server::timeout(ANSWER, trying).await.map_err(failed)? {
                return Ok(Held { connection });
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }
}

/// A lock that is held. Dropped, it is let go.
#[derive(Debug)]
#[must_use = "a lock that is dropped is let go"]
pub struct Held {
    connection: PgConnection,
}

impl Held {
    /// Keeps it, and answers why once it is lost. It is kept only while this is polled: who does not
    /// poll it stands still.
    pub async fn lost(&mut self) -> String {
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            let asked = server::timeout(ANSWER, self.connection.ping()).await;
            if let Err(error) = asked {
                return error.to_string();
            }
        }
    }

    /// Lets it go, and waits until the server knows.
    pub async fn release(self) {
        // Where the server does not answer it has let go, or will after a silence.
        let _ = server::timeout(ANSWER, self.connection.close()).await;
    }
}

#[cfg(test)]
mod tests;
