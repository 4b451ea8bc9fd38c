//! A payment: authorized, then captured or voided, and what is captured refunded, through a
//! provider that may not answer.
//!
//! ```text
//! command ─▶ …-requested (an intent, with its key) ─▶ the provider is called ─▶ outcome
//!              ▲ a further command joins                  ▲     │ unknown: the same
//!              └ operation-joined                         └─────┘ request, the same key
//! ```
//!
//! Each operation is recorded as an *intent* before the provider is called, and ends by an
//! *outcome*: applied or refused. Not knowing is progress, never an outcome. The idempotency key
//! is UUIDv5(payment, operation, ordinal) and the ordinal counts definite refusals, so a call is
//! repeated under its key until the provider is definite, and only then asked anew.
//!
//! A void that finds the authorization still open waits for its outcome, and so does a refund
//! that finds the capture open: an unknown is settled before it is undone. [`State::calls`] says
//! which calls are due now.
//!
//! Past the life of its key a request is *given up*: nobody asks any more. What came of it an
//! operator finds out at the provider and says so (`payment.settle`), which is its outcome then.
//!
//! There may be several refunds, and several open at once. Each is an operation of its own, known
//! by its id; together, open ones counted, they are never more than what is captured.
//!
//! Settled means that nothing is open: then authorized = captured + voided, or the payment is
//! still authorized and its saga goes on (or needs attention); and 0 ≤ refunded ≤ captured.
//!
//! A saga's command that finds its work done is answered by `payment.repeat-answered.v1`, which
//! changes nothing.

mod command;
mod event;
mod refund;
mod state;

pub use command::{
    Authorize, Capture, Command, Operation, Outcome, RecordOutcome, Refund, Settle, Void,
};
pub use event::{
    Applied, AuthorizationRequested, Declined, Event, Joined, RefundRefused, RefundRequested,
    Refunded, RepeatAnswered, Requested, Unknown,
};
pub use state::{ProviderCall, State, Status, evolve};

use state::Progress;

use crate::{Money, NOTHING_TO_UNDO};

/// The code of an operation that did not take effect, as an operator found out.
pub const SETTLED_BY_OPERATOR: &str = "settled-by-operator";

/// Why a payment's command is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no payment of nothing.
    #[error("the amount is not positive")]
    NothingToPay,
    /// The payment is for another order or of another amount.
    #[error("the payment exists with another order or amount")]
    PaymentDiffers,
    /// The money is not reserved.
    #[error("the payment is not authorized")]
    NotAuthorized,
    /// The reserved money is let go, or about to be.
    #[error("the payment is voided, or about to be")]
    Voided,
    /// The money is taken.
    #[error("the payment is captured")]
    Captured,
    /// The money may be taken at any moment.
    #[error("the payment is being captured")]
    CaptureOpen,
    /// The provider has said no and would say it again.
    #[error("{}", .0.detail)]
    Declined(Declined),
    /// No money was reserved.
    #[error("no money is reserved")]
    NothingToUndo,
    /// No money was taken that is not given back.
    #[error("no money is taken that could be given back")]
    NothingToRefund,
    /// The money is not taken.
    #[error("the payment is not captured")]
    NotCaptured,
    /// More than was taken, less what is given back or about to be.
    #[error("{refundable} can be refunded and {wanted} are wanted")]
    RefundTooLarge {
        /// How much can be given back still.
        refundable: Money,
        /// How much should.
        wanted: Money,
        /// That another refund is under way, after whose refusal more can be.
        may_grow: bool,
    },
    /// The same refund, another amount: not a repeated attempt.
    #[error("the refund exists with {0}")]
    RefundDiffers(Money),
    /// What the rest is depends on a refund that is under way.
    #[error("another refund is under way")]
    RefundOpen,
    /// The provider was never asked.
    #[error("the provider was never asked for it")]
    NothingToSettle,
}

