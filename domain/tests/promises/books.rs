//! What the events of one stream add up to.

use std::collections::BTreeMap;

use recourse_domain::{HoldId, Sku, order, payment, stock};
use serde::{Serialize, de::DeserializeOwned};

/// A stock, and its books.
#[derive(Default)]
pub(crate) struct Stock {
    pub(crate) state: stock::State,
    pub(crate) received: i64,
    pub(crate) adjusted: i64,
    pub(crate) committed: i64,
    pub(crate) restocked: i64,
    pub(crate) open: BTreeMap<HoldId, i64>,
    /// How often each hold was made and ended.
    pub(crate) made: BTreeMap<HoldId, u32>,
    pub(crate) ended: BTreeMap<HoldId, u32>,
    /// How many each hold that was committed has out.
    pub(crate) out: BTreeMap<HoldId, i64>,
    /// How often each key brought goods back.
    pub(crate) restocks: BTreeMap<HoldId, u32>,
}

impl Stock {
    pub(crate) fn ask(
        &mut self,
        command: &stock::Command,
    ) -> Result<Vec<stock::Event>, stock::Refusal> {
        let events = stock::decide(&self.state, command)?;
        for event in &events {
            self.state = stock::evolve(through_a_snapshot(&self.state), event);
            match event {
                stock::Event::Received(received) => {
                    self.received += i64::from(received.quantity.get());
                }
                stock::Event::Adjusted(adjusted) => self.adjusted += adjusted.delta,
                stock::Event::Reserved(held) => {
                    self.open.insert(held.hold, i64::from(held.quantity.get()));
                    *self.made.entry(held.hold).or_default() += 1;
                }
                stock::Event::Released(held) => self.end(held),
                stock::Event::Committed(held) => {
                    self.end(held);
                    let pieces = i64::from(held.quantity.get());
                    self.committed += pieces;
                    self.out.insert(held.hold, pieces);
                }
                stock::Event::Restocked(held) => {
                    let pieces = i64::from(held.quantity.get());
                    if self.made.contains_key(&held.hold) {
                        let out = self.out.remove(&held.hold);
                        assert_eq!(out, Some(pieces), "only what is out comes back");
                    }
                    *self.restocks.entry(held.hold).or_default() += 1;
                    self.restocked += pieces;
                }
                stock::Event::RepeatAnswered(_) => {}
            }
        }
        self.check();
        Ok(events)
    }

    fn end(&mut self, held: &stock::Held) {
        assert_eq!(
            self.open.remove(&held.hold),
            Some(i64::from(held.quantity.get()))
        );
        *self.ended.entry(held.hold).or_default() += 1;
    }

    /// Promise 3.
    fn check(&self) {
        let on_hand = self.received + self.adjusted + self.restocked - self.committed;
        let reserved: i64 = self.open.values().sum();
        assert!(0 <= reserved && reserved <= on_hand);
        assert_eq!(i64::try_from(self.state.on_hand()), Ok(on_hand));
        assert_eq!(i64::try_from(self.state.reserved()), Ok(reserved));
        assert_eq!(
            i64::try_from(self.state.available()),
            Ok(on_hand - reserved)
        );
        let holds: BTreeMap<HoldId, i64> = self
            .state
            .holds()
            .map(|(hold, quantity)| (hold, i64::from(quantity.get())))
            .collect();
        assert_eq!(holds, self.open);
        assert!(self.made.values().all(|times| *times == 1));
        assert!(self.ended.values().all(|times| *times == 1));
        assert!(self.restocks.values().all(|times| *times == 1));
    }
}

/// A payment, and its books.
#[derive(Default)]
pub(crate) struct Payment {
    pub(crate) state: payment::State,
    pub(crate) authorized: i64,
    pub(crate) captured: i64,
    pub(crate) voided: i64,
    pub(crate) refunded: i64,
}

