//! How soon watchers hear of what happens: many of one saga each, some of everything.
//!
//! ```text
//! place, pause ─▶ so many sagas that stand still ─▶ a watcher each, and those of everything
//! resume, so many a second ─▶ events ─▶ server ─▶ each watcher: when it came − when it was recorded
//! ```
//!
//! A latency counts from the time at which a service recorded the event, so it has the group's fsync in it
//! too. Client and server share the machine and its clock; the client is one thread.

mod report;

use std::{cell::RefCell, collections::btree_map::Entry, rc::Rc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

pub use report::Report;

use self::report::{Arrival, Seen};
use crate::{
    http::{Address, Connection, Error as HttpError},
    plan::{Plan, PrepareError},
    sse::{self, Opened},
};

/// The events that a saga makes, with the services' own, once it is resumed.
const EVENTS_A_SAGA: f64 = 10.5;
/// How many orders are placed at once while the sagas are made.
const PLACING: usize = 16;
/// How long the provider takes: until its answer, a saga can be paused.
const TOKEN: &str = "tok_slow_2000";
/// Nothing more comes where nothing came for so long.
const QUIET: Duration = Duration::from_secs(3);
/// The longest that a saga may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);
/// After the window, for what is still on its way.
const DRAIN: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://host:port`.
    pub url: String,
    /// In front of every SKU and key, another one each time.
    pub name: String,
    /// Watchers of one saga each.
    pub saga_watchers: usize,
    /// Watchers of everything: at least one.
    pub log_watchers: usize,
    /// Events a second in all, about.
    pub events_per_s: u32,
    /// How long is measured, in milliseconds.
    pub duration_ms: u32,
    /// What time it is.
    pub clock: fn() -> DateTime<Utc>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody would say which events there were, and when.
    #[error("without a watcher of everything nothing can be measured")]
    Nobody,
    /// The server does not answer, or its URL is not one.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Products or stock could not be prepared.
    #[error("the server cannot be prepared")]
    Prepare(#[from] PrepareError),
    /// A saga could not be made to stand still, or go on.
    #[error("the server answered {status} where a saga was to be {what}: {body}")]
    Refused {
        /// `paused`.
        what: &'static str,
        /// Of the answer.
        status: u16,
        /// Of the answer.
        body: String,
    },
    /// A watcher is not let in.
    #[error("{path} cannot be watched: {status}")]
    Watch {
        /// What.
        path: String,
        /// Of the answer.
        status: u16,
    },
    /// The thread could not be started, or panicked.
    #[error("the thread of the bench ended early")]
    Thread,
    /// Latencies cannot be counted.
    #[error("latencies cannot be counted")]
    Histogram(#[from] hdrhistogram::CreationError),
}

#[derive(Deserialize)]
struct Shown {
    recorded_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Placed {
    saga_id: Uuid,
}

/// Makes the sagas, watches them, has them go on, and measures.
///
/// # Errors
/// [`Error`] says which.
pub async fn run(options: Options) -> Result<Report, Error> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("bench-watch".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let result = match runtime {
                Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, measure(options)),
                Err(_) => Err(Error::Thread),
            };
            // Nobody waits any more where the caller gave up.
            let _ = answer.send(result);
        })
        .map_err(|_| Error::Thread)?;
    answered.await.map_err(|_| Error::Thread)?
}

async fn measure(options: Options) -> Result<Report, Error> {
    if options.log_watchers == 0 {
        return Err(Error::Nobody);
    }
    let address = Address::parse(&options.url)?;
    let options = Rc::new(options);
    let plan = Plan {
        name: options.name.clone(),
        seed: 1,
        skus: 10,
        max_lines: 1,
        failing_percent: 0,
    };
    let mut control = Connection::new(address.clone(), PATIENCE);
    plan.prepare(&mut control, |_| {}).await?;
    let sagas = sagas(&options, &address).await?;
    tracing::info!(sagas = sagas.len(), "sagas stand still");

    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut watching = JoinSet::new();
    for number in 0..options.log_watchers {
        let path = "/v1/events/watch".to_owned();
        watch(
            &mut watching,
            &address,
            path,
            Some(number),
            &seen,
            options.clock,
        )
        .await?;
    }
    for saga in &sagas {
        let path = format!("/v1/sagas/{saga}/watch?from=end");
        watch(&mut watching, &address, path, None, &seen, options.clock).await?;
    }
    tracing::info!(watchers = watching.len(), "watching");
    quiet(&mut control).await?;

    let begin = Instant::now();
    let from = (options.clock)();
    let window = Duration::from_millis(options.duration_ms.into());
    let pause = Duration::from_secs_f64(EVENTS_A_SAGA / f64::from(options.events_per_s.max(1)));
    let mut due = begin;
    for saga in &sagas {
        due += pause;
        if due > begin + window {
            break;
        }
        sleep_until(due).await;
        act(&mut control, *saga, "resume").await?;
    }
    sleep_until(begin + window).await;
    let to = (options.clock)();
    sleep(DRAIN).await;
    watching.shutdown().await;
    let seen = seen.replace(Seen::default());
    Ok(seen.report(&options, from, to)?)
}