impl Refusal {
    /// Stable, kebab-case: ours, or the provider's where it refused.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::NothingToPay => "nothing-to-pay",
            Self::PaymentDiffers => "payment-differs",
            Self::NotAuthorized => "payment-not-authorized",
            Self::Voided => "payment-voided",
            Self::Captured | Self::CaptureOpen => "payment-captured",
            Self::Declined(declined) => &declined.code,
            Self::NothingToUndo | Self::NothingToRefund => NOTHING_TO_UNDO,
            Self::NotCaptured => "payment-not-captured",
            Self::RefundTooLarge { .. } => "refund-too-large",
            Self::RefundDiffers(_) => "refund-differs",
            Self::RefundOpen => "refund-open",
            Self::NothingToSettle => "nothing-to-settle",
        }
    }

    /// That asking again cannot help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Declined(Declined {
                is_final: false,
                ..
            }) | Self::NotAuthorized
                | Self::CaptureOpen
                | Self::NotCaptured
                | Self::RefundOpen
                | Self::RefundTooLarge { may_grow: true, .. }
        )
    }
}

impl From<Refusal> for Declined {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code().to_owned(),
            detail: refusal.to_string(),
            is_final: refusal.is_final(),
        }
    }
}

/// What happens; nothing where an outcome is of no open intent, or is unknown once more.
///
/// # Errors
/// [`Refusal`] where the command is not obeyed.
pub fn decide(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::Authorize(authorize) => decide_authorize(state, authorize),
        Command::Capture(_) => decide_capture(state),
        Command::Void(_) => decide_void(state),
        Command::Refund(refund) => refund::decide(state, refund),
        Command::RecordOutcome(record) => Ok(decide_outcome(state, record)),
        Command::Settle(settle) => decide_settle(state, settle),
    }
}

fn decide_authorize(state: &State, authorize: &Authorize) -> Result<Vec<Event>, Refusal> {
    if authorize.amount.amount_minor <= 0 {
        return Err(Refusal::NothingToPay);
    }
    if state.is_of_another(authorize) {
        return Err(Refusal::PaymentDiffers);
    }
    // A void that was asked for means that nobody wants the money any more.
    if state.void().is_open() || state.void().is_applied() {
        return Err(Refusal::Voided);
    }
    match &state.authorization().progress {
        Progress::Open { .. } => Ok(join(Operation::Authorize)),
        Progress::Applied { .. } => Ok(repeat(Operation::Authorize)),
        Progress::Refused(declined) if declined.is_final => {
            Err(Refusal::Declined(declined.clone()))
        }
        Progress::NotAsked | Progress::Refused(_) => {
            let ordinal = state.authorization().refusals;
            Ok(vec![Event::AuthorizationRequested(
                AuthorizationRequested {
                    payment_id: authorize.payment_id,
                    order_id: authorize.order_id,
                    amount: authorize.amount,
                    token: authorize.token.clone(),
                    key: authorize.payment_id.key(Operation::Authorize, ordinal),
                    ordinal,
                },
            )])
        }
    }
}

fn decide_capture(state: &State) -> Result<Vec<Event>, Refusal> {
    if state.void().is_open() || state.void().is_applied() {
        return Err(Refusal::Voided);
    }
    if !state.authorization().is_applied() {
        return Err(Refusal::NotAuthorized);
    }
    match &state.capture().progress {
        Progress::Open { .. } => Ok(join(Operation::Capture)),
        Progress::Applied { .. } => Ok(repeat(Operation::Capture)),
        Progress::Refused(declined) if declined.is_final => {
            Err(Refusal::Declined(declined.clone()))
        }
        Progress::NotAsked | Progress::Refused(_) => {
            let requested = state
                .request(Operation::Capture)
                .ok_or(Refusal::NotAuthorized)?;
            Ok(vec![Event::CaptureRequested(requested)])
        }
    }
}

fn decide_void(state: &State) -> Result<Vec<Event>, Refusal> {
    match &state.authorization().progress {
        Progress::NotAsked | Progress::Refused(_) => return Err(Refusal::NothingToUndo),
        // Open: recorded now, and due once the outcome of the authorization is known.
        Progress::Open { .. } | Progress::Applied { .. } => {}
    }
    if state.capture().is_applied() {
        return Err(if state.status() == Some(Status::Refunded) {
            // Taken, and given back: nothing is left to let go.
            Refusal::NothingToUndo
        } else {
            Refusal::Captured
        });
    }
    if state.capture().is_open() {
        return Err(Refusal::CaptureOpen);
    }
    match &state.void().progress {
        Progress::Open { .. } => Ok(join(Operation::Void)),
        Progress::Applied { .. } => Ok(repeat(Operation::Void)),
        Progress::Refused(declined) if declined.is_final => {
            Err(Refusal::Declined(declined.clone()))
        }
        Progress::NotAsked | Progress::Refused(_) => {
            let requested = state
                .request(Operation::Void)
                .ok_or(Refusal::NothingToUndo)?;
            Ok(vec![Event::VoidRequested(requested)])
        }
    }
}

