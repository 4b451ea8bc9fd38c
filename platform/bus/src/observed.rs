//! A bus that says how it is read: whoever watches a process learns what keeps a consumer from going on.
//!
//! ```text
//! asked in vain, or an error while reading ─▶ why, by who reads
//! it got further, or nothing went wrong for a while ─▶ nothing
//! ```

use std::{
    collections::BTreeMap,
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use recourse_event_store::{Filter, Position, RecordedEvent};
use tokio::time::Instant;

use crate::{BusError, Consumer, Deliveries, Delivery, Membership, Share};

/// Told after each change: none where everybody reads, else why somebody does not.
pub type Tell = Arc<dyn Fn(Option<String>) + Send + Sync>;

/// A consumer that follows one that failed reads again once it got further than that one, or once nothing
/// went wrong for so long: there may be nothing to come. What comes alone proves nothing, for partitions
/// that lack nothing go on beside one that does.
const STEADY: Duration = Duration::from_secs(10);

/// Who reads events: they are no group.
const EVENTS: &str = "events";

/// Hands everything on to another bus, and says how that goes.
pub struct Bus {
    inner: Arc<dyn crate::Bus>,
    standing: Arc<Standing>,
}

struct Standing {
    tell: Tell,
    /// Why somebody does not read, by who that is.
    wrong: Mutex<BTreeMap<String, Wrong>>,
}

struct Wrong {
    why: String,
    /// That it showed while reading: a new consumer alone proves nothing.
    is_met_later: bool,
    /// How far it had come by then.
    considered: Position,
}

impl Bus {
    /// Over this bus.
    #[must_use]
    pub fn new(inner: Arc<dyn crate::Bus>, tell: Tell) -> Self {
        let standing = Standing {
            tell,
            wrong: Mutex::default(),
        };
        Self {
            inner,
            standing: Arc::new(standing),
        }
    }

    fn observed<T>(
        &self,
        who: &str,
        made: Result<Box<dyn Consumer<T>>, BusError>,
    ) -> Result<Box<dyn Consumer<T>>, BusError>
    where
        T: Send + 'static,
    {
        let inner = made.inspect_err(|error| {
            self.standing.fails(who, error, false, Position::START);
        })?;
        let is_to_be_proved = self.standing.is_made(who);
        Ok(Box::new(Observed {
            inner,
            standing: Arc::clone(&self.standing),
            who: who.to_owned(),
            considered: Position::START,
            steady_at: is_to_be_proved.then(|| Instant::now() + STEADY),
        }))
    }
}

impl Standing {
    fn fails(&self, who: &str, error: &BusError, is_met_later: bool, considered: Position) {
        // What is only away is there again with the next consumer.
        let is_met_later = is_met_later && !matches!(error, BusError::Unavailable(_));
        let why = told(error);
        self.change(|wrong| {
            let before = wrong.get(who);
            let is_met_later = is_met_later || before.is_some_and(|its| its.is_met_later);
            let considered = before.map_or(considered, |its| its.considered.max(considered));
            let now = Wrong {
                why,
                is_met_later,
                considered,
            };
            wrong.insert(who.to_owned(), now);
        });
    }

    /// Whether a consumer has to read before it is believed.
    fn is_made(&self, who: &str) -> bool {
        let mut is_met_later = false;
        self.change(|wrong| {
            is_met_later = wrong.get(who).is_some_and(|wrong| wrong.is_met_later);
            if !is_met_later {
                wrong.remove(who);
            }
        });
        is_met_later
    }

    fn reads(&self, who: &str) {
        self.change(|wrong| {
            wrong.remove(who);
        });
    }

    /// Whether nothing is wrong any more with who has come so far.
    fn is_past(&self, who: &str, considered: Position) -> bool {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong
            .get(who)
            .is_none_or(|wrong| considered > wrong.considered)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Wrong>)) {
        let why = {
            let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut wrong);
            let all: Vec<String> = wrong
                .iter()
                .map(|(who, wrong)| format!("{who}: {}", wrong.why))
                .collect();
            all.join("; ")
        };
        (self.tell)((!why.is_empty()).then_some(why));
    }
}

/// An error with what caused it.
fn told(error: &BusError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[async_trait]
impl crate::Bus for Bus {
    async fn commands(
        &self,
        group: &str,
        categories: &[&str],
    ) -> Result<Box<dyn Consumer<Delivery>>, BusError> {
        let made = self.inner.commands(group, categories).await;
        self.observed(group, made)
    }

    async fn events(
        &self,
        after: Position,
        filter: Filter,
        share: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError> {
        let made = self.inner.events(after, filter, share).await;
        self.observed(EVENTS, made)
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Membership>, BusError> {
        self.inner.join(group).await
    }
}

struct Observed<T> {
    inner: Box<dyn Consumer<T>>,
    standing: Arc<Standing>,
    who: String,
    considered: Position,
    /// When it counts as reading though nothing came; none where it counts already.
    steady_at: Option<Instant>,
}

impl<T> Observed<T> {
    fn came(&mut self, considered: Position) {
        self.considered = self.considered.max(considered);
        if self.steady_at.is_some() && self.standing.is_past(&self.who, self.considered) {
            self.steady_at = None;
            self.standing.reads(&self.who);
        }
    }

    fn failed(&self, error: &BusError) {
        self.standing.fails(&self.who, error, true, self.considered);
    }
}

#[async_trait]
impl<T: Send + 'static> Consumer<T> for Observed<T> {
    async fn next(&mut self) -> Result<Deliveries<T>, BusError> {
        loop {
            let steady_at = self.steady_at;
            tokio::select! {
                biased;
                next = self.inner.next() => {
                    match &next {
                        Ok(deliveries) => self.came(deliveries.considered),
                        Err(error) => self.failed(error),
                    }
                    return next;
                }
                () = until(steady_at) => {
                    self.steady_at = None;
                    self.standing.reads(&self.who);
                }
            }
        }
    }

    async fn commit(&mut self, considered: Position) -> Result<(), BusError> {
        let committed = self.inner.commit(considered).await;
        committed.inspect_err(|error| self.failed(error))
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
