//! Compares the two generations of a rebuild, and has it recorded.

use recourse_cqrs::{Handle, Internal, Origin};
use recourse_service::command::own_correlation;
use recourse_views::{
    rebuild::{Command, Compared, Generations, MAX_NAMED_DIFFERENCES},
    verify::Comparison,
};
use uuid::Uuid;

use super::{
    keeper::RETRY_AFTER,
    kind::Kind,
    view::{View, with_sources},
};

/// How often a comparison is tried before the live generation counts as one that cannot be read.
const MAX_COMPARISONS: u32 = 3;

/// How often a generation that is filled runs after the live one, which goes on too, before both
/// are near enough to be compared: they are compared wherever they are.
const MAX_ROUNDS: usize = 8;

/// Compares both generations of a rebuild once the new one is level, and has it recorded.
pub(super) async fn compared(
    view: &View,
    handle: &Handle<Generations>,
    rebuild_id: Uuid,
    live: u32,
    other: u32,
) {
    level(view, live, other).await;
    let compared = compare(&*view.kind, rebuild_id, live, other).await;
    tracing::info!(
        view = view.kind.name(),
        generation = other,
        equal_rows = compared.equal_rows,
        different_rows = compared.different_rows,
        "a generation was compared with the live one"
    );
    loop {
        let internal = Internal {
            causation_id: rebuild_id,
            correlation_id: own_correlation(&view.stream),
            actor: None,
            request_id: None,
            traceparent: None,
        };
        let command = Command::RecordComparison(compared.clone());
        let sent = handle.send(view.stream.clone(), command, Origin::Internal(internal));
        match sent.await {
            Ok(_) => return,
            Err(error) => tracing::warn!(
                view = view.kind.name(),
                error = &error as &dyn std::error::Error,
                "a comparison is not recorded yet"
            ),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Waits until the new generation is about where the live one is.
async fn level(view: &View, live: u32, other: u32) {
    for _ in 0..MAX_ROUNDS {
        let (Some(live), Some(other)) = (view.fed(live), view.fed(other)) else {
            return;
        };
        let position = live.considered.get();
        if other.considered.get() >= position {
            return;
        }
        other.considered.passed(position).await;
    }
}

async fn compare(kind: &dyn Kind, rebuild_id: Uuid, live: u32, other: u32) -> Compared {
    let mut tries: u32 = 0;
    loop {
        let error = match kind.compare(live, other).await {
            Ok(comparison) => return said(rebuild_id, comparison),
            Err(error) => error,
        };
        tries = tries.saturating_add(1);
        tracing::warn!(
            view = kind.name(),
            tries,
            error = &error as &dyn std::error::Error,
            "two generations cannot be compared"
        );
        if tries >= MAX_COMPARISONS
            && let Some(compared) = unreadable(kind, rebuild_id, live, other).await
        {
            return compared;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// What is said where the live generation alone cannot be read. Of an event store or a database that
/// does not answer nothing is said, for that passes: the new generation has to be read before and
/// after the live one is not.
async fn unreadable(kind: &dyn Kind, rebuild_id: Uuid, live: u32, other: u32) -> Option<Compared> {
    kind.count(other).await.ok()?;
    let error = kind.count(live).await.err()?;
    let different_rows = kind.count(other).await.ok()?;
    let position = kind.position(other).await.ok()?.get();
    Some(Compared {
        rebuild_id,
        position,
        equal_rows: 0,
        different_rows,
        differences: Vec::new(),
        unreadable: Some(with_sources(&error)),
    })
}

fn said(rebuild_id: Uuid, comparison: Comparison) -> Compared {
    let different = comparison.differences.len();
    let first = comparison.differences.into_iter();
    Compared {
        rebuild_id,
        position: comparison.position,
        equal_rows: comparison.equal_rows,
        different_rows: u64::try_from(different).unwrap_or(u64::MAX),
        differences: first.take(MAX_NAMED_DIFFERENCES).collect(),
        unreadable: None,
    }
}
