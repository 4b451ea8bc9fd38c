//! What the process depends on, and whether it can serve.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

/// How a dependency is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Up,
    /// It works, and there is something to say of it.
    Noted(String),
    /// It works, and needs an operator soon.
    Degraded(String),
    /// It is not there yet: a view that still catches up after a start.
    Starting(String),
    /// It does not work, and why.
    Down(String),
}

/// Whether the process can do anything without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// No address can be served without it.
    Everything,
    /// Some addresses need it; the others still work.
    Some,
}

/// Dependencies, each with how it is.
type Found = Vec<(String, Need, Health)>;

type Probe = Arc<dyn Fn() -> Found + Send + Sync>;

/// The dependencies of a process. Cheap to clone.
///
/// ```
/// use recourse_service::readiness::{Health, Need, Registry};
///
/// let registry = Registry::new();
/// let orders = registry.dependency("view-orders", Need::Some);
/// registry.probe("event-store", Need::Everything, || Health::Up);
/// assert!(!registry.is_ready(), "the only view is still starting");
/// orders.up();
/// assert!(registry.is_ready());
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    dependencies: Arc<Mutex<Vec<Probe>>>,
}

impl Registry {
    /// Nothing depends on anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a dependency that its owner reports about; it is starting until then.
    #[must_use]
    pub fn dependency(&self, name: impl Into<String>, need: Need) -> Dependency {
        let dependency = Dependency::starting();
        let probe = dependency.clone();
        self.probe(name, need, move || probe.get());
        dependency
    }

    /// Adds a dependency that is asked how it is. The question must be quick: it is asked for
    /// each call of `/readyz`.
    pub fn probe(
        &self,
        name: impl Into<String>,
        need: Need,
        probe: impl Fn() -> Health + Send + Sync + 'static,
    ) {
        let name = name.into();
        self.add(Arc::new(move || vec![(name.clone(), need, probe())]));
    }

    /// Adds what another registry reports, for as long as there is one: that of a part which
    /// comes and goes.
    pub fn include(&self, other: impl Fn() -> Option<Self> + Send + Sync + 'static) {
        self.add(Arc::new(move || {
            other().map_or_else(Vec::new, |registry| registry.report())
        }));
    }

    fn add(&self, probe: Probe) {
        self.dependencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(probe);
    }

    /// Each dependency, in the order in which they were added.
    #[must_use]
    pub fn report(&self) -> Vec<(String, Need, Health)> {
        // The probes are not run under the lock: one may take locks of its own.
        let dependencies = self
            .dependencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        dependencies.iter().flat_map(|probe| probe()).collect()
    }

    /// Whether any address can be served: everything that all of them need is up, and not all
    /// of the rest is away.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        is_ready(&self.report())
    }

    /// The answer to `/readyz`: 200 or 503, each dependency by name.
    #[must_use]
    pub fn respond(&self) -> Response {
        let report = self.report();
        let ready = is_ready(&report);
        let body = Report {
            status: if ready { "ready" } else { "not-ready" },
            dependencies: report
                .into_iter()
                .map(|(name, need, health)| {
                    let (status, detail) = match health {
                        Health::Up => ("up", None),
                        Health::Noted(detail) => ("up", Some(detail)),
                        Health::Degraded(detail) => ("degraded", Some(detail)),
                        Health::Starting(detail) => ("starting", Some(detail)),
                        Health::Down(detail) => ("down", Some(detail)),
                    };
                    Entry {
                        name,
                        status,
                        needed_by: match need {
                            Need::Everything => "everything",
                            Need::Some => "some",
                        },
                        detail,
                    }
                })
                .collect(),
        };
        let mut response = Json(body).into_response();
        if !ready {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert(header::RETRY_AFTER, 1.into());
        }
        response
    }
}

fn is_ready(report: &[(String, Need, Health)]) -> bool {
    let up =
        |health: &Health| matches!(health, Health::Up | Health::Noted(_) | Health::Degraded(_));
    let mut some = report
        .iter()
        .filter(|(_, need, _)| *need == Need::Some)
        .peekable();
    let any_works = some.peek().is_none() || some.any(|(_, _, health)| up(health));
    any_works
        && report
            .iter()
            .all(|(_, need, health)| *need == Need::Some || up(health))
}

/// What `/readyz` says.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Readiness")]
pub struct Report {
    /// `ready` or `not-ready`.
    status: &'static str,
    /// Each dependency.
    dependencies: Vec<Entry>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Dependency")]
struct Entry {
    /// What it is called.
    name: String,
    /// `up`, `degraded`, `starting` or `down`.
    status: &'static str,
    /// `everything` or `some`.
    needed_by: &'static str,
    /// Why it is not just up.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The owner's end of a dependency. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dependency {
    health: Arc<Mutex<Health>>,
}

impl Dependency {
    /// One that no registry names: for whoever asks it.
    #[must_use]
    pub fn starting() -> Self {
        let health = Health::Starting("no news of it yet".into());
        Self {
            health: Arc::new(Mutex::new(health)),
        }
    }

    /// Says how it is.
    pub fn set(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Says that it works.
    pub fn up(&self) {
        self.set(Health::Up);
    }

    /// Says that it does not, and why.
    pub fn down(&self, why: impl Into<String>) {
        self.set(Health::Down(why.into()));
    }

    /// How it is.
    #[must_use]
    pub fn get(&self) -> Health {
        self.health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_unless_no_address_can_be_served() {
        let registry = Registry::new();
        assert!(registry.is_ready());
        let store = registry.dependency("event-store", Need::Everything);
        assert!(!registry.is_ready(), "starting");
        store.up();
        assert!(registry.is_ready());
        let orders = registry.dependency("view-orders", Need::Some);
        let stock = registry.dependency("view-stock", Need::Some);
        assert!(!registry.is_ready(), "no view works");
        orders.up();
        stock.down("gone");
        assert!(registry.is_ready(), "one view works");
        store.set(Health::Degraded("slow".into()));
        assert!(registry.is_ready(), "it works");
        store.down("gone");
        assert!(!registry.is_ready(), "nothing works without the store");
        assert_eq!(registry.respond().status(), 503);
    }

    #[test]
    fn what_comes_and_goes_counts_while_it_is_there() {
        let registry = Registry::new();
        let part: Arc<Mutex<Option<Registry>>> = Arc::default();
        let held = Arc::clone(&part);
        registry.include(move || held.lock().unwrap().clone());
        assert!(registry.is_ready());
        let inner = Registry::new();
        inner.dependency("view-orders", Need::Some).down("gone");
        *part.lock().unwrap() = Some(inner);
        assert!(!registry.is_ready());
        *part.lock().unwrap() = None;
        assert!(registry.is_ready());
    }
}
