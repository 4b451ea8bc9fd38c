//! An order: placed, then confirmed and completed, or rejected or cancelled.
//!
//! ```text
//! place ─▶ pending ─ confirm ─▶ confirmed ─ complete ─▶ completed
//!             ├──── reject (the saga has undone everything) ─▶ rejected
//!             └──── cancel (a client) ─▶ cancelled
//! ```
//!
//! Confirming is the saga's point of no return and a decision of the order itself: a
//! cancellation races with it in one stream and exactly one of them wins.
//!
//! A saga's command that finds its work done is answered by `order.repeat-answered.v1`, which
//! changes nothing: every saga command needs an answer, and repeating the first event would
//! count its effect twice wherever events are counted.

mod command;
mod event;

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{Money, NOTHING_TO_UNDO, Sku, money, text};

pub use command::{Cancel, Command, Complete, Confirm, Line, PaymentMethod, Place, Reason, Reject};
pub use event::{Cancelled, Completed, Confirmed, Event, Placed, Rejected, RepeatAnswered};

/// The most lines that an order may have.
pub const MAX_LINES: usize = 100;

/// The most characters that the reason of a cancellation may have.
pub const MAX_REASON_CHARS: usize = 500;

/// An order as it stands: no more than its rules and the answer to its client need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    status: Option<Status>,
    total: Option<Money>,
}

impl State {
    /// How it stands; `None` where it was never placed.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        self.status
    }

    /// The sum of its lines; `None` where it was never placed.
    #[must_use]
    pub const fn total(&self) -> Option<Money> {
        self.total
    }
}

/// How an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Placed; its saga is under way.
    Pending,
    /// Past the point of no return.
    Confirmed,
    /// Paid, and its goods are out.
    Completed,
    /// It could not be fulfilled; everything is undone.
    Rejected,
    /// Its client cancelled it.
    Cancelled,
}

impl Status {
    /// As the API shows it: `pending`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Completed => "completed",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an order's command is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An order is placed once.
    #[error("the order is already placed")]
    AlreadyPlaced,
    /// There is nothing to order.
    #[error("an order has at least one line")]
    NoLines,
    /// There is too much to order.
    #[error("an order has at most {MAX_LINES} lines")]
    TooManyLines,
    /// One line a product: a line is what is held, committed and returned.
    #[error("{0} is on more than one line")]
    DuplicateLine(Sku),
    /// A price that pays the client.
    #[error("the price of {0} is negative")]
    InvalidPrice(Sku),
    /// One order, one payment, one currency.
    #[error("the lines are of different currencies")]
    CurrencyMismatch,
    /// There is no payment of nothing.
    #[error("the total is zero")]
    NothingToPay,
    /// The total does not fit.
    #[error("the total is too large")]
    TotalOverflow,
    /// No provider gives such a token.
    #[error(
        "a card token is 1 to {} visible ASCII characters",
        crate::CardToken::MAX_LEN
    )]
    InvalidToken,
    /// The reason cannot be shown.
    #[error("a reason has 1 to {MAX_REASON_CHARS} characters and no control characters")]
    InvalidReason,
    /// It was never placed.
    #[error("there is no such order")]
    NoSuchOrder,
    /// Its client was faster.
    #[error("the order is cancelled")]
    Cancelled,
    /// It was given up.
    #[error("the order is rejected")]
    Rejected,
    /// It is not past its point of no return.
    #[error("the order is not confirmed yet")]
    NotConfirmed,
    /// It is past its point of no return.
    #[error("the order is already confirmed")]
    AlreadyConfirmed,
    /// It has ended.
    #[error("the order is already {0}")]
    AlreadySettled(Status),
    /// There is no pending order to reject.
    #[error("there is no pending order to reject")]
    NothingToUndo,
}

impl Refusal {
    /// Stable, kebab-case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AlreadyPlaced => "already-placed",
            Self::NoLines => "no-lines",
            Self::TooManyLines => "too-many-lines",
            Self::DuplicateLine(_) => "duplicate-line",
            Self::InvalidPrice(_) => "invalid-price",
            Self::CurrencyMismatch => "currency-mismatch",
            Self::NothingToPay => "nothing-to-pay",
            Self::TotalOverflow => "total-overflow",
            Self::InvalidToken => "invalid-token",
            Self::InvalidReason => "invalid-reason",
            Self::NoSuchOrder => "no-such-order",
            Self::Cancelled => "order-cancelled",
            Self::Rejected => "order-rejected",
            Self::NotConfirmed => "order-not-confirmed",
            Self::AlreadyConfirmed => "order-already-confirmed",
            Self::AlreadySettled(_) => "order-already-settled",
            Self::NothingToUndo => NOTHING_TO_UNDO,
        }
    }

    /// That asking again cannot help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::NotConfirmed | Self::NoSuchOrder)
    }
}

/// What happens; nothing where a client cancels what is cancelled.
///
/// # Errors
/// [`Refusal`] where the command is not obeyed.
pub fn decide(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::Place(place) => decide_place(state, place),
        Command::Confirm(_) => decide_confirm(state),
        Command::Complete(_) => decide_complete(state),
        Command::Reject(reject) => decide_reject(state, reject),
        Command::Cancel(cancel) => decide_cancel(state, cancel),
    }
}

