//! Orders, each with its payment, its saga and what happened to it: `GET /v1/orders[/{id}]`.

mod outline;
mod returns;
mod timeline;

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use recourse_domain::{
    CustomerId, Money, OrderId, PaymentId,
    order::{self, Line, Reason},
    payment,
};
use recourse_event_store::{Filter, LogId, RecordedEvent};
use recourse_saga::saga_id;
use recourse_service::{
    Problem,
    contract::{Operation, Routes},
    errors,
    http::{Id, Query},
    page::Limit,
    position,
};
use recourse_views::{
    Projection, ProjectionError,
    documents::{self, Comparison, Index, Kind, Order as Sorting},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::{
    outline::Outline,
    returns::{Return, ShownLine},
    timeline::Happened,
};
use crate::{
    events,
    view::{Asked, List, View, lists, shows},
};

/// The definition of the saga that an order starts.
const SAGA: &str = "fulfilment";

/// How many entries a timeline has at most. The first says how it began; of the rest the last
/// are kept.
pub const MAX_TIMELINE_ENTRIES: usize = 64;

/// The code of the reason of an order that its client cancelled.
const CANCELLED: &str = "cancelled";

/// An order, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    // What it is found by comes first: the rest is not read to find it.
    placed_at: DateTime<Utc>,
    customer_id: CustomerId,
    status: order::Status,
    order_id: OrderId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    total: Money,
    lines: Vec<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment: Option<Payment>,
    saga_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saga: Option<Outline>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    returns: Vec<Return>,
    timeline: Vec<Happened>,
}

/// An order, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Order")]
pub struct Shown {
    /// The order.
    order_id: OrderId,
    /// Who ordered.
    customer_id: CustomerId,
    /// How it stands.
    status: order::Status,
    /// Why it ended, where it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The sum of its lines.
    total: Money,
    /// What was ordered, at which price, and how much of it is back.
    lines: Vec<ShownLine>,
    /// When it was placed.
    placed_at: DateTime<Utc>,
    /// Its payment, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<Payment>,
    /// The saga that fulfils it.
    saga_id: Uuid,
    /// How that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    saga: Option<ShownSaga>,
    /// Its returns, those included that came to nothing; in the order of their requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    returns: Vec<Return>,
    /// What happened, in order: how it began, and of the rest the latest.
    timeline: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "OrderSaga")]
struct ShownSaga {
    /// How it stands.
    status: recourse_saga::Status,
    /// When it needs attention unless it has ended.
    deadline_at: DateTime<Utc>,
}

/// The order's payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrderPayment")]
struct Payment {
    /// The payment.
    payment_id: PaymentId,
    /// How it stands.
    status: payment::Status,
    /// What its provider did not answer. While there is any, nobody knows how it stands; `status`
    /// is kept as it was before.
    #[schemars(skip)]
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    unknown: BTreeSet<payment::Operation>,
    /// How much was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refunded: Option<Money>,
}

impl Payment {
    fn show(self) -> Self {
        let is_known = self.unknown.is_empty();
        Self {
            status: if is_known {
                self.status
            } else {
                payment::Status::Unknown
            },
            unknown: BTreeSet::new(),
            ..self
        }
    }
}

/// Something that happened, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "TimelineEntry")]
struct Entry {
    /// When.
    at: DateTime<Utc>,
    /// What: the type of the event.
    #[serde(rename = "type")]
    event_type: Arc<str>,
    /// Where in the log.
    position: String,
}

impl Row {
    fn show(self, log: LogId) -> Shown {
        let timeline = self.timeline.into_iter();
        let timeline = timeline.map(|happened| Entry {
            at: happened.at,
            event_type: happened.event_type,
            position: position::write(happened.position, log),
        });
        Shown {
            order_id: self.order_id,
            customer_id: self.customer_id,
            status: self.status,
            reason: self.reason,
            total: self.total,
            lines: returns::show(self.lines, &self.returns),
            placed_at: self.placed_at,
            payment: self.payment.map(Payment::show),
            saga_id: self.saga_id,
            saga: self.saga.map(|saga| ShownSaga {
                status: saga.status(),
                deadline_at: saga.deadline_at(),
            }),
            returns: self.returns,
            timeline: timeline.collect(),
        }
    }

    fn placed(placed: &order::Placed, event: &RecordedEvent, at: DateTime<Utc>) -> Self {
        Self {
            order_id: placed.order_id,
            customer_id: placed.customer_id,
            status: order::Status::Pending,
            reason: None,
            total: placed.total,
            lines: placed.lines.clone(),
            placed_at: at,
            payment: None,
            saga_id: saga_id(SAGA, event.event.id),
            saga: None,
            returns: Vec::new(),
            timeline: Vec::new(),
        }
    }

