//! `/metrics`, for Prometheus.

use anyhow::Context;
use axum::{http::header, response::IntoResponse};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use recourse_service::contract::{Answer, Operation, Routes};

use crate::storage::Storage;

/// Every fsync of the event store since it was opened.
const STORE_FSYNCS: &str = "recourse_store_fsyncs_total";
/// Bytes of log written since the store was opened.
const STORE_LOG_BYTES: &str = "recourse_store_log_bytes_total";
/// Events appended since the store was opened.
const STORE_EVENTS: &str = "recourse_store_events_total";
/// How often the store could not publish its durable position since it was opened.
const STORE_UNPUBLISHED: &str = "recourse_store_unpublished_total";
/// Streams in the store.
const STORE_STREAMS: &str = "recourse_store_streams";
/// Up to which event the log was read since the start, to look for damage.
const STORE_SCRUBBED: &str = "recourse_store_scrubbed_position";
/// The event at which that ends.
const STORE_SCRUB_END: &str = "recourse_store_scrub_end_position";

/// Bytes of log.
const STORE_SIZE: &str = "recourse_store_size_bytes";
/// Events in the log.
const STORE_SIZE_EVENTS: &str = "recourse_store_size_events";
/// Bytes left on the disk of the data folder.
const DISK_FREE: &str = "recourse_disk_free_bytes";
/// Bytes of log an hour, at the rate of the last hour.
const STORE_GROWTH: &str = "recourse_store_growth_bytes_per_hour";
/// Bytes of log an hour, at the rate of the last day.
const STORE_GROWTH_DAY: &str = "recourse_store_growth_day_bytes_per_hour";

/// The media type of what Prometheus reads.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4";

/// How long something took, in seconds: what is told apart. What several processes count can be
/// added up, and what was counted between two times be told.
const SECONDS: [f64; 18] = [
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1,
    0.25, 1.0, 5.0, 30.0,
];

/// Starts counting.
fn start() -> anyhow::Result<PrometheusHandle> {
    let durations = Matcher::Suffix("_seconds".to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(durations, &SECONDS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("metrics are counted already")?;
    Ok(handle)
}

fn operation() -> Operation {
    Operation::new("getMetrics", "Read the counters")
        .describe("In the text format of Prometheus.")
        .tag("server")
        .answer(Answer::text(200, "Every counter", "text/plain"))
}

/// Starts counting, and makes the address that shows the counts of a process that has no store of
/// its own.
#[cfg(feature = "distributed")]
pub(crate) fn plain_routes() -> anyhow::Result<Routes> {
    let handle = start()?;
    let show = move || {
        let text = handle.render();
        async move { ([(header::CONTENT_TYPE, MEDIA_TYPE)], text) }
    };
    Ok(Routes::new().get("/metrics", show, operation()))
}

/// Starts counting, and makes the address that shows the counts.
pub(crate) fn routes(storage: Storage) -> anyhow::Result<Routes> {
    let handle = start()?;
    metrics::describe_counter!(STORE_FSYNCS, "every fsync of the event store");
    metrics::describe_counter!(STORE_LOG_BYTES, metrics::Unit::Bytes, "log written");
    metrics::describe_counter!(STORE_EVENTS, "events appended");
    metrics::describe_counter!(
        STORE_UNPUBLISHED,
        "how often the durable position could not be written for readers in other processes"
    );
    metrics::describe_gauge!(STORE_STREAMS, "streams in the event store");
    metrics::describe_gauge!(
        STORE_SCRUBBED,
        "the event up to which the log was read since the start, to look for damage"
    );
    metrics::describe_gauge!(STORE_SCRUB_END, "the event at which that ends");
    metrics::describe_gauge!(STORE_SIZE, metrics::Unit::Bytes, "the log");
    metrics::describe_gauge!(STORE_SIZE_EVENTS, "events in the log");
    metrics::describe_gauge!(
        DISK_FREE,
        metrics::Unit::Bytes,
        "what is left on the disk of the data folder"
    );
    metrics::describe_gauge!(
        STORE_GROWTH,
        metrics::Unit::Bytes,
        "log an hour, at the rate of the last hour"
    );
    metrics::describe_gauge!(
        STORE_GROWTH_DAY,
        metrics::Unit::Bytes,
        "log an hour, at the rate of the last day"
    );
    let show = move || {
        let (storage, handle) = (storage.clone(), handle.clone());
        async move { show(&storage, &handle).await }
    };
    Ok(Routes::new().get("/metrics", show, operation()))
}

async fn show(storage: &Storage, handle: &PrometheusHandle) -> impl IntoResponse + use<> {
    let stats = storage.store.stats();
    metrics::counter!(STORE_FSYNCS).absolute(stats.fsyncs);
    metrics::counter!(STORE_LOG_BYTES).absolute(stats.log_bytes);
    metrics::counter!(STORE_EVENTS).absolute(stats.events);
    metrics::counter!(STORE_UNPUBLISHED).absolute(stats.unpublished);
    gauge(STORE_STREAMS, stats.streams);
    gauge(STORE_SCRUBBED, stats.scrub.position);
    gauge(STORE_SCRUB_END, stats.scrub.of);
    // What cannot be asked now keeps the figures of the last time.
    if let Ok(report) = storage.read_report().await {
        gauge(STORE_SIZE, report.log.bytes);
        gauge(STORE_SIZE_EVENTS, report.log.events);
        gauge(DISK_FREE, report.disk.free_bytes);
        let mut growth = report.growth.iter().map(|window| window.bytes_per_hour);
        gauge(STORE_GROWTH, growth.next().unwrap_or_default());
        gauge(STORE_GROWTH_DAY, growth.next().unwrap_or_default());
    }
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], handle.render())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
fn gauge(name: &'static str, value: u64) {
    metrics::gauge!(name).set(value as f64);
}
