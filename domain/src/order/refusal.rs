//! Why an order's command is not obeyed.

use super::{MAX_LINES, MAX_REASON_CHARS, MAX_RETURNS, Status};
use crate::{NOTHING_TO_UNDO, Sku};

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
    /// There is no confirmed order to revoke.
    #[error("there is no confirmed order to revoke")]
    NothingToRevoke,
    /// What is returned, or about to be, is not undone besides.
    #[error("goods of the order are returned, or about to be")]
    HasReturns,
    /// There is nothing to return: not yet, or not any more.
    #[error("nothing of an order that is {0} can be returned")]
    NotReturnable(Status),
    /// More than was bought, less what is returned or about to be.
    #[error("{returnable} of {sku} can be returned and {wanted} are wanted")]
    OverReturned {
        /// Which product.
        sku: Sku,
        /// How many of it can go back still.
        returnable: u32,
        /// How many of it should.
        wanted: u32,
    },
    /// The product is on no line of the order.
    #[error("{0} is not on the order")]
    NotOrdered(Sku),
    /// There is nothing to return.
    #[error("a return has at least one line")]
    NoReturnLines,
    /// There is too much to return.
    #[error("a return has at most {MAX_LINES} lines")]
    TooManyReturnLines,
    /// Nothing was paid for it.
    #[error("nothing was paid for what should be returned")]
    NothingToRefund,
    /// There were too many returns.
    #[error("an order has at most {MAX_RETURNS} returns")]
    TooManyReturns,
    /// The same return, other content.
    #[error("the return exists with other lines or another reason")]
    ReturnDiffers,
    /// It was never requested.
    #[error("there is no such return")]
    NoSuchReturn,
    /// The return was given up.
    #[error("the return is rejected, or about to be")]
    ReturnRejected,
    /// The return is under way: its acceptance is withdrawn first.
    #[error("the return is accepted")]
    ReturnAccepted,
    /// The return is done.
    #[error("the return is closed")]
    ReturnClosed,
    /// The return is not accepted.
    #[error("the return is not accepted yet")]
    ReturnNotAccepted,
    /// There is no acceptance to withdraw.
    #[error("there is no accepted return to withdraw")]
    NothingToWithdraw,
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
            Self::NothingToUndo | Self::NothingToRevoke | Self::NothingToWithdraw => {
                NOTHING_TO_UNDO
            }
            Self::HasReturns => "order-has-returns",
            Self::NotReturnable(_)
            | Self::OverReturned { .. }
            | Self::NothingToRefund
            | Self::TooManyReturns => "not-returnable",
            Self::NotOrdered(_) => "not-ordered",
            Self::NoReturnLines => "no-lines",
            Self::TooManyReturnLines => "too-many-lines",
            Self::ReturnDiffers => "return-differs",
            Self::NoSuchReturn => "no-such-return",
            Self::ReturnRejected => "return-rejected",
            Self::ReturnAccepted => "return-accepted",
            Self::ReturnClosed => "return-closed",
            Self::ReturnNotAccepted => "return-not-accepted",
        }
    }

    /// That asking again cannot help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::NotConfirmed | Self::NoSuchOrder | Self::NoSuchReturn | Self::ReturnNotAccepted
        )
    }
}
