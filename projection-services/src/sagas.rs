//! Sagas, for whoever watches over them: `GET /v1/sagas[/{id}]`.

mod followed;

use std::sync::Arc;

use axum::{
    extract::{FromRef, State},
    response::Response,
};
use chrono::{DateTime, TimeDelta, Utc};
use recourse_bus::Json;
use recourse_event_store::{Filter, RecordedEvent};
use recourse_saga::{Event, Part, Reason, Skip, State as Saga, Status, StepView};
use recourse_service::{
    Clock, Problem,
    contract::{Operation, Routes},
    errors,
    http::{Id, Query, UsualUuid, etag},
    page::Limit,
};
use recourse_views::{
    Projection, ProjectionError,
    documents::{self, Comparison, Index, Kind, Order},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    events,
    view::{Asked, List, View, lists, shows},
};

pub use followed::{Followed, Summary};

/// A saga, as it is kept: the fold of its stream, and by what it is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    definition: String,
    status: Status,
    started_at: DateTime<Utc>,
    correlation_id: Uuid,
    /// Without the input, which may hold secrets.
    state: Saga,
}

/// A saga, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Saga")]
pub struct Shown {
    /// The saga.
    saga_id: Uuid,
    /// What it does: `fulfilment`.
    definition: String,
    /// How it stands.
    status: Status,
    /// What it is for: the order.
    correlation_id: Uuid,
    /// When it began.
    started_at: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime<Utc>>,
    /// When it needs attention unless it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_at: Option<DateTime<Utc>>,
    /// Why it turned back.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// Why it needs attention or stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Its steps, in order.
    steps: Vec<StepView>,
    /// What is left to do.
    remaining: Vec<Part>,
    /// What an undo would undo now.
    undo_plan: Vec<Part>,
    /// What operators had left out, or want left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skips: Vec<Skip>,
}

impl From<Row> for Shown {
    fn from(row: Row) -> Self {
        let state = &row.state;
        Self {
            saga_id: state.saga(),
            definition: row.definition,
            status: row.status,
            correlation_id: row.correlation_id,
            started_at: row.started_at,
            ended_at: state.ended_at(),
            deadline_at: state.deadline_at(),
            reason: state.turned_back().cloned(),
            trouble: state.trouble().map(str::to_owned),
            steps: state.steps(),
            remaining: state.remaining(),
            undo_plan: state.undo_plan(),
            skips: state.skips().to_vec(),
        }
    }
}

/// The view of sagas.
#[derive(Debug)]
pub struct Sagas;

impl Projection for Sagas {
    const NAME: &'static str = "sagas";
    const VERSION: u32 = 2;
    const INDEXES: &'static [Index] = &[
        Index {
            path: "started_at",
            kind: Kind::Time,
        },
        Index {
            path: "status",
            kind: Kind::Text,
        },
        Index {
            path: "definition",
            kind: Kind::Text,
        },
    ];
    const NEWEST_FIRST_BY: Option<&'static str> = Some("started_at");

    type Row = Row;

    fn filter() -> Filter {
        Filter::categories(&["saga"])
    }

    fn key(event: &RecordedEvent) -> Result<Option<String>, ProjectionError> {
        Ok(Some(event.stream.id().to_owned()))
    }

    fn begins(event: &RecordedEvent) -> bool {
        event.revision == 0
    }

    fn apply(row: Option<Row>, event: &RecordedEvent) -> Result<Option<Row>, ProjectionError> {
        let at = events::recorded_at(event)?;
        let decoded = event.decode::<Event>()?;
        let mut row =
            match (row, &*decoded) {
                (Some(row), _) => row,
                (None, Event::Started(started)) => {
                    Row {
                        definition: started.definition.clone(),
                        status: Status::Running,
                        started_at: at,
                        correlation_id: event.metadata()?.correlation_id,
                        state: Saga::new(event.stream.id().parse().map_err(|_| {
                            events::out_of_place("its stream is not that of a saga")
                        })?),
                    }
                }
                (None, _) => return Err(events::out_of_place("its saga has not begun")),
            };
        match &*decoded {
            Event::Started(started) => {
                let mut started = started.clone();
                started.input = Json::write(&())
                    .map_err(|_| events::out_of_place("its input cannot be left out"))?;
                row.state.apply(&Event::Started(started), at);
            }
            other => row.state.apply(other, at),
        }
        row.status = row.state.status();
        Ok(Some(row))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// How many items a page holds at most.
    #[serde(default)]
    limit: Limit,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
    /// Only of this definition.
    definition: Option<String>,
    /// Only as they stand so.
    status: Option<StatusFilter>,
    /// Only begun more than so many milliseconds ago.
    older_than_ms: Option<u64>,
}

