//! What the events of one stream add up to.

use std::collections::BTreeMap;

use recourse_domain::{HoldId, order, payment, stock};
use serde::{Serialize, de::DeserializeOwned};

/// A stock, and its books.
#[derive(Default)]
pub(crate) struct Stock {
    pub(crate) state: stock::State,
    pub(crate) received: i64,
    pub(crate) adjusted: i64,
    pub(crate) committed: i64,
    pub(crate) open: BTreeMap<HoldId, i64>,
    /// How often each hold was made and ended.
    pub(crate) made: BTreeMap<HoldId, u32>,
    pub(crate) ended: BTreeMap<HoldId, u32>,
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
                    self.committed += i64::from(held.quantity.get());
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
        let on_hand = self.received + self.adjusted - self.committed;
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
    }
}

/// A payment, and its books.
#[derive(Default)]
pub(crate) struct Payment {
    pub(crate) state: payment::State,
    pub(crate) authorized: i64,
    pub(crate) captured: i64,
    pub(crate) voided: i64,
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
                _ => {}
            }
        }
        self.check();
        Ok(events)
    }

    /// The call to the provider that is due now.
    pub(crate) fn call(&self) -> Option<payment::ProviderCall> {
        self.state.calls().next()
    }

    /// Promise 2, as far as it holds at every moment.
    fn check(&self) {
        let held = self.authorized - self.captured - self.voided;
        assert!(held >= 0);
        assert!(self.captured == 0 || self.voided == 0);
        assert_eq!(held > 0, self.state.holds_money());
        assert!(self.state.calls().count() <= 1);
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
                order::Event::Placed(_) | order::Event::RepeatAnswered(_) => {}
            }
        }
        assert!(self.confirmed + self.given_up <= 1);
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
