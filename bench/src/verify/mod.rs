//! Folds the whole log and holds every promise against it.
//!
//! ```text
//! log, once, in order ─▶ positions, revisions, ids, marks, clients' commands   (4)
//!                     ├▶ sagas: commands, answers, ends                         (1, 4)
//!                     ├▶ payments: intents, outcomes, sums                      (2, 4)
//!                     │        └▶ entries that the ledger must have             (2)
//!                     ├▶ stocks: sums, holds                                    (3)
//!                     └▶ orders: ends ─▶ money, goods, deadlines                (1, 2)
//! acknowledged file ──▶ is all of it there?                                     (5)
//! views ──────────────▶ is each the fold of the log?                            (6)
//! ```
//!
//! The folds are made here anew, not with the rules that wrote the log: who checks does not
//! ask the one who is checked. Memory grows with streams, holds and ids, not with what the
//! events hold. A breach never stops the fold: all are counted, with the events that show
//! them.

mod ledger;
mod log;
mod orders;
mod payments;
mod report;
mod returns;
mod sagas;
mod stock;
#[cfg(test)]
mod tests;
mod told;
mod views;
mod write_offs;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use recourse_domain::{order, payment, product, stock as stock_domain};
use recourse_event_store::{
    Direction, EventStore, Filter, Metadata, Position, Read, RecordedEvent, StoreError, Visibility,
    typed,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

pub use report::{
    AcknowledgedTotals, Breach, Commands, Evidence, Kind, MoneyTotals, Report, StockTotals,
    ViewTotals,
};

pub use ledger::{BookView, Scanned};
pub use views::{OpenFolder, Opened, Projected, View};

use orders::Deadlines;
use report::Breaches;

/// What is verified. What others have appended to the log beside that is theirs to judge.
const CATEGORIES: [&str; 5] = ["saga", "order", "payment", "stock", "product"];

/// How many events are read at once.
const READ_EVENTS: usize = 4_096;

/// The type of the event that answers a saga's command with no, whatever the aggregate.
const COMMAND_REFUSED: &str = "command.refused.v1";

/// What to hold against what.
#[derive(Clone, Debug)]
pub struct Options {
    /// What time it is: an order whose deadline is later is in time.
    pub as_of: DateTime<Utc>,
    /// What clients were told, one line each.
    pub acknowledged: Option<PathBuf>,
    /// How long after its deadline a saga may take to say that it needs attention, in
    /// milliseconds.
    pub grace_ms: u32,
    /// How long after an order's placing its saga may take to start, in milliseconds.
    pub start_within_ms: u32,
    /// That the log numbers its events 1, 2, 3. `EventStoreDB` does not.
    pub dense_positions: bool,
    /// How many breaches are listed. All are counted.
    pub max_breaches: usize,
}

impl Options {
    /// As of a moment, with what fits an embedded store.
    #[must_use]
    pub const fn new(as_of: DateTime<Utc>) -> Self {
        Self {
            as_of,
            acknowledged: None,
            grace_ms: 1_000,
            start_within_ms: 60_000,
            dense_positions: true,
            max_breaches: 1_000,
        }
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read to its end.
    #[error("the log cannot be read")]
    Store(#[from] StoreError),
    /// The acknowledged file cannot be read.
    #[error("{path} cannot be read")]
    Acknowledged {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data folder cannot be opened.
    #[error("{path} cannot be opened")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Opens a data folder and checks it with its views.
///
/// # Errors
/// As [`run`], and where the folder cannot be opened.
pub async fn folder(data: &Path, how: &dyn OpenFolder, options: &Options) -> Result<Report, Error> {
    let opened = how.open(data).await.map_err(|source| Error::Folder {
        path: data.to_path_buf(),
        source,
    })?;
    run(opened.store, &opened.views, options).await
}

/// Folds the log up to what is durable now, holds the views against it, and says what was
/// counted and what is broken.
///
/// # Errors
/// Where the log or the file cannot be read. A breach is no error: see [`Report::holds`].
pub async fn run(
    store: Arc<dyn EventStore>,
    views: &[Box<dyn View>],
    options: &Options,
) -> Result<Report, Error> {
    let mut breaches = Breaches::new(options.max_breaches);
    let mut fold = Fold::new(&*store, options.dense_positions);
    let until = store.durable();
    each(&*store, until, |event| fold.apply(event, &mut breaches)).await?;
    let suspects: BTreeSet<Uuid> = fold.log.suspects().into_iter().collect();
    if !suspects.is_empty() {
        duplicates(&*store, until, &suspects, &mut breaches).await?;
    }
    let acknowledged = match &options.acknowledged {
        None => None,
        Some(path) => {
            Some(
                fold.told(path, &mut breaches)
                    .map_err(|source| Error::Acknowledged {
                        path: path.clone(),
                        source,
                    })?,
            )
        }
    };
    let views = fold.views(&*store, views, &mut breaches).await;
    Ok(fold.finish(options, acknowledged, views, breaches))
}

/// The sagas that a log has open, by id.
///
/// # Errors
/// Where the log cannot be read.
pub async fn open_sagas(store: &dyn EventStore) -> Result<BTreeSet<Uuid>, StoreError> {
    let mut open = BTreeSet::new();
    each(store, store.durable(), |event| {
        if event.stream.category() != "saga" {
            return;
        }
        if let Ok(id) = event.stream.id().parse::<Uuid>() {
            match &*event.event.event_type {
                "saga.started.v1" => {
                    open.insert(id);
                }
                "saga.completed.v1" | "saga.compensated.v1" => {
                    open.remove(&id);
                }
                _ => {}
            }
        }
    })
    .await?;
    Ok(open)
}

/// Every event up to a position, in order.
async fn each(
    store: &dyn EventStore,
    until: Position,
    mut see: impl FnMut(&RecordedEvent),
) -> Result<(), StoreError> {
    let mut from = Position::START;
    while from < until {
        let batch = store
            .read_all(Read {
                from: Some(from),
                direction: Direction::Forward,
                visibility: Visibility::Durable,
                filter: Filter::All,
                max_events: READ_EVENTS,
            })
            .await?;
        for event in &batch.events {
            if event.position > until {
                return Ok(());
            }
            see(event);
        }
        if batch.at_end {
            break;
        }
        from = batch.considered;
    }
    Ok(())
}

/// Looks again, at whole ids, for those that more than one event may have.
async fn duplicates(
    store: &dyn EventStore,
    until: Position,
    suspects: &BTreeSet<Uuid>,
    breaches: &mut Breaches,
) -> Result<(), StoreError> {
    let mut found = BTreeMap::<Uuid, Vec<Evidence>>::new();
    each(store, until, |event| {
        if is_verified(event) && suspects.contains(&event.event.id) {
            found.entry(event.event.id).or_default().push(event.into());
        }
    })
    .await?;
    for (id, events) in found {
        if events.len() > 1 {
            breaches.add(
                Kind::DuplicateId,
                id,
                format!("{} events have it", events.len()),
                events,
            );
        }
    }
    Ok(())
}

struct Fold {
    log: log::Log,
    sagas: sagas::Sagas,
    orders: orders::Orders,
    payments: payments::Payments,
    ledger: ledger::Ledger,
    stocks: stock::Stocks,
    products: BTreeSet<String>,
}

impl Fold {
    fn new(store: &dyn EventStore, dense: bool) -> Self {
        Self {
            log: log::Log::new(store.log_id(), store.former_names(), dense),
            sagas: sagas::Sagas::default(),
            orders: orders::Orders::default(),
            payments: payments::Payments::default(),
            ledger: ledger::Ledger::default(),
            stocks: stock::Stocks::default(),
            products: BTreeSet::new(),
        }
    }

    fn apply(&mut self, event: &RecordedEvent, breaches: &mut Breaches) {
        self.log.apply(event, breaches);
        if !is_verified(event) {
            // Another program's, which may follow our form of metadata or not.
            return;
        }
        let metadata = match event.metadata() {
            Ok(metadata) => metadata.clone(),
            Err(error) => return unreadable(event, &error, breaches),
        };
        self.log.metadata(event, &metadata, breaches);
        match event.stream.category() {
            "saga" => self.saga(event, &metadata, breaches),
            "order" | "payment" | "stock" | "product" => {
                self.sagas.take_and_answer(event, &metadata, breaches);
                self.aggregate(event, &metadata, breaches);
            }
            _ => {}
        }
    }

    fn saga(&mut self, event: &RecordedEvent, metadata: &Metadata, breaches: &mut Breaches) {
        let Some(what) = read::<recourse_saga::Event>(event, breaches) else {
            return;
        };
        let ended = self.sagas.apply(event, metadata, &what, breaches);
        if let recourse_saga::Event::Started(_) = *what
            && let Ok(id) = event.stream.id().parse()
            && let Some(saga) = self.sagas.get(id)
            && saga.started.position == event.position
        {
            self.orders.saga_started(id, saga, event, breaches);
        }
        if let recourse_saga::Event::StepSkipped(skipped) = &*what {
            let order = metadata.correlation_id;
            let moves = self.orders.skipped(order, skipped, &self.payments);
            self.ledger.expect(event, metadata, &moves);
        }
        if let Some(end) = ended {
            self.orders.saga_ended(&end, event, breaches);
        }
    }

    fn aggregate(&mut self, event: &RecordedEvent, metadata: &Metadata, breaches: &mut Breaches) {
        if &*event.event.event_type == COMMAND_REFUSED {
            if metadata.answers.is_empty() || metadata.refused.is_none() {
                breaches.add(
                    Kind::IllegalEvent,
                    &event.stream,
                    "a refusal that answers nothing",
                    [event.into()],
                );
            }
            return;
        }
        match event.stream.category() {
            "order" => {
                if let Some(what) = read::<order::Event>(event, breaches) {
                    self.orders
                        .apply(event, metadata.recorded_at, &what, breaches);
                    if let order::Event::Revoked(_) = &*what {
                        let moves = self.orders.revoked(&event.stream);
                        self.ledger.expect(event, metadata, &moves);
                    }
                }
            }
            "payment" => {
                if let Some(what) = read::<payment::Event>(event, breaches) {
                    self.payments.apply(event, metadata, &what, breaches);
                    self.ledger.payment(event, metadata, &what);
                }
            }
            "stock" => {
                if let Some(what) = read::<stock_domain::Event>(event, breaches) {
                    self.hold_is_a_line(event, &what, breaches);
                    self.stocks.apply(event, &what, &mut self.sagas, breaches);
                }
            }
            _ => {
                if read::<product::Event>(event, breaches).is_some() {
                    self.products.insert(event.stream.id().to_owned());
                }
            }
        }
    }

    fn hold_is_a_line(
        &self,
        event: &RecordedEvent,
        what: &stock_domain::Event,
        breaches: &mut Breaches,
    ) {
        let (held, is_back) = match what {
            stock_domain::Event::Reserved(held) => (held, false),
            stock_domain::Event::Restocked(held) => (held, true),
            _ => return,
        };
        let Some(saga) = self
            .sagas
            .get(held.hold.saga)
            .filter(|saga| !saga.status.has_ended())
        else {
            return;
        };
        let quantity = held.quantity.get();
        let is_a_line = if is_back && saga.definition == returns::RETURN {
            self.orders.returns_line(held.hold.saga, saga.order, held)
        } else {
            self.orders
                .holds_line(saga.order, held.hold.line, &held.sku, quantity)
        };
        if !is_a_line {
            breaches.add(
                Kind::GoodsNotOrder,
                &event.stream,
                format!(
                    "{quantity} {} are not line {} of order {}",
                    held.sku, held.hold.line, saga.order
                ),
                [saga.started.clone(), event.into()],
            );
        }
    }

    fn finish(
        self,
        options: &Options,
        acknowledged: Option<AcknowledgedTotals>,
        views: Vec<ViewTotals>,
        mut breaches: Breaches,
    ) -> Report {
        let deadlines = Deadlines {
            as_of: options.as_of,
            grace: TimeDelta::milliseconds(options.grace_ms.into()),
            start_within: TimeDelta::milliseconds(options.start_within_ms.into()),
        };
        let mut money = BTreeMap::new();
        let (orders, settled) = self.orders.finish(
            deadlines,
            &self.sagas,
            &self.payments,
            &mut money,
            &mut breaches,
        );
        self.payments.finish(&self.sagas, &mut money, &mut breaches);
        let stock = self.stocks.finish(&self.sagas, &mut breaches);
        let (breaches_by_kind, breaches) = breaches.into_parts();
        Report {
            log: self.log.id(),
            position: self.log.last(),
            as_of: options.as_of,
            events: self.log.events,
            event_bytes: self.log.bytes,
            streams: self.log.streams_by_category,
            orders,
            settled,
            sagas: self.sagas.by_status(),
            commands: self.sagas.commands,
            exceptions: self.sagas.exceptions,
            money,
            stock,
            acknowledged,
            views,
            breaches_by_kind,
            breaches,
        }
    }
}

fn read<E: DeserializeOwned + Send + Sync + 'static>(
    event: &RecordedEvent,
    breaches: &mut Breaches,
) -> Option<Arc<E>> {
    event
        .decode::<E>()
        .map_err(|error| unreadable(event, &error, breaches))
        .ok()
}

/// Whether it is of a category of ours.
fn is_verified(event: &RecordedEvent) -> bool {
    CATEGORIES.contains(&event.stream.category())
}

fn unreadable(event: &RecordedEvent, error: &typed::Error, breaches: &mut Breaches) {
    let why = std::error::Error::source(error).map_or_else(String::new, |why| format!(": {why}"));
    breaches.add(
        Kind::Unreadable,
        &event.stream,
        format!("{error}{why}"),
        [event.into()],
    );
}
