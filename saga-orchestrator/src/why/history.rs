//! What is told: the streams of an order, its sagas and its payment, up to one position.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, Utc};
use recourse_event_store::{
    Direction, EventStore, LogId, Position, RecordedEvent, StoreError, StreamName, Visibility,
    typed,
};
use recourse_saga::{Definition, Event};
use uuid::Uuid;

use crate::fulfilment::Timing;

/// How many events are read at once.
const PAGE: usize = 256;

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be read.
    #[error("the log cannot be read")]
    Store(#[from] StoreError),
    /// An event is not what it must be.
    #[error("an event cannot be read")]
    Event(#[from] typed::Error),
}

/// What is durable of an order, its sagas and its payment, all of it as of one position.
#[derive(Clone, Debug)]
pub struct History {
    pub(super) order_id: Uuid,
    /// The one saga that is asked about; none where the order is.
    pub(super) only: Option<Uuid>,
    pub(super) log: LogId,
    pub(super) order: Vec<Arc<RecordedEvent>>,
    /// In the order in which they began.
    pub(super) sagas: Vec<Saga>,
    pub(super) payments: Vec<Arc<RecordedEvent>>,
    /// The events of the order that are another saga's affair.
    elsewhere: BTreeSet<u64>,
}

/// A saga, with its stream.
#[derive(Clone, Debug)]
pub(super) struct Saga {
    pub(super) id: Uuid,
    pub(super) definition: String,
    pub(super) stream: StreamName,
    /// None where it has not begun yet.
    pub(super) events: Vec<Arc<RecordedEvent>>,
}

impl History {
    /// Of an order with all its sagas; none where there is no such order.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub async fn of_order(
        store: &dyn EventStore,
        definitions: &[Arc<Definition>],
        order_id: Uuid,
        up_to: Position,
    ) -> Result<Option<Self>, Error> {
        let log = Log { store, up_to };
        let order = log.stream(&StreamName::new("order", order_id)).await?;
        if order.is_empty() {
            return Ok(None);
        }
        let mut sagas = Vec::new();
        for (_, id, definition) in started(&order, definitions)? {
            sagas.push(log.saga(id, definition).await?);
        }
        let payments = log.payments(&sagas).await?;
        Ok(Some(Self {
            order_id,
            only: None,
            log: store.log_id(),
            order,
            sagas,
            payments,
            elsewhere: BTreeSet::new(),
        }))
    }

    /// Of one saga, from the request that started it; none where there is no such saga.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub async fn of_saga(
        store: &dyn EventStore,
        definitions: &[Arc<Definition>],
        saga: Uuid,
        up_to: Position,
    ) -> Result<Option<Self>, Error> {
        let log = Log { store, up_to };
        let mut its = log.saga(saga, "").await?;
        let Some(first) = its.events.first() else {
            return Ok(None);
        };
        if let Event::Started(started) = &*first.decode::<Event>()? {
            its.definition.clone_from(&started.definition);
        }
        let order_id = first.metadata()?.correlation_id;
        let order = log.stream(&StreamName::new("order", order_id)).await?;
        let started = started(&order, definitions)?;
        let begins = started.iter().find(|(_, id, _)| *id == saga);
        let begins = begins.map(|(revision, ..)| *revision);
        let mut elsewhere: BTreeSet<u64> = started.into_iter().map(|(at, ..)| at).collect();
        if let Some(begins) = begins {
            elsewhere.remove(&begins);
        }
        // A cancellation is about the saga that it cancels.
        let definition = definitions.iter().find(|all| all.name() == its.definition);
        for event in &order {
            let cancels = definition.map(|its| its.cancels(event)).transpose()?;
            let is_its = cancels.flatten().is_some() || Some(event.revision) == begins;
            if !is_its {
                elsewhere.insert(event.revision);
            }
        }
        let sagas = vec![its];
        let payments = log.payments(&sagas).await?;
        Ok(Some(Self {
            order_id,
            only: Some(saga),
            log: store.log_id(),
            order,
            sagas,
            payments,
            elsewhere,
        }))
    }

    /// How long the last of its sagas waits for what, as far as its events say: for those who
    /// have the log and not the options of who drives it.
    ///
    /// # Errors
    /// Where the saga's first event cannot be read.
    pub fn timing(&self) -> Result<Timing, typed::Error> {
        let mut timing = Timing::default();
        let begun = self.sagas.iter().rev().find_map(|saga| saga.events.first());
        let Some(first) = begun else {
            return Ok(timing);
        };
        let at = first.metadata()?.recorded_at;
        if let Event::Started(started) = &*first.decode::<Event>()? {
            let after = |then: DateTime<Utc>| u64::try_from((then - at).num_milliseconds()).ok();
            if let Some(deadline_ms) = after(started.deadline_at) {
                timing.deadline_ms = deadline_ms;
            }
            let due = started.commands.first().and_then(|sent| after(sent.due_at));
            if let Some(step_timeout_ms) = due {
                timing.step_timeout_ms = step_timeout_ms;
            }
        }
        Ok(timing)
    }

    /// All of it, in the order of the log.
    pub(super) fn in_order(&self) -> Vec<&RecordedEvent> {
        let sagas = self.sagas.iter().flat_map(|saga| &saga.events);
        let all = self.order.iter().chain(sagas).chain(&self.payments);
        let mut all: Vec<&RecordedEvent> = all.map(|event| &**event).collect();
        all.sort_by_key(|event| event.position);
        all
    }

    /// Whether an event of the order is part of what is told.
    pub(super) fn concerns(&self, event: &RecordedEvent) -> bool {
        !self.elsewhere.contains(&event.revision)
    }
}

