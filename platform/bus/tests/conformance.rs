//! The port's promises, on every adapter within the process: the embedded bus on a friendly store and
//! on a hostile one, and with faults of its own. Kafka's are held in `relay/tests`, where there is
//! something that fills it.

use std::sync::Arc;

use recourse_bus::{
    MemoryCheckpoints,
    conformance::{
        Subject,
        world::{embedded_bus, memory_store},
    },
    faulty,
};
use recourse_event_store::{EventStore, conformance::eventstoredb_like};

async fn embedded() -> Subject {
    let store = memory_store();
    let bus = embedded_bus(&store, &MemoryCheckpoints::default());
    Subject::new(store, Arc::new(bus))
}

async fn embedded_on_eventstoredb_like() -> Subject {
    let store: Arc<dyn EventStore> = Arc::new(eventstoredb_like::Store::new(memory_store(), 3));
    let bus = embedded_bus(&store, &MemoryCheckpoints::default());
    Subject::new(store, Arc::new(bus))
}

async fn faulty() -> Subject {
    let store = memory_store();
    let bus = Arc::new(embedded_bus(&store, &MemoryCheckpoints::default()));
    let rates = faulty::Rates {
        loss_once_in: 5,
        double_once_in: 3,
        delay_once_in: 3,
        cut_once_in: 7,
        ..faulty::Rates::default()
    };
    Subject::new(store, Arc::new(faulty::Bus::new(bus, rates, 11)))
}

mod on_embedded {
    recourse_bus::bus_conformance! { #[tokio::test(start_paused = true)] super::embedded }
}

mod on_embedded_on_eventstoredb_like {
    recourse_bus::bus_conformance! {
        #[tokio::test(start_paused = true)] super::embedded_on_eventstoredb_like
    }
}

mod on_faulty {
    recourse_bus::bus_conformance! { #[tokio::test(start_paused = true)] super::faulty }
}
