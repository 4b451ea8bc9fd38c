//! An order as it stands.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Line, Placed, ReturnLine, Status};
use crate::{Money, OrderId, PaymentId, ReturnId, Sku};

/// An order as it stands: no more than its rules and the answers to its client need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    pub(super) status: Option<Status>,
    pub(super) is_revoked: bool,
    terms: Option<Arc<Terms>>,
    /// The products of which no piece went out, though it is completed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    undelivered: Vec<Sku>,
    /// Shared until they change: nearly every order has none.
    returns: Option<Arc<BTreeMap<ReturnId, Return>>>,
}

/// What was agreed when it was placed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) order_id: OrderId,
    pub(super) payment_id: PaymentId,
    pub(super) total: Money,
    pub(super) lines: Vec<Line>,
}

/// A return of some of its goods.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Return {
    /// What goes back.
    pub lines: Vec<ReturnLine>,
    /// What these cost when they were ordered.
    pub refund: Money,
    /// In the client's words.
    pub reason: String,
    /// How it stands.
    pub status: ReturnStatus,
}

/// How a return stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(rename = "OrderReturnStatus")]
#[serde(rename_all = "snake_case")]
pub enum ReturnStatus {
    /// Asked for; its saga is under way.
    Requested,
    /// It is good: its refund may be made.
    Accepted,
    /// It was accepted and is about to be rejected.
    Withdrawn,
    /// It came to nothing.
    Rejected,
    /// It is refunded and its goods are back.
    Closed,
}

impl ReturnStatus {
    /// As the API shows it: `accepted`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Accepted => "accepted",
            Self::Withdrawn => "withdrawn",
            Self::Rejected => "rejected",
            Self::Closed => "closed",
        }
    }
}

impl State {
    /// How it stands; `None` where it was never placed.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        self.status
    }

    /// The sum of its lines; `None` where it was never placed.
    #[must_use]
    pub fn total(&self) -> Option<Money> {
        self.terms.as_ref().map(|terms| terms.total)
    }

    /// What was ordered, at which price; nothing where it was never placed.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        self.terms.as_ref().map_or(&[], |terms| &terms.lines)
    }

    /// The products of which no piece went out though it is completed, because an operator gave
    /// that up.
    #[must_use]
    pub fn undelivered(&self) -> &[Sku] {
        &self.undelivered
    }

    /// One of its returns.
    #[must_use]
    pub fn get_return(&self, id: ReturnId) -> Option<&Return> {
        self.returns.as_ref()?.get(&id)
    }

    /// Its returns, in the order of their ids, those included that came to nothing.
    pub fn returns(&self) -> impl Iterator<Item = (ReturnId, &Return)> {
        self.returns
            .iter()
            .flat_map(|returns| returns.iter())
            .map(|(id, its)| (*id, its))
    }

    /// How many of a product are back.
    #[must_use]
    pub fn returned(&self, sku: &Sku) -> u32 {
        self.pieces(sku, |status| status == ReturnStatus::Closed)
    }

    /// How many of a product are back or in a return that may still succeed.
    pub(super) fn returned_or_open(&self, sku: &Sku) -> u32 {
        self.pieces(sku, |status| status != ReturnStatus::Rejected)
    }

    fn pieces(&self, sku: &Sku, counts: impl Fn(ReturnStatus) -> bool) -> u32 {
        self.returns()
            .filter(|(_, its)| counts(its.status))
            .flat_map(|(_, its)| &its.lines)
            .filter(|line| line.sku == *sku)
            .map(|line| line.quantity.get())
            // Never more than were bought, by the rules.
            .fold(0, u32::saturating_add)
    }

    /// That some return is closed or may still be.
    pub(super) fn has_returns(&self) -> bool {
        self.returns()
            .any(|(_, its)| its.status != ReturnStatus::Rejected)
    }

    pub(super) fn terms(&self) -> Option<&Terms> {
        self.terms.as_deref()
    }

    fn place(&mut self, placed: &Placed) {
        self.status = Some(Status::Pending);
        self.terms = Some(Arc::new(Terms {
            order_id: placed.order_id,
            payment_id: placed.payment_id,
            total: placed.total,
            lines: placed.lines.clone(),
        }));
    }

    fn move_return(&mut self, id: ReturnId, status: ReturnStatus) {
        let returns = Arc::make_mut(self.returns.get_or_insert_default());
        if let Some(its) = returns.get_mut(&id) {
            its.status = status;
        }
    }
}

/// What an event makes of the state.
#[must_use]
pub fn evolve(mut state: State, event: &Event) -> State {
    match event {
        Event::Placed(placed) => state.place(placed),
        Event::Confirmed(_) => state.status = Some(Status::Confirmed),
        Event::Completed(completed) => {
            state.status = Some(Status::Completed);
            state.undelivered.clone_from(&completed.undelivered);
        }
        Event::Rejected(_) => state.status = Some(Status::Rejected),
        Event::Cancelled(_) => state.status = Some(Status::Cancelled),
        Event::Revoked(_) => {
            state.status = Some(Status::Cancelled);
            state.is_revoked = true;
        }
        Event::ReturnRequested(requested) => {
            Arc::make_mut(state.returns.get_or_insert_default()).insert(
                requested.return_id,
                Return {
                    lines: requested.lines.clone(),
                    refund: requested.refund,
                    reason: requested.reason.clone(),
                    status: ReturnStatus::Requested,
                },
            );
        }
        Event::ReturnAccepted(its) => state.move_return(its.return_id, ReturnStatus::Accepted),
        Event::ReturnWithdrawn(its) => state.move_return(its.return_id, ReturnStatus::Withdrawn),
        Event::ReturnRejected(its) => state.move_return(its.return_id, ReturnStatus::Rejected),
        Event::ReturnClosed(its) => {
            state.move_return(its.return_id, ReturnStatus::Closed);
            state.status = Some(its.status);
        }
        Event::RepeatAnswered(_) => {}
    }
    state
}
