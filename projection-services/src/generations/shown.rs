//! A rebuild as operators see it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use recourse_cqrs::Aggregate as _;
use recourse_event_store::{EventStore, LogId, Position, RecordedEvent, StoreError};
use recourse_service::{Problem, errors, position, readiness::Health};
use recourse_views::rebuild::{self, Event, Generations, Stage, State};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::view::View;

/// A rebuild, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ProjectionRebuild")]
pub(crate) struct Rebuild {
    pub(crate) rebuild_id: Uuid,
    /// The view.
    projection: &'static str,
    status: Status,
    /// The version of the view.
    version: u32,
    /// The generation that it fills.
    generation: u32,
    /// The generation that was live when it began.
    replaces: u32,
    /// The generation that is live by now.
    live: u32,
    /// How far the generation that it fills has considered the log, while it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// How many durable events that one has not considered. Left out where the positions of the
    /// event store do not count events, as those of EventStoreDB do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_events: Option<u64>,
    /// Which part of the log that one has considered: from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    share: Option<f64>,
    /// What came of comparing it with the live one.
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
    /// What keeps it from going on.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    started_at: DateTime<Utc>,
    timeline: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ProjectionRebuildStatus")]
#[serde(rename_all = "snake_case")]
enum Status {
    /// Its generation is being filled, and then compared with the live one.
    Filling,
    /// It was compared and can be promoted.
    Ready,
    /// Its generation is live. The one before is fed until it is dropped.
    Promoted,
    /// The generation before is live again. Its own is fed until it is dropped.
    RolledBack,
    /// Its generation is gone.
    Dropped,
    /// Its generation stands still.
    Failed,
}

/// What came of comparing both generations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ProjectionRebuildComparison")]
struct Comparison {
    /// Up to where both were compared.
    position: String,
    equal_rows: u64,
    different_rows: u64,
    /// The first of those: how the live one's differs.
    differences: Vec<rebuild::Difference>,
    /// Why the live one cannot be read, where it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

/// Something that happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ProjectionRebuildEntry")]
struct Entry {
    at: DateTime<Utc>,
    #[serde(rename = "type")]
    event_type: Arc<str>,
    position: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A view's stream, and what it makes.
pub(crate) struct History {
    state: State,
    entries: Vec<(Uuid, Entry)>,
    /// The last event.
    pub(crate) revision: Option<u64>,
    pub(crate) position: Position,
    log: LogId,
    /// Whether the log's positions count events.
    counts_events: bool,
}

impl History {
    /// Of the events of a view's stream.
    fn of(events: &[Arc<RecordedEvent>], store: &dyn EventStore) -> Result<Self, Problem> {
        let log = store.log_id();
        let mut history = Self {
            state: State::default(),
            entries: Vec::with_capacity(events.len()),
            revision: None,
            position: Position::START,
            log,
            counts_events: store.counts_events(),
        };
        for event in events {
            let unreadable = |error: recourse_event_store::typed::Error| {
                tracing::error!(stream = %event.stream, %error, "a view's stream cannot be read");
                Problem::new(errors::INTERNAL)
            };
            let decoded = event.decode::<Event>().map_err(unreadable)?;
            let metadata = event.metadata().map_err(unreadable)?;
            let (rebuild, by) = match &*decoded {
                Event::RebuildStarted(it) => (it.rebuild_id, Some(&it.by)),
                Event::RebuildCompared(it) => (it.rebuild_id, None),
                Event::Promoted(it) | Event::RolledBack(it) => (it.rebuild_id, Some(&it.by)),
                Event::GenerationDropped(it) => (it.rebuild_id, Some(&it.by)),
            };
            let entry = Entry {
                at: metadata.recorded_at,
                event_type: Arc::clone(&event.event.event_type),
                position: position::write(event.position, log),
                actor: by.map(|by| by.actor.clone()),
                reason: by.and_then(|by| by.reason.clone()),
            };
            history.entries.push((rebuild, entry));
            history.state = Generations::evolve(history.state, &decoded);
            history.revision = Some(event.revision);
            history.position = event.position;
        }
        Ok(history)
    }