/// Every status that a saga can be said to have.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StatusFilter {
    Running,
    Compensating,
    Paused,
    Parked,
    NeedsAttention,
    Completed,
    Compensated,
}

impl StatusFilter {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Paused => "paused",
            Self::Parked => "parked",
            Self::NeedsAttention => "needs_attention",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
        }
    }
}

#[derive(Clone)]
struct Service {
    view: View<Sagas>,
    clock: Arc<dyn Clock>,
}

impl FromRef<Service> for View<Sagas> {
    fn from_ref(service: &Service) -> Self {
        service.view.clone()
    }
}

pub(crate) fn routes(view: View<Sagas>, clock: Arc<dyn Clock>) -> Routes {
    let listing = Operation::new("listSagas", "List sagas")
        .tag("sagas")
        .answer(lists::<Shown>(LIST))
        .fails(errors::LIST);
    let showing = Operation::new("getSaga", "Show a saga")
        .describe("Its steps, what remains of it, and what an undo would do now.")
        .tag("sagas")
        .answer(shows::<Shown>("The saga", SHOWN).etag())
        .fails(errors::QUERY);
    Routes::new()
        .get("/v1/sagas", list, listing)
        .get("/v1/sagas/{id}", one, showing)
        .with_state(Service { view, clock })
}

const SHOWN: &str = r#"{
    "saga_id": "0f8fad5b-d9cb-569f-a165-70867728950e",
    "definition": "fulfilment",
    "status": "compensated",
    "correlation_id": "5b0e0c7a-3f0d-5a3e-9d38-7a1f0e1c2b4d",
    "started_at": "2026-03-01T12:00:00.000Z",
    "ended_at": "2026-03-01T12:00:00.021Z",
    "deadline_at": "2026-03-01T12:01:00.000Z",
    "reason": {"code": "payment-declined", "detail": "the card was declined"},
    "steps": [
        {"name": "reserve-stock", "kind": "compensatable", "status": "undone", "attempts": 1},
        {"name": "authorize-payment", "kind": "compensatable", "status": "refused", "attempts": 1}
    ],
    "remaining": [],
    "undo_plan": []
}"#;

const LIST: &str = r#"{
    "items": [{
        "saga_id": "0f8fad5b-d9cb-569f-a165-70867728950e",
        "definition": "fulfilment",
        "status": "running",
        "correlation_id": "5b0e0c7a-3f0d-5a3e-9d38-7a1f0e1c2b4d",
        "started_at": "2026-03-01T12:00:00.000Z",
        "deadline_at": "2026-03-01T12:01:00.000Z",
        "steps": [
            {"name": "reserve-stock", "kind": "compensatable", "status": "running", "attempts": 1}
        ],
        "remaining": [{"step": "reserve-stock"}],
        "undo_plan": [{"step": "reserve-stock"}]
    }]
}"#;

async fn one(
    State(view): State<View<Sagas>>,
    Id(UsualUuid(id)): Id<UsualUuid>,
    asked: Asked,
) -> Result<Response, Problem> {
    let found = view.get(&id.to_string(), &asked).await?;
    let tag = etag(found.row.state.revision().unwrap_or_default());
    Ok(found.respond(Shown::from).etag(tag))
}

async fn list(
    State(service): State<Service>,
    Query(parameters): Query<Parameters>,
    asked: Asked,
) -> Result<Response, Problem> {
    let equal = |path, value: &str| documents::Filter {
        path,
        comparison: Comparison::Equal,
        value: value.into(),
    };
    let mut filters = Vec::new();
    if let Some(definition) = &parameters.definition {
        filters.push(equal("definition", definition));
    }
    if let Some(status) = parameters.status {
        filters.push(equal("status", status.as_str()));
    }
    if let Some(older_than_ms) = parameters.older_than_ms {
        let started_before = i64::try_from(older_than_ms)
            .ok()
            .and_then(TimeDelta::try_milliseconds)
            .and_then(|age| service.clock.now().checked_sub_signed(age))
            .ok_or_else(|| {
                Problem::new(errors::INVALID_QUERY)
                    .field("?older_than_ms", "nothing is as old as that")
            })?;
        filters.push(documents::Filter {
            path: "started_at",
            comparison: Comparison::Below,
            value: started_before.into(),
        });
    }
    let identity = (
        parameters.definition,
        parameters.status,
        parameters.older_than_ms,
    );
    let list = List {
        filters,
        order: Order::NewestFirst,
        limit: parameters.limit,
        cursor: parameters.cursor,
        identity,
    };
    service.view.list(list, &asked, Shown::from).await
}
