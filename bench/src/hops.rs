//! Where an order's time goes, read off the log: each event says what caused it and when it was
//! recorded.
//!
//! ```text
//! client ─▶ order.placed ─▶ saga.started ─▶ stock.reserved ─▶ saga.answered … saga.completed ─▶ client
//! ```
//!
//! The way is walked back from the saga's last event, so of steps that ran at once the one that the
//! saga waited for counts, and the hops of an order add up to its latency.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use chrono::{DateTime, Utc};
use hdrhistogram::{CreationError, Histogram};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest that is told apart, in microseconds: 10 minutes.
const MAX_US: u64 = 600_000_000;

/// An event of the log, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Uuid,
    pub(crate) category: String,
    pub(crate) event_type: String,
    pub(crate) correlation: Uuid,
    /// An event, or what a client sent.
    pub(crate) cause: Uuid,
    pub(crate) recorded_at: DateTime<Utc>,
}

/// An order as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) order: Uuid,
    /// When it was, or should have been, sent.
    pub(crate) sent: DateTime<Utc>,
    /// When it was answered.
    pub(crate) answered: DateTime<Utc>,
}

/// Between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From the client's request to the order's first event.
    Request,
    /// From an event to what the saga makes of it.
    Event,
    /// From a saga's event, which carries a command, to the event that takes it.
    Command,
    /// From an event of a participant to its next: what it asked somebody else.
    Outside,
    /// From the saga's last event to the client's answer.
    Answer,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Request,
        Self::Event,
        Self::Command,
        Self::Outside,
        Self::Answer,
    ];

    const fn text(self) -> &'static str {
        match self {
            Self::Request => "client to order",
            Self::Event => "event to saga",
            Self::Command => "command to participant",
            Self::Outside => "participant and provider",
            Self::Answer => "end of the saga to client",
        }
    }

    fn between(cause: &Event, event: &Event) -> Self {
        match (cause.category.as_str(), event.category.as_str()) {
            ("saga", _) => Self::Command,
            (_, "saga") => Self::Event,
            _ => Self::Outside,
        }
    }
}

/// A step of the way, over all orders that took it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// Between whom.
    pub kind: Kind,
    /// The type of the event it begins with, or `client`.
    pub from: String,
    /// The type of the event it ends with, or `client`.
    pub to: String,
    /// How often it was taken.
    pub count: u64,
    /// All of it, in microseconds.
    pub total_us: u64,
    /// Half took at most this, in microseconds.
    pub p50_us: u64,
    /// 99 of 100 did.
    pub p99_us: u64,
}

/// Where the time of the orders of a run went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hops {
    /// How many orders these are: those whose whole way was found.
    pub orders: u64,
    /// The steps, in the order of an order's way.
    pub hops: Vec<Hop>,
}

struct Taken {
    /// How far along the way it was when it was first met.
    place: usize,
    times: Histogram<u64>,
    total_us: u64,
}

impl Hops {
    /// Walks the ways of these orders through the log.
    pub(crate) fn of(events: &[Event], orders: &[Seen]) -> Result<Self, CreationError> {
        // Looked up, never walked.
        let by_id: HashMap<Uuid, &Event> = events.iter().map(|its| (its.id, its)).collect();
        let ends: HashMap<Uuid, &Event> = events
            .iter()
            .filter(|its| is_end(its))
            .map(|its| (its.correlation, its))
            .collect();
        let mut taken: BTreeMap<(Kind, &str, &str), Taken> = BTreeMap::new();
        let mut found = 0;
        for order in orders {
            let Some(way) = ends.get(&order.order).map(|end| way(end, &by_id)) else {
                continue;
            };
            let (Some(first), Some(last)) = (way.first(), way.last()) else {
                continue;
            };
            if first.category != "order" {
                // Its beginning was not read.
                continue;
            }
            found += 1;
            let kind = Kind::Request;
            let mut steps = vec![(
                kind,
                "client",
                &*first.event_type,
                order.sent,
                first.recorded_at,
            )];
            for (cause, event) in way.iter().zip(way.iter().skip(1)) {
                let (from, to) = (&*cause.event_type, &*event.event_type);
                let kind = Kind::between(cause, event);
                steps.push((kind, from, to, cause.recorded_at, event.recorded_at));
            }
            let (from, kind) = (&*last.event_type, Kind::Answer);
            steps.push((kind, from, "client", last.recorded_at, order.answered));
            for (place, (kind, from, to, begun, ended)) in steps.into_iter().enumerate() {
                let us = (ended - begun).num_microseconds().unwrap_or_default();
                let us = u64::try_from(us).unwrap_or_default();
                let taken = match taken.entry((kind, from, to)) {
                    std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::btree_map::Entry::Vacant(new) => new.insert(Taken {
                        place,
                        times: Histogram::new_with_max(MAX_US, 3)?,
                        total_us: 0,
                    }),
                };
                taken.times.saturating_record(us);
                taken.total_us = taken.total_us.saturating_add(us);
            }
        }
        let mut hops: Vec<(usize, Hop)> = taken
            .into_iter()
            .map(|((kind, from, to), taken)| {
                let hop = Hop {
                    kind,
                    from: from.to_owned(),
                    to: to.to_owned(),
                    count: taken.times.len(),
                    total_us: taken.total_us,
                    p50_us: taken.times.value_at_quantile(0.5),
                    p99_us: taken.times.value_at_quantile(0.99),
                };
                (taken.place, hop)
            })
            .collect();
        hops.sort_by_key(|(place, _)| *place);
        Ok(Self {
            orders: found,
            hops: hops.into_iter().map(|(_, hop)| hop).collect(),
        })
    }

