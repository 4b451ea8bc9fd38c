//! The returns of an order, as its row keeps them and as they are shown.

use chrono::{DateTime, Utc};
use recourse_domain::{
    Money, ReturnId, Sku,
    order::{Event, Line, Reason, ReturnLine, ReturnStatus},
};
use recourse_event_store::RecordedEvent;
use recourse_saga::saga_id;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The definition of the saga that a return starts.
const SAGA: &str = "return";

/// A return of some of an order's goods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrderReturn")]
pub(super) struct Return {
    /// The return.
    return_id: ReturnId,
    /// How it stands.
    status: ReturnStatus,
    /// What goes back.
    lines: Vec<ReturnLine>,
    /// What these cost when they were ordered.
    refund: Money,
    /// Why, in the client's words.
    reason: String,
    /// When it was asked for.
    requested_at: DateTime<Utc>,
    /// The saga that carries it out.
    saga_id: Uuid,
    /// Why it came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejection: Option<Reason>,
}

/// A line of an order, and how much of it is back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "OrderShownLine")]
pub(super) struct ShownLine {
    #[serde(flatten)]
    line: Line,
    /// How many of it are back; absent where none are.
    #[serde(skip_serializing_if = "is_zero")]
    returned: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Takes in an event of the order's stream.
pub(super) fn take(
    returns: &mut Vec<Return>,
    happened: &Event,
    event: &RecordedEvent,
    at: DateTime<Utc>,
) {
    let mut moved = |id: ReturnId, status: ReturnStatus, rejection: Option<&Reason>| {
        if let Some(its) = returns.iter_mut().find(|its| its.return_id == id) {
            its.status = status;
            its.rejection = rejection.cloned();
        }
    };
    match happened {
        Event::ReturnRequested(requested) => returns.push(Return {
            return_id: requested.return_id,
            status: ReturnStatus::Requested,
            lines: requested.lines.clone(),
            refund: requested.refund,
            reason: requested.reason.clone(),
            requested_at: at,
            saga_id: saga_id(SAGA, event.event.id),
            rejection: None,
        }),
        Event::ReturnAccepted(its) => moved(its.return_id, ReturnStatus::Accepted, None),
        Event::ReturnWithdrawn(its) => moved(its.return_id, ReturnStatus::Withdrawn, None),
        Event::ReturnRejected(its) => {
            moved(its.return_id, ReturnStatus::Rejected, Some(&its.reason));
        }
        Event::ReturnClosed(its) => moved(its.return_id, ReturnStatus::Closed, None),
        _ => {}
    }
}

/// The lines, each with what of it is back.
pub(super) fn show(lines: Vec<Line>, returns: &[Return]) -> Vec<ShownLine> {
    let returned = |sku: &Sku| {
        returns
            .iter()
            .filter(|its| its.status == ReturnStatus::Closed)
            .flat_map(|its| &its.lines)
            .filter(|line| line.sku == *sku)
            .map(|line| line.quantity.get())
            .fold(0, u32::saturating_add)
    };
    lines
        .into_iter()
        .map(|line| ShownLine {
            returned: returned(&line.sku),
            line,
        })
        .collect()
}
