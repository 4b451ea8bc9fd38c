//! The suite of the bus, with a relay between the store and Kafka.

use recourse_bus::conformance::Subject;
use recourse_event_store::conformance::eventstoredb_like;
use std::sync::Arc;

use crate::world::{World, memory};

async fn kafka() -> Option<Subject> {
    World::new(memory()).await.map(World::subject)
}

async fn kafka_of_a_log_with_sparse_positions() -> Option<Subject> {
    let store = Arc::new(eventstoredb_like::Store::new(memory(), 5));
    World::new(store).await.map(World::subject)
}

macro_rules! conformance {
    ($make:ident: $($name:ident)*) => {
        mod $make {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(subject) = super::$make().await {
                    recourse_bus::conformance::$name(subject).await;
                }
            })*
        }
    };
}

conformance! { kafka:
    every_command_takes_effect_once_and_in_order
    a_command_has_the_mark_of_its_place
    groups_and_categories_are_independent
    events_of_a_correlation_come_in_order_as_the_filter_wants_them
    a_group_goes_on_after_what_it_committed
}

conformance! { kafka_of_a_log_with_sparse_positions:
    every_command_takes_effect_once_and_in_order
}