impl Payment {
    pub(crate) fn ask(
        &mut self,
        command: &payment::Command,
    ) -> Result<Vec<payment::Event>, payment::Refusal> {
        let events = payment::decide(&self.state, command)?;
        for event in &events {
            self.state = payment::evolve(through_a_snapshot(&self.state), event);
            match event {
                payment::Event::Authorized(applied) => {
                    self.authorized += applied.amount.amount_minor;
                }
                payment::Event::Captured(applied) => self.captured += applied.amount.amount_minor,
                payment::Event::Voided(applied) => self.voided += applied.amount.amount_minor,
                payment::Event::Refunded(refunded) => {
                    self.refunded += refunded.amount.amount_minor;
                }
                _ => {}
            }
        }
        self.check();
        Ok(events)
    }

    /// The first of the calls to the provider that are due now.
    pub(crate) fn call(&self) -> Option<payment::ProviderCall> {
        self.state.calls().next()
    }

    /// Promise 2, as far as it holds at every moment.
    fn check(&self) {
        let held = self.authorized - self.captured - self.voided;
        assert!(held >= 0);
        assert!(self.captured == 0 || self.voided == 0);
        assert_eq!(held > 0, self.state.holds_money());
        assert!((0..=self.captured).contains(&self.refunded));
        let mut calls = self.state.calls();
        let is_refund =
            |call: payment::ProviderCall| matches!(call.operation, payment::Operation::Refund(_));
        // One at a time, but for refunds of what is taken.
        assert!(self.state.calls().count() <= 1 || calls.all(is_refund));
        assert_eq!(
            self.state.calls().count() > 0,
            self.state.has_open_intent(),
            "something is open and no call would ever close it"
        );
    }
}

/// An order, and how often it ended.
#[derive(Default)]
pub(crate) struct Order {
    pub(crate) state: order::State,
    pub(crate) confirmed: u32,
    pub(crate) completed: u32,
    pub(crate) given_up: u32,
    pub(crate) revoked: u32,
    /// What closed returns refund.
    pub(crate) refunds: i64,
    /// How many pieces are back.
    pub(crate) back: BTreeMap<Sku, i64>,
}

impl Order {
    pub(crate) fn ask(
        &mut self,
        command: &order::Command,
    ) -> Result<Vec<order::Event>, order::Refusal> {
        let events = order::decide(&self.state, command)?;
        for event in &events {
            self.state = order::evolve(through_a_snapshot(&self.state), event);
            match event {
                order::Event::Confirmed(_) => self.confirmed += 1,
                order::Event::Completed(_) => self.completed += 1,
                order::Event::Rejected(_) | order::Event::Cancelled(_) => self.given_up += 1,
                order::Event::Revoked(_) => self.revoked += 1,
                order::Event::ReturnClosed(closed) => {
                    let its = self.state.get_return(closed.return_id).unwrap();
                    self.refunds += its.refund.amount_minor;
                    for line in &its.lines {
                        *self.back.entry(line.sku.clone()).or_default() +=
                            i64::from(line.quantity.get());
                    }
                }
                order::Event::Placed(_)
                | order::Event::ReturnRequested(_)
                | order::Event::ReturnAccepted(_)
                | order::Event::ReturnWithdrawn(_)
                | order::Event::ReturnRejected(_)
                | order::Event::RepeatAnswered(_) => {}
            }
        }
        assert!(self.confirmed + self.given_up <= 1);
        assert!(self.revoked <= self.confirmed && (self.revoked == 0 || self.back.is_empty()));
        for line in self.state.lines() {
            let back = self.back.get(&line.sku).copied().unwrap_or_default();
            assert!(
                back <= i64::from(line.quantity.get()),
                "more is back than was bought"
            );
            assert_eq!(i64::from(self.state.returned(&line.sku)), back);
        }
        assert!(self.completed <= self.confirmed);
        Ok(events)
    }
}

/// The state as it comes back from a snapshot, which must be the same.
fn through_a_snapshot<S: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    state: &S,
) -> S {
    let restored = serde_json::from_slice(&serde_json::to_vec(state).unwrap()).unwrap();
    assert_eq!(&restored, state);
    restored
}
