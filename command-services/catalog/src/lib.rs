//! The catalog: products, written by clients.
//!
//! ```text
//! PUT /v1/products/{sku} ──▶ worker ──▶ product-<sku>
//! ```

use std::sync::Arc;

use axum::{extract::State, response::IntoResponse};
use recourse_aggregates::Product;
use recourse_cqrs::{Clock, Repository, RepositoryOptions, Worker, WorkerError, WorkerOptions};
use recourse_domain::{
    Money, Sku,
    product::{self, Details, Refusal},
};
use recourse_event_store::{EventStore, StreamName};
use recourse_service::{
    Problem,
    command::{self, Commands},
    contract::{Answer, Operation, Routes},
    errors,
    http::{Body, ClientCommand, NewId, Preconditions, Reply, RequestContext},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The catalog's command service.
pub struct Service {
    worker: Worker<Product>,
    commands: Commands<Product>,
}

impl Service {
    /// A service on this store. It takes no saga commands: no saga changes a product.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, clock: Clock, options: WorkerOptions) -> Self {
        let repository = Arc::new(Repository::new(
            Arc::clone(&store),
            RepositoryOptions::default(),
        ));
        let (worker, handle) = Worker::new(repository, None, clock, options);
        Self {
            worker,
            commands: Commands::new(handle, store, problem),
        }
    }

    /// Its addresses.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes::new()
            .put("/v1/products/{sku}", put_product, putting())
            .with_state(self.commands.clone())
    }

    /// Executes commands until `shutdown`, then those that it has accepted.
    ///
    /// # Errors
    /// Where the store is broken: the process must end.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        self.worker.run(shutdown).await
    }
}

const PRODUCT: &str = r#"{
    "sku": "tea-1",
    "name": "Green tea",
    "price": {"amount_minor": 1999, "currency": "EUR"},
    "active": true
}"#;

fn putting() -> Operation {
    let done = |status, description| {
        Answer::json::<Details>(status, description)
            .example(PRODUCT)
            .position()
            .etag()
            .location()
            .replayed()
    };
    Operation::new("putProduct", "Create or change a product")
        .describe(
            "Without `If-Match` or `If-None-Match` the last write wins. A product that is as it \
             was writes nothing, and leaves the key free.",
        )
        .tag("products")
        .body_example(
            r#"{
                "name": "Green tea",
                "price": {"amount_minor": 1999, "currency": "EUR"},
                "active": true
            }"#,
        )
        .answer(done(201, "It is new"))
        .answer(done(200, "It existed; this is how it is now"))
        .fails(errors::COMMAND)
}

/// The body of `PUT /v1/products/{sku}`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct PutProduct {
    /// What people call it.
    #[schemars(length(min = 1, max = product::MAX_NAME_CHARS))]
    name: String,
    /// The price of one; it may be 0, and not less.
    price: Money,
    /// Whether it can be ordered.
    active: bool,
}

async fn put_product(
    State(commands): State<Commands<Product>>,
    NewId(sku): NewId<Sku>,
    preconditions: Preconditions,
    client: ClientCommand,
    context: RequestContext,
    Body(body): Body<PutProduct>,
) -> Result<impl IntoResponse, Problem> {
    let stream = StreamName::new("product", &sku);
    let client = command::client(&client, &body, &context, command::own_correlation(&stream));
    let details = Details {
        sku,
        name: body.name,
        price: body.price,
        active: body.active,
    };
    let location = format!("/v1/products/{}", details.sku);
    let outcome = commands
        .execute_if(
            stream,
            product::Command::Put(details),
            client,
            &preconditions,
        )
        .await?;
    let reply = match outcome.tracked.state().details() {
        // The first event is revision 0, and whoever repeats its command gets it again.
        Some(details)
            if outcome.revision == Some(0) && (outcome.written() || outcome.replayed()) =>
        {
            Reply::created(details.clone())
        }
        Some(details) => Reply::ok(details.clone()),
        None => {
            tracing::error!(%location, "a product that was put does not exist");
            return Err(Problem::new(errors::INTERNAL));
        }
    };
    let reply = match outcome.tracked.revision() {
        Some(revision) => reply.etag(revision),
        None => reply,
    };
    Ok(reply
        .location(location)
        .replayed(outcome.replayed())
        .position(outcome.tracked.position(), commands.store().log_id()))
}

/// How a refusal is told to a client.
fn problem(refusal: &Refusal) -> Problem {
    let pointer = match refusal {
        Refusal::InvalidName => "#/name",
        Refusal::InvalidPrice => "#/price/amount_minor",
        Refusal::WrongSku(_) => "#",
    };
    Problem::new(errors::INVALID_BODY).field(pointer, refusal.to_string())
}