    fn take_order(&mut self, event: &order::Event) {
        match event {
            order::Event::Placed(_) | order::Event::RepeatAnswered(_) => {}
            order::Event::Confirmed(_) => self.status = order::Status::Confirmed,
            order::Event::Completed(_) => self.status = order::Status::Completed,
            order::Event::Rejected(rejected) => {
                self.status = order::Status::Rejected;
                self.reason = Some(rejected.reason.clone());
            }
            order::Event::Cancelled(cancelled) => {
                self.status = order::Status::Cancelled;
                self.reason = Some(Reason {
                    code: CANCELLED.to_owned(),
                    detail: cancelled.reason.clone(),
                });
            }
            order::Event::Revoked(revoked) => {
                self.status = order::Status::Cancelled;
                self.reason = Some(revoked.reason.clone());
            }
            order::Event::ReturnClosed(closed) => self.status = closed.status,
            order::Event::ReturnRequested(_)
            | order::Event::ReturnAccepted(_)
            | order::Event::ReturnWithdrawn(_)
            | order::Event::ReturnRejected(_) => {}
        }
    }

    fn take_payment(&mut self, event: &payment::Event) {
        use payment::{Event, Status};
        if let Event::AuthorizationRequested(requested) = event {
            self.payment = Some(Payment {
                payment_id: requested.payment_id,
                status: Status::Requested,
                unknown: BTreeSet::new(),
                refunded: None,
            });
        }
        let Some(payment) = &mut self.payment else {
            return;
        };
        // Several may be under way at once: what came of one says nothing of another.
        if let Some((operation, _)) = event.outcome() {
            payment.unknown.remove(&operation);
        }
        match event {
            Event::Unknown(unknown) => {
                payment.unknown.insert(unknown.operation);
            }
            Event::Authorized(_) => payment.status = Status::Authorized,
            Event::Declined(_) => payment.status = Status::Declined,
            Event::Captured(_) => payment.status = Status::Captured,
            Event::Voided(_) => payment.status = Status::Voided,
            Event::Refunded(refunded) => {
                let sum = match payment.refunded {
                    Some(before) => before.checked_add(refunded.amount).ok(),
                    None => Some(refunded.amount),
                };
                payment.refunded = sum;
                payment.status = if sum == Some(self.total) {
                    Status::Refunded
                } else {
                    Status::PartiallyRefunded
                };
            }
            // What was refused left it as it was.
            Event::CaptureRefused(_)
            | Event::VoidRefused(_)
            | Event::RefundRefused(_)
            | Event::AuthorizationRequested(_)
            | Event::CaptureRequested(_)
            | Event::VoidRequested(_)
            | Event::RefundRequested(_)
            | Event::Joined(_)
            | Event::RepeatAnswered(_) => {}
        }
    }

    fn note(&mut self, event: &RecordedEvent, at: DateTime<Utc>) {
        if self.timeline.len() >= MAX_TIMELINE_ENTRIES {
            self.timeline.remove(1);
        }
        self.timeline.push(Happened {
            at,
            event_type: Arc::clone(&event.event.event_type),
            position: event.position,
        });
    }
}

/// The view of orders.
#[derive(Debug)]
pub struct Orders;

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const VERSION: u32 = 3;
    const INDEXES: &'static [Index] = &[
        Index {
            path: "placed_at",
            kind: Kind::Time,
        },
        Index {
            path: "customer_id",
            kind: Kind::Text,
        },
        Index {
            path: "status",
            kind: Kind::Text,
        },
    ];
    const NEWEST_FIRST_BY: Option<&'static str> = Some("placed_at");

    type Row = Row;

    fn filter() -> Filter {
        Filter::categories(&["order", "payment", "saga"])
    }

    fn key(event: &RecordedEvent) -> Result<Option<String>, ProjectionError> {
        if events::is_answer_only(event) {
            return Ok(None);
        }
        // The order's id; payments and sagas inherit it.
        Ok(Some(event.metadata()?.correlation_id.to_string()))
    }

    fn begins(event: &RecordedEvent) -> bool {
        event.stream.category() == "order" && event.revision == 0
    }

    fn apply(row: Option<Row>, event: &RecordedEvent) -> Result<Option<Row>, ProjectionError> {
        let at = events::recorded_at(event)?;
        let not_placed = || events::out_of_place("its order was not placed");
        let mut row = match event.stream.category() {
            "order" => {
                let happened = event.decode::<order::Event>()?;
                let mut row = match (row, &*happened) {
                    (None, order::Event::Placed(placed)) => Row::placed(placed, event, at),
                    (row, _) => row.ok_or_else(not_placed)?,
                };
                row.take_order(&happened);
                returns::take(&mut row.returns, &happened, event, at);
                row
            }
            "payment" => {
                let mut row = row.ok_or_else(not_placed)?;
                row.take_payment(&*event.decode::<payment::Event>()?);
                row
            }
            _ => {
                let mut row = row.ok_or_else(not_placed)?;
                let happened = event.decode::<recourse_saga::Event>()?;
                if event.stream.id() == row.saga_id.to_string() {
                    outline::take(&mut row.saga, &happened);
                }
                row
            }
        };
        row.note(event, at);
        Ok(Some(row))
    }
}

