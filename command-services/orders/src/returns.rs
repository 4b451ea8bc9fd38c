//! `POST /v1/orders/{id}/returns`: goods that a client sends back; where the client waits,
//! answered when the saga has ended.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use recourse_aggregates::Order;
use recourse_cqrs::Tracked;
use recourse_domain::{
    Money, OrderId, Quantity, ReturnId, Sku,
    order::{self, Refusal, RequestReturn, ReturnLine, ReturnStatus},
};
use recourse_event_store::{Direction, Visibility};
use recourse_saga::Definition;
use recourse_service::{
    Problem, command,
    contract::{Answer, Operation},
    errors as shared,
    http::{Body, ClientCommand, Id, Prefer, Reply, RequestContext},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Api, Settled, errors, stream_of};

/// The saga that a requested return starts.
const SAGA: &str = "return";

/// Of every return's id.
const RETURNS: Uuid = Uuid::from_u128(0xc61e_5b07_92d4_5a3f_b8e1_07a9_4dc2_63f5);

/// How many events of an order are read at a time: more than nearly every one has.
const PAGE: usize = 256;

/// The body of `POST /v1/orders/{id}/returns`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct ReturnBody {
    /// What goes back: one line a product.
    #[schemars(length(min = 1, max = order::MAX_LINES))]
    lines: Vec<LineBody>,
    /// Why, in the client's words.
    #[schemars(length(min = 1, max = order::MAX_REASON_CHARS))]
    reason: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReturnLineBody")]
#[serde(deny_unknown_fields, expecting = "an object")]
struct LineBody {
    sku: Sku,
    quantity: Quantity,
}

/// A return as a command leaves it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ReturnReceipt")]
pub(crate) struct Returned {
    /// The order.
    order_id: OrderId,
    /// The return: one of the order's `returns`.
    return_id: ReturnId,
    /// The saga that carries it out: `/v1/sagas/{id}`.
    saga_id: Uuid,
    /// How the return stands.
    status: ReturnStatus,
    /// What its lines cost when they were ordered.
    refund: Money,
}

/// What the address says of itself.
pub(crate) fn operation() -> Operation {
    Operation::new("returnOrder", "Return goods of an order")
        .describe(
            "Some of a completed order or all of it, at the prices it had, any number of times \
             until all is back; starts the saga `return`. A refund that the provider refuses for \
             good rejects the return, and its pieces can be returned again.",
        )
        .tag("orders")
        .body_example(r#"{"lines": [{"sku": "tea-1", "quantity": 1}], "reason": "too bitter"}"#)
        .answer(answer(202, "Requested; its saga goes on").preference_applied())
        .answer(answer(201, "Requested, and its saga has ended: see `status`").preference_applied())
        .fails(&[
            errors::NOT_RETURNABLE,
            errors::NOT_ORDERED,
            errors::DUPLICATE_LINE,
            shared::STORAGE_LOW,
        ])
        .fails(shared::COMMAND)
}

fn answer(status: u16, description: &'static str) -> Answer {
    Answer::json::<Returned>(status, description)
        .example(
            r#"{
                "order_id": "5b0e0c7a-3f0d-5a3e-9d38-7a1f0e1c2b4d",
                "return_id": "1d4c2f60-8a57-5d1b-8e0c-64b9f1a7c352",
                "saga_id": "7c9e6679-7425-50de-944b-e07fc1f90ae7",
                "status": "requested",
                "refund": {"amount_minor": 1999, "currency": "EUR"}
            }"#,
        )
        .position()
        .location()
        .replayed()
}

