//! Orders: placed, cancelled and returned by clients, moved on by their sagas.
//!
//! ```text
//! POST /v1/orders ────────────────────┐
//! POST /v1/orders/{id}/cancellation ──┤
//! POST /v1/orders/{id}/returns ───────┤
//! order.confirm, .complete, … ────────┴▶ worker ──▶ order-<id> ──▶ sagas `fulfilment`, `return`
//!                                   waits ◀── settlements ◀── saga-<id>
//! ```

pub mod errors;
mod place;
mod returns;
mod settlements;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use recourse_aggregates::{Order, Product};
use recourse_bus::Bus;
use recourse_cqrs::{
    Clock, Repository, RepositoryOptions, Source, Tracked, Worker, WorkerError, WorkerOptions,
};
use recourse_domain::{
    Money, OrderId,
    order::{self, Cancel, Refusal, Status},
};
use recourse_event_store::{Direction, EventStore, Position, StoreError, StreamName, Visibility};
use recourse_service::{
    Problem,
    admission::Admission,
    command::{self, Commands},
    contract::{Answer, Operation, Routes},
    http::{self, Body, ClientCommand, Id, Prefer, Reply, RequestContext},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use settlements::{Settled, Settlements};

/// The saga that a placed order starts.
const SAGA: &str = "fulfilment";

/// The orders' command service.
pub struct Service {
    worker: Worker<Order>,
    api: Api,
}

/// What the handlers work with.
#[derive(Clone)]
struct Api {
    commands: Commands<Order>,
    products: Arc<Repository<Product>>,
    settlements: Settlements,
    admission: Admission,
    clock: Clock,
}

/// Why the service ended: the process must.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Commands cannot be executed any more.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The ends of sagas cannot be followed any more.
    #[error("the log cannot be followed")]
    Settlements(#[from] StoreError),
}

impl Service {
    /// A service on this store, which takes saga commands from this bus.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        bus: Arc<dyn Bus>,
        clock: Clock,
        options: WorkerOptions,
    ) -> Self {
        let new_repository = RepositoryOptions::default;
        let repository = Arc::new(Repository::new(Arc::clone(&store), new_repository()));
        let products = Arc::new(Repository::new(Arc::clone(&store), new_repository()));
        let source = Source {
            bus,
            group: "orders".to_owned(),
        };
        let (worker, handle) = Worker::new(repository, Some(source), Arc::clone(&clock), options);
        Self {
            worker,
            api: Api {
                settlements: Settlements::new(Arc::clone(&store)),
                commands: Commands::new(handle, store, problem),
                products,
                admission: Admission::default(),
                clock,
            },
        }
    }

    /// Takes new orders only while this is open.
    #[must_use]
    pub fn admitting(mut self, admission: Admission) -> Self {
        self.api.admission = admission;
        self
    }

    /// Its addresses.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes::new()
            .post("/v1/orders", place::place, place::operation())
            .post("/v1/orders/{id}/cancellation", cancel, cancelling())
            .post(
                "/v1/orders/{id}/returns",
                returns::request,
                returns::operation(),
            )
            .with_state(self.api.clone())
    }

    /// Executes commands until `shutdown`, then those that it has accepted.
    ///
    /// # Errors
    /// Where the store or the bus is broken: the process must end.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let settlements = self.api.settlements.clone();
        let worker = self.worker;
        let commands = async { worker.run(shutdown.clone()).await.map_err(Error::Worker) };
        let ends = async {
            settlements
                .run(shutdown.clone())
                .await
                .map_err(Error::Settlements)
        };
        tokio::try_join!(commands, ends)?;
        Ok(())
    }
}

/// An order as a command leaves it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OrderReceipt")]
struct OrderBody {
    /// The order.
    order_id: OrderId,
    /// The saga that fulfils it: `/v1/sagas/{id}`.
    saga_id: Uuid,
    /// How it stands.
    status: Status,
    /// The sum of its lines.
    total: Money,
}

/// An answer with the order as the command leaves it.
fn order_answer(status: u16, description: &'static str) -> Answer {
    Answer::json::<OrderBody>(status, description)
        .example(
            r#"{
                "order_id": "5b0e0c7a-3f0d-5a3e-9d38-7a1f0e1c2b4d",
                "saga_id": "0f8fad5b-d9cb-569f-a165-70867728950e",
                "status": "pending",
                "total": {"amount_minor": 3998, "currency": "EUR"}
            }"#,
        )
        .position()
        .location()
        .replayed()
}

fn stream_of(order: OrderId) -> StreamName {
    StreamName::new("order", order)
}

impl Api {
    fn store(&self) -> &dyn EventStore {
        &**self.commands.store()
    }

    async fn load(&self, order: OrderId) -> Result<Arc<Tracked<Order>>, Problem> {
        let repository = self.commands.handle().repository();
        let loaded = repository.load(&stream_of(order)).await;
        loaded.map_err(|error| command::unreadable(&error))
    }

