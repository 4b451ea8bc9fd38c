//! What is counted of the services behind the gateway.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::Address;

/// Whether a service answers, by `service` and `address`: 1, or 0 while that circuit is open.
const SERVICE_ANSWERS: &str = "recourse_service_answers";
/// Requests that were sent to a service once more, by `service`.
const FORWARD_REPEATS: &str = "recourse_forward_repeats_total";

pub(super) fn describe(service: &'static str, address: &Address) {
    describe_gauge!(
        SERVICE_ANSWERS,
        Unit::Count,
        "1 while a service answers at an address, 0 while that circuit is open"
    );
    describe_counter!(
        FORWARD_REPEATS,
        Unit::Count,
        "requests that were sent to a service once more"
    );
    answers(service, address, false);
    counter!(FORWARD_REPEATS, "service" => service).absolute(0);
}

pub(super) fn answers(service: &'static str, address: &Address, whether: bool) {
    gauge!(SERVICE_ANSWERS, "service" => service, "address" => address.to_string())
        .set(if whether { 1.0 } else { 0.0 });
}

pub(super) fn repeated(service: &'static str) {
    counter!(FORWARD_REPEATS, "service" => service).increment(1);
}
