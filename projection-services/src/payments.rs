//! One payment: `GET /v1/payments/{id}`.
//!
//! ```text
//! payment-<id>, durable ─▶ fold ─▶ what was asked of the provider, and what became of it
//! ```
//!
//! No view: a payment's stream is short, so it is folded when somebody asks, and filling rows
//! that hardly anybody reads costs the orders nothing. See decision 0025.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use recourse_domain::{
    Money, OrderId, PaymentId, RefundId,
    payment::{self, Declined, Event, Operation, Status},
};
use recourse_event_store::{
    Direction, EventStore, Position, RecordedEvent, StreamName, Visibility,
};
use recourse_service::{
    Problem,
    contract::{Operation as Declared, Routes},
    errors,
    http::{self, Id},
};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    events,
    view::{Answer, Asked, shows},
};

/// How many events are read at once.
const READ_EVENTS: usize = 256;

/// A payment, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "PaymentDetails")]
struct Payment {
    payment_id: PaymentId,
    order_id: OrderId,
    status: Status,
    amount: Money,
    /// Reserved with the provider, ever.
    authorized: Money,
    captured: Money,
    voided: Money,
    refunded: Money,
    /// What was asked of the provider, oldest first.
    operations: Vec<Asking>,
}

/// One operation that the provider was asked for, under one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Asking {
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_id: Option<RefundId>,
    status: Outcome,
    amount: Money,
    requested_at: DateTime<Utc>,
    /// When its outcome was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime<Utc>>,
    /// The provider's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Refusal>,
    #[serde(skip)]
    what: Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// The provider is being asked.
    Requested,
    /// It did not answer, and is asked again under the same key.
    Unknown,
    Applied,
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Refusal {
    code: String,
    detail: String,
}

impl Payment {
    fn requested(requested: &payment::AuthorizationRequested) -> Self {
        let nothing = Money {
            amount_minor: 0,
            ..requested.amount
        };
        Self {
            payment_id: requested.payment_id,
            order_id: requested.order_id,
            status: Status::Requested,
            amount: requested.amount,
            authorized: nothing,
            captured: nothing,
            voided: nothing,
            refunded: nothing,
            operations: Vec::new(),
        }
    }

    /// None where an amount leaves its range or its currency.
    fn take(&mut self, event: &Event, at: DateTime<Utc>) -> Option<()> {
        let add = |sum: &mut Money, amount: Money| {
            *sum = sum.checked_add(amount).ok()?;
            Some(())
        };
        match event {
            Event::AuthorizationRequested(_)
            | Event::CaptureRequested(_)
            | Event::VoidRequested(_)
            | Event::RefundRequested(_) => self.ask(event, at),
            Event::Authorized(done) => {
                add(&mut self.authorized, done.amount)?;
                self.end(Operation::Authorize, at, Ok(&done.reference));
            }
            Event::Captured(done) => {
                add(&mut self.captured, done.amount)?;
                self.end(Operation::Capture, at, Ok(&done.reference));
            }
            Event::Voided(done) => {
                add(&mut self.voided, done.amount)?;
                self.end(Operation::Void, at, Ok(&done.reference));
            }
            Event::Refunded(done) => {
                add(&mut self.refunded, done.amount)?;
                self.end(Operation::Refund(done.refund), at, Ok(&done.reference));
            }
            Event::Declined(_)
            | Event::CaptureRefused(_)
            | Event::VoidRefused(_)
            | Event::RefundRefused(_) => {
                if let Some((operation, Some(declined))) = event.outcome() {
                    self.end(operation, at, Err(declined));
                }
            }
            Event::Unknown(unknown) => {
                if let Some(asking) = self.open(unknown.operation) {
                    asking.status = Outcome::Unknown;
                }
            }
            Event::Joined(_) | Event::RepeatAnswered(_) => {}
        }
        Some(())
    }

    fn ask(&mut self, event: &Event, at: DateTime<Utc>) {
        let Some(what) = event.intent() else { return };
        let (operation, refund_id) = match what {
            Operation::Authorize => ("authorize", None),
            Operation::Capture => ("capture", None),
            Operation::Void => ("void", None),
            Operation::Refund(refund) => ("refund", Some(refund)),
        };
        let amount = match event {
            Event::RefundRequested(requested) => requested.amount,
            _ => self.amount,
        };
        self.operations.push(Asking {
            operation,
            refund_id,
            status: Outcome::Requested,
            amount,
            requested_at: at,
            ended_at: None,
            reference: None,
            reason: None,
            what,
        });
    }

    /// The operation that is under way.
    fn open(&mut self, what: Operation) -> Option<&mut Asking> {
        let mut operations = self.operations.iter_mut().rev();
        operations.find(|asking| asking.what == what && asking.ended_at.is_none())
    }