    /// A rebuild, and how far this process has come with it.
    pub(crate) fn show(&self, id: Uuid, view: &View, head: Position) -> Option<Rebuild> {
        let rebuild = self.state.rebuild(id)?;
        let version = view.kind.version();
        let is_current = self.state.current(version).is_some_and(|it| it.id == id);
        let fed = view.fed(rebuild.generation).filter(|_| is_current);
        let position = fed.as_ref().map(|fed| fed.considered.get());
        let health = fed.as_ref().map(super::view::Fed::health);
        let failure = match &health {
            Some(Health::Down(why)) => Some(why.clone()),
            _ => None,
        };
        let status = match rebuild.stage {
            Stage::Promoted => Status::Promoted,
            _ if !is_current => Status::Dropped,
            Stage::RolledBack => Status::RolledBack,
            Stage::Filling if failure.is_some() => Status::Failed,
            Stage::Filling => match (&rebuild.comparison, health) {
                (Some(_), Some(Health::Up)) => Status::Ready,
                _ => Status::Filling,
            },
        };
        let timeline: Vec<Entry> = self
            .entries
            .iter()
            .filter(|(of, _)| *of == id)
            .map(|(_, entry)| entry.clone())
            .collect();
        Some(Rebuild {
            rebuild_id: id,
            projection: view.kind.name(),
            status,
            version: rebuild.version,
            generation: rebuild.generation,
            replaces: rebuild.replaces,
            live: self.state.live(rebuild.version),
            position: position.map(|position| position::write(position, self.log)),
            lag_events: position
                .and_then(|position| lag_events(self.counts_events, position, head)),
            share: position.map(|position| share(position, head)),
            comparison: rebuild.comparison.as_ref().map(|compared| Comparison {
                position: position::write(compared.position, self.log),
                equal_rows: compared.equal_rows,
                different_rows: compared.different_rows,
                differences: compared.differences.clone(),
                unreadable: compared.unreadable.clone(),
            }),
            detail: failure,
            started_at: timeline.first().map(|entry| entry.at)?,
            timeline,
        })
    }

    /// The rebuild whose two generations are kept.
    pub(crate) fn current(&self, version: u32) -> Option<Uuid> {
        self.state.current(version).map(|rebuild| rebuild.id)
    }
}

/// What is durable of a view's stream, to be shown.
pub(crate) async fn history(store: &dyn EventStore, view: &View) -> Result<History, Problem> {
    let events: Result<_, StoreError> = super::view::read(store, &view.stream).await;
    History::of(&events?, store)
}

/// How many events lie between; none where positions do not count them.
pub(crate) fn lag_events(counts_events: bool, position: Position, head: Position) -> Option<u64> {
    counts_events.then(|| head.commit.saturating_sub(position.commit))
}

/// To four digits.
fn share(position: Position, head: Position) -> f64 {
    let of = u128::from(head.commit);
    let part = u128::from(position.commit).min(of).saturating_mul(10_000);
    let part = part.checked_div(of).unwrap_or(10_000);
    f64::from(u32::try_from(part).unwrap_or(10_000)) / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_events_are_missing_is_said_only_where_positions_count_them() {
        let of = |counts| lag_events(counts, Position::dense(3), Position::dense(9));
        assert_eq!((of(true), of(false)), (Some(6), None));
    }

    #[test]
    fn the_share_is_a_part_of_one() {
        let of = |position, head| {
            let shown = share(Position::dense(position), Position::dense(head));
            format!("{shown}")
        };
        assert_eq!(of(0, 9), "0");
        assert_eq!(of(1, 3), "0.3333");
        assert_eq!(of(9, 9), "1");
        assert_eq!(of(10, 9), "1");
        assert_eq!(of(0, 0), "1");
    }
}
