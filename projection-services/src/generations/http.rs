//! `/v1/projections/{name}/rebuilds`: what operators ask of the generations of views.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, RawPathParams, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use recourse_event_store::EventStore;
use recourse_service::{
    Problem,
    command::{self, Commands},
    contract::{Answer, Input, Operation, Routes},
    errors,
    http::{
        self, ClientCommand, Id, MaybeBody, Preconditions, Prefer, Reply, RequestContext, UsualUuid,
    },
};
use recourse_views::rebuild::{self, By, Command, Generations, Level, Refusal, Switch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    shown::{self, Rebuild},
    view::View,
};
use crate::errors::{REBUILD_NOT_POSSIBLE, REBUILD_NOT_READY, REBUILD_OPEN};

/// The most characters that a reason may have: as for every reason in somebody's words.
const MAX_REASON_CHARS: usize = 500;

/// What a rebuild's id is made in, from the id of the command that starts it.
const REBUILDS: Uuid = Uuid::from_u128(0x5c1e_8a70_92d3_5b46_8e0f_3d27_c4b1_60fa);

/// What operators ask for.
pub(crate) struct Actions {
    pub(crate) views: Vec<Arc<View>>,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) commands: Commands<Generations>,
    pub(crate) default_wait: Duration,
}

const REBUILD: &str = r#"{
    "rebuild_id": "0c1f7a52-90e4-5d13-b1f8-4be266d057ce", "projection": "stock", "status": "ready",
    "version": 1, "generation": 3, "replaces": 1, "live": 1,
    "position": "2050-0a1b2c3d", "lag_events": 0, "share": 1.0,
    "comparison": {
        "position": "2041-0a1b2c3d", "equal_rows": 311, "different_rows": 1,
        "differences": [{"id": "tea-1", "kind": "changed"}]
    },
    "started_at": "2026-01-01T00:00:00Z",
    "timeline": [
        {"at": "2026-01-01T00:00:00Z", "type": "projection.rebuild-started.v1",
         "position": "2039-0a1b2c3d", "actor": "anonymous", "reason": "a row is damaged"},
        {"at": "2026-01-01T00:00:02Z", "type": "projection.rebuild-compared.v1",
         "position": "2042-0a1b2c3d"}
    ]
}"#;

pub(crate) fn routes(actions: Actions) -> Routes {
    let shows = |status, description| {
        Answer::json::<Rebuild>(status, description)
            .example(REBUILD)
            .position()
            .etag()
    };
    let start = Operation::new("rebuildProjection", "Rebuild a view")
        .describe(
            "Fills another generation of the view from the first event on, beside the live one, which is asked \
             meanwhile. When both are level they are compared; then it can be promoted. What an earlier rebuild left \
             beside the live one is dropped.",
        )
        .answer(shows(202, "It is being filled").location().replayed())
        .fails(&[REBUILD_OPEN]);
    let show = Operation::new("getProjectionRebuild", "Show a rebuild of a view")
        .describe("How far it is, and how the live rows differ from those that it has made.")
        .tag("projections")
        .answer(shows(200, "The rebuild"));
    let acts = |operation: Operation| {
        operation
            .tag("projections")
            .body_example(BODY)
            .answer(
                shows(200, "The rebuild, as it is now")
                    .replayed()
                    .preference_applied(),
            )
            .fails(errors::COMMAND)
    };
    let promote = acts(
        Operation::new("promoteProjectionRebuild", "Let the new generation be asked").describe(
            "Refused until it was compared with the live one and has come as far. Queries are switched once it \
             holds everything that anybody can have seen. The generation before is fed until it is dropped.",
        ),
    )
    .fails(&[REBUILD_NOT_READY, REBUILD_NOT_POSSIBLE]);
    let roll_back = acts(
        Operation::new(
            "rollBackProjectionRebuild",
            "Let the generation before be asked again",
        )
        .describe("At once, for it was fed all the time. It can be promoted again."),
    )
    .fails(&[REBUILD_NOT_READY, REBUILD_NOT_POSSIBLE]);
    let drop = acts(
        Operation::new(
            "dropProjectionRebuild",
            "Drop the generation that is not live",
        )
        .describe(
            "Of a rebuild that is not promoted that is the new one, which ends it; of one that is, the one before, \
             so that it cannot be rolled back any more.",
        ),
    );
    Routes::new()
        .post(
            "/v1/projections/{name}/rebuilds",
            self::start,
            start
                .tag("projections")
                .body_example(BODY)
                .fails(errors::COMMAND),
        )
        .get("/v1/projections/{name}/rebuilds/{id}", self::show, show)
        .post(
            "/v1/projections/{name}/rebuilds/{id}/promote",
            self::promote,
            promote,
        )
        .post(
            "/v1/projections/{name}/rebuilds/{id}/rollback",
            self::roll_back,
            roll_back,
        )
        .post(
            "/v1/projections/{name}/rebuilds/{id}/drop",
            self::drop_beside,
            drop,
        )
        .with_state(Arc::new(actions))
}

