//! What every process has: an address, keys, an end in good order, and a next life.

use std::time::Duration;

use recourse_gateway::{Bound, Gateway, Parts};
use recourse_service::{
    Ids,
    contract::Routes,
    keys::Keys,
    readiness::{Dependency, Health, Registry},
    shutdown,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::told;
use crate::{
    output,
    running::{self, Running},
    system,
};

/// The wait before what has failed is tried again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest of these waits.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// What has gone on for so long was no failure from the start.
const STEADY: Duration = Duration::from_secs(30);

/// A process while it starts, runs and ends.
#[derive(Clone)]
pub(super) struct Process {
    /// What it is called: `orders`.
    pub(super) name: &'static str,
    /// What `/readyz` reports.
    pub(super) readiness: Registry,
    /// Cancelled when the process is asked to stop: it takes no more requests.
    pub(super) stop: CancellationToken,
    /// Cancelled when nobody is served any more: what served them may end.
    pub(super) end: CancellationToken,
    /// What has not ended.
    pub(super) running: Running,
}

impl Process {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            readiness: Registry::new(),
            stop: CancellationToken::new(),
            end: CancellationToken::new(),
            running: Running::default(),
        }
    }

    /// What serves these routes.
    pub(super) fn gateway(
        &self,
        options: recourse_gateway::Options,
        keys: Option<Keys>,
        ids: Ids,
        routes: Vec<Routes>,
    ) -> Result<Gateway, recourse_gateway::Error> {
        let parts = Parts {
            routes,
            log: None,
            errors: system::ERRORS.to_vec(),
            readiness: self.readiness.clone(),
            keys,
            ids,
            shutdown: self.stop.clone(),
        };
        Gateway::new(options, parts)
    }

    /// Serves and works until a signal, or until the work ends.
    ///
    /// # Errors
    /// Where something has not ended within the bound.
    pub(super) async fn run(
        self,
        bound: Bound,
        drain_timeout_ms: u64,
        work: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let name = self.name;
        output::line(&format!(
            "Recourse {name} is serving at http://{}",
            bound.address()
        ))?;
        let drain = Duration::from_millis(drain_timeout_ms.saturating_mul(2));
        let (stop, running) = (self.stop.clone(), self.running.clone());
        let mut both = Box::pin(self.serve(bound, work));
        let served = shutdown::until_signal(drain, &stop, &mut both).await;
        let left = running.names();
        drop(both);
        running::ended(served?.map(Ok), &left)
    }

    /// Serves until it is asked to stop, and works until nobody is served any more.
    pub(super) async fn serve(self, bound: Bound, work: impl Future<Output = ()>) {
        let serving = async {
            let _part = self.running.begin("server");
            bound.serve().await;
            self.end.cancel();
        };
        let working = async {
            let _part = self.running.begin(self.name);
            work.await;
            // Whoever has nothing to do any more serves nobody either.
            self.stop.cancel();
        };
        tokio::join!(serving, working);
    }

    /// Makes something that is not to be had at once, however often that takes; `/readyz` and the
    /// log say what is waited for. None where the process ends before.
    pub(super) async fn until_there<T, E, F>(
        &self,
        what: &str,
        dependency: &Dependency,
        mut attempt: impl FnMut() -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error,
    {
        dependency.set(Health::Starting(format!("connecting to {what}")));
        let trying = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match attempt().await {
                    Ok(made) => break made,
                    Err(error) => {
                        let why = told(&error);
                        tracing::warn!(what, why, "waiting for what is needed");
                        dependency.set(Health::Starting(format!("waiting for {what}: {why}")));
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        };
        let made = self.end.run_until_cancelled(trying).await?;
        tracing::info!(what, "connected");
        dependency.up();
        Some(made)
    }

    /// Lives until the process ends: after an error, again. Engines go and come back, and where
    /// one life cannot go on, the next one may.
    pub(super) async fn live<F, E>(&self, dependency: &Dependency, mut life: impl FnMut() -> F)
    where
        F: Future<Output = Result<(), E>>,
        E: std::error::Error,
    {
        let mut pause = FIRST_PAUSE;
        while !self.end.is_cancelled() {
            let begun = Instant::now();
            let ended = life().await;
            if self.end.is_cancelled() {
                if let Err(error) = ended {
                    let error = told(&error);
                    tracing::warn!(error, "the service did not end as it should");
                }
                return;
            }
            let why = ended.map_or_else(|error| told(&error), |()| "it ended by itself".to_owned());
            if begun.elapsed() > STEADY {
                pause = FIRST_PAUSE;
            }
            tracing::error!(
                service = self.name,
                why,
                pause_ms = pause.as_millis(),
                "the service cannot go on, and begins again"
            );
            dependency.down(why);
            let waited = tokio::time::sleep(pause);
            if self.end.run_until_cancelled(waited).await.is_none() {
                return;
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use recourse_service::readiness::Need;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_yet_is_waited_for_and_named() {
        let process = Process::new("orders");
        let dependency = process.readiness.dependency("kafka", Need::Everything);
        let tries = Cell::new(0);
        let made = process.until_there("Kafka at somewhere", &dependency, || {
            tries.set(tries.get() + 1);
            let (tries, dependency) = (tries.get(), dependency.clone());
            async move {
                if tries < 4 {
                    return Err(std::io::Error::other("refused"));
                }
                let waits = "waiting for Kafka at somewhere: refused".to_owned();
                assert_eq!(dependency.get(), Health::Starting(waits));
                Ok(7)
            }
        });
        assert_eq!(made.await, Some(7));
        assert_eq!((tries.get(), dependency.get()), (4, Health::Up));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_cannot_go_on_begins_again_until_the_end() {
        let process = Process::new("orders");
        let dependency = process.readiness.dependency("orders", Need::Everything);
        let lives = Cell::new(0);
        process
            .live(&dependency, || {
                lives.set(lives.get() + 1);
                let (lives, process) = (lives.get(), process.clone());
                async move {
                    if lives == 3 {
                        process.end.cancel();
                        return Ok(());
                    }
                    Err(system::Error::NoEngine("bus"))
                }
            })
            .await;
        assert_eq!(lives.get(), 3);
        assert!(matches!(dependency.get(), Health::Down(why) if why.contains("bus")));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_what_never_comes_ends_with_the_process() {
        let process = Process::new("orders");
        let dependency = process.readiness.dependency("kafka", Need::Everything);
        let waiting = process.until_there("Kafka", &dependency, || async {
            Err::<(), _>(std::io::Error::other("refused"))
        });
        let asked = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            process.end.cancel();
        };
        let (made, ()) = tokio::join!(waiting, asked);
        assert_eq!(made, None);
    }
}
