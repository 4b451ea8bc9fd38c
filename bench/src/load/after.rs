//! What is asked of the server around a run: how far the log and the views are, and what happened.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{hops::Event, http::Connection};

/// How many pages of the log are read at most: each has up to 200 events.
const MAX_PAGES: usize = 2_000;
/// How long is waited for the views.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often they are asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// How a view kept up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// What it is called.
    pub name: String,
    /// How long ago, as the window ended, the oldest event was recorded that it had not considered,
    /// in milliseconds.
    pub lag_ms: u64,
    /// How long after everything was answered it was as far as the log, in milliseconds.
    pub caught_up_ms: u64,
    /// Whether it was by then.
    pub has_caught_up: bool,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Progress {
    name: String,
    /// Not said where positions do not count events.
    lag_events: Option<u64>,
    lag_ms: u64,
}

impl Progress {
    fn has_caught_up(&self) -> bool {
        self.lag_events
            .map_or(self.lag_ms == 0, |events| events == 0)
    }
}

#[derive(Deserialize)]
struct Shown {
    position: String,
    stream: String,
    id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    recorded_at: Option<DateTime<Utc>>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "$correlationId")]
    correlation: Uuid,
    #[serde(rename = "$causationId")]
    cause: Uuid,
}

async fn get<T: DeserializeOwned>(control: &mut Connection, path: &str) -> Option<Page<T>> {
    let mut answer = control.send("GET", path, &[], Default::default()).await;
    if answer.is_err() {
        // The window may be longer than a server keeps a connection that nothing comes on.
        answer = control.send("GET", path, &[], Default::default()).await;
    }
    let answer = answer.ok().filter(|its| its.status.is_success())?;
    serde_json::from_slice(&answer.body).ok()
}

/// The position of the last event; none where the server does not say.
pub(super) async fn head(control: &mut Connection) -> Option<String> {
    let last = get::<Shown>(control, "/v1/events?direction=backward&limit=1");
    last.await?.items.pop().map(|event| event.position)
}

/// What happened after a position, as far as it can be read.
pub(super) async fn events(control: &mut Connection, after: String) -> Vec<Event> {
    let mut events = Vec::new();
    let mut from = after;
    for number in 0..MAX_PAGES {
        let path = format!("/v1/events?limit=200&from={from}");
        let Some(page) = get::<Shown>(control, &path).await else {
            tracing::warn!("the log could not be read on: hops are of what there is");
            break;
        };
        let Some(last) = page.items.last() else { break };
        from.clone_from(&last.position);
        events.extend(page.items.into_iter().filter_map(read));
        if number + 1 == MAX_PAGES {
            tracing::warn!(
                "the log goes on: hops are of its first {} events",
                events.len()
            );
        }
    }
    events
}

fn read(shown: Shown) -> Option<Event> {
    let metadata = shown.metadata?;
    Some(Event {
        id: shown.id,
        category: shown.stream.split('-').next()?.to_owned(),
        event_type: shown.event_type,
        correlation: metadata.correlation,
        cause: metadata.cause,
        recorded_at: shown.recorded_at?,
    })
}

/// How far the views are.
pub(super) async fn views(control: &mut Connection) -> Vec<View> {
    let progress = get::<Progress>(control, "/v1/projections").await;
    let views = progress.map_or_else(Vec::new, |page| page.items);
    let view = |progress: Progress| View {
        name: progress.name,
        lag_ms: progress.lag_ms,
        caught_up_ms: 0,
        has_caught_up: false,
    };
    views.into_iter().map(view).collect()
}

/// Waits until the views have considered the log.
pub(super) async fn until_caught_up(mut views: Vec<View>, control: &mut Connection) -> Vec<View> {
    let begun = Instant::now();
    while views.iter().any(|view| !view.has_caught_up) && begun.elapsed() < PATIENCE {
        let Some(now) = get::<Progress>(control, "/v1/projections").await else {
            break;
        };
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        for view in views.iter_mut().filter(|view| !view.has_caught_up) {
            let mut its = now.items.iter().filter(|its| its.name == view.name);
            view.has_caught_up = its.any(Progress::has_caught_up);
            view.caught_up_ms = ms;
        }
        sleep(ASK_EVERY).await;
    }
    views
}