const BODY: &str = r#"{"reason": "a row is damaged"}"#;

/// The body of each request. It may be left out.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProjectionAction")]
#[serde(deny_unknown_fields, expecting = "an object")]
struct ActionBody {
    /// Why, kept with what is done: 1 to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl ActionBody {
    fn by(&self, context: &RequestContext) -> Result<By, Problem> {
        if let Some(reason) = &self.reason {
            let is_plain = !reason.trim().is_empty()
                && reason.chars().count() <= MAX_REASON_CHARS
                && !reason.chars().any(char::is_control);
            if !is_plain {
                let why = "a reason has 1 to 500 characters and no control characters";
                return Err(Problem::new(errors::INVALID_BODY).field("#/reason", why.to_owned()));
            }
        }
        Ok(By {
            actor: context.principal().to_owned(),
            reason: self.reason.clone(),
        })
    }
}

/// The `{name}` of the path. A view that there is not is 404.
struct OfView(String);

impl<S: Send + Sync> FromRequestParts<S> for OfView {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let not_found = || Problem::new(errors::NOT_FOUND);
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| not_found())?;
        let name = parameters.iter().find(|(name, _)| *name == "name");
        name.map(|(_, view)| Self(view.to_owned()))
            .ok_or_else(not_found)
    }
}

impl Input for OfView {
    fn describe(operation: &mut Operation) {
        operation.add_codes(&[errors::NOT_FOUND]);
    }
}

impl Actions {
    fn view(&self, name: &str) -> Result<&Arc<View>, Problem> {
        let mut views = self.views.iter();
        views
            .find(|view| view.kind.name() == name)
            .ok_or_else(|| Problem::new(errors::NOT_FOUND))
    }

    /// A rebuild as it is now, with the revision and the position that it stands at.
    async fn show(
        &self,
        view: &View,
        id: Uuid,
        status: StatusCode,
    ) -> Result<Reply<Rebuild>, Problem> {
        let history = shown::history(&*self.store, view).await?;
        let rebuild = history
            .show(id, view, self.store.durable())
            .ok_or_else(|| Problem::new(errors::NOT_FOUND))?;
        let reply = Reply::new(status, rebuild).position(history.position, self.store.log_id());
        Ok(match history.revision {
            Some(revision) => reply.etag(revision),
            None => reply,
        })
    }

    /// What is known of the generation that is to be live, once it has come to where the live one
    /// is now, or the time is over.
    async fn switch(&self, view: &View, id: Uuid, by: By, asked: &Asked) -> Switch {
        let version = view.kind.version();
        let state = view.state();
        let current = state.current(version).filter(|it| it.id == id);
        let level = match current {
            Some(rebuild) => self.level(view, rebuild, state.live(version), asked).await,
            None => None,
        };
        Switch {
            rebuild_id: id,
            version,
            level,
            by,
        }
    }

    async fn level(
        &self,
        view: &View,
        rebuild: &rebuild::Rebuild,
        live: u32,
        asked: &Asked,
    ) -> Option<Level> {
        let generation = rebuild.beside();
        let target = view.fed(generation)?;
        let live = view.fed(live)?.considered.get();
        // The rules say no at once where more than a moment is missing.
        if rebuild.comparison.is_some() && target.failure.is_none() {
            let wait = asked.prefer.wait.unwrap_or(self.default_wait);
            let reached = target.considered.wait(live, wait);
            http::wait(wait, asked.context.draining(), reached).await;
        }
        Some(Level {
            generation,
            target: target.considered.get(),
            live,
        })
    }

