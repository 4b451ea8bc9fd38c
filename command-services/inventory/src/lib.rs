//! The inventory: stock, written by clients and by sagas.
//!
//! ```text
//! POST /v1/stock/{sku}/receipts, …/adjustments ─┐
//! stock.reserve, .release, .commit (sagas) ─────┴▶ worker ──▶ stock-<sku>
//! ```

pub mod errors;

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use recourse_aggregates::{Product, Stock};
use recourse_bus::Bus;
use recourse_cqrs::{
    Clock, Effect, Outcome, Repository, RepositoryOptions, Snapshots, Source, Worker, WorkerError,
    WorkerOptions,
};
use recourse_domain::{
    Quantity, Sku,
    stock::{self, Adjust, Receive, Refusal},
};
use recourse_event_store::{EventStore, StreamName};
use recourse_service::{
    Problem,
    command::{self, Commands},
    contract::{Answer, Operation, Routes},
    http::{Body, ClientCommand, NewId, Reply, RequestContext},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The inventory's command service.
pub struct Service {
    worker: Worker<Stock>,
    api: Api,
}

#[derive(Clone)]
struct Api {
    commands: Commands<Stock>,
    products: Arc<Repository<Product>>,
}

impl Service {
    /// A service on this store, which takes saga commands from this bus.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        bus: Arc<dyn Bus>,
        snapshots: Arc<dyn Snapshots>,
        clock: Clock,
        options: WorkerOptions,
    ) -> Self {
        let repository = Repository::new(Arc::clone(&store), RepositoryOptions::default());
        let repository = Arc::new(repository.with_snapshots(snapshots));
        let source = Source {
            bus,
            group: "inventory".to_owned(),
        };
        let (worker, handle) = Worker::new(repository, Some(source), clock, options);
        let products = Arc::new(Repository::new(
            Arc::clone(&store),
            RepositoryOptions::default(),
        ));
        Self {
            worker,
            api: Api {
                commands: Commands::new(handle, store, problem),
                products,
            },
        }
    }

    /// Its addresses.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes::new()
            .post("/v1/stock/{sku}/receipts", receive, receiving())
            .post("/v1/stock/{sku}/adjustments", adjust, adjusting())
            .with_state(self.api.clone())
    }

    /// Executes commands until `shutdown`, then those that it has accepted.
    ///
    /// # Errors
    /// Where the store or the bus is broken: the process must end.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        self.worker.run(shutdown).await
    }
}