fn decide_outcome(state: &State, record: &RecordOutcome) -> Vec<Event> {
    // No call is due under this key: the answer is late, and its operation already has one.
    let Some(call) = state
        .calls()
        .find(|call| call.operation == record.operation && call.key == record.key)
    else {
        return Vec::new();
    };
    match &record.outcome {
        Outcome::Applied { reference } => {
            vec![applied(record.operation, call.amount, reference.clone())]
        }
        Outcome::Refused {
            code,
            detail,
            is_final,
        } => {
            let declined = Declined {
                code: code.clone(),
                detail: detail.clone(),
                is_final: *is_final,
            };
            declined_by(state, record.operation, declined)
        }
        Outcome::Unknown { .. } if call.is_unknown => Vec::new(),
        Outcome::Unknown { detail } | Outcome::GivenUp { detail } => {
            vec![Event::Unknown(Unknown {
                operation: record.operation,
                detail: detail.clone(),
                given_up: matches!(record.outcome, Outcome::GivenUp { .. }),
            })]
        }
    }
}

/// What an operator says came of an operation counts where the provider is asked no more.
fn decide_settle(state: &State, settle: &Settle) -> Result<Vec<Event>, Refusal> {
    let operation = settle.operation;
    let (Some(step), Some(amount)) = (state.step(operation), state.amount_of(operation)) else {
        return Err(Refusal::NothingToSettle);
    };
    match &step.progress {
        Progress::NotAsked => Err(Refusal::NothingToSettle),
        Progress::Applied { .. } => Ok(repeat(operation)),
        Progress::Refused(declined) => Err(Refusal::Declined(declined.clone())),
        Progress::Open {
            is_given_up: false, ..
        } => Ok(join(operation)),
        Progress::Open { key, .. } if settle.took_effect => {
            // The provider finds it by our key too.
            let reference = settle.reference.clone();
            let reference = reference.unwrap_or_else(|| key.to_string());
            Ok(vec![applied(operation, amount, reference)])
        }
        Progress::Open { .. } => {
            let declined = Declined {
                code: SETTLED_BY_OPERATOR.to_owned(),
                detail: settle.reason.clone(),
                is_final: true,
            };
            Ok(declined_by(state, operation, declined))
        }
    }
}

fn applied(operation: Operation, amount: Money, reference: String) -> Event {
    let applied = Applied { amount, reference };
    match operation {
        Operation::Authorize => Event::Authorized(applied),
        Operation::Capture => Event::Captured(applied),
        Operation::Void => Event::Voided(applied),
        Operation::Refund(refund) => Event::Refunded(Refunded {
            refund,
            amount: applied.amount,
            reference: applied.reference,
        }),
    }
}

/// A refused operation, and with it the end of what waited for it.
fn declined_by(state: &State, operation: Operation, declined: Declined) -> Vec<Event> {
    match operation {
        Operation::Authorize => decline(state, declined),
        Operation::Capture => refund::capture_refused(state, declined),
        Operation::Void => vec![Event::VoidRefused(declined)],
        Operation::Refund(refund) => {
            vec![Event::RefundRefused(RefundRefused { refund, declined })]
        }
    }
}

/// A declined authorization, and with it the end of the void that waited for it.
fn decline(state: &State, declined: Declined) -> Vec<Event> {
    let mut events = vec![Event::Declined(declined)];
    if state.void().is_open() {
        events.push(Event::VoidRefused(Refusal::NothingToUndo.into()));
    }
    events
}

fn join(operation: Operation) -> Vec<Event> {
    vec![Event::Joined(Joined { operation })]
}

fn repeat(operation: Operation) -> Vec<Event> {
    vec![Event::RepeatAnswered(RepeatAnswered { operation })]
}
