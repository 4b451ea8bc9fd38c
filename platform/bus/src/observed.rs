//! A bus that says how it is read: whoever watches a process learns what keeps a consumer from going on.
//!
//! ```text
//! asked in vain, or an error while reading ─▶ why, by who reads
//! something came, or nothing went wrong for a while ─▶ nothing
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

/// A consumer that follows one that failed reads again once something came, or once nothing went wrong
/// for so long: there may be nothing to come.
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
        let inner = made.inspect_err(|error| self.standing.fails(who, error, false))?;
        let is_to_be_proved = self.standing.is_made(who);
        Ok(Box::new(Observed {
            inner,
            standing: Arc::clone(&self.standing),
            who: who.to_owned(),
            steady_at: is_to_be_proved.then(|| Instant::now() + STEADY),
        }))
    }
}

impl Standing {
    fn fails(&self, who: &str, error: &BusError, is_met_later: bool) {
        // What is only away is there again with the next consumer.
        let is_met_later = is_met_later && !matches!(error, BusError::Unavailable(_));
        let why = told(error);
        self.change(|wrong| {
            let before = wrong.get(who).is_some_and(|before| before.is_met_later);
            let is_met_later = is_met_later || before;
            wrong.insert(who.to_owned(), Wrong { why, is_met_later });
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
    /// When it counts as reading though nothing came; none where it counts already.
    steady_at: Option<Instant>,
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
                        Ok(_) if self.steady_at.take().is_some() => self.standing.reads(&self.who),
                        Ok(_) => {}
                        Err(error) => self.standing.fails(&self.who, error, true),
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
        committed.inspect_err(|error| self.standing.fails(&self.who, error, true))
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