/// Every status that an order can be said to have.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StatusFilter {
    Pending,
    Confirmed,
    Completed,
    Rejected,
    Cancelled,
    PartiallyReturned,
    Returned,
}

impl StatusFilter {
    const fn as_str(self) -> &'static str {
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
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// How many items a page holds at most.
    #[serde(default)]
    limit: Limit,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
    /// Only of this customer.
    customer_id: Option<CustomerId>,
    /// Only as they stand so.
    status: Option<StatusFilter>,
}

pub(crate) fn routes(view: View<Orders>) -> Routes {
    let listing = Operation::new("listOrders", "List orders")
        .tag("orders")
        .answer(lists::<Shown>(LIST))
        .fails(errors::LIST);
    let showing = Operation::new("getOrder", "Show an order")
        .describe("With its payment, its saga, and what happened to it.")
        .tag("orders")
        .answer(shows::<Shown>("The order", SHOWN))
        .fails(errors::QUERY);
    Routes::new()
        .get("/v1/orders", list, listing)
        .get("/v1/orders/{id}", one, showing)
        .with_state(view)
}

const SHOWN: &str = r#"{
    "order_id": "5b0e0c7a-3f0d-5a3e-9d38-7a1f0e1c2b4d",
    "customer_id": "3d6f0a4e-8a55-4f0e-9c1e-5f1f0a2b7c11",
    "status": "rejected",
    "reason": {"code": "payment-declined", "detail": "the card was declined"},
    "total": {"amount_minor": 3998, "currency": "EUR"},
    "lines": [
        {"sku": "tea-1", "quantity": 2, "unit_price": {"amount_minor": 1999, "currency": "EUR"}}
    ],
    "placed_at": "2026-03-01T12:00:00.000Z",
    "payment": {"payment_id": "9a1c7e0e-66a8-5b43-8d6f-2f9c4b5a7d10", "status": "declined"},
    "saga_id": "0f8fad5b-d9cb-569f-a165-70867728950e",
    "saga": {"status": "compensated", "deadline_at": "2026-03-01T12:01:00.000Z"},
    "timeline": [
        {"at": "2026-03-01T12:00:00.000Z", "type": "order.placed.v1", "position": "17-9f3a2c41"}
    ]
}"#;

const LIST: &str = r#"{
    "items": [{
        "order_id": "5b0e0c7a-3f0d-5a3e-9d38-7a1f0e1c2b4d",
        "customer_id": "3d6f0a4e-8a55-4f0e-9c1e-5f1f0a2b7c11",
        "status": "pending",
        "total": {"amount_minor": 3998, "currency": "EUR"},
        "lines": [
            {"sku": "tea-1", "quantity": 2, "unit_price": {"amount_minor": 1999, "currency": "EUR"}}
        ],
        "placed_at": "2026-03-01T12:00:00.000Z",
        "saga_id": "0f8fad5b-d9cb-569f-a165-70867728950e",
        "timeline": [
            {"at": "2026-03-01T12:00:00.000Z", "type": "order.placed.v1", "position": "17-9f3a2c41"}
        ]
    }]
}"#;

async fn one(
    State(view): State<View<Orders>>,
    Id(id): Id<OrderId>,
    asked: Asked,
) -> Result<Response, Problem> {
    let log = view.log();
    let found = view.get(&id.to_string(), &asked).await?;
    Ok(found.respond(|row| row.show(log)).into_response())
}

async fn list(
    State(view): State<View<Orders>>,
    Query(parameters): Query<Parameters>,
    asked: Asked,
) -> Result<Response, Problem> {
    let equal = |path, value: String| documents::Filter {
        path,
        comparison: Comparison::Equal,
        value: documents::Value::Text(value),
    };
    let mut filters = Vec::new();
    if let Some(customer_id) = parameters.customer_id {
        filters.push(equal("customer_id", customer_id.to_string()));
    }
    if let Some(status) = parameters.status {
        filters.push(equal("status", status.as_str().to_owned()));
    }
    let list = List {
        filters,
        order: Sorting::NewestFirst,
        limit: parameters.limit,
        cursor: parameters.cursor,
        identity: (parameters.customer_id, parameters.status),
    };
    let log = view.log();
    view.list(list, &asked, |row| row.show(log)).await
}
