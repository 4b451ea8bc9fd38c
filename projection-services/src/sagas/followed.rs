//! A saga as it is followed live: the same fold as the view's, held in memory.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use recourse_event_store::RecordedEvent;
use recourse_saga::{Reason, Status, StepStatus};
use recourse_views::{Projection, ProjectionError};
use serde::Serialize;
use uuid::Uuid;

use super::{Row, Sagas, Shown};
use crate::events;

/// The fold of one saga's stream.
#[derive(Debug, Default)]
pub struct Followed {
    row: Option<Row>,
    last: Option<(Arc<str>, DateTime<Utc>)>,
}

/// A saga in short: how it stands after its last event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    saga_id: Uuid,
    definition: String,
    status: Status,
    correlation_id: Uuid,
    started_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// When that event was recorded.
    at: DateTime<Utc>,
    /// The type of that event.
    #[serde(rename = "type")]
    event_type: Arc<str>,
    steps: Vec<StepSummary>,
}

/// A step in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct StepSummary {
    name: Arc<str>,
    status: StepStatus,
}

impl Followed {
    /// Takes in the stream's next event.
    ///
    /// # Errors
    /// As [`Sagas::apply`].
    pub fn apply(&mut self, event: &RecordedEvent) -> Result<(), ProjectionError> {
        let at = events::recorded_at(event)?;
        self.row = Sagas::apply(self.row.take(), event)?;
        self.last = Some((Arc::clone(&event.event.event_type), at));
        Ok(())
    }

    /// The saga as `GET /v1/sagas/{id}` answers; none before its first event.
    #[must_use]
    pub fn shown(&self) -> Option<Shown> {
        self.row.clone().map(Shown::from)
    }

    /// The saga in short; none before its first event.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        let row = self.row.as_ref()?;
        let (event_type, at) = self.last.clone()?;
        let state = &row.state;
        Some(Summary {
            saga_id: state.saga(),
            definition: row.definition.clone(),
            status: row.status,
            correlation_id: row.correlation_id,
            started_at: row.started_at,
            ended_at: state.ended_at(),
            deadline_at: state.deadline_at(),
            reason: state.turned_back().cloned(),
            trouble: state.trouble().map(str::to_owned),
            at,
            event_type,
            steps: state
                .steps()
                .into_iter()
                .map(|step| StepSummary {
                    name: step.name,
                    status: step.status,
                })
                .collect(),
        })
    }

    /// That nothing more will happen to it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.state.is_ended())
    }
}
