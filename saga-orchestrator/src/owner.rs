//! The sagas that belong to this process: all, or the share that a group gives it.
//!
//! ```text
//! share ─▶ load its rows ─▶ read on from there ─▶ drive
//!   ▲                                              │ the share has changed
//!   └────────────── save, and stop ◀───────────────┘
//! ```
//!
//! Another share is another life: what is known is dropped, and loaded as after a restart. That happens
//! only where processes come and go, and it is the way that is used most.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use recourse_bus::{Bus, BusError, Membership, Share};
use recourse_event_store::EventStore;
use recourse_saga::Definition;
use recourse_service::{
    Clock,
    contract::Routes,
    readiness::{Health, Need, Registry},
};
use recourse_views::documents::{self, Documents};
use tokio_util::sync::CancellationToken;

use crate::{
    Actions, Counts, Error, InFlightError, Options, metrics,
    operator::{self, Told},
    orchestrator::{Driver, Parts, is_passing, with_sources},
};

/// The group whose members share the sagas.
const GROUP: &str = "sagas";

/// Drives the sagas of this process, and has operators act on any.
pub struct Orchestrator {
    parts: Parts,
    told: Told,
    membership: Box<dyn Membership>,
    /// The first life, where it was known at once whose sagas are driven.
    first: Option<Life>,
    standing: Standing,
}

struct Life {
    driver: Driver,
    share: Share,
}

/// What the process has of the sagas now, for those who ask.
#[derive(Clone, Default)]
pub(crate) struct Standing {
    shown: Arc<Mutex<Shown>>,
}

#[derive(Clone, Default)]
struct Shown {
    share: Option<Share>,
    /// Why nothing comes in.
    trouble: Option<String>,
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self, share: Option<Share>) {
        metrics::owned(share.as_ref().map_or(0, |share| share.owned().len()));
        *self.lock() = Shown {
            share,
            trouble: None,
        };
    }

    /// Why nothing comes in, or that it does.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
    }

    fn health(&self) -> Health {
        let shown = self.lock().clone();
        match (shown.trouble, shown.share) {
            (Some(trouble), _) => Health::Down(trouble),
            (None, None) => Health::Noted("others drive them all, or nobody yet".to_owned()),
            (None, Some(share)) if !share.is_among_others() => Health::Up,
            (None, Some(share)) => Health::Noted(format!(
                "{} of {} partitions are driven here",
                share.owned().len(),
                share.divided_into()
            )),
        }
    }
}

impl Orchestrator {
    /// Joins those who share the sagas. Where it is known at once what belongs to this process, it is
    /// loaded. Of several definitions with one name the first starts new sagas; the others only drive those
    /// that began with them.
    ///
    /// # Errors
    /// Where the bus, the rows or the store cannot be read, or belong to different logs.
    pub async fn load(
        store: Arc<dyn EventStore>,
        bus: Arc<dyn Bus>,
        documents: Arc<dyn Documents>,
        clock: Arc<dyn Clock>,
        definitions: Vec<Arc<Definition>>,
        options: Options,
    ) -> Result<Self, Error> {
        let parts = Parts {
            store,
            bus,
            documents,
            clock,
            definitions,
            options,
        };
        let membership = parts.bus.join(GROUP).await?;
        let mut orchestrator = Self {
            parts,
            told: Told::default(),
            membership,
            first: None,
            standing: Standing::default(),
        };
        let known = tokio::select! {
            biased;
            share = orchestrator.membership.share() => Some(share?),
            () = std::future::ready(()) => None,
        };
        if let Some(share) = known {
            let Self {
                parts,
                told,
                standing,
                ..
            } = &orchestrator;
            orchestrator.first = Some(live_with(parts.clone(), share, told, standing).await?);
        }
        Ok(orchestrator)
    }

    /// What operators may do to the sagas, whoever drives them.
    #[must_use]
    pub fn actions(&self) -> Actions {
        let parts = &self.parts;
        Actions::new(
            Arc::clone(&parts.store),
            Arc::clone(&parts.clock),
            parts.definitions.clone(),
            self.told.clone(),
        )
    }

    /// Its addresses.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let store = Arc::clone(&self.parts.store);
        let why = crate::why::http::routes(store, &self.parts.definitions);
        operator::http::routes(self.actions()).merge(why)
    }

    /// What it has in hand before it runs: nothing where others may drive it all.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let first = self.first.as_ref();
        first.map_or_else(Counts::default, |life| life.driver.counts())
    }

    /// Has `/readyz` say which of the sagas are driven here.
    pub fn register(&self, readiness: &Registry) {
        let standing = self.standing.clone();
        readiness.probe("sagas", Need::Some, move || standing.health());
    }

    /// Drives what belongs to this process until `shutdown`, then saves how far it has come.
    ///
    /// # Errors
    /// Where it cannot go on: the process must end.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        metrics::describe();
        let mut failures = 0;
        loop {
            let lived = shutdown.run_until_cancelled(self.next()).await;
            let Some(life) = lived else { return Ok(()) };
            let mut is_among_others = false;
            let ended = match life {
                Ok(life) => {
                    is_among_others = life.share.is_among_others();
                    self.live(life, &shutdown, &mut failures).await
                }
                Err(error) => Err(error),
            };
            if shutdown.is_cancelled() {
                return ended;
            }
            self.standing.own(None);
            let Err(error) = ended else {
                failures = 0;
                continue;
            };
            let is_of_sharing = is_among_others && is_of_sharing(&error);
            if !is_of_sharing && !is_passing(&error) {
                return Err(error);
            }
            let error = with_sources(&error);
            tracing::warn!(error, "the sagas are loaded anew");
            self.standing.set_trouble(Some(error));
            let pause = Duration::from_millis(self.parts.options.backoff_ms(failures));
            failures += 1;
            let paused = tokio::time::sleep(pause);
            if shutdown.run_until_cancelled(paused).await.is_none() {
                return Ok(());
            }
        }
    }

    /// The next life: waits until something belongs to this process.
    async fn next(&mut self) -> Result<Life, Error> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            let share = self.membership.share().await?;
            let loading = live_with(self.parts.clone(), share, &self.told, &self.standing);
            tokio::select! {
                biased;
                loaded = loading => return loaded,
                // Nothing was done with it yet.
                () = self.membership.changed() => {}
            }
        }
    }

    /// Lives until the share is another, or `shutdown`.
    async fn live(
        &mut self,
        life: Life,
        shutdown: &CancellationToken,
        failures: &mut u32,
    ) -> Result<(), Error> {
        let Life { driver, share } = life;
        self.standing.own(Some(share));
        let stop = shutdown.child_token();
        let mut living = std::pin::pin!(driver.run(stop.clone()));
        tokio::select! {
            biased;
            ended = &mut living => return ended,
            () = self.membership.changed() => {}
        }
        tracing::info!("the sagas are shared anew");
        *failures = 0;
        stop.cancel();
        living.await
    }
}

async fn live_with(
    parts: Parts,
    share: Share,
    told: &Told,
    standing: &Standing,
) -> Result<Life, Error> {
    let driver = Driver::load(parts, share.clone(), told, standing).await?;
    Ok(Life { driver, share })
}

/// Whether it comes of others who have, or had, what is driven here: they know what is to be known.
fn is_of_sharing(error: &Error) -> bool {
    matches!(
        error,
        Error::InFlight(InFlightError::Documents(documents::Error::Moved { .. }))
            | Error::Bus(BusError::Gap { .. })
    )
}
