//! What a service promises, for a process that the service is not in.

use std::sync::Arc;

use recourse_bus::{MemoryCheckpoints, embedded};
use recourse_cqrs::MemorySnapshots;
use recourse_event_store::{EventStore, LogId, memory};
use recourse_payments::simulator::{self, Simulator};
use recourse_service::{Clock, Ids, clock::SystemClock, contract::Routes};
use recourse_views::memory as views;
use uuid::Uuid;

use super::{Engines, Error, Options, Service, System};

/// The addresses of a service with what is promised of each: read off the service itself, composed
/// on empty engines in memory, so that there is no second list of them. They are to be handed to
/// whoever does answer: `Routes::handed_to`.
///
/// # Errors
/// As [`System::of`].
pub async fn contract(service: Service) -> Result<Routes, Error> {
    let system = System::of(&[service], &empty(), &Options::default()).await?;
    Ok(system.routes())
}

/// Engines in memory that hold nothing.
#[must_use]
pub fn empty() -> Engines {
    let store: Arc<dyn EventStore> = Arc::new(memory::Store::new(LogId(Uuid::nil())));
    let checkpoints = Arc::new(MemoryCheckpoints::default());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let bus = embedded::Bus::new(
        Arc::clone(&store),
        recourse_saga::commands_of,
        checkpoints.clone(),
    );
    Engines {
        store,
        bus: Some(Arc::new(bus)),
        documents: Some(Arc::new(views::Documents::default())),
        books: Some(Arc::new(views::Books::default())),
        turns: None,
        checkpoints: Some(checkpoints),
        snapshots: Some(Arc::new(MemorySnapshots::default())),
        provider: Some(Arc::new(Simulator::new(simulator::Options::default()))),
        ids: Ids::seeded(Arc::clone(&clock), 0),
        clock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_contracts_of_all_services_are_that_of_one_process() {
        let whole = System::assemble(empty(), Options::default()).await.unwrap();
        let mut apart = Vec::new();
        for service in Service::ALL {
            let contract = contract(service).await.unwrap();
            apart.extend(contract.operations().iter().map(|bound| bound.id()));
        }
        let whole = whole.routes();
        let ids: Vec<_> = whole.operations().iter().map(|bound| bound.id()).collect();
        assert!(ids.len() > 20);
        assert_eq!(ids, apart);
    }
}