    fn end(&mut self, what: Operation, at: DateTime<Utc>, outcome: Result<&String, &Declined>) {
        let Some(asking) = self.open(what) else {
            return;
        };
        asking.ended_at = Some(at);
        match outcome {
            Ok(reference) => {
                asking.status = Outcome::Applied;
                asking.reference = Some(reference.clone());
            }
            Err(declined) => {
                asking.status = Outcome::Refused;
                asking.reason = Some(Refusal {
                    code: declined.code.clone(),
                    detail: declined.detail.clone(),
                });
            }
        }
    }
}

/// The fold of a payment's stream; none where nothing was ever asked of the provider.
fn fold(events: &[Arc<RecordedEvent>]) -> Result<Option<Payment>, recourse_views::ProjectionError> {
    let mut shown: Option<Payment> = None;
    // How it stands the rules say, not what is counted here.
    let mut state = payment::State::default();
    for event in events {
        if events::is_answer_only(event) {
            continue;
        }
        let at = events::recorded_at(event)?;
        let happened = event.decode::<Event>()?;
        state = payment::evolve(state, &happened);
        let payment = match (&mut shown, &*happened) {
            (Some(payment), _) => payment,
            (none, Event::AuthorizationRequested(requested)) => {
                none.insert(Payment::requested(requested))
            }
            (None, _) => return Err(events::out_of_place("nothing was requested before")),
        };
        payment
            .take(&happened, at)
            .ok_or_else(|| events::out_of_place("more than can be counted"))?;
    }
    let status = state.status().unwrap_or(Status::Requested);
    Ok(shown.map(|payment| Payment { status, ..payment }))
}

struct Service {
    store: Arc<dyn EventStore>,
    default_wait: Duration,
}

pub(crate) fn routes(store: Arc<dyn EventStore>, default_wait: Duration) -> Routes {
    let showing = Declared::new("getPayment", "Show a payment")
        .tag("payments")
        .answer(shows::<Payment>("The payment", PAYMENT))
        .fails(errors::QUERY);
    Routes::new()
        .get("/v1/payments/{id}", one, showing)
        .with_state(Arc::new(Service {
            store,
            default_wait,
        }))
}

const PAYMENT: &str = r#"{
    "payment_id": "9d3f0e1a-2b4c-5d6e-8f70-1a2b3c4d5e6f",
    "order_id": "0b9c6f3e-7a52-5d7e-8a35-5f0c1c5a4e21",
    "status": "authorized",
    "amount": {"amount_minor": 3998, "currency": "EUR"},
    "authorized": {"amount_minor": 3998, "currency": "EUR"},
    "captured": {"amount_minor": 0, "currency": "EUR"},
    "voided": {"amount_minor": 0, "currency": "EUR"},
    "refunded": {"amount_minor": 0, "currency": "EUR"},
    "operations": [{
        "operation": "authorize", "status": "applied",
        "amount": {"amount_minor": 3998, "currency": "EUR"},
        "requested_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:00.100Z",
        "reference": "sim_1"
    }]
}"#;

async fn one(
    State(service): State<Arc<Service>>,
    Id(id): Id<Uuid>,
    asked: Asked,
) -> Result<Response, Problem> {
    if let Some(position) = asked.min_position.resolve(&*service.store).await? {
        service.reach(position, &asked).await?;
    }
    let mut answer = service.answer(&asked);
    let mut payment = service.load(id).await?;
    if payment.is_none() {
        // What was written before the question is found.
        let head = service.store.appended().await?;
        service.reach(head, &asked).await?;
        answer = service.answer(&asked);
        payment = service.load(id).await?;
    }
    let payment = payment.ok_or_else(|| Problem::new(errors::NOT_FOUND))?;
    Ok(answer
        .complete(Json(payment).into_response())
        .into_response())
}

impl Service {
    /// What an answer that is read from now on carries.
    fn answer(&self, asked: &Asked) -> Answer {
        Answer::at(self.store.durable(), self.store.log_id(), asked)
    }

    /// Waits until the log is durable so far: nothing else is shown.
    async fn reach(&self, position: Position, asked: &Asked) -> Result<(), Problem> {
        let wait = asked.prefer.wait.unwrap_or(self.default_wait);
        let durable = self.store.wait_durable(position);
        match http::wait(wait, asked.context.draining(), durable).await {
            Some(reached) => Ok(reached?),
            None => Err(Problem::new(errors::VIEW_BEHIND)),
        }
    }

    async fn load(&self, id: Uuid) -> Result<Option<Payment>, Problem> {
        let stream = StreamName::new("payment", id);
        let mut events = Vec::new();
        let mut from = Some(0);
        while let Some(revision) = from {
            let read = self
                .store
                .read_stream(
                    &stream,
                    Some(revision),
                    Direction::Forward,
                    Visibility::Durable,
                    READ_EVENTS,
                )
                .await?;
            let is_full = read.len() == READ_EVENTS;
            let next = read.last().and_then(|last| last.revision.checked_add(1));
            from = next.filter(|_| is_full);
            events.extend(read);
        }
        fold(&events).map_err(|error| {
            tracing::error!(
                payment = %id,
                error = &error as &dyn std::error::Error,
                "a payment cannot be folded"
            );
            Problem::new(errors::INTERNAL)
        })
    }
}
