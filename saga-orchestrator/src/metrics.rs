//! What an orchestrator counts. `docs/metrics.md` lists it for operators.

/// The partitions of the sagas that this process drives.
const OWNED: &str = "recourse_sagas_partitions_owned";

/// Says what each of them is.
pub(crate) fn describe() {
    metrics::describe_gauge!(
        OWNED,
        "the partitions of the sagas that this process drives; 1 where it has them all to itself"
    );
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
pub(crate) fn owned(partitions: usize) {
    metrics::gauge!(OWNED).set(partitions as f64);
}