fn receiving() -> Operation {
    Operation::new("receiveStock", "Take goods in")
        .describe(
            "A reference, such as the number of a delivery note, counts once for its SKU, for ever \
             and whatever the key.",
        )
        .tag("stock")
        .body_example(r#"{"quantity": 100, "reference": "delivery-2041"}"#)
        .answer(stock_answer(201, "Counted"))
        .answer(stock_answer(
            200,
            "This reference was counted before, with the same quantity: nothing was added",
        ))
        .fails(errors::RECEIVING)
        .fails(recourse_service::errors::COMMAND)
}

fn adjusting() -> Operation {
    Operation::new("adjustStock", "Correct a count")
        .tag("stock")
        .body_example(r#"{"delta": -2, "reason": "broken"}"#)
        .answer(stock_answer(201, "Corrected"))
        .fails(errors::ADJUSTING)
        .fails(recourse_service::errors::COMMAND)
}

fn stock_answer(status: u16, description: &'static str) -> Answer {
    Answer::json::<StockBody>(status, description)
        .example(r#"{"sku": "tea-1", "on_hand": 98, "reserved": 2, "available": 96}"#)
        .position()
        .location()
        .replayed()
}

/// The body of `POST /v1/stock/{sku}/receipts`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct ReceiveBody {
    /// How many pieces came.
    quantity: Quantity,
    /// What the delivery is known by: visible characters.
    #[schemars(length(min = 1, max = stock::MAX_REFERENCE_CHARS))]
    reference: String,
}

/// The body of `POST /v1/stock/{sku}/adjustments`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct AdjustBody {
    /// How many pieces more, or fewer, there are than was thought; not 0.
    delta: i64,
    /// Why, in the words of who counted.
    #[schemars(length(min = 1, max = stock::MAX_REASON_CHARS))]
    reason: String,
}

/// A stock as a command leaves it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StockCount")]
struct StockBody {
    /// Whose stock.
    sku: Sku,
    /// Pieces on the shelf.
    on_hand: u64,
    /// Of them, promised to orders under way.
    reserved: u64,
    /// Of them, free.
    available: u64,
}

async fn receive(
    State(api): State<Api>,
    NewId(sku): NewId<Sku>,
    client: ClientCommand,
    context: RequestContext,
    Body(body): Body<ReceiveBody>,
) -> Result<Response, Problem> {
    let command = stock::Command::Receive(Receive {
        sku: sku.clone(),
        quantity: body.quantity,
        reference: body.reference.clone(),
    });
    execute(&api, sku, command, &client, &context, &body).await
}

async fn adjust(
    State(api): State<Api>,
    NewId(sku): NewId<Sku>,
    client: ClientCommand,
    context: RequestContext,
    Body(body): Body<AdjustBody>,
) -> Result<Response, Problem> {
    let command = stock::Command::Adjust(Adjust {
        sku: sku.clone(),
        delta: body.delta,
        reason: body.reason.clone(),
    });
    execute(&api, sku, command, &client, &context, &body).await
}

async fn execute<B: Serialize>(
    api: &Api,
    sku: Sku,
    command: stock::Command,
    client: &ClientCommand,
    context: &RequestContext,
    body: &B,
) -> Result<Response, Problem> {
    let product = StreamName::new("product", &sku);
    let product = api.products.load(&product).await;
    if product
        .map_err(|error| command::unreadable(&error))?
        .revision()
        .is_none()
    {
        return Err(Problem::new(errors::UNKNOWN_SKU).detail(format!("there is no product {sku}")));
    }
    let stream = StreamName::new("stock", &sku);
    let correlation = command::own_correlation(&stream);
    let client = command::client(client, body, context, correlation);
    let outcome = api.commands.execute(stream, command, client).await?;
    Ok(reply(api, sku, &outcome).into_response())
}

fn reply(api: &Api, sku: Sku, outcome: &Outcome<Stock>) -> Reply<StockBody> {
    let state = outcome.tracked.state();
    let location = format!("/v1/stock/{sku}");
    let body = StockBody {
        sku,
        on_hand: state.on_hand(),
        reserved: state.reserved(),
        available: state.available(),
    };
    // The same delivery note for the same delivery counts once, whoever brings it again.
    let reply = if outcome.effect == Effect::Unchanged {
        Reply::ok(body)
    } else {
        Reply::created(body)
    };
    reply
        .location(location)
        .replayed(outcome.replayed())
        .position(outcome.tracked.position(), api.commands.store().log_id())
}

/// How a refusal is told to a client.
fn problem(refusal: &Refusal) -> Problem {
    let invalid = |pointer: &str| {
        Problem::new(recourse_service::errors::INVALID_BODY).field(pointer, refusal.to_string())
    };
    match refusal {
        Refusal::InvalidReference => invalid("#/reference"),
        Refusal::InvalidDelta => invalid("#/delta"),
        Refusal::InvalidReason => invalid("#/reason"),
        Refusal::ReferenceReused { .. } => {
            Problem::new(errors::REFERENCE_REUSED).detail(refusal.to_string())
        }
        Refusal::WouldBeNegative { .. } => {
            Problem::new(errors::STOCK_WOULD_BE_NEGATIVE).detail(refusal.to_string())
        }
        Refusal::QuantityOverflow => {
            Problem::new(errors::QUANTITY_OVERFLOW).detail(refusal.to_string())
        }
        // No client's command is refused so: these are a saga's.
        _ => Problem::new(recourse_service::errors::INTERNAL),
    }
}
