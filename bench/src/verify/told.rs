//! Promise 5: what clients were told is in the log.

use std::{io, path::Path};

use recourse_event_store::Position;

use super::{
    Fold,
    report::{AcknowledgedTotals, Breaches, Kind},
};
use crate::acknowledged::{self, Acknowledged};

impl Fold {
    /// Holds the file against the fold.
    pub(super) fn told(
        &self,
        path: &Path,
        breaches: &mut Breaches,
    ) -> io::Result<AcknowledgedTotals> {
        let mut totals = AcknowledgedTotals::default();
        for (line, number) in acknowledged::read(path)? {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    breaches.add(
                        Kind::AcknowledgedUnreadable,
                        format!("line {number}"),
                        error.to_string(),
                        [],
                    );
                    continue;
                }
            };
            self.line(&line, &mut totals, breaches);
        }
        Ok(totals)
    }

    fn line(&self, line: &Acknowledged, totals: &mut AcknowledgedTotals, breaches: &mut Breaches) {
        let end = self.log.last();
        let told = line.position();
        let lost = |breaches: &mut Breaches, subject: String| {
            breaches.add(
                Kind::AcknowledgedLost,
                subject,
                format!("acknowledged at {told}; the log ends at {end} and does not have it"),
                [],
            );
        };
        let beyond = |found: Position| told > end || found > told;
        match line {
            Acknowledged::Order {
                order_id, status, ..
            } => {
                totals.orders = totals.orders.saturating_add(1);
                totals.settled = totals.settled.saturating_add(u64::from(status.is_some()));
                let subject = format!("order-{order_id}");
                let Some(order) = self.orders.get(order_id.0) else {
                    return lost(breaches, subject);
                };
                if beyond(order.placed()) {
                    breaches.add(
                        Kind::AcknowledgedDiffers,
                        &subject,
                        format!("acknowledged at {told}; the log ends at {end}"),
                        order.evidence(),
                    );
                }
                if let Some(status) = status
                    && !order.has_been(status)
                {
                    breaches.add(
                        Kind::AcknowledgedDiffers,
                        &subject,
                        format!("acknowledged as {status}, and it is {}", order.status),
                        order.evidence(),
                    );
                }
            }
            Acknowledged::Return {
                return_id,
                order_id,
                status,
                ..
            } => {
                totals.returns = totals.returns.saturating_add(1);
                let subject = format!("return {return_id} of order-{order_id}");
                let order = self.orders.get(order_id.0);
                let Some(its) = order.and_then(|order| order.return_status(*return_id)) else {
                    return lost(breaches, subject);
                };
                let differs = status
                    .as_ref()
                    .is_some_and(|status| status != its.status.as_str());
                if differs || beyond(its.requested.position) {
                    breaches.add(
                        Kind::AcknowledgedDiffers,
                        &subject,
                        format!(
                            "acknowledged at {told} as {}, and it is {}; the log ends at {end}",
                            status.as_deref().unwrap_or("requested"),
                            its.status.as_str()
                        ),
                        [its.requested.clone(), its.last.clone()],
                    );
                }
            }
            Acknowledged::Receipt { sku, reference, .. } => {
                totals.others = totals.others.saturating_add(1);
                let receipt = self.stocks.receipt(sku.as_str(), reference);
                if receipt.is_none_or(|receipt| beyond(receipt.position)) {
                    lost(breaches, format!("receipt `{reference}` of {sku}"));
                }
            }
            Acknowledged::Product { product, .. } => {
                totals.others = totals.others.saturating_add(1);
                if !self.products.contains(product.as_str()) || told > end {
                    lost(breaches, format!("product-{product}"));
                }
            }
        }
    }
}
