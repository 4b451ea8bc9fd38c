//! The end of a run: all settles, and every promise is held.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use recourse_bench::verify::{self, BookView, Projected, View};
use recourse_domain::{
    PaymentId,
    payment::{self, Operation},
};
use recourse_event_store::{EventStore, Filter, Position, Read, Visibility};
use recourse_projection_services::{ledger, orders, products, sagas, stock};
use recourse_service::Clock as _;
use recourse_views::{documents::Documents, projector::Bookkeeping as _};

use super::{breach::Breach, tally::Tally, world::World};

/// What the log tells of a payment.
#[derive(Default)]
struct Told {
    /// What took effect.
    applied: BTreeSet<Operation>,
    /// What the provider is asked about.
    open: BTreeSet<Operation>,
    /// What it was asked about no more, at some time: an operator may have said what came of it, and
    /// may have been wrong.
    given_up: BTreeSet<Operation>,
}

impl Told {
    fn take(&mut self, event: &payment::Event) {
        if let Some(operation) = event.intent() {
            self.open.insert(operation);
        }
        match event.outcome() {
            Some((operation, refused)) => {
                self.open.remove(&operation);
                if refused.is_none() {
                    self.applied.insert(operation);
                }
            }
            None => {
                if let payment::Event::Unknown(unknown) = event
                    && unknown.given_up
                {
                    self.given_up.insert(unknown.operation);
                }
            }
        }
    }

    /// Whether that is what happened. Of what is open or was given up nobody can tell.
    fn says(&self, happened: &BTreeSet<Operation>) -> bool {
        let known = |operation: &&Operation| {
            !self.open.contains(operation) && !self.given_up.contains(operation)
        };
        let applied = self.applied.iter().filter(known);
        applied.eq(happened.iter().filter(known))
    }
}

impl World {
    /// Nothing goes wrong any more; everything must settle within its deadlines.
    pub(super) async fn settle(&mut self) -> Result<(), Breach> {
        if let Some(faults) = &self.faults {
            faults.heal();
            let counts = faults.counts();
            self.tally.messages_lost = counts.losses;
            self.tally.messages_doubled = counts.doubles;
            self.tally.messages_delayed = counts.delays;
            self.tally.messages_ahead = counts.aheads;
            self.tally.consumers_cut = counts.cuts;
        }
        for _ in 0..self.options.settle_within_s {
            self.pass(900, 1_100).await;
            let open = verify::open_sagas(&self.store).await;
            let open = open.map_err(Breach::engine)?;
            let stuck = self.count_ends().await?.needs_attention;
            if open.len() as u64 <= stuck
                && self.views_are_at_the_head().await?
                && self.nothing_moves().await?
            {
                return Ok(());
            }
        }
        Err(Breach::Unsettled {
            within_s: self.options.settle_within_s,
            open: self.what_is_open().await?,
        })
    }

    /// Whether each saga has ended or waits for an operator: what an operator has seen to may
    /// move again.
    async fn nothing_moves(&self) -> Result<bool, Breach> {
        let store: Arc<dyn EventStore> = Arc::new(self.store.clone());
        let options = verify::Options::new(self.clock.now());
        let sagas = verify::run(store, &[], &options).await;
        let sagas = sagas.map_err(Breach::engine)?.sagas;
        let moving = ["running", "compensating", "parked", "paused"];
        Ok(moving.iter().all(|status| !sagas.contains_key(*status)))
    }

    /// The last event of each saga that is open, and where the views are.
    async fn what_is_open(&self) -> Result<String, Breach> {
        let mut text = format!("the log ends at {}\n", self.store.durable());
        for view in self.views().await {
            let compared = view.compare(&self.store).await;
            let position = compared.map_err(Breach::engine)?.position;
            // Writing into a string does not fail.
            let _ = writeln!(text, "view {} at {position}", view.name());
        }
        let open = verify::open_sagas(&self.store).await;
        for saga in open.map_err(Breach::engine)? {
            let stream = recourse_event_store::StreamName::new("saga", saga);
            let direction = recourse_event_store::Direction::Backward;
            let last = self
                .store
                .read_stream(&stream, None, direction, Visibility::Durable, 1)
                .await
                .map_err(Breach::engine)?;
            for event in last {
                let data = String::from_utf8_lossy(&event.event.data);
                let kind = &event.event.event_type;
                let _ = writeln!(text, "{stream}: {} {kind} {data}", event.position);
            }
        }
        Ok(text)
    }

