//! The stock of one product: what is on hand, and what of it is held for orders.
//!
//! ```text
//! received ─▶ on hand ─ reserve ─▶ held ─ commit ─▶ out
//! adjusted ─▶    ▲                   │
//!                ├───── release ─────┘      │
//!                └────────── restock ───────┘
//!
//! 0 ≤ reserved = sum of open holds ≤ on hand = received + adjusted + restocked − committed
//! ```
//!
//! **What is remembered of holds.** Correctness needs the open ones alone. A delivery at or
//! below the stream's mark never gets here; a further attempt is sent only when the earlier one
//! can never take effect; a saga sends a hold's reserve, commit and release in this order into
//! one log. So a hold that has ended is not asked for again, and an undo that finds nothing
//! leaves nothing: no tombstone grows. The last [`MAX_ENDED_HOLDS`] ended holds are kept all the
//! same, so that whoever asks twice (an operator, a saga with a fault) gets the true answer,
//! *done already*, instead of *there is no such hold*.
//!
//! **Restocks** are keyed as holds are: by the line of the return that brings goods back, or by
//! the hold whose commit is undone, months later perhaps. Such a commit has long been forgotten,
//! so of a hold that is not known a restock is believed: it is asked only about what was
//! committed, for its saga's pivot comes after the reservation and a release after the reversal.
//! A hold that is known not to be committed has nothing to undo. That a key counts once for ever
//! is the same argument as for holds; `recourse verify` holds it against the whole log.
//!
//! A saga's command that finds its work done is answered by `stock.repeat-answered.v1`, which
//! changes nothing: every saga command needs an answer, and a second `stock.reserved.v1` would
//! be counted twice by whoever folds the events.

mod command;
mod event;
mod state;

pub use command::{Adjust, Command, Commit, Receive, Release, Reserve, Restock};
pub use event::{Adjusted, Event, Held, Received, RepeatAnswered};
pub use state::{HoldStatus, MAX_ENDED_HOLDS, State, evolve};

use crate::{HoldId, NOTHING_TO_UNDO, Quantity, Sku, text};

/// The most pieces that can be on hand: the largest whole number that every reader of JSON
/// keeps exactly.
pub const MAX_ON_HAND: u64 = (1 << 53) - 1;

/// The most characters that the reference of a receipt may have.
pub const MAX_REFERENCE_CHARS: usize = 128;

/// The most characters that the reason of an adjustment may have.
pub const MAX_REASON_CHARS: usize = 500;

/// Why a stock's command is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The command was sent to the stream of another product.
    #[error("this is the stock of {0}")]
    WrongSku(Sku),
    /// The reference cannot be shown.
    #[error("a reference is 1 to {MAX_REFERENCE_CHARS} visible characters")]
    InvalidReference,
    /// The same delivery note, another delivery.
    #[error("the reference was used for a receipt of {received} pieces")]
    ReferenceReused {
        /// How many came under it.
        received: u32,
    },
    /// More than can be counted.
    #[error("there cannot be more than {MAX_ON_HAND} pieces on hand")]
    QuantityOverflow,
    /// A correction by nothing.
    #[error("a count is corrected by more or less than zero")]
    InvalidDelta,
    /// The reason cannot be shown.
    #[error("a reason has 1 to {MAX_REASON_CHARS} characters and no control characters")]
    InvalidReason,
    /// What is held must be there.
    #[error("{on_hand} pieces are on hand and {reserved} of them reserved")]
    WouldBeNegative {
        /// How many are there.
        on_hand: u64,
        /// How many of them are promised.
        reserved: u64,
    },
    /// There are too few.
    #[error("{available} pieces are available and {wanted} are wanted")]
    OutOfStock {
        /// How many nobody holds.
        available: u64,
        /// How many should be held.
        wanted: u32,
    },
    /// The same hold, another quantity: not a repeated attempt.
    #[error("the hold exists with {held} pieces")]
    HoldDiffers {
        /// How many it holds.
        held: u32,
    },
    /// A hold is made once.
    #[error("the hold was released")]
    HoldReleased,
    /// There is no hold to release.
    #[error("there is no such hold to release")]
    NothingToUndo,
    /// The goods are out: bringing them back is a restock.
    #[error("what was held is committed")]
    AlreadyCommitted,
    /// There is no hold to commit.
    #[error("there is no such hold to commit")]
    NoSuchHold,
    /// What was committed is undone.
    #[error("what was committed is back")]
    Restocked,
    /// There is no commit to undo.
    #[error("what was held was never committed")]
    NothingToRestock,
}