pub(crate) async fn request(
    State(api): State<Api>,
    Id(order): Id<OrderId>,
    client: ClientCommand,
    prefer: Prefer,
    context: RequestContext,
    Body(body): Body<ReturnBody>,
) -> Result<Response, Problem> {
    // A repeat names the same return, whenever it comes.
    let id = ReturnId(Uuid::new_v5(&RETURNS, client.id.as_bytes()));
    let client = command::client(&client, &body, &context, order.0);
    // What is under way is to have the room. A repeat begins nothing.
    if let Err(problem) = api.admission.check()
        && api.load(order).await?.state().get_return(id).is_none()
    {
        return Err(problem);
    }
    let request = RequestReturn {
        return_id: id,
        lines: body.lines.into_iter().map(ReturnLine::from).collect(),
        reason: body.reason,
    };
    let command = order::Command::RequestReturn(request.clone());
    let outcome = match api
        .commands
        .execute(stream_of(order), command, client)
        .await
    {
        Ok(outcome) => outcome,
        Err(problem) => return Err(pointed(&api, order, request, problem).await?),
    };
    // Past what is remembered of commands the order finds the return itself, and writes nothing.
    let replayed = !outcome.written();
    let saga = api.saga_of_return(order, id).await?;
    let settled = api
        .settled(&Definition::stream(saga), prefer, replayed, &context)
        .await?;
    let tracked = if prefer.wait.is_some() || replayed {
        api.load(order).await?
    } else {
        outcome.tracked
    };
    let body = api.returned(order, id, saga, &tracked).await?;
    let reply = match settled {
        Some(Settled::Ended(_)) => Reply::created(body),
        Some(Settled::Stuck(_)) | None => Reply::accepted(body),
    };
    let position = settled.map_or(outcome.position, Settled::position);
    let reply = api.reply(reply, order, position.max(tracked.position()));
    Ok(reply.applied(prefer).replayed(replayed).into_response())
}

/// A refusal with the line that it is about, where it is about one.
async fn pointed(
    api: &Api,
    order: OrderId,
    request: RequestReturn,
    problem: Problem,
) -> Result<Problem, Problem> {
    let about_a_line = [
        errors::NOT_ORDERED,
        errors::NOT_RETURNABLE,
        errors::DUPLICATE_LINE,
    ];
    if !about_a_line.contains(&problem.code()) {
        return Ok(problem);
    }
    let tracked = api.load(order).await?;
    let lines = request.lines.clone();
    let line_of = |sku: &Sku| lines.iter().rposition(|line| line.sku == *sku);
    let command = order::Command::RequestReturn(request);
    let Err(refusal) = order::decide(tracked.state(), &command) else {
        return Ok(problem);
    };
    let (field, line) = match &refusal {
        Refusal::OverReturned { sku, .. } => ("quantity", line_of(sku)),
        Refusal::NotOrdered(sku) | Refusal::DuplicateLine(sku) => ("sku", line_of(sku)),
        _ => return Ok(problem),
    };
    let Some(line) = line else { return Ok(problem) };
    api.store().wait_durable(tracked.position()).await?;
    Ok(problem.field(format!("#/lines/{line}/{field}"), refusal.to_string()))
}

impl From<LineBody> for ReturnLine {
    fn from(line: LineBody) -> Self {
        Self {
            sku: line.sku,
            quantity: line.quantity,
        }
    }
}

impl Api {
    /// The saga of a return, which the event of its request starts.
    async fn saga_of_return(&self, order: OrderId, id: ReturnId) -> Result<Uuid, Problem> {
        let stream = stream_of(order);
        let mut from = 0;
        loop {
            let (forward, seen) = (Direction::Forward, Visibility::Appended);
            let page = self
                .store()
                .read_stream(&stream, Some(from), forward, seen, PAGE)
                .await?;
            for event in &page {
                if &*event.event.event_type == "order.return-requested.v1"
                    && let Ok(read) = event.decode::<order::Event>()
                    && let order::Event::ReturnRequested(requested) = &*read
                    && requested.return_id == id
                {
                    return Ok(recourse_saga::saga_id(SAGA, event.event.id));
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => from = last.revision.saturating_add(1),
                _ => return Err(missing(order, id)),
            }
        }
    }

    /// The return as it stands, once that is durable.
    async fn returned(
        &self,
        order: OrderId,
        id: ReturnId,
        saga: Uuid,
        tracked: &Tracked<Order>,
    ) -> Result<Returned, Problem> {
        self.store().wait_durable(tracked.position()).await?;
        let its = tracked.state().get_return(id);
        let its = its.ok_or_else(|| missing(order, id))?;
        Ok(Returned {
            order_id: order,
            return_id: id,
            saga_id: saga,
            status: its.status,
            refund: its.refund,
        })
    }
}

fn missing(order: OrderId, id: ReturnId) -> Problem {
    tracing::error!(%order, %id, "a return that was accepted does not exist");
    Problem::new(shared::INTERNAL)
}
