//! A saga that is talked to: what it says to what it hears.

use recourse_domain::{OrderId, order};
use recourse_event_store::RecordedEvent;
use recourse_saga::testing::recorded_of;
pub(crate) use recourse_saga::testing::{Talk, refused, sent};

/// An event as the order's stream has it.
pub(crate) fn recorded(order: OrderId, event: order::Event) -> RecordedEvent {
    recorded_of(&format!("order-{order}"), event, order.0)
}