impl Refusal {
    /// Stable, kebab-case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::WrongSku(_) => "wrong-sku",
            Self::InvalidReference => "invalid-reference",
            Self::ReferenceReused { .. } => "reference-reused",
            Self::QuantityOverflow => "quantity-overflow",
            Self::InvalidDelta => "invalid-delta",
            Self::InvalidReason => "invalid-reason",
            Self::WouldBeNegative { .. } => "stock-would-be-negative",
            Self::OutOfStock { .. } => "out-of-stock",
            Self::HoldDiffers { .. } => "hold-differs",
            Self::HoldReleased => "hold-released",
            Self::NothingToUndo | Self::NothingToRestock => NOTHING_TO_UNDO,
            Self::Restocked => "hold-restocked",
            Self::AlreadyCommitted => "already-committed",
            Self::NoSuchHold => "no-such-hold",
        }
    }

    /// That asking again cannot help: always, here. More stock may come, but an order does not
    /// wait for it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        true
    }
}

/// What happens; nothing where a receipt is counted already.
///
/// # Errors
/// [`Refusal`] where the command is not obeyed.
pub fn decide(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::Receive(receive) => decide_receive(state, receive),
        Command::Adjust(adjust) => decide_adjust(state, adjust),
        Command::Reserve(reserve) => decide_reserve(state, reserve),
        Command::Release(release) => decide_release(state, release.hold),
        Command::Commit(commit) => decide_commit(state, commit.hold),
        Command::Restock(restock) => decide_restock(state, restock),
    }
}

fn decide_receive(state: &State, receive: &Receive) -> Result<Vec<Event>, Refusal> {
    check_sku(state, &receive.sku)?;
    if !text::is_visible(&receive.reference, MAX_REFERENCE_CHARS) {
        return Err(Refusal::InvalidReference);
    }
    match state.receipt(&receive.reference) {
        Some(received) if received == receive.quantity => return Ok(Vec::new()),
        Some(received) => {
            return Err(Refusal::ReferenceReused {
                received: received.get(),
            });
        }
        None => {}
    }
    check_room(state, receive.quantity)?;
    Ok(vec![Event::Received(Received {
        sku: receive.sku.clone(),
        quantity: receive.quantity,
        reference: receive.reference.clone(),
    })])
}

fn decide_adjust(state: &State, adjust: &Adjust) -> Result<Vec<Event>, Refusal> {
    check_sku(state, &adjust.sku)?;
    if adjust.delta == 0 {
        return Err(Refusal::InvalidDelta);
    }
    if !text::is_plain(&adjust.reason, MAX_REASON_CHARS) {
        return Err(Refusal::InvalidReason);
    }
    let would_be = state.on_hand().checked_add_signed(adjust.delta);
    match would_be {
        None if adjust.delta > 0 => return Err(Refusal::QuantityOverflow),
        Some(on_hand) if on_hand > MAX_ON_HAND => return Err(Refusal::QuantityOverflow),
        Some(on_hand) if on_hand >= state.reserved() => {}
        None | Some(_) => {
            return Err(Refusal::WouldBeNegative {
                on_hand: state.on_hand(),
                reserved: state.reserved(),
            });
        }
    }
    Ok(vec![Event::Adjusted(Adjusted {
        sku: adjust.sku.clone(),
        delta: adjust.delta,
        reason: adjust.reason.clone(),
    })])
}