    /// The saga of an order, which the order's first event starts.
    async fn saga_of(&self, order: OrderId, tracked: &Tracked<Order>) -> Result<Uuid, Problem> {
        let head = tracked.tracking().head();
        let first = match head.filter(|head| head.revision == 0) {
            Some(head) => head.event_id,
            None => {
                let (stream, seen) = (stream_of(order), Visibility::Appended);
                let first = self
                    .store()
                    .read_stream(&stream, Some(0), Direction::Forward, seen, 1)
                    .await?;
                first.first().map_or(Uuid::nil(), |event| event.event.id)
            }
        };
        Ok(recourse_saga::saga_id(SAGA, first))
    }

    /// The order as it stands, once that is durable.
    async fn body(&self, order: OrderId, tracked: &Tracked<Order>) -> Result<OrderBody, Problem> {
        self.store().wait_durable(tracked.position()).await?;
        let state = tracked.state();
        let (Some(status), Some(total)) = (state.status(), state.total()) else {
            tracing::error!(%order, "an order that was accepted does not exist");
            return Err(Problem::new(recourse_service::errors::INTERNAL));
        };
        Ok(OrderBody {
            order_id: order,
            saga_id: self.saga_of(order, tracked).await?,
            status,
            total,
        })
    }

    /// How a command's saga settled, where its client waits for that or repeats the command:
    /// whose saga has just begun has nothing to look for, that of a repeat may have ended.
    async fn settled(
        &self,
        saga: &StreamName,
        prefer: Prefer,
        replayed: bool,
        context: &RequestContext,
    ) -> Result<Option<Settled>, Problem> {
        let timeout = prefer.wait.or(replayed.then_some(Duration::ZERO));
        let Some(timeout) = timeout else {
            return Ok(None);
        };
        let waited = http::wait(timeout, context.draining(), self.settlements.wait(saga)).await;
        Ok(waited.transpose()?)
    }

    fn reply<T>(&self, reply: Reply<T>, order: OrderId, position: Position) -> Reply<T> {
        reply
            .location(format!("/v1/orders/{order}"))
            .position(position, self.store().log_id())
    }
}

fn cancelling() -> Operation {
    Operation::new("cancelOrder", "Cancel an order")
        .describe(
            "Before its point of no return; what was done for it is undone by itself. An order \
             that is cancelled already answers 200 and nothing more happens.",
        )
        .tag("orders")
        .body_example(r#"{"reason": "ordered twice"}"#)
        .answer(order_answer(200, "Cancelled"))
        .fails(&[
            errors::ORDER_ALREADY_CONFIRMED,
            errors::ORDER_ALREADY_SETTLED,
        ])
        .fails(recourse_service::errors::COMMAND)
}

/// The body of `POST /v1/orders/{id}/cancellation`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct CancelBody {
    /// Why, in the client's words.
    #[schemars(length(min = 1, max = order::MAX_REASON_CHARS))]
    reason: String,
}

async fn cancel(
    State(api): State<Api>,
    Id(order): Id<OrderId>,
    client: ClientCommand,
    context: RequestContext,
    Body(body): Body<CancelBody>,
) -> Result<Response, Problem> {
    let client = command::client(&client, &body, &context, order.0);
    let command = order::Command::Cancel(Cancel {
        reason: body.reason,
    });
    let outcome = api
        .commands
        .execute(stream_of(order), command, client)
        .await?;
    let position = outcome.tracked.position();
    let body = api.body(order, &outcome.tracked).await?;
    let reply = api.reply(Reply::ok(body), order, position);
    Ok(reply.replayed(outcome.replayed()).into_response())
}

/// How a refusal is told to a client.
fn problem(refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::InvalidReason => return invalid("#/reason", refusal),
        Refusal::InvalidToken => return invalid("#/payment/token", refusal),
        Refusal::NoLines
        | Refusal::TooManyLines
        | Refusal::NoReturnLines
        | Refusal::TooManyReturnLines => return invalid("#/lines", refusal),
        Refusal::ReturnDiffers => recourse_service::errors::IDEMPOTENCY_KEY_REUSED,
        Refusal::NotOrdered(_) => errors::NOT_ORDERED,
        Refusal::NotReturnable(_)
        | Refusal::OverReturned { .. }
        | Refusal::NothingToRefund
        | Refusal::TooManyReturns => errors::NOT_RETURNABLE,
        Refusal::NoSuchOrder => recourse_service::errors::NOT_FOUND,
        Refusal::DuplicateLine(_) => errors::DUPLICATE_LINE,
        Refusal::CurrencyMismatch => errors::CURRENCY_MISMATCH,
        Refusal::NothingToPay => errors::NOTHING_TO_PAY,
        Refusal::TotalOverflow => errors::TOTAL_OVERFLOW,
        Refusal::AlreadyConfirmed => errors::ORDER_ALREADY_CONFIRMED,
        Refusal::AlreadySettled(_) => errors::ORDER_ALREADY_SETTLED,
        // No client's command is refused so: these are a saga's, or the catalogue's.
        _ => recourse_service::errors::INTERNAL,
    };
    Problem::new(code).detail(refusal.to_string())
}

fn invalid(pointer: &str, refusal: &Refusal) -> Problem {
    Problem::new(recourse_service::errors::INVALID_BODY).field(pointer, refusal.to_string())
}
