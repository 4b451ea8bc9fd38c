//! What the client counts. `docs/metrics.md` lists it for operators.

use std::time::Duration;

use ::metrics::{Unit, describe_histogram, histogram};

/// How long a call that appends took until all of it was durable or refused, in seconds.
const APPEND: &str = "recourse_append_seconds";

pub(super) fn describe() {
    describe_histogram!(
        APPEND,
        Unit::Seconds,
        "how long appends took until they were durable"
    );
}

pub(super) fn appended(took: Duration) {
    histogram!(APPEND).record(took.as_secs_f64());
}
