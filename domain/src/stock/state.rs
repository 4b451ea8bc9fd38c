//! A stock as it stands.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Held};
use crate::{HoldId, Quantity, Sku};

/// How many ended holds a stock still knows.
pub const MAX_ENDED_HOLDS: usize = 64;

/// A stock as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    sku: Option<Sku>,
    on_hand: u64,
    /// The sum of `holds`, kept so that a hot product does not add up hundreds at each command.
    reserved: u64,
    #[serde(with = "as_list")]
    holds: BTreeMap<HoldId, Quantity>,
    /// The oldest first.
    ended: VecDeque<Ended>,
    /// For ever, so it is shared: a copy of the state does not copy every delivery note.
    receipts: Arc<BTreeMap<String, Quantity>>,
}

/// A hold that is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Ended {
    hold: HoldId,
    quantity: Quantity,
    how: How,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    Released,
    Committed,
    Restocked,
}

/// How a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-extensible" = true))]
pub enum HoldStatus {
    /// It holds that many.
    Held(Quantity),
    /// It was let go.
    Released,
    /// What it held is out.
    Committed,
    /// What was out is back.
    Restocked,
}

impl State {
    /// Which product; `None` until something has happened.
    #[must_use]
    pub const fn sku(&self) -> Option<&Sku> {
        self.sku.as_ref()
    }

    /// How many are there.
    #[must_use]
    pub const fn on_hand(&self) -> u64 {
        self.on_hand
    }

    /// How many of them are held for orders.
    #[must_use]
    pub const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// How many of them nobody holds.
    #[must_use]
    pub const fn available(&self) -> u64 {
        // Never below zero: every rule keeps `reserved` at or below `on_hand`.
        self.on_hand.saturating_sub(self.reserved)
    }

    /// The open holds, in the order of their ids.
    pub fn holds(&self) -> impl Iterator<Item = (HoldId, Quantity)> + '_ {
        self.holds.iter().map(|(hold, quantity)| (*hold, *quantity))
    }

    /// How a hold stands; `None` where it never was, or ended before the last
    /// [`MAX_ENDED_HOLDS`] did.
    #[must_use]
    pub fn hold_status(&self, hold: HoldId) -> Option<HoldStatus> {
        if let Some(quantity) = self.holds.get(&hold) {
            return Some(HoldStatus::Held(*quantity));
        }
        Some(match self.find_ended(hold)?.how {
            How::Released => HoldStatus::Released,
            How::Committed => HoldStatus::Committed,
            How::Restocked => HoldStatus::Restocked,
        })
    }

    /// How many an ended hold was about, where it is known still.
    pub(super) fn ended_quantity(&self, hold: HoldId) -> Option<Quantity> {
        self.find_ended(hold).map(|ended| ended.quantity)
    }

    fn find_ended(&self, hold: HoldId) -> Option<&Ended> {
        self.ended.iter().rev().find(|ended| ended.hold == hold)
    }

    /// How many came under a reference, if any did.
    #[must_use]
    pub fn receipt(&self, reference: &str) -> Option<Quantity> {
        self.receipts.get(reference).copied()
    }

    fn end(&mut self, held: &Held, how: How) {
        if self.holds.remove(&held.hold).is_none() {
            return;
        }
        let pieces = u64::from(held.quantity.get());
        self.reserved = self.reserved.saturating_sub(pieces);
        if how == How::Committed {
            self.on_hand = self.on_hand.saturating_sub(pieces);
        }
        self.remember(held, how);
    }

    fn restock(&mut self, held: &Held) {
        self.sku.get_or_insert_with(|| held.sku.clone());
        let pieces = u64::from(held.quantity.get());
        self.on_hand = self.on_hand.saturating_add(pieces);
        self.remember(held, How::Restocked);
    }

    fn remember(&mut self, held: &Held, how: How) {
        self.ended.push_back(Ended {
            hold: held.hold,
            quantity: held.quantity,
            how,
        });
        if self.ended.len() > MAX_ENDED_HOLDS {
            self.ended.pop_front();
        }
    }
}

/// What an event makes of the state. Nothing here saturates: `decide` has checked every sum
/// before it became an event.
#[must_use]
pub fn evolve(mut state: State, event: &Event) -> State {
    match event {
        Event::Received(received) => {
            state.sku.get_or_insert_with(|| received.sku.clone());
            state.on_hand = state
                .on_hand
                .saturating_add(u64::from(received.quantity.get()));
            Arc::make_mut(&mut state.receipts)
                .insert(received.reference.clone(), received.quantity);
        }
        Event::Adjusted(adjusted) => {
            state.sku.get_or_insert_with(|| adjusted.sku.clone());
            state.on_hand = state.on_hand.saturating_add_signed(adjusted.delta);
        }
        Event::Reserved(held) => {
            state.sku.get_or_insert_with(|| held.sku.clone());
            state.reserved = state
                .reserved
                .saturating_add(u64::from(held.quantity.get()));
            state.holds.insert(held.hold, held.quantity);
        }
        Event::Released(held) => state.end(held, How::Released),
        Event::Committed(held) => state.end(held, How::Committed),
        Event::Restocked(held) => state.restock(held),
        Event::RepeatAnswered(_) => {}
    }
    state
}

/// JSON wants text as keys: the holds are written as a list of pairs.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::{HoldId, Quantity};

    pub(super) fn serialize<S: Serializer>(
        holds: &BTreeMap<HoldId, Quantity>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(holds)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<HoldId, Quantity>, D::Error> {
        Vec::deserialize(deserializer).map(BTreeMap::from_iter)
    }
}
