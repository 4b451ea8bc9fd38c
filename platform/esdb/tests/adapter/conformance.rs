//! The port's suite on the adapter, over the server in front of the stores that there are.

use super::world::{Serving, embedded, memory};
use recourse_event_store::conformance::Subject;

async fn over_memory() -> Subject {
    over(Serving::start(memory()).await).await
}

async fn over_embedded() -> Subject {
    let (store, folder) = embedded();
    over(Serving::start(store).await.keeping(folder)).await
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