    async fn views_are_at_the_head(&self) -> Result<bool, Breach> {
        let head = self.store.durable();
        for view in self.views().await {
            let compared = view.compare(&self.store).await;
            if compared.map_err(Breach::engine)?.position < head {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn views(&self) -> Vec<Box<dyn View>> {
        let documents: &dyn Documents = &*self.documents;
        vec![
            Box::new(Projected::<orders::Orders>::scan(documents).await),
            Box::new(Projected::<sagas::Sagas>::scan(documents).await),
            Box::new(Projected::<stock::Stocks>::scan(documents).await),
            Box::new(Projected::<products::Products>::scan(documents).await),
            Box::new(BookView::scan(&*self.books, ledger::Ledger::book()).await),
        ]
    }

    pub(super) async fn check(
        &mut self,
        acknowledged: &tempfile::NamedTempFile,
    ) -> Result<(), Breach> {
        let mut options = verify::Options::new(self.clock.now());
        options.acknowledged = Some(acknowledged.path().to_owned());
        let store: Arc<dyn EventStore> = Arc::new(self.store.clone());
        let report = verify::run(store, &self.views().await, &options)
            .await
            .map_err(Breach::engine)?;
        if !report.holds() {
            return Err(Breach::Promises(report.text()));
        }
        let ends = self.count_ends().await?;
        self.tally.orders = report.orders.values().sum();
        self.tally.cancelled = report.orders.get("cancelled").copied().unwrap_or_default();
        self.tally.completed = ends.completed;
        self.tally.compensated = ends.compensated;
        self.tally.needs_attention = report
            .sagas
            .get("needs_attention")
            .copied()
            .unwrap_or_default();
        self.tally.returns_closed = ends.returns_closed;
        self.tally.returns_rejected = ends.returns_rejected;
        self.tally.retried = ends.retried;
        self.tally.skipped = ends.skipped;
        self.tally.undone_by_operator = ends.undone_by_operator;
        for money in report.money.values() {
            let written_off = [money.unpaid, money.unreturned, money.abandoned];
            self.tally.written_off += written_off.iter().filter(|sum| **sum != 0).count() as u64;
        }
        self.tally.provider_faults = self.provider.faults();
        self.check_provider(&report).await
    }

    /// What really happened at the provider is what the log says.
    async fn check_provider(&self, report: &verify::Report) -> Result<(), Breach> {
        let orders: u64 = report.orders.values().sum();
        let mut told = self.told().await?;
        let mut authorized = 0;
        for (payment, operations) in self.provider.effects() {
            let breach = |what| {
                let payment = payment.to_string();
                Err(Breach::Provider { payment, what })
            };
            let told = told.remove(&payment).unwrap_or_default();
            let happened: BTreeSet<Operation> = operations.iter().copied().collect();
            if !told.says(&happened) {
                return breach("moved other money than the log says");
            }
            let mut once = operations.clone();
            once.dedup();
            if once != operations {
                return breach("took effect twice");
            }
            if !operations.contains(&Operation::Authorize) {
                return breach("moved money and was never authorized");
            }
            if operations.contains(&Operation::Capture) && operations.contains(&Operation::Void) {
                return breach("was captured and voided");
            }
            authorized += 1;
            if authorized > orders {
                return breach("was authorized, and there are fewer orders");
            }
        }
        for (payment, told) in told {
            if !told.says(&BTreeSet::new()) {
                let payment = payment.to_string();
                let what = "moved no money, and the log says that it did";
                return Err(Breach::Provider { payment, what });
            }
        }
        Ok(())
    }

    /// What the log tells of every payment.
    async fn told(&self) -> Result<BTreeMap<PaymentId, Told>, Breach> {
        let mut told: BTreeMap<PaymentId, Told> = BTreeMap::new();
        let mut from = Position::START;
        loop {
            let batch = self
                .store
                .read_all(Read {
                    from: Some(from),
                    direction: recourse_event_store::Direction::Forward,
                    visibility: Visibility::Durable,
                    filter: Filter::categories(&["payment"]),
                    max_events: 1_000,
                })
                .await
                .map_err(Breach::engine)?;
            for event in &batch.events {
                if &*event.event.event_type == recourse_cqrs::COMMAND_REFUSED {
                    continue;
                }
                let id = event.stream.id().parse().map_err(Breach::engine)?;
                let happened = event.decode::<payment::Event>().map_err(Breach::engine)?;
                told.entry(PaymentId(id)).or_default().take(&happened);
            }
            from = batch.considered;
            if batch.at_end {
                return Ok(told);
            }
        }
    }

    async fn count_ends(&self) -> Result<Tally, Breach> {
        let mut tally = Tally::default();
        let mut attention = BTreeSet::new();
        let mut from = Position::START;
        loop {
            let batch = self
                .store
                .read_all(Read {
                    from: Some(from),
                    direction: recourse_event_store::Direction::Forward,
                    visibility: Visibility::Durable,
                    filter: Filter::TypePrefixes(vec!["saga.".into(), "order.return-".into()]),
                    max_events: 1_000,
                })
                .await
                .map_err(Breach::engine)?;
            for event in &batch.events {
                match &*event.event.event_type {
                    "saga.completed.v1" => tally.completed += 1,
                    "saga.compensated.v1" => tally.compensated += 1,
                    "saga.attention-needed.v1" => {
                        attention.insert(event.stream.clone());
                        continue;
                    }
                    "saga.retried.v1" => {
                        tally.retried += 1;
                        continue;
                    }
                    "saga.step-skipped.v1" => {
                        tally.skipped += 1;
                        continue;
                    }
                    "saga.compensation-requested.v1" => {
                        tally.undone_by_operator += 1;
                        continue;
                    }
                    "order.return-closed.v1" => {
                        tally.returns_closed += 1;
                        continue;
                    }
                    "order.return-rejected.v1" => {
                        tally.returns_rejected += 1;
                        continue;
                    }
                    _ => continue,
                }
                attention.remove(&event.stream);
            }
            from = batch.considered;
            if batch.at_end {
                tally.needs_attention = attention.len() as u64;
                return Ok(tally);
            }
        }
    }
}
