//! The rules of the domain bound to the platform: one [`Aggregate`] a category of streams.
//!
//! The domain names nothing of ours and the platform nothing of the business; here they meet.
//! A binding says where an aggregate's streams are, how a refusal is told to others, and what
//! an event is to the command that caused it.

use recourse_cqrs::{Aggregate, Role};
use recourse_domain::{order, payment, product, stock};
use recourse_event_store::Refused;
use recourse_schema::{Catalog, Error as SchemaError};

/// Every type and version of the aggregates' events: each has a file in `schemas/`.
///
/// # Errors
/// Where two have the same name, or an enum's variants have none.
pub fn events() -> Result<Catalog, SchemaError> {
    Catalog::new()
        .with_variants_of::<product::Event>()?
        .with_variants_of::<stock::Event>()?
        .with_variants_of::<order::Event>()?
        .with_variants_of::<payment::Event>()
}

/// Every command of the aggregates: sagas carry them in their own events.
///
/// # Errors
/// As [`events`].
pub fn commands() -> Result<Catalog, SchemaError> {
    Catalog::new()
        .with_variants_of::<product::Command>()?
        .with_variants_of::<stock::Command>()?
        .with_variants_of::<order::Command>()?
        .with_variants_of::<payment::Command>()
}

/// Products: `product-<sku>`.
#[derive(Debug)]
pub struct Product;

impl Aggregate for Product {
    const CATEGORY: &'static str = "product";
    type State = product::State;
    type Command = product::Command;
    type Event = product::Event;
    type Refusal = product::Refusal;

    fn decide(
        state: &Self::State,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Refusal> {
        product::decide(state, command)
    }

    fn evolve(state: Self::State, event: &Self::Event) -> Self::State {
        product::evolve(state, event)
    }

    fn refused(refusal: &Self::Refusal) -> Refused {
        refused(refusal.code(), refusal, refusal.is_final())
    }
}

/// Stock: `stock-<sku>`. Its streams grow without end, so it has snapshots.
#[derive(Debug)]
pub struct Stock;

impl Aggregate for Stock {
    const CATEGORY: &'static str = "stock";
    const SNAPSHOT_EVERY: Option<u64> = Some(1_000);
    const SNAPSHOT_VERSION: u32 = 1;
    type State = stock::State;
    type Command = stock::Command;
    type Event = stock::Event;
    type Refusal = stock::Refusal;

    fn decide(
        state: &Self::State,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Refusal> {
        stock::decide(state, command)
    }

    fn evolve(state: Self::State, event: &Self::Event) -> Self::State {
        stock::evolve(state, event)
    }

    fn refused(refusal: &Self::Refusal) -> Refused {
        refused(refusal.code(), refusal, refusal.is_final())
    }
}

/// Orders: `order-<id>`.
#[derive(Debug)]
pub struct Order;

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type State = order::State;
    type Command = order::Command;
    type Event = order::Event;
    type Refusal = order::Refusal;

    fn decide(
        state: &Self::State,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Refusal> {
        order::decide(state, command)
    }

    fn evolve(state: Self::State, event: &Self::Event) -> Self::State {
        order::evolve(state, event)
    }

    fn refused(refusal: &Self::Refusal) -> Refused {
        refused(refusal.code(), refusal, refusal.is_final())
    }
}

/// Payments: `payment-<id>`. What the provider is asked is an intent first; its outcome is the
/// answer.
#[derive(Debug)]
pub struct Payment;

impl Aggregate for Payment {
    const CATEGORY: &'static str = "payment";
    type State = payment::State;
    type Command = payment::Command;
    type Event = payment::Event;
    type Refusal = payment::Refusal;

    fn decide(
        state: &Self::State,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Refusal> {
        payment::decide(state, command)
    }

    fn evolve(state: Self::State, event: &Self::Event) -> Self::State {
        payment::evolve(state, event)
    }

    fn refused(refusal: &Self::Refusal) -> Refused {
        refused(refusal.code(), refusal, refusal.is_final())
    }

    fn role(event: &Self::Event) -> Role {
        if let Some(operation) = event.intent() {
            return Role::Intent {
                operation: operation.name(),
            };
        }
        if let Some((operation, declined)) = event.outcome() {
            return Role::Outcome {
                operation: operation.name(),
                refused: declined
                    .map(|declined| refused(&declined.code, &declined.detail, declined.is_final)),
            };
        }
        match event {
            payment::Event::Unknown(_) => Role::Progress,
            _ => Role::Answer,
        }
    }
}

fn refused(code: &str, detail: impl ToString, is_final: bool) -> Refused {
    Refused {
        code: code.to_owned(),
        detail: detail.to_string(),
        is_final,
    }
}
