//! The views themselves: `GET /v1/projections`.

use std::sync::Arc;

use axum::{Json, extract::State};
use recourse_event_store::{
    Direction, EventStore, Filter, LogId, Position, Read, StoreError, Visibility,
};
use recourse_service::{
    Clock, Problem,
    contract::{Answer, Operation, Routes},
    errors,
    http::{NoParameters, Query},
    page::Page,
    position,
    readiness::Health,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    generations::{self, Rebuild},
    projections::Progress,
};

struct Service {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    progress: Vec<Progress>,
}

pub(crate) fn routes(
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    progress: Vec<Progress>,
) -> Routes {
    let service = Service {
        store,
        clock,
        progress,
    };
    let listing = Operation::new("listProjections", "List how far each view has come")
        .tag("projections")
        .answer(Answer::json::<Page<Shown>>(200, "The views").example(LIST))
        .fails(errors::QUERY);
    Routes::new()
        .get("/v1/projections", list, listing)
        .with_state(Arc::new(service))
}

const LIST: &str = r#"{"items": [
    {"name": "orders", "version": 1, "position": "17-0a1b2c3d", "lag_events": 0, "lag_ms": 0,
     "generation": 0, "status": "up"}
]}"#;

/// A view, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ProjectionProgress")]
struct Shown {
    name: &'static str,
    version: u32,
    /// Which of its generations is asked.
    generation: u32,
    /// How far it has considered the log.
    position: String,
    /// How many durable events it has not considered. Left out where the positions of the event
    /// store do not count events, as those of EventStoreDB do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_events: Option<u64>,
    /// How long ago the oldest of these was recorded.
    lag_ms: u64,
    status: Status,
    /// Why it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The rebuild whose two generations are kept: it is under way, or can still be rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuild: Option<Rebuild>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ProjectionStatus")]
#[serde(rename_all = "snake_case")]
enum Status {
    /// It can be asked, and goes on.
    Up,
    /// It has not come to where the log was when it was opened.
    Starting,
    /// It stands still.
    Down,
}

async fn list(
    State(service): State<Arc<Service>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Page<Shown>>, Problem> {
    let head = service.store.durable();
    let log = service.store.log_id();
    let mut items = Vec::with_capacity(service.progress.len());
    for progress in &service.progress {
        items.push(service.show(progress, head, log).await?);
    }
    Ok(Json(Page {
        items,
        next_cursor: None,
    }))
}

impl Service {
    async fn show(
        &self,
        progress: &Progress,
        head: Position,
        log: LogId,
    ) -> Result<Shown, Problem> {
        let considered = progress.considered().get();
        let view = progress.view();
        let rebuild = if view.state().current(progress.version).is_some() {
            let history = generations::history(&*self.store, view).await?;
            let current = history.current(progress.version);
            current.and_then(|id| history.show(id, view, head))
        } else {
            None
        };
        let (status, detail) = match progress.health() {
            Health::Up => (Status::Up, None),
            Health::Noted(why) | Health::Degraded(why) => (Status::Up, Some(why)),
            Health::Starting(why) => (Status::Starting, Some(why)),
            Health::Down(why) => (Status::Down, Some(why)),
        };
        Ok(Shown {
            name: progress.name,
            version: progress.version,
            generation: progress.generation(),
            position: position::write(considered, log),
            lag_events: generations::lag_events(self.store.counts_events(), considered, head),
            lag_ms: self.lag_ms(considered, head).await?,
            status,
            detail,
            rebuild,
        })
    }

    /// How long ago the first event that is not considered was recorded.
    async fn lag_ms(&self, considered: Position, head: Position) -> Result<u64, StoreError> {
        if considered >= head {
            return Ok(0);
        }
        let next = self
            .store
            .read_all(Read {
                from: Some(considered),
                direction: Direction::Forward,
                visibility: Visibility::Durable,
                filter: Filter::All,
                max_events: 1,
            })
            .await?;
        let recorded_at = next
            .events
            .first()
            .and_then(|event| event.metadata().ok())
            .map_or_else(|| self.clock.now(), |metadata| metadata.recorded_at);
        let lag = self.clock.now().signed_duration_since(recorded_at);
        Ok(u64::try_from(lag.num_milliseconds()).unwrap_or(0))
    }
}
