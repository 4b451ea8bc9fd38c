//! A product of the catalogue: its name, its price, whether it can be ordered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Money, Sku, text};

/// What can be asked of a product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Command {
    /// Make it so, creating it where it is not. Where it is so already, nothing happens.
    #[serde(rename = "product.put")]
    Put(Details),
}

/// What can have happened to a product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    /// It is in the catalogue.
    #[serde(rename = "product.created.v1")]
    Created(Details),
    /// It is something else from here on.
    #[serde(rename = "product.changed.v1")]
    Changed(Details),
}

/// What is known of a product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Product")]
pub struct Details {
    /// Which product.
    pub sku: Sku,
    /// What people call it.
    pub name: String,
    /// The price of one.
    pub price: Money,
    /// Whether it can be ordered.
    pub active: bool,
}

/// The most characters that a name may have.
pub const MAX_NAME_CHARS: usize = 200;

/// A product as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    details: Option<Details>,
}

impl State {
    /// What is known of it; `None` where it is not in the catalogue.
    #[must_use]
    pub const fn details(&self) -> Option<&Details> {
        self.details.as_ref()
    }
}

/// Why a product's command is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name cannot be shown.
    #[error("a name has 1 to {MAX_NAME_CHARS} characters and no control characters")]
    InvalidName,
    /// Nobody pays people to take a product.
    #[error("a price is not negative")]
    InvalidPrice,
    /// The command was sent to the stream of another product.
    #[error("this is the product {0}")]
    WrongSku(Sku),
}

impl Refusal {
    /// Stable, kebab-case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidName => "invalid-name",
            Self::InvalidPrice => "invalid-price",
            Self::WrongSku(_) => "wrong-sku",
        }
    }

    /// That asking again cannot help: always, here.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        true
    }
}

/// What happens; nothing where the product is so already.
///
/// # Errors
/// [`Refusal`] where the command is not obeyed.
pub fn decide(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    let Command::Put(wanted) = command;
    if !text::is_plain(&wanted.name, MAX_NAME_CHARS) {
        return Err(Refusal::InvalidName);
    }
    if wanted.price.amount_minor < 0 {
        return Err(Refusal::InvalidPrice);
    }
    match &state.details {
        None => Ok(vec![Event::Created(wanted.clone())]),
        Some(known) if known.sku != wanted.sku => Err(Refusal::WrongSku(known.sku.clone())),
        Some(known) if known == wanted => Ok(Vec::new()),
        Some(_) => Ok(vec![Event::Changed(wanted.clone())]),
    }
}

/// What an event makes of the state.
#[must_use]
pub fn evolve(_: State, event: &Event) -> State {
    let (Event::Created(details) | Event::Changed(details)) = event;
    State {
        details: Some(details.clone()),
    }
}