fn decide_place(state: &State, place: &Place) -> Result<Vec<Event>, Refusal> {
    if state.status.is_some() {
        return Err(Refusal::AlreadyPlaced);
    }
    let total = total(&place.lines)?;
    let PaymentMethod::Card { token } = &place.payment;
    if !token.is_well_formed() {
        return Err(Refusal::InvalidToken);
    }
    Ok(vec![Event::Placed(Placed {
        order_id: place.order_id,
        payment_id: place.payment_id,
        customer_id: place.customer_id,
        lines: place.lines.clone(),
        total,
        payment: place.payment.clone(),
    })])
}

/// What the lines of an order cost together.
///
/// # Errors
/// [`Refusal`] where these cannot be the lines of one order.
pub fn total(lines: &[Line]) -> Result<Money, Refusal> {
    let first = lines.first().ok_or(Refusal::NoLines)?;
    if lines.len() > MAX_LINES {
        return Err(Refusal::TooManyLines);
    }
    let mut seen = BTreeSet::new();
    let mut total = Money {
        amount_minor: 0,
        currency: first.unit_price.currency,
    };
    for line in lines {
        if !seen.insert(&line.sku) {
            return Err(Refusal::DuplicateLine(line.sku.clone()));
        }
        if line.unit_price.amount_minor < 0 {
            return Err(Refusal::InvalidPrice(line.sku.clone()));
        }
        total = line
            .unit_price
            .checked_mul(line.quantity.get())
            .and_then(|price| total.checked_add(price))
            .map_err(|error| match error {
                money::ArithmeticError::CurrencyMismatch => Refusal::CurrencyMismatch,
                money::ArithmeticError::Overflow => Refusal::TotalOverflow,
            })?;
    }
    if total.amount_minor == 0 {
        return Err(Refusal::NothingToPay);
    }
    Ok(total)
}

fn decide_confirm(state: &State) -> Result<Vec<Event>, Refusal> {
    match state.status {
        None => Err(Refusal::NoSuchOrder),
        Some(Status::Pending) => Ok(vec![Event::Confirmed(Confirmed {})]),
        Some(status @ (Status::Confirmed | Status::Completed)) => Ok(repeat(status)),
        Some(Status::Cancelled) => Err(Refusal::Cancelled),
        Some(Status::Rejected) => Err(Refusal::Rejected),
    }
}

fn decide_complete(state: &State) -> Result<Vec<Event>, Refusal> {
    match state.status {
        None => Err(Refusal::NoSuchOrder),
        Some(Status::Pending) => Err(Refusal::NotConfirmed),
        Some(Status::Confirmed) => Ok(vec![Event::Completed(Completed {})]),
        Some(status @ Status::Completed) => Ok(repeat(status)),
        Some(Status::Cancelled) => Err(Refusal::Cancelled),
        Some(Status::Rejected) => Err(Refusal::Rejected),
    }
}

fn decide_reject(state: &State, reject: &Reject) -> Result<Vec<Event>, Refusal> {
    match state.status {
        Some(Status::Pending) => Ok(vec![Event::Rejected(Rejected {
            reason: reject.reason.clone(),
        })]),
        Some(status @ Status::Rejected) => Ok(repeat(status)),
        Some(Status::Confirmed | Status::Completed) => Err(Refusal::AlreadyConfirmed),
        // The client has ended the order: nothing is left for its saga to reject.
        Some(Status::Cancelled) | None => Err(Refusal::NothingToUndo),
    }
}

fn decide_cancel(state: &State, cancel: &Cancel) -> Result<Vec<Event>, Refusal> {
    if !text::is_plain(&cancel.reason, MAX_REASON_CHARS) {
        return Err(Refusal::InvalidReason);
    }
    match state.status {
        None => Err(Refusal::NoSuchOrder),
        Some(Status::Pending) => Ok(vec![Event::Cancelled(Cancelled {
            reason: cancel.reason.clone(),
        })]),
        // A client's command needs no durable answer, so no event says so again.
        Some(Status::Cancelled) => Ok(Vec::new()),
        Some(Status::Confirmed) => Err(Refusal::AlreadyConfirmed),
        Some(status @ (Status::Completed | Status::Rejected)) => {
            Err(Refusal::AlreadySettled(status))
        }
    }
}

fn repeat(status: Status) -> Vec<Event> {
    vec![Event::RepeatAnswered(RepeatAnswered { status })]
}

/// What an event makes of the state.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    let status = match event {
        Event::Placed(placed) => {
            return State {
                status: Some(Status::Pending),
                total: Some(placed.total),
            };
        }
        Event::Confirmed(_) => Status::Confirmed,
        Event::Completed(_) => Status::Completed,
        Event::Rejected(_) => Status::Rejected,
        Event::Cancelled(_) => Status::Cancelled,
        Event::RepeatAnswered(_) => return state,
    };
    State {
        status: Some(status),
        ..state
    }
}
