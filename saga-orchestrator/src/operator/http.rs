//! `POST /v1/sagas/{id}/actions`.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use recourse_saga::{Action, By, Said, SkipResult};
use recourse_service::{
    Problem,
    contract::{Answer, Operation, Routes},
    errors,
    http::{Body, ClientCommand, Id, Preconditions, Reply, RequestContext, UsualUuid},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Actions, Order, Plan};
use crate::{errors::ACTION_NOT_POSSIBLE, live};

/// The most characters that a reason may have: as for every reason in somebody's words.
const MAX_REASON_CHARS: usize = 500;

/// The most characters that a provider's name for something may have.
const MAX_REFERENCE_CHARS: usize = 128;

pub(crate) fn routes(actions: Actions) -> Routes {
    Routes::new()
        .post("/v1/sagas/{id}/actions", take, operation())
        .with_state(actions)
}

fn operation() -> Operation {
    Operation::new("actOnSaga", "Pause, resume, retry, skip or compensate a saga")
        .describe(
            "`pause` records answers and sends nothing; `resume` goes on, with every deadline moved, and reads \
             what a parked saga has missed; `retry` sends again what was refused, and looks up what is not \
             answered, which is sent again only where it can never take effect any more; with a `result` it says \
             what became of a payment's step whose provider is asked no more, and the saga goes on; `skip` undoes \
             what a step may have done and leaves it out, or leaves out a refused undo; `compensate` undoes the \
             saga, past its point of no return beginning with that. A `dry_run` answers with the plan, changes \
             nothing and needs no precondition. Otherwise `If-Match` with the saga's tag is required.",
        )
        .tag("sagas")
        .body_example(r#"{"action": "compensate", "reason": "the bank refuses the capture", "dry_run": true}"#)
        .answer(
            Answer::json::<Acted>(200, "What was done, or would be")
                .example(ACTED)
                .position()
                .etag()
                .replayed(),
        )
        .fails(errors::COMMAND)
        .fails(&[
            ACTION_NOT_POSSIBLE,
            errors::NOT_FOUND,
            errors::PRECONDITION_REQUIRED,
        ])
}

const ACTED: &str = r#"{
    "saga_id": "5b9a2b1e-0f0c-5c6e-9f50-0d9a8f0a6a11",
    "action": "compensate",
    "dry_run": true,
    "status": "compensating",
    "events": [{"type": "saga.compensation-requested.v1", "words": "the saga turns back"}],
    "sends": [{
        "step": "authorize-payment", "direction": "undo", "attempt": 1,
        "command_type": "payment.void", "target": "payment-0c1f7a52-90e4-4d13-b1f8-4be266d057ce"
    }],
    "then": [{"step": "reserve-stock", "item": "0"}],
    "words": [
        "the saga turns back",
        "sends payment.void to payment-0c1f7a52-90e4-4d13-b1f8-4be266d057ce: the undo of authorize-payment",
        "then undoes reserve-stock 0"
    ]
}"#;

/// The body of the request.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SagaAction")]
#[serde(deny_unknown_fields, expecting = "an object")]
struct ActionBody {
    /// What to do.
    action: Name,
    /// Which step: for `skip`, and where a `retry` is about one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    /// For a skip: what became of the step instead, `left` where nothing is said. For a retry: what
    /// an operator found out about what nobody answers, `done` where it took effect and `left`
    /// where it did not and never will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<SkipResult>,
    /// The provider's name for what a retry says is done, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    /// Why, kept with what is done: 1 to 500 characters.
    reason: String,
    /// Only say what it would do.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SagaActionName")]
#[serde(rename_all = "snake_case")]
enum Name {
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Send again.
    Retry,
    /// Leave out.
    Skip,
    /// Undo.
    Compensate,
}

/// What was done, or would be.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaActed")]
struct Acted {
    /// The saga.
    saga_id: Uuid,
    /// What was done.
    action: Name,
    /// That nothing was.
    dry_run: bool,
    #[serde(flatten)]
    plan: Plan,
}

impl ActionBody {
    fn action(&self) -> Result<Action, Problem> {
        let wrong = |pointer, why: &str| {
            Err(Problem::new(errors::INVALID_BODY).field(pointer, why.to_owned()))
        };
        let is_plain = !self.reason.trim().is_empty()
            && self.reason.chars().count() <= MAX_REASON_CHARS
            && !self.reason.chars().any(char::is_control);
        if !is_plain {
            let why = "a reason has 1 to 500 characters and no control characters";
            return wrong("#/reason", why);
        }
        if self.result.is_some() && !matches!(self.action, Name::Skip | Name::Retry) {
            return wrong("#/result", "only a skip and a retry have a result");
        }
        if let Some(reference) = &self.reference {
            if (self.action, self.result) != (Name::Retry, Some(SkipResult::Done)) {
                return wrong(
                    "#/reference",
                    "only what a retry says is done has a reference",
                );
            }
            let is_visible = (1..=MAX_REFERENCE_CHARS).contains(&reference.chars().count())
                && reference.chars().all(|char| char.is_ascii_graphic());
            if !is_visible {
                let why = "a reference is 1 to 128 visible characters";
                return wrong("#/reference", why);
            }
        }
        match (self.action, &self.step) {
            (Name::Skip, None) => wrong("#/step", "a skip says which step"),
            (Name::Retry, None) if self.result.is_some() => {
                wrong("#/step", "a result is of one step")
            }
            (Name::Pause | Name::Resume | Name::Compensate, Some(_)) => {
                wrong("#/step", "this is about the whole saga")
            }
            (Name::Pause, None) => Ok(Action::Pause),
            (Name::Resume, None) => Ok(Action::Resume),
            (Name::Compensate, None) => Ok(Action::Compensate),
            (Name::Retry, step) => Ok(Action::Retry {
                step: step.as_deref().map(Arc::from),
                said: self.result.map(|result| Said {
                    result,
                    reference: self.reference.clone(),
                }),
            }),
            (Name::Skip, Some(step)) => Ok(Action::Skip {
                step: step.as_str().into(),
                result: self.result.unwrap_or_default(),
            }),
        }
    }
}

async fn take(
    State(actions): State<Actions>,
    Id(UsualUuid(saga)): Id<UsualUuid>,
    client: ClientCommand,
    context: RequestContext,
    preconditions: Preconditions,
    Body(body): Body<ActionBody>,
) -> Result<Response, Problem> {
    let actor = context.principal().to_owned();
    let command = live::ClientCommand {
        id: client.id,
        body_hash: client.body_hash(&body),
        actor: Some(actor.clone()),
        request_id: Some(context.request_id().to_owned()),
        traceparent: Some(context.traceparent().to_owned()),
    };
    let order = Order {
        action: body.action()?,
        by: By {
            actor,
            reason: body.reason.clone(),
        },
        command: Some(command).filter(|_| !body.dry_run),
    };
    let done = actions.take(saga, &order, &preconditions).await?;
    let answer = Acted {
        saga_id: saga,
        action: body.action,
        dry_run: body.dry_run,
        plan: done.plan,
    };
    Ok(Reply::ok(answer)
        .etag(done.revision)
        .position(done.position, actions.store().log_id())
        .replayed(done.replayed)
        .into_response())
}
