//! The port's suite on the adapter, over the server in front of the stores that there are, and over
//! one that misbehaves as EventStoreDB may.

use super::world::{LOG, Serving, embedded, memory};
use recourse_esdb::{client::Store, server::hostile::Hostility};
use recourse_event_store::conformance::Subject;

async fn over_memory() -> Subject {
    over(Serving::start(memory()).await).await
}

async fn over_embedded() -> Subject {
    let (store, folder) = embedded();
    over(Serving::start(store).await.keeping(folder)).await
}

async fn over_hostile() -> Subject {
    hostile(Serving::start_as(memory(), Some(Hostility::new(1))).await).await
}

async fn over_hostile_embedded() -> Subject {
    let (store, folder) = embedded();
    let serving = Serving::start_as(store, Some(Hostility::new(2))).await;
    hostile(serving.keeping(folder)).await
}

/// What is lost all the time is asked for again soon.
pub(crate) async fn hostile(serving: Serving) -> Subject {
    let mut options = serving.options();
    options.max_pause_ms = 10;
    let store = Store::connect(options, LOG).await.unwrap();
    Subject::new(store).keeping(serving)
}

async fn over(serving: Serving) -> Subject {
    Subject::new(serving.connect().await)
        .with_max_append_bytes(1024 * 1024)
        .keeping(serving)
}

mod before_memory {
    recourse_event_store::event_store_conformance!(super::over_memory);
}

mod before_embedded {
    recourse_event_store::event_store_conformance!(super::over_embedded);
}

mod before_hostile {
    recourse_event_store::event_store_conformance!(super::over_hostile);
}

mod before_hostile_embedded {
    recourse_event_store::event_store_conformance!(super::over_hostile_embedded);
}
