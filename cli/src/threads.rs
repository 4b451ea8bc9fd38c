//! The threads of a server: who executes and who fills views is not kept waiting by requests.
//!
//! ```text
//! requests ──▶ services (one thread) ──▶ log ──▶ views (one thread)
//! ```
//!
//! A view's transaction is a dozen short waits for its database. Among the tasks of hundreds of
//! requests each wait ends late, the view falls behind, then has to read back from the disk what
//! it could have had from memory, and falls further behind. With a thread of its own it gets its
//! share from the operating system. Services hand each event on to the next of them: on one
//! thread it is still in that core's cache.

use tokio::runtime::{Builder, Runtime};

use crate::system::Places;

/// The threads beside those that serve requests.
#[derive(Debug)]
pub(crate) struct Threads {
    services: Runtime,
    views: Runtime,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// Where the operating system gives none.
    pub(crate) fn start() -> std::io::Result<Self> {
        let thread = |name| {
            Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name(name)
                .enable_all()
                .build()
        };
        Ok(Self {
            services: thread("services")?,
            views: thread("views")?,
        })
    }

    /// Where what is to run.
    pub(crate) fn places(&self) -> Places {
        Places {
            services: self.services.handle().clone(),
            projections: self.views.handle().clone(),
        }
    }

    /// Ends them, with whatever has not ended by itself.
    pub(crate) fn stop(self) {
        self.services.shutdown_background();
        self.views.shutdown_background();
    }
}
