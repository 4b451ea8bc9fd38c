//! What a relay counts. `docs/metrics.md` lists it for operators.

/// Records that Kafka has acknowledged, by `kind`: `event`, `command`, `considered`.
pub const RECORDS: &str = "recourse_relay_records_total";
/// From the time an event was recorded until Kafka acknowledged it, in seconds.
pub const LAG: &str = "recourse_relay_lag_seconds";
/// How often the relay began again at its checkpoint.
pub const RESTARTS: &str = "recourse_relay_restarts_total";
/// Whether this relay holds the lease.
pub const ACTIVE: &str = "recourse_relay_active";

/// All of them.
pub const ALL: [&str; 4] = [RECORDS, LAG, RESTARTS, ACTIVE];

pub(crate) fn describe() {
    metrics::describe_counter!(RECORDS, "records that Kafka has acknowledged");
    metrics::describe_histogram!(
        LAG,
        metrics::Unit::Seconds,
        "from the time an event was recorded until Kafka acknowledged it"
    );
    metrics::describe_counter!(
        RESTARTS,
        "how often the relay began again at its checkpoint"
    );
    metrics::describe_gauge!(ACTIVE, "whether this relay holds the lease");
    restarts(0);
    active(false);
}

pub(crate) fn active(is_active: bool) {
    metrics::gauge!(ACTIVE).set(if is_active { 1.0 } else { 0.0 });
}

pub(crate) fn restarted() {
    restarts(1);
}

fn restarts(count: u64) {
    metrics::counter!(RESTARTS).increment(count);
}

pub(crate) fn acknowledged(events: u64, commands: u64, considered: u64) {
    for (kind, count) in [
        ("event", events),
        ("command", commands),
        ("considered", considered),
    ] {
        metrics::counter!(RECORDS, "kind" => kind).increment(count);
    }
}

pub(crate) fn lag(seconds: f64) {
    metrics::histogram!(LAG).record(seconds);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_of_the_relay_is_on_the_page_of_metrics_and_no_other() {
        let page = include_str!("../../docs/metrics.md");
        let (_, ours) = page.split_once("## The relay").unwrap();
        let ours = ours.split("## ").next().unwrap();
        let told: BTreeSet<&str> = ours
            .split('`')
            .filter(|word| word.starts_with("recourse_"))
            .collect();
        assert_eq!(told, BTreeSet::from(ALL));
    }
}
