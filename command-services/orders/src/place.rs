//! `POST /v1/orders`: at the catalogue's prices of this moment, and, where the client waits,
//! answered when the saga has ended.

use std::collections::BTreeSet;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use recourse_domain::{
    CardToken, Currency, CustomerId, OrderId, PaymentId, Quantity, Sku,
    order::{self, Line, MAX_LINES, PaymentMethod, Place, Refusal},
};
use recourse_event_store::{Position, StreamName};
use recourse_saga::Definition;
use recourse_service::{
    Problem, command,
    contract::Operation,
    errors as shared,
    http::{Body, ClientCommand, Prefer, Reply, RequestContext},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Api, Settled, errors, invalid, order_answer};

/// Of every order's id.
const ORDERS: Uuid = Uuid::from_u128(0x2f4d_77a0_1b9c_5e4b_93d6_58ef_0c31_a964);
/// Of every payment's id.
const PAYMENTS: Uuid = Uuid::from_u128(0xa58c_0e13_64f2_5b79_8d0a_e2c7_951b_3f40);

pub(crate) fn operation() -> Operation {
    Operation::new("placeOrder", "Place an order")
        .describe(
            "At the catalogue's prices of this moment. A saga then reserves the goods and takes \
             the money, or undoes all of it. With `Prefer: wait=S` the answer comes once the saga \
             has ended, or once it cannot go on by itself, but after S seconds at the latest.\n\n\
             The payment provider is a simulator; the token says what it does: `tok_visa` \
             succeeds, `tok_declined` is refused, and so on.",
        )
        .tag("orders")
        .body_example(
            r#"{
                "customer_id": "3d6f0a4e-8a55-4f0e-9c1e-5f1f0a2b7c11",
                "currency": "EUR",
                "lines": [{"sku": "tea-1", "quantity": 2}],
                "payment": {"method": "card", "token": "tok_visa"}
            }"#,
        )
        .answer(
            order_answer(
                202,
                "Placed; its saga is under way, or waits for an operator",
            )
            .preference_applied(),
        )
        .answer(
            order_answer(201, "Placed, and its saga has ended: see `status`").preference_applied(),
        )
        .fails(&[
            errors::UNKNOWN_PRODUCT,
            errors::PRODUCT_INACTIVE,
            errors::DUPLICATE_LINE,
            errors::CURRENCY_MISMATCH,
            errors::NOTHING_TO_PAY,
            errors::TOTAL_OVERFLOW,
            shared::STORAGE_LOW,
        ])
        .fails(shared::COMMAND)
}

