//! An order: placed, then confirmed and completed, or rejected or cancelled; and the returns of
//! what was bought.
//!
//! ```text
//! place ─▶ pending ─ confirm ─▶ confirmed ─ complete ─▶ completed ─ returns ─▶ partially_returned
//!             │                     └───────┬───────────────┘                  ─▶ returned
//!             │                             └─ revoke (an operator) ─▶ cancelled
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
mod refusal;
mod returns;
mod state;

use std::{collections::BTreeSet, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Money, money, text};

pub use command::{
    AcceptReturn, Cancel, CloseReturn, Command, Complete, Confirm, Line, PaymentMethod, Place,
    Reason, Reject, RejectReturn, RequestReturn, ReturnLine, Revoke, WithdrawReturn,
};
pub use event::{
    Cancelled, Completed, Confirmed, Event, Placed, Rejected, RepeatAnswered, ReturnClosed,
    ReturnMoved, ReturnRejected, ReturnRequested, Revoked,
};
pub use refusal::Refusal;
pub use state::{Return, ReturnStatus, State, evolve};

/// The most lines that an order may have.
pub const MAX_LINES: usize = 100;

/// The most characters that a reason in somebody's words may have.
pub const MAX_REASON_CHARS: usize = 500;

/// The most returns that an order may have, those included that came to nothing: each is kept.
pub const MAX_RETURNS: usize = 100;

/// The code of the reason of an order that an operator undid past its point of no return.
pub const REVERSED: &str = "reversed";

/// How an order stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(rename = "OrderStatus")]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-extensible" = true))]
pub enum Status {
    /// Placed; its saga is under way.
    Pending,
    /// Past the point of no return.
    Confirmed,
    /// Paid, and its goods are out.
    Completed,
    /// It could not be fulfilled; everything is undone.
    Rejected,
    /// Its client cancelled it, or an operator revoked it.
    Cancelled,
    /// Some of its goods are back.
    PartiallyReturned,
    /// All of its goods are back.
    Returned,
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
            Self::PartiallyReturned => "partially_returned",
            Self::Returned => "returned",
        }
    }

    /// That it is past its point of no return and was not undone since.
    #[must_use]
    pub const fn is_confirmed(self) -> bool {
        matches!(
            self,
            Self::Confirmed | Self::Completed | Self::PartiallyReturned | Self::Returned
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
        Command::Complete(complete) => decide_complete(state, complete),
        Command::Reject(reject) => decide_reject(state, reject),
        Command::Cancel(cancel) => decide_cancel(state, cancel),
        Command::Revoke(revoke) => decide_revoke(state, revoke),
        Command::RequestReturn(request) => returns::request(state, request),
        Command::AcceptReturn(accept) => returns::accept(state, accept.return_id),
        Command::WithdrawReturn(withdraw) => returns::withdraw(state, withdraw.return_id),
        Command::RejectReturn(reject) => returns::reject(state, reject),
        Command::CloseReturn(close) => returns::close(state, close.return_id),
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
        Some(Status::Cancelled) => Err(Refusal::Cancelled),
        Some(Status::Rejected) => Err(Refusal::Rejected),
        Some(status) => Ok(repeat(status)),
    }
}

fn decide_complete(state: &State, complete: &Complete) -> Result<Vec<Event>, Refusal> {
    match state.status {
        None => Err(Refusal::NoSuchOrder),
        Some(Status::Pending) => Err(Refusal::NotConfirmed),
        Some(Status::Confirmed) => Ok(vec![Event::Completed(Completed {
            undelivered: complete.undelivered.clone(),
        })]),
        Some(Status::Cancelled) => Err(Refusal::Cancelled),
        Some(Status::Rejected) => Err(Refusal::Rejected),
        Some(status) => Ok(repeat(status)),
    }
}

fn decide_reject(state: &State, reject: &Reject) -> Result<Vec<Event>, Refusal> {
    match state.status {
        Some(Status::Pending) => Ok(vec![Event::Rejected(Rejected {
            reason: reject.reason.clone(),
        })]),
        Some(status @ Status::Rejected) => Ok(repeat(status)),
        // The client or an operator has ended the order: nothing is left for its saga to reject.
        Some(Status::Cancelled) | None => Err(Refusal::NothingToUndo),
        Some(_) => Err(Refusal::AlreadyConfirmed),
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
        Some(status) => Err(Refusal::AlreadySettled(status)),
    }
}

/// Goods that are back, or on their way, were refunded: what is left to undo is the returns'
/// own, so a revocation and a return exclude each other, here in one stream.
fn decide_revoke(state: &State, revoke: &Revoke) -> Result<Vec<Event>, Refusal> {
    if !text::is_plain(&revoke.reason, MAX_REASON_CHARS) {
        return Err(Refusal::InvalidReason);
    }
    match state.status {
        Some(Status::Confirmed | Status::Completed) if !state.has_returns() => {
            Ok(vec![Event::Revoked(Revoked {
                reason: Reason {
                    code: REVERSED.to_owned(),
                    detail: revoke.reason.clone(),
                },
            })])
        }
        Some(status) if status.is_confirmed() => Err(Refusal::HasReturns),
        Some(status @ Status::Cancelled) if state.is_revoked => Ok(repeat(status)),
        // It was never confirmed, and now never will be by what is undone here.
        Some(_) | None => Err(Refusal::NothingToRevoke),
    }
}

fn repeat(status: Status) -> Vec<Event> {
    vec![Event::RepeatAnswered(RepeatAnswered { status })]
}