/// Orders whose sagas are paused while they wait for the provider.
async fn sagas(options: &Rc<Options>, address: &Address) -> Result<Vec<Uuid>, Error> {
    let mut placing = JoinSet::new();
    for lane in 0..PLACING {
        let (options, address) = (Rc::clone(options), address.clone());
        placing.spawn_local(async move {
            let mut connection = Connection::new(address, PATIENCE);
            let mut sagas = Vec::new();
            for number in (lane..options.saga_watchers).step_by(PLACING) {
                let saga = place(&mut connection, &options.name, number).await?;
                act(&mut connection, saga, "pause").await?;
                sagas.push(saga);
            }
            Ok::<_, Error>(sagas)
        });
    }
    let mut all = Vec::new();
    while let Some(placed) = placing.join_next().await {
        all.extend(placed.map_err(|_| Error::Thread)??);
    }
    Ok(all)
}

async fn place(server: &mut Connection, name: &str, number: usize) -> Result<Uuid, Error> {
    let body = json!({
        "customer_id": Uuid::from_u128(number as u128 + 1),
        "currency": "EUR",
        "lines": [{"sku": format!("{name}-{}", number % 10), "quantity": 1}],
        "payment": {"method": "card", "token": TOKEN},
    });
    let key = format!("{name}-{number}");
    let headers = [("idempotency-key", &*key)];
    let body = Bytes::from(body.to_string());
    let answer = server.send("POST", "/v1/orders", &headers, body).await?;
    let placed = serde_json::from_slice::<Placed>(&answer.body);
    placed
        .map(|placed| placed.saga_id)
        .map_err(|_| refused("placed", &answer))
}

/// Until nothing is appended any more: the provider's answers come first.
async fn quiet(server: &mut Connection) -> Result<(), Error> {
    let mut before = None;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let end = server.send("GET", "/v1/events?from=end", &[], Bytes::new());
        let end = end.await?.position();
        if end.is_some() && end == before {
            break;
        }
        before = end;
        sleep(QUIET).await;
    }
    Ok(())
}

/// Does something to a saga, once it has begun.
async fn act(server: &mut Connection, saga: Uuid, action: &'static str) -> Result<(), Error> {
    let path = format!("/v1/sagas/{saga}/actions");
    let key = format!("{saga}-{action}");
    let headers = [("if-match", "*"), ("idempotency-key", &*key)];
    let body = json!({"action": action, "reason": "a bench"}).to_string();
    let until = Instant::now() + PATIENCE;
    loop {
        let body = Bytes::from(body.clone());
        let answer = server.send("POST", &path, &headers, body).await?;
        match answer.status.as_u16() {
            200..=299 => return Ok(()),
            404 | 409 | 412 | 503 if Instant::now() < until => {
                sleep(Duration::from_millis(2)).await;
            }
            _ => return Err(refused(action, &answer)),
        }
    }
}

fn refused(what: &'static str, answer: &crate::http::Answer) -> Error {
    Error::Refused {
        what,
        status: answer.status.as_u16(),
        body: String::from_utf8_lossy(&answer.body).into_owned(),
    }
}

async fn watch(
    watching: &mut JoinSet<()>,
    address: &Address,
    path: String,
    log_watcher: Option<usize>,
    seen: &Rc<RefCell<Seen>>,
    clock: fn() -> DateTime<Utc>,
) -> Result<(), Error> {
    let mut stream = match sse::open(address, &path, None).await? {
        Opened::Stream(stream) => stream,
        Opened::Answer(answer) => {
            let status = answer.status.as_u16();
            return Err(Error::Watch { path, status });
        }
    };
    let seen = Rc::clone(seen);
    watching.spawn_local(async move {
        while let Ok(Some(message)) = stream.next().await {
            let at = clock();
            if message.event == "end" {
                break;
            }
            // The log's tag follows the position.
            let position = message.id.split('-').next().map(str::parse);
            let Some(Ok(position)) = position else {
                tracing::error!(id = message.id, "the id of an event is no position");
                break;
            };
            let mut seen = seen.borrow_mut();
            // Whoever sees everything and is the first says when it was recorded.
            if log_watcher.is_some()
                && let Entry::Vacant(unknown) = seen.recorded.entry(position)
                && let Ok(shown) = serde_json::from_str::<Shown>(&message.data)
            {
                unknown.insert(shown.recorded_at);
            }
            seen.arrivals.push(Arrival {
                position,
                at,
                log_watcher,
            });
        }
    });
    Ok(())
}