/// The body of `POST /v1/orders`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct PlaceBody {
    /// Who orders; any UUID that the client knows them by.
    customer_id: CustomerId,
    /// The currency of every line's price.
    currency: Currency,
    /// What is ordered: one line a product.
    #[schemars(length(min = 1, max = MAX_LINES))]
    lines: Vec<LineBody>,
    /// How it is paid.
    payment: PaymentBody,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct LineBody {
    sku: Sku,
    quantity: Quantity,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct PaymentBody {
    method: Method,
    token: CardToken,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", expecting = "a method of payment")]
enum Method {
    Card,
}

pub(crate) async fn place(
    State(api): State<Api>,
    client: ClientCommand,
    prefer: Prefer,
    context: RequestContext,
    Body(body): Body<PlaceBody>,
) -> Result<Response, Problem> {
    let order = OrderId(Uuid::new_v5(&ORDERS, client.id.as_bytes()));
    let (replayed, mut position) = accept(&api, order, &client, &context, body).await?;
    let mut tracked = api.load(order).await?;
    let saga = Definition::stream(api.saga_of(order, &tracked).await?);

    let settled = api.settled(&saga, prefer, replayed, &context).await?;
    if prefer.wait.is_some() || replayed {
        tracked = api.load(order).await?;
    }
    position = settled.map_or(position, Settled::position);
    let body = api.body(order, &tracked).await?;
    let reply = match settled {
        Some(Settled::Ended(_)) => Reply::created(body),
        Some(Settled::Stuck(_)) | None => Reply::accepted(body),
    };
    let reply = api.reply(reply, order, position.max(tracked.position()));
    Ok(reply.applied(prefer).replayed(replayed).into_response())
}

/// Places the order, or finds that it was placed by this command before; says which, and where
/// it stands in the log, durably.
async fn accept(
    api: &Api,
    order: OrderId,
    client: &ClientCommand,
    context: &RequestContext,
    body: PlaceBody,
) -> Result<(bool, Position), Problem> {
    let client = command::client(client, &body, context, order.0);
    // A repeat finds the first one, whatever became of the products since.
    let existing = api.load(order).await?;
    if let Some(known) = existing.tracking().client_command(client.id, (api.clock)()) {
        api.store().wait_durable(existing.position()).await?;
        if known.body_hash != client.body_hash {
            return Err(Problem::new(shared::IDEMPOTENCY_KEY_REUSED));
        }
        return Ok((true, existing.position()));
    }
    api.admission.check()?;
    let PaymentBody {
        method: Method::Card,
        token,
    } = body.payment;
    let command = order::Command::Place(Place {
        order_id: order,
        payment_id: PaymentId(Uuid::new_v5(&PAYMENTS, order.0.as_bytes())),
        customer_id: body.customer_id,
        lines: priced(api, &body.lines, body.currency).await?,
        payment: PaymentMethod::Card { token },
    });
    let outcome = api
        .commands
        .execute(crate::stream_of(order), command, client)
        .await?;
    Ok((outcome.replayed(), outcome.position))
}

/// The lines at the prices of this moment, read from the products' own streams.
async fn priced(api: &Api, lines: &[LineBody], currency: Currency) -> Result<Vec<Line>, Problem> {
    // Bounded and unambiguous before anything is read.
    if lines.is_empty() {
        return Err(invalid("#/lines", &Refusal::NoLines));
    }
    if lines.len() > MAX_LINES {
        return Err(invalid("#/lines", &Refusal::TooManyLines));
    }
    let mut skus = BTreeSet::new();
    let mut priced = Vec::with_capacity(lines.len());
    let mut seen = Position::START;
    let mut wrong: Vec<(recourse_service::problem::Code, String, String)> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let pointer = format!("#/lines/{index}/sku");
        if !skus.insert(&line.sku) {
            let detail = Refusal::DuplicateLine(line.sku.clone()).to_string();
            wrong.push((errors::DUPLICATE_LINE, pointer, detail));
            continue;
        }
        let loaded = api
            .products
            .load(&StreamName::new("product", &line.sku))
            .await;
        let product = loaded.map_err(|error| command::unreadable(&error))?;
        seen = seen.max(product.position());
        match product.state().details() {
            None => wrong.push((
                errors::UNKNOWN_PRODUCT,
                pointer,
                format!("there is no product {}", line.sku),
            )),
            Some(details) if !details.active => wrong.push((
                errors::PRODUCT_INACTIVE,
                pointer,
                format!("the product {} cannot be ordered", line.sku),
            )),
            Some(details) if details.price.currency != currency => wrong.push((
                errors::CURRENCY_MISMATCH,
                pointer,
                format!(
                    "the product {} is priced in {}",
                    line.sku, details.price.currency
                ),
            )),
            Some(details) => priced.push(Line {
                sku: line.sku.clone(),
                quantity: line.quantity,
                unit_price: details.price,
            }),
        }
    }
    let Some((code, _, _)) = wrong.first() else {
        return Ok(priced);
    };
    // One code a document: the first one's, with every line that has the same trouble.
    let mut problem = Problem::new(*code);
    for (_, pointer, detail) in wrong.iter().filter(|(its, _, _)| its == code) {
        problem = problem.field(pointer, detail);
    }
    api.store().wait_durable(seen).await?;
    Err(problem)
}
