//! Given / when / then.

use std::fmt::Debug;

use recourse_domain::{Currency, CustomerId, Money, OrderId, PaymentId, Quantity, Sku};
use recourse_domain::{order, payment, product, stock};
use uuid::Uuid;

/// One aggregate's pair of functions.
pub(crate) trait Rules {
    type State: Default + Debug + PartialEq;
    type Command;
    type Event: Clone + Debug + PartialEq;
    type Refusal: Debug + ToString;
    fn decide(
        state: &Self::State,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Refusal>;
    fn evolve(state: Self::State, event: &Self::Event) -> Self::State;
    fn code(refusal: &Self::Refusal) -> String;
}

macro_rules! rules {
    ($name:ident, $module:ident) => {
        pub(crate) struct $name;
        impl Rules for $name {
            type State = $module::State;
            type Command = $module::Command;
            type Event = $module::Event;
            type Refusal = $module::Refusal;
            fn decide(
                state: &Self::State,
                command: &Self::Command,
            ) -> Result<Vec<Self::Event>, Self::Refusal> {
                $module::decide(state, command)
            }
            fn evolve(state: Self::State, event: &Self::Event) -> Self::State {
                $module::evolve(state, event)
            }
            fn code(refusal: &Self::Refusal) -> String {
                refusal.code().to_owned()
            }
        }
    };
}
rules!(Product, product);
rules!(Stock, stock);
rules!(Order, order);
rules!(Payment, payment);

pub(crate) struct Given<R: Rules>(pub(crate) R::State);

pub(crate) struct When<R: Rules> {
    state: R::State,
    result: Result<Vec<R::Event>, R::Refusal>,
}

pub(crate) fn given<R: Rules>(events: impl IntoIterator<Item = R::Event>) -> Given<R> {
    Given(
        events
            .into_iter()
            .fold(R::State::default(), |state, event| R::evolve(state, &event)),
    )
}

pub(crate) fn given_nothing<R: Rules>() -> Given<R> {
    given([])
}

impl<R: Rules> Given<R> {
    pub(crate) fn when(self, command: R::Command) -> When<R> {
        When {
            result: R::decide(&self.0, &command),
            state: self.0,
        }
    }
}

impl<R: Rules> When<R> {
    /// Exactly these events; gives the state after them.
    #[track_caller]
    pub(crate) fn then(self, expected: impl IntoIterator<Item = R::Event>) -> R::State {
        let events = self.result.expect("not refused");
        assert_eq!(events, expected.into_iter().collect::<Vec<_>>());
        events.iter().fold(self.state, R::evolve)
    }

    /// This event, which changes nothing.
    #[track_caller]
    pub(crate) fn then_unchanged(self, expected: R::Event) {
        let events = self.result.expect("not refused");
        assert_eq!(events, [expected]);
        let before = format!("{:?}", self.state);
        let after = events.iter().fold(self.state, R::evolve);
        assert_eq!(format!("{after:?}"), before);
    }

    #[track_caller]
    pub(crate) fn then_nothing(self) {
        assert_eq!(self.result.expect("not refused"), []);
    }

    /// Refused with this code; gives what a person is told.
    #[track_caller]
    pub(crate) fn then_refused(self, code: &str) -> String {
        let refusal = self.result.expect_err("refused");
        assert_eq!(R::code(&refusal), code);
        refusal.to_string()
    }
}

pub(crate) fn eur(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("EUR").unwrap(),
    }
}

pub(crate) fn usd(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("USD").unwrap(),
    }
}

pub(crate) fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

pub(crate) fn pieces(number: u32) -> Quantity {
    Quantity::new(number).unwrap()
}

pub(crate) const ORDER: OrderId = OrderId(Uuid::from_u128(1));
pub(crate) const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(2));
pub(crate) const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(3));