/// The sagas that an order has started, by the revision of the event that did.
fn started<'a>(
    order: &[Arc<RecordedEvent>],
    definitions: &'a [Arc<Definition>],
) -> Result<Vec<(u64, Uuid, &'a str)>, typed::Error> {
    let mut sagas: Vec<(u64, Uuid, &str)> = Vec::new();
    for event in order {
        for definition in definitions {
            let saga = definition.saga_id(event.event.id);
            // Several versions of one definition start the same saga.
            let is_known = sagas.iter().any(|(_, known, _)| *known == saga);
            if !is_known && definition.starts(event)?.is_some() {
                sagas.push((event.revision, saga, definition.name()));
            }
        }
    }
    Ok(sagas)
}

/// The log, no further than a position: streams read one after the other agree.
struct Log<'a> {
    store: &'a dyn EventStore,
    up_to: Position,
}

impl Log<'_> {
    async fn stream(&self, stream: &StreamName) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let (forward, seen) = (Direction::Forward, Visibility::Durable);
        let mut events: Vec<Arc<RecordedEvent>> = Vec::new();
        let mut from = Some(0);
        while let Some(revision) = from {
            let page = self
                .store
                .read_stream(stream, Some(revision), forward, seen, PAGE)
                .await?;
            let is_full = page.len() == PAGE;
            let next = page.last().and_then(|last| last.revision.checked_add(1));
            from = next.filter(|_| is_full);
            events.extend(page);
        }
        events.retain(|event| event.position <= self.up_to);
        Ok(events)
    }

    async fn saga(&self, id: Uuid, definition: &str) -> Result<Saga, StoreError> {
        let stream = Definition::stream(id);
        Ok(Saga {
            id,
            definition: definition.to_owned(),
            events: self.stream(&stream).await?,
            stream,
        })
    }

    /// The streams of every payment that these sagas sent a command to.
    async fn payments(&self, sagas: &[Saga]) -> Result<Vec<Arc<RecordedEvent>>, Error> {
        let mut streams = BTreeSet::new();
        for event in sagas.iter().flat_map(|saga| &saga.events) {
            for sent in event.decode::<Event>()?.commands() {
                if sent.command.target.category() == "payment" {
                    streams.insert(sent.command.target.clone());
                }
            }
        }
        let mut events = Vec::new();
        for stream in &streams {
            events.extend(self.stream(stream).await?);
        }
        Ok(events)
    }
}