    async fn act(
        &self,
        view: &View,
        id: Uuid,
        command: Command,
        asked: &Asked,
        body: &ActionBody,
    ) -> Result<Response, Problem> {
        let correlation = command::own_correlation(&view.stream);
        let client = command::client(&asked.client, body, &asked.context, correlation);
        let outcome = self
            .commands
            .execute_if(view.stream.clone(), command, client, &asked.preconditions)
            .await?;
        // So that whoever is told that it is live reads it. Where that takes long, they are told so.
        let live = outcome.tracked.state().live(view.kind.version());
        let switched = view.serving.reached(live);
        http::wait(self.default_wait, asked.context.draining(), switched).await;
        let reply = self.show(view, id, StatusCode::OK).await?;
        Ok(reply
            .replayed(outcome.replayed())
            .applied(asked.prefer)
            .into_response())
    }
}

/// What a request says beside its body.
struct Asked {
    client: ClientCommand,
    context: RequestContext,
    preconditions: Preconditions,
    prefer: Prefer,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(prefer) = Prefer::from_request_parts(parts, state).await;
        let Ok(context) = RequestContext::from_request_parts(parts, state).await;
        Ok(Self {
            client: ClientCommand::from_request_parts(parts, state).await?,
            context,
            preconditions: Preconditions::from_request_parts(parts, state).await?,
            prefer,
        })
    }
}

impl Input for Asked {
    fn describe(operation: &mut Operation) {
        ClientCommand::describe(operation);
        Preconditions::describe(operation);
        Prefer::describe(operation);
    }
}

async fn start(
    State(actions): State<Arc<Actions>>,
    Id(name): Id<String>,
    client: ClientCommand,
    context: RequestContext,
    MaybeBody(body): MaybeBody<ActionBody>,
) -> Result<Response, Problem> {
    let view = actions.view(&name)?;
    let by = body.by(&context)?;
    let rebuild_id = Uuid::new_v5(&REBUILDS, client.id.as_bytes());
    let command = Command::Rebuild {
        rebuild_id,
        version: view.kind.version(),
        by,
    };
    let correlation = command::own_correlation(&view.stream);
    let client = command::client(&client, &body, &context, correlation);
    let outcome = actions
        .commands
        .execute(view.stream.clone(), command, client)
        .await?;
    let reply = actions.show(view, rebuild_id, StatusCode::ACCEPTED).await?;
    Ok(reply
        .location(format!("/v1/projections/{name}/rebuilds/{rebuild_id}"))
        .replayed(outcome.replayed())
        .into_response())
}

async fn show(
    State(actions): State<Arc<Actions>>,
    OfView(name): OfView,
    Id(UsualUuid(id)): Id<UsualUuid>,
) -> Result<Response, Problem> {
    let view = actions.view(&name)?;
    let reply = actions.show(view, id, StatusCode::OK).await?;
    Ok(reply.into_response())
}

async fn promote(
    State(actions): State<Arc<Actions>>,
    OfView(name): OfView,
    Id(UsualUuid(id)): Id<UsualUuid>,
    asked: Asked,
    MaybeBody(body): MaybeBody<ActionBody>,
) -> Result<Response, Problem> {
    let view = actions.view(&name)?;
    let by = body.by(&asked.context)?;
    let switch = actions.switch(view, id, by, &asked).await;
    let command = Command::Promote(switch);
    actions.act(view, id, command, &asked, &body).await
}

async fn roll_back(
    State(actions): State<Arc<Actions>>,
    OfView(name): OfView,
    Id(UsualUuid(id)): Id<UsualUuid>,
    asked: Asked,
    MaybeBody(body): MaybeBody<ActionBody>,
) -> Result<Response, Problem> {
    let view = actions.view(&name)?;
    let by = body.by(&asked.context)?;
    let switch = actions.switch(view, id, by, &asked).await;
    let command = Command::RollBack(switch);
    actions.act(view, id, command, &asked, &body).await
}

async fn drop_beside(
    State(actions): State<Arc<Actions>>,
    OfView(name): OfView,
    Id(UsualUuid(id)): Id<UsualUuid>,
    asked: Asked,
    MaybeBody(body): MaybeBody<ActionBody>,
) -> Result<Response, Problem> {
    let view = actions.view(&name)?;
    let command = Command::Drop {
        rebuild_id: id,
        by: body.by(&asked.context)?,
    };
    actions.act(view, id, command, &asked, &body).await
}

/// How a refusal is told to an operator.
pub(crate) fn problem(refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::Open(_) => REBUILD_OPEN,
        Refusal::Unknown => return Problem::new(errors::NOT_FOUND),
        Refusal::NotReady(_) => REBUILD_NOT_READY,
        Refusal::NotPossible(_) => REBUILD_NOT_POSSIBLE,
    };
    Problem::new(code).detail(refusal.to_string())
}
