//! `GET /v1/orders/{id}/why` and `GET /v1/sagas/{id}/why`.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use recourse_event_store::{EventStore, Position};
use recourse_saga::Definition;
use recourse_service::{
    Problem,
    contract::{Answer, Operation, Routes},
    errors,
    http::{self, Id, MinPosition, Prefer, Reply, RequestContext, UsualUuid},
};
use uuid::Uuid;

use super::{Error, History, Why, tell};

/// How long a query that names a position waits for the log to be durable so far, where the
/// client does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Teller {
    store: Arc<dyn EventStore>,
    definitions: Arc<[Arc<Definition>]>,
}

pub(crate) fn routes(store: Arc<dyn EventStore>, definitions: &[Arc<Definition>]) -> Routes {
    let describe = |operation: Operation| {
        operation
            .answer(
                Answer::json::<Why>(200, "What happened, what is awaited, and what happens then")
                    .example(WHY)
                    .position()
                    .preference_applied(),
            )
            .fails(&[errors::VIEW_BEHIND])
            .fails(errors::READING)
    };
    let order = Operation::new("explainOrder", "Why an order stands as it does")
        .describe(
            "The causal chain from the request to now in plain words, with all the sagas of the order: its \
             fulfilment and its returns. Read from the log, so it is never behind.",
        )
        .tag("orders");
    let saga = Operation::new("explainSaga", "Why a saga stands as it does")
        .describe(
            "The causal chain from the request that started it to now in plain words, what it waits for, until \
             when, and what happens then; where it does not go on by itself, what an operator can do. Read from \
             the log, so it is never behind.",
        )
        .tag("sagas");
    Routes::new()
        .get("/v1/orders/{id}/why", of_order, describe(order))
        .get("/v1/sagas/{id}/why", of_saga, describe(saga))
        .with_state(Teller {
            store,
            definitions: definitions.into(),
        })
}

pub(super) const WHY: &str = r#"{
    "order_id": "0b9c6f3e-7a52-5d7e-8a35-5f0c1c5a4e21",
    "saga_id": "5b9a2b1e-0f0c-5c6e-9f50-0d9a8f0a6a11",
    "now": [
        "order 0b9c6f3e-7a52-5d7e-8a35-5f0c1c5a4e21 is pending",
        "the saga fulfilment 5b9a2b1e-0f0c-5c6e-9f50-0d9a8f0a6a11 goes forward",
        "left to do: reserve-stock 0, authorize-payment, confirm-order, capture-payment, commit-stock, complete-order"
    ],
    "lines": [
        {
            "at": "2026-03-01T12:00:00Z", "position": "17-9f3a2c41",
            "text": "a client orders 2 of tea-1 for 39.98 EUR, by request checkout-81"
        },
        {
            "at": "2026-03-01T12:00:00.001Z", "position": "18-9f3a2c41",
            "text": "the saga fulfilment begins and has until 2026-03-01T12:01:00.001Z to end"
        },
        {
            "at": "2026-03-01T12:00:00.001Z", "position": "18-9f3a2c41",
            "text": "reserve-stock 0 is asked of stock-tea-1"
        }
    ],
    "awaits": [{
        "saga_id": "5b9a2b1e-0f0c-5c6e-9f50-0d9a8f0a6a11",
        "what": "the answer of stock-tea-1 to reserve-stock 0",
        "until": "2026-03-01T12:00:10.001Z",
        "then": "the saga looks into stock-tea-1: an answer there counts, and a command that never arrived is sent again. Otherwise the saga turns back: it undoes reserve-stock 0 and ends with reject-order. At 2026-03-01T12:01:00.001Z the saga needs attention if it has not ended"
    }],
    "text": "2026-03-01T12:00:00.000Z  a client orders 2 of tea-1 for 39.98 EUR, by request checkout-81\n"
}"#;

/// What is asked about.
#[derive(Clone, Copy)]
enum About {
    Order(Uuid),
    Saga(Uuid),
}

async fn of_order(
    State(teller): State<Teller>,
    Id(UsualUuid(id)): Id<UsualUuid>,
    min_position: MinPosition,
    prefer: Prefer,
    context: RequestContext,
) -> Result<Response, Problem> {
    let asked = (min_position, prefer, context);
    teller.answer(About::Order(id), asked).await
}

async fn of_saga(
    State(teller): State<Teller>,
    Id(UsualUuid(id)): Id<UsualUuid>,
    min_position: MinPosition,
    prefer: Prefer,
    context: RequestContext,
) -> Result<Response, Problem> {
    let asked = (min_position, prefer, context);
    teller.answer(About::Saga(id), asked).await
}

impl Teller {
    async fn answer(
        &self,
        about: About,
        (min_position, prefer, context): (MinPosition, Prefer, RequestContext),
    ) -> Result<Response, Problem> {
        if let Some(position) = min_position.resolve(&*self.store).await? {
            self.reach(position, prefer, &context).await?;
        }
        let mut up_to = self.store.durable();
        let mut history = self.history(about, up_to).await?;
        if history.is_none() {
            // What was written before the question is found.
            let head = self.store.appended().await?;
            self.reach(head, prefer, &context).await?;
            up_to = self.store.durable();
            history = self.history(about, up_to).await?;
        }
        let history = history.ok_or_else(|| Problem::new(errors::NOT_FOUND))?;
        let why = tell(&history, &self.definitions).map_err(|error| unexpected(&error))?;
        Ok(Reply::ok(why)
            .position(up_to, self.store.log_id())
            .applied(prefer)
            .into_response())
    }

    async fn history(&self, about: About, up_to: Position) -> Result<Option<History>, Problem> {
        let (store, definitions) = (&*self.store, &*self.definitions);
        let read = match about {
            About::Order(id) => History::of_order(store, definitions, id, up_to).await,
            About::Saga(id) => History::of_saga(store, definitions, id, up_to).await,
        };
        read.map_err(|error| match error {
            Error::Store(error) => error.into(),
            Error::Event(error) => unexpected(&error),
        })
    }

    /// Waits until the log is durable so far: nothing else is told.
    async fn reach(
        &self,
        position: Position,
        prefer: Prefer,
        context: &RequestContext,
    ) -> Result<(), Problem> {
        let wait = prefer.wait.unwrap_or(DEFAULT_WAIT);
        let durable = self.store.wait_durable(position);
        match http::wait(wait, context.draining(), durable).await {
            Some(reached) => Ok(reached?),
            None => Err(Problem::new(errors::VIEW_BEHIND)),
        }
    }
}

fn unexpected(error: &dyn std::error::Error) -> Problem {
    tracing::error!(error = %error, "an order or a saga cannot be told of");
    Problem::new(errors::INTERNAL)
}
