//! Promise 3: stock is conserved and every hold has an open saga.

use std::collections::BTreeMap;

use recourse_domain::{HoldId, stock::Event};
use recourse_event_store::RecordedEvent;

use super::{
    report::{Breaches, Evidence, Kind, StockTotals},
    sagas::{HoldChange, Sagas},
};

#[derive(Default)]
pub(super) struct Stocks {
    stocks: BTreeMap<String, Stock>,
}

/// The fold of one stock, made here anew rather than with the domain's rules: who checks
/// does not ask the one who is checked.
#[derive(Default)]
pub(super) struct Stock {
    pub(super) received: i128,
    pub(super) adjusted: i128,
    pub(super) committed: i128,
    pub(super) restocked: i128,
    pub(super) on_hand: i128,
    pub(super) reserved: i128,
    holds: BTreeMap<HoldId, Hold>,
    /// What brought goods back: each once, for ever.
    restocks: BTreeMap<HoldId, Evidence>,
    receipts: BTreeMap<String, Evidence>,
}

struct Hold {
    quantity: i128,
    at: Evidence,
}

impl Stocks {
    pub(super) fn apply(
        &mut self,
        event: &RecordedEvent,
        what: &Event,
        sagas: &mut Sagas,
        breaches: &mut Breaches,
    ) {
        let stock = self.stocks.entry(event.stream.id().to_owned()).or_default();
        let sku = match what {
            Event::Received(received) => {
                let quantity = i128::from(received.quantity.get());
                stock.received += quantity;
                stock.on_hand += quantity;
                let first = stock
                    .receipts
                    .entry(received.reference.clone())
                    .or_insert_with(|| event.into());
                if first.position != event.position {
                    breaches.add(
                        Kind::ClientCommandTwice,
                        &event.stream,
                        format!("receipt `{}` counted before", received.reference),
                        [first.clone(), event.into()],
                    );
                }
                &received.sku
            }
            Event::Adjusted(adjusted) => {
                stock.adjusted += i128::from(adjusted.delta);
                stock.on_hand += i128::from(adjusted.delta);
                &adjusted.sku
            }
            Event::Reserved(held) => {
                stock.reserved += i128::from(held.quantity.get());
                stock.reserve(event, held.hold, held.quantity.get(), breaches);
                sagas.hold(event, held, HoldChange::Reserved, breaches);
                &held.sku
            }
            Event::Released(held) => {
                let quantity = stock.close(event, held.hold, held.quantity.get(), breaches);
                stock.reserved -= quantity;
                sagas.hold(event, held, HoldChange::Released, breaches);
                &held.sku
            }
            Event::Committed(held) => {
                let quantity = stock.close(event, held.hold, held.quantity.get(), breaches);
                stock.reserved -= quantity;
                stock.on_hand -= quantity;
                stock.committed += quantity;
                sagas.hold(event, held, HoldChange::Committed, breaches);
                &held.sku
            }
            Event::Restocked(held) => {
                let quantity = i128::from(held.quantity.get());
                stock.on_hand += quantity;
                stock.restocked += quantity;
                if let Some(before) = stock.restocks.insert(held.hold, event.into()) {
                    breaches.add(
                        Kind::RestockDoubled,
                        &event.stream,
                        format!(
                            "line {} of saga {} brought goods back before",
                            held.hold.line, held.hold.saga
                        ),
                        [before, event.into()],
                    );
                }
                sagas.hold(event, held, HoldChange::Restocked, breaches);
                &held.sku
            }
            Event::RepeatAnswered(_) => return,
        };
        if sku.as_str() != event.stream.id() {
            breaches.add(
                Kind::IllegalEvent,
                &event.stream,
                format!("the event is about `{sku}`"),
                [event.into()],
            );
        }
        if stock.reserved < 0 || stock.reserved > stock.on_hand {
            breaches.add(
                Kind::StockOutOfBounds,
                &event.stream,
                format!("{} reserved of {} on hand", stock.reserved, stock.on_hand),
                [event.into()],
            );
        }
    }

    /// What must be so at the end of the log.
    pub(super) fn finish(&self, sagas: &Sagas, breaches: &mut Breaches) -> StockTotals {
        let mut totals = StockTotals::default();
        for (sku, stock) in &self.stocks {
            let held: i128 = stock.holds.values().map(|hold| hold.quantity).sum();
            let made = stock.received + stock.adjusted + stock.restocked - stock.committed;
            if held != stock.reserved || made != stock.on_hand {
                breaches.add(
                    Kind::StockNotConserved,
                    sku,
                    format!(
                        "{} on hand where {made} came, {} reserved where holds have {held}",
                        stock.on_hand, stock.reserved
                    ),
                    stock.holds.values().map(|hold| hold.at.clone()),
                );
            }
            for (id, hold) in &stock.holds {
                if !sagas.is_open(id.saga) {
                    breaches.add(
                        Kind::HoldWithoutSaga,
                        sku,
                        format!(
                            "{} are held for line {} of saga {}, which is not open",
                            hold.quantity, id.line, id.saga
                        ),
                        [hold.at.clone()].into_iter().chain(sagas.end_of(id.saga)),
                    );
                }
            }
            totals.skus = totals.skus.saturating_add(1);
            totals.received += stock.received;
            totals.adjusted += stock.adjusted;
            totals.committed += stock.committed;
            totals.restocked += stock.restocked;
            totals.on_hand += stock.on_hand;
            totals.reserved += stock.reserved;
            totals.open_holds = totals.open_holds.saturating_add(stock.holds.len() as u64);
        }
        totals
    }

    /// Where a receipt stands, if it does.
    pub(super) fn receipt(&self, sku: &str, reference: &str) -> Option<&Evidence> {
        self.stocks.get(sku)?.receipts.get(reference)
    }
}

impl Stock {
    fn reserve(
        &mut self,
        event: &RecordedEvent,
        id: HoldId,
        quantity: u32,
        breaches: &mut Breaches,
    ) {
        let hold = Hold {
            quantity: quantity.into(),
            at: event.into(),
        };
        if let Some(before) = self.holds.insert(id, hold) {
            breaches.add(
                Kind::HoldDoubled,
                &event.stream,
                format!("line {} of saga {} is held already", id.line, id.saga),
                [before.at, event.into()],
            );
        }
    }

    /// Ends a hold and says how many it held.
    fn close(
        &mut self,
        event: &RecordedEvent,
        id: HoldId,
        quantity: u32,
        breaches: &mut Breaches,
    ) -> i128 {
        let quantity = i128::from(quantity);
        match self.holds.remove(&id) {
            Some(hold) if hold.quantity == quantity => {}
            Some(hold) => breaches.add(
                Kind::HoldUnknown,
                &event.stream,
                format!("{quantity} where the hold has {}", hold.quantity),
                [hold.at, event.into()],
            ),
            None => breaches.add(
                Kind::HoldUnknown,
                &event.stream,
                format!("line {} of saga {} is not held", id.line, id.saga),
                [event.into()],
            ),
        }
        quantity
    }
}