    /// For a person to read.
    #[expect(clippy::cast_precision_loss, reason = "figures for a person")]
    pub(crate) fn write(&self, out: &mut String) {
        let all: u64 = self.hops.iter().map(|hop| hop.total_us).sum();
        let orders = self.orders.max(1) as f64;
        let ms = |us: u64| us as f64 / 1_000.0;
        let share = |us: u64| us as f64 * 100.0 / all.max(1) as f64;
        // Writing into a string does not fail.
        let _ = writeln!(
            out,
            "  hops       of {} orders, {:.2} ms each on average",
            self.orders,
            ms(all) / orders
        );
        for kind in Kind::ALL {
            let of_kind = || self.hops.iter().filter(move |hop| hop.kind == kind);
            let count: u64 = of_kind().map(|hop| hop.count).sum();
            let total: u64 = of_kind().map(|hop| hop.total_us).sum();
            if count == 0 {
                continue;
            }
            let _ = writeln!(
                out,
                "    {:26} {:5.1} an order, {:6.2} ms each, {:5.1} % of the time",
                kind.text(),
                count as f64 / orders,
                ms(total) / count as f64,
                share(total)
            );
            for hop in of_kind() {
                let _ = writeln!(
                    out,
                    "      mean {:6.2} ms, p50 {:6.2} ms, p99 {:6.2} ms  {} -> {}",
                    ms(hop.total_us) / hop.count.max(1) as f64,
                    ms(hop.p50_us),
                    ms(hop.p99_us),
                    hop.from,
                    hop.to
                );
            }
        }
    }
}

fn is_end(event: &Event) -> bool {
    let ends = ["saga.completed.", "saga.compensated."];
    ends.iter().any(|end| event.event_type.starts_with(end))
}

/// From the first event to this one, each caused by the one before.
fn way<'a>(end: &'a Event, by_id: &HashMap<Uuid, &'a Event>) -> Vec<&'a Event> {
    let mut way = vec![end];
    let mut at = end;
    // An event comes after its cause, so this ends.
    while let Some(cause) = by_id.get(&at.cause) {
        way.push(cause);
        at = cause;
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(ms)
    }

    fn event(id: u128, event_type: &str, cause: u128, ms: i64) -> Event {
        Event {
            id: Uuid::from_u128(id),
            category: event_type.split('.').next().unwrap().to_owned(),
            event_type: event_type.to_owned(),
            correlation: Uuid::from_u128(900),
            cause: Uuid::from_u128(cause),
            recorded_at: at(ms),
        }
    }

    fn order() -> Seen {
        Seen {
            order: Uuid::from_u128(900),
            sent: at(0),
            answered: at(100),
        }
    }

    #[test]
    fn the_hops_of_an_order_add_up_to_its_latency() {
        let log = [
            event(1, "order.placed.v1", 77, 4),
            event(2, "saga.started.v1", 1, 10),
            // Two lines: the saga waits for the later.
            event(3, "stock.reserved.v1", 2, 15),
            event(4, "stock.reserved.v1", 2, 40),
            event(5, "payment.requested.v1", 2, 41),
            event(6, "payment.authorized.v1", 5, 50),
            event(7, "saga.completed.v1", 6, 70),
        ];
        let hops = Hops::of(&log, &[order()]).unwrap();
        assert_eq!(hops.orders, 1);
        let kinds: Vec<_> = hops
            .hops
            .iter()
            .map(|hop| (hop.kind, hop.total_us / 1_000))
            .collect();
        assert_eq!(
            kinds,
            [
                (Kind::Request, 4),
                (Kind::Event, 6),
                (Kind::Command, 31),
                (Kind::Outside, 9),
                (Kind::Event, 20),
                (Kind::Answer, 30),
            ]
        );
        let mut text = String::new();
        hops.write(&mut text);
        assert!(text.contains("of 1 orders, 100.00 ms each"), "{text}");
    }

    #[test]
    fn an_order_whose_way_is_not_all_there_is_left_out() {
        let log = [
            event(2, "saga.started.v1", 1, 10),
            event(7, "saga.completed.v1", 2, 70),
        ];
        let hops = Hops::of(&log, &[order()]).unwrap();
        assert_eq!((hops.orders, hops.hops.len()), (0, 0));
        assert_eq!(Hops::of(&[], &[order()]).unwrap().orders, 0);
    }
}