fn decide_reserve(state: &State, reserve: &Reserve) -> Result<Vec<Event>, Refusal> {
    check_sku(state, &reserve.sku)?;
    match state.hold_status(reserve.hold) {
        Some(HoldStatus::Held(held)) if held == reserve.quantity => {
            return Ok(repeat(reserve.hold, HoldStatus::Held(held)));
        }
        Some(HoldStatus::Held(held)) => {
            return Err(Refusal::HoldDiffers { held: held.get() });
        }
        Some(HoldStatus::Committed) => return Ok(repeat(reserve.hold, HoldStatus::Committed)),
        Some(HoldStatus::Released) => return Err(Refusal::HoldReleased),
        Some(HoldStatus::Restocked) => return Err(Refusal::Restocked),
        None => {}
    }
    let wanted = reserve.quantity.get();
    if state.available() < u64::from(wanted) {
        return Err(Refusal::OutOfStock {
            available: state.available(),
            wanted,
        });
    }
    Ok(vec![Event::Reserved(Held {
        hold: reserve.hold,
        sku: reserve.sku.clone(),
        quantity: reserve.quantity,
    })])
}

fn decide_release(state: &State, hold: HoldId) -> Result<Vec<Event>, Refusal> {
    match state.hold_status(hold) {
        Some(HoldStatus::Held(quantity)) => Ok(vec![Event::Released(held(state, hold, quantity)?)]),
        // Undone already, the commit included where there was one.
        Some(status @ (HoldStatus::Released | HoldStatus::Restocked)) => Ok(repeat(hold, status)),
        Some(HoldStatus::Committed) => Err(Refusal::AlreadyCommitted),
        None => Err(Refusal::NothingToUndo),
    }
}

fn decide_commit(state: &State, hold: HoldId) -> Result<Vec<Event>, Refusal> {
    match state.hold_status(hold) {
        Some(HoldStatus::Held(quantity)) => {
            Ok(vec![Event::Committed(held(state, hold, quantity)?)])
        }
        Some(HoldStatus::Committed) => Ok(repeat(hold, HoldStatus::Committed)),
        Some(HoldStatus::Restocked) => Err(Refusal::Restocked),
        Some(HoldStatus::Released) | None => Err(Refusal::NoSuchHold),
    }
}

fn decide_restock(state: &State, restock: &Restock) -> Result<Vec<Event>, Refusal> {
    check_sku(state, &restock.sku)?;
    match state.hold_status(restock.hold) {
        Some(status @ HoldStatus::Restocked) => return Ok(repeat(restock.hold, status)),
        Some(HoldStatus::Held(_) | HoldStatus::Released) => return Err(Refusal::NothingToRestock),
        Some(HoldStatus::Committed) | None => {}
    }
    if let Some(held) = state.ended_quantity(restock.hold)
        && held != restock.quantity
    {
        return Err(Refusal::HoldDiffers { held: held.get() });
    }
    check_room(state, restock.quantity)?;
    Ok(vec![Event::Restocked(Held {
        hold: restock.hold,
        sku: restock.sku.clone(),
        quantity: restock.quantity,
    })])
}

fn check_room(state: &State, more: Quantity) -> Result<(), Refusal> {
    state
        .on_hand()
        .checked_add(u64::from(more.get()))
        .filter(|on_hand| *on_hand <= MAX_ON_HAND)
        .map(|_| ())
        .ok_or(Refusal::QuantityOverflow)
}

fn held(state: &State, hold: HoldId, quantity: Quantity) -> Result<Held, Refusal> {
    // What holds something has a product: the event that made the hold named it.
    let sku = state.sku().cloned().ok_or(Refusal::NoSuchHold)?;
    Ok(Held {
        hold,
        sku,
        quantity,
    })
}

fn repeat(hold: HoldId, status: HoldStatus) -> Vec<Event> {
    vec![Event::RepeatAnswered(RepeatAnswered { hold, status })]
}

fn check_sku(state: &State, sku: &Sku) -> Result<(), Refusal> {
    match state.sku() {
        Some(known) if known != sku => Err(Refusal::WrongSku(known.clone())),
        _ => Ok(()),
    }
}
